"""A server of one file, with ranges or without, that breaks off where a test says."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from .fault import Exchange
from .steps import Headers

_RANGE = re.compile(r"bytes=(\d+)-")


def open_below(folder: Path) -> list[str]:
    """The files in a folder that this process has open."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread closed it just now
            found.append(str(one.readlink()))
    return [name for name in found if name.startswith(f"{folder}/")]


@dataclass
class RangedFile:
    """Put it into a `FaultServer` as its default: `FaultServer(default=file.serve)`."""

    content: bytes
    tag: str | None = '"v1"'
    """Its ETag; None for none."""
    ranges: bool = True
    heeds: bool = True
    """Whether it knows `If-Range`."""
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    """Further ones of each response."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of the body each response breaks off, in order; those after them are whole."""
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    """Range and If-Range of each request."""
    drip: float = 0.0
    """Seconds between two pieces of 64 KiB."""

    def serve(self, exchange: Exchange) -> None:
        """Answer a request for it."""
        request = exchange.request
        assert request is not None
        wanted, condition = request.header("Range"), request.header("If-Range")
        self.asked.append((wanted, condition))
        found = _RANGE.fullmatch(wanted or "")
        start = int(found[1]) if found and self.ranges and (not self.heeds or condition == self.tag) else None
        if start is not None and start >= len(self.content):
            self._send(exchange, "416 Range Not Satisfiable", {"Content-Range": f"bytes */{len(self.content)}"}, b"")
        elif start is not None:
            last = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
            self._send(exchange, "206 Partial Content", {"Content-Range": last}, self.content[start:])
        else:
            self._send(exchange, "200 OK", {}, self.content)

    def _send(self, exchange: Exchange, status: str, headers: Headers, body: bytes) -> None:
        fields = {**({} if self.tag is None else {"ETag": self.tag}), **dict(headers), **self.headers}
        framing = {"Transfer-Encoding": "chunked"} if self.chunked else {"Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **framing}.items())
        exchange.send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1"))
        most = self.cuts.pop(0) if self.cuts else len(body)
        for at in range(0, min(most, len(body)), 1 << 16):
            piece = body[at : min(at + (1 << 16), most)]
            exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece)
            if self.drip:
                exchange.pause(self.drip)
        if most < len(body):
            exchange.keep = False
        elif self.chunked:
            exchange.send(b"0\r\n\r\n")


class CuttingProxy:
    """Stands before a server, and ends each connection once so many bytes have come back over it."""

    def __init__(self, url: str, each: int) -> None:
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._each = each
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        """How many have been taken."""
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        for client in self._clients():
            self.connections += 1
            upstream = socket.create_connection(self._target)
            threading.Thread(target=self._there, args=(client, upstream), daemon=True).start()
            threading.Thread(target=self._back, args=(client, upstream), daemon=True).start()

    def _clients(self) -> Iterator[socket.socket]:
        while True:
            try:
                yield self._listener.accept()[0]
            except OSError:
                return

    def _there(self, client: socket.socket, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                upstream.sendall(data)

    def _back(self, client: socket.socket, upstream: socket.socket) -> None:
        left = self._each
        with contextlib.suppress(OSError):
            while left and (data := upstream.recv(min(left, 1 << 18))):
                client.sendall(data)
                left -= len(data)
        for one in (client, upstream):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
