"""Times and durations as `sleepwalker fleet` shows them. All times are those of the store's clock."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from sleepwalker.cli.text import count


def iso(moment: float | None) -> str | None:
    """`2026-12-01T07:00:00.000Z`; None for no or an infinite time."""
    if moment is None or not math.isfinite(moment):
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(moment: float) -> str:
    """`2026-12-01 07:00:00 UTC`."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def short(moment: float, now: float) -> str:
    """`07:00:00`, or `11-28 07:00` if that is not today."""
    stamp = datetime.fromtimestamp(moment, UTC)
    today = stamp.date() == datetime.fromtimestamp(now, UTC).date()
    return f"{stamp:%H:%M:%S}" if today else f"{stamp:%m-%d %H:%M}"


def lasting(seconds: float) -> str:
    """`12 seconds`, `5 minutes`, `2 hours`, `3 days`: rounded."""
    for unit, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds > 1.9 * unit or math.isclose(seconds, unit, rel_tol=0.01):
            return count(round(seconds / unit), noun)
    return count(round(seconds), "second")
