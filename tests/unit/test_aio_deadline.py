"""One timer of a loop serves the deadlines of many attempts, and each is told in time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from sleepwalker.transport.aio.deadline import AttemptDeadline, _Timers


class Handle:
    def __init__(self, at: float, call: Any) -> None:
        self.at, self.call = at, call

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Its time goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Any) -> Handle:
        self.handles.append(Handle(at, call))
        return self.handles[-1]

    def run_until(self, now: float) -> None:
        while True:
            waiting = [handle for handle in self.handles if handle.call is not None]
            first = min(waiting, key=Handle.when, default=None)
            if first is None or first.at > now:
                self.now = now
                return
            self.now = first.at
            self.handles.remove(first)
            first.call()


class Attempt:
    def __init__(self, loop: Loop) -> None:
        self.over = False
        self.told: list[float] = []
        self._loop = loop

    def due(self) -> None:
        if not self.over:
            self.told.append(self._loop.now)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def timers(loop: Loop) -> _Timers:
    return _Timers(cast(asyncio.AbstractEventLoop, loop))


def added(timers: _Timers, loop: Loop, at: float) -> Attempt:
    attempt = Attempt(loop)
    assert timers.add(at, cast(AttemptDeadline, attempt))
    return attempt


def test_a_short_deadline_after_a_long_one_that_is_over_is_told_in_time(timers: _Timers, loop: Loop) -> None:
    """The timer was still set for the long one: a call with `total=0.2` took ten seconds."""
    added(timers, loop, 10.0).over = True
    short = added(timers, loop, 0.2)
    loop.run_until(20.0)
    assert short.told == [0.2]


def test_deadlines_in_order_share_one_timer(timers: _Timers, loop: Loop) -> None:
    attempts = [added(timers, loop, at) for at in (1.0, 2.0, 3.0)]
    assert len(loop.handles) == 1
    attempts[1].over = True
    loop.run_until(5.0)
    assert [attempt.told for attempt in attempts] == [[1.0], [], [3.0]]
    assert loop.handles == []


def test_one_that_comes_before_another_that_is_not_over_is_not_taken(timers: _Timers, loop: Loop) -> None:
    added(timers, loop, 10.0)
    assert not timers.add(5.0, cast(AttemptDeadline, Attempt(loop)))


def test_none_is_told_later_than_its_time_in_any_order_of_ends(timers: _Timers, loop: Loop) -> None:
    waiting = []
    for number in range(1000):
        loop.run_until(number * 0.01)
        attempt, at = Attempt(loop), loop.now + (0.05, 0.3, 10.0)[number * 7 % 3]
        if timers.add(at, cast(AttemptDeadline, attempt)):
            waiting.append((at, attempt))
        if number % 3:
            waiting[-1 - number % 2][1].over = True
    loop.run_until(100.0)
    late = [(at, attempt.told) for at, attempt in waiting if not attempt.over and attempt.told[:1] != [at]]
    assert sum(not attempt.over for _, attempt in waiting) > 20
    assert late == []
