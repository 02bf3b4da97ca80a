"""An event that stays usable when an exception from a signal handler strikes a thread that waits on it."""

from __future__ import annotations

import contextlib
import threading

from sleepwalker.clock import SYSTEM_CLOCK

_now = SYSTEM_CLOCK.monotonic
#: A waiter looks up this often, in seconds: the thread that sets a latch may be struck before it has woken everyone.
_SLICE = 0.5


class Latch:
    """What `threading.Event` is to threads that nothing interrupts; it is set once and stays set.

    A `threading.Event` has one lock that Python code enters and leaves. Ctrl-C, or any signal handler that raises, may
    come between the two, and every later wait on that event hangs. Here each waiter has a lock of its own, which dies
    with it, and what all share changes by single operations of the interpreter.
    """

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = False
        self._waiters: set[threading.Lock] = set()

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._set

    def set(self) -> None:
        """Wake all waiters, present and later ones. May be called from a signal handler."""
        self._set = True
        for waiter in tuple(self._waiters):
            # Woken twice, it is free already: two threads may set the latch at the same time.
            with contextlib.suppress(RuntimeError, ValueError):
                waiter.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for `timeout` seconds at most; whether it is set."""
        if self._set or (timeout is not None and timeout <= 0):
            return self._set
        end = None if timeout is None else _now() + timeout
        own = threading.Lock()
        own.acquire()
        try:
            self._waiters.add(own)
            self._wait(own, end)
        finally:
            self._waiters.discard(own)
        return self._set

    def _wait(self, own: threading.Lock, end: float | None) -> None:
        # Not within the `try` of `wait`: since Python 3.12 a loop's jump back may stand outside of the `try` around it,
        # and a signal handler may raise there.
        while not self._set:  # looked at once the lock is known to `set`
            left = _SLICE if end is None else min(_SLICE, end - _now())
            if left <= 0:
                return
            own.acquire(timeout=left)
