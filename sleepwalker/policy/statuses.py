"""Sets of statuses, and the word `"5xx"`, by which a policy names many of them at once."""

from __future__ import annotations

from typing import Any, Literal

#: Responses below 200 are interim ones, and clients read no number longer than three digits.
LOWEST, HIGHEST = 200, 999

WORD: Literal["5xx"] = "5xx"
SERVER_FAILURES = frozenset(range(500, HIGHEST + 1)) - {501}
"""What the word stands for. 501 blames the request's method rather than the server. Numbers from 600 on, which no
server may send, are taken for 5xx (RFC 9110 section 15)."""


def spelt_out(given: frozenset[Any]) -> frozenset[Any]:
    """The set with the statuses that the word stands for in its place."""
    return (given - {WORD}) | SERVER_FAILURES if WORD in given else given


def listed(value: frozenset[Any]) -> list[Any]:
    """A set's values in order, with the word for what it stands for: the default is one word, not 499 numbers."""
    return [WORD, *sorted(value - SERVER_FAILURES)] if value >= SERVER_FAILURES else sorted(value)
