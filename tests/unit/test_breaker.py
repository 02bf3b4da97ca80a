"""The circuit breaker: when it opens, whom it lets through, and how it comes back."""

from __future__ import annotations

import threading
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sleepwalker.engine import Outcome, Permit
from sleepwalker.engine.host.permits import Refusal
from sleepwalker.engine.host.slow_calls import SlowCalls
from sleepwalker.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    HostBroken,
    RequestRejected,
    RequestWouldReject,
    RetryAbandoned,
)
from sleepwalker.exceptions import CircuitOpenError, DecodeError, RedirectError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import HOST, PLAIN_BREAKER, WALL, Running, World, answer, bearer, failed, refused, reset


def world(**breaker: Any) -> World:
    """No retries, and no ramp unless asked for; the dice show the middle, so open times are exact."""
    return World(Policy(retry=False, breaker=PLAIN_BREAKER | {"ramp": 0} | breaker, bulkhead=False))


def state(here: World) -> str:
    return here.host.snapshot().breaker


def rejected(call: Running) -> bool:
    return isinstance(call.final and call.outcome.error, CircuitOpenError) and call.sends == []


# When it opens


@pytest.mark.parametrize("failure", [answer(500), answer(503), reset(), refused()])
def test_failures_in_a_row_open_it_whatever_their_kind(failure: Outcome) -> None:
    here = world(consecutive=5)
    for _ in range(4):
        here.call(failure)
    assert state(here) == "closed"
    here.call(failure)
    assert state(here) == "open"
    event = here.only(BreakerOpened)
    assert (event.host, event.rule, event.open_for, event.cause) == (HOST, "consecutive", 5.0, failure.cause)


def test_a_success_ends_the_row() -> None:
    here = world(consecutive=5)
    for _ in range(50):
        here.call(answer(200))
        for _ in range(4):
            here.clock.advance(10)
            here.call(answer(500))
    assert state(here) == "closed"


def test_the_row_counts_however_far_apart_its_failures_are() -> None:
    """A host with few calls never reaches `min_calls`; time does not make its failures better."""
    here = world(consecutive=3)
    for _ in range(3):
        here.clock.advance(86_400)
        here.call(answer(500))
    assert here.only(BreakerOpened).rule == "consecutive"


def test_a_share_of_failures_opens_it_from_min_calls_on() -> None:
    here = world(consecutive=1000, failure_ratio=0.5, min_calls=20)
    for _ in range(9):
        here.call(answer(200))
        here.call(answer(500))
    here.call(answer(200))
    assert state(here) == "closed"
    here.call(answer(500))
    assert here.only(BreakerOpened).rule == "failure_ratio"


@pytest.mark.parametrize(("good", "bad", "opens"), [(11, 9, False), (10, 10, True), (0, 19, False), (0, 20, True)])
def test_the_share_is_reached_not_exceeded(good: int, bad: int, opens: bool) -> None:
    here = world(consecutive=1000, failure_ratio=0.5, min_calls=20)
    for status, times in ((200, good), (500, bad)):
        for _ in range(times):
            here.call(answer(status))
    assert (state(here) == "open") is opens


def test_failures_older_than_the_window_do_not_count_in_the_share() -> None:
    here = world(consecutive=1000, min_calls=20, window=30)
    for _ in range(19):
        here.call(answer(500))
    here.clock.advance(31)
    for _ in range(10):
        here.call(answer(200))
    here.call(answer(500))
    assert state(here) == "closed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 418, 422, 451])
def test_a_host_that_says_no_is_alive(status: int) -> None:
    here = world(consecutive=2, min_calls=1)
    for _ in range(50):
        here.call(answer(status))
    assert state(here) == "closed"
    here.call(answer(500))
    here.call(answer(status))
    assert here.host.snapshot().consecutive_failures == 0


@pytest.mark.parametrize("outcome", [failed(DecodeError("gzip")), failed(RedirectError("loop"))])
def test_an_answer_that_cannot_be_used_is_an_answer(outcome: Outcome) -> None:
    here = world(consecutive=2)
    for _ in range(10):
        here.call(outcome)
    assert state(here) == "closed"


NEUTRAL = [answer(408), answer(429), answer(501), failed(ValueError("the caller's own"))]


@pytest.mark.parametrize("neutral", NEUTRAL)
def test_a_neutral_outcome_moves_nothing_while_closed(neutral: Outcome) -> None:
    """Counted as success it kept another breaker closed for ever: 80 failures, one exclusion in five."""
    here = world(consecutive=5)
    for _ in range(4):
        here.call(answer(500))
        here.call(neutral)
    assert state(here) == "closed"
    here.call(neutral)
    here.call(answer(500))
    assert state(here) == "open"


def test_neutral_outcomes_do_not_fill_min_calls() -> None:
    here = world(consecutive=1000, min_calls=20)
    for _ in range(100):
        here.call(answer(429))
    for _ in range(19):
        here.call(answer(500))
    assert state(here) == "closed"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), ValueError("mine")])
def test_a_cancelled_call_never_trips(error: BaseException) -> None:
    here = world(consecutive=1, min_calls=1)
    for _ in range(10):
        with pytest.raises(type(error)):
            here.begin().throw(error)
    assert state(here) == "closed"


