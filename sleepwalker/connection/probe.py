"""Asks broken hosts in the background whether they are back, so that they recover without a user's call."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

#: A probe that took longer would keep the ones behind it waiting, in seconds.
LONGEST = 2.0


class Prober:
    """One daemon thread, started when there is something to probe for, that ends with its owner or on `stop`."""

    def __init__(self, probe_all: Callable[[], None], interval: float) -> None:
        self._probe_all = weakref.WeakMethod(probe_all)
        self._interval = interval
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Have the thread run. It does not outlive a fork, so this is asked for again and again."""
        if self._thread is None or not self._thread.is_alive():
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=_run,
                args=(self._probe_all, self._interval, self._stopped),
                daemon=True,
                name="sleepwalker probe",
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread; one that is waiting for an answer ends once it has it."""
        self._stopped.set()


def _run(probe_all: weakref.WeakMethod[Callable[[], None]], interval: float, stopped: threading.Event) -> None:
    while not stopped.wait(interval):
        call = probe_all()
        if call is None:
            return
        call()
        del call
