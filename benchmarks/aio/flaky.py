"""A host that fails in every way that there is, in a process of its own: `python -m benchmarks.aio.flaky`.

It reads a seed as a line of JSON, prints its port, and listens at every address of 127.0.0.0/8. Each request has a
nonce as the last segment of its path, and its body, if any, is nothing but that nonce again and again; each answer
tells the nonce of its request. Where a line comes it prints what it saw, and goes on.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

#: How often in a hundred requests each thing happens; else the request is answered at once.
WEIGHTS = {
    "late": 10,
    "503": 7,
    "503 with Retry-After": 2,
    "500": 3,
    "429 with Retry-After": 2,
    "404": 3,
    "reset once read": 3,
    "closed once read": 3,
    "cut": 3,
    "cut between chunks": 2,
    "cut in gzip": 2,
    "gzip": 4,
    "chunks": 5,
    "slow body": 5,
    "slow head": 3,
    "never answered": 1,
    "a second answer": 2,
    "elsewhere": 3,
    "closed after the answer": 3,
}
#: Of new connections, and of heads that were read without their body.
RESET_AT_ONCE = 0.01
#: Of connections that stay after an answer, and for how many seconds at most they stay then.
CLOSED_WHEN_IDLE, IDLE = 0.15, 0.05
_REASONS = {200: "OK", 302: "Found", 404: "Not Found", 429: "Too Many Requests", 500: "Error", 503: "Unavailable"}


class Seen:
    """What reached the host."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections = 0
        self.open: set[Connection] = set()
        self.happened: Counter[str] = Counter()
        self.posted: Counter[str] = Counter()
        """How often each POST was read to its end, by its nonce."""
        self.mixed: list[str] = []
        """Requests whose body is not that of their nonce."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "connections": self.connections,
            "open": len(self.open),
            "happened": dict(sorted(self.happened.items())),
            "posted": self.posted.total(),
            "twice": sorted(nonce for nonce, times in self.posted.items() if times > 1),
            "mixed": self.mixed,
        }


class Connection(asyncio.Protocol):
    """One client's."""

    def __init__(self, seen: Seen, dice: random.Random) -> None:
        self._seen, self._dice = seen, dice
        self._received = b""
        self._transport: Any = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._seen.connections += 1
        self._seen.open.add(self)
        if self._dice.random() < RESET_AT_ONCE:
            self._reset()

    def connection_lost(self, exc: Exception | None) -> None:
        self._seen.open.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._received += data
        while not self._transport.is_closing():
            head, found, rest = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            length = _length(head)
            if len(rest) < length:
                if self._dice.random() < RESET_AT_ONCE:
                    self._reset()
                return
            self._received = rest[length:]
            self._request(head, rest[:length])

    def _request(self, head: bytes, body: bytes) -> None:
        method, path = head.split(b" ", 2)[:2]
        nonce = path.rpartition(b"/")[2].decode().partition("?")[0]
        self._seen.requests += 1
        if method == b"POST":
            self._seen.posted[nonce] += 1
        if body != (nonce.encode() * (len(body) // len(nonce) + 1))[: len(body)]:
            self._seen.mixed.append(nonce)
        what = "plain"
        if not path.startswith(b"/plain/"):
            what = self._dice.choices(["plain", *WEIGHTS], [100 - sum(WEIGHTS.values()), *WEIGHTS.values()])[0]
        if what == "elsewhere" and (method != b"GET" or b"?" in path):
            what = "plain"
        self._seen.happened[what] += 1
        text = json.dumps({"nonce": nonce, "pad": "x" * int(20_000 * self._dice.random() ** 4)}).encode()
        self._do(what, text, path)

    def _do(self, what: str, text: bytes, path: bytes) -> None:
        dice, later = self._dice, self._later
        if what == "late":
            later(0.05 * dice.random(), lambda: self._answer(200, text))
        elif what[:3].isdecimal():
            after = b"Retry-After: %.2f\r\n" % (0.3 * dice.random()) if "Retry-After" in what else b""
            self._answer(int(what[:3]), text, after)
        elif what == "reset once read":
            later(0.01 * dice.random(), self._reset)
        elif what == "closed once read":
            later(0.01 * dice.random(), self._transport.close)
        elif what == "cut":
            self._write(_head(200, len(text)) + text[: len(text) // 2])
            self._transport.close()
        elif what == "cut between chunks":
            self._write(_CHUNKED + _chunk(text[: len(text) // 2]))
            self._transport.close()
        elif what == "chunks":
            half = len(text) // 2
            self._write(_CHUNKED + _chunk(text[:half]))
            later(0.01 * dice.random(), lambda: self._whole(_chunk(text[half:]) + _chunk(b"")))
        elif what == "cut in gzip":
            packed = zlib.compressobj(1, zlib.DEFLATED, 31)
            self._answer(200, packed.compress(text) + packed.flush(zlib.Z_SYNC_FLUSH), _GZIP)
        elif what == "gzip":
            self._answer(200, gzip.compress(text, 1), _GZIP)
        elif what == "slow body":
            data = _head(200, len(text)) + text
            self._drip(data, len(data) // 6, 0.02 + 0.3 * dice.random())
        elif what == "slow head":
            later(0.2 + 1.8 * dice.random(), lambda: self._answer(200, text))
        elif what == "a second answer":
            stray = b'{"nonce": "stray"}'
            self._write(_head(200, len(text)) + text + _head(200, len(stray)) + stray)
        elif what == "elsewhere":
            self._answer(302, text, b"Location: %b?again\r\n" % path)
        elif what == "closed after the answer":
            self._write(_head(200, len(text), b"Connection: close\r\n") + text)
            self._transport.close()
        elif what != "never answered":
            self._answer(200, text)

    def _answer(self, status: int, body: bytes, more: bytes = b"") -> None:
        self._whole(_head(status, len(body), more) + body)

    def _whole(self, data: bytes) -> None:
        """The last of an answer; the connection stays, but perhaps not for long."""
        self._write(data)
        if self._dice.random() < CLOSED_WHEN_IDLE:
            self._idle = asyncio.get_running_loop().call_later(IDLE * self._dice.random(), self._transport.close)

    def _drip(self, data: bytes, step: int, pause: float) -> None:
        self._write(data[:step])
        if data[step:]:
            self._later(pause, lambda: self._drip(data[step:], step, pause))

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _later(self, seconds: float, what: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, what)

    def _reset(self) -> None:
        if not self._transport.is_closing():
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


_GZIP = b"Content-Encoding: gzip\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _head(status: int, length: int, more: bytes = b"") -> bytes:
    reason = _REASONS[status].encode()
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n" % (
        status,
        reason,
        length,
        more,
    )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


async def _serve() -> None:
    seen, dice = Seen(), random.Random(json.loads(sys.stdin.readline()))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seen, dice), "0.0.0.0", 0, backlog=4096)
    print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(seen.to_dict()), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
