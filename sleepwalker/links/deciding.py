"""`follow` and `pages` without I/O: they check arguments, and yield the calls to make."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import requests

from sleepwalker.connection.allowed import checked_allow
from sleepwalker.connection.response import Response
from sleepwalker.exceptions import LinkError, RelationError
from sleepwalker.links.destination import destination_of
from sleepwalker.links.finding import Answered, base_of, has, no_such, one, response_of
from sleepwalker.links.going import Step, send
from sleepwalker.links.link import Link, warn_if_deprecated
from sleepwalker.links.performing import Steps
from sleepwalker.links.trail import trail_of
from sleepwalker.links.walk import Walk
from sleepwalker.links.way import Finder, check_again_and_again, way_of


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
) -> Steps[Response]:
    """Follow the response's link with this relation; returns the response of its target.

    Args:
        source: A response; or a `Connection` or any object whose `response` is a `requests.Response`, for its last
            response in this thread; or an `AsyncConnection`, for its last response in this task.
        relation: Such as `next`, an extension's URL, or a HAL curie; or one of the response's `links`.
        manager: Finds the connection for each step, also to the response's own host. Its hooks decide about
            credentials. Without a manager, links to other hosts are refused. A connection may be a `Connection`; an
            object with `request(method, url, **options)` that returns a `requests.Response`; or an object with
            `json_request(method, uri, body, params, headers)` and the attribute `response`.
        auth: Passed to the manager's `find` for the host where the walk began, and for hosts in `allow`. Default: what
            the first response's connection was found with. For other hosts, `find` gets None and the hooks decide. A
            host that the walk has visited keeps its credentials.
        allow: Other origins that may get what you pass: a list of origins such as "https://b.example.com" and patterns
            such as "https://*.example.com". Other hosts get no `params=`, no body and no header that may be a
            credential: such a link is refused.
        method: The HTTP method of the request.
        variables: Values for a template's variables, also for names that cannot be keywords. None leaves a variable
            out.
        more: `json=`, `headers=` and all other options of `Connection.request`. Every other keyword is the value of a
            template variable.

    Places are searched in the order of `links`, and the first one with the relation counts. Items are not searched for
    `next`, `self` and other relations between a document and its neighbours.

    Raises:
        RelationError: there is no such relation; the text lists the existing ones.
        LinkError: it has several targets, or the server's entry is not a link.
        MissingVariable, InvalidParameter: for a template.
        URLError: the link may not be followed: it leads to another host and there is no `manager`, or `allow` does not
            permit what you pass; it leads from https to http, or to another scheme; or it contains credentials. Also if
            the connection was held for several credentials and the right ones cannot be determined.
        TypeError: the found object is not a connection, does not accept an option, or returned no `requests.Response`.
        DecodeError: a body is not JSON although its Content-Type says so.
        ConnectionError, HTTPError: from `Connection.request` and the manager's `find`.
    """
    allowed = checked_allow(allow)
    response, conn = response_of(source)
    way = way_of(allowed, manager, auth, method, variables, more)
    link = relation if isinstance(relation, Link) else one(response, _checked(relation))
    if link is None:
        raise RelationError(no_such(response, str(relation)))
    warn_if_deprecated(link, 4)
    return _response(send(link, conn, destination_of(link, way, base_of(response)), way, trail_of(response, conn)))


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
) -> Walk:
    """Iterate over the response itself, then the target of its link, and so on until a page has no such link.

    Each page is requested when the iterator reaches it, and earlier pages are not kept. The arguments are those of
    `follow`, and apply to every step. An argument that can be read only once, such as an iterator or an open file,
    raises TypeError.

    Args:
        max_pages: The most pages; one more raises LinkError.
        missing: What to do if the first response has no such link: "error", or "end" if it may be the only page. A link
            that is null, as in JSON:API, always means the end.

    Raises RelationError, at the call, if the first response lacks the relation. Each step raises what `follow` raises.
    It also raises LinkError for a URL that the walk has already visited, for one page more than `max_pages`, and if the
    body with the links was not read, as of a stream. After any error the iterator can be used again: it repeats the
    same step.
    """
    _check_max_pages(max_pages)
    _check_missing(missing)
    allowed = checked_allow(allow)
    response, conn = response_of(source)
    way = way_of(allowed, manager, auth, method, variables, more)
    check_again_and_again(way)
    if missing == "error" and not has(response, _checked(relation)):
        raise RelationError(f"{no_such(response, relation)}; pass missing='end' if it may be the only page")
    if way.variables:  # a misspelt option counts as a variable: raise before the first page
        with contextlib.suppress(LinkError):  # raised at the step
            link = one(response, relation)
            if link is not None:
                destination_of(link, way, link.base)
    return Walk(response, conn, _checked(relation), max_pages, way)


def _response(steps: Steps[Step]) -> Steps[Response]:
    return (yield from steps).response


def _check_max_pages(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"max_pages must be a positive number, not {value!r:.80}")


def _check_missing(value: object) -> None:
    if value not in ("error", "end"):
        raise ValueError(f"missing must be 'error' or 'end', not {value!r:.80}")


def _checked(relation: object) -> str:
    if not isinstance(relation, str) or not relation:
        raise TypeError(f"relation must be a name such as 'next', or one of links(), not {relation!r:.80}")
    return relation
