"""A host that moved stops counting as broken once nothing leads to it any more; all others stay."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from sleepwalker import Connection, HostIsolatedError, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.telemetry.metrics import HostMetrics
from tests.unit.engine_driver import answer
from tests.unit.manager_driver import A, B, Bed, Hook, fail, well

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")

#: The longest that a broken host is kept which nothing leads to.
LONG = 30.0


def directory(bed: Bed) -> list[str]:
    """The hook connects every name to where this says that it is."""
    at = [A]
    bed.hook.act = lambda host, auth: bed.conn(at[0])
    return at


def moved(bed: Bed, name: str = "orders") -> Connection:
    """A service that was at A and is at B."""
    at = directory(bed)
    conn = bed.manager.find(name)
    bed.clock.advance(1)
    bed.answers(A)
    conn.usage.accepted = True
    bed.unreachable(A)
    at[0] = B
    found = bed.manager.find(name)
    assert isinstance(found, Connection)
    assert found.origin.text == B
    bed.answers(B)
    return found


def states(bed: Bed) -> dict[str, str]:
    return {origin: health.state for origin, health in bed.manager.health().items()}


def test_a_host_that_moved_is_dropped_in_time_without_a_call_of_find() -> None:
    bed = Bed()
    conn = moved(bed)
    assert states(bed) == {A: "broken", B: "healthy"}
    bed.clock.advance(LONG - 0.1)
    assert states(bed)[A] == "broken"
    bed.clock.advance(0.1)
    assert set(states(bed)) == {B}
    assert bed.manager.health(A).state == "unknown"
    assert bed.manager.find("orders") is conn


@pytest.mark.parametrize("ask", [lambda bed: bed.manager.health(A), lambda bed: bed.manager.find(A).health])
def test_a_host_whose_time_is_over_is_new_to_the_next_call(ask: Callable[[Bed], Any]) -> None:
    bed = Bed()
    moved(bed)
    bed.hook.act = lambda host, auth: bed.conn(host)
    bed.clock.advance(LONG)
    assert (ask(bed).state, ask(bed).attempts) == ("unknown", 0)


def test_the_time_is_rehook_max_where_that_is_less() -> None:
    bed = Bed(policy=Policy(health={"rehook_initial": 1, "rehook_max": 5}))
    moved(bed)
    bed.clock.advance(4.9)
    assert A in states(bed)
    bed.clock.advance(0.1)
    assert A not in states(bed)


def test_the_state_of_a_host_that_moved_is_exported_no_more_and_its_counts_are() -> None:
    bed = Bed()
    metrics = HostMetrics(100, None)

    def scrape() -> dict[str, set[str]]:
        families = metrics.read(bed.manager._records())
        return {family.name: {point.labels[0] for point in points} for family, points in families}

    moved(bed)
    for record in bed.manager.hosts.hosts():
        record.counters.calls += 1
    assert scrape()["sleepwalker_host_state"] == {A, B}
    bed.clock.advance(LONG)
    del record
    scrape()
    after = scrape()
    assert after["sleepwalker_host_state"] == after["sleepwalker_in_flight"] == {B}
    assert after["sleepwalker_attempts"] == {A, B}


def test_after_a_move_the_hooks_are_left_alone() -> None:
    """They were asked once a minute for ever, to go back to where the service no longer is."""
    bed = Bed()
    conn = moved(bed)
    asked = len(bed.hook.asked)
    for _ in range(500):
        bed.clock.advance(1)
        assert bed.manager.find("orders") is conn
    assert len(bed.hook.asked) == asked


def test_a_service_that_moves_again_and_again_leaves_one_place() -> None:
    bed = Bed()
    at = directory(bed)
    for number in range(10):
        at[0] = f"https://h{number}.test"
        bed.clock.advance(100)
        bed.manager.find("orders")
        bed.clock.advance(1)
        bed.answers(at[0])
        bed.unreachable(at[0])
    bed.clock.advance(LONG)
    assert set(states(bed)) == {at[0]}


def test_while_a_stand_in_serves_the_host_asked_for_stays_broken() -> None:
    bed = Bed()
    at = directory(bed)
    well(bed)
    bed.unreachable(A)
    at[0] = B
    assert bed.manager.find(A).origin.text == B
    for _ in range(50):
        bed.clock.advance(10)
        assert states(bed)[A] == "broken"
        assert bed.manager.find(A).origin.text == B


def preferring(bed: Bed) -> Hook:
    """Two hooks for one name, one after the other; returns the first."""
    first, second = Hook(lambda host, auth: bed.conn(A)), Hook(lambda host, auth: bed.conn(B))
    bed.manager.clear_hooks()
    bed.manager.add_conn_hook(first)
    bed.manager.add_conn_hook(second)
    return first


def test_a_name_whose_preferred_hook_failed_has_a_stand_in_and_goes_back() -> None:
    bed = Bed()
    first = preferring(bed)
    bed.manager.find("orders")
    bed.answers(A)
    bed.clock.advance(1)
    bed.unreachable(A)
    first.act = fail(OSError("down"))
    assert bed.manager.find("orders").origin.text == B
    bed.clock.advance(100)
    assert bed.manager.find("orders").origin.text == B
    assert states(bed)[A] == "broken", "its hook says so, too"
    bed.clock.advance(100)
    first.act = lambda host, auth: bed.conn(A)
    assert bed.manager.find("orders").origin.text == A


def test_a_stand_in_that_the_preferred_hook_names_in_the_end_is_where_the_service_is() -> None:
    bed = Bed()
    first = preferring(bed)
    bed.manager.find("orders")
    bed.answers(A)
    bed.clock.advance(1)
    bed.unreachable(A)
    first.act = fail(OSError("the directory is down"))
    conn = bed.manager.find("orders")
    bed.answers(B)
    first.act = lambda host, auth: bed.conn(B)
    bed.clock.advance(100)
    assert bed.manager.find("orders") is conn
    asked = len(first.asked)
    for _ in range(20):
        bed.clock.advance(10)
        assert bed.manager.find("orders") is conn
    assert len(first.asked) == asked
    assert A not in states(bed)


def test_an_open_circuit_is_not_forgotten_before_it_may_be_tried() -> None:
    """The next one who asked would start afresh, and hammer it."""
    bed = Bed(policy=Policy(breaker={"open_for": 100, "open_max": 100}))
    at = directory(bed)
    bed.manager.find("orders")
    bed.answers(A)
    bed.clock.advance(1)
    bed.settle(A, answer(500), 50)
    assert bed.manager.health(A).breaker == "open"
    at[0] = B
    bed.manager.find("orders")
    left = bed.manager.health(A).retry_in
    assert left is not None
    bed.clock.advance(left - 0.1)
    assert bed.manager.health(A).breaker == "open"
    bed.clock.advance(0.2)
    assert A not in states(bed)


def test_a_pair_that_waits_for_its_hooks_still_leads_to_its_host() -> None:
    bed = Bed()
    well(bed)
    bed.unreachable(A)
    bed.hook.act = fail(OSError("down"))
    for _ in range(10):
        with contextlib.suppress(OurConnectionError):
            bed.manager.find(A)
        bed.clock.advance(LONG)
        assert states(bed)[A] == "broken"


def test_a_host_that_was_isolated_stays_so_though_nothing_leads_to_it() -> None:
    bed = Bed()
    moved(bed)
    bed.manager.isolate(A)
    bed.clock.advance(1000)
    assert states(bed)[A] == "isolated"


def test_a_host_that_is_well_stays_though_nothing_leads_to_it() -> None:
    """What is known of it is worth keeping for the next one who asks, and sets no alert off."""
    bed = Bed()
    well(bed)
    bed.manager.evict(A)
    bed.clock.advance(1000)
    assert bed.manager.health()[A].attempts == 1


def test_forget_ends_all_that_is_known_of_a_host_at_once() -> None:
    bed = Bed()
    moved(bed)
    bed.manager.forget(A + "/")
    assert set(states(bed)) == {B}
    assert len(bed.manager) == 1


def test_forget_gives_up_the_connections_by_whatever_name_they_were_found() -> None:
    bed = Bed()
    directory(bed)
    named, conn, other = bed.manager.find("orders"), bed.manager.find(A), bed.conn(B)
    bed.manager.add(B, None, other)
    bed.unreachable(A)
    bed.manager.forget(A)
    assert named.retired
    assert conn.retired
    assert list(bed.manager) == [(B, other)]
    assert bed.manager.find(A) is not conn
    assert bed.manager.health(A).state == "unknown"


def test_forget_ends_the_back_off() -> None:
    bed = Bed()
    bed.hook.act = fail(OSError("down"))
    for _ in range(2):
        with pytest.raises(OurConnectionError):
            bed.manager.find(A)
    assert len(bed.hook.asked) == 1
    bed.manager.forget(A)
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    assert len(bed.hook.asked) == 2


def test_forget_of_a_name_forgets_the_hosts_that_it_alone_leads_to() -> None:
    bed = Bed()
    moved(bed)
    bed.manager.add(B, None, bed.conn(B))
    bed.manager.forget("Orders")
    assert B in states(bed)
    assert [host for host, _ in bed.manager] == [B]
    bed.manager.evict(B)
    assert bed.manager.find("orders").origin.text == B
    bed.manager.forget("orders")
    assert B not in states(bed)


def test_what_stands_in_for_a_host_that_is_forgotten_stays() -> None:
    bed = Bed()
    first = preferring(bed)
    bed.manager.find("orders")
    bed.answers(A)
    bed.clock.advance(1)
    bed.unreachable(A)
    first.act = fail(OSError("down"))
    conn = bed.manager.find("orders")
    bed.answers(B)
    bed.manager.forget(A)
    bed.clock.advance(100)
    assert bed.manager.find("orders") is conn
    assert set(states(bed)) == {B}
    assert len(first.asked) == 2, "there is nothing to go back to"


def test_an_isolated_host_that_is_forgotten_stays_isolated() -> None:
    bed = Bed()
    well(bed)
    bed.manager.isolate(A)
    bed.manager.forget(A)
    assert len(bed.manager) == 0
    with pytest.raises(HostIsolatedError):
        bed.manager.find(A)
    bed.manager.restore(A)
    assert bed.manager.find(A).origin.text == A


def test_forget_during_a_round_leaves_what_the_round_makes() -> None:
    bed = Bed()

    def act(host: Any, auth: Any) -> Connection:
        bed.manager.forget(A)
        return bed.conn(A)

    bed.hook.act = act
    conn = bed.manager.find(A)
    assert conn._record is bed.record(A)
    assert bed.manager.find(A) is conn
    assert len(bed.hook.asked) == 1


def test_a_round_that_a_forget_came_into_gives_what_was_found_since() -> None:
    """There is one connection for a pair, also for those who asked before."""
    bed = Bed()
    made = []

    def act(host: Any, auth: Any) -> Connection:
        made.append(bed.conn(A))
        if len(made) == 1:
            bed.manager.forget(A)
            bed.manager.find(A)
            return made[0]
        return made[-1]

    bed.hook.act = act
    conn = bed.manager.find(A)
    assert conn is made[1]
    assert bed.manager.find(A) is conn
    assert [other.retired for other in made] == [True, False]


def test_a_host_that_cannot_be_reached_either_is_not_forgotten_while_its_circuit_is_open() -> None:
    bed = Bed(policy=Policy(breaker={"open_for": 100, "open_max": 100}))
    well(bed)
    bed.unreachable(A)
    bed.trip(A)
    bed.manager.evict(A)
    bed.clock.advance(50)
    assert A in states(bed)
    bed.clock.advance(100)
    assert A not in states(bed)


def test_forget_of_what_is_not_known_does_nothing() -> None:
    bed = Bed()
    bed.manager.forget("unheard of")
    bed.manager.forget(B)
    assert len(bed.manager.health()) == 0
