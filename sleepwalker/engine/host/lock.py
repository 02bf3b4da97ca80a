"""The lock of one host's record, and the drivers that are to be notified once it is released."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sleepwalker.engine.host.holdings import Waiter


class HostLock:
    """All that is shared for one host is changed under `mutex`, which is held for microseconds.

    A thread that holds it may be interrupted by a signal handler that closes a connection, or asks for its health: so
    the same thread may take it once more. Drivers are notified without it. A waiter that was woken is put down here
    until its driver was notified: by the thread that woke it or, where an exception from a signal handler came between,
    by the next one that uses the host.
    """

    __slots__ = ("mutex", "woken")

    def __init__(self) -> None:
        self.mutex: threading.RLock = threading.RLock()
        self.woken: tuple[Waiter, ...] = ()
        """Those whose drivers may not know it yet."""

    def wake_locked(self, waiters: Iterable[Waiter]) -> None:
        """Wake the waiters that are not woken. They are noted first, since a woken one must be notified."""
        sleeping = tuple([waiter for waiter in waiters if not waiter.woken])
        self.woken += sleeping
        for waiter in sleeping:
            waiter.woken = True

    def notify(self) -> None:
        """Notify the drivers. Not under the lock, since a driver's own code runs.

        They are forgotten once all have been notified: if a signal handler interrupts that, the next caller notifies
        them. If another thread has added some meanwhile, all are notified once more, which does no harm.
        """
        while waiters := self.woken:
            for waiter in waiters:
                if (notify := waiter.notify) is not None:
                    notify()
            with self.mutex:
                if self.woken is waiters:
                    self.woken = ()

    def renew_after_fork(self) -> None:
        """It may be held, and its waiters be waited for, by threads that only the parent has."""
        self.mutex = threading.RLock()
        self.woken = ()
