"""The clock of threads: the only place where the package sleeps."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from sleepwalker.clock import Clock, SystemClock

#: Seconds. Longer waits than this end when the interpreter exits.
_LONGEST_AT_EXIT = 1.0
#: Seconds between the checks of a wait whether the interpreter exits.
_SLICE = 0.25


class Wake(Protocol):
    """Ends a wait when it is set: a `Latch` if it outlives the call that waits."""

    def is_set(self) -> bool:
        """Whether it was set."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; returns whether it is set."""
        ...


class BlockingClock(Clock, Protocol):
    """A clock that can also sleep. A test's own clock advances instead."""

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        """Wait for `seconds`; True if `wake` was set (or the interpreter is ending) before they were over."""
        ...


class BlockingSystemClock(SystemClock):
    """The system's clock and random numbers, with real waits."""

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        """Wait in short slices, so that a long wait does not delay the interpreter's exit.

        The exit has begun once the main thread has ended. While that waits for the threads of executors, only a private
        flag of `threading` shows it. Worker threads may run long after the main thread, so short waits are still made.
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


def interpreter_ends() -> bool:
    """Whether the interpreter is exiting.

    The main thread does not ask whether it is alive itself: up to Python 3.12, a signal handler that raises inside
    `is_alive` makes it count as dead from then on.
    """
    main = threading.main_thread()
    if threading.get_ident() == main.ident:
        over = getattr(main, "_is_stopped", False)
    else:
        over = not main.is_alive()
    return over or getattr(threading, "_SHUTTING_DOWN", False)


BLOCKING_CLOCK = BlockingSystemClock()
