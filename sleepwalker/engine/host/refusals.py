"""Calls that were refused before anything was sent, told together: else an outage is two lines for each of them.

The first is told at once. From then on the refused calls of a host are told `log.rejections` times a second, by the
events of the latest, which say how many it stands for. What is left when no call comes any more is told when a
connection to the host is closed, or when the program ends.
"""

from __future__ import annotations

import atexit
import math
import weakref
from functools import cache
from typing import Any, NamedTuple

from sleepwalker.clock import Clock
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.events import Observer, RequestFailed, RequestRejected

__all__ = ["Refusals"]


class _Together(NamedTuple):
    """Calls that the same part of the policy refused."""

    number: int
    rejected: Any
    failed: Any
    """The two events of the latest, as drafts."""
    observe: Observer
    """The observer of the latest."""
    at: float
    """When that was refused, in seconds of the monotonic clock."""

    def tell(self, now: float, observe: Observer) -> None:
        for draft, kind in ((self.rejected, RequestRejected), (self.failed, RequestFailed)):
            if self.number > 1:
                draft.count = self.number
            if now > self.at:
                draft.ago = now - self.at
            draft.__class__ = kind
            observe(draft)


class Refusals:
    """The refused calls of one host that are not told yet, by what refused them."""

    __slots__ = ("__weakref__", "_apart", "_clock", "_due", "_lock", "_untold")

    def __init__(self, clock: Clock, lock: HostLock) -> None:
        self._clock = clock
        self._lock = lock
        self._untold: dict[str, _Together] = {}
        self._due = -math.inf
        self._apart = 0.0
        _living().add(self)

    def add(self, rejected: Any, failed: Any, observe: Observer, a_second: float) -> None:
        """Tell a refused call, or count it with those that are told later. The events are drafts of its two."""
        now, by = self._clock.monotonic(), rejected.by
        with self._lock.mutex:
            before = self._untold.get(by)
            self._untold[by] = latest = _Together(
                1 if before is None else before.number + 1, rejected, failed, observe, now
            )
            self._apart = 1 / a_second
            if now < self._due:
                return
            ready = self._take_locked(now)
        for together in ready:
            # What watches over a single call, as a trace does, is told of that call alone.
            together.tell(now, observe if together is latest else _lasting(together.observe))

    def tell_if_due(self) -> None:
        """Tell what waits, if enough time has passed since refused calls were told last."""
        if self._untold and self._clock.monotonic() >= self._due:
            self.tell()

    def tell(self) -> None:
        """Tell what waits."""
        now = self._clock.monotonic()
        with self._lock.mutex:
            ready = self._take_locked(now)
        for together in ready:
            together.tell(now, _lasting(together.observe))

    def _take_locked(self, now: float) -> tuple[_Together, ...]:
        ready, self._untold = tuple(self._untold.values()), {}
        if ready:
            self._due = now + self._apart
        return ready

    def renew_after_fork(self) -> None:
        """What waits is told by the parent."""
        self._untold = {}


def _lasting(observe: Observer) -> Observer:
    """The observer behind one that ends with its call."""
    while (behind := getattr(observe, "behind", None)) is not None:
        observe = behind
    return observe


@cache
def _living() -> weakref.WeakSet[Refusals]:
    """All there are. What waits in them is told before the interpreter ends, while logs can still be written."""
    living: weakref.WeakSet[Refusals] = weakref.WeakSet()

    def tell_all() -> None:
        for refusals in list(living):
            refusals.tell()

    atexit.register(tell_all)
    return living
