"""Announces refused calls in groups: otherwise an outage would log two lines for each call.

The first one is announced at once. After that a host's refused calls are announced `log.rejections` times a second,
with the events of the latest one and the number of calls that it stands for. The remainder is announced when a
connection to the host, or its manager, is closed. For a host that was forgotten before, it comes with the next refused
call of any host, or at the end of the program.
"""

from __future__ import annotations

import atexit
import math
import weakref
from collections import deque
from contextvars import Context, copy_context
from functools import cache
from typing import Any, NamedTuple

from sleepwalker.clock import Clock
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.events import Observer, RequestFailed, RequestRejected
from sleepwalker.process import THIS_PROCESS

__all__ = ["Refusals"]


class _Latest(NamedTuple):
    """The latest of the calls that the same part of the policy refused."""

    rejected: Any
    failed: Any
    """Its two events, as drafts."""
    observe: Observer
    at: float
    """When it was refused, in seconds of the monotonic clock."""
    context: Context
    """The call's own: the thread that announces it may be running another call."""

    def tell(self, number: int, now: float, observe: Observer) -> None:
        """Announce that `number` calls were refused."""
        for draft, kind in ((self.rejected, RequestRejected), (self.failed, RequestFailed)):
            if number > 1:
                draft.count = number
            if now > self.at:
                draft.ago = now - self.at
            draft.__class__ = kind
            self.context.run(observe, draft)


#: How many calls are to be announced, and the latest of them, by what refused them.
_Untold = dict[str, tuple[int, _Latest]]
#: What was not announced yet when a host was forgotten, with the process id and the host's clock.
_forgotten: deque[tuple[int, Clock, _Untold]] = deque()
#: Whether the program ends. Calls of other exit handlers are announced at once, since no later call may do it.
_ending = False


class Refusals:
    """The refused calls of one host that are not announced yet, by what refused them."""

    __slots__ = ("__weakref__", "_apart", "_clock", "_lock", "_told_at", "_untold")

    def __init__(self, clock: Clock, lock: HostLock) -> None:
        self._clock = clock
        self._lock = lock
        self._untold: _Untold = {}
        self._told_at = -math.inf
        self._apart = 0.0
        """Seconds between two announcements, by the policy of the latest call."""
        _living().add(self)

    def add(self, rejected: Any, failed: Any, observe: Observer, a_second: float) -> None:
        """Announce a refused call, or count it for later. The events are drafts of its two."""
        now, by = self._clock.monotonic(), rejected.by
        latest = _Latest(rejected, failed, observe, now, copy_context())
        with self._lock.mutex:
            # Without a call in between: a signal handler that closes a connection announces them in this thread.
            untold = self._untold
            untold[by] = (untold[by][0] + 1 if by in untold else 1, latest)
            self._apart = 1 / a_second
            if now < self._told_at + self._apart and not _ending:
                return
            untold = self._take_locked(now)
        for number, one in untold.values():
            # An observer of a single call, such as a trace, gets the events of that call only.
            one.tell(number, now, observe if one is latest else _lasting(one.observe))
        _tell_of_forgotten()

    def tell_if_due(self) -> None:
        """Announce pending calls, if enough time has passed since the last time."""
        if self._untold and self._clock.monotonic() >= self._told_at + self._apart:
            self.tell()

    def tell(self) -> None:
        """Announce pending calls."""
        now = self._clock.monotonic()
        with self._lock.mutex:
            untold = self._take_locked(now)
        _tell(untold, now)
        _tell_of_forgotten()

    def _take_locked(self, now: float) -> _Untold:
        untold, self._untold = self._untold, {}
        if untold:
            self._told_at = now
        return untold

    def renew_after_fork(self) -> None:
        """Drop pending calls: the parent announces them."""
        self._untold = {}

    def __del__(self) -> None:
        # Its host is forgotten: under a lock, or while the garbage collector runs, so no observer can be called.
        if getattr(self, "_untold", None):  # there is none where a signal handler raised in the constructor
            _forgotten.append((THIS_PROCESS.pid, self._clock, self._untold))


def _tell(untold: _Untold, now: float) -> None:
    for number, latest in untold.values():
        latest.tell(number, now, _lasting(latest.observe))


def _tell_of_forgotten() -> None:
    """Announce the remaining calls of forgotten hosts."""
    while _forgotten:
        try:
            process, clock, untold = _forgotten.popleft()
        except IndexError:  # another thread was quicker
            return
        if process == THIS_PROCESS.pid:  # else the parent announces them
            _tell(untold, clock.monotonic())


def _lasting(observe: Observer) -> Observer:
    """The observer behind one that ends with its call."""
    while (behind := getattr(observe, "behind", None)) is not None:
        observe = behind
    return observe


@cache
def _living() -> weakref.WeakSet[Refusals]:
    """All `Refusals`. Their calls are announced before the interpreter ends, while logs can still be written."""
    living: weakref.WeakSet[Refusals] = weakref.WeakSet()

    def tell_all() -> None:
        global _ending
        _ending = True
        for refusals in list(living):
            refusals.tell()
        _tell_of_forgotten()  # even if there are no others

    atexit.register(tell_all)
    return living
