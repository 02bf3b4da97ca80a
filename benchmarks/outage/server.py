"""A server that fails by plan, in a process of its own: `python -m benchmarks.outage.server`.

It reads the scenario as a line of JSON and prints its port; it reads on which second of the machine's monotonic clock
the plan begins; and where its input ends it prints what reached it, and ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field

from benchmarks.outage.scenarios import Kind, Scenario, from_dict

_HEADS = {
    200: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
}
_BODIES = {200: b'{"order": 4711, "state": "shipped"}', 503: b'{"error": "down for a moment"}'}
_ANSWERS = {status: head % len(_BODIES[status]) + _BODIES[status] for status, head in _HEADS.items()}
#: What a request is put down as that never gets an answer.
UNANSWERED = 0


@dataclass
class Plan:
    """The scenario, and what has reached the server so far."""

    scenario: Scenario
    begins: float = float("inf")
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the plan began, and the status that the request is answered with."""
    connections: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.scenario.seed)

    def receive(self, now: float) -> tuple[int, float]:
        """Which status the request that arrives now gets, and after how many seconds."""
        scenario, since = self.scenario, now - self.begins
        # Both are drawn for every request, so that the n-th one meets the same fate whatever the client.
        fails, slow = self._chance.random() < scenario.error_share, self._chance.random() < scenario.slow_share
        kind = self._kind(since)
        status = {"healthy": 503 if fails else 200, "503": 503, "hang": UNANSWERED}[kind]
        self.arrivals.append((since, status))
        return status, scenario.answer * (scenario.slow_factor if kind == "healthy" and slow else 1)

    def _kind(self, since: float) -> Kind:
        for phase in self.scenario.phases[:-1]:
            if since < phase.seconds:
                return phase.kind
            since -= phase.seconds
        return self.scenario.phases[-1].kind


class _Connection(asyncio.Protocol):
    """One client's keep-alive connection. Only requests without a body are understood."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._plan.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            _, _, self._received = self._received.partition(b"\r\n\r\n")
            status, seconds = self._plan.receive(time.monotonic())
            if status != UNANSWERED:
                asyncio.get_running_loop().call_later(seconds, self._answer, status)

    def _answer(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_ANSWERS[status])


async def _serve() -> Plan:
    loop = asyncio.get_running_loop()
    plan = Plan(from_dict(json.loads(sys.stdin.readline())))
    server = await loop.create_server(lambda: _Connection(plan), "127.0.0.1", 0, backlog=4096)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        plan.begins = float(await asyncio.to_thread(sys.stdin.readline) or "inf")
        await asyncio.to_thread(sys.stdin.read)
    return plan


if __name__ == "__main__":
    done = asyncio.run(_serve())
    json.dump({"arrivals": done.arrivals, "connections": done.connections}, sys.stdout)
