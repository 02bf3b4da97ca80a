"""Makes requests' responses from those of aiohttp, and reads bodies up to a limit."""

from __future__ import annotations

import asyncio
import functools
import io
import os
from collections.abc import Iterator
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol

import aiohttp
import requests
from requests.cookies import MockRequest, MockResponse, RequestsCookieJar
from urllib3.exceptions import DecodeError, ProtocolError

from sleepwalker.transport.aio.deadline import AttemptDeadline
from sleepwalker.transport.codings import Decoding, TruncatedBody
from sleepwalker.transport.content_types import encoding_of
from sleepwalker.transport.cookies import without_odd_attributes
from sleepwalker.transport.framing import times_chunked
from sleepwalker.transport.headers import Fields, headers_of
from sleepwalker.transport.plain_headers import PlainHeaders

#: Encoded bodies of more bytes than this are decoded in a thread: the loop has other tasks.
_QUICK = 1 << 16
#: By how many bytes an encoded body may be longer than the decoded one.
_OVERHEAD = 1 << 16


class Got(Protocol):
    """What is needed from an `aiohttp.ClientResponse`."""

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def content(self) -> aiohttp.StreamReader: ...
    @property
    def content_length(self) -> int | None: ...
    def close(self) -> None:
        """Close its socket, unless the response was read completely."""


def made_response(
    kind: type[requests.Response],
    got: Got,
    prepared: requests.PreparedRequest,
    cookies: Any,
    seconds: float,
) -> requests.Response:
    """The response to `prepared` as a requests response, without its body. Its cookies go into the jar `cookies`.

    MalformedResponse if the body has a coding that was not requested.
    """
    response = _new(kind)
    fields = _fields_of(got.raw_headers)
    if (coding := fields.get("transfer-encoding")) is not None:
        times_chunked((coding[1],))  # with an unknown coding, aiohttp lets the body end with the connection
    response.status_code = got.status
    response.headers = headers_of(fields)
    response.reason = got.reason or ""
    response.url = prepared.url or ""
    if (content_type := fields.get("content-type")) is not None:
        response.encoding = encoding_of(content_type[1])
    response.request = prepared
    response.elapsed = timedelta(seconds=seconds)
    if "set-cookie" in fields:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in got.raw_headers]
        head: Any = MockResponse(without_odd_attributes(PlainHeaders(pairs), prepared))
        sent: Any = MockRequest(prepared)
        for jar in (response.cookies, cookies):
            if jar is not None:
                jar.extract_cookies(head, sent)
    return response


#: The attributes of a new response; and those that each response must have of its own.
_NEW = vars(requests.Response())
_OWN = {"headers", "history", "cookies"}
#: Shared by the cookie jars of all responses, since a policy is large.
_POLICY = DefaultCookiePolicy()
#: Whether the other attributes are immutable, so that responses can share them.
_NEW_IS_KNOWN = _NEW.keys() >= _OWN and all(
    isinstance(value, bool | timedelta | None) for name, value in _NEW.items() if name not in _OWN
)


def _new(kind: type[requests.Response]) -> requests.Response:
    """An empty response, whose headers are about to be set. Made by `__init__` it would cost three times as much."""
    if not _NEW_IS_KNOWN:
        return kind()
    response = kind.__new__(kind)
    own = response.__dict__
    own.update(_NEW)
    own["history"], own["cookies"] = [], RequestsCookieJar(_POLICY)
    return response


def _fields_of(raw: tuple[tuple[bytes, bytes], ...]) -> Fields:
    """Name and value by lower-case name. Values of a name that occurs twice are joined, as in urllib3."""
    fields: Fields = {}
    for name_bytes, value_bytes in raw:
        lower, name = _names(name_bytes)
        value = value_bytes.decode("latin-1")
        if lower in fields:
            value = f"{fields[lower][1]}, {value}"
            name = fields[lower][0]
        fields[lower] = (name, value)
    return fields


@functools.lru_cache(maxsize=256)
def _names(name: bytes) -> tuple[str, str]:
    """A header's name in lower case, and as it came."""
    text = name.decode("latin-1").strip(" \t")  # aiohttp leaves in the name what stood before the colon
    return text.lower(), text


