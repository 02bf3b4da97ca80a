"""Bodies that are kept in a response of requests, as if requests had read them."""

from __future__ import annotations

import functools
import io
from weakref import WeakSet

import requests
from urllib3 import HTTPResponse

#: Bytes read of an unused body so that its socket can be reused. Beyond them a new connection is cheaper.
SHORT = 64 * 1024

#: Responses whose body was set here, for a release of requests that keeps it in an unknown place.
_loaded: WeakSet[requests.Response] = WeakSet()


@functools.cache
def content_is_known() -> bool:
    """Whether this release of requests keeps a body in `_content`, with the flag `_content_consumed`."""
    made = requests.Response()
    before = (getattr(made, "_content", None), getattr(made, "_content_consumed", None))
    made._content, made._content_consumed = b"x", True
    return before == (False, False) and made.content == b"x"


def set_body(response: requests.Response, body: bytes) -> None:
    """Make `body` the response's `content`, as if requests had read it."""
    if content_is_known():
        response._content = body
        response._content_consumed = True
        return
    raw, response.raw = response.raw, HTTPResponse(io.BytesIO(body), preload_content=False)
    try:
        _ = response.content  # requests reads it from memory, unless it was read before
    finally:
        response.raw = raw
    _loaded.add(response)


def loaded_body(response: requests.Response) -> bytes | None:
    """The body if it was read already, else None; reads nothing."""
    if content_is_known():
        content = response._content
        return content if isinstance(content, bytes) else None
    return response.content if response in _loaded else None
