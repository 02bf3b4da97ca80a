"""The results of many calls, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

Outcome = Literal["answered", "failed", "rejected", "unfinished"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it."""

    outcome: Outcome
    """answered: a status below 400; rejected: refused by a policy before anything was sent; unfinished: cut off."""
    duration: float
    """Seconds, waits between attempts included."""
    result: str
    """The status, or the name of the exception."""
    sends: int = 1
    """Attempts made; 0 for a rejected call."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of a set of calls. Durations are in seconds, over all calls that were sent; None if none was."""

    calls: int
    answered: int
    failed: int
    rejected: int
    retries: int
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None
    results: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, with durations rounded to a tenth of a millisecond."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in fields.items()}


def summarise(calls: Iterable[Call], planned: int | None = None) -> Summary:
    """Count `calls`. If there are fewer than `planned`, the missing ones were never sent and count as failed."""
    done = list(calls)
    outcomes = Counter(call.outcome for call in done)
    results = Counter(call.result for call in done)
    missing = max(0, planned - len(done)) if planned is not None else 0
    if missing:
        results["not sent"] += missing
    # A rejection takes no time. Included, it would make the other calls look fast.
    durations = sorted(call.duration for call in done if call.outcome != "rejected")
    return Summary(
        calls=len(done) + missing,
        answered=outcomes["answered"],
        failed=outcomes["failed"] + outcomes["unfinished"] + missing,
        rejected=outcomes["rejected"],
        retries=sum(max(0, call.sends - 1) for call in done),
        p50=percentile(durations, 50),
        p95=percentile(durations, 95),
        p99=percentile(durations, 99),
        longest=durations[-1] if durations else None,
        results=dict(results.most_common()),
    )


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The smallest of the sorted values that at least `percent` % of them do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
