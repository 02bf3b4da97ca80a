"""How many calls to a host ended in each recent interval, and how many of them failed or were rejected."""

from __future__ import annotations

from array import array

#: An interval, in seconds, and how many are kept: the last 15 minutes.
INTERVAL, MOST = 15.0, 60
#: For larger numbers: there may be thousands of hosts, and most have few calls.
_WIDER = {"B": "H", "H": "I", "I": "Q"}


class Activity:
    """A ring of counts. It reads the host's counters when an interval begins, so it adds no cost per call.

    Times are on the host's clock. Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_calls", "_counts", "_errors", "_number")

    def __init__(self) -> None:
        self._number = -1
        """The running interval: the one in which a call ended last."""
        self._calls = self._errors = 0
        """What the counters said when it began."""
        self._counts: array[int] | None = None
        """Calls by interval, then errors; made when the first interval is over."""

    def roll(self, now: float, calls: int, errors: int) -> tuple[float, float | None]:
        """Begin the interval of `now`, in which the first call is about to end.

        `calls` and `errors` are the host's counters before that call is counted. Returns when the new interval ends,
        and for how many seconds no call had ended, counted from the end of the last interval with one; None for a
        host's first call.
        """
        number, before = int(now / INTERVAL), self._number
        ends = (number + 1) * INTERVAL
        if before < 0:
            self._number = number
            return ends, None
        if number > before:
            self._put(before, calls - self._calls, errors - self._errors)
            for other in range(before + 1, min(number, before + MOST) + 1):
                self._put(other, 0, 0)
            # A Ctrl-C comes before all of this or after it; repeating these assignments changes nothing.
            self._number, self._calls, self._errors = number, calls, errors
        return ends, max(0.0, now - (before + 1) * INTERVAL)

    def _put(self, number: int, calls: int, errors: int) -> None:
        place = number % MOST
        if self._counts is None:
            self._counts = array("B", [0]) * (2 * MOST)
        while True:
            try:
                self._counts[place], self._counts[MOST + place] = calls, errors
                return
            except OverflowError:
                self._counts = array(_WIDER[self._counts.typecode], self._counts)

    def read(self, now: float, calls: int, errors: int) -> tuple[float, list[int], list[int]] | None:
        """When the first kept interval with a call began, and the calls and errors of each interval from then on.

        The last one is still running. None if no call ended in any. `calls` and `errors` are the counters as of now.
        """
        first, last = int(now / INTERVAL) - MOST + 1, int(now / INTERVAL)
        kept = self._number - first
        if kept < 0 or self._number < 0:
            return None
        later = [0] * max(0, last - self._number)
        by_interval = [*self._past(first, kept, 0), calls - self._calls, *later]
        skipped = next((place for place, count in enumerate(by_interval) if count), None)
        if skipped is None:
            return None
        failed = [*self._past(first, kept, MOST), errors - self._errors, *later]
        return (first + skipped) * INTERVAL, by_interval[skipped:], failed[skipped:]

    def _past(self, first: int, kept: int, start: int) -> list[int]:
        """The kept counts of calls (`start` 0) or errors (`start` `MOST`) for `kept` intervals."""
        if self._counts is None:
            return [0] * kept
        ring, place = self._counts[start : start + MOST], first % MOST
        return (ring[place:] + ring[:place])[:kept].tolist()
