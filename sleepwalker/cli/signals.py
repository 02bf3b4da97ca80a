"""Lets a command that has something to clean up do so before a signal ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import NoReturn

#: How a service manager, `timeout` and a terminal that is closed end a program. Ctrl-C is an exception as it is.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def as_exits() -> Iterator[None]:
    """Within, such a signal raises `SystemExit` with the code that a shell knows it by; `nohup` still holds."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def leave(number: int, _: object) -> NoReturn:
        for one in _ENDING:  # `timeout` sends its own to us twice, and the second must not end the cleaning up
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    taken = [one for one in _ENDING if signal.getsignal(one) is signal.SIG_DFL]
    for one in taken:
        signal.signal(one, leave)
    try:
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)
