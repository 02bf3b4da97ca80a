"""Responses to requests for the status page, independent of the server interface."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from typing import Any
from urllib.parse import parse_qs, quote

from sleepwalker.clock import Clock, give_way
from sleepwalker.connection.base import ConnectionBase
from sleepwalker.connection.managing import ManagerBase
from sleepwalker.engine import HostHealth
from sleepwalker.process import THIS_PROCESS
from sleepwalker.status import fleet
from sleepwalker.status.page import POLICY, Asked, ServingProcess, render
from sleepwalker.status.runbook import check_runbook
from sleepwalker.status.sorting import DEFAULT, ORDERS
from sleepwalker.status.view import STATES, View, Views

#: The version of hosts.json. It increases when a field is removed or changes its meaning, not when one is added.
VERSION = 1
#: The most characters of the words to search for.
_LONGEST_WORDS = 300
#: A body of fewer bytes is not worth compressing. The level: 4 MB take 60 ms, and a higher one saves little.
_SMALL, _LEVEL = 1000, 4

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)

#: A manager or a connection, for threads or for asyncio.
Source = ManagerBase[Any, Any] | ConnectionBase


class _BadQuery(ValueError):
    """A program sent an invalid query. The text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """The relevant parts of a request."""

    method: str
    path: str
    """Below the place where the site is mounted."""
    query: str
    mounted: str
    """The path where the site is mounted, decoded; empty for the root."""
    accept_encoding: str
    if_none_match: str

    @property
    def beside(self) -> str:
        """The relative path from the page to its neighbours, for `/status` as well as `/status/`.

        It is relative so that it works behind a proxy that adds a prefix.
        """
        if self.path:
            return "./"
        last = self.mounted.rpartition("/")[2]
        return f"./{quote(last, errors='replace')}/" if last else "./"


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a request."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes


class Site:
    """The pages about the given managers and connections. Thread-safe."""

    def __init__(self, sources: tuple[Source, ...], title: str, runbook: str | None, clock: Clock) -> None:
        if not sources:
            raise TypeError("the page needs at least one source: a ConnectionManager or a Connection")
        for source in sources:
            if not isinstance(source, ManagerBase | ConnectionBase):
                kind = type(source).__name__
                raise TypeError(f"a source must be a ConnectionManager or a Connection, not a {kind}")
        if not isinstance(title, str):
            raise TypeError(f"title must be a text, not a {type(title).__name__}")
        self._serving = ServingProcess(title, socket.gethostname(), check_runbook(runbook))
        self._views = Views(sources, clock)

    def respond(self, request: Request) -> Response:
        """The response to a request. HEAD has the headers of GET, and no body."""
        response = self._respond(request)
        if request.method == "HEAD":
            return Response(response.status, response.headers, b"")
        return response

    def _respond(self, request: Request) -> Response:
        if request.path not in ("", "/", "/hosts.json"):
            return _plain(HTTPStatus.NOT_FOUND, "Not found: the pages are / and /hosts.json.")
        if request.method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "Read-only: use GET or HEAD.", ("Allow", "GET, HEAD"))
        query = parse_qs(request.query, errors="replace")
        try:
            asked, limit = _asked(query, request.beside, strict=request.path == "/hosts.json")
        except _BadQuery as error:
            return _made(HTTPStatus.BAD_REQUEST, "application/json", _encoded({"error": str(error)}) + b"\n")
        view = self._views.current()
        tag = self._tag(view, request.path, asked, limit)
        more = [("Vary", "Accept-Encoding"), ("ETag", tag)]
        if _is_known(tag, request.if_none_match):
            return Response(HTTPStatus.NOT_MODIFIED, [*_HEADERS, *more], b"")
        if request.path == "/hosts.json":
            kind, body = "application/json", self._document(view, asked, limit)
        else:
            kind, body = "text/html", render(view, asked, self._serving).encode("utf-8", "replace")
        if len(body) >= _SMALL and _takes_gzip(request.accept_encoding):
            body = gzip.compress(body, _LEVEL, mtime=0)
            more.append(("Content-Encoding", "gzip"))
        return _made(HTTPStatus.OK, kind, body, *more)

    def _tag(self, view: View, path: str, asked: Asked, limit: int | None) -> str:
        """The ETag: the same for the same request about the same view of the same process. It is weak, because the
        bytes differ with the encoding."""
        speaks = (self._serving.machine, THIS_PROCESS.pid, THIS_PROCESS.since, view.number, view.taken)
        same = (*speaks, path.strip("/"), asked.words, sorted(asked.states), *asked[2:], limit)
        return f'W/"{hashlib.blake2b(repr(same).encode("utf-8", "replace"), digest_size=12).hexdigest()}"'

    def _document(self, view: View, asked: Asked, limit: int | None) -> bytes:
        matching = asked.hosts(view)
        about = {
            "version": VERSION,
            "sleepwalker": _version(),
            "generated": view.taken,
            "process": THIS_PROCESS.pid,
            "machine": self._serving.machine,
            "started": THIS_PROCESS.since,
            "total": len(view.hosts),
            "states": view.states,
            "fleets": [fleet.document(health) for health in view.fleets],
            "matching": len(matching),
        }
        # Host by host: encoding all at once would stop every other thread for half a second.
        hosts = b",".join(map(_encoded_host, matching[:limit]))
        return b'%b,"hosts":[%b]}\n' % (_encoded(about)[:-1], hosts)


