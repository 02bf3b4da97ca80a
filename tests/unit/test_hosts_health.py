"""What a manager makes of hosts that break, recover, move or are taken out of use: back-off, replicas, health."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    HostIsolatedError,
    Policy,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.drivers.threads import workers
from sleepwalker.engine import fleet as word
from sleepwalker.events import ConnectionHooked, HostIsolated, HostRestored
from tests.both_drivers import threads_only
from tests.unit.engine_driver import answer
from tests.unit.manager_driver import A, B, Bed, Hook, Thing, fail, failed_over, nothing, replicas, rounds, well

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")

# -- the back-off --------------------------------------------------------------------------------


def test_rounds_that_fail_are_a_doubling_back_off_apart() -> None:
    bed = Bed()
    bed.hook.act = fail(OSError("down"))
    assert rounds(bed, 200) == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_rounds_that_give_a_connection_to_a_broken_host_are_a_doubling_back_off_apart() -> None:
    bed = Bed()
    bed.manager.find(A)
    bed.unreachable(A)
    assert rounds(bed, 130) == [1, 3, 7, 15, 31, 63, 123], "the first round, at 0, counts"


def test_in_between_find_gives_the_connection_that_the_last_round_gave() -> None:
    bed = Bed()
    first = bed.manager.find(A)
    bed.unreachable(A)
    assert bed.manager.find(A) is first
    assert not first.retired
    bed.clock.advance(1)
    second = bed.manager.find(A)
    assert second is not first
    assert first.retired
    bed.clock.advance(1.9)
    assert bed.manager.find(A) is second


def test_in_between_find_fails_at_once_and_says_when_to_come_again() -> None:
    bed = Bed()
    bed.hook.act = fail(OSError("down"))
    with pytest.raises(OurConnectionError) as caught:
        bed.manager.find(A)
    assert caught.value.retry_after == pytest.approx(1)
    bed.clock.advance(0.25)
    for auth in (None, None):
        with pytest.raises(OurConnectionError, match="down") as caught:
            bed.manager.find(A, auth)
        assert caught.value.retry_after == pytest.approx(0.75)
    assert len(bed.hook.asked) == 1
    with pytest.raises(OurConnectionError):
        bed.manager.find(A, ("u", "p"))
    assert len(bed.hook.asked) == 2, "a back-off is a pair's"


def test_a_host_that_was_well_since_the_last_round_starts_afresh() -> None:
    """Once, each outage waited twice as long as the one before, for as long as the process lived."""
    bed = Bed()
    bed.manager.find(A)
    for _ in range(4):
        bed.clock.advance(100)
        bed.answers(A)
        bed.manager.find(A)
        bed.clock.advance(100)
        bed.unreachable(A)
        assert rounds(bed, 5) == [0, 1, 3]


def test_an_outage_soon_after_a_round_is_not_made_to_wait_if_the_host_was_well() -> None:
    bed = Bed()
    first = bed.manager.find(A)
    bed.clock.advance(0.1)
    bed.answers(A)
    bed.clock.advance(0.1)
    bed.unreachable(A)
    assert bed.manager.find(A) is not first


def test_hooks_that_failed_although_the_host_was_well_are_not_asked_sooner_for_its_answers_to_others() -> None:
    """Wrong credentials of one pair must not become a storm of logins because others do well."""
    bed = Bed()
    bed.manager.find(A, ("good", "p"))
    bed.hook.act = fail(OurConnectionError("wrong password"))
    for _ in range(20):
        bed.clock.advance(0.01)
        bed.answers(A)
        with pytest.raises(OurConnectionError, match="wrong password"):
            bed.manager.find(A, ("bad", "p"))
    assert len(bed.hook.asked) == 2


def test_hooks_that_failed_over_a_broken_host_are_asked_once_it_is_well() -> None:
    bed = Bed(policy=Policy(breaker={"open_for": 1000, "open_max": 1000}))
    well(bed)
    bed.trip(A)
    bed.hook.act = fail(OSError("down"))
    for _ in range(7):
        bed.clock.advance(10)
        with pytest.raises(OurConnectionError):
            bed.manager.find(A)
    bed.clock.advance(0.1)
    asked = len(bed.hook.asked)
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    assert len(bed.hook.asked) == asked
    record = bed.record(A)
    for _ in range(2):
        record.outcomes.probed(answer(200), bed.clock.now)
    bed.hook.act = lambda host, auth: bed.conn(host)
    assert bed.manager.find(A).health.breaker == "closed"


@pytest.mark.parametrize("end", ["hook", "clear", "add"])
def test_a_new_hook_clear_hooks_and_add_end_the_back_off(end: str) -> None:
    bed = Bed()
    bed.hook.act = fail(OSError("down"))
    for wait in (0, 1, 2):
        bed.clock.advance(wait)
        with pytest.raises(OurConnectionError):
            bed.manager.find(A)
    if end == "hook":
        bed.manager.add_conn_hook(Hook(lambda host, auth: bed.conn(host)))
        assert isinstance(bed.manager.find(A), Connection)
    elif end == "clear":
        bed.manager.clear_hooks()
        with pytest.raises(OurConnectionError, match="this manager has no hooks"):
            bed.manager.find(A)
        bed.manager.add_conn_hook(bed.hook)
        assert rounds(bed, 5) == [0, 1, 3]
    else:
        thing = Thing()
        bed.manager.add(A, None, thing)
        assert bed.manager.find(A) is thing
        bed.manager.evict(A)
        assert rounds(bed, 5) == [0, 1, 3]


def test_a_hook_added_while_the_others_are_asked_is_asked_next() -> None:
    bed = Bed()

    def act(host: Any, auth: Any) -> Any:
        bed.manager.add_conn_hook(Hook(lambda host, auth: bed.conn(host)))
        raise OSError("down")

    bed.hook.act = act
    with pytest.raises(OurConnectionError) as caught:
        bed.manager.find(A)
    assert caught.value.retry_after is None
    bed.hook.act = nothing
    assert isinstance(bed.manager.find(A), Connection)


def test_no_hook_knows_this_host_starts_no_back_off() -> None:
    bed = Bed()
    bed.hook.act = nothing
    for _ in range(3):
        with pytest.raises(OurConnectionError, match="does not know") as caught:
            bed.manager.find(A)
        assert caught.value.retry_after is None
    assert len(bed.hook.asked) == 3


def test_a_closed_connection_to_a_broken_host_is_no_way_around_the_back_off() -> None:
    """`with manager.find(host) as conn:` closes it each time."""
    bed = Bed()
    bed.manager.find(A)
    bed.unreachable(A)
    bed.manager.find(A).close()
    assert rounds(bed, 3) == [1, 3]
    assert len(bed.manager) == 1


def test_a_closed_connection_to_a_host_that_is_not_broken_is_made_anew_at_once() -> None:
    bed = Bed()
    for number in range(1, 4):
        with bed.manager.find(A):
            pass
        assert len(bed.hook.asked) == number
    assert bed.reasons() == ["closed", "closed"]


def test_an_object_that_says_it_is_closed_is_made_anew() -> None:
    bed = Bed(hooked=False)
    thing = Thing()
    thing.closed = True  # type: ignore[attr-defined]
    bed.manager.add(A, None, thing)
    other = Thing()
    bed.manager.add_conn_hook(Hook(lambda host, auth: other))
    assert bed.manager.find(A) is other


# -- what is broken ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["breaker", "connect", "unauthorized", "closed", "idle", "age"])
def test_a_broken_connection_is_evicted_closed_and_made_anew(fault: str) -> None:
    bed = Bed(policy=Policy(health={"max_age": 200, "idle": 100}))
    conn = well(bed)
    if fault == "breaker":
        bed.trip(A)
    elif fault == "connect":
        bed.unreachable(A)
    elif fault == "unauthorized":
        bed.unauthorized(conn)
    elif fault == "closed":
        conn.close()
    elif fault == "idle":
        bed.clock.advance(101)
    else:
        for _ in range(3):
            bed.clock.advance(70)
            bed.manager.find(A)
    found = bed.manager.find(A)
    assert found is not conn
    assert conn.retired
    assert not found.retired
    assert bed.reasons() == [fault]
    assert len(bed.manager) == 1
    assert len(bed.hook.asked) == 2


def test_what_is_not_broken_stays() -> None:
    bed = Bed(policy=Policy(health={"max_age": 200, "idle": 100}))
    conn = well(bed)
    bed.settle(A, answer(500), 4)
    bed.clock.advance(97)
    assert bed.manager.find(A) is conn
    conn.usage.last_used = bed.clock.now
    bed.clock.advance(98)
    assert bed.manager.find(A) is conn


def test_a_connection_that_is_called_without_find_is_not_idle() -> None:
    bed = Bed()
    conn = well(bed)
    bed.clock.advance(299)
    conn.usage.last_used = bed.clock.now
    bed.clock.advance(299)
    assert bed.manager.find(A) is conn


def test_idle_connections_are_retired_by_whatever_is_found_next() -> None:
    bed = Bed()
    old = bed.manager.find(A)
    bed.clock.advance(301)
    bed.manager.find(B)
    assert old.retired
    assert len(bed.manager) == 1
    assert bed.reasons() == ["idle"]


def test_the_error_says_what_was_wrong_with_the_connection_before() -> None:
    bed = Bed()
    conn = bed.manager.find(A)
    bed.manager.clear_hooks()
    bed.trip(A)
    with pytest.raises(OurConnectionError, match=r"has no hooks.*was evicted: breaker"):
        bed.manager.find(A)
    assert conn.retired


def test_credentials_that_were_never_accepted_are_not_logged_in_with_again_and_again() -> None:
    """Each login, too, may be an answer of the host."""
    bed = Bed()

    def login(host: Any, auth: Any) -> Any:
        conn = bed.conn(host)
        conn.usage.accepted = True
        return conn

    bed.hook.act = login
    bed.manager.find(A)
    times = []
    for _ in range(100):
        seen = len(bed.hook.asked)
        bed.unauthorized(bed.manager.find(A))
        if len(bed.hook.asked) > seen:
            times.append(bed.clock.now - 5000)
        bed.clock.advance(0.25)
    assert times == [1, 3, 7, 15]


def test_an_expired_login_is_renewed_at_once() -> None:
    bed = Bed()
    for number in range(1, 5):
        conn = bed.manager.find(A)
        assert len(bed.hook.asked) == number
        bed.clock.advance(0.01)
        bed.answers(A)
        conn.usage.accepted = True
        bed.unauthorized(conn)
        bed.clock.advance(0.01)


def test_a_401_evicts_nothing_where_the_policy_says_so() -> None:
    bed = Bed(policy=Policy(health={"unauthorized_evicts": False}))
    conn = well(bed)
    bed.unauthorized(conn)
    assert bed.manager.find(A) is conn


# -- replicas ------------------------------------------------------------------------------------


def test_a_replica_takes_over_and_hands_back() -> None:
    bed = Bed()
    up, stand_in = failed_over(bed)
    assert bed.manager.health(A).connections == 0
    assert bed.manager.health(B).connections == 1
    for _ in range(3):
        bed.clock.advance(0.3)
        bed.answers(B)
        assert bed.manager.find(A) is stand_in, "the back-off goes on"
    up.insert(0, A)
    bed.clock.advance(0.2)
    back = bed.manager.find(A)
    assert back.origin.text == A
    assert stand_in.retired
    assert bed.reasons() == ["connect", "failback"]


def test_a_replica_serves_on_while_the_hooks_do_not_give_the_host_back() -> None:
    bed = Bed()
    _, stand_in = failed_over(bed)
    for act in (fail(OSError("down")), nothing):
        bed.hook.act = act
        bed.clock.advance(130)
        asked = len(bed.hook.asked)
        assert bed.manager.find(A) is stand_in
        assert len(bed.hook.asked) == asked + 1
        assert bed.manager.find(A) is stand_in
        assert len(bed.hook.asked) == asked + 1, "not at each find"
    bed.clock.advance(130)
    bed.hook.act = fail(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        bed.manager.find(A)
    assert bed.manager.find(A) is stand_in
    assert not stand_in.retired


def test_a_host_whose_circuit_is_open_is_not_gone_back_to() -> None:
    bed = Bed()
    up, stand_in = failed_over(bed, Bed.trip)
    up.insert(0, A)
    bed.clock.advance(4)
    assert bed.manager.find(A) is stand_in
    bed.clock.advance(1)
    assert bed.manager.health(A).breaker == "half-open"
    assert bed.manager.find(A).origin.text == A


def test_where_hosts_are_probed_only_the_probe_brings_one_back() -> None:
    bed = Bed(policy=Policy(health={"probe": "/health", "probe_interval": 1000}))
    up, stand_in = failed_over(bed)
    up.insert(0, A)
    bed.clock.advance(100)
    assert bed.manager.find(A) is stand_in
    bed.record(A).outcomes.probed(answer(200), bed.clock.now)
    assert bed.manager.find(A).origin.text == A
    bed.manager.close()


def test_a_replica_chosen_while_the_host_is_known_to_be_down_hands_back_too() -> None:
    """The state is the host's: these other credentials never had a connection to it."""
    bed = Bed()
    up = replicas(bed)
    well(bed)
    bed.unreachable(A)
    up.remove(A)
    assert bed.manager.find(A, ("u", "p")).origin.text == B
    up.insert(0, A)
    bed.clock.advance(1)
    assert bed.manager.find(A, ("u", "p")).origin.text == A


