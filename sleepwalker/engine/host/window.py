"""Counts over a sliding time window, in constant time and space."""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Window:
    """How often each of a few things happened in the last `seconds`.

    The window moves in `slices` steps: it covers between `(slices - 1) / slices` of its length and all of it. Not
    thread-safe: its owner holds a lock.
    """

    __slots__ = ("_counts", "_slices", "_span", "_start", "_totals", "_until")

    def __init__(self, seconds: float, channels: int, slices: int = 10) -> None:
        self._span = seconds / slices
        self._slices = slices
        # The current slice by when it ends and where its counts start: all that nearly every call needs to know.
        self._until = 0.0
        self._start = 0
        # One byte each until one needs more; created this way, it has no spare room.
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
        """One less of `channel`, added at `when`. Does nothing if that has left the window or was cleared."""
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
        # Last: after an earlier Ctrl-C, the next caller repeats all of it.
        self._until = end * self._span
        self._start = (end - 1) % self._slices * channels
