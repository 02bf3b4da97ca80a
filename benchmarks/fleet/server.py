"""A host for each side, all with the same fate, in a process of its own: `python -m benchmarks.fleet.server`.

It reads the setting as a line of JSON and prints the port of each side; it reads on which second of the machine's
monotonic clock the plan begins; and where its input ends it prints which requests reached each, and ends.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time

from benchmarks.fleet.setting import Kind, Setting, from_dict

_BODIES = {200: b'{"order": 4711, "state": "shipped"}', 503: b'{"error": "down for a moment"}'}
_HEAD = "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_ANSWERS = {
    status: (_HEAD % (status, reason, len(_BODIES[status]))).encode() + _BODIES[status]
    for status, reason in ((200, "OK"), (503, "Service Unavailable"))
}
#: Stands for a status: of a request that is never answered.
UNANSWERED = 0
#: Seconds from one machine to the next, and back.
_ANSWER_AFTER = 0.002


class _Host:
    """One side's address."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.begins = float("inf")
        self.arrivals: list[tuple[float, int, int]] = []
        """Seconds since the plan began, the worker's number, and the status that the request is answered with."""
        self.open: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None
        # Bound and never listening: the port stays ours, and refuses connections unless the server listens.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]

    def kind(self, since: float) -> Kind:
        """What it does so many seconds after the begin."""
        begin, end = self.setting.fault
        return self.setting.kind if begin <= since < end else "none"

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=_bound(self.port), backlog=4096)

    async def keep_to_the_plan(self) -> None:
        """Refuse connections while the plan says so, and end those that there are."""
        if self.setting.kind != "refuse":
            return
        begin, end = (self.begins + second for second in self.setting.fault)
        await asyncio.sleep(begin - time.monotonic())
        assert self._server is not None
        self._server.close()
        for transport in list(self.open):
            transport.abort()
        await asyncio.sleep(end - time.monotonic())
        await self.listen()


class _Connection(asyncio.Protocol):
    """One worker's keep-alive connection. Only requests without a body are understood; their path ends in a number."""

    def __init__(self, host: _Host) -> None:
        self._host = host
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host.open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._host.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            worker = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
            since = time.monotonic() - self._host.begins
            status = {"none": 200, "503": 503}.get(self._host.kind(since), UNANSWERED)
            if since >= 0:  # what comes before the plan begins is workers that get ready
                self._host.arrivals.append((round(since, 4), worker, status))
            if status != UNANSWERED:
                asyncio.get_running_loop().call_later(_ANSWER_AFTER, self._answer, status)

    def _answer(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_ANSWERS[status])


def _bound(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(("127.0.0.1", port))
    return found


async def _serve() -> dict[str, list[tuple[float, int, int]]]:
    setting = from_dict(json.loads(sys.stdin.readline()))
    hosts = {side: _Host(setting) for side in setting.sides}
    for host in hosts.values():
        await host.listen()
    print(json.dumps({side: host.port for side, host in hosts.items()}), flush=True)
    begins = float(await asyncio.to_thread(sys.stdin.readline) or "inf")
    for host in hosts.values():
        host.begins = begins
    keeping = [asyncio.create_task(host.keep_to_the_plan()) for host in hosts.values()]
    await asyncio.to_thread(sys.stdin.read)
    for task in keeping:
        task.cancel()
    return {side: host.arrivals for side, host in hosts.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_serve())))
