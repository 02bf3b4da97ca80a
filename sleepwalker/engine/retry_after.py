"""How long a server asks to be left alone: `Retry-After`, and on a 429 what it says of its rate limit."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Iterator
from datetime import UTC
from itertools import islice

__all__ = ["asked_wait", "parse_rate_limit", "parse_reset", "parse_retry_after"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
#: What follows after so many is not read.
_MOST_VALUES = 100
#: The commas that do not stand inside a date.
_BETWEEN_VALUES = re.compile(r",(?!\s*\d{1,2}[ -])")
#: What may end a member of a structured field (RFC 9651), or a parameter of one; and a pair that ends nothing.
_MARKS = re.compile(r'\\.|[",;]', re.DOTALL)
#: A greater number is no time to go, which would be 30 years, but a moment: in seconds since 1970, or in milliseconds.
_SECONDS_SINCE_1970, _MILLISECONDS_SINCE_1970 = 1e9, 1e11
#: When a limit starts anew, and what is left of it until then: in the drafts of the IETF up to 07, as GitHub and many
#: others write it, and as Okta and X do.
_RESETS = (
    ("RateLimit-Reset", "RateLimit-Remaining"),
    ("X-RateLimit-Reset", "X-RateLimit-Remaining"),
    ("X-Rate-Limit-Reset", "X-Rate-Limit-Remaining"),
)


def asked_wait(status: int, header: Callable[[str], str | None], wall: Callable[[], float]) -> float | None:
    """Seconds that a response asks its client to wait; None where it says nothing of that, or nothing that makes sense.

    `Retry-After` counts with any status, before all else. Without it a 429 may say when its rate limit starts anew, by
    the header `RateLimit`, or by one that ends in `-Reset`. A limit of which something is left is not what refused the
    request, and does not count.

    Args:
        status: The response's.
        header: Gives the text of one of its headers, or None.
        wall: The time of day in seconds. Where the response has a `Date`, dates and moments count from that instead:
            the server's clock may differ from ours.
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
    """Seconds to wait by a `Retry-After` value (RFC 9110, section 10.2.3); None where it makes no sense.

    Takes fractions as well, which servers send although the RFC has none. A date counts from `now`, in seconds since
    1970; one in the past is 0. Of several values, as where a proxy adds a line of its own, the longest counts.
    """
    return _longest(_one_wait(value, now) for value in _values(text))


def parse_reset(text: str, now: float) -> float | None:
    """Seconds until a rate limit starts anew, by a header that tells that; None where it makes no sense.

    Some servers write the seconds to go, others a moment: in seconds or milliseconds since 1970, or as a date. How
    large a number is tells which.
    """
    return _longest(_one_reset(value, now) for value in _values(text))


def parse_rate_limit(text: str, now: float) -> float | None:
    """Seconds to wait by a `RateLimit` value; None where it makes no sense, or no limit is used up.

    Takes `"burst";r=0;t=30, "daily";r=90;t=3600` (draft-ietf-httpapi-ratelimit-headers-08 and later), where the limits
    count of which nothing is left, and `limit=100, remaining=0, reset=30` (draft 07).
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
    """Whether nothing is left of a limit, as a refusal has it where it does not say; of several, of one of them."""
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
