"""Limits on how much work a host is given: the retry budget and the bulkhead."""

from __future__ import annotations

from sleepwalker.engine.window import Window
from sleepwalker.policy import RetryBudget

_CALL, _RETRY = 0, 1


class Budget:
    """How many retries a host may get: a share of its recent calls plus a floor for quiet times.

    The rule is Finagle's: what is deposited by calls and spent by retries counts for `window` seconds.
    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_floor", "_ratio", "_window")

    def __init__(self, policy: RetryBudget) -> None:
        self._ratio = policy.ratio
        self._floor = policy.min_per_second * policy.window
        self._window = Window(policy.window, channels=2)

    def deposit(self, now: float) -> None:
        """A call's first attempt is over. Rejected calls earn nothing: the host never saw them."""
        self._window.add(now, _CALL)

    def left(self, now: float) -> float:
        """How many retries may begin now."""
        calls, retries = self._window.totals(now)
        return calls * self._ratio + self._floor - retries

    def spend(self, now: float) -> bool:
        """Take one retry out; False where that is more than there is."""
        if self.left(now) < 1.0:
            return False
        self._window.add(now, _RETRY)
        return True
