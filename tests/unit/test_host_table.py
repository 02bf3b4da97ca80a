"""Managers that share a `HostTable` share what is known of hosts, and nothing else."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, HostIsolatedError, Policy, PolicyError
from sleepwalker.connection import defaults
from sleepwalker.hosts import HostTable
from tests.unit.engine_driver import PLAIN_BREAKER, FakeClock, answer, refused
from tests.unit.manager_driver import PLAIN, A, B, Bed, Thing, in_thread, well


class Shared:
    """Two managers with one table."""

    def __init__(self, **options: Any) -> None:
        clock = FakeClock()
        self.hosts = HostTable(**{"policy": PLAIN, "clock": clock, **options})
        self.one = Bed(hosts=self.hosts, clock=clock)
        self.other = Bed(hosts=self.hosts, clock=clock)
        self.clock = clock


def test_a_circuit_that_opens_for_one_manager_is_open_for_the_other() -> None:
    shared = Shared()
    mine, theirs = well(shared.one), well(shared.other)
    assert mine is not theirs
    shared.one.trip(A)
    assert shared.other.manager.health(A).breaker == shared.hosts.health(A).breaker == "open"
    assert theirs.health.state == "broken"


def test_a_signal_handler_that_asks_a_manager_while_its_thread_holds_the_tables_lock_waits_for_no_thread() -> None:
    """Each had a lock of its own: the handler waited for a thread that waited for what the handler's thread held."""
    bed = Bed()

    def interrupted() -> Any:
        with bed.manager.hosts.lock:
            other = in_thread(lambda: bed.manager.find(B))
            threading.Event().wait(0.05)  # until it wants a lock
            bed.manager.find(A)
        return other()

    assert in_thread(interrupted)()
    assert len(bed.manager) == 2


def test_a_change_that_a_signal_handler_asks_for_in_the_middle_of_one_of_the_table_is_made_at_once() -> None:
    """Put off until the manager is at work again, it would wait for the next caller who does not find at once."""
    bed = Bed()
    well(bed)
    with bed.manager.hosts.lock:
        assert bed.manager.evict(A) == 1
        assert len(bed.manager) == 0


def test_a_name_that_one_isolates_stays_isolated_for_the_other_when_where_it_leads_is_restored() -> None:
    """The other went on finding it by its shortcut."""
    shared = Shared()
    for bed in (shared.one, shared.other):
        bed.hook.act = lambda host, auth, bed=bed: bed.conn(B)
        assert bed.manager.find("orders") is bed.manager.find("orders")
    shared.one.manager.isolate("orders")
    shared.one.manager.restore(B)
    for bed in (shared.one, shared.other):
        with pytest.raises(HostIsolatedError):
            bed.manager.find("orders")


def test_of_two_reloads_at_a_time_each_keeps_what_the_other_changed() -> None:
    """One worked out what follows from both before the other was done, and took that back."""
    bed = Bed()

    class Meanwhile(dict[str, str]):
        def items(self) -> Any:
            bed.manager.reload("careful")
            return super().items()

    bed.manager.reload(policies=Meanwhile({A: "batch"}))
    assert bed.manager.hosts.policy == Policy.load("careful")
    assert bed.manager.hosts.policy_map.matched(A) == Policy.load("batch")


def test_the_health_of_a_host_counts_the_connections_of_both() -> None:
    shared = Shared()
    well(shared.one)
    well(shared.other)
    assert shared.hosts.health(A).connections == 2
    assert set(shared.hosts.health()) == set(shared.one.manager.health()) == {A}
    assert shared.one.manager.hosts is shared.other.manager.hosts is shared.hosts


def test_a_host_that_one_isolates_is_not_found_by_the_other_until_that_restores_it() -> None:
    shared = Shared()
    well(shared.other)
    shared.one.manager.isolate(A, reason="moves")
    with pytest.raises(HostIsolatedError, match="moves"):
        shared.other.manager.find(A)
    shared.other.manager.restore(A)
    assert shared.one.manager.find(A)


