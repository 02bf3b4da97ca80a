"""`follow` and `pages` up to what is to be performed: their arguments, and what they decide at once."""

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
    """Go where the response's link of this relation leads; returns the response from there.

    Args:
        source: A response; or a `Connection`, or any object whose `response` is a `requests.Response`, for its last
            response in this thread; or an `AsyncConnection`, for its last one in this task.
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
    way = way_of(allowed, manager, auth, method, variables, more)
    check_again_and_again(way)
    if missing == "error" and not has(response, _checked(relation)):
        raise RelationError(f"{no_such(response, relation)}; pass missing='end' if it may be the only page")
    if way.variables:  # a misspelt option is one of them, so it raises before the first page
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
