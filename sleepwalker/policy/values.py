"""The kinds of values that the fields of a policy take, each with its bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from sleepwalker.policy.statuses import HIGHEST, LOWEST, WORD, listed, spelt_out

__all__ = [
    "IDEMPOTENT_METHODS",
    "SAFE_METHODS",
    "Binds",
    "Count",
    "HeaderName",
    "Jitter",
    "Methods",
    "Mode",
    "ProbePath",
    "Ratio",
    "Seconds",
    "SecondsOrZero",
    "Statuses",
]

# The operating system waits for sockets in milliseconds that fit 31 bits: it can wait neither for less than 1 ms nor
# for more than about 23 days.
_SHORTEST, _LONGEST = 0.001, 2_000_000

SAFE_METHODS: frozenset[str] = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that change nothing on the server (RFC 9110 section 9.2.1)."""
IDEMPOTENT_METHODS: frozenset[str] = SAFE_METHODS | {"PUT", "DELETE"}
"""The methods that may be processed twice to the same effect (RFC 9110 section 9.2.2)."""


def _as_set(value: object, spelt: Callable[[Any], Any]) -> Any:
    """A frozenset of the usual containers, each item as `spelt`; anything else is left for the type to refuse."""
    if not isinstance(value, list | tuple | set | frozenset):
        return value
    try:
        return frozenset(map(spelt, value))
    except TypeError:
        return value


def _as_methods(value: object) -> Any:
    return _as_set(value, lambda item: item.upper() if isinstance(item, str) else item)


def _as_statuses(value: object) -> Any:
    found = _as_set(value, lambda item: item)
    return spelt_out(found) if isinstance(found, frozenset) else found


Seconds = Annotated[float, Field(ge=_SHORTEST, le=_LONGEST)]
SecondsOrZero = Annotated[float, Field(ge=0, le=_LONGEST)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]

Jitter = Literal["full", "equal", "decorrelated", "none"]
Mode = Literal["enforce", "observe"]
Binds = Literal["call", "pair", "host"]

_Status = Annotated[int, Field(ge=LOWEST, le=HIGHEST)]
# RFC 9110 section 5.6.2: a method is a token.
_Method = Annotated[str, Field(pattern=r"^[-!#$%&'*+.^_`|~0-9A-Za-z]+$", title="an HTTP method")]
Statuses = Annotated[
    frozenset[_Status],
    BeforeValidator(_as_statuses),
    PlainSerializer(listed, return_type=list[int | str]),
    WithJsonSchema(
        {
            "type": "array",
            "uniqueItems": True,
            "items": {
                "anyOf": [
                    {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST},
                    {"type": "string", "const": WORD, "title": f'"{WORD}"'},
                ]
            },
        }
    ),
]
Methods = Annotated[frozenset[_Method], BeforeValidator(_as_methods), PlainSerializer(listed, return_type=list[str])]
HeaderName = Annotated[str, Field(pattern=r"^[-!#$%&'*+.^_`|~0-9A-Za-z]+$", title="a header's name")]
ProbePath = Annotated[
    str,
    Field(pattern=r"^/[!-\"$->@-~]*$", title="a path that begins with / and has no query, fragment or space"),
]
