"""Reports the progress of a download to a caller, a few times a second at most."""

from __future__ import annotations

import math
from collections.abc import Callable

from sleepwalker.clock import Clock
from sleepwalker.functions import runs_later

#: Gets the bytes that are stored, and the size of the file; None if that is not known.
OnProgress = Callable[[int, int | None], object]
#: Seconds between two calls.
_EVERY = 0.1


class Progress:
    """Calls a caller's function at most ten times a second, and at the end."""

    __slots__ = ("_act", "_clock", "_last")

    def __init__(self, act: OnProgress | None, clock: Clock) -> None:
        self._act = act
        self._clock = clock
        self._last = -math.inf

    def reached(self, done: int, total: int | None) -> None:
        """`done` bytes are stored."""
        if self._act is None:
            return
        now = self._clock.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            self._act(done, total)

    def ended(self, done: int) -> None:
        """All bytes are stored."""
        if self._act is not None:
            self._act(done, done)


def checked(act: object) -> OnProgress | None:
    """The function. TypeError if it is not callable, or is a coroutine or generator function, which would never run."""
    if act is None:
        return None
    if not callable(act):
        raise TypeError(f"progress must be a function of (done, total), not {type(act).__name__}")
    if runs_later(act):
        raise TypeError("progress must be a plain function, not a coroutine or generator, which would never run")
    return act
