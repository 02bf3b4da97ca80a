"""The only reader of time and chance in the package."""

from __future__ import annotations

import random as _random
import threading
import time
from typing import Protocol

#: Once the interpreter is on its way out, longer waits than this are cut short, in seconds.
_LONGEST_AT_EXIT = 1.0
#: A wait looks up this often whether the interpreter is on its way out, in seconds.
_SLICE = 0.25


class Wake(Protocol):
    """What cuts a wait short once it is set: a `Latch`, for one that outlives the call that waits on it."""

    def is_set(self) -> bool:
        """Whether it was set."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for `timeout` seconds at most; whether it is set."""
        ...


class Clock(Protocol):
    """Where durations, dates, waits and random numbers come from.

    Everything that decides takes a clock as a value, so a test can hand it one that it moves itself.
    """

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC: to stamp events and to read HTTP dates, never to measure."""
        ...

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        """Wait for `seconds`; True if `wake` was set (or the interpreter is ending) before they were over."""
        ...

    def random(self) -> float:
        """A number from [0, 1)."""
        ...


def interpreter_ends() -> bool:
    """Whether the interpreter is on its way out.

    The main thread does not ask itself whether it is alive: up to Python 3.12, a signal handler that raises within
    `is_alive` has it count as dead from then on.
    """
    main = threading.main_thread()
    if threading.get_ident() == main.ident:
        over = getattr(main, "_is_stopped", False)
    else:
        over = not main.is_alive()
    return over or getattr(threading, "_SHUTTING_DOWN", False)


class SystemClock:
    """The machine's own clock and dice."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    random = staticmethod(_random.random)

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        """Wait in short slices: a thread that waits long to retry must not hold back the interpreter's exit.

        That has begun once the main thread is over; while it waits for the threads of executors first, only a
        private flag of `threading` tells. Worker threads may go on for long after the main thread, so short waits
        are still made.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if wake is None:
                time.sleep(min(left, _SLICE))
            elif wake.wait(min(left, _SLICE)):
                return True
            if left > _LONGEST_AT_EXIT and interpreter_ends():
                return True
        return wake is not None and wake.is_set()


SYSTEM_CLOCK = SystemClock()