def test_a_name_that_one_isolates_takes_along_where_the_other_is_led_by_it() -> None:
    shared = Shared()
    shared.other.hook.act = lambda host, auth: shared.other.conn(B)
    shared.other.manager.find("orders")
    shared.one.manager.isolate("orders")
    with pytest.raises(HostIsolatedError):
        shared.one.manager.find(B)
    assert shared.hosts.health("orders").host == B


def test_an_isolation_ends_by_itself_for_both() -> None:
    shared = Shared()
    shared.one.manager.isolate(A, until=10)
    shared.clock.advance(10)
    assert shared.other.manager.find(A)
    assert shared.hosts.health(A).state != "isolated"


def test_closing_one_manager_leaves_the_records_and_the_connections_of_the_other() -> None:
    shared = Shared()
    well(shared.one)
    theirs = well(shared.other)
    shared.one.trip(A)
    shared.one.manager.close()
    assert shared.hosts.health(A).connections == 1
    assert shared.hosts.health(A).breaker == "open"
    assert not theirs.closed


def test_a_manager_that_is_dropped_without_closing_leaves_no_connection_in_the_counts() -> None:
    shared = Shared()
    well(shared.one)
    well(shared.other)
    del shared.one
    gc.collect()
    assert shared.hosts.health(A).connections == 1


def test_what_one_forgets_stays_known_while_the_other_leads_to_it() -> None:
    shared = Shared()
    well(shared.one)
    theirs = well(shared.other)
    shared.one.trip(A)
    shared.one.manager.forget(A)
    assert shared.hosts.health(A).breaker == "open"
    assert theirs.health.breaker == "open"
    shared.other.manager.forget(A)
    assert shared.hosts.health() == {}


def test_evicting_in_one_leaves_the_connection_of_the_other() -> None:
    shared = Shared()
    well(shared.one)
    theirs = well(shared.other)
    assert shared.one.manager.evict(A) == 1
    assert shared.other.manager.find(A) is theirs


def test_a_reload_by_one_is_followed_by_both_and_by_the_guards_of_both() -> None:
    shared = Shared()
    for bed in (shared.one, shared.other):
        bed.hook.act = lambda host, auth: Thing()
        bed.manager.find(A)
    shared.one.manager.reload("careful")
    assert shared.hosts.policy == Policy.load("careful")
    assert shared.one.record(A).policy == Policy.load("careful")
    assert shared.other.manager.hosts.policy is shared.hosts.policy


def test_hooks_at_work_for_any_manager_show() -> None:
    shared = Shared()
    seen: list[float | None] = []
    shared.other.hook.act = lambda host, auth: seen.append(shared.one.manager.health(A).hooks_since) or Thing()
    shared.other.manager.find(A)
    assert seen != [None]
    assert shared.hosts.health(A).hooks_since is None


def test_metrics_read_the_same_records_through_each_manager() -> None:
    shared = Shared()
    well(shared.one)
    assert shared.other.manager._records() == shared.one.manager._records() == [(shared.one.record(A), 1, None)]


def test_a_table_is_bounded_but_for_hosts_that_connections_lead_to() -> None:
    shared = Shared(max_hosts=5)
    well(shared.one)
    for number in range(50):
        shared.hosts.host(f"https://h{number}.test")
    assert len(shared.hosts) == 5 + 1
    assert A in shared.hosts.health()


def test_a_table_without_a_policy_follows_the_choice_of_defaults_once_a_manager_has_it() -> None:
    hosts = HostTable()
    assert hosts.policy == Policy.load("standard")
    manager = ConnectionManager(hosts=hosts)
    try:
        defaults(policy="careful")
        assert hosts.policy == Policy.load("careful")
        assert ConnectionManager(hosts=hosts).hosts.policy == Policy.load("careful")
    finally:
        defaults(policy=None)
    assert manager.hosts.policy == Policy.load("standard")


def test_a_table_with_a_policy_keeps_it_whatever_defaults_say() -> None:
    hosts = HostTable(policy="batch")
    ConnectionManager(hosts=hosts)
    try:
        defaults(policy="careful")
        assert hosts.policy == Policy.load("batch")
    finally:
        defaults(policy=None)


def test_patterns_of_the_table_count_for_both() -> None:
    shared = Shared(policies={"https://a.test": "batch"})
    well(shared.other)
    assert shared.one.record(A).policy == Policy.load("batch")


