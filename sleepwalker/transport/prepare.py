"""From a call's arguments to a request that only needs its body: checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from requests.cookies import get_cookie_header
from requests.hooks import default_hooks

from sleepwalker.exceptions import URLError
from sleepwalker.transport.body import NOTHING, Body, Fixed, prepare_body
from sleepwalker.transport.headers import Headers, merged
from sleepwalker.transport.redirects import guard_redirects
from sleepwalker.transport.url import Origin, plain_path, resolve

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
#: What a request is before it is prepared.
_BLANK = dict(vars(requests.PreparedRequest()))
_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def check_method(method: Any) -> str:
    """`method` in upper case, as requests sends it; URLError where it is no token."""
    if isinstance(method, str) and method in _METHODS:
        return str(method)
    if not isinstance(method, str) or not method or not _TOKEN_CHARACTERS.issuperset(method):
        raise URLError(f"method must be a word such as 'GET', not {method!r:.40}")
    return method.upper()


def prepare(
    session: requests.Session,
    base: str,
    prefix: str,
    origin: Origin,
    *,
    method: str,
    uri: str,
    params: Any,
    data: Any,
    files: Any,
    json_bytes: bytes | None,
    headers: tuple[Headers | None, ...],
) -> tuple[requests.PreparedRequest, Body]:
    """A request to this origin, and its body. `headers` are the connection's and the call's.

    Does what `requests.Session.prepare_request` does, apart from credentials; a URI that needs no quoting
    and a session without cookies take the short way through it.
    """
    prepared = requests.PreparedRequest.__new__(requests.PreparedRequest)
    vars(prepared).update(_BLANK, method=method, hooks=default_hooks())
    if params or session.params:
        _put_url(prepared, resolve(origin, base, uri), session.params, params)
    elif plain_path(uri):
        prepared.url = prefix + uri
    else:
        prepared.prepare_url(resolve(origin, base, uri), None)
    prepared.headers = all_headers = merged(session.headers, *headers)
    body = prepare_body(prepared, data, files, json_bytes)
    told = all_headers._store  # looked into directly: each look through its owner costs as much as all of these
    if body is NOTHING or (isinstance(body, Fixed) and not body.payload()):
        # There is none, whatever the caller's headers say of it; a server would wait for it, or take what follows.
        told.pop("content-length", None)
        told.pop("transfer-encoding", None)
    elif "content-length" in told:
        told.pop("transfer-encoding", None)  # the caller's: with both, each server believes another one
    if "content-length" not in told and "transfer-encoding" not in told and method not in ("GET", "HEAD"):
        all_headers["Content-Length"] = "0"
    if "cookie" not in told and session.cookies and (cookie := get_cookie_header(session.cookies, prepared)):
        all_headers["Cookie"] = cookie
    prepared._cookies = session.cookies  # what digest auth and redirects start from
    if any(session.hooks.values()):
        prepared.prepare_hooks(session.hooks)
    guard_redirects(prepared, origin)
    return prepared, body


def _put_url(prepared: requests.PreparedRequest, url: str, common: Any, params: Any) -> None:
    try:
        prepared.prepare_url(url, _merged_params(common, params))
        return
    except (TypeError, ValueError) as error:
        kind = URLError if isinstance(error, ValueError) else TypeError
    # Raised out here because the reason may quote a value.
    raise kind("params must be a mapping, pairs or text, with values that UTF-8 can hold")


def _merged_params(common: Any, params: Any) -> Any:
    """The session's parameters and the call's, which win."""
    if not common:
        return params
    if isinstance(params, Mapping):
        both = {**common, **params}
        return {name: value for name, value in both.items() if value is not None}
    return [*common.items(), *(params or [])] if not isinstance(params, str | bytes) else params