def _asked(query: dict[str, list[str]], beside: str, *, strict: bool) -> tuple[Asked, int | None]:
    """The selection in the query, and the most hosts. Unless `strict`, ignore invalid values: people get a page."""
    words = query.get("q", [""])[-1].strip()[:_LONGEST_WORDS]
    states, order, limits = query.get("state", []), query.get("sort", [DEFAULT])[-1], query.get("limit", [])
    if not strict:
        order = order if order in ORDERS else DEFAULT
        return Asked(words, frozenset(states).intersection(STATES), order, beside), None
    if unknown := [state for state in states if state not in STATES]:
        raise _BadQuery(f"state is one of {', '.join(STATES)}, not {unknown[0][:100]!r}")
    if order not in ORDERS:
        names = ", ".join(name for name in ORDERS if not name.startswith("-"))
        raise _BadQuery(f"sort is one of {names}, or one of them after a '-', not {order[:100]!r}")
    limit: int | None = None
    if limits:
        if not (limits[-1].isascii() and limits[-1].isdigit() and len(limits[-1]) < 10):
            raise _BadQuery(f"limit is a number of hosts, not {limits[-1][:100]!r}")
        limit = int(limits[-1])
    return Asked(words, frozenset(states), order, beside), limit


def _is_known(tag: str, if_none_match: str) -> bool:
    """Whether the client already has this version (RFC 9110, section 13.1.2)."""
    known = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in known or tag.removeprefix("W/") in known


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether the client accepts gzip (RFC 9110, section 12.5.3)."""
    accepted: dict[str, bool] = {}
    for one in accept_encoding.lower().split(","):
        coding, _, weight = one.partition(";")
        accepted[coding.strip()] = weight.strip().removeprefix("q=").strip("0.") != "" or not weight
    return accepted.get("gzip", accepted.get("x-gzip", accepted.get("*", False)))


def _plain(status: HTTPStatus, words: str, *more: tuple[str, str]) -> Response:
    return _made(status, "text/plain", f"{words}\n".encode("ascii"), *more)


def _made(status: HTTPStatus, kind: str, body: bytes, *more: tuple[str, str]) -> Response:
    about = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))]
    return Response(status, [*about, *_HEADERS, *more], body)


def _version() -> str | None:
    try:
        return metadata.version("sleepwalker")
    except metadata.PackageNotFoundError:  # run from a checkout
        return None


def _encoded_host(health: HostHealth) -> bytes:
    give_way()
    return _encoded(health.to_dict())


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")
