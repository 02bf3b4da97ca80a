"""Reading an answer's body no further than is good."""

from __future__ import annotations

import requests

from sleepwalker.transport.deadline import current_limits

#: What is read of a body that will not be used, to keep its socket: above it a new connection is cheaper.
SHORT = 64 * 1024
_CHUNK = 64 * 1024


def read_chunks(response: requests.Response, limit: int | None) -> tuple[list[bytes], bool]:
    """The body's chunks, and whether they are all of it: past `limit` bytes, decoded, the answer is closed.

    TimeoutError where the attempt has no time left: a thousand bytes may unpack to a gigabyte.
    """
    chunks, size, limits = [], 0, current_limits()
    for chunk in response.iter_content(_CHUNK):
        if limits is not None:
            limits.left()
        chunks.append(chunk)
        size += len(chunk)
        if limit is not None and size > limit:
            response.close()
            return chunks, False
    return chunks, True


def keep_body(response: requests.Response, body: bytes) -> None:
    """Make `body` what the answer's `content` is, as if requests had read it."""
    response._content = body
    response._content_consumed = True


def body_in_hand(response: requests.Response) -> bytes | None:
    """The body if it was read whole; None for a streamed answer, of which nothing is read here."""
    content = response._content
    return content if isinstance(content, bytes) else None
