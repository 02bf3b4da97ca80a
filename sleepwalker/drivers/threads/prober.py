"""Probes broken hosts in the background, so that they recover without a user's call."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial

from sleepwalker.drivers.threads import workers
from sleepwalker.latch import Latch

#: Seconds that a probe may take: longer ones would delay the others.
LONGEST = 2.0
_NAME = "sleepwalker probe"


class Prober:
    """One daemon thread. It starts when there is something to probe, and ends with its owner or on `stop`."""

    def __init__(self, probe_all: Callable[[float], float], interval: float) -> None:
        """`probe_all` gets the seconds waited, `interval` the first time, and returns the seconds to wait next."""
        self._probe_all = weakref.WeakMethod(probe_all)
        self._interval = interval
        self._stopped = Latch()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._running = threading.Lock()
        """Held by the one thread that runs."""

    def start(self) -> None:
        """Start the thread if it is not running. Called repeatedly, because it does not survive a fork."""
        if self._process != os.getpid():
            self._begin()
        if not self._running.locked():
            workers.start(partial(_run, self._probe_all, self._interval, self._stopped, self._running), _NAME)

    def stop(self) -> None:
        """End the thread. If it waits for a response, it ends after that."""
        self._stopped.set()


def _run(
    probe_all: weakref.WeakMethod[Callable[[float], float]], interval: float, stopped: Latch, running: threading.Lock
) -> None:
    if not running.acquire(blocking=False):  # `start` may have been asked again before the first thread had begun
        return
    try:
        while not stopped.wait(interval):
            call = probe_all()
            if call is None:
                return
            interval = call(interval)
            del call
    finally:
        running.release()
