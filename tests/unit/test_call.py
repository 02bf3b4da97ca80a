"""One call from its first step to its last: deadlines, attempt records, events, and what interrupts it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sleepwalker.attempt import Attempt
from sleepwalker.engine import Outcome, Send, Wait, failed
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.events import (
    CATALOGUE,
    AttemptFailed,
    RequestFailed,
    RequestFinished,
    RequestRejected,
    RetryAbandoned,
    RetryScheduled,
)
from sleepwalker.exceptions import BulkheadFullError, ConnectError, ConnectionError, ConnectTimeout
from sleepwalker.policy import Policy
from tests.unit.engine_driver import HOST, PLAIN_BREAKER, World, answer, bad_certificate, bearer, refused, reset


def world(**parts: Any) -> World:
    return World(Policy(**{"breaker": False, **parts}))


# Deadlines


def test_each_send_has_the_nearer_of_its_two_deadlines() -> None:
    here = world(timeout={"attempt": 10, "total": 25}, retry={"jitter": "none", "wait_initial": 1, "budget": False})
    began = here.clock.now
    call = here.call(answer(503), took=10.0)
    steps = [(start - began, step.deadline - began, step.limit) for start, step in call.sends]
    assert steps == [(0, 10, "attempt"), (11, 21, "attempt"), (23, 25, "total")]


def test_attempt_equal_to_total_is_named_total() -> None:
    here = world(timeout={"attempt": 10, "total": 10})
    assert here.begin().step == Send(here.clock.now + 10, "total", 10)


def test_a_wait_that_does_not_fit_the_deadline_is_not_waited_and_the_answer_is_returned_at_once() -> None:
    here = world(timeout={"total": 30})
    asked = answer(503, "29")
    call = here.call(asked, took=2.0)
    assert call.outcome is asked
    assert call.waits == []
    assert here.clock.now - call.sends[0][0] == 2.0
    assert here.only(RetryAbandoned).reason == "deadline"


@pytest.mark.parametrize(
    ("took", "sends"), [(9.0, 3), (14.9, 3), (14.98, 2), (15.0, 2), (29.9, 2), (29.98, 1), (31.0, 1)]
)
def test_no_retry_is_begun_that_could_not_finish(took: float, sends: int) -> None:
    here = world(timeout={"attempt": 20, "total": 30}, retry={"jitter": "none", "wait_initial": 0, "budget": False})
    assert len(here.call(answer(503), took=took).sends) == sends


def test_a_machine_that_slept_through_the_deadline_sends_nothing_after_it() -> None:
    """A wait can end late; the outcome in hand is better than a send that is cut off at once."""
    here = world()
    own = answer(503)
    call = here.begin().reply(own)
    here.clock.advance(3600)
    call.reply(False)
    assert call.outcome is own
    assert len(call.sends) == 1
    assert here.only(RetryAbandoned).reason == "deadline"


def test_a_callers_timeout_lifts_the_deadlines_and_is_never_cut() -> None:
    here = world(timeout={"attempt": 10, "total": 30})
    began = here.clock.now
    assert here.begin(timeout=(60.0, 60.0)).step == Send(began + 120, "total", 120)
    assert here.begin(timeout=(1.0, 14.0)).step == Send(began + 15, "attempt", 15)
    assert here.begin(timeout=(1.0, 1.0)).step == Send(began + 10, "attempt", 10)


# What comes out


def test_attempts_are_recorded_with_number_start_duration_status_error_and_wait() -> None:
    here = world(retry={"attempts": 4, "jitter": "none", "wait_initial": 1.0})
    call = here.call([answer(503), refused(), answer(429, "3"), answer(200)], took=0.5)
    assert call.final is not None
    assert call.final.attempts == (
        Attempt(1, 0.0, 0.5, 503, None, 0.0),
        Attempt(2, 1.5, 0.5, None, f"ConnectError: {HOST}: Connection refused (errno 111)", 1.0),
        Attempt(3, 4.0, 0.5, 429, None, 2.0),
        Attempt(4, 8.5, 0.5, 200, None, 4.0),
    )


def test_a_rejected_call_has_no_attempts() -> None:
    here = World()
    here.trip()
    call = here.call([])
    assert call.final is not None
    assert call.final.attempts == ()


def test_the_last_real_outcome_is_what_a_call_comes_to() -> None:
    last = refused()
    call = world(retry={"attempts": 3, "budget": False}).call([answer(503), reset(), last])
    assert call.outcome is last


def test_a_call_that_was_retried_keeps_nothing_once_it_is_over() -> None:
    """Its last error has the frames of the transport, and waited for the garbage collector with all that they hold."""
    here = world(retry={"attempts": 2, "budget": False})
    gc.disable()
    try:
        error = weakref.ref(here.call([reset(), reset()], idempotent=True).outcome.error)
        assert error() is None
    finally:
        gc.enable()


@given(st.lists(st.sampled_from([refused, reset, bad_certificate, lambda: answer(503)]), min_size=1, max_size=5))
def test_an_error_says_never_sent_only_where_no_attempt_may_have_arrived(kinds: list[Callable[[], Outcome]]) -> None:
    """A caller that believes it sends the order again, which must not be the second one."""
    here = world(retry={"attempts": len(kinds), "jitter": "none", "wait_initial": 0, "budget": False})
    outcomes = [kind() for kind in kinds]
    unsent = [outcome.never_sent for outcome in outcomes]
    call = here.call(outcomes, idempotent=True)
    error = call.outcome.error
    assert not isinstance(error, ConnectionError) or error.never_sent is all(unsent[: len(call.sends)])


@pytest.mark.parametrize("end", ["closed", "deadline", "breaker"])
def test_a_call_that_gives_up_in_a_wait_does_not_forget_what_it_sent_before(end: str) -> None:
    here = World(
        Policy(
            breaker=PLAIN_BREAKER | {"consecutive": 3},
            retry={"jitter": "none", "wait_initial": 1, "budget": False},
        )
    )
    call = here.begin().reply(reset()).reply(False).reply(refused())
    assert isinstance(call.step, Wait)
    if end == "breaker":
        here.call(reset(), policy=Policy(retry=False))
    here.clock.advance(100 if end == "deadline" else 0)
    call.reply(end == "closed")
    assert here.reasons() == [end]
    assert isinstance(call.outcome.error, ConnectError)
    assert not call.outcome.error.never_sent


def test_without_retries_there_is_one_plain_send() -> None:
    here = World(Policy.load("off"))
    for outcome in (answer(503), reset(), refused(), answer(200)):
        assert len(here.call(outcome).sends) == 1
    assert here.all(RetryAbandoned) == here.all(RetryScheduled) == []


# Interrupted


def test_a_wait_that_is_cut_short_ends_the_call_with_the_outcome_in_hand() -> None:
    here = world(retry={"jitter": "none", "wait_initial": 4.0})
    own = answer(503)
    call = here.begin().reply(own)
    assert call.step == Wait(4.0)
    here.clock.advance(1.5)
    call.reply(True)
    assert call.outcome is own
    assert here.only(RetryAbandoned).reason == "closed"
    assert (here.only(RequestFailed).waited, here.only(RequestFailed).duration) == (1.5, 1.5)
    assert here.host.snapshot().in_flight == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2), GeneratorExit(), MemoryError(), ValueError("m")])
@pytest.mark.parametrize("during", ["send", "wait", "second send"])
def test_what_interrupts_a_call_passes_through_and_is_logged_once(error: BaseException, during: str) -> None:
    here = World()
    call = here.begin()
    if during != "send":
        call.reply(answer(503))
    if during == "second send":
        call.reply(False)
    with pytest.raises(type(error)) as raised:
        call.throw(error)
    assert raised.value is error
    event = here.only(RequestFailed)
    assert (event.error, event.detail, event.status) == (type(error).__name__, None, None)
    assert event.attempts == {"send": 1, "wait": 1, "second send": 2}[during]
    assert here.closings() == 1
    health = here.host.snapshot()
    assert (health.in_flight, health.attempts) == (0, event.attempts)


def test_a_call_that_is_dropped_is_logged_and_leaves_the_host() -> None:
    here = World()
    here.begin().close()
    assert here.only(RequestFailed).error == "GeneratorExit"
    assert here.host.snapshot().in_flight == 0


def test_a_call_that_was_never_started_leaves_no_trace() -> None:
    from sleepwalker.engine import CompiledPolicy, Request, run

    here = World()
    compiled = CompiledPolicy(here.policy, here.clock)
    run(here.host, compiled, Request("GET", "/", True, True), here.clock, here.observe).close()
    assert here.events == []
    assert here.host.snapshot().calls == 0


@pytest.mark.parametrize("wrong", [True, False, None])
def test_a_driver_that_answers_a_send_with_no_outcome_is_told_so(wrong: Any) -> None:
    here = World()
    with pytest.raises(TypeError, match=f"answered with an Outcome, not with {wrong}"):
        here.begin().reply(wrong)
    assert here.host.snapshot().in_flight == 0


# Events


def _rejected_by_breaker(here: World) -> None:
    here.host = World(Policy(breaker=PLAIN_BREAKER | {"consecutive": 1}), here.clock).host
    permit, _ = here.host.admission.admit(bearer(), here.clock.now, 1.0)
    here.host.outcomes.settle(permit, reset(), here.clock.now, 0.1, first=True)  # type: ignore[arg-type]
    here.call([])


def _rejected_by_bulkhead(here: World) -> None:
    here.host = World(Policy(bulkhead={"max_concurrent": 1}), here.clock).host
    here.host.admission.enter(Holdings(), bulkhead=True)
    here.call([])


def _isolated(here: World) -> None:
    here.host.isolate()
    here.call([])


def _interrupted(here: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        here.begin().throw(KeyboardInterrupt())


ENDS: dict[str, tuple[Any, str]] = {
    "200": (lambda here: here.call(answer(200)), "request.finished"),
    "304": (lambda here: here.call(answer(304)), "request.finished"),
    "404": (lambda here: here.call(answer(404)), "request.finished"),
    "429": (lambda here: here.call(answer(429)), "request.finished"),
    "501": (lambda here: here.call(answer(501)), "request.finished"),
    "200 in the end": (lambda here: here.call([answer(503), answer(200)]), "request.finished"),
    "500": (lambda here: here.call(answer(500)), "request.failed"),
    "503 three times": (lambda here: here.call(answer(503)), "request.failed"),
    "503 to a POST": (lambda here: here.call(answer(503), "POST"), "request.failed"),
    "refused": (lambda here: here.call(refused()), "request.failed"),
    "certificate": (lambda here: here.call(bad_certificate()), "request.failed"),
    "own error": (lambda here: here.call(failed(ValueError("secret"))), "request.failed"),
    "breaker": (_rejected_by_breaker, "request.failed"),
    "bulkhead": (_rejected_by_bulkhead, "request.failed"),
    "isolation": (_isolated, "request.failed"),
    "Ctrl-C": (_interrupted, "request.failed"),
    "closed": (lambda here: here.begin().reply(answer(503)).reply(True), "request.failed"),
    "dropped": (lambda here: here.begin().close(), "request.failed"),
    "futile wait": (lambda here: here.call(answer(429, "100")), "request.finished"),
}


@pytest.mark.parametrize("end", ENDS)
def test_each_call_announces_its_end_exactly_once_and_last(end: str) -> None:
    here = World()
    act, closing = ENDS[end]
    act(here)
    assert here.closings() == 1
    assert here.names()[-1] == closing
    for event in here.events:
        assert CATALOGUE[event.name] is type(event)
        assert event.host == HOST
        assert "secret" not in repr(event)


def test_a_call_that_was_retried_tells_its_story() -> None:
    here = world(retry={"attempts": 3, "jitter": "none", "wait_initial": 1.0})
    final = here.call([answer(503), refused(), answer(200)], took=0.5).final
    assert final is not None
    common: Any = {"host": HOST, "call": final.call, "method": "GET", "path": "/things"}
    assert here.events == [
        AttemptFailed(**common, attempt=1, status=503, error=None, detail=None, duration=0.5),
        RetryScheduled(**common, attempt=2, wait=1.0, server_directed=False, reason="status"),
        AttemptFailed(
            **common,
            attempt=2,
            status=None,
            error="ConnectError",
            detail=f"{HOST}: Connection refused (errno 111)",
            duration=0.5,
        ),
        RetryScheduled(**common, attempt=3, wait=2.0, server_directed=False, reason="error"),
        RequestFinished(**common, status=200, attempts=3, duration=4.5, waited=3.0),
    ]


def test_a_call_that_failed_says_with_what() -> None:
    here = world(retry=False)
    final = here.call(failed(ConnectTimeout(f"{HOST}: no connection within 3 s")), "POST", took=3.0).final
    assert final is not None
    assert here.only(RequestFailed) == RequestFailed(
        host=HOST,
        call=final.call,
        method="POST",
        path="/things",
        status=None,
        error="ConnectTimeout",
        detail=f"{HOST}: no connection within 3 s",
        attempts=1,
        duration=3.0,
        waited=0.0,
    )


def test_a_rejection_says_by_what_and_has_no_attempts() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1}))
    under_way = here.begin()
    call = here.begin()
    assert isinstance(call.outcome.error, BulkheadFullError)
    assert [event.name for event in here.events] == ["request.rejected", "request.failed"]
    assert here.only(RequestRejected).retry_after is None
    assert here.only(RequestFailed).attempts == 0
    under_way.close()


def test_the_level_of_finished_calls_is_the_policys() -> None:
    for level in ("debug", "info", "warning", "error"):
        here = world(log={"finished": level})
        here.call(answer(200))
        assert [announced for _, announced in here.announced] == [level]


def test_finished_off_keeps_failures() -> None:
    here = world(log={"finished": "off"}, retry=False)
    here.call(answer(200))
    assert here.events == []
    here.call(answer(500))
    here.only(RequestFailed)


@pytest.mark.parametrize(("sample", "logged"), [(0.0, 0), (0.01, 1), (0.25, 25), (1.0, 100)])
def test_a_sample_of_answered_calls_is_logged_and_every_failure(sample: float, logged: int) -> None:
    here = world(log={"sample": sample}, retry=False)
    for number in range(100):
        here.clock.roll = lambda number=number: number / 100  # type: ignore[misc]
        here.call(answer(200))
        here.call(answer(500))
    assert len(here.all(RequestFinished)) == logged
    assert {event.sample for event in here.all(RequestFinished)} <= {sample if sample < 1.0 else None}
    assert len(here.all(RequestFailed)) == 100


def test_a_calls_own_policy_says_how_it_is_logged() -> None:
    here = world(log={"finished": "off"})
    here.call(answer(200), policy=Policy(log={"finished": "warning"}))
    assert [announced for _, announced in here.announced] == ["warning"]


def test_a_rejection_by_the_circuit_says_in_which_state_it_is() -> None:
    """It said `is open` also where it was closed and admitted a part of the calls."""
    here = World(Policy(retry=False, breaker=PLAIN_BREAKER | {"consecutive": 2, "ramp": 5, "close_after": 1}))
    here.trip()
    assert str(here.begin().outcome.error) == f"the circuit of {HOST} is open after 500; next try in 5 s"
    here.clock.advance(5.0)
    probe = here.begin()
    half_open = f"the circuit of {HOST} is half-open after 500: a probe is under way"
    assert str(here.begin().outcome.error) == half_open
    probe.reply(answer(200))
    here.clock.advance(2.0)
    under_way = [here.begin(), here.begin()]
    closed = "closed again after it had opened after 500, and lets in a growing share of calls; all in 3 s"
    assert str(here.begin().outcome.error) == f"the circuit of {HOST} {closed}"
    assert all(call.final is None for call in under_way)