def test_a_host_that_merely_stands_for_another_is_not_asked_for_again() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(B)
    conn = bed.manager.find(A)
    for _ in range(50):
        bed.clock.advance(10)
        assert bed.manager.find(A) is conn
    assert len(bed.hook.asked) == 1


def test_a_connection_made_anew_inherits_the_hosts_record() -> None:
    bed = Bed()
    first, second = well(bed), bed.manager.find(A, ("u", "p"))
    bed.settle(A, answer(500), 5)
    anew = bed.manager.find(A)
    assert anew is not first
    assert anew.health.failures == second.health.failures == bed.manager.health(A).failures == 5
    for conn in (anew, second):
        with pytest.raises(CircuitOpenError):
            conn.get("/")


def test_two_hosts_share_nothing() -> None:
    bed = Bed()
    well(bed)
    other = well(bed, B)
    bed.trip(A)
    assert bed.manager.find(B) is other
    assert bed.manager.health(B).state == "healthy"


# -- isolation -----------------------------------------------------------------------------------


def test_an_isolated_host_is_not_found_and_not_asked_until_restored() -> None:
    bed = Bed()
    conn = bed.manager.find(A)
    bed.manager.isolate("HTTPS://a.test:443/")
    for auth in (None, ("u", "p")):
        with pytest.raises(HostIsolatedError, match="restore") as caught:
            bed.manager.find(A, auth)
        assert caught.value.host == A
    with pytest.raises(HostIsolatedError):
        bed.manager.find(A + "/api")
    with pytest.raises(HostIsolatedError):
        conn.get("/")
    assert bed.manager.health(A).state == "isolated"
    assert bed.manager.find(B).origin.text == B
    bed.manager.restore(A)
    assert bed.manager.find(A) is conn
    assert len(bed.all(HostIsolated)) == len(bed.all(HostRestored)) == 1
    assert len(bed.hook.asked) == 2


