"""The retry budget: how many failed retries a host may get."""

from __future__ import annotations

from sleepwalker.engine.host.window import Window
from sleepwalker.policy import RetryBudget

_CALL, _RETRY = 0, 1


class Budget:
    """How many failed retries a host may get: a share of its recent calls plus a floor for quiet times.

    What calls deposit and retries spend counts for `window` seconds, as in Finagle. A retry is charged when it is
    decided upon, so that those under way count; one that is answered gives its share back.
    Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_policy", "_window")

    def __init__(self, policy: RetryBudget) -> None:
        self._window = Window(policy.window, channels=2)
        self._policy = policy

    def reconfigure(self, policy: RetryBudget) -> None:
        """Go on with the numbers of `policy`. Over a window of another length the count begins anew."""
        if policy.window != self._policy.window:
            self._window = Window(policy.window, channels=2)
        self._policy = policy

    def deposit(self, now: float) -> None:
        """A call's first attempt is over. Rejected calls earn nothing: the host never saw them."""
        self._window.add(now, _CALL)

    def left(self, now: float) -> float:
        """How many retries may begin now."""
        calls, retries = self._window.totals(now)
        policy = self._policy
        return calls * policy.ratio + policy.min_per_second * policy.window - retries

    def spend(self, now: float) -> bool:
        """Take one retry out; False where that is more than there is."""
        if self.left(now) < 1.0:
            return False
        self._window.add(now, _RETRY)
        return True

    def give_back(self, spent: float, now: float) -> None:
        """The retry that was taken out at `spent` was answered. Nothing is left of it once it is out of the window."""
        self._window.take_back(now, spent, _RETRY)
