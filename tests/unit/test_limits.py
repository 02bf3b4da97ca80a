"""The retry budget and the bulkhead: how much work a host is given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepwalker.engine import Outcome
from sleepwalker.engine.host.budget import Budget
from sleepwalker.events import RequestRejected
from sleepwalker.exceptions import BulkheadFullError
from sleepwalker.policy import Policy, RetryBudget
from tests.unit.engine_driver import Running, World, answer, refused, reset

#: Decisions of our own: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once


def world(ratio: float = 0.2, min_per_second: float = 0.0, window: float = 10.0, **parts: Any) -> World:
    """A budget without a breaker that would step in."""
    budget = {"ratio": ratio, "min_per_second": min_per_second, "window": window}
    return World(Policy(retry={"budget": budget}, **{"breaker": False, **parts}))


@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("outcome", [answer(503), refused(), reset()])
def test_with_the_host_down_the_load_grows_by_the_ratio_and_no_more(ratio: float, outcome: Any) -> None:
    here = world(ratio)
    calls = 600
    for _ in range(calls):
        here.clock.advance(0.015)
        here.call(outcome)
    sends = here.host.snapshot().attempts
    assert calls * (1 + ratio) * 0.98 <= sends <= calls * (1 + ratio)
    assert set(here.reasons()) == {"budget"}


def test_never_sent_failures_of_a_post_are_within_the_budget_too() -> None:
    here = world(0.1)
    for _ in range(100):
        here.call(refused(), "POST")
    assert here.host.snapshot().attempts == 110


def test_a_quiet_host_has_the_floor() -> None:
    here = world(0.001, min_per_second=0.5)
    sends = sum(len(here.call(answer(503)).sends) for _ in range(10))
    assert sends == 10 + 5
    assert here.reasons()[-1] == "budget"


def test_the_answer_in_hand_is_returned_when_the_budget_is_empty() -> None:
    here = world(0.2)
    asked = answer(503, "3")
    call = here.call(asked)
    assert call.outcome is asked
    assert call.waits == []
    assert here.reasons() == ["budget"]


def test_one_host_has_one_budget_whatever_the_policies_of_its_calls() -> None:
    here = world(0.1)
    generous = Policy(retry={"budget": {"ratio": 1.0, "min_per_second": 1000}}, breaker=False)
    for _ in range(100):
        here.call(answer(503), policy=generous)
    assert here.host.snapshot().attempts == 110


def test_a_calls_own_policy_may_do_without_the_budget() -> None:
    here = world(0.1)
    unlimited = Policy(retry={"budget": False})
    assert len(here.call(answer(503), policy=unlimited).sends) == 3
    assert len(here.call(answer(503)).sends) == 1


def test_a_spent_budget_comes_back_with_time() -> None:
    here = world(0.001, min_per_second=0.1, window=10.0)
    assert [len(here.call(answer(503)).sends) for _ in range(2)] == [2, 1]
    here.clock.advance(10.0)
    assert [len(here.call(answer(503)).sends) for _ in range(2)] == [2, 1]


def test_calls_that_were_rejected_earn_no_retries() -> None:
    """An open circuit rejected a thousand calls; a recovering host then got two hundred retries on top."""
    here = world(0.2, breaker={"consecutive_for": 0, "consecutive": 5, "open_for": 5, "ramp": 0, "min_calls": 1000})
    here.trip()
    for _ in range(1000):
        here.clock.advance(0.004)
        here.call(answer(200))
    here.clock.advance(2.0)
    here.recover()
    before = here.host.snapshot().retries
    for _ in range(20):
        here.call(answer(200))
        here.call(answer(503))
    # A fifth of 5 calls that tripped, 2 probes and 40 calls.
    assert here.host.snapshot().retries - before == 9


def test_a_retry_that_is_answered_costs_nothing() -> None:
    """Where most retries are, callers get what a plain loop would give them: here, every third attempt fails."""
    here = world(0.001, min_per_second=0.2)
    for _ in range(100):
        assert here.call([answer(503), answer(200)]).outcome.status == 200
    assert here.reasons() == []


@pytest.mark.parametrize("end", [answer(500), answer(503), reset(), refused(), answer(429)])
def test_one_that_is_not_is_paid_for(end: Outcome) -> None:
    here = world(0.001, min_per_second=0.1)
    assert len(here.call([answer(503), end, end]).sends) == 2
    assert here.call([answer(503)]).final is not None
    assert here.reasons()[-1] == "budget"


def test_any_answer_of_a_host_that_works_is_one_though_the_caller_may_not_like_it() -> None:
    here = world(0.001, min_per_second=0.1)
    for status in (404, 401, 501):
        assert here.call([answer(503), answer(status)]).outcome.status == status
    assert here.reasons() == []


def test_those_that_are_under_way_are_charged() -> None:
    """Sixty calls at once of a host that is down make three retries, not sixty."""
    here = world(0.001, min_per_second=0.3)
    calls = [here.begin().reply(answer(503)) for _ in range(60)]
    going = [call.reply(False) for call in calls if call.final is None]
    assert len(going) == 3
    for call in going:
        call.reply(answer(200))
    assert len([call for call in (here.begin().reply(answer(503)) for _ in range(60)) if call.final is None]) == 3


def test_one_that_came_to_nothing_from_here_stays_charged() -> None:
    """An interrupted call cannot tell whether the host would have responded."""
    here = world(0.001, min_per_second=0.1)
    call = here.begin().reply(answer(503)).reply(False)
    with pytest.raises(KeyboardInterrupt):
        call.throw(KeyboardInterrupt())
    assert len(here.call([answer(503)]).sends) == 1


def test_the_second_retry_of_a_call_does_not_give_back_what_the_first_cost() -> None:
    here = world(0.001, min_per_second=0.3)
    for _ in range(2):
        assert len(here.call([answer(503), answer(503), answer(200)]).sends) == 3
    assert len(here.call([answer(503), answer(503), answer(200)]).sends) == 2  # of three, one is left
    assert here.reasons() == ["budget"]


def test_one_that_is_answered_after_its_charge_left_the_window_gives_nothing_back() -> None:
    here = world(0.001, min_per_second=0.2)
    slow = here.begin(
        timeout=(3.05, 30.0), policy=Policy(timeout={"attempt": 25}, breaker=False, retry=here.policy.retry)
    )
    slow.reply(answer(503)).reply(False)
    here.clock.advance(12)
    assert [len(here.call(answer(503)).sends) for _ in range(2)] == [3, 1]
    slow.reply(answer(200))
    assert len(here.call(answer(503)).sends) == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["call", "retry", "retry", "answer"]), st.floats(0, 3)), max_size=100),
    st.floats(0.01, 1),
    st.floats(0, 2),
    st.floats(1, 20),
)
def test_vain_retries_within_any_window_never_exceed_what_its_calls_and_the_floor_grant(
    steps: list[tuple[str, float]], ratio: float, floor: float, window: float
) -> None:
    budget = Budget(RetryBudget(ratio=ratio, min_per_second=floor, window=window))
    now, calls = 1000.0, []
    retries: list[float] = []
    for kind, pause in steps:
        now += pause
        if kind == "call":
            budget.deposit(now)
            calls.append(now)
        elif kind == "answer":
            if retries:
                budget.give_back(retries.pop(0), now)
        elif budget.spend(now):
            retries.append(now)
            recent = sum(1 for when in retries if when > now - 0.9 * window + 1e-6)
            granted = ratio * sum(1 for when in calls if when >= now - window - 1e-6) + floor * window
            assert recent <= granted + 1e-9
        else:
            assert budget.left(now) < 1.0


# The bulkhead


def test_the_call_too_many_is_rejected_at_once_and_nothing_is_sent() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 2}))
    first, second = here.begin(), here.begin()
    third = here.begin()
    assert isinstance(third.outcome.error, BulkheadFullError)
    assert third.outcome.error.host == here.host.origin
    assert "2 calls in flight" in str(third.outcome.error)
    assert third.sends == []
    assert here.only(RequestRejected).by == "bulkhead"
    assert here.host.snapshot().rejections == 1
    assert here.host.snapshot().in_flight == 2
    first.reply(answer(200))
    assert here.begin().step is not None
    second.close()


def _cancelled(call: Running, error: BaseException) -> None:
    with pytest.raises(type(error)):
        call.throw(error)


def _wrong_reply(here: World) -> None:
    with pytest.raises(TypeError):
        here.begin().reply(True)


WAYS_TO_END = {
    "an answer": lambda here: here.call(answer(200)),
    "a failure": lambda here: here.call(answer(500)),
    "an error": lambda here: here.call(reset()),
    "retries that ran out": lambda here: here.call(refused()),
    "Ctrl-C": lambda here: _cancelled(here.begin(), KeyboardInterrupt()),
    "an exception in the driver": lambda here: _cancelled(here.begin(), ValueError("mine")),
    "garbage collection": lambda here: here.begin().close(),
    "closing during a wait": lambda here: here.begin().reply(answer(503)).reply(True),
    "Ctrl-C during a wait": lambda here: _cancelled(here.begin().reply(answer(503)), KeyboardInterrupt()),
    "a wrong reply": _wrong_reply,
}


@pytest.mark.parametrize("way", WAYS_TO_END)
def test_a_place_is_free_again_after_every_way_that_a_call_can_end(way: str) -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1}, breaker=False))
    for _ in range(3):
        WAYS_TO_END[way](here)
        assert here.host.snapshot().in_flight == 0
    assert here.call(answer(200)).outcome.status == 200
    assert here.all(RequestRejected) == []


def test_a_place_is_kept_while_the_call_waits_to_retry() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1}))
    waiting = here.begin().reply(answer(503))
    assert isinstance(here.begin().outcome.error, BulkheadFullError)
    waiting.close()


def test_a_call_may_pass_by_the_bulkhead_and_still_counts_for_the_others() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1}))
    urgent = here.begin(policy=Policy(bulkhead=False))
    also_urgent = here.begin(policy=Policy(bulkhead=False))
    assert also_urgent.step is not None
    assert here.host.snapshot().in_flight == 2
    assert isinstance(here.begin().outcome.error, BulkheadFullError)
    urgent.close()
    also_urgent.close()


def test_a_call_does_not_bring_its_own_number_of_places() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1}))
    first = here.begin()
    assert isinstance(here.begin(policy=Policy(bulkhead={"max_concurrent": 50})).outcome.error, BulkheadFullError)
    first.close()


def test_without_a_bulkhead_there_is_room_for_all() -> None:
    here = World(Policy(bulkhead=False))
    calls = [here.begin() for _ in range(1500)]
    assert here.host.snapshot().in_flight == 1500
    for call in calls:
        call.reply(answer(200))
    assert here.host.snapshot().in_flight == 0