def test_a_host_can_be_isolated_before_it_is_known_and_stays_so() -> None:
    bed = Bed(max_connections=2)
    bed.manager.isolate(A)
    bed.manager.isolate(A)
    for number in range(10):
        bed.manager.find(f"https://h{number}.test")
    gc.collect()
    with pytest.raises(HostIsolatedError):
        bed.manager.find(A)
    assert len(bed.all(HostIsolated)) == 1
    bed.manager.restore(A)
    bed.manager.restore(A)
    assert isinstance(bed.manager.find(A), Connection)
    assert len(bed.all(HostRestored)) == 1


def test_a_name_is_isolated_with_the_host_that_it_leads_to() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    conn = bed.manager.find("Orders")
    bed.manager.isolate("orders/")
    for host in ("Orders", A):
        with pytest.raises(HostIsolatedError):
            bed.manager.find(host)
    with pytest.raises(HostIsolatedError):
        conn.get("/")
    bed.manager.evict("orders")  # or idle for long: the host behind the name must not stay isolated for ever
    bed.manager.restore("ORDERS")
    assert bed.manager.find("Orders").health.state == "unknown"
    assert isinstance(bed.manager.find(A), Connection)


def test_restoring_a_name_does_not_restore_a_host_that_was_isolated_itself() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.find("orders")
    bed.manager.isolate(A)
    bed.manager.isolate("orders")
    bed.manager.restore("orders")
    with pytest.raises(HostIsolatedError):
        bed.manager.find("orders")
    bed.manager.restore(A)
    assert bed.manager.find("orders")


