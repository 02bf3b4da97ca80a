"""The waits of a connection's calls, which all end when it closes."""

from __future__ import annotations

from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.engine import Waiter
from sleepwalker.latch import Latch


class Waits:
    """Thread-safe. After `end` every wait ends at once."""

    __slots__ = ("_clock", "_closing", "_queueing")

    def __init__(self, clock: BlockingClock) -> None:
        self._clock = clock
        self._closing = Latch()
        self._queueing: set[Latch] = set()

    @property
    def over(self) -> bool:
        """Whether `end` was called."""
        return self._closing.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait for `seconds`; True if the connection had been closed."""
        return self._clock.sleep(seconds, self._closing)

    def queue(self, waiter: Waiter, seconds: float) -> bool:
        """Wait until the waiter is woken, at most `seconds`; True if the connection had been closed."""
        latch = Latch()
        try:
            waiter.notify = latch.set
            self._queueing.add(latch)
            # Checked after the latch is published: a change is seen here, or sets the latch.
            if self._closing.is_set():
                return True
            if waiter.woken:
                return False
            cut_short = self._clock.sleep(seconds, latch) and not latch.is_set()  # by the end of the interpreter
            return self._closing.is_set() or cut_short
        finally:
            self._queueing.discard(latch)
            waiter.notify = None

    def end(self) -> None:
        """End all waits, present and future."""
        self._closing.set()
        for latch in list(self._queueing):
            latch.set()
