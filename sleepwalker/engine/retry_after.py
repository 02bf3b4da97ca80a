"""How long a server asks clients to wait: `Retry-After`, and on a 429 its rate limit headers."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Iterator
from datetime import UTC
from itertools import islice

__all__ = ["asked_wait", "parse_rate_limit", "parse_reset", "parse_retry_after"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
#: The most values of a header that are told apart.
_MOST_VALUES = 100
#: Commas outside dates.
_BETWEEN_VALUES = re.compile(r",(?!\s*\d{1,2}[ -])")
#: What may end a member of a structured field (RFC 9651), or a parameter of one; and an escape, which ends nothing.
_MARKS = re.compile(r'\\.|[",;]', re.DOTALL)
#: A greater number is not a duration (it would be 30 years) but a moment: in seconds since 1970, or in milliseconds.
_SECONDS_SINCE_1970, _MILLISECONDS_SINCE_1970 = 1e9, 1e11
#: Headers that say when a limit resets, and what is left of it until then: of the IETF's drafts up to 07, of GitHub and
#: many others, and of Okta and X.
_RESETS = (
    ("RateLimit-Reset", "RateLimit-Remaining"),
    ("X-RateLimit-Reset", "X-RateLimit-Remaining"),
    ("X-Rate-Limit-Reset", "X-Rate-Limit-Remaining"),
)


def asked_wait(status: int, header: Callable[[str], str | None], wall: Callable[[], float]) -> float | None:
    """Seconds that a response asks its client to wait; None if it says nothing usable.

    `Retry-After` counts with any status, and first. Without it, a 429 may say when its rate limit resets, in the header
    `RateLimit` or one that ends in `-Reset`. A limit with something left did not refuse the request, and does not
    count.

    Args:
        status: The response's.
        header: Gives the text of one of its headers, or None.
        wall: The time of day in seconds. If the response has a `Date`, dates and moments count from that instead,
            because the server's clock may differ from ours.
    """
    text = header("Retry-After")
    if text is None and status != 429:
        return None
    date = header("Date")
    now = None if date is None else _moment(_values(date)[0])
    if now is None:
        now = wall()
    wait = None if text is None else parse_retry_after(text, now)
    if wait is not None or status != 429:
        return wait
    text = header("RateLimit")
    if text is not None and (wait := parse_rate_limit(text, now)) is not None:
        return wait
    for reset, remaining in _RESETS:
        text = header(reset)
        if text is not None and _used_up(header(remaining)) and (wait := parse_reset(text, now)) is not None:
            return wait
    return None


def parse_retry_after(text: str, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` value (RFC 9110, section 10.2.3); None if it is unusable.

    Fractions are accepted too: servers send them although the RFC does not allow them. A date counts from `now`, in
    seconds since 1970; a past one is 0. Of several values, for example if a proxy adds its own line, the longest
    counts.
    """
    return _longest(_one_wait(value, now) for value in _values(text))


def parse_reset(text: str, now: float) -> float | None:
    """Seconds until a rate limit resets, by a header that says so; None if it is unusable.

    Some servers write the remaining seconds, others a moment: in seconds or milliseconds since 1970, or as a date. The
    size of the number tells which.
    """
    return _longest(_one_reset(value, now) for value in _values(text))


def parse_rate_limit(text: str, now: float) -> float | None:
    """Seconds to wait by a `RateLimit` value; None if it is unusable, or no limit is used up.

    It accepts `"burst";r=0;t=30, "daily";r=90;t=3600` (draft-ietf-httpapi-ratelimit-headers-08 and later), where the
    used-up limits count, and `limit=100, remaining=0, reset=30` (draft 07).
    """
    waits: list[float | None] = []
    older: dict[str, str] = {}
    for member, *parameters in islice(_members(text), _MOST_VALUES):
        name, is_pair, value = member.partition("=")
        if is_pair and not name.startswith('"'):
            older.setdefault(name.strip().lower(), value.strip())
            continue
        pairs = [parameter.partition("=") for parameter in parameters]
        said = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if _used_up(said.get("r")):
            waits.append(_one_reset(said.get("t", ""), now))
    if _used_up(older.get("remaining")):
        waits.append(_one_reset(older.get("reset", ""), now))
    return _longest(iter(waits))


def _values(text: str) -> list[str]:
    return [value.strip() for value in _BETWEEN_VALUES.split(text.strip(), maxsplit=_MOST_VALUES)]


def _longest(waits: Iterator[float | None]) -> float | None:
    return max((wait for wait in waits if wait is not None), default=None)


def _one_wait(text: str, now: float) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    moment = _moment(text)
    return None if moment is None else max(0.0, moment - now)


def _one_reset(text: str, now: float) -> float | None:
    wait = _one_wait(text, now)
    if wait is None or wait < _SECONDS_SINCE_1970 or not _NUMBER.fullmatch(text):
        return wait
    return max(0.0, (wait / 1000 if wait >= _MILLISECONDS_SINCE_1970 else wait) - now)


def _moment(text: str) -> float | None:
    """An HTTP date in seconds since 1970; None for anything else."""
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:  # asctime's form, which RFC 9110 allows, names no zone; Python would take ours
            date = date.replace(tzinfo=UTC)
        return date.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _used_up(remaining: str | None) -> bool:
    """Whether nothing is left of a limit, or of one of several. Without the header, a refusal means that it is so."""
    if remaining is None:
        return True
    values = [value.strip() for value in remaining.split(",", _MOST_VALUES)]
    return any(not _NUMBER.fullmatch(value) or float(value) < 1 for value in values)


def _members(text: str) -> Iterator[list[str]]:
    """The members of a list, each with its parameters; commas and semicolons in quotes end neither."""
    member: list[str] = []
    begin, quoted = 0, False
    for mark in _MARKS.finditer(text):
        sign = mark[0]
        if sign == '"':
            quoted = not quoted
        elif not quoted and sign in (",", ";"):
            member.append(text[begin : mark.start()].strip())
            begin = mark.end()
            if sign == ",":
                yield member
                member = []
    yield [*member, text[begin:].strip()]
