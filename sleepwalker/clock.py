"""The only reader of time and chance in the package. It does not wait: that is for drivers."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Where durations, dates and random numbers come from.

    Everything that decides takes a clock as a value, so a test can hand it one that it moves itself.
    """

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC: to stamp events and to read HTTP dates, never to measure."""
        ...

    def random(self) -> float:
        """A number from [0, 1)."""
        ...


class SystemClock:
    """The machine's own clock and dice."""

    monotonic: staticmethod[[], float] = staticmethod(time.monotonic)
    wall: staticmethod[[], float] = staticmethod(time.time)
    random: staticmethod[[], float] = staticmethod(_random.random)


SYSTEM_CLOCK = SystemClock()


def give_way() -> None:
    """Let threads run that wait for this one, such as that of an event loop. Work of many small steps calls it between
    them, for without it another thread gets a turn every 5 ms (`sys.getswitchinterval`)."""
    time.sleep(0)


def each_in_turn(many: Iterable[T]) -> Iterator[T]:
    """All of them, with a turn for other threads before each."""
    for one in many:
        give_way()
        yield one
