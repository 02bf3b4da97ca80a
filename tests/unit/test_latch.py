"""`Latch`: a wait that ends when it is set, and that a struck thread leaves no trace of."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sleepwalker.latch import Latch


def test_a_latch_that_is_set_makes_no_thread_wait() -> None:
    latch = Latch()
    assert not latch.is_set()
    latch.set()
    latch.set()
    assert latch.is_set()
    assert latch.wait()
    assert latch.wait(0)


def test_a_wait_without_time_says_how_things_are() -> None:
    assert not Latch().wait(0)
    assert not Latch().wait(-1)
    assert not Latch().wait(0.001)


def test_all_who_wait_are_woken() -> None:
    latch = Latch()
    with ThreadPoolExecutor(8) as threads:
        waits = [threads.submit(latch.wait, 60) for _ in range(8)]
        latch.set()
        assert [wait.result(30) for wait in waits] == [True] * 8
    assert not latch._waiters


def test_a_set_that_was_struck_before_it_woke_a_thread_is_seen_all_the_same() -> None:
    latch = Latch()
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(latch.wait, 60)
        latch._set = True  # and the loop that wakes them was never begun
        assert wait.result(30)


class _StruckError(Exception):
    pass


def test_a_waiter_that_a_signal_handler_strikes_leaves_the_latch_whole(request: pytest.FixtureRequest) -> None:
    def strike(*_: Any) -> None:
        raise _StruckError

    before = signal.signal(signal.SIGALRM, strike)
    request.addfinalizer(lambda: signal.signal(signal.SIGALRM, before))
    latch = Latch()
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(latch.wait, 60)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(_StruckError):
            latch.wait(60)
        latch.set()
        assert other.result(30)
    assert not latch._waiters