def test_one_failure_is_counted_once() -> None:
    here = world(consecutive=5)
    for number in range(1, 5):
        here.call(answer(500))
        health = here.host.snapshot()
        assert (health.failures, health.consecutive_failures, health.attempts) == (number, number, number)
    assert state(here) == "closed"


def test_the_call_that_trips_gets_its_own_outcome() -> None:
    here = world(consecutive=1)
    own = reset()
    assert here.call(own).outcome is own
    assert state(here) == "open"


# While it is open


def test_an_open_circuit_rejects_at_once_and_says_for_how_long_and_why() -> None:
    here = world(consecutive=2, open_for=8)
    here.trip()
    here.clock.advance(3.0)
    call = here.call([])
    error = call.outcome.error
    assert isinstance(error, CircuitOpenError)
    assert (error.host, error.retry_after, error.cause) == (HOST, 5.0, "500")
    assert str(error) == f"the circuit of {HOST} is open after 500; next try in 5 s"
    assert (call.sends, call.waits) == ([], [])
    assert here.only(RequestRejected).retry_after == 5.0
    assert here.host.snapshot().rejections == 1


def test_a_rejection_is_never_retried() -> None:
    here = World(Policy(retry={"attempts": 10}))
    here.trip()
    before = here.host.snapshot().retries
    call = here.call([])
    assert (call.sends, call.waits) == ([], [])
    assert here.host.snapshot().retries == before


def test_its_state_follows_the_time_without_any_call() -> None:
    here = world(consecutive=1, open_for=5)
    here.trip()
    assert (state(here), here.host.snapshot().retry_in) == ("open", 5.0)
    here.clock.advance(4.999)
    assert state(here) == "open"
    here.clock.advance(0.001)
    assert (state(here), here.host.snapshot().retry_in) == ("half-open", None)
    assert here.all(BreakerHalfOpened) == []


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, -1e9])
def test_a_wall_clock_that_jumps_changes_nothing(jump: float) -> None:
    here = world(consecutive=1, open_for=60)
    here.trip()
    here.clock.time_of_day += jump
    assert here.host.snapshot().retry_in == 60.0
    here.clock.advance(59.9)
    assert rejected(here.call([]))
    here.clock.time_of_day += jump
    here.clock.advance(0.1)
    assert not rejected(here.call(answer(200)))


def test_a_call_may_pass_by_the_breaker_and_moves_it_not() -> None:
    here = world(consecutive=2)
    urgent = Policy(retry=False, breaker=False)
    for _ in range(10):
        here.call(answer(500), policy=urgent)
    assert state(here) == "closed"
    here.trip()
    assert here.call(answer(200), policy=urgent).outcome.status == 200
    assert state(here) == "open"


# Half-open


@pytest.mark.parametrize("probes", [1, 2, 5])
def test_half_open_lets_exactly_its_probes_through_and_rejects_the_rest_at_once(probes: int) -> None:
    here = world(consecutive=1, half_open_probes=probes, close_after=10)
    here.trip()
    here.clock.advance(5.0)
    calls = [here.begin() for _ in range(8)]
    assert [rejected(call) for call in calls] == [False] * probes + [True] * (8 - probes)
    here.only(BreakerHalfOpened)
    calls[0].reply(answer(200))
    more = [here.begin() for _ in range(3)]
    assert [rejected(call) for call in more] == [False, True, True]


def test_eight_threads_at_once_are_one_probe() -> None:
    here = world(consecutive=1)
    here.trip()
    here.clock.advance(5.0)
    together = threading.Barrier(8)
    admissions: list[Permit | Refusal] = []

    def come() -> None:
        together.wait(5)
        admissions.append(here.host.admission.admit(bearer(), here.clock.now, 11.0)[0])

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sum(isinstance(admission, Permit) for admission in admissions) == 1
    assert len(admissions) == 8


def _throw(call: Running, error: BaseException) -> None:
    with pytest.raises(type(error)):
        call.throw(error)


def _wrong(call: Running) -> None:
    with pytest.raises(TypeError):
        call.reply(True)


@pytest.mark.parametrize(
    "end",
    [
        *(lambda call, outcome=outcome: call.reply(outcome) for outcome in NEUTRAL),  # type: ignore[misc]
        lambda call: call.reply(answer(200)),
        lambda call: _throw(call, KeyboardInterrupt()),
        lambda call: _throw(call, SystemExit()),
        lambda call: _throw(call, ValueError("mine")),
        lambda call: call.close(),
        _wrong,
    ],
    ids=["408", "429", "501", "own error", "200", "Ctrl-C", "exit", "driver's error", "closed", "wrong reply"],
)
def test_a_probes_permit_is_back_after_every_way_that_it_can_end(end: Any) -> None:
    """A failed probe whose permit never came back locked a host out for good."""
    here = world(consecutive=1, close_after=3)
    here.trip()
    here.clock.advance(5.0)
    probe = here.begin()
    assert rejected(here.begin())
    end(probe)
    assert state(here) == "half-open"
    assert not rejected(here.begin())


