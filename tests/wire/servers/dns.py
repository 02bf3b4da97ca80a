"""Name look-ups that hang or dawdle."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SlowName:
    """What became of the look-ups of one name."""

    asked: int = 0
    """Look-ups begun."""
    waiting: int = 0
    """Look-ups that hang now."""
    _changed: threading.Condition = field(default_factory=threading.Condition)


@contextlib.contextmanager
def slow_dns(name: str, delay: float | None = None, address: str = "127.0.0.1") -> Iterator[SlowName]:
    """Let `socket.getaddrinfo` hang for one name: for ever, or `delay` seconds and then find `address`.

    At exit all look-ups that hang are released (they fail as "try again") and waited for, so that no
    thread is left in one.
    """
    real = socket.getaddrinfo
    state = SlowName()
    released = threading.Event()

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if not isinstance(asked, str) or asked.rstrip(".").lower() != name.lower():
            return real(host, *args, **kwargs)
        with state._changed:
            state.asked += 1
            state.waiting += 1
        try:
            if released.wait(delay):
                raise socket.gaierror(socket.EAI_AGAIN, "the look-up was released by the end of the test")
        finally:
            with state._changed:
                state.waiting -= 1
                state._changed.notify_all()
        return real(address, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo
    try:
        yield state
    finally:
        socket.getaddrinfo = real
        released.set()
        with state._changed:
            if not state._changed.wait_for(lambda: state.waiting == 0, 2):
                raise AssertionError(f"{state.waiting} look-ups of {name} did not end")
