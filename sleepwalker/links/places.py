"""Where a JSON body has links: HAL, JSON:API, OData, at its top level by name, and in its items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urljoin

import requests

from sleepwalker.exceptions import LinkError
from sleepwalker.links.curies import Expand, curies_of, no_curie
from sleepwalker.links.document import media_type
from sleepwalker.links.link import Link, Place, shown_name, shown_place

#: Relations that say where a document stands among others. Those of an item do not count for its response.
OF_ITSELF = frozenset(
    {"self", "canonical", "alternate", "edit", "up", "top", "collection", "index", "contents", "start", "current"}
    | {"first", "last", "next", "prev", "previous"}
    | {"latest-version", "predecessor-version", "successor-version", "version-history"}
)

#: Top-level members with these names are links if they look like URLs. Others may be anything: `links` omits them.
_WELL_KNOWN = frozenset({"next", "prev", "previous", "first", "last", "self"})
#: The names of the next link and of the context in OData 4, 4.01 and 3 (which SharePoint uses).
_ODATA_NEXT = {
    "@odata.nextLink": "@odata.context",
    "@nextLink": "@context",
    "odata.nextLink": "odata.metadata",
}
_URL_STARTS = ("http://", "https://", "/", "./", "../", "?")

#: The depth to which items in items are searched.
_MAX_DEPTH = 3
#: Most characters of a name in a pointer: the context of each item below repeats it, so long ones take much memory.
_MAX_TOKEN = 200

_HINTS = ("name", "title", "type", "hreflang")


class Written(NamedTuple):
    """What a server wrote for a relation: one link, a list of links, null, or something else."""

    place: Place
    relation: str
    value: Any
    context: str | None = None
    expand: Expand = no_curie
    named: bool = True
    """Whether it is found by the name of its relation."""
    listed: bool = True
    """Whether it is certainly meant as a link, so that `links` lists it."""


def places_of_answer(response: requests.Response, document: dict[str, Any], base: str) -> tuple[Iterator[Written], ...]:
    """The entries of the response's own relations, by place. Iterating raises LinkError if `_links` is no object."""
    return (
        _member(response, document, "_links"),
        _member(response, document, "links"),
        _odata(document, base),
        _top(document),
    )


def places_of_items(document: dict[str, Any]) -> tuple[Iterator[Written], ...]:
    """The entries of the relations of the response's items, by place."""
    held = document.get("_links")
    curies = curies_of(held, no_curie) if isinstance(held, dict) else no_curie
    return _embedded(document, "#", curies, _MAX_DEPTH), _data(document)


def all_links(place: Iterator[Written], base: str) -> Iterator[Link]:
    """The links of a place. Entries that are not links are left out."""
    for written in place:
        if written.listed:
            for entry in _entries(written):
                link = _link(written, entry, base)
                if isinstance(link, Link):
                    yield link


def wanted(place: Iterator[Written], relation: str) -> Iterator[Written]:
    """The entries of one relation, whether or not they are links."""
    expand: Expand = no_curie
    meant = {relation.casefold()}
    for written in place:
        if written.expand is not expand:
            expand = written.expand
            meant = {name.casefold() for name in (relation, expand(relation)) if name is not None}
        called = (written.relation, expand(written.relation))
        if written.named and any(name is not None and name.casefold() in meant for name in called):
            yield written


def wanted_links(place: Iterator[Written], relation: str, base: str) -> Iterator[Link]:
    """The links of one relation. Raises LinkError for an entry that is not a link."""
    for written in wanted(place, relation):
        for entry in _entries(written):
            link = _link(written, entry, base)
            if not isinstance(link, Link):
                where = "at the top level" if written.place == "body" else f"in `{written.place}`"
                raise LinkError(f"{shown_name(written.relation)} {where} of {shown_place(base)} is not a link: {link}")
            yield link


def names(place: Iterator[Written]) -> Iterator[str]:
    """The relations that can be requested by name. Of the members at the top level, only those that are links."""
    for written in place:
        if written.place == "body" and written.relation.startswith("@"):  # OData's metadata of the document
            continue
        if written.named and any(written.place != "body" or _is_link(written, entry) for entry in _entries(written)):
            yield written.relation


def _member(
    response: requests.Response, document: dict[str, Any], member: Literal["_links", "links"]
) -> Iterator[Written]:
    held = document.get(member)
    if isinstance(held, dict):
        expand = curies_of(held, no_curie) if member == "_links" else no_curie
        for relation, value in held.items():
            yield Written(member, relation, value, expand=expand)
        return
    # Some languages write an empty object as []. And in a plain document, `links` may be anything.
    promised = member == "_links" or media_type(response) == "application/vnd.api+json"
    if promised and held is not None and held != []:
        raise LinkError(
            f"`{member}` of {shown_place(response.url or '')} must be an object of links, and is of "
            f"type {type(held).__name__}"
        )