def test_an_isolated_host_is_refused_while_a_replica_stands_in() -> None:
    bed = Bed()
    failed_over(bed)
    bed.manager.isolate(A)
    with pytest.raises(HostIsolatedError):
        bed.manager.find(A)


def test_an_object_is_not_found_either_while_its_host_is_isolated() -> None:
    bed = Bed(hooked=False)
    bed.manager.add("orders", None, "thing")
    bed.manager.isolate("orders")
    with pytest.raises(HostIsolatedError):
        bed.manager.find("orders")
    bed.manager.restore("orders")
    assert bed.manager.find("orders") == "thing"


# -- health --------------------------------------------------------------------------------------


def test_health_is_a_dict_by_normalised_origin() -> None:
    bed = Bed()
    bed.manager.find("HTTPS://A.test:443/api/", ("u", "p"))
    bed.manager.find(A)
    bed.manager.add("Orders", None, Thing())
    health = bed.manager.health()
    assert {host: one.connections for host, one in health.items()} == {A: 2, "orders": 1}
    assert all(one.host == host for host, one in health.items())
    assert bed.manager.find(A).health.connections == 2
    bed.manager.evict(A + "/api")
    assert bed.manager.health(A).connections == bed.manager.find(A).health.connections == 1


def test_asking_for_the_health_of_an_unknown_host_leaves_no_trace() -> None:
    bed = Bed()
    assert bed.manager.health(A).state == "unknown"
    assert bed.manager.health() == {}