def test_a_host_whose_connection_is_refused_is_broken_for_both() -> None:
    shared = Shared()
    well(shared.one)
    shared.one.settle(A, refused(), 3)
    assert shared.other.manager.health(A).state == "broken"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"max_hosts": 0}, ValueError, "max_hosts must be a positive number, not 0"),
        ({"policy": "nonsense"}, PolicyError, "unknown; shipped"),
        ({"policies": 3}, TypeError, "policies must be a mapping"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        HostTable(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"hosts": {}}, TypeError, "hosts must be a HostTable, not dict"),
        ({"policy": "batch"}, TypeError, "the policies are the table's"),
        ({"policies": {}}, TypeError, "the policies are the table's"),
        ({"clock": FakeClock()}, ValueError, "the clock is the table's"),
    ],
)
def test_a_manager_with_a_table_takes_nothing_that_the_table_says(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ConnectionManager(**{"hosts": HostTable(), **arguments})


def test_a_table_has_a_readable_repr_and_is_true_when_empty() -> None:
    hosts = HostTable()
    assert repr(hosts) == "<HostTable hosts=0>"
    assert hosts
    assert len(hosts) == 0


def test_a_connection_that_both_hold_has_one_record() -> None:
    shared = Shared()
    conn = Connection(A, ANONYMOUS, clock=shared.clock)
    shared.one.manager.add(A, None, conn)
    shared.other.manager.add(A, None, conn)
    assert shared.hosts.health(A).connections == 2
    shared.one.manager.evict(A)
    assert shared.other.manager.find(A) is conn


# -- one probe per host


class Probing(Shared):
    """Both have a connection to a broken host, which is probed. Nothing looks by itself."""

    def __init__(self) -> None:
        super().__init__(policy=Policy(breaker=PLAIN_BREAKER, health={"probe": "/", "probe_interval": 5000}))
        self.by: list[str] = []
        for name, bed in (("one", self.one), ("other", self.other)):
            bed.hook.act = lambda host, auth, bed=bed, name=name: self.conn(bed, name)
            bed.manager.find(A)
        self.one.trip(A)

    def conn(self, bed: Bed, name: str) -> Connection:
        conn = bed.conn(A)
        conn.probe = lambda path, seconds: self.by.append(name) or answer(503)  # type: ignore[method-assign]
        return conn

    def rounds(self) -> list[str]:
        self.by.clear()
        for bed in (self.one, self.other):
            bed.manager._finder.probing.probe_broken(5000)
        return [*self.by]


@pytest.fixture
def probing() -> Iterator[Probing]:
    shared = Probing()
    probers = [bed.manager._finder.probing.prober for bed in (shared.one, shared.other)]
    yield shared
    for prober in probers:
        assert prober is not None
        prober.stop()


def test_a_broken_host_is_probed_by_one_of_the_managers_that_share_its_record(probing: Probing) -> None:
    """Each asked for it: a host that comes back got as many probes as there are managers."""
    for _ in range(3):
        assert probing.rounds() == ["one"]


@pytest.mark.parametrize("how", ["close", "evict", "drop", "fork"])
def test_another_manager_goes_on_probing_where_the_first_has_no_more_to_do_with_it(probing: Probing, how: str) -> None:
    shared = probing
    shared.rounds()
    if how == "drop":
        del shared.one
        gc.collect()
        shared.other.manager._finder.probing.probe_broken(5000)
        assert shared.by == ["one", "other"]
        return
    if how == "fork":  # in the child no thread of the first is there, until that is asked for the host
        shared.hosts._renew_after_fork()
        shared.other.manager._finder.probing.probe_broken(5000)
        assert shared.by == ["one", "other"]
        return
    shared.one.manager.evict(A)
    if how == "close":
        shared.one.manager.close()
    assert shared.rounds() == ["other"]


def test_an_observer_that_ends_the_thread_of_one_manager_leaves_the_host_to_the_other(probing: Probing) -> None:
    asked = probing.one.manager._finder.probing

    def ends(conn: object, record: object, path: str) -> None:
        raise SystemExit

    asked._probe = ends  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        asked.probe_broken(5000)
    probing.other.manager._finder.probing.probe_broken(5000)
    assert probing.by == ["other"]
