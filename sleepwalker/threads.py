"""Starts the threads of the package."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable


def start(run: Callable[[], None], name: str) -> None:
    """Start a daemon thread. RuntimeError where none can be started.

    `Thread.start` waits until the new thread says that it runs, on an Event that both share. If an exception from a
    signal handler strikes there, the new thread hangs before it has begun. So it is called where no signal is handled:
    in a first thread, which starts in one step of the interpreter's.
    """
    _thread.start_new_thread(_start, (run, name))


def _start(run: Callable[[], None], name: str) -> None:
    with contextlib.suppress(RuntimeError):  # no thread left, or the interpreter ends
        threading.Thread(target=run, daemon=True, name=name).start()