async def read_encoded(got: Got, limit: int | None, deadline: AttemptDeadline) -> tuple[bytes, bool]:
    """The raw body, and whether it is complete: beyond `limit` bytes the response is closed."""
    content = got.content
    if content.is_eof():  # it came with its head, as most do
        data = content.read_nowait(-1)
        return (data, True) if limit is None or len(data) <= limit else (data[:limit], False)
    body = io.BytesIO()  # to join a list of ten megabytes would keep the loop for as many milliseconds
    while True:
        deadline.await_bytes()
        data = await content.readany()
        if not data and content.at_eof():
            return body.getvalue(), True
        body.write(data)
        if limit is not None and body.tell() > limit:
            got.close()
            return body.getvalue()[:limit], False


async def read_body(got: Got, codings: str, limit: int | None, deadline: AttemptDeadline) -> tuple[bytes, bool]:
    """The decoded body, and whether it is complete.

    DecodeError or TruncatedBody of urllib3 if it is not what its Content-Encoding says.
    """
    if not codings:
        return await read_encoded(got, limit, deadline)
    encoded, whole = await read_encoded(got, None if limit is None else limit + _OVERHEAD, deadline)
    return await decoded(encoded, codings, got.status, limit, deadline, whole=whole)


async def decoded(
    encoded: bytes, codings: str, status: int, limit: int | None, deadline: AttemptDeadline, *, whole: bool
) -> tuple[bytes, bool]:
    """The first `limit` bytes of a decoded body, and whether that is all. If not `whole`, it may end anywhere."""
    work = _Decoding(encoded, Decoding(codings, status), limit, whole)
    if len(encoded) <= _QUICK and not work.run(_QUICK):
        return work.result()
    loop = asyncio.get_running_loop()
    try:
        async with _turns_of(loop):
            # A few bytes may decode to gigabytes, so a thread decodes what is long, and stops when it is not `wanted`.
            return await loop.run_in_executor(None, work.whole)
    finally:
        work.wanted = False


def _turns_of(loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    """Lets one body fewer than there are cores be decoded at a time: else the loop would wait for a core."""
    turns = _turns.get(loop)
    if turns is None:
        for other in [other for other in _turns if other.is_closed()]:  # a semaphore refers to its loop
            _turns.pop(other, None)
        turns = _turns[loop] = asyncio.Semaphore(max(1, (os.cpu_count() or 1) - 1))
    return turns


_turns: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


def _decoded_pieces(encoded: bytes, decoding: Decoding) -> Iterator[bytes]:
    """A decoded body in pieces. The encoded one is fed in pieces, too: each step copies what it does not need yet."""
    for begin in range(0, len(encoded), _QUICK):
        yield from decoding.decoded(encoded[begin : begin + _QUICK])


class _Decoding:
    """The decoding of one body, in steps."""

    def __init__(self, encoded: bytes, decoding: Decoding, limit: int | None, whole: bool) -> None:
        self.wanted = True
        self._pieces = _decoded_pieces(encoded, decoding)
        self._decoding = decoding
        self._limit = limit
        self._whole = whole
        self._body = io.BytesIO()
        self._more = True

    def run(self, quick: int | None) -> bool:
        """Decode up to `quick` bytes, or all; returns whether there is more."""
        body, begun = self._body, self._body.tell()
        while self._more and self.wanted and (quick is None or body.tell() - begun < quick):
            piece = next(self._pieces, None)
            if piece is None:
                self._more = False
                if self._whole:
                    self._decoding.check_end()
                break
            body.write(piece)
            if self._limit is not None and body.tell() > self._limit:
                self._more = self._whole = False
        return self._more

    def whole(self) -> tuple[bytes, bool]:
        """Decode all of it. Returns the result, and whether it is complete."""
        self.run(None)
        return self.result()

    def result(self) -> tuple[bytes, bool]:
        """The decoded bytes, and whether they are all."""
        return self._body.getvalue()[: self._limit], self._whole


async def read_error(got: Got, codings: str, limit: int | None, deadline: AttemptDeadline) -> tuple[bytes, bool]:
    """The body of an error, as far as needed, because its status matters more; and whether it is decoded.

    It stays raw if it is not what its Content-Encoding says.
    """
    encoded, whole = await read_encoded(got, limit, deadline)
    if not codings:
        return encoded, True
    try:
        return (await decoded(encoded, codings, got.status, limit, deadline, whole=whole))[0], True
    except (DecodeError, ProtocolError) as error:
        if not whole and isinstance(error, TruncatedBody):
            return b"", True
        return encoded, False