def test_a_failed_probe_opens_it_again_for_longer_by_the_growth() -> None:
    here = world(consecutive=1, open_for=5, open_growth=2)
    here.trip()
    here.clock.advance(5.0)
    here.call(reset())
    assert [(event.rule, event.open_for) for event in here.all(BreakerOpened)] == [
        ("consecutive", 5.0),
        ("probe", 10.0),
    ]
    assert here.all(BreakerOpened)[1].cause == "ReadError"
    here.clock.advance(9.9)
    assert rejected(here.begin())
    here.clock.advance(0.1)
    assert not rejected(here.begin())


def test_a_permit_that_never_comes_back_expires() -> None:
    """After the attempt's deadline and a second, whatever became of it."""
    here = world(consecutive=1)
    here.trip()
    here.clock.advance(5.0)
    lost = here.begin()
    attempt = here.policy.timeout.attempt
    refusal = here.begin().outcome.error
    assert isinstance(refusal, CircuitOpenError)
    assert refusal.retry_after == attempt + 1.0
    here.clock.advance(attempt + 0.999)
    assert rejected(here.begin())
    here.clock.advance(0.002)
    assert not rejected(here.begin())
    assert lost.final is None


def test_neutral_probes_neither_close_nor_open_it() -> None:
    here = world(consecutive=1, close_after=2)
    here.trip()
    here.clock.advance(5.0)
    for _ in range(10):
        here.call(answer(429))
    assert state(here) == "half-open"
    here.call(answer(200))
    here.call(answer(429))
    here.call(answer(200))
    assert state(here) == "closed"


def test_it_closes_after_enough_successes_and_forgets_what_was() -> None:
    here = world(consecutive=5, close_after=2, min_calls=20)
    here.trip()
    here.clock.advance(5.0)
    here.call(answer(404))
    assert state(here) == "half-open"
    here.call(answer(200))
    assert state(here) == "closed"
    assert here.only(BreakerClosed).ramp == 0
    for _ in range(4):
        here.call(answer(500))
    assert state(here) == "closed"


def test_failures_from_before_it_closed_are_not_in_the_share_any_more() -> None:
    here = world(consecutive=5, close_after=2, min_calls=8)
    here.trip()
    here.recover()
    here.call(answer(500))
    assert state(here) == "closed"


def test_successes_of_an_earlier_try_do_not_help_to_close_it() -> None:
    here = world(consecutive=1, close_after=2)
    here.trip()
    for _ in range(3):
        here.clock.advance(here.host.snapshot().retry_in or 0.0)
        here.call(answer(200))
        assert state(here) == "half-open"
        here.call(reset())
        assert state(here) == "open"


def test_a_probe_lost_in_an_earlier_try_takes_no_place_in_the_next() -> None:
    here = world(consecutive=1, half_open_probes=2, open_for=1)
    here.trip()
    here.clock.advance(1.0)
    lost = here.begin()
    here.call(reset())
    here.clock.advance(2.0)
    probes = [here.begin(), here.begin(), here.begin()]
    assert [rejected(probe) for probe in probes] == [False, False, True]
    assert lost.final is None


# Late outcomes


def test_a_success_that_began_before_the_trip_does_not_close_it() -> None:
    here = world(consecutive=5, close_after=1)
    late = [here.begin() for _ in range(3)]
    here.trip()
    late[0].reply(answer(200))
    assert state(here) == "open"
    here.clock.advance(5.0)
    probe = here.begin()
    late[1].reply(answer(200))
    assert state(here) == "half-open"
    assert rejected(here.begin())
    probe.reply(answer(200))
    assert state(here) == "closed"
    late[2].reply(reset())
    assert state(here) == "closed"


def test_a_burst_of_failures_in_flight_is_one_trip() -> None:
    """Eight failures of one blip once counted as eight trips, and the circuit stayed open for 640 s."""
    here = world(consecutive=1, open_for=5)
    burst = [here.begin() for _ in range(8)]
    for call in burst:
        call.reply(reset())
    assert [event.open_for for event in here.all(BreakerOpened)] == [5.0]
    here.clock.advance(5.0)
    assert not rejected(here.begin())


def test_failures_from_before_do_not_count_after_it_closed() -> None:
    here = world(consecutive=5)
    burst = [here.begin() for _ in range(20)]
    here.trip()
    here.recover()
    for call in burst:
        call.reply(reset())
    assert state(here) == "closed"
    assert len(here.all(BreakerOpened)) == 1


def test_two_probes_that_fail_are_one_relapse() -> None:
    here = world(consecutive=1, half_open_probes=2, open_for=5)
    here.trip()
    here.clock.advance(5.0)
    one, other = here.begin(), here.begin()
    one.reply(reset())
    other.reply(reset())
    assert [event.open_for for event in here.all(BreakerOpened)] == [5.0, 10.0]


# How long, and the ramp


def test_each_failed_probe_multiplies_the_open_time_up_to_its_most() -> None:
    here = world(consecutive=1, open_for=5, open_max=60)
    here.trip()
    for _ in range(2000):
        here.clock.advance(here.host.snapshot().retry_in or 0.0)
        here.call(reset())
    times = [event.open_for for event in here.all(BreakerOpened)]
    assert times[:6] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert times[-1] == 60.0


