"""The head of an answer: read within the attempt's limits, and parsed without the detour through e-mail.

http.client hands every answer's headers to the parser of the `email` package, which takes longer than
everything that sleepwalker adds to a call. Headers in the plain form that servers send (RFC 9112, section
5) are taken apart here; a head with any other line goes to that parser as ever.
"""

from __future__ import annotations

import contextlib
import email.parser
import http.client
import io
import re
import socket
from typing import Any

from sleepwalker.transport.deadline import Limits, current_limits

#: http.client's own limits on a hostile server.
_LONGEST_LINE = 65536
_MOST_LINES = 100
#: Of a whole head. The six million bytes that http.client takes would take seconds to read, past any deadline.
_LONGEST_HEAD = 1 << 20

#: More than nearly all heads, and the small bodies after them, take.
_USUAL_HEAD = 16384

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([2-5][0-9][0-9])(?: ([^\r\n]*))?\r\n").fullmatch
# What matched once is not given back (`++`, `*+`): a head that is odd in the end costs no more than a plain one.
_FIELD = r"([!-9;-~]++):[ \t]*+([^\r\n]*+)\r\n"
_PLAIN_HEAD = re.compile(f"(?:{_FIELD.replace('(', '(?:')})*").fullmatch
_FIELDS = re.compile(f"^{_FIELD}", re.MULTILINE).findall
_PLAIN_LINE = re.compile(rb"([!-9;-~]++):[ \t]*+([^\r\n]*+)\r?\n").fullmatch
_HEADERS_ONLY = email.parser.HeaderParser(http.client.HTTPMessage)
_END = (b"\r\n", b"\n", b"")
_fold = re.compile(r"(?:(?<![ \t])[ \t]+)?\r?\n[ \t]+")


