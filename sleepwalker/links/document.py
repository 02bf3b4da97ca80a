"""Reads the links of JSON bodies: HAL's `_links` and JSON:API's `links`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal
from urllib.parse import quote

import requests

from sleepwalker.exceptions import DecodeError, LinkError
from sleepwalker.links.link import Link, shown_name, shown_place
from sleepwalker.transport.answer import body_in_hand

Member = Literal["_links", "links"]
MEMBERS: tuple[Member, ...] = ("_links", "links")

_MAX_BODY = 100_000_000
_CURIES = ("_links", "curies")
_MAX_CURIES = 100
_MAX_CURIE = 2_000
_HINTS = ("name", "title", "type", "hreflang")


def document_of(response: requests.Response) -> dict[str, Any]:
    """The JSON object that is the answer's body; an empty one where that is something else, or was not read.

    Raises DecodeError for a body that is said to be JSON and is none.
    """
    kind = _media_type(response)
    body = body_in_hand(response)
    if not body or not (kind in ("application/json", "text/json") or kind.endswith("+json")):
        return {}
    why = f"they are more than {_MAX_BODY}"
    if len(body) <= _MAX_BODY:
        try:
            document = json.loads(body)
            return document if isinstance(document, dict) else {}
        except (ValueError, RecursionError) as error:
            why = f"at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "they cannot be decoded"
    raise DecodeError(
        f"{shown_place(response.url or '')}: no links can be read from {len(body)} bytes of body that are not JSON, "
        f"as their type says: {why}",
        response=response,
    )


def member_links(response: requests.Response, document: dict[str, Any], member: Member, base: str) -> Iterator[Link]:
    """All links of one member; what is no link is left out."""
    held = _member(response, document, member)
    expanded = _curies(held) if member == "_links" else _no_curie
    for relation, value in held.items():
        for entry in _entries(member, relation, value):
            link = _link(entry, relation, member, base, expanded(relation))
            if isinstance(link, Link):
                yield link


def relation_names(response: requests.Response, document: dict[str, Any], member: Member) -> Iterator[str]:
    """The relations of one member, whatever was written there."""
    held = _member(response, document, member)
    return (name for name, value in held.items() if value not in (None, []) and (member, name) != _CURIES)


def has_relation(response: requests.Response, document: dict[str, Any], member: Member, wanted: str) -> bool:
    """Whether the relation is written in the member, whatever its value."""
    return any(name.casefold() == wanted.casefold() for name in _member(response, document, member))


def wanted_links(
    response: requests.Response, document: dict[str, Any], member: Member, base: str, wanted: str
) -> Iterator[Link]:
    """The links of one relation. Raises LinkError where the server wrote there what is no link."""
    held = _member(response, document, member)
    expanded = _curies(held) if member == "_links" else _no_curie
    names = {name.casefold() for name in (wanted, expanded(wanted)) if name is not None}
    for relation, value in held.items():
        full = expanded(relation)
        if relation.casefold() not in names and (full is None or full.casefold() not in names):
            continue
        for entry in _entries(member, relation, value):
            link = _link(entry, relation, member, base, full)
            if not isinstance(link, Link):
                raise LinkError(f"{shown_name(relation)} in `{member}` of {shown_place(base)} is no link: {link}")
            yield link


def _member(response: requests.Response, document: dict[str, Any], member: Member) -> dict[str, Any]:
    value = document.get(member)
    if isinstance(value, dict):
        return value
    # Some languages write an empty object as []. And a plain document may call anything its links.
    promised = member == "_links" or _media_type(response) == "application/vnd.api+json"
    if promised and value is not None and value != []:
        raise LinkError(
            f"`{member}` of {shown_place(response.url or '')} must be an object of links, and is of "
            f"type {type(value).__name__}"
        )
    return {}


def _entries(member: Member, relation: str, value: Any) -> Iterator[Any]:
    """What stands for a relation: one link, or several in an array. The curies are about names, not links."""
    if value is None or (member, relation) == _CURIES:
        return
    if isinstance(value, list):
        yield from value
    else:
        yield value


def _link(entry: Any, relation: str, member: Member, base: str, full: str | None) -> Link | str:
    """The link, or what keeps it from being one."""
    if isinstance(entry, str):
        return Link(relation, entry, base, member, templated="{" in entry, full_relation=full)
    if not isinstance(entry, dict):
        return f"it is of type {type(entry).__name__}, not an object or a string"
    target = entry.get("href")
    if not isinstance(target, str):
        return "it has no href" if target is None else f"its href is of type {type(target).__name__}, not a string"
    # HAL says that a link is no template unless it says so, but braces are in no URL, and forgetting it is common.
    templated = "{" in target and entry.get("templated") is not False
    hints = {hint: entry[hint] for hint in _HINTS if isinstance(entry.get(hint), str)}
    deprecation = entry.get("deprecation")
    if deprecation is not None and not isinstance(deprecation, str):
        deprecation = "" if deprecation else None
    return Link(
        relation, target, base, member, templated=templated, full_relation=full, deprecation=deprecation, **hints
    )


def _curies(held: dict[str, Any]) -> Callable[[str], str | None]:
    """What expands `acme:order` to the URL that the document's curies say it is short for.

    A curie's template has the one variable `rel`, once: with more of them, or a long text around it, a small document
    could make every relation's name expand to megabytes.
    """
    value = held.get("curies")
    around: dict[str, tuple[str, str]] = {}
    for curie in value[:_MAX_CURIES] if isinstance(value, list) else [value]:
        if isinstance(curie, dict) and isinstance(curie.get("name"), str) and isinstance(curie.get("href"), str):
            before, variable, after = curie["href"].partition("{rel}")
            if variable and len(curie["href"]) <= _MAX_CURIE and "{" not in before + after:
                around.setdefault(curie["name"], (before, after))

    def expanded(relation: str) -> str | None:
        prefix, colon, rel = relation.partition(":")
        if not colon or prefix not in around:
            return None
        before, after = around[prefix]
        try:
            return f"{before}{quote(rel, safe='')}{after}"
        except UnicodeEncodeError:  # of a lone surrogate
            return None

    return expanded if around else _no_curie


def _no_curie(relation: str) -> str | None:
    return None


def _media_type(response: requests.Response) -> str:
    return (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