@pytest.mark.parametrize(("dice", "open_for"), [(0.0, 9.0), (0.25, 9.5), (0.5, 10.0), (0.999999, 11.0)])
def test_open_times_are_spread_by_ten_per_cent_either_way(dice: float, open_for: float) -> None:
    here = world(consecutive=1, open_for=10)
    here.clock.roll = lambda: dice
    here.trip()
    assert here.only(BreakerOpened).open_for == pytest.approx(open_for, rel=1e-6)
    assert here.host.snapshot().retry_in == pytest.approx(open_for, rel=1e-6)


def test_after_closing_what_is_let_in_at_once_doubles_with_each_round_of_successes() -> None:
    here = world(consecutive=1, ramp=5)
    here.trip()
    here.recover()
    let_in = []
    for _ in range(6):
        calls = [here.begin() for _ in range(50)]
        admitted = [call for call in calls if not rejected(call)]
        let_in.append(len(admitted))
        assert here.host.snapshot().share == len(admitted) / 50
        for call in admitted:
            call.reply(answer(200))
    assert let_in == [2, 4, 8, 16, 32, 50]


def test_a_circuit_that_is_not_closed_lets_in_no_share_of_the_calls() -> None:
    here = world(consecutive=1, ramp=5)
    assert here.host.snapshot().share == 1.0
    here.trip()
    assert here.host.snapshot().share == 0.0
    here.clock.advance(5.0)
    assert here.host.snapshot().share == 0.0
    here.recover()
    assert here.host.snapshot().share == 1.0  # no call has been held back yet
    assert world(consecutive=1, mode="observe").host.snapshot().share == 1.0


def test_a_failure_in_a_slow_start_halves_what_is_let_in_and_a_burst_of_them_does_so_once() -> None:
    here = world(consecutive=100, failure_ratio=1, ramp=5)
    here.trip()
    here.recover()
    for expected in (2, 4, 8):
        calls = [call for call in [here.begin() for _ in range(50)] if not rejected(call)]
        assert len(calls) == expected
        here.clock.advance(0.01)
        for call in calls:
            call.reply(answer(200))
    calls = [call for call in [here.begin() for _ in range(50)] if not rejected(call)]
    assert len(calls) == 16
    here.clock.advance(0.01)
    for call in calls:
        call.reply(answer(500))
    calls = [here.begin() for _ in range(50)]
    assert sum(not rejected(call) for call in calls) == 8


def test_a_slow_start_ends_after_a_round_in_which_nothing_was_held_back() -> None:
    """One after the other, as a caller with few calls makes them."""
    here = world(consecutive=1, ramp=5)
    here.trip()
    here.recover()
    for _ in range(2):
        here.call(answer(200))
    assert not any(rejected(here.begin()) for _ in range(100))


def test_a_slow_start_ends_in_any_case_when_its_time_is_over() -> None:
    here = world(consecutive=1, ramp=5)
    here.trip()
    here.recover()
    calls = [here.begin() for _ in range(3)]
    assert [rejected(call) for call in calls] == [False, False, True]
    here.clock.advance(5.0)
    assert not any(rejected(here.begin()) for _ in range(100))


def test_who_is_held_back_by_a_slow_start_is_told_when_it_ends_at_the_latest() -> None:
    here = world(consecutive=1, ramp=5)
    here.trip()
    here.recover()
    here.clock.advance(2.0)
    error = [here.begin() for _ in range(3)][-1].outcome.error
    assert isinstance(error, CircuitOpenError)
    assert (error.retry_after, error.cause) == (3.0, "500")
    assert here.host.snapshot().breaker == "closed"


def test_the_cause_of_an_open_circuit_is_the_failure_that_opened_it() -> None:
    here = world(consecutive=2, ramp=5)
    here.trip()
    here.recover()
    here.call(reset())
    error = [here.begin() for _ in range(2)][-1].outcome.error
    assert isinstance(error, CircuitOpenError)
    assert error.cause == "500"


def test_a_trip_soon_after_closing_keeps_what_is_left_of_the_open_time_that_had_grown() -> None:
    """Each second in which calls were answered is one less."""
    here = world(consecutive=1, ramp=5, open_for=5)
    here.trip()
    for _ in range(2):
        here.clock.advance(here.host.snapshot().retry_in or 0.0)
        here.call(reset())
    assert here.all(BreakerOpened)[-1].open_for == 20.0
    here.recover()
    here.clock.advance(6.0)
    here.call(reset())
    assert here.all(BreakerOpened)[-1].open_for == 14.0
    here.recover()
    here.clock.advance(12.0)
    here.call(reset())
    assert here.all(BreakerOpened)[-1].open_for == 5.0


def test_a_host_that_was_up_for_as_long_as_it_had_been_down_is_looked_at_soon_however_often() -> None:
    here = world(consecutive=1, open_for=5)
    for _ in range(10):
        here.trip()
        here.recover()
        here.clock.advance(5.0)
        here.call(answer(200))
    assert {event.open_for for event in here.all(BreakerOpened)} == {5.0}


