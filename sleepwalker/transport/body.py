"""Request bodies. Whether one can be sent twice is decided before the first attempt."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import to_key_val_list

from sleepwalker.transport.url import check_headers

#: What `requests.PreparedRequest.body` may hold.
Payload = Any


class Body(Protocol):
    """A request's body. `error` is what the caller's file, iterator or callable raised while it was sent."""

    replayable: bool
    concurrent: bool
    """Whether two attempts may send it at the same time."""
    error: Exception | None

    def payload(self) -> Payload:
        """The body for one attempt, from its beginning."""
        ...


class Fixed:
    """Bytes, text, or no body."""

    replayable = True
    concurrent = True
    error: Exception | None = None

    def __init__(self, value: bytes | str | None) -> None:
        self._value = value

    def payload(self) -> Payload:
        """The value itself."""
        return self._value


#: The body of a request without one.
NO_BODY = Fixed(None)


class File:
    """An open file, from its position at the start of the call; sent again only if it can be rewound to there."""

    concurrent = False  # it has one position

    def __init__(self, file: Any, length: int | None) -> None:
        self.error: Exception | None = None
        self.reading: Any = None
        """The future of a read in a thread that an attempt began."""
        self._file = file
        self._length = length
        self._start = _position(file)
        self.replayable: bool = self._start is not None

    def payload(self) -> Payload:
        """The file, rewound."""
        if self._start is not None:
            self._file.seek(self._start)
            return _Rewindable(self, self._file, self._length, self._rewound)
        return _Reader(self, self._file, self._length)

    def _rewound(self) -> Any:
        self._file.seek(self._start)
        return self._file


class Stream:
    """An iterator, sent once; or an iterable or callable that makes a new body for each attempt."""

    concurrent = False  # the caller's code may not allow two readers at a time

    def __init__(self, make: Callable[[], Any], *, replayable: bool, awaits: bool) -> None:
        """`awaits`: whether what it makes may be an asynchronous iterable."""
        self.error: Exception | None = None
        self.reading: Any = None
        """As in `File`."""
        self.replayable = replayable
        self._make = make
        self._awaits = awaits

    def payload(self) -> Payload:
        """A new body."""
        value = self._make()
        if value is None or isinstance(value, bytes | str):
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        if hasattr(value, "read"):
            return _Rewindable(self, value, None, self._make) if self.replayable else _Reader(self, value, None)
        if isinstance(value, AsyncIterable) and self._awaits:
            return AsyncChunks(self, value)
        if isinstance(value, Iterable):
            return _Chunks(self, value, self._make if self.replayable else None)
        if inspect.iscoroutine(value):
            value.close()
        kinds = "an iterable or asynchronous iterable of bytes" if self._awaits else "an iterable of bytes"
        raise TypeError(f"data() returned {type(value).__name__}; it must return bytes, str, a file or {kinds}")


def prepare_body(
    prepared: requests.PreparedRequest, data: Any, files: Any, json_bytes: bytes | None, *, awaits: bool
) -> Body:
    """Put the body's headers on `prepared` and return the body. Each attempt adds the payload.

    Raises TypeError for `data` of a type that cannot be sent. Asynchronous iterables can be, if the sender `awaits`.
    """
    if data is None and json_bytes is None and not files:
        return NO_BODY
    if files or data is None or isinstance(data, bytes | str | list | tuple | Mapping):
        if json_bytes is not None and not files and not data:
            _set_length(prepared.headers, len(json_bytes))
            prepared.headers.setdefault("Content-Type", "application/json")
            return Fixed(json_bytes)
        _encode(prepared, data, files)
        return Fixed(prepared.body)  # type: ignore[arg-type]  # not a stream: those are handled below
    if isinstance(data, bytearray | memoryview):
        _set_length(prepared.headers, len(bytes(data)))
        return Fixed(bytes(data))
    if hasattr(data, "read"):
        length = _length(data)
        if length is None:
            _set_chunked(prepared.headers)
        else:
            _set_length(prepared.headers, length)
        return File(data, length)
    if callable(data):
        _set_chunked(prepared.headers)
        return Stream(data, replayable=True, awaits=awaits)
    if isinstance(data, Iterable) or (awaits and isinstance(data, AsyncIterable)):
        _set_chunked(prepared.headers)
        once = isinstance(data, Iterator | AsyncIterator)
        return Stream(lambda: data, replayable=not once, awaits=awaits)
    if isinstance(data, AsyncIterable):
        raise TypeError(f"data is asynchronous ({type(data).__name__}): only an AsyncConnection can await it")
    raise TypeError(
        f"data must be bytes, str, a mapping or pairs to encode as a form, a file, an iterable of bytes or a callable "
        f"that makes one of these, not {type(data).__name__}"
    )


def _encode(prepared: requests.PreparedRequest, data: Any, files: Any) -> None:
    if files:
        files = to_key_val_list(files)
        for _, part in files:
            if isinstance(part, tuple | list):  # name, content, then what becomes its headers
                for given in (*({"Content-Type": kind} for kind in part[2:3]), *part[3:4]):
                    check_headers(given)
    try:
        prepared.prepare_body(data, files)
        return
    except UnicodeEncodeError:
        pass
    # Raised here, outside of `except`: Python's own error contains the text.
    raise ValueError("data or files: a text has lone surrogates, which UTF-8 cannot encode")


def _set_length(headers: CaseInsensitiveDict[Any], length: int) -> None:
    headers["Content-Length"] = str(length)


def _set_chunked(headers: CaseInsensitiveDict[Any]) -> None:
    headers.pop("Content-Length", None)  # the caller's: with both, servers differ in which one they use
    headers["Transfer-Encoding"] = "chunked"


def _length(file: Any) -> int | None:
    """Bytes from the file's position to its end; None if only reading shows it.

    Found by seeking: the size on disk is wrong for a file object that decompresses or decodes.
    """
    start = _position(file)
    if start is None:
        return len(file) if hasattr(file, "__len__") else getattr(file, "len", None)
    length = None
    first = file.read(1)
    if first in (b"", ""):
        length = 0
    elif not isinstance(first, str):
        with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):
            file.seek(0, os.SEEK_END)
            # Linux makes the files in /proc when they are read, and says until then that they are empty.
            length = int(file.tell()) - start or None
    file.seek(start)
    return length


def _position(file: Any) -> int | None:
    """The file's position; None if it cannot be rewound to it."""
    try:
        if not getattr(file, "seekable", lambda: True)():
            return None
        position = file.tell()
        file.seek(position)
    except (AttributeError, OSError, ValueError):
        return None
    return int(position)