def _odata(document: dict[str, Any], base: str) -> Iterator[Written]:
    for name, of_version in _ODATA_NEXT.items():
        if name in document:
            value = document[name]
            context = document.get("@odata.context", document.get(of_version))
            # Relative to the document's context if it has one (OData JSON 4.01, 4.3). With unprintable characters it is
            # not joined: that would drop some of them, and they are refused when the link is followed.
            if isinstance(context, str) and isinstance(value, str) and value and f"{context}{value}".isprintable():
                value = _joined(base, context, value)
            yield Written("@odata.nextLink", "next", value)
            yield Written("@odata.nextLink", name, value, listed=False)


def _joined(base: str, context: str, target: str) -> str:
    try:
        return urljoin(urljoin(base, context), target)
    except ValueError:  # raised when the link is followed
        return target


def _top(document: dict[str, Any]) -> Iterator[Written]:
    for name, value in document.items():
        if name not in ("_links", "_embedded"):
            yield Written("body", name, value, listed=name.casefold() in _WELL_KNOWN)


def _embedded(document: dict[str, Any], pointer: str, curies: Expand, depth: int) -> Iterator[Written]:
    for name, value in _object(document.get("_embedded")).items():
        for here, item in _items(value, f"{pointer}/_embedded", name):
            held = _object(item.get("_links"))
            context = _self(held) or here
            own = curies_of(held, curies)
            for relation, entry in held.items():
                yield Written("_embedded", relation, entry, context, own, relation.casefold() not in OF_ITSELF)
            if depth > 1:
                yield from _embedded(item, here, own, depth - 1)


def _data(document: dict[str, Any]) -> Iterator[Written]:
    for here, item in _items(document.get("data"), "#", "data"):
        held = _object(item.get("links"))
        context = _self(held) or here
        for relation, entry in held.items():
            yield Written("data", relation, entry, context, named=relation.casefold() not in OF_ITSELF)
        for name, relationship in _object(item.get("relationships")).items():
            about = _object(_object(relationship).get("links"))
            named = name.casefold() not in OF_ITSELF
            yield Written("relationships", name, about.get("related"), context, named=named)
            own = [(relation, entry) for relation, entry in about.items() if relation != "related"]
            token = _token(name) if own else None
            if token is not None:  # links of the relationship itself, such as where it can be changed
                where = f"{here}/relationships/{token}"
                for relation, entry in own:
                    yield Written("relationships", relation, entry, where, named=False)


def _items(value: object, pointer: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items under a name, one or a list of them, with a JSON pointer to each as a URL's fragment (RFC 6901, 6)."""
    token = _token(name)
    if token is None:
        return
    if isinstance(value, dict):
        yield f"{pointer}/{token}", value
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict):
                yield f"{pointer}/{token}/{number}", item


def _token(name: str) -> str | None:
    """The name as a part of a JSON pointer in a URL; None if that has more than `_MAX_TOKEN` characters."""
    token = quote(name.replace("~", "~0").replace("/", "~1"), safe="~:@", errors="surrogatepass")
    return token if len(token) <= _MAX_TOKEN else None


def _self(held: dict[str, Any]) -> str | None:
    """The URL of an item's `self` link; None without one, or if it is a template."""
    value = held.get("self")
    target = value.get("href") if isinstance(value, dict) else value
    return target if isinstance(target, str) and "{" not in target else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_curies(written: Written) -> bool:
    """Whether these are curies, which define names and are not links."""
    return written.relation == "curies" and written.place in ("_links", "_embedded")


def _entries(written: Written) -> Iterator[Any]:
    """The entries of a relation: its value, or each element of an array."""
    value = written.value
    bare = written.place in ("body", "@odata.nextLink")
    if value is None or (bare and value == "") or _is_curies(written):
        return
    if isinstance(value, list) and not bare:
        yield from value
    else:
        yield value


def _is_link(written: Written, entry: object) -> bool:
    return isinstance(_link(written, entry, ""), Link)


def _link(written: Written, entry: object, base: str) -> Link | str:
    """The link, or the reason why the entry is not a link."""
    place, relation = written.place, written.relation
    full = written.expand(relation)
    if isinstance(entry, str):
        if place == "body" and not entry[:8].lower().startswith(_URL_STARTS):
            return (
                "it is a text that does not begin like a URL (https://, /, ./, ../ or ?); if it is a cursor, send it "
                "as the API's documentation says"
            )
        templated = "{" in entry and place != "@odata.nextLink"
        return Link(relation, entry, base, place, templated=templated, context=written.context, full_relation=full)
    if not isinstance(entry, dict):
        return f"it is of type {type(entry).__name__}, not an object or a string"
    target = entry.get("href")
    if not isinstance(target, str):
        return "it has no href" if target is None else f"its href is of type {type(target).__name__}, not a string"
    # In HAL only a link with `templated` is a template. But a URL has no braces, and servers often forget `templated`.
    templated = "{" in target and entry.get("templated") is not False
    hints = {hint: entry[hint] for hint in _HINTS if isinstance(entry.get(hint), str)}
    deprecation = entry.get("deprecation")
    if deprecation is not None and not isinstance(deprecation, str):
        deprecation = "" if deprecation else None
    return Link(
        relation,
        target,
        base,
        place,
        templated=templated,
        context=written.context,
        full_relation=full,
        deprecation=deprecation,
        **hints,
    )
