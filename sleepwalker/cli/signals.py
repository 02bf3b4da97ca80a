"""Lets a command clean up before a signal ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import NoReturn

#: The signals by which a service manager, `timeout` or a closed terminal ends a program. Ctrl-C raises already.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def as_exits() -> Iterator[None]:
    """A context in which these signals raise `SystemExit` with the shell's code for them. `nohup` still works."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def leave(number: int, _: object) -> NoReturn:
        for one in _ENDING:  # `timeout` sends its signal twice, and the second must not interrupt the clean-up
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