def test_a_host_that_answered_a_probe_is_looked_at_soon_again() -> None:
    """It is not down, but perhaps cold: two answers in a row are too much for it yet."""
    here = world(consecutive=1, open_for=5)
    here.trip()
    for _ in range(3):
        here.clock.advance(here.host.snapshot().retry_in or 0.0)
        here.call(reset())
    here.clock.advance(here.host.snapshot().retry_in or 0.0)
    here.call(answer(200))
    here.call(reset())
    assert [event.open_for for event in here.all(BreakerOpened)] == [5.0, 10.0, 20.0, 40.0, 5.0]


def test_a_probe_that_hung_was_a_rest_for_the_host() -> None:
    here = world(consecutive=1, open_for=5)
    here.trip()
    here.clock.advance(5.0)
    here.call(reset(), took=4.0)
    assert here.all(BreakerOpened)[-1].open_for == 6.0
    here.clock.advance(6.0)
    here.call(reset(), took=30.0)
    assert here.all(BreakerOpened)[-1].open_for == 2.0  # a tenth at least


def test_without_a_ramp_all_are_admitted_at_once() -> None:
    here = world(consecutive=1, ramp=0)
    here.trip()
    here.recover()
    here.clock.roll = lambda: 1 - 2**-53
    assert not any(rejected(here.begin()) for _ in range(20))


def test_a_ramp_of_less_than_a_second_is_one() -> None:
    here = world(consecutive=1, ramp=0.5)
    here.trip()
    here.recover()
    calls = [here.begin() for _ in range(3)]
    assert [rejected(call) for call in calls] == [False, False, True]


def test_without_a_ramp_one_who_read_the_clock_before_the_circuit_closed_is_admitted() -> None:
    """Once, that was a ZeroDivisionError."""
    here = world(consecutive=1, ramp=0)
    here.trip()
    here.recover()
    breaker = here.host.breaker
    assert breaker is not None
    assert isinstance(breaker.admit_locked(bearer(), here.clock.now - 0.001, 1.0), Permit)


# Slow calls


def slow_world(**breaker: Any) -> World:
    """Failures are far from opening it; a call is slow from 2 s on, and half of four are too many."""
    rare = {"consecutive": 1000, "failure_ratio": 1.0}
    return world(**{"slow_ratio": 0.5, "slow_call": 2, "min_calls": 4, "window": 30, **rare, **breaker})


@pytest.mark.parametrize(("fast", "slow", "opens"), [(3, 1, False), (2, 2, True), (0, 3, False), (0, 4, True)])
def test_a_share_of_slow_answers_opens_it_from_min_calls_on(fast: int, slow: int, opens: bool) -> None:
    here = slow_world()
    for took, times in ((0.1, fast), (2.0, slow)):
        for _ in range(times):
            here.call(answer(200), took=took)
    assert (state(here) == "open") is opens


def test_a_circuit_that_slowness_opened_says_so() -> None:
    here = slow_world(min_calls=1)
    own = answer(200)
    assert here.call(own, took=2.0).outcome is own
    opened = here.only(BreakerOpened)
    assert (opened.rule, opened.open_for, opened.cause) == ("slow_ratio", 5.0, "slow calls")
    broken = here.only(HostBroken)
    assert (broken.reason, broken.failures, broken.cause) == ("breaker", 0, "slow calls")
    assert str(here.begin().outcome.error) == f"the circuit of {HOST} is open after slow calls; next try in 5 s"


def test_a_call_just_under_the_limit_is_fast() -> None:
    here = slow_world(min_calls=1)
    for _ in range(50):
        here.call(answer(200), took=1.999)
    assert state(here) == "closed"


def test_a_fast_call_that_makes_them_enough_may_open_it() -> None:
    here = slow_world()
    for _ in range(3):
        here.call(answer(200), took=2.0)
    here.call(answer(200))
    assert here.only(BreakerOpened).rule == "slow_ratio"


def test_calls_in_flight_are_slow_without_their_end() -> None:
    """A hung host sends nothing; by responses alone that shows only when the first deadline is over."""
    here = slow_world()
    hung = [here.begin() for _ in range(4)]
    here.clock.advance(1.999)
    assert state(here) == "closed"
    here.clock.advance(0.001)
    assert (state(here), here.host.snapshot().state) == ("open", "broken")
    assert rejected(here.begin())
    assert all(call.final is None for call in hung)


def test_it_opened_when_the_call_became_slow_not_when_it_was_read() -> None:
    here = slow_world(open_for=5)
    hung = [here.begin() for _ in range(4)]
    here.clock.advance(4.0)
    health = here.host.snapshot()
    assert (health.breaker, health.retry_in) == ("open", 3.0)
    assert health.broken_since == WALL + 2.0
    assert here.events == []  # a reader has no observer
    assert rejected(here.begin())
    assert here.names() == ["breaker.opened", "host.broken", "request.rejected", "request.failed"]
    here.clock.advance(3.0)
    assert state(here) == "half-open"
    assert not rejected(here.begin())
    assert all(call.final is None for call in hung)


