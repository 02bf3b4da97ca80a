"""The response of a stream, as urllib3 has it: each read ends in time, and a body that breaks is reported once.

A streamed body is read in many ways: `iter_content`, `content`, `raw.read`, `raw.stream`,
`shutil.copyfileobj(response.raw, file)`. All of them end here, so all have the same bounds and errors.

A read takes `timeout.read` seconds at most, however slowly the bytes come. What has arrived by then is returned, so
large pieces over a slow link do not fail; if nothing has, it is a timeout. A read of all the rest has no such end,
since it cannot return a part: there `timeout.read` bounds each silence.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError

from sleepwalker.transport.blocking.deadline import AttemptDeadline
from sleepwalker.transport.blocking.head import BoundedResponse
from sleepwalker.transport.codings import EncodedResponse, next_piece
from sleepwalker.transport.error_context import OnBreak
from sleepwalker.transport.framing import ClosedByReader

__all__ = ["ClosedByReader", "StreamedResponse", "begin_stream", "watch_stream"]

T = TypeVar("T")
#: The most bytes of a chunk that are returned as one piece, however long a chunk the server announces.
_LONGEST_CHUNK = 1 << 20
#: Bytes read at a time if the caller does not say how many.
_AT_ONCE = 1 << 16


class StreamedResponse(EncodedResponse):
    """A response whose body is streamed; made by changing the class of a response once its head has arrived."""

    deadline: AttemptDeadline
    on_break: OnBreak | None = None
    _reading = False
    """Whether a read is under way. urllib3's methods use each other."""
    _broken = False
    _given_up = False
    """Whether it was closed before its end, or a read was interrupted: then its reader caused any error."""
    _left: bytearray | None = None
    """What `read` decoded and has not returned yet."""

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
        """Up to `amt` bytes, or all the rest. Fewer at the end of the body, or if the time for a read ends."""
        whole = amt is None or amt < 0
        if not self._reading:
            if whole:
                return self._act(False, self._read_rest, decode_content, cache_content)
            return self._act(True, self._read_up_to, amt, decode_content)
        if self._decodes(decode_content):  # urllib3 has begun to, and goes on
            return super().read(amt, decode_content, cache_content)
        if not whole:
            return super().read(amt, False)
        bounded = self._bounded
        if bounded is None or not bounded.in_chunks:
            return super().read1(_AT_ONCE, False)
        return self._read_plain(_LONGEST_CHUNK, lambda: bounded.is_between_chunks)

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """What arrives next, up to `amt` bytes."""
        amt = _AT_ONCE if amt is None or amt < 0 else amt  # without a number urllib3 does not notice a body cut short
        return self._act(True, self._read_next, amt, decode_content)

    def stream(self, amt: int | None = _AT_ONCE, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        """The body in pieces of up to `amt` bytes; a chunked one as it arrives, with None chunk by chunk."""
        if amt is None and (bounded := self._bounded) is not None:
            bounded.keep_chunks_apart()
        pieces = super().stream(amt, decode_content)
        while (piece := self._act(True, next, pieces, None)) is not None:
            yield piece

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        """As `stream`, of a chunked body."""
        bounded = self._bounded
        here = bounded is not None and bounded.in_chunks
        yield from self.stream(amt, decode_content) if here else super().read_chunked(amt, decode_content)

    def close(self) -> None:
        """Close it, and give its place in the pool back. A response that nothing refers to any more is closed."""
        original = getattr(self, "_original_response", None)
        self._given_up = self._given_up or original is None or not original.isclosed()
        self._let_go()

    def is_late(self) -> bool:
        return self.deadline.read_is_over

    @property
    def _bounded(self) -> BoundedResponse | None:
        """What reads from the socket; None if that is not ours."""
        original = getattr(self, "_original_response", None)
        return original if isinstance(original, BoundedResponse) else None

    def _decodes(self, wanted: bool | None) -> bool:
        return (self.decode_content if wanted is None else wanted) and self._known_links() != []

    def _act(self, in_time: bool, act: Callable[..., T], *args: Any) -> T:
        """Call `act(*args)`, which reads, and return its result. With `in_time` the read ends when its time does."""
        broken: BaseException | None = None
        handled = sys.exception()
        self._reading = True
        try:
            if self._broken:
                raise ProtocolError("the body broke off before")
            if self._given_up:
                raise ClosedByReader
            if not self.closed:
                self.deadline.begin_read(in_time)
            return act(*args)
        except Exception as error:  # noqa: BLE001 - raised below, translated
            broken = error if self.on_break is None else self._broke(self.on_break, error, handled)
        except BaseException:  # Ctrl-C, a time limit: what was read of the body may be lost
            self._given_up = True
            self.close()
            raise
        finally:
            self._reading = False
            self.deadline.end_read()
        raise broken

    def _broke(self, on_break: OnBreak, error: Exception, handled: BaseException | None) -> BaseException:
        if self._given_up:
            error = ClosedByReader("the response was closed, or a read of it interrupted, before its end")
        raised = on_break(error, handled, self.deadline.deadline_hit and not self._given_up)
        if raised is not error:
            self._broken = True
            self._let_go()
        return raised

    def _let_go(self) -> None:
        with contextlib.suppress(ValueError):  # another thread is reading: its buffer is in use
            super().close()
        self.release_conn()

    def _read_rest(self, decode_content: bool | None, cache_content: bool) -> bytes:
        decodes = self._decodes(decode_content)
        if cache_content or not decodes:
            return super().read(None, decodes, cache_content)
        return b"".join(iter(lambda: self._read_decoded(_AT_ONCE, _AT_ONCE), b""))

    def _read_up_to(self, amt: int, decode_content: bool | None) -> bytes:
        if self._decodes(decode_content):
            return self._read_decoded(amt, amt)
        return self._read_plain(amt, lambda: not self.in_chunks)

    def _read_plain(self, amt: int, is_enough: Callable[[], bool]) -> bytes:
        """Up to `amt` bytes, also of several chunks; fewer if the body or the time ends, or once `is_enough()`."""
        pieces: list[bytes] = []
        missing = amt
        while missing and (not pieces or self._has_more()) and (data := super().read(missing, False)):
            pieces.append(data)
            missing -= len(data)
            if is_enough():
                break
        return b"".join(pieces)

    def _read_next(self, amt: int, decode_content: bool | None) -> bytes:
        return self._read_decoded(amt, 1) if self._decodes(decode_content) else super().read1(amt, False)

    def _has_more(self) -> bool:
        bounded = self._bounded
        return bounded is None or (not self.is_late() and bounded.has_more_in_time())

    def _read_decoded(self, most: int, least: int) -> bytes:
        """Up to `most` decoded bytes; at least `least`, unless the body or the time for this read ends."""
        links = self._known_links()
        if links is None:
            return super().read(most, True)
        if self._left is None:
            self._left = bytearray()
        left = self._left
        left += self._ready
        self._ready = b""
        while len(left) < least and not (left and self.is_late()):
            if piece := next_piece(links, _AT_ONCE):
                left += piece
            elif data := super().read(_AT_ONCE, False) if least > 1 else super().read1(_AT_ONCE, False):
                links[0].encoded += data
            else:
                if not left:
                    self._check_end(links)
                break
        data = bytes(left[:most])
        del left[:most]
        return data


def begin_stream(response: requests.Response, deadline: AttemptDeadline) -> None:
    """From now on the body is read within the time of `deadline`. One that is not urllib3's is left alone."""
    raw = response.raw
    if type(raw) in (HTTPResponse, EncodedResponse):
        raw.__class__ = StreamedResponse
        raw.deadline = deadline
        if "content-encoding" not in raw.headers:
            raw._links = []


def watch_stream(response: requests.Response, on_break: OnBreak) -> None:
    """Have reads of a body that breaks raise what `on_break` returns."""
    raw = response.raw
    if isinstance(raw, StreamedResponse):
        raw.on_break = on_break
