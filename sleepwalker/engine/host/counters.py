"""A host's counters since its first use: they only grow; and histograms of durations."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Literal, NamedTuple, Protocol

from sleepwalker.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event

__all__ = ["BOUNDS", "Counters", "End", "Histogram"]

#: How a call can end: with a response that does not count against its host; with an error, or a response that does;
#: refused by a policy before anything was sent; stopped by an exception from outside, such as Ctrl-C.
End = Literal["answered", "failed", "rejected", "cancelled"]

#: Upper bounds of the histograms' buckets, in seconds. One more bucket holds what is longer. They cover a cache on the
#: same machine as well as the patience of a batch job, each about twice the one before.
BOUNDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)

_TRANSITIONS: dict[type[Event], str] = {BreakerOpened: "open", BreakerHalfOpened: "half-open", BreakerClosed: "closed"}


_BINS = len(BOUNDS) + 1
#: Until something is counted.
_EMPTY: dict[tuple[str, str], int] = {}


class Histogram(NamedTuple):
    """How many durations fell between each two of `BOUNDS`."""

    counts: tuple[int, ...]
    """By bucket, each alone; the last is what is above all bounds."""
    total: float
    """The sum of all durations, in seconds."""


class Counted(Protocol):
    """A call, and what of it has been counted."""

    counted: bool
    """Its beginning."""
    over: bool
    """Its end."""


class Counters:
    """The counters of one host. They outlive its breaker, policy and connections.

    Not thread-safe: its owner holds a lock to add. A reader without a lock sees whole numbers, but perhaps not all of
    the same moment.
    """

    __slots__ = (
        "_attempted",
        "_bins",
        "_called",
        "answered",
        "attempts",
        "calls",
        "cancelled",
        "failed",
        "failures",
        "hedges",
        "labelled",
        "rejected",
        "rejections",
        "retries",
    )

    rejections: int
    rejected: int
    cancelled: int
    failed: int
    answered: int
    calls: int
    attempts: int

    def __init__(self) -> None:
        self.calls = 0
        """Calls begun, including rejected ones."""
        self.answered = self.failed = self.rejected = self.cancelled = 0
        """Calls that are over, by how they ended."""
        self.attempts = 0
        """Sends that ended, including retries and hedges."""
        self.failures: int = 0
        """Attempts that count against the host."""
        self.retries: int = 0
        self.hedges: int = 0
        """Hedges: sends beside a slow one."""
        self.rejections = 0
        """Calls and retries that were refused."""
        self.labelled: dict[tuple[str, str], int] = _EMPTY
        """Rare events, by kind and label: `("abandoned", "budget")`, `("rejected", "breaker")` and so on."""
        # There may be thousands of hosts: the buckets of calls, then those of attempts, two bytes each until one
        # needs more.
        self._bins = array("H", [0]) * (2 * _BINS)
        self._called = self._attempted = 0.0

    @property
    def call_seconds(self) -> Histogram:
        """Durations of calls that were not rejected, including waits."""
        return Histogram(tuple(self._bins[:_BINS]), self._called)

    @property
    def attempt_seconds(self) -> Histogram:
        """Durations of attempts."""
        return Histogram(tuple(self._bins[_BINS:]), self._attempted)

    def attempt(self, seconds: float) -> None:
        """An attempt ended, after `seconds`."""
        place = _BINS + bisect_left(BOUNDS, seconds)  # first: from here on no Ctrl-C can come in between
        self.attempts += 1
        self._attempted += seconds
        try:
            self._bins[place] += 1
        except OverflowError:
            self._add(place, 1)

    def end(self, call: Counted, how: End, seconds: float) -> None:
        """A call ended, `seconds` after it began. The duration of a rejected call is not counted."""
        place = 0 if how == "rejected" else bisect_left(BOUNDS, seconds)  # first, as above
        if call.over:
            return
        if not call.counted:
            self.calls += 1
        call.counted = call.over = True
        if how == "answered":
            self.answered += 1
        elif how == "failed":
            self.failed += 1
        elif how == "cancelled":
            self.cancelled += 1
        else:
            self.rejected += 1
            return
        self._called += seconds
        try:
            self._bins[place] += 1
        except OverflowError:
            self._add(place, 1)

    def reject(self, by: str) -> None:
        """A call or a retry was refused."""
        self.rejections += 1
        self.count("rejected", by)

    def count(self, kind: str, label: str) -> None:
        """Count a rare event."""
        if self.labelled is _EMPTY:
            self.labelled = {}
        self.labelled[kind, label] = self.labelled.get((kind, label), 0) + 1

    def count_transitions(self, events: tuple[Event, ...]) -> None:
        """Count a breaker's transitions, dry runs separately."""
        for event in events:
            label = _TRANSITIONS.get(type(event))
            if label is not None:
                self.count("observed transition" if getattr(event, "observed", None) else "transition", label)

    def merge(self, other: Counters) -> None:
        """Add the numbers of another host."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        # Copied in one step: a thread may be adding a label.
        labelled = other.labelled.copy()
        self.labelled = {key: self.labelled.get(key, 0) + labelled.get(key, 0) for key in {**self.labelled, **labelled}}
        for index, count in enumerate(other._bins):
            self._add(index, count)

    def _add(self, index: int, count: int) -> None:
        try:
            self._bins[index] += count
        except OverflowError:
            self._bins = array("Q", self._bins)
            self._bins[index] += count


_NUMBERS = tuple(name for name in Counters.__slots__ if name not in ("labelled", "_bins"))