def test_a_host_that_hung_long_ago_is_probed_by_the_next_caller() -> None:
    here = slow_world(open_for=5)
    hung = [here.begin() for _ in range(4)]
    here.clock.advance(60.0)
    probe = here.begin()
    assert not rejected(probe)
    assert here.names() == ["breaker.opened", "breaker.half_opened", "host.broken"]
    assert all(call.final is None for call in hung)


def test_a_call_is_slow_once() -> None:
    """In flight, and again at its end, would be two of three."""
    here = slow_world(slow_ratio=0.6, min_calls=3)
    here.call(answer(200))
    here.call(answer(200))
    slow = here.begin()
    here.clock.advance(2.0)
    assert state(here) == "closed"
    slow.reply(answer(200))
    assert state(here) == "closed"
    here.call(answer(200), took=2.0)
    assert state(here) == "closed"
    here.call(answer(200), took=2.0)
    assert state(here) == "open"


def test_the_verdict_of_a_call_that_was_slow_in_flight_still_counts() -> None:
    here = slow_world(consecutive=2)
    for _ in range(2):
        call = here.begin()
        here.clock.advance(3.0)
        assert state(here) == "closed"
        call.reply(answer(500))
    assert here.only(BreakerOpened).rule == "consecutive"


def test_slow_calls_older_than_the_window_do_not_count() -> None:
    here = slow_world(window=30)
    hung = [here.begin() for _ in range(3)]
    here.clock.advance(2.0 + 31)
    here.call(answer(200), took=2.0)
    assert state(here) == "closed"
    assert all(call.final is None for call in hung)


def test_a_call_is_in_the_window_from_when_it_became_slow() -> None:
    """Seen an hour later, it is no news."""
    here = slow_world(window=30, min_calls=2)
    hung = [here.begin()]
    here.clock.advance(3600.0)
    here.call(answer(200), took=2.0)
    assert state(here) == "closed"
    assert all(call.final is None for call in hung)


@pytest.mark.parametrize("neutral", NEUTRAL)
def test_a_neutral_answer_is_not_a_fast_one_but_may_have_been_slow(neutral: Outcome) -> None:
    here = slow_world()
    for _ in range(100):
        here.call(neutral)
    for _ in range(3):
        here.call(answer(200), took=2.0)
    assert state(here) == "closed"
    here.call(neutral, took=2.0)
    assert state(here) == "open"


def test_a_slow_probe_has_failed_while_it_is_in_flight() -> None:
    here = slow_world(open_for=5, consecutive=1)
    here.trip()
    here.clock.advance(5.0)
    probe = here.begin()
    here.clock.advance(1.999)
    assert state(here) == "half-open"
    here.clock.advance(0.001)
    assert (state(here), here.host.snapshot().retry_in) == ("open", 10.0)
    probe.reply(answer(200))
    assert state(here) == "open"
    assert [(event.rule, event.cause) for event in here.all(BreakerOpened)] == [
        ("consecutive", "500"),
        ("probe", "slow calls"),
    ]


def test_a_fast_probe_closes_it_and_the_slow_ones_from_before_are_forgotten() -> None:
    here = slow_world(close_after=1)
    late = [here.begin() for _ in range(4)]
    here.clock.advance(7.0)
    here.call(answer(200), took=1.0)
    assert state(here) == "closed"
    for call in late:
        call.reply(answer(200))
    for _ in range(3):
        here.call(answer(200), took=2.0)
    assert state(here) == "closed"
    here.call(answer(200), took=2.0)
    assert state(here) == "open"


def test_calls_that_began_before_it_closed_are_not_slow_after() -> None:
    here = slow_world(consecutive=1, min_calls=1, close_after=1, open_for=0.5)
    hung = [here.begin()]
    here.trip()
    here.recover()
    here.clock.advance(3.0)
    assert state(here) == "closed"
    assert all(call.final is None for call in hung)


def test_a_burst_of_slow_calls_is_one_trip() -> None:
    here = slow_world()
    burst = [here.begin() for _ in range(20)]
    here.clock.advance(2.5)
    for call in burst:
        call.reply(reset())
    assert [event.open_for for event in here.all(BreakerOpened)] == [5.0]


def test_a_streamed_answer_is_judged_by_its_head() -> None:
    here = slow_world(min_calls=1)
    call = here.begin().reply(answer(200))
    assert call.final is not None
    here.clock.advance(10.0)
    here.host.outcomes.settle_body(call.final.permit, reset(), here.clock.now)
    assert state(here) == "closed"


def test_the_calls_of_a_parent_process_are_not_slow_in_its_child() -> None:
    """The threads that make them are not there to end them."""
    here = slow_world(min_calls=1)
    hung = here.begin()
    here.host._renew_after_fork()
    here.clock.advance(9.0)
    assert state(here) == "closed"
    here.call(answer(200), took=2.0)
    assert state(here) == "open"
    assert hung.final is None


def test_a_call_past_the_breaker_may_take_its_time() -> None:
    here = slow_world(min_calls=1)
    here.call(answer(200), took=9.0, policy=Policy(retry=False, breaker=False))
    assert state(here) == "closed"


