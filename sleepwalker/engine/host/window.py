"""Counts and latencies over a sliding time window, in constant time and space."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence

#: Latency bins: four to an octave, so a percentile is off by at most 12 %; 2^-14 s (61 µs) to 2^9 s (512 s).
_PER_OCTAVE = 4
_LOWEST = -14
_BINS = (9 - _LOWEST) * _PER_OCTAVE


class Window:
    """How often each of a few things happened in the last `seconds`.

    The window moves in `slices` steps: it covers between `(slices - 1) / slices` of its length and all of it.
    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_counts", "_slices", "_span", "_start", "_totals", "_until")

    def __init__(self, seconds: float, channels: int, slices: int = 10) -> None:
        self._span = seconds / slices
        self._slices = slices
        # The current slice by when it ends and where its counts start: all that nearly every call needs to know.
        self._until = 0.0
        self._start = 0
        # A byte each, until one needs more; made like this, it has no room to spare.
        self._counts = array("B", [0]) * (slices * channels)
        self._totals = [0] * channels

    def add(self, now: float, channel: int) -> None:
        """One more of `channel` at `now`, in seconds of a monotonic clock."""
        if now >= self._until:
            self._advance(now)
        place = self._start + channel
        try:
            self._counts[place] += 1
        except OverflowError:
            self._counts = array("H" if self._counts.itemsize == 1 else "Q", self._counts)
            self._counts[place] += 1
        self._totals[channel] += 1

    def take_back(self, now: float, when: float, channel: int) -> None:
        """One less of `channel`, which was added at `when`: nothing where that is out of the window, or forgotten."""
        if now >= self._until:
            self._advance(now)
        number = int(when / self._span)
        if number <= round(self._until / self._span) - 1 - self._slices:
            return
        place = number % self._slices * len(self._totals) + channel
        if self._counts[place] > 0:
            self._counts[place] -= 1
            self._totals[channel] -= 1

    def totals(self, now: float) -> Sequence[int]:
        """The counts by channel as of `now`; valid until the next call."""
        if now >= self._until:
            self._advance(now)
        return self._totals

    def clear(self) -> None:
        """Forget everything."""
        counts, totals = array("B", [0]) * len(self._counts), [0] * len(self._totals)
        self._counts, self._totals = counts, totals  # without a call in between: a Ctrl-C would leave them apart

    def _advance(self, now: float) -> None:
        """Begin the slice that `now` is in, and forget what is too old.

        For the first one to come after the current slice has ended. A thread that read its clock before another one
        came through here counts in the slice that this one began.
        """
        channels = len(self._totals)
        first, end = round(self._until / self._span), int(now / self._span) + 1
        if end <= first:  # by a rounding error
            return
        if end - first >= self._slices:
            self.clear()
        else:
            for number in range(first, end):
                start = number % self._slices * channels
                for channel in range(channels):
                    self._totals[channel] -= self._counts[start + channel]
                    self._counts[start + channel] = 0
        # Last: where a Ctrl-C came before, the next one to come does all of it again.
        self._until = end * self._span
        self._start = (end - 1) % self._slices * channels


class Latencies:
    """The distribution of durations in the last `seconds`. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_counts", "_span", "_start", "_until")

    def __init__(self, seconds: float, slices: int = 6) -> None:
        self._span = seconds / slices
        self._until = 0.0  # as in a Window
        self._start = 0
        # The largest part of a host's record, of which there may be thousands: a byte each, until one needs more.
        self._counts = array("B", [0]) * (slices * _BINS)

    def add(self, now: float, duration: float) -> None:
        """One more duration, in seconds."""
        if now >= self._until:
            self._advance(now)
        place = self._start + bisect_right(_EDGES, duration)
        try:
            self._counts[place] += 1
        except OverflowError:
            self._counts = array("H" if self._counts.itemsize == 1 else "Q", self._counts)
            self._counts[place] += 1

    def quantiles(self, now: float, wanted: Sequence[float]) -> tuple[float | None, ...]:
        """The durations below which the wanted shares (0 to 1) of all lie; None without any."""
        merged = self._merged(now)
        total = sum(merged)
        return tuple(_quantile(merged, total, share) if total else None for share in wanted)

    def above(self, now: float, share: float, enough: int, others: Latencies | None = None) -> float | None:
        """A duration that `share` of all, those of `others` included, do not exceed; None if fewer than `enough`.

        The upper end of the bin that the quantile is in: rather too long than exceeded by more.
        """
        merged = self._merged(now)
        if others is not None:
            merged = [here + there for here, there in zip(merged, others._merged(now), strict=True)]
        total = sum(merged)
        return _edge(_place(merged, total, share) + 1) if total >= enough else None

    def _merged(self, now: float) -> list[int]:
        """The counts by bin, over all slices."""
        if now >= self._until:
            self._advance(now)
        starts = range(0, len(self._counts), _BINS)
        return [sum(self._counts[start + index] for start in starts) for index in range(_BINS)]

    def _advance(self, now: float) -> None:
        slices = len(self._counts) // _BINS
        first, end = round(self._until / self._span), int(now / self._span) + 1
        if end <= first:
            return
        for number in range(max(first, end - slices), end):
            start = number % slices * _BINS
            for index in range(start, start + _BINS):
                self._counts[index] = 0
        self._until = end * self._span  # last, as above
        self._start = (end - 1) % slices * _BINS


def _quantile(bins: Sequence[int], total: int, share: float) -> float:
    place = _place(bins, total, share)
    # The bin's geometric middle: equally far, as a ratio, from whatever is in it.
    return math.sqrt(_edge(place) * _edge(place + 1))


def _place(bins: Sequence[int], total: int, share: float) -> int:
    """The bin that the quantile is in."""
    rank = share * total
    seen = 0
    for index, count in enumerate(bins):
        seen += count
        if count and seen >= rank:
            return index
    raise AssertionError("the bins hold fewer than their total")  # pragma: no cover


def _edge(index: int) -> float:
    """Where a bin begins, in seconds."""
    octave, step = divmod(index, _PER_OCTAVE)
    return math.ldexp(1 + step / _PER_OCTAVE, octave + _LOWEST)


#: Where all bins but the first begin. What is shorter counts in that one, and what is longer in the last.
_EDGES = tuple(_edge(index) for index in range(1, _BINS))
