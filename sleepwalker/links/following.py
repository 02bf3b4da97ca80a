"""Follows links: from a response to the next, once or page by page."""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import urldefrag

import requests

from sleepwalker.connection.allowed import checked_allow
from sleepwalker.connection.foreign import read_once
from sleepwalker.connection.options import RequestOptions
from sleepwalker.connection.response import Response
from sleepwalker.exceptions import (
    InvalidParameter,
    LinkError,
    MissingVariable,
    RelationError,
    URLError,
)
from sleepwalker.frames import without_locals
from sleepwalker.links.finding import Answered, base_of, has, no_such, one, response_of
from sleepwalker.links.link import Link, shown_link, shown_name, shown_names, shown_place
from sleepwalker.links.template import expand, variables_of
from sleepwalker.links.through import MAPPINGS, rest_of
from sleepwalker.links.trail import Trail, trail_of
from sleepwalker.links.way import BELONGS, Finder, Way, begun, send
from sleepwalker.transport.headers import unshared
from sleepwalker.transport.loaded import loaded_body
from sleepwalker.transport.url import join, origin_of

#: Keywords of ours; the variables of a template that are called the same go into `variables`.
_OPTIONS = frozenset(RequestOptions.__annotations__)
_RESERVED = _OPTIONS | {"allow", "auth", "manager", "max_pages", "method", "missing", "variables"}

_MAX_URL = 65_536
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


@without_locals
def follow(
    source: requests.Response | Answered,
    relation: str | Link,
    /,
    *,
    manager: Finder | None = None,
    auth: object = None,
    allow: Iterable[str] = (),
    method: str = "GET",
    variables: Mapping[str, Any] | None = None,
    **more: Any,
) -> Response:
    """Go where the response's link of this relation leads; returns the response from there.

    Args:
        source: A response; or a `Connection`, or any object whose `response` is a `requests.Response`, for its last
            response in this thread.
        relation: Such as `next`, an extension's URL, or a HAL curie. Or one of the response's `links`.
        manager: Finds the connection for each step, to the host that the response came from as to others; its hooks
            decide about their credentials. Without it links that leave the response's connection are refused. What it
            finds may be a `Connection`; or have `request(method, url, **options)` that returns a `requests.Response`;
            or have `json_request(method, uri, body, params, headers)` and the attribute `response`.
        auth: What the manager's `find` is given beside the host where the walk began, or one of `allow`; by default
            what the first response's connection was found with. For others it is given None, and its hooks decide. A
            host that the walk was at before stays as it was found.
        allow: Other origins that what you pass may go to, where a link leads there: a list of origins such as
            "https://b.example.com" and of patterns such as "https://*.example.com". To hosts that are not listed no
            `params=`, body or header that may be a credential is sent: the link is refused.
        method: Sent to the link's target.
        variables: Values for a template's variables, also of those that cannot be keywords; None leaves one out.
        more: `json=`, `headers=` and all other options of `Connection.request`; every other keyword is the value of
            a template's variable.

    Places are searched in the order of `links`: the first that has the relation counts. Those of items are not searched
    for `next`, `self` and others that place a document among its neighbours.

    Raises:
        RelationError: there is no such relation; the text lists those that there are.
        LinkError: it leads to several places, or what the server wrote is no link.
        MissingVariable, InvalidParameter: of a template.
        URLError: the link may not be followed: it leads to another host and there is no `manager`, or something to
            be sent that `allow` does not let go there; from https to http; to another scheme; or it has credentials
            in it. Or the connection was held for several credentials, and which are meant cannot be told.
        TypeError: what was found is no connection, cannot be passed an option, or gave no `requests.Response`.
        DecodeError: a body that is said to be JSON and is none.
        ConnectionError, HTTPError: what `Connection.request` and the manager's `find` raise.
    """
    allowed = checked_allow(allow)
    response, conn = response_of(source)
    way = _way(allowed, manager, auth, method, variables, more)
    link = relation if isinstance(relation, Link) else one(response, _checked(relation))
    if link is None:
        raise RelationError(no_such(response, str(relation)))
    _warn(link, 4)  # one more for what empties this frame
    return send(link, conn, _url(link, way, base_of(response)), way, trail_of(response, conn)).response


