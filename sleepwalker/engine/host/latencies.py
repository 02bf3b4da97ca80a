"""The distribution of durations over a sliding time window, in constant time and little space."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence

#: Twelve bins to an octave, each 5.9 % wider than the one before: its geometric middle is off by 2.9 % at most. From
#: 2^-14 s (61 µs) to 2^12 s (68 min).
_PER_OCTAVE = 12
_LOWEST = -14
_BINS = (12 - _LOWEST) * _PER_OCTAVE
#: Bins are allocated in groups of this size.
_BINS_AT_ONCE = 6


class Latencies:
    """The distribution of durations in the last `seconds`. Not thread-safe: its owner holds a lock.

    The window moves in slices, as a `Window` does.
    """

    __slots__ = ("_counts", "_first", "_longest", "_slice", "_slices", "_span", "_until", "_width")

    def __init__(self, seconds: float, slices: int = 6) -> None:
        self._span = seconds / slices
        self._slices = slices
        self._until = 0.0  # as in a Window
        self._slice = 0
        # The largest part of a host's record, of which there may be thousands. So it has only the bins from the
        # shortest duration to the longest, slice after slice, and one byte for each until one needs more.
        self._counts = array("B")
        self._first = self._width = 0
        self._longest = [0.0] * slices
        """The longest duration of each slice."""

    def add(self, now: float, duration: float) -> None:
        """One more duration, in seconds."""
        if now >= self._until:
            self._advance(now)
        if duration > self._longest[self._slice]:  # noqa: PLR1730 - `max` is a call, for each attempt
            self._longest[self._slice] = duration
        at = bisect_right(_EDGES, duration) - self._first
        if not 0 <= at < self._width:
            at = self._make_room(at + self._first)
        place = self._slice * self._width + at
        try:
            self._counts[place] += 1
        except OverflowError:
            self._counts = array("H" if self._counts.itemsize == 1 else "Q", self._counts)
            self._counts[place] += 1

    def quantiles(self, now: float, wanted: Sequence[float]) -> tuple[float | None, ...]:
        """The durations that the given shares (0 to 1) do not exceed, exact to 3 %; None without any.

        None of them is longer than the longest observed one.
        """
        merged = self._merged(now)
        total = sum(merged)
        return tuple(self._quantile(merged, total, share) if total else None for share in wanted)

    def above(self, now: float, share: float, enough: int, others: Latencies | None = None) -> float | None:
        """A duration that `share` of all (with `others`) do not exceed; None if there are fewer than `enough`.

        It is the upper end of the quantile's bin: rather too long than too short.
        """
        merged, first = self._merged(now), self._first
        if others is not None:
            theirs = others._merged(now)
            low = min(first if merged else others._first, others._first if theirs else first)
            both = [0] * (max(first + len(merged), others._first + len(theirs)) - low)
            for counts, begin in ((merged, first - low), (theirs, others._first - low)):
                for index, count in enumerate(counts, begin):
                    both[index] += count
            merged, first = both, low
        total = sum(merged)
        return _edge(first + _place(merged, total, share) + 1) if total >= enough else None

    def _quantile(self, merged: Sequence[int], total: int, share: float) -> float:
        place = self._first + _place(merged, total, share)
        # The bin's geometric middle has the same ratio to both ends.
        return min(math.sqrt(_edge(place) * _edge(place + 1)), max(self._longest))

    def _merged(self, now: float) -> list[int]:
        """The counts by bin, over all slices; the first is of bin `_first`."""
        if now >= self._until:
            self._advance(now)
        counts, width = self._counts, self._width
        return [sum(counts[index::width]) for index in range(width)]

    def _make_room(self, number: int) -> int:
        """Make room for a bin, and for all between it and the present ones. Returns its number from the first one."""
        first, width = self._first, self._width
        low = number - number % _BINS_AT_ONCE
        high = low + _BINS_AT_ONCE
        if width:
            low, high = min(low, first), max(high, first + width)
        wide = high - low
        counts = array(self._counts.typecode, bytes(self._slices * wide * self._counts.itemsize))
        for piece in range(self._slices):
            at = piece * wide + first - low
            counts[at : at + width] = self._counts[piece * width : (piece + 1) * width]
        # Without a call in between: a Ctrl-C would leave them apart.
        self._counts, self._first, self._width = counts, low, wide
        return number - low

    def _advance(self, now: float) -> None:
        slices, width = self._slices, self._width
        first, end = round(self._until / self._span), int(now / self._span) + 1
        if end <= first:
            return
        for number in range(max(first, end - slices), end):
            start = number % slices * width
            self._longest[number % slices] = 0.0
            for index in range(start, start + width):
                self._counts[index] = 0
        self._until = end * self._span  # last: after an earlier Ctrl-C, the next caller repeats all of it
        self._slice = (end - 1) % slices


def _place(bins: Sequence[int], total: int, share: float) -> int:
    """The bin that the quantile is in, by its number among those given."""
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
    return math.ldexp(2.0 ** (step / _PER_OCTAVE), octave + _LOWEST)


#: Lower bounds of all bins except the first. Shorter durations count in the first bin, longer ones in the last.
_EDGES = tuple(_edge(index) for index in range(1, _BINS))