_ONCE = "data can be sent only once, but the auth object asks for a second send; pass bytes or a callable instead"


class _Broken(Exception):
    """Carries an error of the caller's body past urllib3, which would take an OSError for one of the socket."""


class _Reader:
    """A file as urllib3 reads it: exactly the announced length, and it notes what the caller's code raises."""

    def __init__(self, owner: File | Stream, file: Any, length: int | None) -> None:
        self.owner = owner
        self._file = file
        self._length = self._left = length
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        try:
            if self._ended:
                raise ValueError(_ONCE)
            data = _as_bytes(self._file.read(size)) if size else b""
            self._ended = not data
            if self._left is not None:
                if size and not data:
                    raise ValueError(
                        f"data: the file ended {self._left} bytes before the end of the {self._length} announced; "
                        "it must not shrink while it is sent"
                    )
                self._left -= len(data)
        except Exception as error:
            self.owner.error = error
            raise _Broken from error
        return data

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(65536), b"")


class _Rewindable(_Reader):
    """A reader that can start again: requests' digest auth sends a request twice within one attempt."""

    def __init__(self, owner: File | Stream, file: Any, length: int | None, again: Callable[[], Any]) -> None:
        super().__init__(owner, file, length)
        self._again = again

    def tell(self) -> int:
        return 0

    def seek(self, position: int) -> int:
        """Go back to the start, the only position there is."""
        self._file = self._again()
        self._left = self._length
        self._ended = False
        return position


class _Chunks:
    """An iterable as urllib3 takes it; it notes what the caller's code raises."""

    def __init__(self, owner: Stream, chunks: Iterable[Any], again: Callable[[], Any] | None) -> None:
        self.owner = owner
        self._chunks = chunks
        self._again = again
        self._begun = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            if self._begun:  # sent twice within one attempt, as by requests' digest auth
                if self._again is None:
                    raise ValueError(_ONCE)
                self._chunks = self._again()
            self._begun = True
            yield from map(_as_bytes, self._chunks)
        except Exception as error:
            self.owner.error = error
            raise _Broken from error


class AsyncChunks:
    """An asynchronous iterable; it notes what the caller's code raises."""

    def __init__(self, owner: Stream, chunks: AsyncIterable[Any]) -> None:
        self.owner = owner
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield _as_bytes(chunk)
        except Exception as error:
            self.owner.error = error
            raise _Broken from error


def _as_bytes(chunk: Any) -> bytes:
    """The chunk as bytes. TypeError for a number: `bytes(3)` would be three zeros."""
    if isinstance(chunk, str):
        return chunk.encode("utf-8")
    try:
        return bytes(memoryview(chunk))
    except TypeError:
        raise TypeError(f"data must yield bytes or str, not {type(chunk).__name__}") from None
