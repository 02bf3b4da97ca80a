"""Bodies of requests and responses in the form of these libraries: iterables of bytes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sleepwalker.adapters.transports.library import Library
from sleepwalker.transport.codings import TruncatedBody, is_cut_off
from sleepwalker.transport.error_context import OnBreak

#: Media types, or the beginnings of some, of bodies that are produced while they are read.
_STREAMS = (
    "application/connect",
    "application/grpc",
    "application/json-seq",
    "application/jsonl",
    "application/ndjson",
    "application/stream+json",
    "application/vnd.amazon.eventstream",
    "application/x-jsonlines",
    "application/x-ndjson",
    "audio/",
    "multipart/",
    "text/event-stream",
    "video/",
)
#: How many decoded bytes are checked to find whether a body is complete: a small body may decode to a very long one.
_CHECKED = 1 << 20
#: Statuses after which the socket is the caller's.
_SWITCHED = frozenset({101})


@dataclass(slots=True)
class RequestBody:
    """The body of a request, as it is sent."""

    stream: Any
    replayable: bool
    """Whether it can be sent again, and twice at the same time."""
    error: Exception | None = None
    """What the caller's own iterator raised while it was sent."""


def is_read_within(status: int, headers: Mapping[str, str], most: int) -> bool:
    """Whether a response's body is read within the attempt, as far as its head tells.

    It is not if it is longer than `most` bytes, or of a type that is produced while it is read. A transport cannot know
    whether its caller streams.
    """
    if most <= 0 or status in _SWITCHED:
        return False
    length = headers.get("content-length", "")
    if length.isdecimal():
        return int(length) <= most
    return not headers.get("content-type", "").strip().lower().startswith(_STREAMS)


def length_of(headers: Mapping[str, str]) -> int | None:
    """The length of a request's body; None if only sending can show it."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def body_of(library: Library, request: Any, most: int) -> RequestBody:
    """The body of a request. An iterator with a `Content-Length` of at most `most` is read, to be sent again."""
    stream, module = request.stream, library.module
    if isinstance(stream, module.ByteStream):
        return RequestBody(stream, True)
    if (length := length_of(request.headers)) is not None and length <= most:
        return RequestBody(module.ByteStream(b"".join(stream)), True)
    body = RequestBody(None, False)
    body.stream = library.stream(SentOnce)(stream, body)
    return body


async def async_body_of(library: Library, request: Any, most: int) -> RequestBody:
    """The same for an asynchronous one."""
    stream, module = request.stream, library.module
    if isinstance(stream, module.ByteStream):
        return RequestBody(stream, True)
    if (length := length_of(request.headers)) is not None and length <= most:
        return RequestBody(module.ByteStream(b"".join([piece async for piece in stream])), True)
    body = RequestBody(None, False)
    body.stream = library.stream(AsyncSentOnce)(stream, body)
    return body


def check_whole(pieces: list[bytes], response: Any) -> None:
    """Raise `TruncatedBody` if a body is complete by its framing, but only a part of what was encoded."""
    codings = response.headers.get("content-encoding")
    if codings and is_cut_off(codings, response.status_code, pieces, _CHECKED):
        raise TruncatedBody("the encoded body is incomplete")


class SentOnce:
    """A caller's iterator. It notes the exceptions of the iterator, which do not count against the host."""

    def __init__(self, stream: Any, body: RequestBody) -> None:
        self._stream, self._body = stream, body

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            self._body.error = error
            raise


class AsyncSentOnce:
    """The same, awaited."""

    def __init__(self, stream: Any, body: RequestBody) -> None:
        self._stream, self._body = stream, body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                yield piece
        except Exception as error:
            self._body.error = error
            raise


class Rest:
    """A response's body: one part was read within the attempt, and the caller reads the rest."""

    def __init__(self, pieces: list[bytes], more: Iterator[bytes], stream: Any) -> None:
        self._pieces, self._more, self._stream = pieces, more, stream
        self.on_break: OnBreak | None = None
        """Set when the response is handed over."""

    def __iter__(self) -> Iterator[bytes]:
        handled = sys.exception()
        pieces, self._pieces = self._pieces, []
        yield from pieces
        try:
            yield from self._more
            return
        except Exception as error:  # noqa: BLE001 - raised below, translated
            broken = error if self.on_break is None else self.on_break(error, handled, False)
        raise broken

    def close(self) -> None:
        """Release the connection."""
        self._stream.close()


class AsyncRest:
    """The same, awaited."""

    def __init__(self, pieces: list[bytes], more: AsyncIterator[bytes], stream: Any) -> None:
        self._pieces, self._more, self._stream = pieces, more, stream
        self.on_break: OnBreak | None = None
        """Set when the response is handed over."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        handled = sys.exception()
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            yield piece
        try:
            async for piece in self._more:
                yield piece
            return
        except Exception as error:  # noqa: BLE001 - raised below, translated
            broken = error if self.on_break is None else self.on_break(error, handled, False)
        raise broken

    async def aclose(self) -> None:
        """Release the connection."""
        await self._stream.aclose()


def watch(response: Any, on_break: OnBreak) -> None:
    """Make reads of the rest of a body raise what `on_break` returns if they fail."""
    if isinstance(response.stream, Rest | AsyncRest):
        response.stream.on_break = on_break
