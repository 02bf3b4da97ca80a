"""The bulkhead: how many calls are in flight, how many may be, and which calls wait."""

from __future__ import annotations

from typing import Literal

from sleepwalker.engine.host.adaptive import Adaptive
from sleepwalker.engine.host.holdings import Holdings, Waiter
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.engine.outcome import Outcome
from sleepwalker.policy import BulkheadPolicy

Entry = Literal["in", "over_limit", "full"] | Waiter
"""The call is in; or in, but `over_limit` of a dry run; or the bulkhead is full; or the call queues as this waiter."""


class Bulkhead:
    """Counts the calls in flight, even without a limit. Not thread-safe: its owner holds a lock.

    The queue is fair: a new call goes behind waiting ones. A dry run counts like enforcement: calls over the limit hold
    no place, so that as many are reported as would have been refused. It never queues, and counts as if `max_wait` were
    0.
    """

    __slots__ = ("_lock", "_max_wait", "_most", "_observes", "_over_limit", "adaptive", "in_flight", "queue")

    in_flight: int

    def __init__(self, policy: BulkheadPolicy | None, lock: HostLock) -> None:
        self._lock = lock
        self.in_flight = 0
        self.queue: tuple[Waiter, ...] = ()
        """The calls that wait for a place, the longest first. Mostly empty: then a tuple takes no room."""
        self._over_limit = 0
        self.adaptive: Adaptive | None = None
        """The limit that learns from attempts; None if the limit is fixed."""
        self.reconfigure(policy)

    @property
    def limit(self) -> int | None:
        """How many calls may be in flight now; None for no limit."""
        return self._most if self.adaptive is None else self.adaptive.limit

    def reconfigure(self, policy: BulkheadPolicy | None) -> None:
        """Switch to the numbers of `policy` and keep the calls in flight. Waiting calls enter if there is room."""
        self._most = None if policy is None else policy.max_concurrent
        self._max_wait = 0.0 if policy is None else policy.max_wait
        self._observes = policy is not None and policy.mode == "observe"
        if policy is None or not policy.adaptive:
            self.adaptive = None
        elif self.adaptive is None:
            self.adaptive = Adaptive(policy.max_concurrent, self.in_flight)
        else:
            self.adaptive.reconfigure(policy.max_concurrent)
        self._grant()

    def enter(self, call: Holdings, *, limited: bool, refused: bool) -> Entry:
        """Begin a call. One that is in, over the limit or not, must `leave`; a queued one must `claim`, and `leave`.

        A call that is not `limited` bypasses the limit but counts for others. If another dry run has `refused` it, a
        bulkhead in observe mode reports nothing, because the call would not have reached it.
        """
        if limited and self._most is not None:
            limit = self._most if self.adaptive is None else self.adaptive.limit
            if self._observes:
                if refused or self.in_flight - self._over_limit >= limit:
                    self._over_limit += 1
                    self.in_flight += 1
                    call.inside = call.over_limit = True
                    return "over_limit"
            elif self.in_flight >= limit or self.queue:
                if self._max_wait == 0:
                    return "full"
                waiter = call.waiter = Waiter(call, self._max_wait)
                self.queue += (waiter,)
                return waiter
        self.in_flight += 1
        call.inside = True
        if self.adaptive is not None:
            self.adaptive.entered(self.in_flight - self._over_limit)
        return "in"

    def leave(self, call: Holdings) -> None:
        """End a call, however it began; repeating it is harmless. Its place goes to the longest waiter."""
        if call.waiter is not None:
            self.claim(call)
        if call.inside:
            call.inside = False
            if self.in_flight > 0:  # 0 already in a child that was forked during the call
                self.in_flight -= 1
            if call.over_limit:
                call.over_limit = False
                if self._over_limit > 0:
                    self._over_limit -= 1
        if self.queue:
            self._grant()

    def claim(self, call: Holdings) -> bool:
        """End a wait: True for a call that got its place and is in; others lose their turn."""
        if call.waiter in self.queue:
            self.queue = tuple([waiter for waiter in self.queue if waiter is not call.waiter])
        call.waiter = None
        return call.inside

    def turn_all_away(self) -> None:
        """End all waits without a place."""
        self._lock.wake_locked(self.queue)  # while there are any: after a Ctrl-C the next caller handles them
        self.queue = ()

    def learn(self, outcome: Outcome, began: float, now: float) -> None:
        """An attempt ended: an adaptive limit learns from it, and may admit waiting calls."""
        if self.adaptive is not None:
            self.adaptive.learn(outcome, began, now)
            self._grant()

    def renew_after_fork(self) -> None:
        """Forget the calls of threads that exist only in the parent."""
        self.in_flight = self._over_limit = 0
        self.queue = ()

    def _grant(self) -> None:
        while self.queue:
            waiter = self.queue[0]
            if not waiter.call.inside:  # else a Ctrl-C came after its admission and before it was woken
                if not self._observes and (limit := self.limit) is not None and self.in_flight >= limit:
                    return
                self.in_flight += 1
                waiter.call.inside = True
                if self.adaptive is not None:
                    self.adaptive.entered(self.in_flight - self._over_limit)
            self._lock.wake_locked((waiter,))
            self.queue = self.queue[1:]
