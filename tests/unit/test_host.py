"""A host's health record: every field, how it is judged, and what a forked child makes of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from sleepwalker.engine import HostHealth, Latency, failed
from sleepwalker.events import HostBroken, HostIsolated, HostRecovered, HostRestored, RequestRejected
from sleepwalker.exceptions import DecodeError, HostIsolatedError, ReadError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import HOST, PLAIN_BREAKER, WALL, World, answer, refused, reset


def world(**parts: Any) -> World:
    if parts.get("breaker"):
        parts["breaker"] = PLAIN_BREAKER | parts["breaker"]
    return World(Policy(**{"retry": False, "breaker": False, **parts}))


def test_a_host_without_a_call_is_unknown() -> None:
    health = world().host.snapshot()
    assert health == HostHealth(
        host=HOST,
        state="unknown",
        breaker="closed",
        calls=0,
        attempts=0,
        failures=0,
        success_ratio=None,
        consecutive_failures=0,
        latency=Latency(None, None, None),
        in_flight=0,
        limit=1000,
        retries=0,
        hedges=0,
        rejections=0,
        last_error=None,
        last_success=None,
        broken_since=None,
        retry_in=None,
        connections=0,
        hooks_since=None,
        breaker_mode="off",
    )


def test_every_field_after_some_traffic() -> None:
    here = World(Policy(retry={"attempts": 3, "jitter": "none"}, breaker=PLAIN_BREAKER | {"consecutive": 4}))
    here.call(answer(200), took=0.25)
    here.call([answer(503), answer(200)], took=0.25)
    here.clock.advance(10.0)
    here.call([reset(), refused(), answer(503)], took=0.25)
    here.call(answer(503))
    health = here.host.snapshot(connections=2)
    assert (health.host, health.connections) == (HOST, 2)
    assert (health.calls, health.attempts, health.retries) == (4, 7, 3)
    assert (health.failures, health.consecutive_failures) == (5, 4)
    assert health.success_ratio == 2 / 7
    assert (health.state, health.breaker, health.retry_in) == ("broken", "open", 5.0)
    assert health.last_error == "503"
    assert health.last_success == pytest.approx(WALL + 0.85, abs=1e-3)
    assert health.broken_since == here.clock.wall()
    assert health.latency.p50 == pytest.approx(0.25, rel=0.12)
    assert (health.in_flight, health.rejections) == (0, 0)
    here.call([])
    assert here.host.snapshot().rejections == 1
    assert here.host.snapshot().calls == 5


def test_a_snapshot_is_json_ready_and_does_not_change() -> None:
    here = world()
    before = here.host.snapshot()
    here.call(answer(500))
    data = json.loads(json.dumps(here.host.snapshot().to_dict()))
    assert before.calls == 0
    assert (data["calls"], data["last_error"], set(data["latency"])) == (1, "500", {"p50", "p95", "p99"})
    with pytest.raises(AttributeError):
        before.calls = 5  # type: ignore[misc]


@pytest.mark.parametrize(("bad", "state"), [(0, "healthy"), (5, "healthy"), (6, "degraded"), (100, "degraded")])
def test_a_share_of_failures_degrades_a_host(bad: int, state: str) -> None:
    here = world(health={"degraded_below": 0.95})
    for number in range(100):
        here.call(answer(500 if number < bad else 200))
    assert here.host.snapshot().state == state


def test_old_verdicts_leave_the_ratio() -> None:
    here = world(health={"window": 60})
    here.call(answer(500))
    assert here.host.snapshot().state == "degraded"
    here.clock.advance(60)
    assert (here.host.snapshot().state, here.host.snapshot().success_ratio) == ("unknown", None)


def test_neutral_answers_leave_a_host_as_it_is() -> None:
    here = world()
    for neutral in (answer(429), answer(408), answer(501), failed(ValueError("mine"))):
        here.call(neutral)
    health = here.host.snapshot()
    assert (health.state, health.success_ratio, health.failures, health.last_error) == ("unknown", None, 0, None)
    assert health.attempts == 4


@pytest.mark.parametrize("broken_after", [1, 3])
def test_connect_failures_in_a_row_break_a_host(broken_after: int) -> None:
    here = world(health={"broken_after": broken_after})
    for _ in range(broken_after - 1):
        here.call(refused())
    assert here.host.snapshot().state != "broken"
    here.clock.advance(1.0)
    here.call(refused())
    assert here.host.snapshot().state == "broken"
    assert here.host.snapshot().broken_since == here.clock.wall()
    assert here.only(HostBroken).reason == "connect"
    here.clock.advance(7.0)
    here.call(answer(404))
    assert here.host.snapshot().state == "degraded"
    assert here.host.snapshot().broken_since is None
    assert here.only(HostRecovered).broken_for == 7.0


def test_one_machine_of_three_that_refuses_all_breaks_no_host() -> None:
    """Three in a row come by chance there, again and again; and find would ask the hooks each time."""
    here = world(retry=False, breaker=False)
    for _ in range(10):
        for outcome in (answer(200), answer(200), refused()):
            here.call(outcome)
    for _ in range(8):  # the ninth in a row
        here.call(refused())
    assert here.all(HostBroken) == []
    here.call(refused())
    assert here.only(HostBroken).failures == 10
    here.call(answer(200))
    assert here.host.snapshot().state == "degraded"


def test_a_host_of_which_one_attempt_failed_is_broken_by_three() -> None:
    here = world(retry=False, breaker=False)
    for outcome in (*[answer(200)] * 99, refused(), answer(200)):
        here.call(outcome)
    for _ in range(3):
        here.call(refused())
    assert here.only(HostBroken).failures == 3


def test_an_answer_that_began_before_connecting_failed_is_no_recovery() -> None:
    here = world(health={"broken_after": 2})
    late = here.begin()
    here.clock.advance(1.0)
    for _ in range(2):
        here.call(refused())
    here.clock.advance(1.0)
    late.reply(answer(200))
    assert here.host.snapshot().state == "broken"
    assert here.all(HostRecovered) == []
    here.call(reset())
    assert here.host.snapshot().state == "broken"
    here.call(answer(200))
    assert here.host.snapshot().state != "broken"
    assert here.only(HostRecovered).broken_for == 1.0


def test_failures_of_a_host_that_answers_are_no_connect_failures() -> None:
    here = world(health={"broken_after": 3})
    for outcome in (refused(), refused(), reset(), refused(), refused(), answer(500)) * 3:
        here.call(outcome)
    assert here.host.snapshot().state == "degraded"
    assert here.all(HostBroken) == []


def test_a_late_success_does_not_end_what_the_circuit_began() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 2})
    late = here.begin()
    here.trip()
    since = here.host.snapshot().broken_since
    here.clock.advance(1.0)
    late.reply(answer(200))
    health = here.host.snapshot()
    assert (health.state, health.broken_since) == ("broken", since)
    assert here.all(HostRecovered) == []


def test_one_outage_is_broken_once_however_many_probes_fail() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 2, "close_after": 1, "ramp": 0})
    here.trip()
    since = here.host.snapshot().broken_since
    for _ in range(3):
        here.clock.advance(here.host.snapshot().retry_in or 0.0)
        here.call(reset())
    assert here.host.snapshot().broken_since == since
    here.recover()
    here.only(HostBroken)
    assert here.only(HostRecovered).broken_for == pytest.approx(5 + 10 + 20 + 40)


def test_a_circuit_that_waits_for_a_probe_is_degraded_even_when_all_verdicts_are_old() -> None:
    """It was reported as unknown, as without any call."""
    here = world(breaker={"consecutive_for": 0, "consecutive": 2}, health={"window": 1})
    here.trip()
    here.clock.advance(5.0)
    health = here.host.snapshot()
    assert (health.breaker, health.success_ratio, health.state) == ("half-open", None, "degraded")


def test_wall_times_follow_the_wall_clock_and_durations_do_not() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 1, "open_for": 30})
    here.call(answer(200))
    here.trip()
    here.clock.time_of_day -= 3600.0
    health = here.host.snapshot()
    assert (health.last_success, health.broken_since, health.retry_in) == (WALL - 3600, WALL - 3600, 30.0)


def test_a_streamed_body_that_breaks_counts_against_the_host() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 1})
    call = here.call(answer(200))
    assert call.final is not None
    here.host.outcomes.settle_body(call.final.permit, failed(ReadError("broke off")), here.clock.now)
    health = here.host.snapshot()
    assert (health.breaker, health.failures, health.attempts) == ("open", 1, 1)


def test_an_attempt_whose_body_breaks_counts_once() -> None:
    here = world()
    for expected in ((0.0, 1), (0.0, 2)):
        broken = here.stream()
        assert here.host.snapshot().consecutive_failures == 0
        here.clock.advance(1.0)
        broken()
        health = here.host.snapshot()
        assert (health.success_ratio, health.consecutive_failures) == expected
    assert (health.failures, health.attempts) == (2, 2)


def test_a_success_between_the_head_and_the_broken_body_ends_the_run() -> None:
    here = world()
    here.call(reset())
    broken = here.stream()
    here.call(answer(200))
    broken()
    health = here.host.snapshot()
    assert (health.consecutive_failures, health.success_ratio) == (1, 1 / 3)


def test_a_body_that_could_not_be_used_changes_nothing() -> None:
    here = world()
    call = here.call(answer(200))
    assert call.final is not None
    assert here.host.outcomes.settle_body(call.final.permit, failed(DecodeError("no gzip")), here.clock.now) == ()
    health = here.host.snapshot()
    assert (health.failures, health.success_ratio) == (0, 1.0)


def test_a_cancelled_send_is_an_attempt_without_a_verdict() -> None:
    here = world()
    with pytest.raises(KeyboardInterrupt):
        here.begin().throw(KeyboardInterrupt())
    health = here.host.snapshot()
    assert (health.attempts, health.failures, health.success_ratio, health.in_flight) == (1, 0, None, 0)


def test_an_isolated_host_gets_nothing_until_it_is_restored() -> None:
    here = world()
    assert here.host.isolate() == (HostIsolated(HOST),)
    assert here.host.isolate() == ()
    call = here.call([])
    assert isinstance(call.outcome.error, HostIsolatedError)
    assert call.outcome.error.host == HOST
    assert here.only(RequestRejected).by == "isolation"
    health = here.host.snapshot()
    assert (health.state, health.calls, health.rejections, health.in_flight) == ("isolated", 1, 1, 0)
    assert here.host.restore() == (HostRestored(HOST),)
    assert here.host.restore() == ()
    assert here.call(answer(200)).outcome.status == 200


def test_a_probe_from_outside_closes_the_circuit_like_any_other() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 1, "close_after": 2, "ramp": 0})
    here.trip()
    names = [event.name for event in here.host.outcomes.probed(answer(200), here.clock.now)]
    assert names == ["breaker.half_opened"]
    names = [event.name for event in here.host.outcomes.probed(answer(200), here.clock.now)]
    assert names == ["breaker.closed", "host.recovered"]


# fork


def in_child(check: Callable[[], None]) -> int:
    """The exit code of a forked child that runs `check`: 0 where it passed, 14 where it hung."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forks beside threads: that is the test
        pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        try:
            check()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    code = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(code) if os.WIFSIGNALED(code) else os.WEXITSTATUS(code)


