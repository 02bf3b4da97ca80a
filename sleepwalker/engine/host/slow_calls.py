"""Counts slow attempts: each counts from the moment it has taken too long, even while it is running."""

from __future__ import annotations

from collections import OrderedDict

from sleepwalker.engine.host.window import Window
from sleepwalker.policy import BreakerPolicy

_FAST, _SLOW = 0, 1


class SlowCalls:
    """The running attempts in order of their begin, and the share of slow ones in the last `window` seconds.

    No thread watches: each query first counts the attempts that became slow before it, each at its own moment, so that
    the result does not depend on the time of the query. Every step takes amortised constant time. Not thread-safe: its
    owner holds a lock.
    """

    __slots__ = ("_counts", "_min_calls", "_ratio", "_seconds", "_under_way")

    def __init__(self, ratio: float, seconds: float, *, min_calls: int, window: float) -> None:
        self._ratio = ratio
        self._seconds = seconds
        self._min_calls = min_calls
        self._counts = Window(window, channels=2)
        # By identity, since permits of one state are equal. A plain dict would walk over all that it dropped
        # at its front to find its first key.
        self._under_way: OrderedDict[int, tuple[float, object]] = OrderedDict()

    @classmethod
    def of(cls, policy: BreakerPolicy) -> SlowCalls | None:
        """For a policy; None if it does not time attempts."""
        if policy.slow_ratio is None or policy.slow_call is None:
            return None
        return cls(policy.slow_ratio, policy.slow_call, min_calls=policy.min_calls, window=policy.window)

    @staticmethod
    def alike(one: BreakerPolicy, other: BreakerPolicy) -> bool:
        """Whether both policies judge in the same way, so that counts of one are valid for the other."""
        return all(
            getattr(one, name) == getattr(other, name) for name in ("slow_ratio", "slow_call", "min_calls", "window")
        )

    def begin(self, permit: object, now: float) -> None:
        """An attempt begins under this permit."""
        self._under_way[id(permit)] = (now + self._seconds, permit)

    def end(self, permit: object, now: float, *, counts: bool) -> None:
        """An attempt ended. If it is not slow by now it was fast, unless it does not `count`."""
        if self._under_way.pop(id(permit), None) is not None and counts:
            self._counts.add(now, _FAST)

    def next_slow(self, now: float) -> float | None:
        """Count the next attempt that became slow before `now`; returns that moment."""
        if not self._under_way:
            return None
        first = next(iter(self._under_way))
        moment, _ = self._under_way[first]
        if moment > now:
            return None
        del self._under_way[first]
        self._counts.add(moment, _SLOW)
        return moment

    def too_many(self, now: float) -> bool:
        """Whether there are enough attempts, and the share of slow ones is reached."""
        fast, slow = self._counts.totals(now)
        return fast + slow >= self._min_calls and slow >= self._ratio * (fast + slow)

    def forget(self) -> None:
        """Start again: attempts running now no longer count."""
        self._under_way.clear()
        self._counts.clear()

    def forget_under_way(self) -> None:
        """Forget running attempts, which are the parent's in a forked child."""
        self._under_way.clear()
