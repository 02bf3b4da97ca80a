"""Sends a request through any object that a hook may return as a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import requests

from sleepwalker.connection.kinds import as_connection
from sleepwalker.connection.response import Response
from sleepwalker.exceptions import HTTPError
from sleepwalker.links.destination import Destination
from sleepwalker.links.performing import Call, Steps
from sleepwalker.links.way import MAPPINGS
from sleepwalker.transport.headers import unshared
from sleepwalker.transport.url import safe_path

#: Options that only a `Connection` understands, and those that `json_request` can take.
_OURS = ("policy", "total", "retry_if", "idempotent")
_OF_JSON_REQUEST = ("json", "params", "headers")


@dataclass(frozen=True, slots=True)
class Request:
    """The request to send."""

    method: str
    to: Destination
    options: dict[str, Any] = field(repr=False)
    """The caller's, as `Connection.request` takes them."""


def check_kind(conn: object) -> None:
    """TypeError for an object that cannot send."""
    if isinstance(conn, type) or not any(callable(getattr(conn, name, None)) for name in ("request", "json_request")):
        raise TypeError(
            "to follow links, pass a Connection, or an object with request(method, url, **options) that returns a "
            "requests.Response, or with json_request(method, uri, body, params, headers) and the attribute response; "
            f"this is a {type(conn).__name__}"
        )


def send_through(conn: Any, request: Request) -> Steps[Response]:
    """Send the request and return its response. HTTPError from status 400 on, unless `raise_for_status` says otherwise.

    Raises TypeError if the connection lacks one of the options, or gave no `requests.Response`.
    """
    if as_connection(conn) is not None:
        reply: Response = yield Call(conn, lambda: conn.request(request.method, request.to.url, **request.options))
        return reply
    check_kind(conn)
    if callable(getattr(conn, "request", None)):
        response = yield Call(conn, _by_request(conn, request))
    else:
        yield Call(conn, _by_json_request(conn, request))
        response = None
    if not isinstance(response, requests.Response):
        response = getattr(conn, "response", None)
    if not isinstance(response, requests.Response):
        raise TypeError(
            f"the response of the {type(conn).__name__} for {request.to.origin} cannot be used: neither its return "
            "value nor its attribute response is a requests.Response (it is of type "
            f"{type(response).__name__})"
        )
    if request.options.get("raise_for_status") in (None, True) and response.status_code >= 400:
        error = HTTPError.of(response)
        error.add_note(f"{request.method} {request.to.origin}{safe_path(request.to.url)}: {response.status_code}")
        raise error
    return cast("Response", response)


def _by_request(conn: Any, request: Request) -> Callable[[], Any]:
    given = _given(request)
    _check_options(given, conn, [name for name in given if name in _OURS])
    return lambda: conn.request(request.method, request.to.url, **given)


def _by_json_request(conn: Any, request: Request) -> Callable[[], Any]:
    given = _given(request)
    _check_options(given, conn, [name for name in given if name not in _OF_JSON_REQUEST and given[name] is not False])
    rest = request.to.rest
    uri = rest if rest.startswith("/") else f"/{rest}"
    return lambda: conn.json_request(request.method, uri, given.get("json"), given.get("params"), given.get("headers"))


def _given(request: Request) -> dict[str, Any]:
    """The options to pass to a foreign connection."""
    given = {name: value for name, value in request.options.items() if value is not None}
    given.pop("raise_for_status", None)
    for name in MAPPINGS:  # copies: the connection may add to them in place, and the next host would get that, too
        if isinstance(given.get(name), Mapping):
            given[name] = unshared(given[name])
    return given


def _check_options(given: dict[str, Any], conn: object, unknown: list[str]) -> None:
    if unknown:
        names = ", ".join(f"{name}=" for name in unknown)
        raise TypeError(f"{names} cannot be passed on: the connection, a {type(conn).__name__}, has no such option")