class PlainHeaders(http.client.HTTPMessage):
    """Headers known to be plain: what `email` would find out at each access is known of them."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self._headers = pairs
        store = {name.lower(): (name, value) for name, value in pairs}
        self.store = store if len(store) == len(pairs) else None
        """By name in lower case, as requests keeps them; None where a name comes twice."""

    def items(self) -> list[tuple[str, str]]:
        return list(self._headers)

    def get(self, name: str, failobj: Any = None) -> Any:
        name = name.lower()
        if self.store is not None:
            pair = self.store.get(name)
            return failobj if pair is None else pair[1]
        for key, value in self._headers:
            if key.lower() == name:
                return value
        return failobj

    def is_multipart(self) -> bool:
        return False

    def get_payload(self, i: Any = None, decode: bool = False) -> Any:
        return None


class Intake:
    """What comes through a socket, each time waited for with what is left of the attempt's limits."""

    __slots__ = ("_done", "_held", "_limits", "_sock", "ahead", "ended")

    def __init__(self, sock: Any, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self._held: Any = None
        self._done = False
        self.ahead = b""
        """What has come and was not read yet."""
        self.ended = False
        """True once the server closed its side."""

    def read_into(self, buffer: Any) -> int:
        """Fill some of `buffer`; 0 where nothing more comes."""
        if ahead := self.ahead:
            size = min(len(ahead), len(buffer))
            buffer[:size] = ahead[:size]
            self.ahead = ahead[size:]
            return size
        if self._done:
            return 0
        self._sock.settimeout(self._limits.left())
        count: int = self._sock.recv_into(buffer)
        self.ended = count == 0
        return count

    def take_head(self) -> str | None:
        """A head that has come as a whole, up to its empty line; None where none has, and nothing is lost."""
        self._sock.settimeout(self._limits.left())
        data = self._sock.recv(_USUAL_HEAD)
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.ahead, self.ended = data, not data
            return None
        self.ahead = data[end + 4 :]
        return str(data[: end + 2], "latin-1")

    def untake(self, head: str) -> None:
        """Put back what `take_head` took."""
        self.ahead = head.encode("latin-1") + b"\r\n" + self.ahead

    def finish(self, buffered: io.BufferedReader) -> None:
        """The answer is over, and `buffered` is what read it: if more came, the rest must not pass for the next one.

        The socket is shut down then, so that its pool finds it closed.
        """
        self._done = True  # from here on `peek` shows what is there, and reads nothing
        if self.ahead or buffered.peek(1):
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Keep the socket open until `let_go`, though its connection lets go of it."""
        self._held = self._sock.makefile("rb", buffering=0)

    def fileno(self) -> int:
        """The socket's."""
        return int(self._sock.fileno())

    def let_go(self) -> None:
        """End a `hold`."""
        if self._held is not None:
            self._held.close()


class _Reader(io.RawIOBase):
    """An intake as `io.BufferedReader` wants it."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._intake.fileno()

    def readinto(self, buffer: Any) -> int:
        return self._intake.read_into(buffer)

    def close(self) -> None:
        self._intake.let_go()
        super().close()


#: Stands for the file of an answer that nobody has read from: most are over before one is needed.
_LATER: Any = object()


class Response(http.client.HTTPResponse):
    """An answer that is read within the limits of the attempt that asked for it.

    Its file `_fp` is not made until somebody reads from it (`_LATER`), then open, and None once the answer is over.
    Asked for without any limits, it is http.client's own in everything.
    """

    came_straight = False
    """Whether it came the short way: then its body may be taken that way, too."""
    _intake: Intake | None = None
    _fp: Any = None
    # As http.client has them until the head is there.
    debuglevel = 0
    headers: Any = None
    msg: Any = None
    version: Any = "UNKNOWN"
    status: Any = "UNKNOWN"
    reason: Any = "UNKNOWN"
    chunked: Any = "UNKNOWN"
    chunk_left: Any = "UNKNOWN"
    length: Any = "UNKNOWN"
    will_close: Any = "UNKNOWN"

    def __init__(self, sock: Any, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        limits = current_limits()
        if limits is None:
            self._intake = None
            super().__init__(sock, debuglevel, method, url)
            return
        self._intake = Intake(sock, limits)
        self._fp = _LATER
        self._method = method

    @property
    def fp(self) -> Any:
        """The file that http.client reads from; None once the answer is over."""
        if self._fp is _LATER:
            self._fp = io.BufferedReader(_Reader(self._intake))  # type: ignore[arg-type]
        return self._fp

    @fp.setter
    def fp(self, file: Any) -> None:
        self._fp = file

    def isclosed(self) -> bool:
        return self._fp is None

    def flush(self) -> None:
        if self._fp is not None:  # an answer that is over is flushed, too, when it is let go of
            super().flush()

    def take_body(self) -> bytes | None:
        """The body, where all of it came with the head and nothing else did, and the answer is over then.

        None, and nothing is taken, in all other cases: `read` has it.
        """
        intake = self._intake
        if self._fp is not _LATER or self.chunked or self.will_close or intake is None:
            return None
        body = intake.ahead
        if len(body) != self.length:
            return None
        intake.ahead = b""
        self.length = 0
        self._fp = None
        return body

    def begin(self) -> None:
        """Read the head; what it says about the body decides, as in http.client, where the answer ends."""
        reader = self._intake
        if reader is None:
            super().begin()
            return
        head = reader.take_head()
        if head is None or not self._take_apart(head):
            if head is not None:
                reader.untake(head)
            self._read_line_by_line(reader)
        headers, status = self.headers, self.status
        self.chunked = (headers.get("transfer-encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = bool(self._check_close())  # type: ignore[attr-defined]
        self.length = None if self.chunked else _length(headers.get("content-length"))
        if status in (204, 304) or 100 <= status < 200 or self._method == "HEAD":
            self.length = 0
            if self.chunked and self._method != "HEAD":
                # http.client and urllib3 would wait for chunks (RFC 9112, section 6.3: there are none).
                self.chunked = False
                self._close_conn()
        elif self.length is None and not self.chunked:
            self.will_close = True  # only the end of the connection can end the body
        if self.will_close and not self.isclosed():
            reader.hold()

    def _close_conn(self) -> None:
        if self._intake is not None and not self.will_close:
            self._intake.finish(self.fp)
        super()._close_conn()  # type: ignore[misc]

    def _take_apart(self, head: str) -> bool:
        """Understand a head in the form that servers send; False, and nothing done, where it has any other."""
        start = head.index("\r\n") + 2
        line = _STATUS_LINE(head, 0, start)
        if line is None or not _PLAIN_HEAD(head, start):
            return False
        pairs = _FIELDS(head, start)
        if len(pairs) > _MOST_LINES:
            return False
        self.headers = self.msg = PlainHeaders(pairs)
        self.version = 10 + int(line[1])
        self.code = self.status = int(line[2])
        self.reason = (line[3] or "").strip()
        return True

    def _read_line_by_line(self, reader: Intake) -> None:
        version, status, reason = self._read_final_status()
        self.code = self.status = status
        self.reason = reason.strip()
        if version not in ("HTTP/1.0", "HTTP/0.9") and not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = _read_headers(self.fp)
        if reader.ended:
            # Half a head is no head; http.client would go on with it, and take the missing body for an empty one.
            raise http.client.IncompleteRead(b"")

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
    left = _LONGEST_HEAD
    while True:
        line = fp.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise http.client.LineTooLong("header line")
        left -= len(line)
        if left < 0:
            raise http.client.HTTPException(f"got more than {_LONGEST_HEAD} bytes of headers")
        if line in _END:
            return lines
        if len(lines) >= _MOST_LINES:
            raise http.client.HTTPException(f"got more than {_MOST_LINES} headers")
        lines.append(line)


def _read_headers(fp: Any) -> http.client.HTTPMessage:
    lines = _read_lines(fp)
    pairs = []
    for line in lines:
        plain = _PLAIN_LINE(line)
        if plain is None:
            headers = _parse_odd(b"".join(lines))
            pairs = [(name, _fold.sub(" ", value) if "\n" in value else value) for name, value in headers.items()]
            headers._headers = pairs  # type: ignore[attr-defined]
            return headers
        pairs.append((plain[1].decode("latin-1"), plain[2].decode("latin-1")))
    return PlainHeaders(pairs)


def _parse_odd(lines: bytes) -> http.client.HTTPMessage:
    """As `http.client.parse_headers`, but without taking what follows an odd line apart as a body."""
    if lines.count(b"\r") > _MOST_LINES:  # the parser breaks lines also there
        raise http.client.HTTPException(f"got more than {_MOST_LINES} headers")
    return _HEADERS_ONLY.parsestr(lines.decode("latin-1"))
