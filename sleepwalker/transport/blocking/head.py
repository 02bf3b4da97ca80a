"""The head of a response: read within the attempt's deadline, and parsed without the `email` package.

http.client parses headers with the `email` package, which takes longer than all that sleepwalker adds to a call, and
stops at the first line that is not a header: all headers after it would be lost. A head in the usual form is parsed
with one regular expression; any other is read line by line (`framing`).
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

from sleepwalker.transport.blocking.deadline import current_deadline
from sleepwalker.transport.blocking.reader import BoundedReader, ChunkReader, RawReader, without_end
from sleepwalker.transport.framing import (
    LONGEST_HEAD,
    LONGEST_LINE,
    MOST_INTERIM,
    MOST_LINES,
    MalformedResponse,
    content_length,
    parse_fields,
    parse_status_line,
    times_chunked,
)
from sleepwalker.transport.plain_headers import PlainHeaders

#: Bytes read at a time. One read of a whole body would allocate as much memory as the server announces.
_AT_ONCE = 1 << 20
#: The same for reads that return what has arrived.
_ARRIVES = 1 << 16

# A head with other characters in its reason or values is read line by line.
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([2-5][0-9][0-9])(?: ([ -~]*))?\r\n").fullmatch
# Possessive (`++`, `*+`), so there is no backtracking: an odd line at the end costs no more than a plain one.
_FIELDS = re.compile(r"^([!-9;-~]++):[ \t]*+([^\r\n\0]*+)\r\n", re.MULTILINE).findall
_USUAL_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch


#: Stands for a file that is not made yet: most responses end before one is needed.
_LATER: Any = object()


class BoundedResponse(http.client.HTTPResponse):
    """A response that is read within the deadline of its attempt.

    Its file `_fp` is `_LATER` until it is first read from, then open, and None at the end of the response. Without a
    deadline it behaves as http.client's own.
    """

    by_fast_path = False
    """Whether its request took the fast path; then `take_body` may be used."""
    needs_close_notify = True
    """Whether a body that ends with its TLS connection needs TLS's close_notify (`pool.require_close_notify`)."""
    _reader: BoundedReader | None = None
    _fp: Any = None
    in_chunks = False
    """Whether the body comes in chunks. Only this class sees them: for http.client the body ends where `fp` does."""
    _cut = False
    # http.client's values until the head was read.
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
        deadline = current_deadline()
        if deadline is None:
            self._reader = None
            super().__init__(sock, debuglevel, method, url)
            return
        self._reader = BoundedReader(sock, deadline)
        self._fp = _LATER
        self._method = method

    @property
    def fp(self) -> Any:
        """The file that http.client reads from; None at the end of the response."""
        if self._fp is _LATER:
            reader: Any = self._reader
            self._fp = io.BufferedReader(ChunkReader(reader) if self.in_chunks else RawReader(reader))
        return self._fp

    @fp.setter
    def fp(self, file: Any) -> None:
        self._fp = file

    def isclosed(self) -> bool:
        return self._fp is None

    def flush(self) -> None:
        if self._fp is not None:  # a finished response is flushed, too, when it is freed
            super().flush()

    def read(self, amt: int | None = None) -> bytes:
        """As in http.client, but at once for a body that arrived with its head on the fast path, else in pieces."""
        reader = self._reader
        if amt is not None and reader is not None and reader.in_read and self._method != "HEAD":
            return self._read_in_time(reader, amt)
        body = self.take_body() if amt is None and self.by_fast_path else None
        if body is not None:
            return body
        if self.in_chunks:
            return b"".join(iter(lambda: self._read_chunks(_AT_ONCE), b"")) if amt is None else self._read_chunks(amt)
        left = self.length if amt is None else amt
        if left.__class__ is not int or left <= _AT_ONCE or reader is None:
            return super().read(amt)
        pieces = []
        while left and (piece := super().read(min(left, _AT_ONCE))):
            pieces.append(piece)
            left -= len(piece)
        if left and amt is None:
            raise http.client.IncompleteRead(b"".join(pieces), left)
        return b"".join(pieces)

    def read1(self, n: int = -1) -> bytes:
        """As in http.client, but a body that ends early is an error, and memory is not allocated for all of it."""
        began = self._fp is not None
        data = super().read1(n if 0 <= n < _ARRIVES else _ARRIVES)
        if not data and n and began and self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return data

    def _read_chunks(self, amt: int) -> bytes:
        """What arrives next, up to `amt` bytes."""
        if self._fp is None:
            return b""
        data: bytes = self.fp.read1(amt)
        if not data and amt:
            self._close_conn()
        return data

    def _read_in_time(self, reader: BoundedReader, amt: int) -> bytes:
        """Up to `amt` bytes. Fewer if the body is chunked or the time ends; none at the end of the body.

        TimeoutError if none arrived in time.
        """
        if self._fp is None:
            return b""
        data = self._read_short(reader, amt if self.length is None else min(amt, self.length))
        if self.length is not None:
            self.length -= len(data)
        if self.length == 0 or (not data and amt):
            self._close_conn()
        return data

    def _read_short(self, reader: BoundedReader, amt: int) -> bytes:
        reader.short = True
        try:
            data: bytes | None = self.fp.read1(amt) if self.in_chunks else self.fp.read(amt)
        finally:
            reader.short = False
        if data is None or (not data and amt and self.in_chunks and not self.fp.raw.is_over):
            raise TimeoutError("timed out")
        return data

    def has_more_in_time(self) -> bool:
        """Wait until more of the body, or its end, arrives. False if the time for the present read ends first."""
        reader = self._reader
        if reader is None or self._fp is None:
            return True
        reader.short = True
        try:
            return bool(self.fp.peek(1)) or reader.ended or (self.in_chunks and self.fp.raw.is_over)
        finally:
            reader.short = False

    def keep_chunks_apart(self) -> None:
        """From now on a read ends with its chunk."""
        if self._fp is not None and self.in_chunks:
            self.fp.raw.apart = True

    @property
    def is_between_chunks(self) -> bool:
        """Whether the chunk that was read last is over."""
        return self._fp is None or self.fp.raw.is_between_chunks

    def take_body(self) -> bytes | None:
        """The body, if exactly all of it arrived with the head; this ends the response.

        Else None, and nothing is taken: use `read`.
        """
        reader = self._reader
        if self._fp is not _LATER or self.chunked or self.will_close or reader is None:
            return None
        body = reader.ahead
        if len(body) != self.length:
            return None
        reader.ahead = b""
        self.length = 0
        self._fp = None
        return body

    def begin_with(self, data: bytes, *, cut: bool) -> None:
        """Read `data`, which has arrived, before the rest; `cut`: the request was not sent to its end."""
        if self._reader is not None:
            self._reader.ahead, self._cut = data, cut

    def begin(self) -> None:
        """Read the head, which says where the response ends, as in http.client."""
        reader = self._reader
        if reader is None:
            super().begin()
            return
        head = reader.read_head()
        if head is None or not self._take_apart(head):
            if head is not None:
                reader.unread(head)
            self._read_line_by_line(reader)
        else:
            self._read_framing()
        status = self.status
        if status == 101:
            self.will_close = True  # what follows is another protocol
        if status in (204, 304) or 100 <= status < 200 or self._method == "HEAD":
            self.length = 0
            if self.chunked and self._method != "HEAD":
                # http.client and urllib3 would wait for chunks (RFC 9112, section 6.3: there are none).
                self.chunked = False
                self._close_conn()
        elif self.chunked:
            self.chunked, self.in_chunks = False, True
        elif self.length is None:
            self.will_close = True  # only the end of the connection ends the body
            if self.needs_close_notify:
                reader.require_close_notify()
        if self._cut:
            self.will_close = True  # the server would read the next request as the rest of this one
        if self.will_close and not self.isclosed():
            reader.hold()

    def _read_framing(self, well_formed: bool = True) -> None:
        """Determine where the body ends, and whether the connection may be used again."""
        fields = self.headers.store
        self.chunk_left = None
        if well_formed and fields is not None and self.version == 11 and "transfer-encoding" not in fields:
            # One access through the mapping costs as much as all of these.
            length = fields["content-length"][1] if "content-length" in fields else None
            if length is None or _USUAL_LENGTH(length):
                self.chunked = False
                self.length = None if length is None else int(length)
                self.will_close = "connection" in fields and "close" in fields["connection"][1].lower()
                return
        self._read_odd_framing(well_formed)

    def _read_odd_framing(self, well_formed: bool) -> None:
        """The same for any head (RFC 9112, sections 6.1 and 6.3)."""
        codings, lengths = self.headers.get_all("transfer-encoding"), self.headers.get_all("content-length")
        times = 0 if codings is None else times_chunked(codings)
        self.chunked = times > 0
        self.length = None
        if lengths is not None and not self.chunked:
            self.length = content_length(lengths)
            if len(lengths) > 1 or "," in lengths[0]:
                self.headers = self.msg = self.headers.with_length(self.length)
        doubtful = codings is not None and (lengths is not None or self.version == 10 or times > 1)
        self.will_close = doubtful or not well_formed or self._says_close()

    def _says_close(self) -> bool:
        """Whether the connection ends with this response. As in http.client, but a repeated header counts as one."""
        said = ",".join(self.headers.get_all("connection", ())).lower()
        if self.version == 11 or "close" in said:
            return "close" in said
        proxy = ",".join(self.headers.get_all("proxy-connection", ())).lower()
        return not ("keep-alive" in said or "keep-alive" in proxy or self.headers.get("keep-alive"))

    def _close_conn(self) -> None:
        file = self.fp
        if file is None:  # another thread closed it meanwhile
            return
        if self._reader is not None and not self.will_close:
            self._reader.finish(file)
        self._fp = None
        file.close()

    def _take_apart(self, head: str) -> bool:
        """Parse a head in the usual form; False, with nothing changed, for any other."""
        start = head.index("\r\n") + 2
        line, pairs = _STATUS_LINE(head, 0, start), _FIELDS(head, start)
        # All lines after the first must be plain.
        if line is None or len(pairs) != head.count("\n") - 1 or len(pairs) > MOST_LINES:
            return False
        self.headers = self.msg = PlainHeaders(pairs)
        self.version = 10 + int(line[1])
        self.code = self.status = int(line[2])
        self.reason = (line[3] or "").strip()
        return True

    def _read_line_by_line(self, reader: BoundedReader) -> None:
        left = LONGEST_HEAD
        for _ in range(MOST_INTERIM + 1):
            line = reader.read_line(LONGEST_LINE)
            if not line:
                raise http.client.RemoteDisconnected("closed without a response")
            if b"HTTP/".startswith(line[:5]) and not line.endswith(b"\n") and len(line) <= LONGEST_LINE:
                raise MalformedResponse("the connection ended within the response's head")
            self.version, status, self.reason = parse_status_line(without_end(line))
            lines = reader.read_lines("header", left)
            left -= sum(map(len, lines))
            if not 100 <= status < 200 or status == 101:  # after 101, no other response follows
                break
        else:
            raise MalformedResponse(f"more than {MOST_INTERIM} interim responses (1xx), and no final one")
        pairs, well_formed = parse_fields(lines)
        self.code = self.status = status
        self.headers = self.msg = PlainHeaders(pairs)
        self._read_framing(well_formed)
