"""Runs things later: one thread for the whole process, which starts with the first of them."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.fork import renew_after_fork

_now = SYSTEM_CLOCK.monotonic
#: So many entries are kept before those that were cancelled are looked for.
_ROOM = 256


class Entry:
    """Something to run. `cancel` may come at any time, also too late."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    @property
    def cancelled(self) -> bool:
        """Whether there is nothing to run."""
        return self._act is None

    def cancel(self) -> None:
        """Do not run it, and let go of it now: the timer may hold the entry until it would have been due."""
        self._act = None

    def run(self) -> None:
        """Run it, unless it was cancelled."""
        act, self._act = self._act, None
        if act is not None:
            act()


class Timer:
    """What it runs must be quick, for all wait for each other, and must not raise."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._room = _ROOM
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, act: Callable[[], None]) -> Entry:
        """Run `act` that much later. RuntimeError where no thread can be started."""
        entry = Entry(act)
        due = _now() + seconds
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, daemon=True, name="sleepwalker timer")
                thread.start()
                self._thread = thread
            if len(self._heap) >= self._room:
                self._heap = [item for item in self._heap if not item[2].cancelled]
                heapq.heapify(self._heap)
                self._room = max(_ROOM, 2 * len(self._heap))
            heapq.heappush(self._heap, (due, next(self._order), entry))
            if self._heap[0][2] is entry:
                self._changed.notify()
        return entry

    def _run(self) -> None:
        while True:
            entry = self._next()
            entry.run()
            del entry  # or it would be held until the next one is due

    def _next(self) -> Entry:
        """Wait for what is due."""
        with self._changed:
            while True:
                while self._heap and self._heap[0][2].cancelled:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._changed.wait()
                elif (left := self._heap[0][0] - _now()) > 0:
                    self._changed.wait(left)
                else:
                    return heapq.heappop(self._heap)[2]


_timer = Timer()


def after(seconds: float, act: Callable[[], None]) -> Entry:
    """Run `act` that much later, on the process's timer. RuntimeError where no thread can be started."""
    return _timer.after(seconds, act)


def _renew_after_fork() -> None:
    # The thread is the parent's, and so is what is due.
    global _timer
    _timer = Timer()


renew_after_fork("timers", _renew_after_fork)
