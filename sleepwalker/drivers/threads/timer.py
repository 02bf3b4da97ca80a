"""Runs functions later, in one thread for the whole process. The thread starts on first use."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.drivers.threads import workers
from sleepwalker.fork import renew_after_fork

_now = SYSTEM_CLOCK.monotonic
#: With this many entries, cancelled ones are removed.
_COMPACT_AT = 256


class Entry:
    """A function to run later. `cancel` may be called at any time, even too late."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    @property
    def cancelled(self) -> bool:
        """Whether it ran or was cancelled."""
        return self._act is None

    def cancel(self) -> None:
        """Do not run it, and release its function now: the timer may keep the entry until its time."""
        self._act = None

    def run(self) -> None:
        """Run it, unless it was cancelled."""
        act, self._act = self._act, None
        if act is not None:
            act()


class Timer:
    """Its functions must be quick, because they share one thread, and must not raise.

    A signal handler may raise in a caller of `after`, at any moment. So callers take no lock and make each change in
    one step of the interpreter: they add the entry and, if it is due before the thread's next check, wake the thread.
    Only the thread keeps the order, and no signal reaches it.
    """

    def __init__(self) -> None:
        self._new: deque[tuple[float, int, Entry]] = deque()
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Entry]] = []
        self._compact_at = _COMPACT_AT
        self._looks_at = -math.inf
        """When the thread next checks what is due, unless it is woken. Until it has set this, it need not be woken."""
        self._asleep = threading.Lock()
        """Released to wake the thread, which takes it again. Held otherwise."""
        self._asleep.acquire()
        self._running = threading.Lock()
        """Held by the one thread that runs."""

    def after(self, seconds: float, act: Callable[[], None]) -> Entry:
        """Run `act` after `seconds`. RuntimeError if no thread can be started."""
        entry = Entry(act)
        due = _now() + seconds
        self._new.append((due, next(self._order), entry))
        if not self._running.locked():
            workers.start(self._run, "sleepwalker timer")
        elif due < self._looks_at or len(self._new) > _COMPACT_AT:
            with contextlib.suppress(RuntimeError):  # it is awake
                self._asleep.release()
        return entry

    def _run(self) -> None:
        if not self._running.acquire(blocking=False):  # callers may start more than one, before the first has begun
            return
        while True:
            entry = self._next()
            entry.run()
            del entry  # or it would be held until the next one is due

    def _next(self) -> Entry:
        """Wait for the next entry."""
        while True:
            self._take_new()
            while self._heap and self._heap[0][2].cancelled:
                heapq.heappop(self._heap)
            due = self._heap[0][0] if self._heap else math.inf
            if (left := due - _now()) <= 0:
                return heapq.heappop(self._heap)[2]
            self._looks_at = due
            if not self._new:  # else an entry came before its caller could see `_looks_at`
                self._asleep.acquire(timeout=min(left, threading.TIMEOUT_MAX))

    def _take_new(self) -> None:
        for _ in range(len(self._new)):  # no further: callers may add entries faster than they are taken
            if not (item := self._new.popleft())[2].cancelled:
                heapq.heappush(self._heap, item)
        if len(self._heap) >= self._compact_at:
            self._heap = [item for item in self._heap if not item[2].cancelled]
            heapq.heapify(self._heap)
            self._compact_at = max(_COMPACT_AT, 2 * len(self._heap))


_timer = Timer()


def after(seconds: float, act: Callable[[], None]) -> Entry:
    """Run `act` after `seconds`, on the process's timer. RuntimeError if no thread can be started."""
    return _timer.after(seconds, act)


def _renew_after_fork() -> None:
    # The thread is the parent's, and so are the entries.
    global _timer
    _timer = Timer()


renew_after_fork("timers", _renew_after_fork)
