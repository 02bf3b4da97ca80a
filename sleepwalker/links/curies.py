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
    """Expands nothing: there are no curies."""
    return None


def curies_of(held: dict[str, Any], otherwise: Expand) -> Expand:
    """What expands `acme:order` to the URL that the curies of these `_links` say it is short for.

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

    return expanded if around else otherwise
