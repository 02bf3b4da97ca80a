"""HAL's curies: short names of relations that are URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

#: Expands a relation such as `acme:order` to its URL; None for one that is no curie.
Expand = Callable[[str], str | None]

_MAX_CURIES = 100
_MAX_CURIE = 2_000


def no_curie(relation: str) -> str | None:
    """The `Expand` of a document without curies."""
    return None


def curies_of(held: dict[str, Any], otherwise: Expand) -> Expand:
    """Return a function that expands `acme:order` to its URL by the curies of these `_links`; `otherwise` without any.

    A curie counts if its template has `{rel}` once, no other variable and at most `_MAX_CURIE` characters. Otherwise a
    small document could make every relation's name expand to megabytes.
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
        except UnicodeEncodeError:  # rel has a lone surrogate
            return None

    return expanded if around else otherwise
