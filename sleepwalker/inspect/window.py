"""Which part of the logs is inspected: from when, until when, and which hosts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sleepwalker.eventlog.columns import literal

__all__ = ["Filter", "believable", "clock_time", "iso", "moment"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:[.,]\d+)?))?")
#: Below this a bare number is more likely a duration without its unit than a time in the year 1973.
_EARLIEST = 1e8
#: The year 2020. No event is older: a clock that was not set starts in 1970, 1980 or 2000.
_OLDEST = 1_577_836_800.0
#: Seconds: half of the tenth to which a time of day is rounded.
_NEARLY = 0.05
#: Seconds. Clocks differ by less, and a wrong time zone is off by less.
_AHEAD = 86_400.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are included; None and an empty tuple exclude none. Times are seconds since 1970."""

    since: float | None = None
    until: float | None = None
    hosts: tuple[str, ...] = ()
    """Parts of addresses or names, or patterns with `*` and `?` for whole ones. One has to fit."""
    also: tuple[str, ...] = ()
    """Addresses of hosts with a fitting name, and names for which hooks gave a fitting address. `Session.use` fills it
    in."""

    def condition(self) -> str:
        """The filter as an SQL condition on `time`, `host` and `name`."""
        parts = []
        if self.since is not None:
            parts.append(f"time >= {_timestamp(self.since)}")
        if self.until is not None:
            parts.append(f"time < {_timestamp(self.until)}")
        if self.hosts:
            ways = [self.fits("host"), f"(name IS NOT NULL AND {self.fits('name')})"]
            if self.also:
                # An event with a name belongs to that name; one without, as of a circuit, to all names of its host.
                ways.append(f"(name IS NULL AND host IN ({', '.join(map(literal, self.also))}))")
            parts.append(f"({' OR '.join(ways)})")
        return " AND ".join(parts) or "true"

    def fits(self, column: str) -> str:
        """An SQL condition: one of `hosts` fits the text in the column."""
        return "(" + " OR ".join(_fits(word, column) for word in self.hosts) + ")"


def _fits(host: str, column: str) -> str:
    text = literal(host.encode("utf-8", "backslashreplace").decode().lower())  # an argument may not be UTF-8
    # Brackets mean a set of characters to GLOB, and IPv6 addresses contain them.
    if "*" in host or "?" in host:
        return f"lower({column}) GLOB {text.replace('[', '[[]')}"
    return f"contains(lower({column}), {text})"


def believable(now: float) -> str:
    """An SQL condition on `time`: from 2020 to a day after `now`. Other times are those of a wrong clock."""
    return f"time BETWEEN {_timestamp(_OLDEST)} AND {_timestamp(now + _AHEAD)}"


def _timestamp(seconds: float) -> str:
    return f"make_timestamp({round(seconds * 1e6)}::BIGINT)"


def moment(text: str, now: float) -> float:
    """The time that a text means, in seconds since 1970.

    An ISO 8601 date and time (UTC unless it says otherwise), seconds since 1970, `14:03` (the last time that a UTC
    clock showed it), or how long ago: `15m`, `1h30m`. Raises `ValueError` with these forms for any other text.
    """
    said = text.strip()
    rest = _PART.sub("", said).strip()
    if said and not rest:
        return max(0.0, now - sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(said)))
    try:
        if found := _CLOCK.fullmatch(said):
            return _last_time(int(found[1]), int(found[2]), float((found[3] or "0").replace(",", ".")), now)
        if _is_number(said):
            if _EARLIEST <= (seconds := float(said)) < 1e11:
                return seconds
        else:
            stamp = datetime.fromisoformat(said)
            return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        f"{text!r} is not a time: use 2025-11-22T14:03:07Z, 2025-11-22, 14:03 (UTC), seconds since 1970, "
        "or how long ago (90s, 15m, 2h, 1h30m, 3d)"
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _last_time(hour: int, minute: int, second: float, now: float) -> float:
    today = datetime.fromtimestamp(now, UTC)
    whole = int(second)
    then = today.replace(hour=hour, minute=minute, second=whole, microsecond=int((second - whole) * 1e6))
    return (then if then <= today else then - timedelta(days=1)).timestamp()


def iso(seconds: float) -> str:
    """`2025-11-22T14:03:07.512Z`."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(seconds: float, *, date: bool = False, fraction: bool = False) -> str:
    """`14:03:07`; with `date`, the month and day in front; with `fraction`, tenths of a second behind.

    Times are rounded to tenths first: a call that began a few milliseconds before a second is shown with that second.
    """
    stamp = datetime.fromtimestamp(seconds + _NEARLY, UTC)
    tenths = f".{stamp.microsecond // 100_000}" if fraction else ""
    return stamp.strftime("%m-%d %H:%M:%S" if date else "%H:%M:%S") + tenths
