"""Measured time, and what may be promised about it on a busy machine."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import pytest

P = ParamSpec("P")
R = TypeVar("R")

#: The library promises that an attempt ends within so many seconds after its deadline.
PROMISE = 0.05
#: A timer may end a hair before the monotonic clock agrees that it is time.
EARLY = 0.01
#: Seconds before each further try: what holds a machine up comes in bursts, and a try at once would meet the same one.
PAUSES = (0.0, 0.2, 0.5, 1.0, 3.0)


class TooLate(AssertionError):
    """It took longer than allowed, which a machine that was busy elsewhere can cause too."""


@dataclass
class Elapsed:
    """Seconds since the block began; they stop counting where it ends."""

    _start: float = field(default_factory=time.monotonic)
    _end: float | None = None

    @property
    def seconds(self) -> float:
        return (time.monotonic() if self._end is None else self._end) - self._start

    def assert_within(self, seconds: float, tolerance: float = PROMISE) -> None:
        """It took `seconds`, up to `tolerance` more, and (but for a hair) no less."""
        assert self.seconds >= seconds - EARLY, f"ended after {self.seconds:.3f} s, before the {seconds} s expected"
        self.assert_at_most(seconds + tolerance)

    def assert_at_most(self, seconds: float) -> None:
        """It was over by then."""
        if self.seconds > seconds:
            raise TooLate(f"took {self.seconds:.3f} s, {seconds:.3f} s allowed")


@contextlib.contextmanager
def elapsed() -> Iterator[Elapsed]:
    """`with elapsed() as t: …`, then `t.seconds` or `t.assert_within(1.0)`; also measured when the block raises."""
    measure = Elapsed()
    try:
        yield measure
    finally:
        measure._end = time.monotonic()


@contextlib.contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """What the block asserts is promised for so many seconds only: a failure after that is `TooLate`, not a fault."""
    began = time.monotonic()
    try:
        yield
    except TooLate:
        raise
    except (Exception, pytest.fail.Exception) as error:
        took = time.monotonic() - began
        if took <= seconds:
            raise
        raise TooLate(f"asked after {took:.3f} s, which holds for {seconds:.3f} s only: {error!r}") from error


def timing_test(test: Callable[P, R]) -> Callable[P, R]:
    """Give a test that measures up to six tries, with growing pauses.

    On two noisy cores the scheduler alone can hold a thread back for longer than the 50 ms that are promised,
    but it does not do so each time, whereas code that misses its deadline does. Only `TooLate` is
    tried again: ending too early, or any other fault, is never noise. The test makes its servers itself,
    since fixtures are not made anew for the second try.
    """

    @functools.wraps(test)
    def tried(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in PAUSES:
            with contextlib.suppress(TooLate):
                return test(*args, **kwargs)
            time.sleep(pause)
        return test(*args, **kwargs)

    return tried
