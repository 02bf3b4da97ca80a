"""Cooldowns: a host said "not now", and calls wait until then, all of them or those with the same credentials."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count

from sleepwalker.engine.host.holdings import Holdings

#: Calls held back by a cooldown go within this share of its length after its end, not all at once.
_SPREAD = 0.1
#: How many are kept per host. Credentials whose cooldown was dropped learn of it from their next response.
_MOST = 1024


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The request of one response: which calls must wait, and until when, in seconds on the host's clock."""

    began: float
    until: float
    cause: str
    """The response's status."""
    whose: str | None
    """The mark of the credentials that it holds back; None for all."""

    @property
    def over(self) -> float:
        """From when on it no longer holds back any call."""
        return self.until + _SPREAD * (self.until - self.began)

    def release(self, place: float) -> float:
        """When the call at this place goes, from 0 for the first to 1 for the last; never before `until`."""
        return self.until + place * (self.over - self.until)


class Cooldowns:
    """All cooldowns of one host, and how many calls wait for their end. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_by", "_last", "_numbers", "_queue")

    def __init__(self) -> None:
        self._queue: list[tuple[float, float]] = []
        """For each waiting call: when it came, and a number; sorted."""
        self._numbers = count()
        self._by: OrderedDict[str | None, Cooldown] = OrderedDict()
        """Cooldowns by the credentials that they hold back; those that began first come first."""
        self._last = -math.inf

    def begin(self, cooldown: Cooldown) -> bool:
        """Add one, unless a longer one is active. Returns whether it holds back calls that were free before."""
        whose = cooldown.whose
        known = self._by.get(whose)
        if known is not None and known.until >= cooldown.until:
            return False
        self._by[whose] = cooldown
        self._by.move_to_end(whose)
        if len(self._by) > _MOST:
            self._drop_one()
        self._last = max(self._last, cooldown.over)
        return known is None or known.until <= cooldown.began

    def on(self, whose: str, now: float) -> tuple[Cooldown, ...]:
        """The cooldowns that may hold back a call with these credentials."""
        both = (self._by.get(None), self._by.get(whose))
        return tuple(one for one in both if one is not None and now < one.over)

    def longest(self, now: float) -> float | None:
        """Seconds until the last one ends; None if there is none."""
        return max((one.until - now for one in self._by.values() if now < one.until), default=None)

    def needless(self, now: float) -> bool:
        """Whether all are over and no call waits, so that all this can be forgotten."""
        return now >= self._last and not self._queue

    def clear(self) -> None:
        """End all of them."""
        self._by, self._last = OrderedDict(), -math.inf

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._queue)

    def wait(self, call: Holdings, came: float) -> None:
        """Add a call that came at that time to the waiting ones, unless it is there already."""
        if call.cooldown_place is None:
            call.cooldown_place = (
                came,
                next(self._numbers),
            )  # first: a leaving call looks for it, although it may not be there yet
            insort(self._queue, call.cooldown_place)

    def stop_waiting(self, call: Holdings) -> None:
        """Remove a call from the waiting ones."""
        if call.cooldown_place is not None:
            at = bisect_left(self._queue, call.cooldown_place)
            if self._queue[at : at + 1] == [call.cooldown_place]:  # a fork forgets the waiters
                del self._queue[at]
            call.cooldown_place = None

    def place(self, call: Holdings, came: float, draw: float) -> float:
        """A call's place among the waiting ones, from 0 for the first to 1. Earlier calls go earlier.

        `draw`, from 0 to 1, is its position within its own share of the time, so that the processes of a fleet do not
        act in step.
        """
        others = max(0, len(self._queue) - (call.cooldown_place is not None))  # a fork forgets the waiters
        return (bisect_left(self._queue, call.cooldown_place or (came, math.inf)) + draw) / (others + 1)

    def renew_after_fork(self) -> None:
        """Forget the calls of threads that exist only in the parent."""
        self._queue = []

    def _drop_one(self) -> None:
        """Drop the one that began first: most likely it is over. Not the one for all calls, which holds back most."""
        first = next(iter(self._by))
        if first is None:
            self._by.move_to_end(None)
            first = next(iter(self._by))
        del self._by[first]
