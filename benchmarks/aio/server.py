"""A host that answers late, large or not at all well, in a process of its own: `python -m benchmarks.aio.server`.

It prints its port, and listens at every address of 127.0.0.0/8. By the path of a request:

- `/held`: answered once it is told to release them;
- `/gzip`: a document of ten megabytes, compressed;
- `/failing`: 503 to every other request;
- `/down`: 503.

It reads lines and answers each with one: `held`, how many requests are held; `release`, how many were.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

#: Bytes of the document behind `/gzip`.
LARGE = 10_000_000
_SMALL = json.dumps({"id": 4711, "pad": "x" * 76}).encode()


def _answer(status: int, body: bytes, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
    return head % (status, len(body), more) + body


def _large() -> bytes:
    record = json.dumps({"id": 4711, "name": "host-4711", "up": True, "load": 0.25}).encode() + b","
    document = b"[" + record * ((LARGE - 100) // len(record)) + b'"'
    return document + b"x" * (LARGE - len(document) - 2) + b'"]'


class Connection(asyncio.Protocol):
    """One client's. Only requests without a body are understood."""

    held: ClassVar[list[Connection]] = []
    answers: ClassVar[Mapping[str, Callable[[], bytes]]] = {}
    failing: ClassVar[int] = 0

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path == "/held":
                Connection.held.append(self)
            else:
                self.write(self.answers.get(path, _ok)())

    def write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _ok() -> bytes:
    return _answer(200, _SMALL)


def _failing() -> bytes:
    Connection.failing += 1
    return _answer(503, _SMALL) if Connection.failing % 2 else _ok()


async def _serve() -> None:
    large = _answer(200, gzip.compress(_large(), 1), b"Content-Encoding: gzip\r\n")
    Connection.answers = {"/gzip": lambda: large, "/failing": _failing, "/down": lambda: _answer(503, _SMALL)}
    server = await asyncio.get_running_loop().create_server(Connection, "0.0.0.0", 0, backlog=4096)
    print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        waiting = Connection.held
        if json.loads(line) == "release":
            Connection.held = []
            for connection in waiting:
                connection.write(_ok())
        print(json.dumps(len(waiting)), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
