"""Words for an error about a policy: the given value, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["closest", "listing", "shown", "words_of"]


def shown(value: object) -> str:
    """A value as it may stand in an error: short, and without what may be a query string or user information."""
    if isinstance(value, str) and re.search(r"[?@]|//", value):
        return f"a text of {len(value)} characters"
    if isinstance(value, Mapping):
        return "a table"
    if not isinstance(value, str | bool | int | float | list | tuple | set | frozenset | None):
        return f"a {type(value).__name__}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number beyond all bounds"  # its digits could be more than Python agrees to write
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[0]}"


def closest(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """The known names that `word` may be a misspelling of, the likeliest first."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    return get_close_matches(word, list(known), n=most)


def listing(names: Iterable[str]) -> str:
    """`a, b, c`."""
    return ", ".join(names)


def words_of(schema: Mapping[str, Any]) -> str:
    """What a JSON schema of a plain value allows: `a number, at least 0 and at most 1`."""
    if "anyOf" in schema:
        return ", or ".join(words_of(option) for option in schema["anyOf"])
    if "enum" in schema:
        return f"one of {listing(schema['enum'])}"
    match schema["type"]:
        case "null":
            return "false"
        case "boolean":
            return "true or false"
        case "array":
            return f"a list, each {words_of(schema['items'])}"
        case "string":
            return str(schema["title"])
        case kind:
            bounds = [
                f"{text} {schema[key]:.15g}"
                for key, text in (
                    ("exclusiveMinimum", "more than"),
                    ("minimum", "at least"),
                    ("exclusiveMaximum", "less than"),
                    ("maximum", "at most"),
                )
                if key in schema
            ]
            return f"a {'whole number' if kind == 'integer' else 'number'}, {' and '.join(bounds)}"
