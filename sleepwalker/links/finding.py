"""Finds links in answers, and which one a relation means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import urldefrag, urljoin

import requests

from sleepwalker.connection.connection import Connection
from sleepwalker.exceptions import LinkError
from sleepwalker.links.document import MEMBERS, document_of, has_relation, member_links, relation_names, wanted_links
from sleepwalker.links.header import header_links
from sleepwalker.links.link import Link, shown_link, shown_name, shown_names, shown_place
from sleepwalker.transport.answer import body_in_hand

#: With more places than these for one relation there is nothing to choose by.
_MANY = 10


def links(source: requests.Response | Connection, /) -> Iterator[Link]:
    """All links of an answer: those of its `Link` header, of HAL's `_links` and of JSON:API's `links`, in this order.

    `source` is the answer, or a connection, which stands for its last answer in this thread. What the server wrote
    in a link's place that is none is left out. Raises DecodeError for a body that is said to be JSON and is none,
    LinkError where `_links` is no object.
    """
    response, _ = answer_of(source)
    base = base_of(response)
    document = document_of(response)
    members = (member_links(response, document, member, base) for member in MEMBERS)
    return chain(header_links(response.headers.get("Link"), base), *members)


def answer_of(source: Any) -> tuple[requests.Response, Connection | None]:
    """The answer to look for links in, and the connection that it came through, if that is still there."""
    if isinstance(source, Connection):
        response = source.response
        if response is None:
            raise LinkError(
                f"{source.origin} has given no answer in this thread yet: ask for a document with links first"
            )
        return response, source
    if not isinstance(source, requests.Response):
        raise TypeError(f"links are those of a requests.Response or a Connection, not of a {type(source).__name__}")
    known = getattr(source, "_sleepwalker", None)
    return source, None if known is None else known()


def base_of(response: requests.Response) -> str:
    """The URL that relative links are relative to: the one that answered in the end."""
    return urldefrag(response.url or "").url


def one(response: requests.Response, relation: str) -> Link | None:
    """The link of this relation, None if there is none. LinkError where it leads to several places."""
    base = base_of(response)
    wanted = relation.casefold()
    if link := _only(link for link in header_links(response.headers.get("Link"), base) if _is_own(link, wanted)):
        return link
    document = document_of(response)
    for member in MEMBERS:
        if link := _only(wanted_links(response, document, member, base, relation)):
            return link
    return None


def has(response: requests.Response, relation: str) -> bool:
    """Whether the answer has the relation at all, if only to say that there is no such link (null)."""
    wanted = relation.casefold()
    if any(_is_own(link, wanted) for link in header_links(response.headers.get("Link"), base_of(response))):
        return True
    document = document_of(response)
    return any(has_relation(response, document, member, relation) for member in MEMBERS)


def no_such(response: requests.Response, relation: str) -> str:
    """What to say where there is no such link: which there are, by name."""
    base = base_of(response)
    header = list(header_links(response.headers.get("Link"), base))
    document = document_of(response)
    names = chain(
        (link.relation for link in header if link.context is None),
        *(relation_names(response, document, member) for member in MEMBERS),
    )
    says = f"{shown_place(base)} has no link {shown_name(relation)}: it has {shown_names(names) or 'none at all'}"
    if any(link.relation.casefold() == relation.casefold() for link in header):
        says += "; there is such a link of another resource, by its anchor, which can be had from links(answer)"
    if body_in_hand(response) is None:
        says += "; the body of a streamed answer is not looked at"
    return says


def _is_own(link: Link, wanted: str) -> bool:
    return link.relation.casefold() == wanted and link.context is None


def _only(found: Iterator[Link]) -> Link | None:
    """The first of the links, which must all lead to one place."""
    places: dict[tuple[str, bool], Link] = {}
    for link in found:
        target = link.target
        if not link.templated:
            with contextlib.suppress(ValueError):  # it is told when the link is followed
                target = urljoin(link.base, target)
        places.setdefault((target, link.templated), link)
        if len(places) > _MANY:
            break
    some = list(places.values())
    if len(some) > 1:
        number = f"more than {_MANY}" if len(some) > _MANY else str(len(some))
        names = [name for link in some if (name := link.name or link.title or link.type or link.hreflang)]
        told = f" ({shown_names(names)})" if names else ""
        raise LinkError(
            f"{shown_link(some[0])} leads to {number} places{told}: pass the one that is meant, out of links(answer)"
        )
    return some[0] if some else None