def test_attempts_are_timed_one_by_one_without_the_waits_between_them() -> None:
    breaker = {"slow_ratio": 1, "slow_call": 2, "min_calls": 1}
    here = World(Policy(retry={"jitter": "none", "wait_initial": 3, "attempts": 3}, breaker=breaker))
    here.call([answer(429), answer(429), answer(200)], took=1.5)
    assert here.all(BreakerOpened) == []


def test_the_manager_is_told_of_a_probe_that_became_slow() -> None:
    here = slow_world(consecutive=1, open_for=5)
    here.trip()
    here.clock.advance(5.0)
    hung = [here.begin()]
    assert here.host.broken_by(here.clock.now) is None
    here.clock.advance(2.0)
    assert here.host.broken_by(here.clock.now) == "breaker"
    assert all(call.final is None for call in hung)


def test_a_probe_outside_any_call_comes_after_what_became_slow_before_it() -> None:
    here = slow_world(close_after=2)
    hung = [here.begin() for _ in range(4)]
    here.clock.advance(3.0)
    names = [event.name for event in here.host.outcomes.probed(answer(200), here.clock.now)]
    assert names == ["breaker.opened", "breaker.half_opened", "host.broken"]
    assert all(call.final is None for call in hung)


def test_many_calls_that_end_in_any_order_cost_no_more_than_few() -> None:
    """None is walked over twice: a plain dict would, once its front has been emptied."""
    here = slow_world(slow_ratio=1.0)
    slow = SlowCalls(0.5, 1e6, min_calls=1, window=30)
    permits = [Permit(0) for _ in range(20_000)]
    for number, permit in enumerate(permits):
        slow.begin(permit, float(number))
    for number, permit in enumerate(permits):
        assert slow.next_slow(5000.0) is None
        slow.end(permit, 5000.0, counts=bool(number % 2))
    assert slow.next_slow(1e9) is None
    assert here.host.snapshot().in_flight == 0


@pytest.mark.parametrize("timed", [False, True])
def test_only_a_policy_that_asks_for_slowness_pays_for_it(timed: bool) -> None:
    """Without, everyone gets the same permit and no lock is taken."""
    here = slow_world() if timed else world()
    here.call(answer(200))
    breaker = here.host.breaker
    assert breaker is not None
    assert (breaker.circuit.closed_permit is None) is timed
    one, other = (here.host.admission.admit(bearer(), here.clock.now, 11.0)[0] for _ in range(2))
    assert (one is other) is not timed


# The dry run


def observed(**breaker: Any) -> World:
    return world(**{"mode": "observe", "consecutive": 2, **breaker})


def test_a_dry_run_refuses_nothing_and_tells_what_it_would_have_refused() -> None:
    here = observed(open_for=8)
    here.call(answer(500))
    here.call(answer(500))
    here.clock.advance(3.0)
    call = here.call(answer(200))
    assert call.outcome.status == 200
    would = here.only(RequestWouldReject)
    assert (would.host, would.method, would.path, would.by) == (HOST, "GET", "/things", "breaker")
    assert (would.attempt, would.retry_after) == (1, 5.0)
    opened = here.only(BreakerOpened)
    assert (opened.rule, opened.open_for, opened.cause, opened.observed) == ("consecutive", 8.0, "500", True)
    assert here.all(RequestRejected) == []


def test_what_only_an_open_circuit_would_have_refused_moves_it_not() -> None:
    """It shows what enforcing would have done; that would not have sent these calls."""
    here = observed(close_after=1, open_for=8)
    here.call(answer(500))
    here.call(answer(500))
    for _ in range(20):
        here.call(answer(200))
        here.call(answer(500))
    assert state(here) == "open"
    here.clock.advance(8.0)
    assert len(here.all(BreakerOpened)) == 1
    here.call(answer(200))
    assert state(here) == "closed"


def test_in_a_dry_run_those_who_would_be_probes_decide() -> None:
    here = observed(close_after=1, half_open_probes=2)
    here.call(answer(500))
    here.call(answer(500))
    here.clock.advance(5.0)
    first, second, third, fourth = (here.begin() for _ in range(4))
    assert len(here.all(RequestWouldReject)) == 2
    third.reply(answer(200))
    fourth.reply(answer(500))
    assert state(here) == "half-open"
    second.reply(answer(200))
    assert state(here) == "closed"
    first.reply(answer(500))
    assert state(here) == "closed"
    assert [event.observed for event in here.all(BreakerHalfOpened)] == [True]
    assert [event.observed for event in here.all(BreakerClosed)] == [True]


def test_an_observed_circuit_is_seen_but_does_not_make_a_host_broken() -> None:
    here = observed()
    for _ in range(10):
        here.call(answer(200))
    here.call(answer(500))
    assert state(here) == "closed"
    here.call(answer(500))
    health = here.host.snapshot()
    assert (health.breaker, health.state) == ("open", "degraded")  # 10 of 12: it is the ratio that says so
    assert (health.retry_in, health.broken_since, health.rejections) == (None, None, 0)
    here.call(answer(200))
    assert here.host.snapshot().rejections == 0
    for _ in range(60):
        here.call(answer(200))
    health = here.host.snapshot()
    assert (health.breaker, health.state) == ("open", "healthy")
    assert not here.host.verdict.suspect
    assert here.host.broken_by(here.clock.now) is None
    assert here.all(HostBroken) == []


