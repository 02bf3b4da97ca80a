"""The lock of one host's record, and the drivers to notify after its release."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sleepwalker.engine.host.holdings import Waiter


class HostLock:
    """All shared state of one host changes under `mutex`, which is held for microseconds.

    A signal handler may interrupt a thread that holds it, and close a connection or ask for its health: so the same
    thread may take it again. Drivers are notified without it. A woken waiter is noted here until its driver was
    notified: by the thread that woke it or, if an exception of a signal handler came between, by the next user of the
    host.
    """

    __slots__ = ("mutex", "woken")

    def __init__(self) -> None:
        self.mutex: threading.RLock = threading.RLock()
        self.woken: tuple[Waiter, ...] = ()
        """The woken waiters whose drivers may not have been notified yet."""

    def wake_locked(self, waiters: Iterable[Waiter]) -> None:
        """Wake the waiters that are not yet awake. They are noted first, because a woken one must be notified."""
        sleeping = tuple([waiter for waiter in waiters if not waiter.woken])
        self.woken += sleeping
        for waiter in sleeping:
            waiter.woken = True

    def notify(self) -> None:
        """Notify the drivers. Not under the lock, because a driver's own code runs.

        They are forgotten when all have been notified: if a signal handler interrupts this, the next caller notifies
        them. If another thread has added some meanwhile, all are notified again, which is harmless.
        """
        while waiters := self.woken:
            for waiter in waiters:
                if (notify := waiter.notify) is not None:
                    notify()
            with self.mutex:
                if self.woken is waiters:
                    self.woken = ()

    def renew_after_fork(self) -> None:
        """Replace the lock and the waiters: threads that exist only in the parent may hold them."""
        self.mutex = threading.RLock()
        self.woken = ()
