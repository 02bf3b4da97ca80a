"""The retry budget: how many failed retries a host may get."""

from __future__ import annotations

from sleepwalker.engine.host.window import Window
from sleepwalker.policy import RetryBudget

_CALL, _RETRY = 0, 1


class Budget:
    """How many failed retries a host may get: a share of its recent calls, plus a minimum for quiet times.

    Deposits of calls and spent retries count for `window` seconds, as in Finagle. A retry is charged when it is
    decided, so that running ones count. One that gets a response returns its share. Not thread-safe: its owner holds a
    lock.
    """

    __slots__ = ("_policy", "_window")

    def __init__(self, policy: RetryBudget) -> None:
        self._window = Window(policy.window, channels=2)
        self._policy = policy

    def reconfigure(self, policy: RetryBudget) -> None:
        """Continue with the numbers of `policy`. A window of another length starts the count again."""
        if policy.window != self._policy.window:
            self._window = Window(policy.window, channels=2)
        self._policy = policy

    def deposit(self, now: float) -> None:
        """A call's first attempt ended. Rejected calls deposit nothing, because the host never saw them."""
        self._window.add(now, _CALL)

    def left(self, now: float) -> float:
        """How many retries may begin now."""
        calls, retries = self._window.totals(now)
        policy = self._policy
        return calls * policy.ratio + policy.min_per_second * policy.window - retries

    def spend(self, now: float) -> bool:
        """Take one retry out; False if there is none."""
        if self.left(now) < 1.0:
            return False
        self._window.add(now, _RETRY)
        return True

    def give_back(self, spent: float, now: float) -> None:
        """The retry taken at `spent` got a response. If it has left the window, this does nothing."""
        self._window.take_back(now, spent, _RETRY)
