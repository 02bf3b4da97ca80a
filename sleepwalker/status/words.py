"""Formats numbers, durations and times for the status page, and escapes text."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from html import escape

from sleepwalker.engine import HostHealth

DASH = "<i>–</i>"
_CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}")
#: A time that is at least this many seconds away is shown with its date.
_SAME_DAY = 12 * 3600
#: Used instead of strftime's %b, which depends on the process's locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: The most characters of a host's name in a sentence.
_LONGEST_NAME = 60


def text(words: str) -> str:
    """Text escaped for the page, also for attributes."""
    return escape(words.translate(_CONTROL))


def moment(seconds: float) -> datetime:
    """The time for seconds since 1970-01-01 UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def time_of_day(seconds: float, taken: float) -> str:
    """A time of day, with the date if it is not obvious."""
    when = moment(seconds)
    if abs(taken - seconds) < _SAME_DAY:
        return f"{when:%H:%M:%S}"
    return f"{when:%d} {_MONTHS[when.month - 1]} {when:%H:%M}"


def latency(seconds: float | None) -> str:
    """A latency, with two significant digits."""
    if seconds is None:
        return DASH
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "&lt;1 ms"
    return f"{seconds:.2f} s" if seconds < 9.95 else f"{seconds:.1f} s"


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def ago(seconds: float, taken: float) -> str:
    """How long before `taken` a time was."""
    return "just now" if taken - seconds < 1 else f"{span(taken - seconds)} ago"


def percent(ratio: float) -> str:
    """A share. Never rounded up: 100 % means that nothing failed."""
    return f"{math.floor(ratio * 1000 + 1e-6) / 10:g} %"


def rate(per_second: float) -> str:
    """Calls a second, or a minute if they are few."""
    if per_second >= 100:
        return f"{per_second:,.0f}/s"
    if per_second >= 0.95:
        return f"{per_second:.1f}/s"
    return f"{per_second * 60:.0f}/min" if per_second >= 1 / 60 or not per_second else "&lt;1/min"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 error`, `2 errors`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def label(health: HostHealth) -> str:
    """The familiar name of a host: the name passed to `find`, or its address without a scheme; then a scope's name."""
    origin, mark, scope = health.host.partition("#")
    name = health.names[0] if health.names else origin.rpartition("://")[2]
    name += f"#{scope}" if mark else ""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def labels(hosts: list[HostHealth], most: int = 3) -> str:
    """The names of the first of these hosts, and how many more there are."""
    named = ", ".join(label(health) for health in hosts[:most])
    return named if len(hosts) <= most else f"{named} and {len(hosts) - most:,} more"


def last_outcome_at(health: HostHealth) -> float | None:
    """When an attempt last succeeded or failed; None for never."""
    return max((at for at in (health.last_success, health.last_error_at) if at is not None), default=None)
