"""What a snapshot tells of a host's story: since when, by which rule, who refused, which calls when, who leads here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker import ANONYMOUS, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.engine import Isolation, Latency, Recent, RejectedBy
from sleepwalker.engine.host.activity import INTERVAL, MOST, Activity
from tests.unit.engine_driver import HOST, PLAIN_BREAKER, WALL, FakeClock, World, answer, refused
from tests.unit.manager_driver import A, B, Bed, fail, failed_over


def world(**parts: Any) -> World:
    if parts.get("breaker"):
        parts["breaker"] = PLAIN_BREAKER | parts["breaker"]
    return World(Policy(**{"retry": False, "breaker": False, **parts}))


# -- calls and errors by interval ----------------------------------------------------------------


def test_calls_and_errors_are_told_by_intervals_of_15_s_from_the_first_call_to_the_running_one() -> None:
    here = world(breaker={"consecutive": 2, "open_for": 60})
    assert here.host.snapshot().recent == Recent(None, 15.0, (), ())
    here.call(answer(200))
    here.clock.advance(15)
    here.call(answer(503))
    here.call(answer(404))
    here.clock.advance(30)
    here.call(answer(503))
    here.call(answer(503))
    here.call([])  # the open circuit rejects it
    found = here.host.snapshot().recent
    assert (found.calls, found.errors) == ((1, 2, 0, 3), (0, 1, 0, 3))
    assert found.began == WALL - 5, "an interval begins where the host's clock is a multiple of 15 s"
    here.clock.advance(3600)
    assert here.host.snapshot().recent == Recent()


def test_a_record_that_was_used_within_one_interval_takes_no_ring() -> None:
    """There may be ten thousand."""
    here = world()
    for _ in range(100):
        here.call(answer(200))
    activity = here.host.admission.activity
    assert activity is not None
    assert activity._counts is None
    assert here.host.snapshot().recent.calls == (100,)


@given(
    st.lists(
        st.tuples(st.floats(0, 5000), st.sampled_from([0, 1, 3, 300, 70_000, 5_000_000_000]), st.booleans()),
        max_size=40,
    ),
    st.floats(0, 2000),
)
def test_the_ring_says_what_counting_each_interval_by_itself_says(
    steps: list[tuple[float, int, bool]], after: float
) -> None:
    """Also over pauses longer than the ring, and with numbers that take more than a byte."""
    ring, now, until, calls, errors = Activity(), 0.0, 0.0, 0, 0
    counted: dict[int, tuple[int, int]] = {}
    for pause, times, failed in steps:
        if not times:
            continue
        now += pause if pause > 50 else 0.0
        if now >= until:
            until, _ = ring.roll(now, calls, errors)
        calls, errors = calls + times, errors + (times if failed else 0)
        before = counted.get(int(now / INTERVAL), (0, 0))
        counted[int(now / INTERVAL)] = before[0] + times, before[1] + (times if failed else 0)
    now += after
    last = int(now / INTERVAL)
    expected = [counted.get(number, (0, 0)) for number in range(last - MOST + 1, last + 1)]
    while expected and not expected[0][0]:
        del expected[0]
    found = ring.read(now, calls, errors)
    if not expected:
        assert found is None
    else:
        began = (last - len(expected) + 1) * INTERVAL
        assert found == (began, [one for one, _ in expected], [one for _, one in expected])


# -- since when ----------------------------------------------------------------------------------


def since(here: World) -> tuple[str, float | None]:
    """The state, and for how many seconds it has been so."""
    health = here.host.snapshot()
    return health.state, None if health.state_since is None else here.clock.wall() - health.state_since


def test_each_state_says_since_when() -> None:
    here = world(breaker={"consecutive": 3, "open_for": 60, "open_max": 60, "ramp": 0}, health={"window": 60})
    assert since(here) == ("unknown", None)
    here.call(answer(200))
    here.clock.advance(20)
    here.call(answer(200))
    assert since(here) == ("healthy", 20)
    here.call(answer(503))
    here.clock.advance(5)
    assert since(here) == ("degraded", 5)
    here.clock.advance(60)
    assert since(here) == ("unknown", 5), "since the last that was heard of left the window"
    here.call(answer(200))
    here.clock.advance(7)
    assert since(here) == ("healthy", 7), "not since before it was quiet"
    here.trip()
    here.clock.advance(3)
    assert since(here) == ("broken", 3)
    here.clock.advance(58)
    here.call(answer(200))
    assert since(here) == ("degraded", 61), "a host that recovers counts from when it broke"
    here.clock.advance(60)
    here.call(answer(200))
    assert since(here) == ("healthy", 0)


def test_a_degraded_host_that_does_better_again_is_healthy_from_then_on() -> None:
    here = world(health={"window": 60, "degraded_below": 0.9})
    here.call(answer(503))
    here.clock.advance(10)
    for _ in range(8):
        here.call(answer(200))
    assert since(here) == ("degraded", 10)
    here.call(answer(200))
    here.clock.advance(10)
    assert since(here) == ("healthy", 10)


@pytest.mark.parametrize("offset", [0.5, 2.5, 5.5])
def test_no_state_begins_in_the_future(offset: float) -> None:
    """The window moves in steps, so a host is unknown somewhat before its last response is as old as the window."""
    here = World(Policy(retry=False))
    here.clock.advance(offset)
    here.call(answer(200))
    while here.host.snapshot().state != "unknown":
        here.clock.advance(0.25)
    moment = here.host.snapshot().state_since
    assert moment is not None
    assert moment <= here.clock.time_of_day


def test_a_new_threshold_is_a_new_state() -> None:
    here = world(health={"degraded_below": 0.5})
    for status in (200, 200, 503):
        here.call(answer(status))
    assert since(here)[0] == "healthy"
    here.host.reconfigure(here.policy.replace(health={"degraded_below": 0.9}))
    here.clock.advance(4)
    assert since(here) == ("degraded", 0), "since it was noted"


def test_an_isolation_says_since_when_and_keeps_that_where_its_reason_changes() -> None:
    here = world()
    here.call(answer(200))
    here.clock.advance(5)
    here.host.isolate(Isolation("maintenance"))
    here.clock.advance(20)
    here.host.isolate(Isolation("longer"))
    health = here.host.snapshot()
    assert (health.isolated_since, health.state_since) == (WALL + 5, WALL + 5)
    part, _, _ = here.host.part("reports")
    assert part.snapshot().isolated_since == WALL + 5, "with the whole host"
    here.host.restore()
    here.clock.advance(1)
    assert since(here) == ("healthy", 1)
    assert here.host.snapshot().isolated_since is None


def test_an_isolation_that_ended_by_itself_is_over_for_the_next_one() -> None:
    here = world()
    here.host.isolate(Isolation(until=WALL + 10, ends=here.clock.now + 10))
    here.clock.advance(20)
    here.host.isolate(Isolation("again"))
    here.clock.advance(1)
    assert since(here) == ("isolated", 1)


def test_a_part_of_a_host_that_cannot_be_connected_to_is_broken_since_the_host_is() -> None:
    here = world(health={"broken_after": 1})
    part, _, _ = here.host.part("reports")
    here.call(refused())
    here.clock.advance(9)
    health = part.snapshot()
    assert (health.state, health.state_since) == ("broken", WALL)


def test_the_last_error_says_when_it_was() -> None:
    here = world()
    here.call(answer(503))
    here.clock.advance(14_400)
    here.call(answer(200))
    health = here.host.snapshot()
    assert (health.last_error, health.last_error_at) == ("503", WALL)


# -- the circuit ---------------------------------------------------------------------------------


def test_an_open_circuit_says_when_it_opened_and_by_which_rule_until_it_closes() -> None:
    here = world(breaker={"consecutive": 3, "open_for": 5, "ramp": 0})
    health = here.host.snapshot()
    assert (health.breaker_mode, health.opened_at, health.opened_by) == ("enforce", None, None)
    here.trip()
    here.clock.advance(5)
    here.call(answer(503))  # the probe failed: it opens again, and has been open since the first time
    for _ in range(2):
        health = here.host.snapshot()
        assert (health.opened_at, health.opened_by) == (WALL, "consecutive")
        here.clock.advance(100)
    assert health.breaker == "half-open"
    here.recover()
    health = here.host.snapshot()
    assert (health.opened_at, health.opened_by) == (None, None)


def test_a_share_of_failures_is_told_as_the_rule() -> None:
    here = world(breaker={"consecutive": 100, "failure_ratio": 0.5, "min_calls": 4})
    for status in (200, 503, 200, 503):
        here.call(answer(status))
    assert here.host.snapshot().opened_by == "failure_ratio"


def test_a_dry_run_says_that_it_is_one_since_when_it_would_be_open_and_what_it_would_have_refused() -> None:
    here = world(breaker={"consecutive": 2, "mode": "observe", "open_for": 60})
    for _ in range(5):
        here.call(answer(503))
    health = here.host.snapshot()
    assert (health.breaker_mode, health.breaker, health.opened_at) == ("observe", "open", WALL)
    assert (health.state, health.broken_since, health.retry_in) == ("degraded", None, None)
    assert health.would_reject == RejectedBy(breaker=3)
    assert health.rejected == RejectedBy()
    assert world().host.snapshot().breaker_mode == "off"


def test_rejections_are_told_by_what_refused() -> None:
    here = world(breaker={"consecutive": 1, "open_for": 5}, bulkhead={"max_concurrent": 1})
    running = here.begin()
    here.call([])  # no room
    running.reply(answer(503))
    for _ in range(2):
        here.call([])  # open
    here.host.isolate()
    here.call([])
    health = here.host.snapshot()
    assert health.rejected == RejectedBy(breaker=2, bulkhead=1, isolation=1)
    assert health.rejections == 4
    limited = world(rate_limit={"rate": 1, "burst": 1})
    for _ in range(2):
        limited.call(answer(200))
    assert limited.host.snapshot().rejected == RejectedBy(rate_limit=1)


def test_all_of_it_is_ready_for_json() -> None:
    here = world(breaker={"consecutive": 1})
    here.call(answer(503))
    told = here.host.snapshot().to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["recent"] == {"began": WALL - 5, "seconds": 15.0, "calls": [1], "errors": [1]}
    assert told["rejected"] == dict.fromkeys(("breaker", "bulkhead", "rate_limit", "cooldown", "isolation"), 0)
    assert (told["names"], told["latency"].keys()) == ([], {"p50", "p95", "p99"})
    assert here.host.snapshot().latency == Latency(**told["latency"])


# -- what leads here -----------------------------------------------------------------------------


def test_names_are_what_find_was_asked_for_and_led_here() -> None:
    bed = Bed()
    bed.hook.act = lambda host, auth: bed.conn(A)
    for host in ("Warehouse", "stock", f"{A}/api", A):
        bed.manager.find(host)
    bed.manager.find(A, ANONYMOUS).scope("reports")
    health = bed.manager.health()
    assert health[A].names == (f"{A}/api", "stock", "warehouse")
    assert health[f"{A}#reports"].names == health[A].names
    assert bed.manager.health("stock").names == health[A].names
    assert bed.conn(A).health.names == ()


def test_a_host_is_used_for_as_long_as_something_leads_to_it() -> None:
    bed = Bed()
    place = A
    bed.hook.act = lambda host, auth: bed.conn(place)
    bed.manager.find("stock")
    assert bed.manager.health(A).used
    bed.unreachable(A)
    place = B
    bed.clock.advance(2)
    bed.manager.find("stock")
    health = bed.manager.health()
    assert (health[A].state, health[A].used, health[A].names) == ("broken", False, ())
    assert (health[B].used, health[B].names) == (True, ("stock",))


def test_a_host_that_hooks_are_asked_for_in_vain_is_used() -> None:
    bed = Bed()
    bed.manager.find(A)
    bed.unreachable(A)
    bed.hook.act = fail(OSError("down"))
    bed.clock.advance(2)
    with pytest.raises(OurConnectionError):
        bed.manager.find(A)
    health = bed.manager.health(A)
    assert (health.state, health.connections, health.used) == ("broken", 0, True)


def test_a_broken_host_says_where_its_calls_go_meanwhile() -> None:
    bed = Bed()
    failed_over(bed)
    health = bed.manager.health()
    assert (health[A].failover, health[A].used) == (B, True)
    assert (health[B].failover, health[B].names) == (None, (A,))


def test_without_a_clock_that_moves_nothing_changes() -> None:
    """A snapshot is read, and reads leave nothing behind."""
    here = World(clock=FakeClock())
    here.call(answer(200))
    first = here.host.snapshot()
    assert here.host.snapshot() == first
    assert first.host == HOST
