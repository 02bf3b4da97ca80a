"""Reading a response's body up to a limit."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from typing import Any

import requests
from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError, ProtocolError

from sleepwalker.transport.blocking.deadline import current_deadline
from sleepwalker.transport.blocking.head import BoundedResponse
from sleepwalker.transport.codings import EncodedResponse, TruncatedBody
from sleepwalker.transport.loaded import content_is_known

_CHUNK = 64 * 1024


def read_chunks(response: requests.Response, limit: int | None) -> tuple[list[bytes], bool]:
    """The body's chunks, and whether they are the whole body. Past `limit` decoded bytes the response is closed."""
    known = content_is_known()  # else requests would refuse a body that was already consumed
    pieces = response.iter_content(_CHUNK) if known else response.raw.stream(_CHUNK, decode_content=True)
    chunks: list[bytes] = []
    whole = _collect(chunks, pieces, limit)
    if not whole:
        response.close()
    return chunks, whole


def read_raw(response: requests.Response, limit: int | None) -> tuple[bytes, bool]:
    """The body, still encoded, and whether it is the whole body. Past `limit` bytes the response is closed."""
    chunks: list[bytes] = []
    whole = _collect(chunks, response.raw.stream(_CHUNK, decode_content=False), limit)
    if not whole:
        response.close()
    return b"".join(chunks)[:limit], whole


def decoded_body(raw: HTTPResponse, encoded: bytes, limit: int | None, *, whole: bool) -> bytes | None:
    """The first `limit` bytes of a decoded body; None if it is not what its Content-Encoding says.

    Unless it is `whole`, it may end anywhere.
    """
    codings = {"Content-Encoding": raw.headers.get("Content-Encoding", "")}
    packed = HTTPResponse(io.BytesIO(encoded), codings, raw.status, preload_content=False)
    packed.__class__ = EncodedResponse
    chunks: list[bytes] = []
    try:
        _collect(chunks, packed.stream(_CHUNK, decode_content=True), limit)
    except (DecodeError, ProtocolError) as error:
        if whole or not isinstance(error, TruncatedBody):
            return None
    return b"".join(chunks)[:limit]


def _collect(chunks: list[bytes], pieces: Iterable[bytes], limit: int | None) -> bool:
    """Add the pieces to `chunks` until they have more than `limit` bytes. Returns whether these are all pieces.

    TimeoutError if the attempt has no time left: a thousand bytes may decompress to a gigabyte.
    """
    size, deadline = 0, current_deadline()
    for piece in pieces:
        if deadline is not None:
            deadline.remaining()
        chunks.append(piece)
        size += len(piece)
        if limit is not None and size > limit:
            return False
    return True


def read_all(raw: HTTPResponse) -> bytes:
    """An unread body, as `raw.read()` returns it.

    On the fast path most bodies arrived with their head, and urllib3 takes many steps to return one. The attributes
    that it would set are set here; `rehearsal` checks that none is missing.
    """
    original: Any = getattr(raw, "_original_response", None)
    body = original.take_body() if original.__class__ is BoundedResponse and original.by_fast_path else None
    if body is None:
        return raw.read()
    vars(raw).update(_marks())
    raw._fp_bytes_read = len(body)
    if raw.length_remaining is not None:
        raw.length_remaining -= len(body)
    raw.release_conn()
    return body


@functools.cache
def _marks() -> dict[str, bool]:
    """The flags that this release of urllib3 sets when it reads a response."""
    made = vars(HTTPResponse(io.BytesIO(), preload_content=False))
    return {name: True for name in ("_decoder_initialized", "_uncached_read_occurred") if name in made}
