"""Handles redirects in requests' hooks and sessions, before an attempt follows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import requests
from requests.cookies import extract_cookies_to_jar
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from requests.hooks import dispatch_hook

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.exceptions import RedirectError
from sleepwalker.transport.blocking.deadline import current_deadline
from sleepwalker.transport.blocking.response import read_chunks
from sleepwalker.transport.blocking.response_headers import LazyHeaders
from sleepwalker.transport.loaded import SHORT, loaded_body, set_body
from sleepwalker.transport.redirects import REDIRECTS, is_redirect, target_of
from sleepwalker.transport.url import Origin

_now = SYSTEM_CLOCK.monotonic
#: The options that an attempt passes to `send`. A request sent by hand meanwhile may lack some, which requests adds.
_OPTIONS = frozenset({"allow_redirects", "cert", "proxies", "stream", "timeout", "verify"})


class OwnSession(requests.Session):
    """A connection's own session. On the fast path it skips the steps for cookies and redirects that do nothing."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As in requests, with the same hooks, cookies and errors."""
        deadline = current_deadline()
        fast = deadline is not None and deadline.fast and options.keys() == _OPTIONS
        if not fast or not options["stream"] or options.pop("allow_redirects"):
            return super().send(request, **options)
        began = _now()
        response = self.get_adapter(url=request.url or "").send(request, **options)
        response.elapsed = timedelta(seconds=_now() - began)
        response = dispatch_hook("response", request.hooks, response, **options)
        headers = getattr(response.raw, "headers", None)
        if response.history or headers.__class__ is not LazyHeaders or headers.get("set-cookie") is not None:
            for earlier in response.history:
                extract_cookies_to_jar(self.cookies, earlier.request, earlier.raw)
            extract_cookies_to_jar(self.cookies, request, response.raw)
        if response.status_code in REDIRECTS and response.is_redirect:
            hops: Iterator[Any] = self.resolve_redirects(response, request, yield_requests=True, **options)
            response._next = next(hops, None)
        return response


def guard_redirects(prepared: requests.PreparedRequest, origin: Origin) -> None:
    """Add hooks to `prepared` that handle a redirect before `Session.send`, which always prepares the next request.

    `Session.send` would read the whole body of a redirect, however long, and fail on a malformed `Location`.
    """
    hooks = prepared.hooks["response"]
    hooks.insert(0, note_response)
    hooks.append(partial(hold_redirect, origin))


def note_response(response: requests.Response, **_: Any) -> None:
    """The first hook: from here on the caller's hooks run."""
    deadline = current_deadline()
    if deadline is not None:
        deadline.response, deadline.broke = response, False
        deadline.hook_phase, deadline.hook_taken_at = deadline.phase, deadline.taken_at


def hold_redirect(origin: Origin, response: requests.Response, **_: Any) -> None:
    """Read only the start of a redirect's body; RedirectError if its target cannot be followed."""
    if not is_redirect(response):
        return
    deadline = current_deadline()
    if deadline is not None:
        deadline.hook_phase = "over"
    if loaded_body(response) is None:  # not read yet
        try:
            chunks = read_chunks(response, SHORT)[0]
        except (ChunkedEncodingError, ContentDecodingError):  # the body is not needed
            response.close()
            chunks = []
        set_body(response, b"".join(chunks)[:SHORT])
    try:
        target_of(response, origin)
    except RedirectError as error:
        error.response = response
        response.close()
        raise
