"""Which failures are tried again, how often, and after what wait."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepwalker.engine import Outcome
from sleepwalker.engine.retrying import MINIMAL_ATTEMPT, Retries, RetryContext, Stop
from sleepwalker.events import RetryScheduled
from sleepwalker.policy import Policy, RetryPolicy
from tests.unit.engine_driver import FakeClock, World, answer, bad_certificate, refused, reset

RETRYABLE = [408, 429, 502, 503, 504]


def world(**retry: Any) -> World:
    """Nothing but retries: no breaker and, unless asked for, no budget."""
    retry.setdefault("budget", False)
    return World(Policy(retry=retry, breaker=False, bulkhead=False, timeout={"total": 1_000_000}))


def waits(**retry: Any) -> list[float]:
    """What a call whose every send fails waits."""
    return world(**retry).call(answer(503)).waits


# Whether


@pytest.mark.parametrize("status", range(100, 600))
def test_only_the_policys_statuses_are_sent_again(status: int) -> None:
    call = world().call(answer(status))
    assert len(call.sends) == (3 if status in RETRYABLE else 1)
    assert call.outcome.status == status


@pytest.mark.parametrize("status", [200, 202, 204, 226, 304, 399, 400, 404, 451, 500, 501, 599, 600, 999])
def test_any_status_of_a_last_answer_may_be_named(status: int) -> None:
    call = world(statuses=[status]).call(answer(status))
    assert len(call.sends) == 3
    assert call.outcome == answer(status)


def test_an_answer_that_asks_for_patience_is_waited_for_below_400_too() -> None:
    call = world(statuses=[202], jitter="none").call([answer(202, "20"), answer(202), answer(200)])
    assert call.waits == [20, 0.2]
    assert world(statuses=[202]).call(answer(202, "61")).waits == []


def test_a_named_success_is_retried_and_counts_for_the_host_as_ever() -> None:
    here = world(statuses=[202])
    assert here.call([answer(202), answer(202), answer(200)]).outcome == answer(200)
    health = here.host.snapshot()
    assert (health.failures, health.success_ratio, health.retries) == (0, 1.0, 2)
    assert here.call(answer(202)).outcome == answer(202)
    assert here.names()[-1] == "request.finished"
    assert {event.reason for event in here.all(RetryScheduled)} == {"status"}


def test_the_statuses_are_the_policys_to_choose() -> None:
    assert len(world(statuses=[404]).call(answer(404)).sends) == 3
    assert len(world(statuses=[404]).call(answer(503)).sends) == 1


@pytest.mark.parametrize("attempts", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("outcome", [answer(503), refused(), reset()])
def test_there_are_exactly_as_many_sends_as_attempts_and_no_wait_after_the_last(
    attempts: int, outcome: Outcome
) -> None:
    call = world(attempts=attempts).call(outcome)
    assert len(call.sends) == attempts
    assert len(call.waits) == attempts - 1
    assert call.final is not None
    assert len(call.final.attempts) == attempts
    assert call.outcome is outcome


def test_a_call_that_ran_out_of_attempts_abandons_nothing() -> None:
    """`retry.abandoned` means that a retry was left but forbidden."""
    once, thrice = world(attempts=1), world(attempts=3)
    once.call(answer(503), "POST", replayable=False)
    thrice.call(answer(503))
    assert once.reasons() == thrice.reasons() == []


def test_the_first_good_answer_ends_the_call() -> None:
    call = world(attempts=5).call([answer(503), reset(), answer(200)])
    assert (len(call.sends), call.outcome.status) == (3, 200)


@pytest.mark.parametrize(
    ("outcome", "idempotent", "sends", "reasons"),
    [
        (answer(503), True, 3, []),
        (reset(), True, 3, []),
        (refused(), True, 3, []),
        (answer(503), False, 1, ["not idempotent"]),
        (answer(429), False, 1, ["not idempotent"]),
        (reset(), False, 1, ["not idempotent"]),
        (refused(), False, 3, []),
        (bad_certificate(), True, 1, []),
        (bad_certificate(), False, 1, []),
    ],
)
def test_a_request_is_sent_again_only_if_that_can_do_no_harm(
    outcome: Outcome, idempotent: bool, sends: int, reasons: list[str]
) -> None:
    here = world()
    assert len(here.call(outcome, "POST", idempotent=idempotent).sends) == sends
    assert here.reasons() == reasons


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_never_sent_off_holds_for_what_is_not_idempotent(method: str) -> None:
    here = world(never_sent=False)
    assert len(here.call(refused(), method).sends) == 1
    assert here.reasons() == ["not idempotent"]
    assert len(here.call(refused(), "GET").sends) == 3


def test_a_post_is_not_sent_again_once_one_of_its_sends_may_have_been_processed() -> None:
    here = world(attempts=5)
    call = here.call([refused(), refused(), reset()], "POST")
    assert len(call.sends) == 3
    assert here.reasons() == ["not idempotent"]


@pytest.mark.parametrize("outcome", [answer(503), refused(), reset()])
def test_a_body_that_cannot_be_sent_twice_is_not(outcome: Outcome) -> None:
    """Not even one that never left: what an iterator gave is gone."""
    here = world()
    assert here.call(outcome, "PUT", replayable=False).outcome is outcome
    assert here.reasons() == ["not replayable"]


# How long


JITTERS: dict[str, Callable[[float, float], float]] = {
    "full": lambda wait, dice: wait * dice,
    "equal": lambda wait, dice: wait / 2 + wait / 2 * dice,
    "none": lambda wait, dice: wait,
}


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize("dice", [0.0, 0.25, 0.5, 0.999999])
def test_waits_grow_from_the_first_to_the_most_within_their_jitter(jitter: str, dice: float) -> None:
    here = world(attempts=7, wait_initial=0.1, wait_multiplier=2, wait_max=1.0, jitter=jitter)
    here.clock.roll = lambda: dice
    expected = [JITTERS[jitter](wait, dice) for wait in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0)]
    assert here.call(answer(503)).waits == pytest.approx(expected)


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_chance_spreads_every_wait_the_first_included(jitter: str) -> None:
    def with_dice(dice: float) -> list[float]:
        here = world(attempts=4, jitter=jitter)
        here.clock.roll = lambda: dice
        return here.call(answer(503)).waits

    low, high = with_dice(0.1), with_dice(0.9)
    assert all(one < other for one, other in zip(low, high, strict=True))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=9, max_size=9), st.floats(0, 3), st.floats(3, 20))
def test_a_decorrelated_wait_lies_between_the_first_and_three_times_the_last(
    dice: list[float], initial: float, maximum: float
) -> None:
    here = world(attempts=10, jitter="decorrelated", wait_initial=initial, wait_max=maximum)
    here.clock.roll = itertools.cycle(dice).__next__
    found = here.call(answer(503)).waits
    assert len(found) == 9
    for last, wait in itertools.pairwise([initial, *found]):
        assert initial <= wait <= min(maximum, max(initial, 3 * last)) * (1 + 1e-12)


def test_a_decorrelated_wait_after_a_long_one_by_the_server_keeps_to_its_most() -> None:
    here = world(attempts=3, jitter="decorrelated", wait_max=5)
    here.clock.roll = lambda: 0.999
    assert here.call([answer(503, "40"), answer(503), answer(200)]).waits == [40.0, 5.0]


@settings(max_examples=50, deadline=None)
@given(
    attempts=st.integers(1, 100),
    initial=st.floats(0, 1000),
    multiplier=st.floats(1, 100),
    extra=st.floats(0, 1000),
    jitter=st.sampled_from(["full", "equal", "decorrelated", "none"]),
    dice=st.floats(0, 1, exclude_max=True),
)
def test_no_numbers_overflow_or_exceed_the_most(
    attempts: int, initial: float, multiplier: float, extra: float, jitter: str, dice: float
) -> None:
    here = world(
        attempts=attempts, wait_initial=initial, wait_multiplier=multiplier, wait_max=initial + extra, jitter=jitter
    )
    here.clock.roll = lambda: dice
    found = here.call(answer(503)).waits
    assert len(found) == attempts - 1
    assert all(0.0 <= wait <= initial + extra for wait in found)


def test_the_longest_waits_are_the_ones_that_the_policy_was_checked_with() -> None:
    """A policy whose waits could exceed its total is refused; that check must know what is really waited."""
    from sleepwalker.policy.constraints import longest_waits

    for jitter in ("full", "equal", "decorrelated", "none"):
        here = world(attempts=8, wait_initial=0.3, wait_multiplier=3, wait_max=9, jitter=jitter)
        here.clock.roll = lambda: 1 - 2**-53
        found = sum(here.call(answer(503)).waits)
        assert found == pytest.approx(longest_waits(8, 0.3, 3, 9, jitter))


# Retry-After


def test_a_wait_is_never_shorter_than_the_server_asked_and_jitter_does_not_touch_it() -> None:
    for dice in (0.0, 0.5, 0.999):
        here = world()
        here.clock.roll = lambda dice=dice: dice  # type: ignore[misc]
        assert here.call([answer(503, "7.5"), answer(429, "2"), answer(200)]).waits == [7.5, 2.0]
        assert [event.server_directed for event in here.all(RetryScheduled)] == [True, True]


def test_a_wait_is_the_longer_of_the_servers_and_the_policys() -> None:
    here = world(jitter="none", wait_initial=3)
    assert here.call([answer(503, "1"), answer(200)]).waits == [3.0]
    assert here.only(RetryScheduled).server_directed is False


@pytest.mark.parametrize("text", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-7"])
def test_a_retry_after_of_nothing_or_nonsense_leaves_the_policys_wait(text: str) -> None:
    assert world(jitter="none").call([answer(503, text), answer(200)]).waits == [0.1]


@pytest.mark.parametrize("text", ["60.001", "86400", "100000", "9" * 400, "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_server_that_asks_for_more_than_the_policy_grants_gets_no_retry(text: str) -> None:
    here = world()
    asked = answer(503, text)
    call = here.call(asked)
    assert call.outcome is asked
    assert (call.waits, len(call.sends)) == ([], 1)
    assert here.reasons() == ["retry after"]


def test_exactly_the_granted_wait_is_waited() -> None:
    assert world(retry_after_max=60).call([answer(503, "60"), answer(200)]).waits == [60.0]


# The decision itself


def decide(outcome: Outcome, *, time_left: float = 30.0, rejected_for: float = 0.0, spend: bool = True) -> Any:
    """One decision, and how often the budget was asked."""
    asked: list[bool] = []
    terms = RetryContext(True, True, lambda: time_left, lambda: rejected_for, lambda: asked.append(spend) or spend)  # type: ignore[func-returns-value]
    retries = Retries(RetryPolicy(jitter="none", wait_initial=1.0), FakeClock())
    return retries.after(retries.begin(terms), outcome), len(asked)


def test_a_wait_that_leaves_no_time_for_an_attempt_is_futile() -> None:
    assert decide(answer(503), time_left=1.0 + MINIMAL_ATTEMPT) == (1.0, 1)
    assert decide(answer(503), time_left=1.0) == (Stop("deadline"), 0)
    assert decide(answer(503), time_left=-5.0) == (Stop("deadline"), 0)
    assert decide(answer(503, "20"), time_left=20.0) == (Stop("deadline"), 0)
    assert decide(answer(503, "20"), time_left=20.0 + MINIMAL_ATTEMPT) == (20.0, 1)


def test_a_wait_that_ends_before_the_circuit_lets_anyone_in_is_futile() -> None:
    assert decide(answer(503), rejected_for=1.001) == (Stop("breaker"), 0)
    assert decide(answer(503), rejected_for=1.0) == (1.0, 1)


def test_the_budget_is_asked_only_for_a_retry_that_nothing_else_forbids() -> None:
    assert decide(answer(503), spend=False) == (Stop("budget"), 1)
    assert decide(answer(200)) == (Stop(None), 0)


def test_each_decision_of_a_call_may_be_made_in_another_thread() -> None:
    """As in a race, whose last outcome may be a copy's."""
    retries = Retries(RetryPolicy(attempts=4, jitter="none", wait_initial=1.0), FakeClock())
    record = retries.begin(RetryContext(True, True, lambda: 30.0, lambda: 0.0, lambda: True))
    decisions: list[Any] = []
    for _ in range(4):
        thread = threading.Thread(target=lambda: decisions.append(retries.after(record, answer(503))))
        thread.start()
        thread.join()
    assert decisions == [1.0, 2.0, 4.0, Stop(None)]


def test_calls_that_share_a_policy_do_not_share_their_counts() -> None:
    here = world(attempts=3)
    first, second = here.begin(), here.begin()
    first.reply(answer(503)).reply(False).reply(answer(503)).reply(False)
    assert second.reply(answer(503)).step is not None
    assert first.reply(answer(503)).final is not None
    assert second.reply(False).reply(answer(503)).reply(False).reply(answer(503)).final is not None
    assert len(first.sends) == len(second.sends) == 3
