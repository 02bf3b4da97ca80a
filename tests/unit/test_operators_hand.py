"""What an operator does by hand: isolations with a reason and an end, and circuits that are closed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sleepwalker import CircuitOpenError, ConnectionManager, HostIsolatedError, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.engine import Isolation
from sleepwalker.events import (
    BreakerClosed,
    BreakerOpened,
    HostBroken,
    HostIsolated,
    HostRecovered,
    HostRestored,
    RequestRejected,
)
from tests.both_drivers import threads_only
from tests.unit.engine_driver import HOST, WALL, World, answer, refused
from tests.unit.manager_driver import A, B, Bed, fail, failed_over, well
from tests.unit.test_host import in_child

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)  # the clock's present


def refusal(call: Callable[[], Any]) -> HostIsolatedError:
    with pytest.raises(HostIsolatedError) as caught:
        call()
    return caught.value


# -- why and until when --------------------------------------------------------------------------


def test_an_isolation_tells_why_and_until_when_wherever_it_is_seen() -> None:
    bed = Bed()
    conn = bed.manager.find(A)
    bed.manager.isolate(A, reason="maintenance", until=NOON + timedelta(minutes=5))
    for call in (lambda: bed.manager.find(A), lambda: conn.get("/")):
        error = refusal(call)
        assert str(error) == (
            "https://a.test is isolated by an operator until 2024-06-01 12:05:00 UTC: maintenance; restore() ends that"
        )
        assert (error.reason, error.until, error.host) == ("maintenance", NOON + timedelta(minutes=5), A)
        assert error.retry_after == 300
    health = bed.manager.health(A)
    assert (health.state, health.isolated_reason, health.isolated_until) == ("isolated", "maintenance", WALL + 300)
    assert conn.health == health
    assert json.loads(json.dumps(health.to_dict()))["isolated_until"] == WALL + 300
    assert bed.all(HostIsolated) == [HostIsolated(A, reason="maintenance", until=WALL + 300)]
    bed.manager.restore(A)
    assert bed.all(HostRestored) == [HostRestored(A, by="hand", reason="maintenance", until=WALL + 300)]
    assert bed.manager.find(A) is conn
    assert (conn.health.isolated_reason, conn.health.isolated_until) == (None, None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "by an operator; restore()"),
        ({"reason": " disk full "}, "by an operator: disk full; restore()"),
        ({"until": 90}, "by an operator until 2024-06-01 12:01:30 UTC; restore()"),
    ],
)
def test_what_an_operator_did_not_say_is_left_out(options: dict[str, Any], says: str) -> None:
    bed = Bed()
    bed.manager.isolate(A, **options)
    error = refusal(lambda: bed.manager.find(A))
    assert says in str(error)
    assert (error.reason is None, error.until is None) == ("reason" not in options, "until" not in options)
    assert (error.retry_after is None) == ("until" not in options)


@pytest.mark.parametrize(
    "until",
    [
        60,
        60.0,
        NOON + timedelta(seconds=60),
        datetime(2024, 6, 1, 14, 1, tzinfo=timezone(timedelta(hours=2))),
        (NOON + timedelta(seconds=60)).astimezone(),
    ],
)
def test_until_is_seconds_from_now_or_a_moment_in_any_time_zone(until: Any) -> None:
    bed = Bed()
    bed.manager.isolate(A, until=until)
    assert bed.manager.health(A).isolated_until == WALL + 60


@pytest.mark.parametrize(
    ("until", "kind", "says"),
    [
        (datetime(2024, 6, 1, 14, 5), ValueError, "2024-06-01 14:05:00 has none: pass until.astimezone()"),  # noqa: DTZ001
        (NOON, ValueError, "in the future, and within a year, not 2024-06-01 12:00:00+00:00"),
        (NOON + timedelta(days=367), ValueError, "within a year, not 2025-06-03 12:00:00+00:00"),
        (datetime.max.replace(tzinfo=UTC), ValueError, "within a year"),
        (0, ValueError, "not 0 s from now"),
        (-5.0, ValueError, "not -5.0 s from now"),
        (float("nan"), ValueError, "not nan s from now"),
        (float("inf"), ValueError, "not inf s from now"),
        (10**400, ValueError, "s from now; pass a datetime with a time zone or a number of seconds"),
        (True, TypeError, "not bool"),
        ("14:05", TypeError, "until must be a datetime or a number, not str; pass a datetime with a time zone"),
        (timedelta(minutes=5), TypeError, "not timedelta"),
    ],
)
def test_an_until_that_cannot_be_is_refused_and_nothing_is_isolated(until: Any, kind: Any, says: str) -> None:
    bed = Bed()
    with pytest.raises(kind) as caught:
        bed.manager.isolate(A, until=until)
    assert says in str(caught.value)
    assert "until must" in str(caught.value)
    assert bed.manager.find(A)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("", ValueError),
        ("  ", ValueError),
        ("x" * 201, ValueError),
        ("two\nlines", ValueError),
        ("\x1b[31mred", ValueError),
        ("\u202egnp", ValueError),
        ("\ud800", ValueError),
        (5, TypeError),
        (b"maintenance", TypeError),
    ],
    ids=ascii,
)
def test_a_reason_that_could_not_be_shown_anywhere_is_refused(reason: Any, kind: Any) -> None:
    bed = Bed()
    with pytest.raises(kind, match="reason must be") as caught:
        bed.manager.isolate(A, reason=reason)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
    assert bed.manager.find(A)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("see https://anna:c4n4ry@wiki.test/disks, ask Bob", "see https://***@wiki.test/disks, ask Bob"),
        ("postgres://c4n4ry@db.test:5432 is full", "postgres://***@db.test:5432 is full"),
        ("https://anna:c4n4ry@c4n4ry@wiki.test", "https://***@wiki.test"),
        ("https://anna:c4n4ry/c4n4ry@wiki.test", "https://***@wiki.test"),
        ("(//anna:c4n4ry@wiki.test), http://b:c4n4ry@[::1]:80/", "(//***@wiki.test), http://***@[::1]:80/"),
        (
            "https://chat.test/@anna and https://wiki.test:443/a@b",
            "https://chat.test/@anna and https://wiki.test:443/a@b",
        ),
        ("ask anna@example.com // or bob@example.com", "ask anna@example.com // or bob@example.com"),
    ],
)
def test_credentials_in_a_reason_are_shown_nowhere(typed: str, shown: str) -> None:
    bed = Bed()
    bed.manager.isolate(A, reason=typed)
    error = refusal(lambda: bed.manager.find(A))
    bed.manager.restore(A)
    assert error.reason == shown
    assert shown in str(error)
    assert [event.reason for event in (*bed.all(HostIsolated), *bed.all(HostRestored))] == [shown, shown]
    assert "c4n4ry" not in f"{error} {bed.manager.health(A)}"


def test_a_reason_that_is_refused_is_not_quoted_with_credentials() -> None:
    with pytest.raises(ValueError, match="reason must be") as caught:
        Bed().manager.isolate(A, reason="https://anna:c4n4ry@wiki.test\n")
    assert "c4n4ry" not in str(caught.value)


def test_the_longest_reason_is_shown_whole() -> None:
    bed = Bed()
    bed.manager.isolate(A, reason="ü" * 200)
    assert refusal(lambda: bed.manager.find(A)).reason == "ü" * 200


def test_its_error_can_be_pickled() -> None:
    bed = Bed()
    bed.manager.isolate(A, reason="maintenance", until=60)
    error = refusal(lambda: bed.manager.find(A))
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.reason, twin.until, twin.host) == (str(error), error.reason, error.until, A)


# -- it ends by itself ---------------------------------------------------------------------------


def test_an_isolation_ends_by_itself_and_the_next_find_tells() -> None:
    bed = Bed()
    conn = bed.manager.find(A)
    bed.manager.isolate(A, reason="maintenance", until=60)
    bed.clock.advance(59.9)
    refusal(lambda: bed.manager.find(A))
    bed.clock.advance(0.1)
    assert conn.health.state == "unknown", "it ended by itself"
    assert (conn.health.isolated_reason, conn.health.isolated_until) == (None, None)
    assert bed.all(HostRestored) == []
    assert bed.manager.find(A) is conn
    assert bed.all(HostRestored) == [HostRestored(A, by="time", reason="maintenance", until=WALL + 60)]
    assert bed.manager.hosts._isolations._by_name == {}, "nothing of it is kept"
    bed.manager.restore(A)
    bed.clock.advance(100)
    bed.manager.find(A)
    assert len(bed.all(HostRestored)) == 1
    assert len(bed.hook.asked) == 1


LOOKS: dict[str, Callable[[Bed], object]] = {
    "find of another": lambda bed: bed.manager.find(B),
    "health": lambda bed: bed.manager.health(),
    "health of one": lambda bed: bed.manager.health(B),
    "restore": lambda bed: bed.manager.restore(A),
    "isolate another": lambda bed: bed.manager.isolate(B),
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_first_look_tells_that_it_is_over(look: str) -> None:
    bed = Bed()
    bed.manager.isolate(A, until=60)
    bed.clock.advance(1000)
    LOOKS[look](bed)
    assert [event.by for event in bed.all(HostRestored)] == ["time"]


def test_a_call_ends_it_too_and_tells() -> None:
    here = World()
    here.host.isolate(Isolation("maintenance", WALL + 60))
    refused_call = here.begin()
    assert isinstance(refused_call.outcome.error, HostIsolatedError)
    assert here.only(RequestRejected).retry_after == 60
    here.clock.advance(60)
    assert here.call(answer(200)).outcome.status == 200
    assert here.all(HostRestored) == [HostRestored(HOST, by="time", reason="maintenance", until=WALL + 60)]
    assert here.host.restore() == ()


def test_isolating_again_replaces_reason_and_end() -> None:
    bed = Bed()
    bed.manager.isolate(A, reason="maintenance", until=600)
    bed.manager.isolate(A, reason="done early", until=60)
    assert "until 2024-06-01 12:01:00 UTC: done early" in str(refusal(lambda: bed.manager.find(A)))
    bed.manager.isolate(A, until=NOON + timedelta(seconds=60))
    bed.manager.isolate(A, until=NOON + timedelta(seconds=60))
    assert bed.manager.health(A).isolated_reason is None
    assert [(event.reason, event.until) for event in bed.all(HostIsolated)] == [
        ("maintenance", WALL + 600),
        ("done early", WALL + 60),
        (None, WALL + 60),
    ], "each change is told, and what changes nothing is not"
    bed.manager.isolate(A)
    bed.clock.advance(100_000)
    assert refusal(lambda: bed.manager.find(A)).until is None


def test_an_isolation_that_is_over_can_be_begun_again() -> None:
    bed = Bed()
    bed.manager.isolate(A, reason="first", until=60)
    bed.clock.advance(61)
    bed.manager.isolate(A, reason="second", until=60)
    told = [event.name for event in bed.events]
    assert told == ["host.isolated", "host.restored", "host.isolated"]
    assert refusal(lambda: bed.manager.find(A)).reason == "second"


def test_of_two_isolations_of_a_host_the_one_that_ends_later_counts() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.find("orders")
    bed.manager.isolate(A, reason="host", until=600)
    bed.manager.isolate("orders", reason="name", until=60)
    assert bed.manager.health(A).isolated_reason == "host"
    bed.clock.advance(60)
    assert refusal(lambda: bed.manager.find("orders")).reason == "host"
    bed.clock.advance(540)
    assert bed.manager.find("orders")

    bed.manager.isolate(A, reason="host", until=60)
    bed.manager.isolate("orders", reason="name")
    assert refusal(lambda: bed.manager.find(A)).reason == "name"
    bed.clock.advance(100)
    assert refusal(lambda: bed.manager.find(A)).reason == "name"
    bed.manager.restore("orders")
    assert bed.manager.find(A)


@pytest.mark.parametrize("by_hand", [False, True])
def test_two_names_of_a_host_agree_when_it_is_back_in_use(by_hand: bool) -> None:
    """Whether the first one ends by itself or by hand: before, `restore` ended it for the other one, too."""
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    for name in ("orders", "stock"):
        bed.manager.find(name)
    bed.manager.isolate("orders", reason="orders", until=60)
    bed.manager.isolate("stock", reason="stock", until=600)
    bed.clock.advance(0 if by_hand else 60)
    bed.manager.restore("orders")
    for name in ("orders", "stock", A):
        assert refusal(lambda name=name: bed.manager.find(name)).reason == "stock"  # type: ignore[misc]
    assert bed.manager.health(A).isolated_until == WALL + 600
    bed.manager.restore("stock")
    assert bed.manager.find("orders").get
    assert bed.manager.find("stock").get


def test_restoring_a_url_ends_all_that_its_names_said_of_the_host() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    for name in ("orders", "stock", A):
        bed.manager.find(name)
    for name in ("orders", "stock"):
        bed.manager.isolate(name)
    bed.manager.restore(A)
    assert bed.manager.find(A)
    refusal(lambda: bed.manager.find("orders"))


def test_a_host_that_was_restored_is_isolated_anew_by_what_is_said_now() -> None:
    """And no longer by the name that isolated it before, although that still stands for itself."""
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.find("orders")
    bed.manager.isolate("orders", reason="first")
    bed.manager.restore(A)
    bed.manager.isolate(A, reason="second", until=60)
    health = bed.manager.health(A)
    assert (health.isolated_reason, health.isolated_until) == ("second", WALL + 60)


def test_what_is_left_of_two_isolations_is_what_is_told() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.find("orders")
    bed.manager.isolate(A, reason="host", until=60)
    bed.manager.isolate("orders", reason="name")
    bed.manager.restore("orders")
    assert refusal(lambda: bed.manager.find("orders")).reason == "host"
    assert bed.all(HostIsolated)[-1] == HostIsolated(A, reason="host", until=WALL + 60)
    bed.clock.advance(60)
    assert bed.manager.find("orders")


def test_a_name_that_leads_to_another_host_meanwhile_is_isolated_there_until_the_same_moment() -> None:
    bed = Bed()
    bed.manager.isolate("orders", reason="maintenance", until=60)
    bed.manager.add("orders", None, bed.conn(A))
    assert refusal(lambda: bed.manager.find("orders")).reason == "maintenance"
    assert bed.manager.health(A).isolated_until == WALL + 60
    bed.clock.advance(60)
    assert bed.manager.find("orders").health.state == "unknown"
    assert {event.by for event in bed.all(HostRestored)} == {"time"}


def test_an_isolation_that_was_over_does_not_catch_what_comes_later() -> None:
    bed = Bed()
    bed.manager.isolate("orders", until=60)
    bed.clock.advance(60)
    bed.manager.add("orders", None, bed.conn(A))
    assert bed.manager.find("orders")
    assert [event.host for event in bed.all(HostIsolated)] == ["orders"]


def test_one_that_ends_between_two_looks_does_not_last_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bed()
    bed.manager.isolate("orders", until=60)
    hosts = bed.manager.hosts
    look = hosts.isolates
    monkeypatch.setattr(hosts, "isolates", lambda *words: (look(*words), bed.clock.advance(60))[0])
    bed.manager.add("orders", None, "thing")
    assert bed.manager.find("orders") == "thing"


def test_an_isolation_with_an_end_outlasts_forget_evict_and_reset() -> None:
    bed = Bed()
    well(bed)
    bed.manager.isolate(A, reason="maintenance", until=600)
    bed.manager.forget(A)
    bed.manager.evict(A)
    bed.manager.reset()
    assert refusal(lambda: bed.manager.find(A)).reason == "maintenance"
    bed.clock.advance(600)
    assert bed.manager.find(A).origin.text == A


@pytest.mark.parametrize("step", [-86_400, -30, 30, 86_400])
def test_a_number_of_seconds_does_not_depend_on_the_wall_clock(step: float) -> None:
    """The wall clock may be set meanwhile: `until` follows it, and the seconds do not."""
    bed = Bed()
    bed.manager.isolate(A, until=60)
    bed.clock.time_of_day += step
    bed.clock.advance(59)
    error = refusal(lambda: bed.manager.find(A))
    assert error.retry_after == 1
    assert error.until == NOON + timedelta(seconds=60 + step)
    assert bed.manager.health(A).isolated_until == WALL + 60 + step
    bed.clock.advance(1)
    assert bed.manager.find(A)
    assert bed.all(HostRestored) == [HostRestored(A, by="time", reason=None, until=WALL + 60 + step)]


def test_a_clock_that_is_corrected_a_little_does_not_change_what_is_told() -> None:
    bed = Bed()
    bed.manager.isolate(A, until=60)
    bed.clock.time_of_day += 0.4
    assert bed.manager.health(A).isolated_until == WALL + 60


def test_a_moment_is_one_of_the_wall_clock() -> None:
    bed = Bed()
    bed.manager.isolate(A, until=NOON + timedelta(seconds=60))
    bed.clock.time_of_day -= 30
    bed.clock.advance(60)
    assert refusal(lambda: bed.manager.find(A)).retry_after == 30
    bed.clock.time_of_day += 30
    assert bed.manager.find(A)


def test_where_the_clock_is_set_the_isolation_that_now_ends_later_counts() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.find("orders")
    bed.manager.isolate("orders", reason="seconds", until=60)
    bed.manager.isolate(A, reason="moment", until=NOON + timedelta(seconds=90))
    assert refusal(lambda: bed.manager.find(A)).reason == "moment"
    bed.clock.time_of_day += 100
    assert refusal(lambda: bed.manager.find("orders")).reason == "seconds"
    assert bed.manager.health(A).isolated_reason == "seconds"
    bed.clock.advance(60)
    assert bed.manager.find("orders")


@threads_only("a fork: a loop does not survive it")
def test_a_forked_child_knows_it_and_ends_it_by_itself() -> None:
    bed = Bed()
    conn = bed.manager.find(A)
    bed.manager.isolate(A, reason="maintenance", until=60)

    def check() -> None:
        assert refusal(lambda: bed.manager.find(A)).reason == "maintenance"
        bed.clock.advance(60)
        assert bed.manager.find(A) is conn
        assert len(bed.all(HostRestored)) == 1

    assert in_child(check) == 0
    refusal(lambda: bed.manager.find(A))


# -- a circuit is closed by hand -----------------------------------------------------------------

OPEN_LONG = Policy(retry=False, breaker={"open_for": 60, "open_max": 60})


def test_a_circuit_that_is_closed_by_hand_admits_all_at_once() -> None:
    here = World(OPEN_LONG)
    here.trip()
    news = here.host.reset_circuit()
    assert news == (
        BreakerClosed(HOST, ramp=0.0, by_hand=True),
        HostRecovered(HOST, broken_for=0.0, by_hand=True),
    )
    assert here.host.snapshot().breaker == "closed"
    here.clock.roll = lambda: 0.99  # a slow start refuses each call
    assert [here.call(answer(200)).outcome.status for _ in range(20)] == [200] * 20
    assert here.host.reset_circuit() == ()


@pytest.mark.parametrize("slow", [{}, {"slow_ratio": 0.5, "slow_call": 2}])
def test_so_does_one_that_is_half_open_and_one_in_its_slow_start(slow: dict[str, float]) -> None:
    here = World(OPEN_LONG.replace(breaker=slow))
    here.trip()
    here.clock.advance(70)
    probe = here.begin()
    assert isinstance(here.begin().outcome.error, CircuitOpenError)
    assert [event.name for event in here.host.reset_circuit()] == ["breaker.closed", "host.recovered"]
    assert here.begin().final is None
    probe.reply(answer(500))
    assert here.host.snapshot().breaker == "closed", "what the probe came to says nothing any more"

    here.trip()
    here.recover()
    under_way = [here.begin(), here.begin()]
    assert isinstance(here.begin().outcome.error, CircuitOpenError)
    assert here.host.reset_circuit() == (), "it was closed already"
    assert here.begin().final is None
    assert all(call.final is None for call in under_way)


def test_late_failures_of_calls_that_began_before_do_not_open_it_again() -> None:
    here = World(OPEN_LONG)
    before = [here.begin() for _ in range(10)]
    here.trip()
    here.clock.advance(1)
    here.host.reset_circuit()
    here.clock.advance(1)
    for call in before:
        call.reply(answer(500))
    assert here.host.snapshot().breaker == "closed"
    here.trip()


@pytest.mark.parametrize("slow", [{}, {"slow_ratio": 0.5, "slow_call": 2}])
def test_failures_before_it_do_not_count_though_the_circuit_was_closed(slow: dict[str, float]) -> None:
    here = World(Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 5, **slow}))
    for _ in range(4):
        here.call(answer(500))
    before = [here.begin() for _ in range(5)]
    here.clock.advance(1)
    assert here.host.reset_circuit() == ()
    for call in before:
        call.reply(answer(500))
    for _ in range(4):
        here.call(answer(500))
    assert here.host.snapshot().breaker == "closed"
    here.call(answer(500))
    assert here.host.snapshot().breaker == "open"


def test_slow_calls_that_are_under_way_do_not_open_it_again() -> None:
    here = World(Policy(breaker={"slow_ratio": 0.5, "slow_call": 2, "min_calls": 4}))
    under_way = [here.begin() for _ in range(8)]
    here.clock.advance(1)
    here.host.reset_circuit()
    here.clock.advance(5)
    for call in under_way:
        call.reply(answer(200))
    assert here.host.snapshot().breaker == "closed"


def test_slow_calls_that_begin_later_open_it_as_ever() -> None:
    here = World(Policy(breaker={"slow_ratio": 0.5, "slow_call": 2, "min_calls": 4, "open_for": 5}))
    here.host.reset_circuit()
    for _ in range(4):
        here.call(answer(200), took=3)
    assert here.host.snapshot().breaker == "open"


def test_a_probe_that_succeeded_before_it_does_not_count_later() -> None:
    here = World(OPEN_LONG)
    here.trip()
    here.clock.advance(70)
    here.call(answer(200))
    here.host.reset_circuit()
    here.trip()
    here.clock.advance(70)
    here.call(answer(200))
    assert here.host.snapshot().breaker == "half-open"
    here.call(answer(200))
    assert here.host.snapshot().breaker == "closed"


def test_a_host_that_trips_again_in_its_slow_start_and_after_it_has_not_relapsed() -> None:
    here = World(Policy(retry=False, breaker={"open_for": 1, "open_max": 60}))
    here.trip()
    here.recover()
    here.host.reset_circuit()
    here.trip()
    assert here.all(BreakerOpened)[-1].open_for == pytest.approx(1, rel=0.1)


def test_a_host_that_trips_again_after_it_waits_as_for_the_first_time() -> None:
    here = World(Policy(retry=False, breaker={"open_for": 1, "open_max": 60}))
    for _ in range(4):
        here.trip()
        here.clock.advance(here.host.snapshot().retry_in or 0)
        here.call(answer(500))
    assert (here.host.snapshot().retry_in or 0) > 1.5
    here.host.reset_circuit()
    here.trip()
    assert here.all(BreakerOpened)[-1].open_for == pytest.approx(1, rel=0.1)


def test_a_host_that_could_not_be_connected_to_counts_as_well_again() -> None:
    here = World(Policy(retry=False, breaker=False))
    connecting = [here.begin() for _ in range(3)]
    for _ in range(3):
        here.call(refused())
    assert here.host.snapshot().state == "broken"
    here.clock.advance(5)
    assert here.host.reset_circuit() == (HostRecovered(HOST, broken_for=5.0, by_hand=True),)
    for call in connecting:  # they waited for a SYN's answer since before
        call.reply(refused())
    assert here.host.snapshot().state != "broken"
    assert len(here.all(HostBroken)) == 1
    for _ in range(3):
        here.call(refused())
    assert here.host.snapshot().state == "broken"


def test_in_a_dry_run_it_is_told_as_such() -> None:
    here = World(Policy(retry=False, breaker={"mode": "observe"}))
    here.trip()
    assert here.host.reset_circuit() == (BreakerClosed(HOST, ramp=0.0, observed=True, by_hand=True),)


def test_it_counts_as_a_transition_and_leaves_what_is_known() -> None:
    here = World(OPEN_LONG)
    here.trip()
    before = here.host.snapshot()
    here.host.reset_circuit()
    after = here.host.snapshot()
    assert here.host.counters.labelled["transition", "closed"] == 1
    assert (after.failures, after.last_error, after.success_ratio) == (before.failures, before.last_error, 0.0)
    assert (after.state, after.broken_since, after.retry_in) == ("degraded", None, None)


# -- of a manager --------------------------------------------------------------------------------


def test_a_manager_closes_the_circuit_of_a_host_however_it_is_written() -> None:
    bed = Bed(policy=OPEN_LONG)
    conn = well(bed)
    bed.trip(A)
    bed.manager.reset_circuit("HTTPS://A.test:443/")
    assert bed.manager.health(A).breaker == "closed"
    assert bed.manager.find(A) is conn
    assert len(bed.hook.asked) == 1
    assert bed.all(BreakerClosed) == [BreakerClosed(A, ramp=0.0, by_hand=True)]


def test_the_next_find_may_ask_the_hooks() -> None:
    bed = Bed()
    bed.hook.act = fail(OurConnectionError("down"))
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    bed.hook.act = lambda host, auth: bed.conn(host)
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    assert len(bed.hook.asked) == 1
    bed.manager.reset_circuit(A)
    assert bed.manager.find(A).origin.text == A


def test_a_stand_in_gives_way_at_once() -> None:
    bed = Bed(policy=OPEN_LONG)
    up, _ = failed_over(bed, Bed.trip)
    up.insert(0, A)
    assert bed.manager.find(A).origin.text == B
    bed.manager.reset_circuit(A)
    assert bed.manager.find(A).origin.text == A


def test_a_stand_in_of_a_url_keeps_its_own_circuit() -> None:
    bed = Bed(policy=OPEN_LONG)
    failed_over(bed, Bed.trip)
    bed.trip(B)
    bed.manager.reset_circuit(A)
    assert (bed.manager.health(A).breaker, bed.manager.health(B).breaker) == ("closed", "open")


def test_a_name_stands_for_the_hosts_that_it_leads_to() -> None:
    bed = Bed(policy=OPEN_LONG)
    bed.hook.act = lambda host, auth: bed.conn(A)
    conn = bed.manager.find("orders")
    bed.trip(A)
    bed.manager.reset_circuit("Orders")
    assert bed.manager.health(A).breaker == "closed"
    assert bed.manager.find("orders") is conn
    bed.trip(A)
    bed.manager.reset_circuit(A)
    assert bed.manager.find("orders") is conn


def test_names_that_lead_to_a_host_may_ask_their_hooks_too() -> None:
    bed = Bed(policy=OPEN_LONG)
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.find("orders")
    bed.clock.advance(5)
    bed.trip(A)
    bed.hook.act = fail(OurConnectionError("down"))
    for _ in range(2):
        with pytest.raises(OurConnectionError):
            bed.manager.find("orders")
    assert len(bed.hook.asked) == 2
    bed.hook.act = lambda host, auth: bed.conn(A)
    bed.manager.reset_circuit(A)
    assert bed.manager.find("orders")


@pytest.mark.parametrize("host", [A, "orders"])
def test_for_a_host_that_was_never_found_nothing_happens(host: str) -> None:
    bed = Bed()
    bed.manager.reset_circuit(host)
    assert (bed.events, bed.manager.health(), len(bed.manager)) == ([], {}, 0)


def test_an_isolated_host_stays_isolated() -> None:
    bed = Bed(policy=OPEN_LONG)
    well(bed)
    bed.trip(A)
    bed.manager.isolate(A)
    bed.manager.reset_circuit(A)
    refusal(lambda: bed.manager.find(A))
    bed.manager.restore(A)
    assert bed.manager.health(A).breaker == "closed"
    assert bed.manager.find(A)


def test_restore_does_not_close_a_circuit() -> None:
    """The host was taken out of use, not repaired, as far as anybody knows."""
    bed = Bed(policy=OPEN_LONG)
    well(bed)
    bed.trip(A)
    bed.manager.isolate(A)
    bed.manager.restore(A)
    assert bed.manager.health(A).breaker == "open"


def test_a_manager_without_hooks_and_a_closed_one_can_be_told() -> None:
    manager = ConnectionManager()
    manager.reset_circuit(A)
    manager.close()
    manager.reset_circuit(A)
