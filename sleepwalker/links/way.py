"""How a walk along links goes on: through which connection, and what of the caller's may go to that host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import requests

from sleepwalker.connection.allowed import allows, explain_withheld
from sleepwalker.connection.connection import Connection
from sleepwalker.exceptions import ConnectionError, HTTPError, URLError
from sleepwalker.links.link import Link, shown_link, shown_names
from sleepwalker.transport.credentials import ANONYMOUS
from sleepwalker.transport.url import Origin, origin_of

#: Options of a call that go to another host only if it is allowed.
_BELONGS = ("params", "data", "json", "files")
#: Headers of a call that go with it to another host, as they hold no credentials.
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "content-language", "content-type"}
    | {"idempotency-key", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "prefer", "range"}
    | {"traceparent", "tracestate", "user-agent"}
)

_AUTHORITY = re.compile(r"\A[^:/?#]+://[^/?#]*")


class Finder(Protocol):
    """A `ConnectionManager`, or what finds connections as one does."""

    def find(self, host: str, auth: Any, /) -> Any:
        """The connection to a host."""
        ...


@dataclass(frozen=True)
class Way:
    """How links are followed, as the caller wants it."""

    home: Origin | None
    """Where the walk began: the host that the caller's credentials and parameters are for."""
    led: bool
    """Whether the answer at hand is of another host, which a link led to."""
    allow: tuple[str, ...]
    """Other origins that may have them."""
    manager: Finder | None
    # Not shown, for a traceback with locals has the frame of a generator, too.
    auth: Any = field(repr=False)
    method: str
    variables: Mapping[str, Any] = field(repr=False)
    options: dict[str, Any] = field(repr=False)


def home_of(response: requests.Response, conn: Connection | None) -> Origin | None:
    """Where the answer was asked for, which a redirect may have led away from.

    Of one that a link of another host led to, it is where that walk began: a loop over `follow` is a walk as well.
    """
    began: Origin | None = getattr(response, "_sleepwalker_home", None)
    if began is not None:
        return began
    if conn is not None:
        return conn.origin
    try:
        return origin_of((response.history[0] if response.history else response).url or "")
    except URLError:  # of an answer that did not come over the network
        return None


def send(link: Link, conn: Connection | None, url: str, way: Way) -> tuple[requests.Response, Connection]:
    """The answer from `url`, and the connection that it came through."""
    target = origin_of(url)
    if way.home == target:
        return _sent(link, conn, url, target, way)
    # ANONYMOUS is no credential, and says that none are wanted.
    secret = way.auth is not None and way.auth is not ANONYMOUS
    withheld = secret and not allows(way.allow, target.text, target)
    try:
        response, through = _sent(link, conn, url, target, replace(way, auth=None) if withheld else way)
    except (ConnectionError, HTTPError) as error:
        if withheld:
            explain_withheld(error, str(way.home or "the host that the walk began at"), target.text)
        raise
    response._sleepwalker_home = way.home  # type: ignore[attr-defined]
    return response, through


def _sent(
    link: Link, conn: Connection | None, url: str, target: Origin, way: Way
) -> tuple[requests.Response, Connection]:
    through = _connection(link, conn, target, way)
    if through.origin != target:  # a hook's decision: another host stands in
        url = f"{through.origin}{rest_of(url)}"
    return through.request(way.method, url, **way.options), through


def _connection(link: Link, conn: Connection | None, target: Origin, way: Way) -> Connection:
    """Where a request to `target` may go: no host gets what belongs to another."""
    own = conn is not None and conn.origin == target
    if way.led and target != way.home:
        _check_options(link, target, way)
    if conn is not None and own and (way.manager is None or not conn.closed):
        return conn
    if way.manager is not None:
        if target != way.home:
            _check_options(link, target, way)
        found = way.manager.find(target.text, way.auth)
        if not isinstance(found, Connection):
            raise TypeError(f"links are followed through a Connection, but the manager has a {type(found).__name__}")
        return found
    told = f"{shown_link(link)} leads to {target}, but "
    if conn is None:
        raise URLError(
            f"{told}the connection that the answer came through is not known, for it is gone or was none of "
            "sleepwalker's: keep the Connection for as long as links are followed, or pass manager="
        )
    raise URLError(
        f"{told}the answer came through a connection to {conn.origin}, whose credentials are sent nowhere else: "
        "pass manager=, a ConnectionManager that finds connections to other hosts"
    )


def _check_options(link: Link, target: Origin, way: Way) -> None:
    """What is meant for one host may be a credential or a secret, and a server must not choose who else gets it."""
    headers = way.options.get("headers")
    if headers is not None and not isinstance(headers, Mapping):
        raise URLError(f"headers must be a mapping of names to values, not {type(headers).__name__}")
    if allows(way.allow, target.text, target):
        return
    kept = [f"{name}=" for name in _BELONGS if way.options.get(name) is not None]
    names = [str(name) for name in headers or () if str(name).lower() not in _HARMLESS]
    if names:
        kept.append(f"headers that may be credentials ({shown_names(names)})")
    if kept:
        raise URLError(
            f"{shown_link(link)} leads to {target}, and what is for one host is not sent on to another that a server "
            f"names: {', '.join(kept)}; pass allow=['{target}'] if that host may have it, or have the manager's hook "
            "make connections with headers= for it"
        )


def rest_of(url: str) -> str:
    """Path and query of an absolute URL."""
    return _AUTHORITY.sub("", url, count=1)
