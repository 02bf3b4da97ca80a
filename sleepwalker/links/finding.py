"""Finds links in responses, and the link that a relation means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import chain
from typing import Any, Protocol, cast
from urllib.parse import urldefrag, urljoin

import requests

from sleepwalker.connection.base import ConnectionBase
from sleepwalker.connection.came_from import came_from
from sleepwalker.connection.connection import Connection
from sleepwalker.connection.response import Response
from sleepwalker.exceptions import LinkError
from sleepwalker.links.document import document_of
from sleepwalker.links.header import header_links
from sleepwalker.links.link import Link, shown_link, shown_name, shown_names, shown_place
from sleepwalker.links.places import (
    OF_ITSELF,
    Written,
    all_links,
    names,
    places_of_answer,
    places_of_items,
    wanted,
    wanted_links,
)
from sleepwalker.transport.loaded import loaded_body

#: The search ends when one relation has more different targets than this.
_MANY = 10
_NO_ATTRIBUTE = object()


class Answered(Protocol):
    """An object with its last response as an attribute: a `Connection`, or another client."""

    @property
    def response(self) -> requests.Response | None:
        """Its last response in this thread; None if there is none."""
        ...


def links(source: requests.Response | Answered, /) -> Iterator[Link]:
    """All links of a response and of its items, in search order.

    The order is: the `Link` header, HAL's `_links`, JSON:API's `links`, OData's `@odata.nextLink`; then `next`, `prev`,
    `previous`, `first`, `last` and `self` at the top level of the body; then, with a `context`, the links of the items
    in `_embedded` and `data`.

    `source` is the response, or a connection, which stands for its last response in this thread. Entries that are not
    links are left out. Raises DecodeError for a body that is not JSON although its Content-Type says so, and LinkError
    if `_links` is not an object.
    """
    response, _ = response_of(source)
    base = base_of(response)
    document = document_of(response)
    places = (*places_of_answer(response, document, base), *places_of_items(document))
    return chain(header_links(response.headers.get("Link"), base), *(all_links(place, base) for place in places))


def response_of(source: object) -> tuple[Response, Any]:
    """The response to search for links, and the connection that it came through, if that still exists."""
    if isinstance(source, requests.Response):
        known = came_from(source)
        return cast("Response", source), None if known is None else known.connection
    response = getattr(source, "response", _NO_ATTRIBUTE)
    if isinstance(response, requests.Response):
        return cast("Response", response), source
    if response is not None:
        raise TypeError(
            "links need a requests.Response, a Connection, or an object whose `response` is a requests.Response, not "
            f"a {type(source).__name__}"
        )
    name = source.origin if isinstance(source, ConnectionBase) else f"the {type(source).__name__}"
    here = "task" if isinstance(source, ConnectionBase) and not isinstance(source, Connection) else "thread"
    raise LinkError(f"{name} has no response in this {here} yet: request a document with links first")


def base_of(response: requests.Response) -> str:
    """The base URL of relative links: the URL of the response after redirects."""
    return urldefrag(response.url or "").url


def one(response: requests.Response, relation: str) -> Link | None:
    """The link of this relation; None if there is none. LinkError if it has several targets."""
    base = base_of(response)
    header = header_links(response.headers.get("Link"), base)
    if link := _only(link for link in header if _is_own(link, relation)):
        return link
    for place in _places(response, relation):
        if link := _only(wanted_links(place, relation, base)):
            return link
    return None


def has(response: requests.Response, relation: str) -> bool:
    """Whether the response has the relation at all, even as null (no such link)."""
    if any(_is_own(link, relation) for link in header_links(response.headers.get("Link"), base_of(response))):
        return True
    return any(True for place in _places(response, relation) for _ in wanted(place, relation))


def no_such(response: requests.Response, relation: str) -> str:
    """The text for a missing link; it lists the existing ones."""
    base = base_of(response)
    header = list(header_links(response.headers.get("Link"), base))
    document = document_of(response)
    own = chain(
        (link.relation for link in header if link.context is None),
        *map(names, places_of_answer(response, document, base)),
    )
    of_items = shown_names(chain(*map(names, places_of_items(document))))
    says = f"{shown_place(base)} has no link {shown_name(relation)}: it has {shown_names(own) or 'none at all'}"
    if of_items:
        says += f"; its items have {of_items}"
    if any(_is_called(link, relation) for link in header):
        says += "; another resource has such a link (by its anchor); get it from links(response)"
    elif relation.casefold() in OF_ITSELF and any(
        _is_called(link, relation) for place in places_of_items(document) for link in all_links(place, base)
    ):
        says += "; its items have such links; get them from links(response)"
    if loaded_body(response) is None:
        says += "; the body of a streamed response is not searched"
    return says


def _places(response: requests.Response, relation: str) -> tuple[Iterator[Written], ...]:
    """The places of the body that may have the relation for this response."""
    document = document_of(response)
    places = places_of_answer(response, document, base_of(response))
    return places if relation.casefold() in OF_ITSELF else (*places, *places_of_items(document))


def _is_called(link: Link, relation: str) -> bool:
    return link.relation.casefold() == relation.casefold()


def _is_own(link: Link, relation: str) -> bool:
    return link.context is None and _is_called(link, relation)


def _only(found: Iterator[Link]) -> Link | None:
    """The first of the links, which must all lead to one place."""
    places: dict[tuple[str, bool], Link] = {}
    for link in found:
        target = link.target
        if not link.templated:
            with contextlib.suppress(ValueError):  # raised when the link is followed
                target = urljoin(link.base, target)
        places.setdefault((target, link.templated), link)
        if len(places) > _MANY:
            break
    some = list(places.values())
    if len(some) > 1:
        number = f"more than {_MANY}" if len(some) > _MANY else str(len(some))
        hints = [name for link in some if (name := link.name or link.title or link.type or link.hreflang)]
        told = f" ({shown_names(hints)})" if hints else ""
        whose = "" if some[0].context is None else ", by its context, which names its item"
        raise LinkError(
            f"{shown_link(some[0])} has {number} different targets{told}: pass the right link from "
            f"links(response){whose}"
        )
    return some[0] if some else None
