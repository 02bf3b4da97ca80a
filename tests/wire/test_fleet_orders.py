"""Orders of an operator that come together reach the other workers of a fleet, each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sleepwalker import ANONYMOUS, BreakerPolicy, ConnectError, Connection, ConnectionManager, Policy
from sleepwalker.events import BreakerClosed, Event, Level

#: Nobody answers there.
HOST = "http://127.0.0.1:9"
#: One failure opens the circuit, for longer than a test takes.
QUICK = Policy(breaker=BreakerPolicy(consecutive=1, consecutive_for=0, open_for=300, open_max=300), retry=None)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/orders.fleet"


@pytest.fixture
def events() -> list[Event]:
    """Of the worker `there`."""
    return []


@pytest.fixture
def here(url: str) -> Iterator[ConnectionManager[Connection]]:
    with ConnectionManager[Connection](fleet=url) as manager:
        yield manager


@pytest.fixture
def there(
    url: str, here: ConnectionManager[Connection], events: list[Event]
) -> Iterator[ConnectionManager[Connection]]:
    def observe(event: Event, level: Level) -> None:
        events.append(event)

    with ConnectionManager[Connection](fleet=url, policy=QUICK, observer=observe) as manager:
        manager.add(HOST, ANONYMOUS, Connection(HOST, ANONYMOUS))
        assert within(20, lambda: all(one.fleet is not None and one.fleet.workers == 2 for one in (here, manager)))
        yield manager


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_a_restore_and_a_reset_at_once_are_both_carried_out(
    here: ConnectionManager[Connection], there: ConnectionManager[Connection]
) -> None:
    """The reset, which came last, took the place of the restore: the host stayed isolated everywhere else."""
    here.isolate(HOST)
    assert within(20, lambda: there.health(HOST).state == "isolated")
    here.restore(HOST)
    here.reset_circuit(HOST)
    assert within(20, lambda: there.health(HOST).state != "isolated")


def test_an_isolation_and_a_reset_at_once_are_both_carried_out(
    here: ConnectionManager[Connection], there: ConnectionManager[Connection]
) -> None:
    here.isolate(HOST)
    here.reset_circuit(HOST)
    assert within(20, lambda: there.health(HOST).state == "isolated")


def test_a_circuit_that_another_worker_reset_says_so(
    here: ConnectionManager[Connection], there: ConnectionManager[Connection], events: list[Event]
) -> None:
    with pytest.raises(ConnectError):
        there.find(HOST, ANONYMOUS).get("/")
    here.reset_circuit(HOST)
    assert within(20, lambda: any(isinstance(event, BreakerClosed) for event in events))
    (closed,) = [event for event in events if isinstance(event, BreakerClosed)]
    assert (closed.by, closed.by_hand) == ("fleet", True)
