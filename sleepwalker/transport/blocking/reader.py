"""Reads from a socket; each read waits no longer than the attempt's deadline allows."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
from typing import Any, Literal

from sleepwalker.transport.blocking.deadline import AttemptDeadline
from sleepwalker.transport.framing import (
    FIRST_SIZE,
    LONGEST_HEAD,
    LONGEST_LINE,
    LONGEST_SIZE_LINE,
    MOST_LINES,
    NEXT_SIZE,
    UNANNOUNCED,
    MalformedResponse,
    chunk_size,
)

#: Bytes: more than most heads with a small body.
_USUAL_HEAD = 16384
#: Bytes received at a time of a body.
_AT_ONCE = 1 << 16
_CRLF = b"\r\n"


class BoundedReader:
    """Reads from a socket; each read waits no longer than the attempt's deadline allows."""

    __slots__ = ("_deadline", "_done", "_held", "_sock", "ahead", "ended", "short")

    def __init__(self, sock: Any, deadline: AttemptDeadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._held: Any = None
        self._done = False
        self.ahead = b""
        """Bytes that arrived and were not read yet."""
        self.ended = False
        """True once the server closed its side."""
        self.short = False
        """Whether a read may end without data when its time is over: `RawReader.readinto` then returns None."""

    def read_into(self, buffer: Any) -> int:
        """Fill some of `buffer`; 0 at the end."""
        if ahead := self.ahead:
            size = min(len(ahead), len(buffer))
            buffer[:size] = ahead[:size]
            self.ahead = ahead[size:]
            return size
        if self._done:
            return 0
        self._sock.settimeout(self._deadline.remaining())
        try:
            count: int = self._sock.recv_into(buffer)
        except ssl.SSLEOFError:
            count = -1
        except OSError:
            self._deadline.broke = True
            raise
        self._note(count)
        if count < 0:  # only after `require_close_notify`; not in `except`: with that context it would be a TLS error
            raise MalformedResponse(UNANNOUNCED)
        return count

    def read_some(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end."""
        # Each step copies what is kept for later, so that must be short.
        data = self.ahead or self._receive(max(_USUAL_HEAD, min(most, _AT_ONCE)))
        self.ahead = data[most:]
        return data[:most]

    def read_line(self, limit: int) -> bytes:
        """The next line with its end. Without an end: the last one, or one longer than `limit` bytes.

        If its end does not arrive in time, the received part is kept for the next try.
        """
        parts: list[bytes] = []
        size = 0
        try:
            while data := self.ahead or self._receive(_USUAL_HEAD):
                end = data.find(b"\n") + 1 or len(data)
                parts.append(data[:end])
                self.ahead = data[end:]
                size += end
                if size > limit or data[end - 1] == 10:
                    break
        except TimeoutError:
            self.ahead = b"".join(parts)
            raise
        return b"".join(parts)

    def read_lines(self, what: Literal["header", "trailer"], limit: int = LONGEST_HEAD) -> list[str]:
        """The lines up to the empty one, without their ends; together no longer than `limit` bytes.

        A trailer may end with the connection: some servers leave its empty line out.
        """
        lines: list[str] = []
        while True:
            line = self.read_line(LONGEST_LINE)
            if len(line) > LONGEST_LINE:
                raise MalformedResponse(f"a {what} line of the response is longer than {LONGEST_LINE} bytes")
            limit -= len(line)
            if limit < 0:
                raise MalformedResponse(f"the {what} lines of the response are longer than {LONGEST_HEAD} bytes")
            if line in (_CRLF, b"\n"):
                return lines
            if not line.endswith(b"\n"):
                if what == "trailer":
                    return lines
                raise MalformedResponse("the connection ended within the response's head")
            if len(lines) >= MOST_LINES:
                raise MalformedResponse(f"the response has more than {MOST_LINES} {what} lines")
            lines.append(without_end(line))

    def read_head(self) -> str | None:
        """The head without its empty line, if it has arrived as a whole. Else None, and what arrived stays in `ahead`.

        Receives, once, only if `ahead` is empty.
        """
        data = self.ahead
        if not data:
            self._sock.settimeout(self._deadline.remaining())
            data = self._sock.recv(_USUAL_HEAD)
        end = data.find(b"\r\n\r\n") if data else -1
        if end < 0:
            self.ahead, self.ended = data or b"", not data
            return None
        self.ahead = data[end + 4 :]
        return str(data[: end + 2], "latin-1")

    @property
    def in_read(self) -> bool:
        """As `AttemptDeadline.in_read`."""
        return self._deadline.in_read

    def unread(self, head: str) -> None:
        """Put back what `read_head` returned."""
        self.ahead = head.encode("latin-1") + b"\r\n" + self.ahead

    def finish(self, buffered: io.BufferedReader) -> None:
        """End a response that was read through `buffered`. If more bytes arrived, or an end, shut the socket down.

        They must not be read as the next response; the pool finds the socket closed. (After TLS's close_notify, the
        socket itself may close only later.)
        """
        self._done = True  # from here on `peek` reads nothing from the socket
        try:
            unread = self.ended or self.ahead or buffered.peek(1)
        except http.client.HTTPException:
            unread = True  # the rest of a chunked body, which is not read to its end
        if unread:
            # urllib3's TLS within the TLS of a proxy has no `shutdown`, but the socket within has.
            sock = self._sock if hasattr(self._sock, "shutdown") else self._sock.socket
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def require_close_notify(self) -> None:
        """From here on, a TLS connection must end with close_notify: anyone on the way can end the TCP connection."""
        if hasattr(self._sock, "suppress_ragged_eofs"):
            self._sock.suppress_ragged_eofs = False

    def hold(self) -> None:
        """Keep the socket open until `release`, even if its connection closes it."""
        self._held = self._sock.makefile("rb", buffering=0)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return int(self._sock.fileno())

    def release(self) -> None:
        """End a `hold`."""
        if self._held is not None:
            self._held.close()

    def _receive(self, size: int) -> bytes:
        if self._done:
            return b""
        self._sock.settimeout(self._deadline.remaining())
        try:
            data: bytes = self._sock.recv(size)
        except OSError:
            self._deadline.broke = True
            raise
        data = data or b""  # TLS within the TLS of a proxy returns 0
        self._note(len(data))
        return data

    def _note(self, count: int) -> None:
        """Note that `count` bytes arrived: 0 at the end, -1 at an end without close_notify."""
        self.ended = count == 0
        if count <= 0:
            self._deadline.broke = True
        if self._deadline.in_read:
            self._deadline.heard()


def without_end(line: bytes) -> str:
    """A line without its end, as text."""
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")


class RawReader(io.RawIOBase):
    """A `BoundedReader` as `io.BufferedReader` needs it."""

    def __init__(self, reader: BoundedReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._reader.fileno()

    def readinto(self, buffer: Any) -> int | None:
        try:
            return self._fill(buffer)
        except TimeoutError:
            if self._reader.short:
                return None
            raise

    def _fill(self, buffer: Any) -> int:
        return self._reader.read_into(buffer)

    def close(self) -> None:
        if reader := getattr(self, "_reader", None):  # there is none where a signal handler raised in the constructor
            reader.release()
        super().close()


class ChunkReader(RawReader):
    """The body of a chunked response without its frames (RFC 9112, section 7.1).

    http.client and urllib3 each read chunks in their own way, take sizes such as `-5` or `1_0`, and allocate memory for
    whatever a server announces. So they see no chunks. What has arrived is passed on, many small chunks at once.
    """

    is_over = False
    """Whether all of the body was passed on, and the trailer was read."""
    apart = False
    """Whether a read ends with its chunk."""
    _data = b""
    _at = 0
    """Where in `_data` the part begins that was not passed on yet."""
    _left = 0
    """Bytes of the present chunk that were not passed on yet."""
    _next_size = staticmethod(FIRST_SIZE)
    _end = b""
    """The received part of the line end after a chunk."""
    _in_trailer = False

    @property
    def is_between_chunks(self) -> bool:
        """Whether all of the latest chunk was passed on."""
        return self._left == 0

    def _fill(self, buffer: Any) -> int:
        filled, room = 0, len(buffer)
        while filled < room:
            if not self._left and not self._begin_chunk(wait=filled == 0, apart=self.apart and filled > 0):
                break
            if self._at == len(self._data):
                if filled:
                    break
                self._receive()
            size = min(self._left, len(self._data) - self._at, room - filled)
            buffer[filled : filled + size] = self._data[self._at : self._at + size]
            filled += size
            self._at += size
            self._left -= size
        return filled

    def _receive(self) -> None:
        data = self._reader.read_some(_AT_ONCE)
        if not data:
            raise http.client.IncompleteRead(b"")
        self._data, self._at = data, 0

    def _begin_chunk(self, *, wait: bool, apart: bool) -> bool:
        """Begin the next chunk. False at the body's end, with `apart`, and without `wait` if it has not arrived."""
        if apart or self.is_over:
            return False
        plain = self._next_size(self._data, self._at)
        if plain is not None and (size := int(plain[1], 16)):
            self._at, self._left, self._next_size = plain.end(), size, NEXT_SIZE
            return True
        return wait and self._begin_odd_chunk()

    def _begin_odd_chunk(self) -> bool:
        """The same for a chunk whose size has not arrived as a whole, has extensions or is 0.

        After a TimeoutError it can be called again.
        """
        reader = self._reader
        reader.ahead = self._data[self._at :] + reader.ahead
        self._data, self._at = b"", 0
        if self._next_size is NEXT_SIZE:
            self._end_chunk()
            self._next_size = FIRST_SIZE
        if not self._in_trailer:
            line = reader.read_line(LONGEST_SIZE_LINE)
            if not line.endswith(b"\n") and len(line) <= LONGEST_SIZE_LINE:
                raise http.client.IncompleteRead(b"")
            self._left = chunk_size(line)
            if self._left:
                self._next_size = NEXT_SIZE
                return True
            self._in_trailer = True
        reader.read_lines("trailer")
        self.is_over = True
        return False

    def _end_chunk(self) -> None:
        while len(self._end) < len(_CRLF):
            if not (data := self._reader.read_some(len(_CRLF) - len(self._end))):
                raise http.client.IncompleteRead(b"")
            self._end += data
        if self._end != _CRLF:
            raise MalformedResponse("a chunk of the response is longer than its size")
        self._end = b""
