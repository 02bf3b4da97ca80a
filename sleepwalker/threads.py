"""Starts the threads of the package."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable


class NoThread(RuntimeError):
    """No thread can be started: there are too many, or the interpreter ends."""


def start(run: Callable[[], None], name: str) -> None:
    """Start a daemon thread. `NoThread` where none can be started.

    `Thread.start` waits until the new thread says that it runs, on an Event that both share. If an exception from a
    signal handler strikes there, the new thread hangs before it has begun. So it is called where no signal is handled:
    in a first thread, which starts in one step of the interpreter's, or in the caller's own if it is not the main one.
    """
    if threading.get_ident() != threading.main_thread().ident:
        try:
            threading.Thread(target=run, daemon=True, name=name).start()
        except RuntimeError as error:
            raise NoThread(str(error)) from None
        return
    try:
        _thread.start_new_thread(_start, (run, name))
    except RuntimeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # what a signal handler raised, whose frame is there
        raise NoThread(str(error)) from None


def _start(run: Callable[[], None], name: str) -> None:
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=run, daemon=True, name=name).start()
        return
    run()  # no other thread is left, or the interpreter ends; this one has no name, but it is there
