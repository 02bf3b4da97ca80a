"""Threads that have nothing to do take the next work: it is done once, and waits for no other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sleepwalker.drivers.threads import workers
from tests.unit.manager_driver import count_threads, until

NAME = "sleepwalker test"


@pytest.fixture(autouse=True)
def none_parked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of other tests are left alone."""
    monkeypatch.setattr(workers, "_parked", [])
    yield
    until(lambda: count_threads(NAME) == 0)


def lend(run: Callable[[], Any]) -> threading.Event:
    done = threading.Event()

    def work() -> None:
        run()
        done.set()

    workers.lend(work, NAME)
    return done


def test_work_is_never_given_to_a_thread_that_is_at_work() -> None:
    go = threading.Event()
    hanging = [lend(go.wait) for _ in range(3)]
    assert lend(lambda: None).wait(5)
    go.set()
    assert all(done.wait(5) for done in hanging)


def test_a_thread_without_work_takes_the_next_and_ends_if_none_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work: list[int] = []
    monkeypatch.setattr(workers, "_PARKED_FOR", 60)
    assert lend(lambda: at_work.append(threading.get_ident())).wait(5)
    until(lambda: len(workers._parked) == 1)

    def last() -> None:
        at_work.append(threading.get_ident())
        monkeypatch.setattr(workers, "_PARKED_FOR", 0.001)

    assert lend(last).wait(5)
    assert at_work[0] == at_work[1]
    until(lambda: count_threads(NAME) == 0)
    assert len(workers._parked) == 0


def test_work_that_a_thread_is_given_as_it_ends_is_done_by_another() -> None:
    gone = workers._Parked()
    gone.gone = True  # it has looked for the last time
    workers._parked.append(gone)
    assert lend(lambda: None).wait(5)


def test_work_is_done_once_where_the_thread_that_was_chosen_was_slow_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks once more after it said that it is gone, and so may find what was meant for another."""
    counts: list[int] = []
    slow = workers._Parked()
    slow.gone = True
    workers._parked.append(slow)

    def start(run: Callable[[], None], name: str) -> None:
        workers._serve(slow.handed.get_nowait())
        run()

    monkeypatch.setattr(workers, "start", start)
    workers.lend(lambda: counts.append(1), NAME)
    assert counts == [1]


def test_where_no_thread_can_be_started_the_work_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(run: Callable[[], None], name: str) -> None:
        raise workers.NoThread("can't start new thread")

    monkeypatch.setattr(workers, "start", start)
    gone = workers._Parked()
    gone.gone = True
    for parked in ([], [gone]):
        workers._parked[:] = parked
        with pytest.raises(workers.NoThread):
            workers.lend(lambda: None, NAME)
    assert gone.handed.get_nowait() == [], "a worker that finds it later does nothing"
