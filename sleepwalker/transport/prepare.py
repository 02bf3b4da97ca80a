"""From a call's arguments to a request that only needs its body: checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from requests.cookies import get_cookie_header
from requests.structures import CaseInsensitiveDict

from sleepwalker.exceptions import URLError
from sleepwalker.transport.body import Body, prepare_body
from sleepwalker.transport.url import Origin, check_headers, plain_path, resolve

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NO_HOOKS: dict[str, list[Any]] = {"response": []}


def check_method(method: Any) -> str:
    """`method` in upper case, as requests sends it; URLError where it is no token."""
    if method in _METHODS:
        return str(method)
    if not isinstance(method, str) or not method or not _TOKEN_CHARACTERS.issuperset(method):
        raise URLError(f"method must be a word such as 'GET', not {method!r:.40}")
    return method.upper()


def checked_headers(headers: Mapping[Any, Any] | None) -> CaseInsensitiveDict[Any]:
    """A copy, names as str; URLError that names what cannot be sent."""
    check_headers(headers)
    pairs = (headers or {}).items()
    return CaseInsensitiveDict({k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in pairs})


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
    headers: Mapping[str, Any],
) -> tuple[requests.PreparedRequest, Body]:
    """A request to this origin, and its body. `headers` are the connection's and the call's, checked before.

    Does what `requests.Session.prepare_request` does, apart from credentials; a URI that needs no quoting
    and a session without cookies take the short way through it.
    """
    prepared = requests.PreparedRequest()
    prepared.method = method
    if params or session.params:
        prepared.prepare_url(resolve(origin, base, uri), _merged_params(session.params, params))
    elif plain_path(uri):
        prepared.url = prefix + uri
    else:
        prepared.prepare_url(resolve(origin, base, uri), None)
    merged: CaseInsensitiveDict[Any] = CaseInsensitiveDict(session.headers)
    merged.update(headers)
    for name in [name for name, value in headers.items() if value is None]:
        del merged[name]  # as in requests: None takes a common header away
    prepared.headers = merged
    body = prepare_body(prepared, data, files, json_bytes)
    if "Content-Length" not in merged and "Transfer-Encoding" not in merged and method not in ("GET", "HEAD"):
        merged["Content-Length"] = "0"
    if "Cookie" not in merged and session.cookies and (cookie := get_cookie_header(session.cookies, prepared)):
        merged["Cookie"] = cookie
    prepared.hooks = session.hooks if any(session.hooks.values()) else _NO_HOOKS
    return prepared, body


def _merged_params(common: Any, params: Any) -> Any:
    """The session's parameters and the call's, which win."""
    if not common:
        return params
    if isinstance(params, Mapping):
        merged = {**common, **params}
        return {name: value for name, value in merged.items() if value is not None}
    return [*common.items(), *(params or [])] if not isinstance(params, str | bytes) else params
