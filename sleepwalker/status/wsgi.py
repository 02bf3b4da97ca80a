"""The WSGI application: which path gives what, and the headers that keep it harmless."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.connection import Connection, ConnectionManager
from sleepwalker.status.page import POLICY, Asked, render
from sleepwalker.status.view import STATES, View, Views

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: The shape of hosts.json; it counts up when a field changes its meaning or goes, not when one comes.
VERSION = 1
#: A name to look for is no longer than a host's.
_LONGEST_WORDS = 300

_HEADERS = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]


class _BadQuery(ValueError):
    """What a program asked for that cannot be; its text says why."""


def app(
    *sources: ConnectionManager[Any] | Connection, title: str = "Hosts", clock: Clock = SYSTEM_CLOCK
) -> WSGIApplication:
    """A WSGI application that shows how the hosts of `sources` do: `/` for people, `/hosts.json` for programs.

    Args:
        sources: Managers, and connections that belong to none of them.
        title: The heading of the page, such as the service's name.
        clock: The source of time; for tests.

    It only reads, responds to GET and HEAD, sets no cookie, and works below any prefix. The status is always 200,
    whatever the state of the hosts. It has no password: mount it where only people who may see host names reach it.

    Raises TypeError without a source, and for one that is neither a manager nor a connection.
    """
    if not sources:
        raise TypeError("app() needs at least one source: a ConnectionManager or a Connection")
    for source in sources:
        if not isinstance(source, ConnectionManager | Connection):
            raise TypeError(f"a source must be a ConnectionManager or a Connection, not a {type(source).__name__}")
    if not isinstance(title, str):
        raise TypeError(f"title must be a text, not a {type(title).__name__}")
    views = Views(sources, clock)

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, kind, body, more = _answer(environ, views, title)
        headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body))), *_HEADERS, *more]
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return respond


def _answer(environ: WSGIEnvironment, views: Views, title: str) -> tuple[str, str, bytes, list[tuple[str, str]]]:
    """Status, type, body, and headers beyond those that every response has."""
    path = environ.get("PATH_INFO", "")
    if path not in ("", "/", "/hosts.json"):
        return "404 Not Found", "text/plain", b"There are / and /hosts.json here.\n", []
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return "405 Method Not Allowed", "text/plain", b"This only reads: GET or HEAD.\n", [("Allow", "GET, HEAD")]
    query = parse_qs(environ.get("QUERY_STRING", ""), errors="replace")
    words = query.get("q", [""])[-1].strip()[:_LONGEST_WORDS]
    states = query.get("state", [])
    if path == "/hosts.json":
        try:
            return "200 OK", "application/json", _json(views, words, states, query.get("limit", [])), []
        except _BadQuery as error:
            return "400 Bad Request", "application/json", _encoded({"error": str(error)}), []
    asked = Asked(words, frozenset(states).intersection(STATES), _beside(environ))
    page = render(views.current(), asked, title, os.getpid())
    return "200 OK", "text/html", page.encode("utf-8", "replace"), []


def _beside(environ: WSGIEnvironment) -> str:
    """The relative path from the page to its neighbours, for a request of `/status` as well as `/status/`.

    Relative, so that it works behind a proxy that adds a prefix.
    """
    if environ.get("PATH_INFO"):
        return "./"
    last = environ.get("SCRIPT_NAME", "").rpartition("/")[2]
    return f"./{quote(last.encode('latin-1', 'replace'))}/" if last else "./"


def _json(views: Views, words: str, states: list[str], limits: list[str]) -> bytes:
    if unknown := [state for state in states if state not in STATES]:
        raise _BadQuery(f"state is one of {', '.join(STATES)}, not {unknown[0][:100]!r}")
    limit: int | None = None
    if limits:
        if not (limits[-1].isascii() and limits[-1].isdigit() and len(limits[-1]) < 10):
            raise _BadQuery(f"limit is a number of hosts, not {limits[-1][:100]!r}")
        limit = int(limits[-1])
    view = views.current()
    return _encoded(_document(view, view.matching(words, frozenset(states)), limit))


def _document(view: View, matching: tuple[Any, ...], limit: int | None) -> dict[str, Any]:
    return {
        "version": VERSION,
        "sleepwalker": _version(),
        "generated": view.taken,
        "process": os.getpid(),
        "total": len(view.hosts),
        "states": view.states,
        "matching": len(matching),
        "hosts": [health.to_dict() for health in matching[:limit]],
    }


def _version() -> str | None:
    try:
        return metadata.version("sleepwalker")
    except metadata.PackageNotFoundError:  # run from a checkout
        return None


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"
