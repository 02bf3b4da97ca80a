"""The head of an answer: read within the attempt's limits, and parsed without the detour through e-mail.

http.client hands every answer's headers to the parser of the `email` package, which takes longer than
everything that sleepwalker adds to a call. Headers in the plain form that servers send (RFC 9112, section
5) are taken apart here; a head with any other line goes to that parser as ever.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
from typing import Any

from sleepwalker.transport.deadline import Limits, current_limits

#: http.client's own limits on a hostile server.
_LONGEST_LINE = 65536
_MOST_LINES = 100

_PLAIN_LINE = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*)\r?\n").fullmatch
_END = (b"\r\n", b"\n", b"")


class _Headers(http.client.HTTPMessage):
    """Headers known to be plain: what `email` would find out at each access is known of them."""

    def add(self, name: str, value: str) -> None:
        """One more header, as it came."""
        self._headers.append((name, value))  # type: ignore[attr-defined]

    def items(self) -> list[tuple[str, str]]:
        return list(self._headers)  # type: ignore[attr-defined]

    def get(self, name: str, failobj: Any = None) -> Any:
        name = name.lower()
        for key, value in self._headers:  # type: ignore[attr-defined]
            if key.lower() == name:
                return value
        return failobj

    def is_multipart(self) -> bool:
        return False

    def get_payload(self, i: Any = None, decode: bool = False) -> Any:
        return None


class BoundedReader(io.RawIOBase):
    """Reads from a socket, each time with what is left of the attempt's limits as the socket's timeout."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, limits: Limits) -> None:
        self._raw = raw
        self._sock = sock
        self._limits = limits
        self.ended = False
        """True once the server closed its side."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._limits.left())
        count = self._raw.readinto(buffer)
        self.ended = count == 0
        return count

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """An answer that is read within the limits of the attempt that asked for it."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        limits = current_limits()
        self._bounded: BoundedReader | None = None
        if limits is not None:
            self._bounded = BoundedReader(self.fp.detach(), sock, limits)
            self.fp = io.BufferedReader(self._bounded)

    def begin(self) -> None:
        """Read the head; what it says about the body decides, as in http.client, where the answer ends."""
        if self._bounded is None:
            super().begin()
            return
        version, status, reason = self._read_final_status()
        self.code = self.status = status
        self.reason = reason.strip()
        if version not in ("HTTP/1.0", "HTTP/0.9") and not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = headers = _read_headers(self.fp)
        if self._bounded.ended:
            # Half a head is no head; http.client would go on with it, and take the missing body for an empty one.
            raise http.client.IncompleteRead(b"")
        self.chunked = (headers.get("transfer-encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = bool(self._check_close())  # type: ignore[attr-defined]
        self.length = None if self.chunked else _length(headers.get("content-length"))
        if status in (204, 304) or 100 <= status < 200 or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        elif self.length is None and not self.chunked:
            self.will_close = True  # only the end of the connection can end the body

    def _read_final_status(self) -> tuple[str, int, str]:
        """The status line of the answer itself. (101 is one: nothing follows it.)"""
        while True:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            if not (100 <= status < 200 and status != 101):
                return version, status, reason
            _read_lines(self.fp)  # 100 Continue or 103 Early Hints: the answer is yet to come


def _length(text: str | None) -> int | None:
    try:
        length = int(text) if text else -1
    except ValueError:
        return None
    return length if length >= 0 else None


def _read_lines(fp: Any) -> list[bytes]:
    """The lines up to the empty one."""
    lines: list[bytes] = []
    while True:
        line = fp.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise http.client.LineTooLong("header line")
        if line in _END:
            return lines
        if len(lines) >= _MOST_LINES:
            raise http.client.HTTPException(f"got more than {_MOST_LINES} headers")
        lines.append(line)


def _read_headers(fp: Any) -> http.client.HTTPMessage:
    lines = _read_lines(fp)
    headers = _Headers()
    for line in lines:
        plain = _PLAIN_LINE(line)
        if plain is None:
            return http.client.parse_headers(io.BytesIO(b"".join(lines) + b"\r\n"))
        headers.add(plain[1].decode("latin-1"), plain[2].decode("latin-1"))
    return headers
