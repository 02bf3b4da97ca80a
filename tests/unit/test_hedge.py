"""Hedged calls without time and sockets: when a copy is sent, which answer counts, and what is on record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from sleepwalker.attempt import Attempt
from sleepwalker.engine import DUE, LATE, Completed, Hold, Outcome, Permit, Send, Wait, failed
from sleepwalker.events import AttemptFailed, HedgeFinished, HedgeSent, RequestFinished
from sleepwalker.exceptions import ConnectionError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import HOST, Running, World, answer, bad_certificate, refused, reset


def world(**parts: Any) -> World:
    """A host whose calls are hedged after a second, with next to no waits between attempts."""
    retry = {"jitter": "none", "wait_initial": 0.5}
    return World(Policy(**{"breaker": False, "hedge": {"delay": 1.0}, "retry": retry, **parts}))


def hedged(here: World, **how: Any) -> Running:
    """A call whose first attempt was slow, so that a copy of it is under way as well."""
    call = here.begin(concurrent=True, **how)
    here.clock.advance(1.0)
    return call.reply(DUE)


def ends(here: World) -> list[tuple[int, bool]]:
    """The number of each copy whose race is over, and whether it won."""
    return [(event.attempt, event.won) for event in here.all(HedgeFinished)]


# Whether there is a copy


def test_a_slow_attempt_is_sent_again_with_its_own_deadline() -> None:
    here = world()
    call = hedged(here)
    (_, first), (began, copy) = call.sends
    assert first.hedge_in == 1.0
    # The first one may be slow because its socket is dead: another that has not answered since is no better.
    assert copy == Send(first.deadline, first.limit, first.seconds, 2, None, proven_since=began - 1.0)
    sent = here.only(HedgeSent)
    assert sent == HedgeSent(HOST, method="GET", path="/things", attempt=2, delay=1.0, call=sent.call)
    assert began == here.clock.now


@pytest.mark.parametrize("how", [{"method": "POST"}, {"idempotent": False}, {"concurrent": False}], ids=str)
def test_what_may_not_be_sent_twice_at_a_time_is_not_hedged(how: dict[str, Any]) -> None:
    call = world().begin(**{"concurrent": True, **how})
    assert isinstance(call.step, Send)
    assert call.step.hedge_in is None


def test_a_post_that_its_caller_calls_idempotent_is_hedged() -> None:
    call = world().begin("POST", idempotent=True, concurrent=True)
    assert isinstance(call.step, Send)
    assert call.step.hedge_in == 1.0


def test_a_delay_that_the_total_deadline_does_not_leave_time_for_is_not_waited_for() -> None:
    here = world(timeout={"connect": 3, "attempt": 3, "total": 3}, hedge={"delay": 2.0})
    call = here.begin(concurrent=True)
    here.clock.advance(2)
    call.reply(Completed(1, answer(503)))
    here.clock.advance(0.5)
    call.reply(False)
    assert isinstance(call.step, Send)
    assert call.step.hedge_in is None


def test_a_copy_that_is_due_after_the_deadline_is_not_sent() -> None:
    here = world()
    call = here.begin(concurrent=True)
    here.clock.advance(10)
    call.reply(DUE)
    assert isinstance(call.step, Hold)


def test_no_more_than_max_extra_copies_are_sent_in_a_call() -> None:
    here = world(hedge={"delay": 1.0, "max_extra": 2})
    call = hedged(here)
    assert isinstance(call.step, Send)
    assert call.step.hedge_in == 1.0
    here.clock.advance(1.0)
    call.reply(DUE)
    assert isinstance(call.step, Send)
    assert (call.step.number, call.step.hedge_in) == (3, None)
    for number in (1, 3, 2):
        call.reply(Completed(number, answer(503)))
    call.reply(False)
    assert isinstance(call.step, Send)
    assert (call.step.number, call.step.hedge_in) == (4, None)
    assert here.host.snapshot().hedges == 2


# Which answer counts


@pytest.mark.parametrize("winner", [1, 2])
def test_the_first_good_answer_wins_and_the_other_send_is_on_record_as_cancelled(winner: int) -> None:
    here = world()
    call = hedged(here)
    here.clock.advance(0.25)
    good = answer(200)
    call.reply(Completed(winner, good))
    assert call.outcome is good
    cut = f"cancelled: attempt {winner} came first"
    assert call.final is not None
    assert call.final.attempts == (
        Attempt(1, 0.0, 1.25, 200 if winner == 1 else None, None if winner == 1 else cut, 0.0),
        Attempt(2, 1.0, 0.25, 200 if winner == 2 else None, None if winner == 2 else cut, 0.0),
    )
    assert ends(here) == [(2, winner == 2)]
    assert here.only(RequestFinished).attempts == 2
    assert here.names() == ["hedge.sent", "hedge.finished", "request.finished"]


@pytest.mark.parametrize("good", [200, 404, 500])
def test_what_is_not_retried_wins(good: int) -> None:
    call = hedged(world())
    call.reply(Completed(2, answer(good)))
    assert call.outcome.status == good


@pytest.mark.parametrize("error", [bad_certificate(), failed(ValueError("mine"))], ids=["certificate", "caller's"])
def test_an_error_that_is_not_retried_wins(error: Outcome) -> None:
    call = hedged(world())
    call.reply(Completed(1, error))
    assert call.outcome is error


@pytest.mark.parametrize("bad", [answer(503), reset(), refused()], ids=["503", "reset", "refused"])
@pytest.mark.parametrize("retry", [{}, False], ids=["retries", "no retries"])
def test_a_bad_outcome_waits_for_the_other_send(bad: Outcome, retry: Any) -> None:
    here = world(retry=retry)
    call = hedged(here)
    call.reply(Completed(1, bad))
    assert isinstance(call.step, Hold)
    good = answer(200)
    call.reply(Completed(2, good))
    assert call.outcome is good
    assert len(here.all(AttemptFailed)) == 1
    assert ends(here) == [(2, True)]


def test_a_send_that_fails_before_its_copy_is_due_is_retried_as_ever() -> None:
    call = world().begin(concurrent=True)
    call.reply(Completed(1, answer(503)))
    assert call.step == Wait(0.5)


def test_where_all_are_bad_the_last_outcome_goes_on_to_the_retries() -> None:
    here = world()
    call = hedged(here)
    call.reply(Completed(2, answer(503, "3")))
    call.reply(Completed(1, answer(503, "2")))
    assert call.step == Wait(2.0)
    call.reply(False)
    assert isinstance(call.step, Send)
    assert call.step.number == 3
    call.reply(answer(200))
    assert call.final is not None
    assert [attempt.number for attempt in call.final.attempts] == [1, 2, 3]
    assert ends(here) == [(2, False)]


def test_copies_do_not_use_up_attempts() -> None:
    here = world(retry={"attempts": 3, "jitter": "none", "budget": False})
    call = hedged(here)
    call.reply(Completed(1, answer(503)))
    call.reply(Completed(2, answer(503)))
    while call.final is None:
        call.reply(answer(503) if isinstance(call.step, Send) else False)
    assert len(call.sends) == 4


def test_without_retries_the_last_outcome_is_what_the_call_comes_to() -> None:
    call = hedged(world(retry=False))
    call.reply(Completed(1, answer(503)))
    last = reset()
    call.reply(Completed(2, last))
    assert call.outcome is last


def test_a_copy_that_overruns_its_deadline_is_given_up() -> None:
    here = world()
    call = hedged(here)
    call.reply(Completed(1, answer(503)))
    here.clock.advance(9.1)
    call.reply(LATE)
    assert call.step == Wait(0.5)
    call.reply(True)
    assert call.final is not None
    assert [attempt.error for attempt in call.final.attempts] == [None, "cancelled: it overran its deadline"]


def test_news_that_make_no_sense_are_refused() -> None:
    here = world()
    with pytest.raises(TypeError, match="answered with Completed or a Signal, not with True"):
        hedged(here).reply(True)
    assert here.host.snapshot().in_flight == 0


# Its price


def test_a_copy_spends_the_retry_budget() -> None:
    here = world(retry={"budget": {"ratio": 0.1, "min_per_second": 0.1, "window": 100}})
    for _ in range(10):  # the floor
        call = hedged(here)
        assert isinstance(call.step, Send)
        call.reply(Completed(1, answer(200)))
    call = hedged(here)
    assert isinstance(call.step, Send)  # the tenth part of ten calls
    call.reply(Completed(2, answer(200)))
    assert isinstance(hedged(here).step, Hold)
    health = here.host.snapshot()
    assert (health.hedges, health.retries) == (11, 0)


def test_a_call_that_its_copy_answers_pays_into_the_budget_as_well() -> None:
    here = world(retry={"budget": {"ratio": 1.0, "min_per_second": 0.01, "window": 100}})
    for _ in range(50):
        call = hedged(here)
        assert isinstance(call.step, Send)
        call.reply(Completed(2, answer(200)))


@pytest.mark.parametrize("retry", [False, {"budget": False}], ids=["no retries", "no budget"])
def test_without_a_budget_only_max_extra_limits_the_copies(retry: Any) -> None:
    here = world(retry=retry)
    for _ in range(100):
        call = hedged(here)
        assert isinstance(call.step, Send)
        call.reply(Completed(2, answer(200)))


def test_the_one_that_lost_counts_neither_as_failure_nor_in_the_latencies() -> None:
    here = world(breaker={})
    for _ in range(10):
        call = hedged(here)
        here.clock.advance(0.01)
        call.reply(Completed(2, answer(200)))
    health = here.host.snapshot()
    assert (health.attempts, health.failures, health.success_ratio) == (20, 0, 1.0)
    assert health.latency.p99 == pytest.approx(0.01, rel=0.13)
    assert health.state == "healthy"


# With the breaker


def permits(here: World) -> list[Permit]:
    assert here.host.breaker is not None
    return list(here.host.breaker.circuit.places.out)


def test_a_half_open_circuit_admits_no_copy_of_its_probe() -> None:
    here = world(breaker={"ramp": 0, "half_open_probes": 5, "consecutive_for": 0})
    here.trip()
    here.clock.advance(here.host.snapshot().retry_in or 0.0)
    call = hedged(here)
    assert isinstance(call.step, Hold)
    call.reply(Completed(1, answer(200)))
    assert permits(here) == []
    assert here.host.snapshot().hedges == 0


def test_a_circuit_that_opened_meanwhile_admits_no_copy() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 2}, retry=False)
    call = here.begin(concurrent=True)
    for _ in range(2):
        here.call(answer(500))
    here.clock.advance(1.0)
    call.reply(DUE)
    assert isinstance(call.step, Hold)
    assert here.host.snapshot().rejections == 0


def test_a_slow_start_admits_copies_as_it_admits_calls() -> None:
    here = world(breaker={"ramp": 50})
    here.trip()
    here.recover()
    call, other = here.begin(concurrent=True), here.begin()  # as many as are let in at once
    here.clock.advance(1.0)
    call.reply(DUE)
    assert isinstance(call.step, Hold)
    other.reply(answer(200))


def test_a_copy_keeps_its_place_in_a_slow_start() -> None:
    here = world(breaker={"ramp": 50})
    here.trip()
    here.recover()
    here.call(answer(200))  # from now on three at once
    call = here.begin(concurrent=True)
    here.clock.advance(1.0)
    assert isinstance(call.reply(DUE).step, Send)
    third, fourth = here.begin(), here.begin()
    assert (third.final is None, fourth.final is None) == (True, False)
    call.reply(Completed(2, answer(200)))
    third.reply(answer(200))


def test_a_dry_run_sends_the_copy_and_says_that_it_would_not_have() -> None:
    here = world(breaker={"mode": "observe", "consecutive_for": 0, "consecutive": 1, "open_for": 5}, retry=False)
    call = here.begin(concurrent=True)
    here.call(answer(500))
    here.clock.advance(1.0)
    call.reply(DUE)
    assert isinstance(call.step, Send)
    would = [event.fields()["attempt"] for event in here.events if event.name == "request.would_reject"]
    assert would == [2]
    call.reply(Completed(2, answer(500)))
    assert here.host.snapshot().breaker == "open"


def test_the_breaker_may_be_off_for_the_call_alone() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 1}, retry=False)
    here.call(answer(500))
    assert isinstance(hedged(here, policy=here.policy.replace(breaker=None)).step, Send)


def test_two_failures_of_a_race_count_twice() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 2}, retry=False)
    call = hedged(here)
    call.reply(Completed(1, answer(503)))
    call.reply(Completed(2, answer(503)))
    assert here.host.snapshot().breaker == "open"


def test_slow_calls_are_no_longer_under_way_once_they_have_lost() -> None:
    here = world(breaker={"slow_ratio": 0.5, "slow_call": 5, "min_calls": 2}, timeout={"attempt": 10})
    for _ in range(5):
        call = hedged(here)
        call.reply(Completed(2, answer(200)))
    here.clock.advance(20)
    assert here.host.snapshot().breaker == "closed"


def test_an_isolated_host_gets_no_copy() -> None:
    here = world()
    call = here.begin(concurrent=True)
    here.host.isolate()
    here.clock.advance(1.0)
    call.reply(DUE)
    assert isinstance(call.step, Hold)


# Interrupted


def test_an_interrupted_race_gives_everything_back() -> None:
    here = world(breaker={"slow_ratio": 0.5, "slow_call": 5, "min_calls": 2})
    call = hedged(here)
    with pytest.raises(KeyboardInterrupt):
        call.throw(KeyboardInterrupt())
    health = here.host.snapshot()
    assert (health.in_flight, health.attempts, health.failures) == (0, 2, 0)
    assert here.names()[-1] == "request.failed"
    assert ends(here) == [(2, False)]
    here.clock.advance(20)
    assert here.host.snapshot().breaker == "closed"


def test_one_that_was_interrupted_says_nothing_of_how_slow_the_host_is() -> None:
    here = world()
    call = hedged(here)
    with pytest.raises(KeyboardInterrupt):
        call.throw(KeyboardInterrupt())
    assert here.host.history._cancelled is None


# The percentile


def hedge_in(here: World) -> float | None:
    """After how many seconds a call that begins now would be hedged."""
    call = here.begin(concurrent=True)
    assert isinstance(call.step, Send)
    delay = call.step.hedge_in
    call.close()
    return delay


def test_a_percentile_needs_twenty_attempts() -> None:
    here = world(hedge={"percentile": 50})
    for _ in range(19):
        here.call(answer(200), took=0.1)
    assert hedge_in(here) is None
    here.call(answer(200), took=0.1)
    here.clock.advance(1)
    assert hedge_in(here) == pytest.approx(0.11, rel=0.2)


def test_a_percentile_is_rather_too_long_than_exceeded_by_more_attempts() -> None:
    """In the middle of a bin it would hedge half of the calls to a server that always takes as long."""
    for took in (0.05, 0.051, 0.06, 0.07):
        here = world(hedge={"percentile": 95})
        for _ in range(50):
            here.call(answer(200), took=took)
        delay = hedge_in(here)
        assert delay is not None
        assert took < delay <= 1.25 * took


def test_the_percentile_does_not_sink_because_it_cuts_what_is_slow() -> None:
    """Were the losers left out, the slowest known attempts would be those just below the delay, and so on downwards."""
    here = world(hedge={"percentile": 90}, retry={"budget": False})
    for number in range(2000):
        took = 4.0 if number % 10 == 9 else 0.1
        call = here.begin(concurrent=True)
        assert isinstance(call.step, Send)
        if call.step.hedge_in is None or call.step.hedge_in >= took:
            here.clock.advance(took)
            call.reply(Completed(1, answer(200)) if call.step.hedge_in else answer(200))
        else:
            here.clock.advance(call.step.hedge_in)
            call.reply(DUE)
            here.clock.advance(0.1)
            call.reply(Completed(2, answer(200)))
    assert hedge_in(here) == pytest.approx(0.11, rel=0.2)
    assert here.host.snapshot().hedges == pytest.approx(200, rel=0.1)


def test_a_percentile_is_worked_out_a_few_times_a_second_at_most() -> None:
    here = world(hedge={"percentile": 90})
    for _ in range(50):
        here.call(answer(200), took=0.1)
    with mock.patch.object(here.host.history.latencies.__class__, "above", autospec=True, return_value=0.2) as above:
        for _ in range(100):
            assert hedge_in(here) == 0.2
            here.clock.advance(0.01)
    assert above.call_count == 4


def test_a_percentile_of_next_to_nothing_is_a_millisecond() -> None:
    here = world(hedge={"percentile": 50})
    for _ in range(50):
        here.call(answer(200), took=0.0001)
    assert hedge_in(here) == 0.001


def test_a_percentile_follows_the_window_of_the_hosts_health() -> None:
    here = world(hedge={"percentile": 50}, health={"window": 60})
    for _ in range(50):
        here.call(answer(200), took=0.1)
    here.clock.advance(100)
    assert hedge_in(here) is None


def test_a_percentile_beyond_the_deadline_hedges_nothing() -> None:
    here = world(hedge={"percentile": 50}, timeout={"connect": 2, "attempt": 2, "total": 30})
    for _ in range(50):
        here.call(answer(200), took=1.9)
    assert hedge_in(here) is None


def test_calls_with_policies_of_their_own_leave_no_trace_without_end() -> None:
    here = world()
    for number in range(100):
        policy = Policy(hedge={"percentile": 1 + number / 2})
        here.begin(concurrent=True, policy=policy).close()
    assert len(here.host.history._percentiles) <= 8


def test_another_window_begins_anew() -> None:
    here = world(hedge={"percentile": 50})
    for _ in range(50):
        here.call(answer(200), took=0.1)
    assert hedge_in(here) is not None
    here.host.reconfigure(here.policy.replace(health={"window": 30}))
    assert hedge_in(here) is None


# What its error says


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize(("other", "unsent"), [(refused, True), (reset, False), (lambda: answer(503), False)])
def test_the_error_of_a_race_says_never_sent_only_where_no_copy_may_have_arrived(
    first: int, other: Callable[[], Outcome], unsent: bool
) -> None:
    here = world(retry={"attempts": 1})
    call = hedged(here).reply(Completed(first, other())).reply(Completed(3 - first, refused()))
    assert isinstance(call.outcome.error, ConnectionError)
    assert call.outcome.error.never_sent is unsent


@pytest.mark.parametrize("kind", [refused, bad_certificate])
def test_a_copy_that_was_cut_may_have_arrived(kind: Callable[[], Outcome]) -> None:
    """One is cut as its deadline is over, the other as nothing can come of it any more."""
    here = world(retry={"attempts": 1})
    call = hedged(here).reply(Completed(2, kind()))
    if call.final is None:
        call.reply(LATE)
    assert isinstance(call.outcome.error, ConnectionError)
    assert not call.outcome.error.never_sent
