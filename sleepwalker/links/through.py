"""Sends a request through any object that a hook may give for a connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import requests

from sleepwalker.connection.kinds import as_connection
from sleepwalker.connection.response import Response
from sleepwalker.exceptions import HTTPError
from sleepwalker.transport.headers import unshared
from sleepwalker.transport.url import Origin, safe_path

#: Options of a call that are mappings of the caller's, or may be.
MAPPINGS = ("headers", "params")
#: Options of a call that only a `Connection` understands; and those that `json_request` has a place for.
_OURS = ("policy", "total", "retry_if", "idempotent")
_OF_JSON_REQUEST = ("json", "params", "headers")

_AUTHORITY = re.compile(r"\A[^:/?#]+://[^/?#]*")


def check_kind(conn: object) -> None:
    """TypeError for an object that cannot send."""
    if isinstance(conn, type) or not any(callable(getattr(conn, name, None)) for name in ("request", "json_request")):
        raise TypeError(
            "links are followed through a Connection, or an object with request(method, url, **options) that returns a "
            "requests.Response, or with json_request(method, uri, body, params, headers) and the attribute response; "
            f"what was found is a {type(conn).__name__}"
        )


def send_through(conn: Any, method: str, origin: Origin, url: str, options: dict[str, Any]) -> Response:
    """The response to a request for `url`, which is one of `origin`. HTTPError from 400 on, unless the options say not.

    Raises TypeError for what the connection cannot be asked, and where it gave no `requests.Response`.
    """
    ours = as_connection(conn)
    if ours is not None:
        return ours.request(method, url, **options)
    check_kind(conn)
    given = {name: value for name, value in options.items() if value is not None}
    raises = given.pop("raise_for_status", True)
    for name in MAPPINGS:  # copies, since it may fill them in place, and the next host would get that, too
        if isinstance(given.get(name), Mapping):
            given[name] = unshared(given[name])
    kind = type(conn).__name__
    if callable(getattr(conn, "request", None)):
        _check_options(given, kind, [name for name in given if name in _OURS])
        response = conn.request(method, url, **given)
        if not isinstance(response, requests.Response):
            response = getattr(conn, "response", None)
    else:
        _check_options(
            given, kind, [name for name in given if name not in _OF_JSON_REQUEST and given[name] is not False]
        )
        uri = rest_of(url)
        uri = uri if uri.startswith("/") else f"/{uri}"
        conn.json_request(method, uri, given.get("json"), given.get("params"), given.get("headers"))
        response = getattr(conn, "response", None)
    if not isinstance(response, requests.Response):
        raise TypeError(
            f"the response of the {kind} for {origin} cannot be used: neither its return value nor its attribute "
            f"response is a requests.Response (it is of type {type(response).__name__})"
        )
    if raises and response.status_code >= 400:
        error = HTTPError.of(response)
        error.add_note(f"{method} {origin}{safe_path(url)}: {response.status_code}")
        raise error
    return cast("Response", response)


def rest_of(url: str) -> str:
    """Path and query of an absolute URL."""
    return _AUTHORITY.sub("", url, count=1)


def _check_options(given: dict[str, Any], kind: str, unknown: list[str]) -> None:
    if unknown:
        names = ", ".join(f"{name}=" for name in unknown)
        raise TypeError(f"{names} cannot be passed on: the connection is a {kind}, which has no such option")