def test_a_host_without_a_connect_is_broken_in_a_dry_run_too() -> None:
    here = observed()
    for _ in range(3):
        here.call(refused())
    assert here.host.snapshot().state == "broken"
    assert here.only(HostBroken).reason == "connect"
    assert here.host.broken_by(here.clock.now) == "connect"


def test_an_observed_circuit_ends_no_retries() -> None:
    here = World(
        Policy(breaker=PLAIN_BREAKER | {"consecutive": 1, "mode": "observe"}, retry={"attempts": 3, "jitter": "none"})
    )
    call = here.call([answer(503), answer(503), answer(200)])
    assert call.outcome.status == 200
    assert len(call.sends) == 3
    assert here.reasons() == []
    assert [event.attempt for event in here.all(RequestWouldReject)] == [2, 3]


def test_slow_calls_are_observed_too() -> None:
    here = slow_world(min_calls=1, mode="observe")
    hung = here.begin()
    here.clock.advance(2.0)
    assert (state(here), here.host.snapshot().state) == ("open", "unknown")
    call = here.call(answer(200))
    assert call.outcome.status == 200
    assert here.names()[:2] == ["breaker.opened", "request.would_reject"]
    assert hung.final is None


def test_a_call_past_an_observed_breaker_is_not_told_of() -> None:
    here = observed()
    here.call(answer(500))
    here.call(answer(500))
    here.call(answer(200), policy=Policy(breaker=False))
    assert here.all(RequestWouldReject) == []


def test_an_enforced_circuit_says_nothing_of_a_dry_run() -> None:
    here = world(consecutive=1, close_after=1)
    here.trip()
    here.recover()
    assert len(here.events) > 3
    assert not any("observed" in event.fields() for event in here.events)


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 6), st.booleans(), st.sampled_from([0.0, 0.0, 1.0, 3.0]), st.floats(0, 0.999)),
        min_size=5,
        max_size=60,
    ),
    slow=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_dry_run_opens_and_closes_when_enforcing_would_and_names_whom_it_would_have_refused(
    steps: list[tuple[float, bool, float, float]], slow: bool
) -> None:
    """Two hosts that do the same at the same time, one call after the other."""
    fields = {"consecutive": 2, "close_after": 1, "ramp": 4, "open_for": 2}
    if slow:
        fields |= {"slow_ratio": 0.5, "slow_call": 2, "min_calls": 3}
    real, dry = world(**fields), world(mode="observe", **fields)
    refusals: list[list[bool]] = [[], []]
    for gap, well, took, dice in steps:
        for here in (real, dry):
            here.clock.advance(gap)
            here.clock.roll = lambda dice=dice: dice  # type: ignore[misc]
        outcome = answer(200 if well else 500)
        was_told = len(dry.all(RequestWouldReject))
        call = real.begin()
        refusals[0].append(rejected(call))
        real.clock.advance(took)
        if not rejected(call):
            call.reply(outcome)
        dry.call(outcome, took=took)
        refusals[1].append(len(dry.all(RequestWouldReject)) > was_told)
        assert state(dry) == state(real)
    assert refusals[1] == refusals[0]
    assert _transitions(dry) == _transitions(real)


def _transitions(here: World) -> list[tuple[str, dict[str, Any]]]:
    """What the circuit did, by any call, enforced or not."""
    events = [event for event in here.events if event.name.startswith("breaker.")]
    return [(event.name, {**event.fields(), "observed": None, "call": None}) for event in events]


# With retries


def test_a_retry_that_the_breaker_refuses_returns_the_last_real_outcome() -> None:
    here = World(Policy(retry={"attempts": 10, "jitter": "none"}, breaker=PLAIN_BREAKER | {"consecutive": 3}))
    third = answer(503)
    call = here.call([answer(503), answer(503), third])
    assert call.outcome is third
    assert len(call.sends) == 3
    assert here.only(RetryAbandoned).reason == "breaker"
    assert here.all(RequestRejected) == []


def test_a_retry_refused_after_its_wait_returns_the_last_real_outcome() -> None:
    """Others tripped the circuit meanwhile."""
    here = World(Policy(breaker={"consecutive": 5}))
    own = answer(503)
    call = here.begin().reply(own)
    here.trip()
    call.reply(False)
    assert call.outcome is own
    assert here.reasons()[-1] == "breaker"
    assert call.final is not None
    assert [attempt.status for attempt in call.final.attempts] == [503]
    assert here.host.snapshot().in_flight == 0


def test_a_wait_long_enough_for_the_circuit_is_waited_and_ends_in_a_probe() -> None:
    here = World(Policy(breaker=PLAIN_BREAKER | {"consecutive": 1, "close_after": 1}))
    call = here.call([answer(503, "6"), answer(200)])
    assert call.outcome.status == 200
    assert call.waits == [6.0]
    assert here.names() == [
        "attempt.failed",
        "breaker.opened",
        "host.broken",
        "retry.scheduled",
        "breaker.half_opened",
        "breaker.closed",
        "host.recovered",
        "request.finished",
    ]
