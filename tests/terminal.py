"""What a program has written to a terminal of its own, as the person before it reads it."""

from __future__ import annotations

import contextlib
import os
import select
import time


class Screen:
    """The other end of a child's terminal, as `pty.fork` gives it."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.seen = b""

    def until(self, text: bytes) -> None:
        """Read on until that is there. OSError where the program ends before."""
        end = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in {self.seen!r}"
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.seen += os.read(self._terminal, 65536)

    def to_the_end(self) -> None:
        """Read all that is still to come."""
        with contextlib.suppress(OSError):  # at the end, on Linux
            while part := os.read(self._terminal, 65536):
                self.seen += part