@without_locals
def pages(
    source: requests.Response | Answered,
    relation: str = "next",
    /,
    *,
    max_pages: int = 10_000,
    missing: Literal["error", "end"] = "error",
    manager: Finder | None = None,
    auth: object = None,
    allow: Iterable[str] = (),
    method: str = "GET",
    variables: Mapping[str, Any] | None = None,
    **more: Any,
) -> Iterator[Response]:
    """The response itself, then the one that its link leads to, and so on until one has no such link.

    Each page is requested when the iterator reaches it, and no earlier one is kept. Arguments are those of
    `follow`; all of them go for each step, so what can be read only once, as iterators and open files, is a TypeError.

    Args:
        max_pages: The most pages; one more is a LinkError.
        missing: What it means that the response itself has no such link: "error" or, where it may be the only page,
            "end". One that is there and null, as JSON:API writes it, is an end either way.

    Raises RelationError, at the call, for a relation that the response does not have. Each step raises LinkError for a
    link to a URL that the walk was at before, for one more page than `max_pages`, and where the body with the links was
    not read, as of a stream; and what `follow` raises. After
    any error the iterator may be used again: it tries the same step.
    """
    _check_max_pages(max_pages)
    _check_missing(missing)
    allowed = checked_allow(allow)
    response, conn = response_of(source)
    way = _way(allowed, manager, auth, method, variables, more)
    _check_again_and_again(way)
    if missing == "error" and not has(response, _checked(relation)):
        raise RelationError(f"{no_such(response, relation)}; pass missing='end' if it may be the only page")
    if way.variables:  # a misspelt option is one of them, so it raises before the first page
        with contextlib.suppress(LinkError):  # raised at the step
            link = one(response, relation)
            if link is not None:
                _url(link, way, link.base)
    return _Pages(response, conn, _checked(relation), max_pages, way)


class _Page(NamedTuple):
    """The position of a walk."""

    response: Response
    conn: Any
    trail: Trail
    number: int
    """Counts from 1; 0 before the first was handed over."""
    place: int
    """The hash of the URL that was requested, since a server may make URLs of any length."""
    by_body: bool = False
    """Whether the link to it was found in a body."""


class _Pages(Iterator[Response]):
    """The walk of `pages`. Not a generator, which would end with its first error."""

    def __init__(self, response: Response, conn: object, relation: str, max_pages: int, way: Way) -> None:
        trail = begun(trail_of(response, conn), way)
        self._page = _Page(response, conn, trail, 0, hash(_normal(base_of(response))))
        # One that no manager could find again is kept, for the walk may come back to where it goes.
        self._began_with = conn if trail.own is None else None
        self._relation = relation
        self._max_pages = max_pages
        self._way = way
        self._seen: set[int] = set()
        self._over = False
        self._at_work: dict[str, int] = {}

    @without_locals
    def __next__(self) -> Response:
        page, me = self._page, threading.get_ident()
        if self._at_work.setdefault("thread", me) != me:  # as a generator says it: else each would give pages twice
            raise ValueError("another thread uses this iterator: each thread needs its own")
        try:
            if page.number == 0:
                self._page = page._replace(number=1)
            elif self._over:
                raise StopIteration
            else:
                self._page = self._following(page)
            self._at_work.clear()
            return self._page.response
        except BaseException:
            self._page = page  # also if a Ctrl-C came after the response: the caller has not seen it
            self._at_work.clear()
            raise

    def _following(self, page: _Page) -> _Page:
        link = one(page.response, self._relation)
        if link is None:
            _check_seen(page, self._relation)
            self._over = True
            raise StopIteration
        _warn(link, 5)
        url = _url(link, self._way, link.base)
        shown = f"{shown_link(link)}, page {page.number},"
        self._seen.add(page.place)  # not before, since a failed step is no visit
        place = hash(url)
        if place in self._seen:
            raise LinkError(f"{shown} leads back to {shown_place(url)}, which this walk visited: it would never end")
        if page.number >= self._max_pages:
            raise LinkError(
                f"{shown} leads to more than max_pages={self._max_pages} pages: pass a larger number to go on"
            )
        step = send(link, page.conn, url, self._way, page.trail)
        return _Page(*step, page.number + 1, place, by_body=link.place != "Link")


def _check_seen(page: _Page, relation: str) -> None:
    """LinkError for a page without a link whose body was not read: the link may be there, as on the page before."""
    asked: Any = page.response.request
    where = shown_place(page.response.url or "")
    if page.by_body and (loaded_body(page.response) is None or getattr(asked, "method", None) == "HEAD"):
        raise LinkError(
            f"{where} may not be the last page: its body, which may have a link {shown_name(relation)} as the page "
            "before, was not read; do not use stream=True or HEAD"
        )