def test_a_forked_child_has_nothing_in_flight_and_keeps_what_is_known() -> None:
    here = world(bulkhead={"max_concurrent": 1})
    here.call(answer(500))
    under_way = here.begin()

    def check() -> None:
        health = here.host.snapshot()
        assert (health.in_flight, health.calls, health.failures) == (0, 2, 1)
        assert here.call(answer(200)).outcome.status == 200

    assert in_child(check) == 0
    assert here.host.snapshot().in_flight == 1
    under_way.close()


def test_locks_that_another_thread_held_at_the_fork_are_free_in_the_child() -> None:
    """pybreaker's state machine has a lock of its own, but lives for one transition."""
    here = world(breaker={"consecutive_for": 0, "consecutive": 1, "close_after": 1})
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with here.host.lock.mutex:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)

    def check() -> None:
        here.trip()
        here.recover()

    try:
        assert in_child(check) == 0
    finally:
        done.set()
        thread.join(5)


def test_a_probe_under_way_in_the_parent_does_not_keep_the_child_waiting() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 1, "close_after": 1, "ramp": 0})
    here.trip()
    here.clock.advance(5.0)
    probe = here.begin()

    def check() -> None:
        assert here.host.snapshot().breaker == "half-open"
        assert here.call(answer(200)).outcome.status == 200
        assert here.host.snapshot().breaker == "closed"

    assert in_child(check) == 0
    assert here.host.snapshot().breaker == "half-open"
    probe.reply(answer(200))
    assert here.host.snapshot().breaker == "closed"