def test_the_health_of_a_name_is_that_of_the_host_behind_it() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.find("orders")
    bed.trip(A)
    assert bed.manager.health("orders").host == A
    assert bed.manager.health("orders").breaker == "open"


def test_hooks_are_announced_with_what_they_made() -> None:
    bed = Bed()
    bed.manager.find(A)
    bed.hook.act = lambda host, auth: Thing()
    bed.manager.find("orders")
    assert [(event.host, event.hook, event.target) for event in bed.all(ConnectionHooked)] == [
        (A, "Hook", A),
        ("orders", "Hook", "Thing"),
    ]


# -- probes --------------------------------------------------------------------------------------


@threads_only("the thread of probes; in asyncio they are tasks")
def test_only_a_policy_with_a_probe_starts_a_thread_and_close_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Callable[[], None]] = []
    start = workers.start
    monkeypatch.setattr(
        workers, "start", lambda run, name: started.append(run) if "probe" in name else start(run, name)
    )
    plain = Bed()
    plain.manager.find(A)
    assert plain.manager._finder.probing.prober is None
    bed = Bed(policy=Policy(health={"probe": "/health"}))
    assert started == []
    bed.manager.add(A, None, bed.conn(A))
    (run,) = started
    prober = bed.manager._finder.probing.prober
    assert prober is not None
    with prober._running:  # as the thread does while it runs
        bed.manager.find(B)
        run()  # one too many, which ends at once
    assert started == [run]
    bed.manager.close()
    run()  # ends
    assert not prober._running.locked()


class Probed(Connection):
    """Answers probes as its host's list says."""

    answers: dict[str, list[Any]]

    def probe(self, path: str, seconds: float) -> Any:
        came = self.answers[self.origin.text].pop(0)
        if isinstance(came, Exception):
            raise came
        return came


@threads_only("the thread of probes; in asyncio they are tasks")
def test_each_broken_host_is_probed_through_one_connection_and_one_failure_stops_none() -> None:
    bed = Bed(policy=Policy(health={"probe": "/health", "probe_interval": 10_000}))
    left = {A: [ValueError("somebody's auth")], B: [answer(200), answer(204)], "https://c.test": []}
    Probed.answers = left
    bed.hook.act = lambda host, auth: Probed(host, ANONYMOUS, clock=bed.clock)
    for host in left:
        for auth in (None, ("u", "p")):
            bed.manager.find(host, auth)
    for host in (A, B):
        bed.trip(host)
    bed.manager._finder.probing.probe_broken()
    assert left == {A: [], B: [], "https://c.test": []}
    assert bed.manager.health(A).breaker == "open"
    assert bed.manager.health(B).breaker == "closed"
    bed.manager.isolate(A)
    bed.manager._finder.probing.probe_broken()
    bed.manager.close()


@threads_only("the thread of probes; in asyncio they are tasks")
def test_a_host_that_other_workers_look_at_in_turn_is_not_probed_by_each() -> None:
    """24 workers would send as many probes as 24 services."""
    bed = Bed(policy=Policy(health={"probe": "/health", "probe_interval": 10_000}))
    Probed.answers = {A: [answer(503), answer(503)]}
    bed.hook.act = lambda host, auth: Probed(host, ANONYMOUS, clock=bed.clock)
    bed.manager.find(A)
    bed.trip(A)
    record, now = bed.manager.hosts.host(A), bed.clock.monotonic()
    word.told_broken(record, "503", now + 5, now)
    bed.manager._finder.probing.probe_broken()
    assert len(Probed.answers[A]) == 2
    word.let_look(record, now)
    bed.manager._finder.probing.probe_broken()
    assert len(Probed.answers[A]) == 1
    bed.manager.close()
