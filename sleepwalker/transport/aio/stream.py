"""The response of a stream: each read of its body ends in time, and a broken body is reported once."""

from __future__ import annotations

import asyncio
import codecs
import math
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import requests

from sleepwalker.clock import Clock
from sleepwalker.transport.aio.deadline import Socket
from sleepwalker.transport.aio.response import Got
from sleepwalker.transport.codings import Decoding
from sleepwalker.transport.error_context import OnBreak
from sleepwalker.transport.framing import ClosedByReader
from sleepwalker.transport.headers import store_of
from sleepwalker.transport.keep_alive import keep_alive_seconds
from sleepwalker.transport.loaded import loaded_body, set_body

__all__ = ["AsyncResponse", "begin_stream", "keep_alive_of", "watch_stream"]


class AsyncResponse(requests.Response):
    """A response whose body is read in pieces: `async with conn.stream("GET", uri) as response`.

    `timeout.read` limits each wait for bytes. A broken body raises what a call would raise, and counts as a failure of
    the host.

    Example:
        ```python
        async with conn.stream("GET", "/export.csv") as response:
            async for line in response.aiter_lines():
                print(line)
        ```
    """

    _got: Got | None = None
    _clock: Clock
    _decoding: Decoding
    _read_seconds: float
    _body_ends_at: float | None
    _socket: Socket | None = None
    _begun = False
    on_break: OnBreak | None = None
    """Turns the error of a body that broke into the exception to raise."""

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """The decoded body as it arrives, or in pieces of `chunk_size` bytes. It can be read once."""
        if chunk_size is not None and not chunk_size > 0:
            raise ValueError(f"chunk_size must be a positive number of bytes, not {chunk_size!r}, or left out")
        body = loaded_body(self)
        if body is not None:  # read before, or an error's
            at_once = max(1, len(body)) if chunk_size is None else chunk_size
            for begin in range(0, len(body), at_once):
                yield body[begin : begin + at_once]
            return
        ready: list[bytes] = []
        size = 0
        try:
            async for piece in self._pieces():
                if chunk_size is None:
                    yield piece
                    continue
                ready.append(piece)
                size += len(piece)
                if size < chunk_size:
                    continue
                data = b"".join(ready)  # once for each chunk, or each piece: not for each pair of them
                end = size - size % chunk_size
                ready, size = [data[end:]], size - end
                for begin in range(0, end, chunk_size):
                    yield data[begin : begin + chunk_size]
        except Exception:
            if size:  # before the error is raised
                yield b"".join(ready)
            raise
        if size:
            yield b"".join(ready)

    async def aiter_text(self) -> AsyncIterator[str]:
        """The body as text, as it arrives, in its encoding (UTF-8 if none is named, or an unknown one)."""
        decoder = _TextDecoder(self.encoding)
        async for piece in self.aiter_bytes():
            if text := decoder.decode(piece):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    async def aiter_lines(self) -> AsyncIterator[str]:
        """The lines of the body without their ends, as they arrive."""
        begun: list[str] = []
        async for text in self.aiter_text():
            *whole, rest = text.split("\n")
            for line in whole:
                begun.append(line)
                yield "".join(begun).removesuffix("\r")
                begun = []
            begun.append(rest)
        if last := "".join(begun):
            yield last.removesuffix("\r")

    async def aread(self) -> bytes:
        """Read the whole body. After that, `content`, `text` and `json()` have it."""
        body = loaded_body(self)
        if body is None:
            body = b"".join([piece async for piece in self.aiter_bytes()])
            set_body(self, body)
        return body

    async def aclose(self) -> None:
        """Close the response and its socket. The rest of the body is not fetched."""
        self.close()

    def close(self) -> None:
        """The same."""
        got, self._got = self._got, None
        if got is not None:
            got.close()
        used, self._socket = self._socket, None
        if used is not None:
            used.close()

    @property
    def content(self) -> Any:
        """The body, after `aread`."""
        self._check_read()
        return super().content

    def iter_content(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """The body in pieces, after `aread`."""
        self._check_read()
        return super().iter_content(*args, **kwargs)

    def _check_read(self) -> None:
        if loaded_body(self) is None:
            raise RuntimeError(
                "the body of a stream is not read yet: await response.aread(), or read it by aiter_bytes()"
            )

    async def _pieces(self) -> AsyncIterator[bytes]:
        got = self._got
        if got is None or self._begun:
            raise RuntimeError("the body of this stream was read before, or it is closed: make the call again")
        self._begun = True
        broken: BaseException | None = None
        try:
            while broken is None:
                data, broken = await self._read_on(got)
                if not data:
                    break
                first = True
                for piece in self._decoded(data):
                    if not first:  # a few bytes may be decoded to many megabytes: the loop has other tasks
                        await asyncio.sleep(0)
                    first = False
                    yield piece
            if broken is not None:
                raise broken
            self._end()
        finally:
            del broken  # it has this frame in its traceback
            self.close()

    async def _read_on(self, got: Got) -> tuple[bytes, BaseException | None]:
        """What arrives next, nothing at the end of the body; and the error that ended it."""
        handled, seconds, last = sys.exception(), self._read_seconds, False
        if self._body_ends_at is not None:
            left = self._body_ends_at - self._clock.monotonic()
            last = left <= seconds
            seconds = min(left, seconds)
        try:
            if seconds <= 0:
                raise TimeoutError("timed out")
            async with asyncio.timeout(seconds):
                return await got.content.readany(), None
        except Exception as error:  # noqa: BLE001 - raised, translated
            hit, why = last and isinstance(error, TimeoutError), error
            if self._got is None:
                why = ClosedByReader("the response was closed, or a read of it interrupted, before its end")
            return _arrived(got.content), self._broken(why, handled, hit)

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        try:
            yield from self._decoding.decoded(data)
        except Exception as error:  # noqa: BLE001 - likewise
            raise self._broken(error, None, False) from None

    def _end(self) -> None:
        try:
            self._decoding.check_end()
            if self._socket is not None:
                self._socket.check_end(self)
        except Exception as error:  # noqa: BLE001 - likewise
            raise self._broken(error, None, False) from None
        used, self._socket, self._got = self._socket, None, None
        if used is not None:
            used.done(self._clock.monotonic(), keep_alive_of(self))

    def _broken(self, error: Exception, handled: BaseException | None, deadline_hit: bool) -> BaseException:
        self.close()
        return error if self.on_break is None else self.on_break(error, handled, deadline_hit)


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """The bytes that arrived before a body broke: aiohttp raises the error first. Empty if it keeps them elsewhere."""
    pieces = getattr(content, "_buffer", ())
    return b"".join(piece for piece in pieces if isinstance(piece, bytes | bytearray))


class _TextDecoder:
    """Decodes bytes to text as they arrive. It replaces what it cannot decode, and does not raise."""

    def __init__(self, encoding: str | None) -> None:
        name = encoding or "utf-8"
        try:
            b"a".decode(name, "replace")  # LookupError, also for a codec that is no text encoding
            self._decoder = codecs.getincrementaldecoder(name)(errors="replace")
        except (LookupError, ValueError):
            self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._name = name

    def decode(self, data: bytes, final: bool = False) -> str:
        """The text of the next bytes."""
        try:
            return self._decoder.decode(data, final)
        except UnicodeError:
            # UTF-16 or UTF-32 without a byte order mark. Most are little-endian.
            other = "utf-32-le" if "32" in self._name else "utf-16-le" if "16" in self._name else "utf-8"
            data = self._decoder.getstate()[0] + data
            self._decoder = codecs.getincrementaldecoder(other)(errors="replace")
            return self._decoder.decode(data, final)


def begin_stream(
    response: AsyncResponse,
    got: Got,
    clock: Clock,
    *,
    read: float,
    body_ends_at: float | None,
    used: Socket | None,
) -> None:
    """Let the caller read the body of a response whose head has arrived."""
    response._got = got
    response._clock = clock
    response._decoding = Decoding(response.headers.get("Content-Encoding", ""), got.status)
    response._read_seconds = read
    response._body_ends_at = body_ends_at
    response._socket = used


def watch_stream(response: requests.Response, on_break: OnBreak) -> None:
    """Make reads of a broken body raise what `on_break` returns."""
    if isinstance(response, AsyncResponse):
        response.on_break = on_break


def keep_alive_of(response: requests.Response) -> float:
    """Seconds for which the response's socket may stay idle afterwards, as its server says."""
    if response.status_code == 101:  # what comes next is another protocol
        return 0.0
    fields = store_of(response.headers)
    if fields is not None and "keep-alive" not in fields:
        return math.inf  # as nearly always
    value = response.headers.get("Keep-Alive")
    return keep_alive_seconds(None if value is None else [value])
