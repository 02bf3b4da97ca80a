"""Until when a host is left alone because it said "not now": by everybody, or by those with the same credentials."""

from __future__ import annotations

import math

from sleepwalker.engine.limits import Holdings
from sleepwalker.frozen import frozen

#: Those that a cooldown held back are let go within so much of its time after its end, rather than all at its end.
_SPREAD = 0.1
#: How many are known of one host. Credentials whose cooldown is forgotten learn of it by asking once more.
_MOST = 1024


@frozen
class Cooldown:
    """One answer's word: who is to stay away, and until when. Times are on the host's clock, in seconds."""

    began: float
    until: float
    cause: str
    """The answer's status."""
    whose: str | None
    """The mark of the credentials that it holds back; None for everybody."""

    @property
    def over(self) -> float:
        """From when on it holds back nobody any more."""
        return self.until + _SPREAD * (self.until - self.began)

    def release(self, came: float, luck: float) -> float:
        """When a call goes that `came` at that time, and has drawn a number from [0, 1): never before `until`.

        Who came earlier is likely to go earlier, those that came together do not go together, and those that come
        after the end while others still wait do not overtake them: everybody draws from the time between their own
        place in the order and the last one's.
        """
        place = max(0.0, came - self.began) / (self.over - self.began)
        return self.until + (self.over - self.until) * (place + (1.0 - place) * luck)


class Cooldowns:
    """All cooldowns of one host, and how many calls wait for one to end. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_by", "_last", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._by: dict[str | None, Cooldown] = {}
        self._last = -math.inf

    def begin(self, cooldown: Cooldown) -> bool:
        """Take note of one, unless a longer one is on. Whether it holds anybody back that was free before."""
        known = self._by.get(cooldown.whose)
        if known is not None and known.until >= cooldown.until:
            return False
        if known is None and len(self._by) >= _MOST:
            self._make_room(cooldown.began)
        self._by[cooldown.whose] = cooldown
        self._last = max(self._last, cooldown.over)
        return known is None or known.until <= cooldown.began

    def on(self, whose: str, now: float) -> tuple[Cooldown, ...]:
        """Those that may hold back a call with these credentials."""
        both = (self._by.get(None), self._by.get(whose))
        return tuple(one for one in both if one is not None and now < one.over)

    def longest(self, now: float) -> float | None:
        """Seconds until the last one ends; None where none is on."""
        return max((one.until - now for one in self._by.values() if now < one.until), default=None)

    def needless(self, now: float) -> bool:
        """Whether all are over and nobody waits, so that all this can be forgotten."""
        return now >= self._last and self.waiting == 0

    def clear(self) -> None:
        """End all of them."""
        self._by, self._last = {}, -math.inf

    def wait(self, call: Holdings) -> None:
        """Count the call among those that wait."""
        if not call.cools:
            self.waiting += 1
            call.cools = True

    def stop_waiting(self, call: Holdings) -> None:
        """Count it there no more."""
        if call.cools:
            call.cools = False
            if self.waiting > 0:  # a fork forgets those who waited
                self.waiting -= 1

    def _make_room(self, now: float) -> None:
        self._by = {whose: one for whose, one in self._by.items() if now < one.over}
        while len(self._by) >= _MOST:
            del self._by[next(whose for whose in self._by if whose is not None)]
