"""The queue before a circuit: which call is next, and which calls to wake."""

from __future__ import annotations

from itertools import islice

from sleepwalker.engine.host.holdings import Waiter
from sleepwalker.engine.host.lock import HostLock

#: Seconds. A call that waits for a circuit that is not open asks again after this time, even if it is not woken.
_LOOK_AGAIN = 1.0


class CircuitQueue:
    """The calls that wait for a circuit, the longest first. Mostly empty. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_lock", "waiters")

    def __init__(self, lock: HostLock) -> None:
        self._lock = lock
        self.waiters: tuple[Waiter, ...] = ()

    def wait(self, waiter: Waiter, now: float, seconds: float, opens_in: float, room: int | None, probes: int) -> float:
        """Let a call wait at most `seconds`. Returns the seconds after which it asks again.

        `opens_in` is how long the circuit stays open, `room` how many calls it admits now (None for any number), and
        `probes` how many it will admit once it is no longer open.
        """
        waiter.woken, waiter.notify, waiter.until = False, None, now + seconds
        if waiter not in self.waiters:
            self.waiters += (waiter,)
        if opens_in <= 0 and (room is None or waiter in self.next(now, room)):
            return 0.0  # a place came free after the call was refused, and before it was known here
        if opens_in > 0 and waiter in self.next(now + opens_in, probes):
            return opens_in
        return min(opens_in + _LOOK_AGAIN, seconds)

    def lets_in(self, waiter: Waiter | None, now: float, room: int) -> bool:
        """Whether it is a call's turn if `room` calls are admitted. `waiter` is None for a call that has not waited."""
        if waiter is None:
            return len(self.waiters) < room
        if waiter not in self.next(now, room):
            self._lock.wake_locked(self.next(now, room))  # whose turn it is may have changed since this one was woken
            return False
        self.drop(waiter)
        return True

    def drop(self, waiter: Waiter) -> None:
        """End a call's wait."""
        self.waiters = tuple([other for other in self.waiters if other is not waiter])

    def next(self, now: float, room: int) -> list[Waiter]:
        """The calls to admit next: the longest waiters first, among those with time for a whole attempt.

        Of the others, the one with the most time left comes first. The longest waiter has the least time left: its
        attempt would be cut short, and a healthy host would seem not to respond.
        """
        most = min(room, len(self.waiters))
        ample = list(islice((waiter for waiter in self.waiters if waiter.ample_until >= now), most))
        if len(ample) < most:
            short = (waiter for waiter in self.waiters if waiter.ample_until < now)
            ample += sorted(short, key=_patience_ends, reverse=True)[: most - len(ample)]
        return ample

    def wake(self, now: float, room: int | None, open_until: float | None) -> None:
        """Wake the calls that are admitted now or, if the circuit is open, as soon as it may be tried again.

        For an open circuit, also wake those whose time ends before that: they wait in vain.
        """
        if room is None:
            self.wake_all()
        elif open_until is None:
            self._lock.wake_locked(self.next(now, room))
        else:
            self._lock.wake_locked(self.next(max(now, open_until), room))
            self._lock.wake_locked([waiter for waiter in self.waiters if waiter.until < open_until])

    def wake_all(self) -> None:
        """Wake all calls, so that each asks again."""
        self._lock.wake_locked(self.waiters)


def _patience_ends(waiter: Waiter) -> float:
    return waiter.until