def _way(
    allow: tuple[str, ...],
    manager: Finder | None,
    auth: object,
    method: str,
    variables: Mapping[str, Any] | None,
    more: dict[str, Any],
) -> Way:
    if isinstance(manager, type):
        raise TypeError(f"manager is the class {manager.__name__}: pass an instance of it")
    if isinstance(manager, str) or (manager is not None and not callable(getattr(manager, "find", None))):
        raise TypeError(f"manager must be a ConnectionManager, not a {type(manager).__name__}")
    if variables is not None and not isinstance(variables, Mapping):
        raise TypeError(f"variables must be a mapping of names to values, not a {type(variables).__name__}")
    options = {name: value for name, value in more.items() if name in _OPTIONS}
    words = {name: value for name, value in more.items() if name not in _OPTIONS}
    # Copied, since the caller may change them later, and each step sends them, to several hosts.
    options |= {name: unshared(options[name]) for name in MAPPINGS if isinstance(options.get(name), Mapping)}
    return Way(allow, manager, auth, method, {**words, **(variables or {})}, options)


def _check_max_pages(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"max_pages must be a positive number, not {value!r:.80}")


def _check_again_and_again(way: Way) -> None:
    """Refuse options that can be read only once, since each step sends them."""
    once = [f"{name}=" for name in BELONGS if read_once(way.options.get(name))]
    if once:
        raise TypeError(
            f"{', '.join(once)} can be read only once, but is sent for each page: pass a value that can be read again, "
            "such as bytes or a list; data= may also be a function that makes a new body"
        )


def _check_missing(value: object) -> None:
    if value not in ("error", "end"):
        raise ValueError(f"missing must be 'error' or 'end', not {value!r:.80}")


def _checked(relation: object) -> str:
    if not isinstance(relation, str) or not relation:
        raise TypeError(f"relation must be a name such as 'next', or one of links(), not {relation!r:.80}")
    return relation


def _url(link: Link, way: Way, answered: str) -> str:
    """Where the link leads, as an absolute URL without fragment that may be asked for.

    `answered` is the URL of the response that it is followed from, which one made by hand need not have as its base.
    """
    try:
        reference = _reference(link, way)
        if _CONTROL.search(reference):  # here, because joining silently drops some of them
            raise URLError("it has control characters")
        url = urldefrag(join(link.base, reference)).url
        if len(url) > _MAX_URL:
            raise URLError(f"its URL has {len(url)} characters; up to {_MAX_URL} are sent")
        scheme = _SCHEME.match(url)
        if scheme is not None and scheme[1].lower() not in ("http", "https"):
            raise URLError(f"it has the scheme {scheme[1].lower()[:20]!r}; only http and https can be followed")
        origin = origin_of(url)
        if origin.scheme == "http" and any(base.lower().startswith("https:") for base in (link.base, answered)):
            raise URLError(f"it leads from https to {origin}, which is never followed: others could read what is sent")
    except (URLError, LinkError, InvalidParameter, MissingVariable) as error:
        told = type(error)(f"{shown_link(link)}: {error}")
    else:
        return f"{origin}{rest_of(url)}"
    raise told


def _normal(url: str) -> str:
    """The URL of a response, as `_url` would write it."""
    try:
        return f"{origin_of(url)}{rest_of(url)}"
    except URLError:  # of a response that did not come over the network
        return url


def _reference(link: Link, way: Way) -> str:
    if not link.templated:
        if way.variables:
            raise InvalidParameter(
                f"it is not a template, so it has no variable {shown_names(way.variables)}{_meant(way)}"
            )
        return link.target
    twice = [name for name in variables_of(link.target) if name in way.options and name not in way.variables]
    if twice:
        raise InvalidParameter(
            f"{shown_names(twice)} is a variable of its template and an option of the request: pass the variable in "
            f"variables={{{twice[0]!r}: ...}}, or None there to leave it out"
        )
    return expand(link.target, way.variables, _RESERVED)


def _meant(way: Way) -> str:
    """The option that a misspelt one may mean."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    options = sorted(_RESERVED)
    close = next((found for name in way.variables for found in get_close_matches(name, options, n=1)), None)
    return "" if close is None else f"; did you mean {close}=?"


def _warn(link: Link, level: int) -> None:
    """HAL asks clients to tell their maintainers of links that will go away; `level` leads to the caller's line."""
    if link.deprecation is None:
        return
    more = f"; see {shown_place(link.base, link.deprecation)}" if link.deprecation else ""
    warnings.warn(f"{shown_link(link)} is deprecated{more}", DeprecationWarning, stacklevel=level)
