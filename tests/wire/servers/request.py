"""What a client sent, read off the wire as it stands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from .link import Link


@dataclass
class Request:
    """One request as it stood on the wire."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    connection: int
    """Number of the connection it came on, from 1."""
    time: float
    """Monotonic, when the head was complete."""
    body: bytes = b""
    """Decoded if it was chunked."""
    complete: bool = False
    """Whether all of the body came (and the step let it be read)."""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        return urlsplit(self.target).query

    def header(self, name: str) -> str | None:
        """The value of a header, by any case; the last one if it was sent more than once."""
        return next((value for key, value in reversed(self.headers) if key.lower() == name.lower()), None)

    @property
    def keeps(self) -> bool:
        """Whether the client is willing to keep the connection."""
        return self.version == "HTTP/1.1" and (self.header("Connection") or "").lower() != "close"


def read_head(link: Link) -> Request:
    """The next request, without its body; ValueError if it is no HTTP/1, Gone if the client leaves."""
    lines = link.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("not HTTP/1")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:-2])]
    return Request(method, target, version, headers, link.number, time.monotonic())


def read_body(link: Link, request: Request) -> None:
    """Read and decode what follows the head; Gone if the client leaves in the middle."""
    if "chunked" in (request.header("Transfer-Encoding") or "").lower():
        while size := int(link.read_until(b"\r\n").split(b";")[0], 16):
            request.body += link.read(size)
            link.read(2)
        while link.read_until(b"\r\n") != b"\r\n":
            pass
    else:
        request.body = link.read(int(request.header("Content-Length") or 0))
    request.complete = True
