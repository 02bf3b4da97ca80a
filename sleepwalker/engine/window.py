"""Counts and latencies over a sliding time window, in constant time and space."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

#: Latency bins: four to an octave, so a percentile is off by at most 12 %; 2^-14 s (61 µs) to 2^9 s (512 s).
_PER_OCTAVE = 4
_LOWEST = -14
_BINS = (9 - _LOWEST) * _PER_OCTAVE
_SHORTEST = math.ldexp(1.0, _LOWEST)


class Window:
    """How often each of a few things happened in the last `seconds`.

    The window moves in `slices` steps: it covers between `(slices - 1) / slices` of its length and all of it.
    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_channels", "_counts", "_slice", "_slices", "_span", "_totals")

    def __init__(self, seconds: float, channels: int, slices: int = 10) -> None:
        self._span = seconds / slices
        self._slices = slices
        self._channels = channels
        self._slice = 0
        self._counts = array("I", [0]) * (slices * channels)  # made like this, it has no room to spare
        self._totals = [0] * channels

    def add(self, now: float, channel: int) -> None:
        """One more of `channel` at `now`, in seconds of a monotonic clock."""
        self._advance(now)
        self._counts[(self._slice % self._slices) * self._channels + channel] += 1
        self._totals[channel] += 1

    def totals(self, now: float) -> Sequence[int]:
        """The counts by channel as of `now`; valid until the next call."""
        self._advance(now)
        return self._totals

    def clear(self) -> None:
        """Forget everything."""
        for index in range(len(self._counts)):
            self._counts[index] = 0
        self._totals = [0] * self._channels

    def _advance(self, now: float) -> None:
        current = int(now / self._span)
        passed = current - self._slice
        if passed <= 0:  # 0 mostly; below it for a thread that read its clock before another one came through here
            return
        self._slice = current
        if passed >= self._slices:
            self.clear()
            return
        for number in range(current - passed + 1, current + 1):
            start = (number % self._slices) * self._channels
            for channel in range(self._channels):
                self._totals[channel] -= self._counts[start + channel]
                self._counts[start + channel] = 0


class Latencies:
    """The distribution of durations in the last `seconds`. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_counts", "_slice", "_slices", "_span")

    def __init__(self, seconds: float, slices: int = 6) -> None:
        self._span = seconds / slices
        self._slices = slices
        self._slice = 0
        # The largest part of a host's record, of which there may be thousands: a byte each, until one needs more.
        self._counts = array("B", [0]) * (slices * _BINS)

    def add(self, now: float, duration: float) -> None:
        """One more duration, in seconds."""
        self._advance(now)
        # A clock that did not move between two readings gives 0, whose exponent would mean a quarter of a second.
        mantissa, exponent = math.frexp(max(duration, _SHORTEST))
        index = (exponent - 1 - _LOWEST) * _PER_OCTAVE + int((mantissa - 0.5) * 2 * _PER_OCTAVE)
        place = (self._slice % self._slices) * _BINS + min(max(index, 0), _BINS - 1)
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
        self._advance(now)
        starts = range(0, self._slices * _BINS, _BINS)
        return [sum(self._counts[start + index] for start in starts) for index in range(_BINS)]

    def _advance(self, now: float) -> None:
        current = int(now / self._span)
        passed = current - self._slice
        if passed <= 0:
            return
        self._slice = current
        for number in range(current - min(passed, self._slices) + 1, current + 1):
            start = (number % self._slices) * _BINS
            for index in range(start, start + _BINS):
                self._counts[index] = 0


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
