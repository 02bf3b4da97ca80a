"""The caller's own word on what is retried: when it is asked, of what, and what limits it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import requests

from sleepwalker import ANONYMOUS, Connection
from sleepwalker.connection.retry_if import asking
from sleepwalker.engine import DUE, Ask, Completed, Hold, Outcome, Send, Wait
from sleepwalker.engine.outcome import NEUTRAL
from sleepwalker.events import AttemptFailed, RequestFailed, RetryScheduled
from sleepwalker.policy import Policy
from tests.unit.engine_driver import World, answer, bad_certificate, refused, reset

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")

EXACT: dict[str, Any] = {"jitter": "none", "wait_initial": 1.0, "budget": False}


def world(**parts: Any) -> World:
    return World(Policy(**{"breaker": False, "retry": EXACT, **parts}))


class Word:
    """Says what it is told to, and keeps what it was asked of."""

    def __init__(self, *words: bool) -> None:
        self.words = list(words)
        self.asked: list[Outcome] = []

    def __call__(self, outcome: Outcome) -> bool:
        self.asked.append(outcome)
        return self.words.pop(0)


# When it is asked


def test_true_retries_what_the_policy_would_not_and_false_changes_nothing() -> None:
    word = Word(True, False)
    call = world().call([answer(202), answer(404)], retry_if=word)
    assert word.asked == [answer(202), answer(404)]
    assert (call.outcome, call.waits) == (answer(404), [1.0])


def test_it_is_not_asked_of_what_is_retried_anyway() -> None:
    word = Word(False)
    call = world().call([answer(503), refused(), answer(200)], retry_if=word)
    assert word.asked == [answer(200)]
    assert len(call.sends) == 3


def test_there_are_no_more_attempts_than_the_policy_has() -> None:
    word = Word(True, True, True)
    call = world().call(answer(202), retry_if=word)
    assert len(word.asked) == len(call.sends) == 3
    assert call.outcome == answer(202)


def test_without_a_retry_policy_it_is_not_asked() -> None:
    assert world(retry=False).call(answer(202), retry_if=Word()).outcome == answer(202)


def test_an_error_that_is_not_worth_another_try_by_itself_is_put_to_it() -> None:
    word = Word(True, False)
    error = bad_certificate()
    assert world().call(error, retry_if=word).outcome is error
    assert word.asked == [error, error]


def test_it_is_not_asked_of_what_the_callers_own_code_raised() -> None:
    own = Outcome(NEUTRAL, error=ValueError("of an auth object"))
    assert world().call(own, retry_if=Word()).outcome is own


# What limits it


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        ({"method": "POST"}, answer(202), "not idempotent"),
        ({"idempotent": False}, answer(202), "not idempotent"),
        ({"replayable": False}, answer(202), "not replayable"),
        ({"took": 9.5}, answer(202), "deadline"),
        ({}, answer(202, "61"), "retry after"),
    ],
    ids=str,
)
def test_no_limit_of_a_retry_is_lifted(how: dict[str, Any], outcome: Outcome, reason: str) -> None:
    here = world(timeout={"total": 10})
    call = here.call(outcome, retry_if=Word(True), **how)
    assert call.outcome is outcome
    assert here.reasons() == [reason]


def test_a_post_is_retried_where_the_call_says_that_it_is_idempotent() -> None:
    call = world().call([answer(202), answer(200)], "POST", idempotent=True, retry_if=Word(True, False))
    assert call.outcome == answer(200)


def test_the_retry_budget_pays_for_it() -> None:
    here = world(retry={**EXACT, "budget": {"ratio": 0.1, "min_per_second": 0, "window": 100}})
    for _ in range(20):
        here.call(answer(200))
    call = here.call(answer(202), retry_if=lambda _: True)
    assert len(call.sends) == 3
    assert here.call(answer(202), retry_if=lambda _: True).sends[1:] == []
    assert here.reasons() == ["budget"]


def test_the_budget_has_back_the_retry_that_brought_what_the_caller_wanted() -> None:
    """A caller who polls gets its answers from a host that works; what it polled for in vain is charged."""
    here = world(retry={**EXACT, "budget": {"ratio": 0.0001, "min_per_second": 0.02, "window": 100}})
    for sends in (3, 2):
        call = here.call([answer(202), answer(202), answer(200)], retry_if=lambda outcome: outcome.status == 202)
        assert len(call.sends) == sends
    assert here.reasons() == ["budget"]


def test_an_open_circuit_ends_it() -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 1, "open_for": 5})
    call = here.call(answer(500), retry_if=lambda _: True)
    assert (len(call.sends), here.reasons()) == (1, ["breaker"])


def test_the_wait_is_the_policys_and_the_servers() -> None:
    assert world().call([answer(202), answer(202, "7"), answer(200)], retry_if=Word(True, True, False)).waits == [1, 7]


# What is known of it


def test_the_events_say_what_each_retry_was_for() -> None:
    here = world(retry={**EXACT, "attempts": 5})
    here.call([answer(503), reset(), answer(202), answer(200)], retry_if=Word(True, False))
    assert [event.reason for event in here.all(RetryScheduled)] == ["status", "error", "retry_if"]
    assert [event.attempt for event in here.all(AttemptFailed)] == [1, 2]


def test_the_answers_own_verdict_stays() -> None:
    here = world()
    here.call([answer(202), answer(429), answer(200)], retry_if=Word(True, False))
    health = here.host.snapshot()
    assert (health.attempts, health.failures, health.success_ratio) == (3, 0, 1.0)


@pytest.mark.parametrize("error", [ValueError("no JSON"), KeyboardInterrupt()], ids=repr)
def test_what_it_raises_ends_the_call_with_all_given_back_and_the_attempt_on_record(error: BaseException) -> None:
    here = world(breaker={"consecutive_for": 0, "consecutive": 1, "ramp": 0}, bulkhead={"max_concurrent": 1})
    here.trip()
    here.clock.advance(here.host.snapshot().retry_in or 0.0)
    call = here.begin(retry_if=Word())
    call.reply(answer(202))
    assert isinstance(call.step, Ask)
    with pytest.raises(type(error)) as caught:
        call.throw(error)
    assert caught.value is error
    health = here.host.snapshot()
    assert (health.in_flight, health.breaker, health.attempts, health.failures) == (0, "half-open", 2, 1)
    assert here.all(RequestFailed)[-1].error == type(error).__name__
    assert here.call(answer(200)).outcome == answer(200)
    assert here.host.snapshot().breaker == "closed"


def test_no_permit_is_out_while_it_is_asked() -> None:
    """It may take its time: a half-open circuit lets the next probe through meanwhile."""
    here = world(breaker={"consecutive_for": 0, "consecutive": 1})
    here.trip()
    here.clock.advance(here.host.snapshot().retry_in or 0.0)
    asked = here.begin(retry_if=Word())
    assert here.begin().sends == []
    asked.reply(answer(200))
    assert isinstance(asked.step, Ask)
    assert len(here.begin().sends) == 1


# Together with a hedge


def test_of_a_race_it_is_asked_once_it_is_over_and_of_its_outcome_alone() -> None:
    word = Word(True)
    here = world(hedge={"delay": 1.0})
    call = here.begin(concurrent=True, retry_if=word)
    here.clock.advance(1.0)
    call.reply(DUE)
    call.reply(Completed(1, answer(503)))
    assert isinstance(call.step, Hold)
    call.reply(Completed(2, answer(202)))
    assert isinstance(call.step, Ask)
    assert call.step.outcome == answer(202)
    call.reply(True)
    assert isinstance(call.step, Wait)
    call.reply(False)
    assert isinstance(call.step, Send)


# What may be given


async def coroutine(answer: object) -> bool:
    return True


def generator(answer: object) -> Iterator[bool]:
    yield False


async def asynchronous_generator(answer: object) -> AsyncIterator[bool]:
    yield False


class Asynchronous:
    async def __call__(self, answer: object) -> bool:
        return True


NOT_PLAIN: list[Any] = [
    coroutine,
    generator,
    asynchronous_generator,
    Asynchronous(),
    functools.partial(coroutine),
    mock.AsyncMock(),
]


def give_to_the_constructor(function: Any) -> None:
    Connection("http://127.0.0.1:1", ANONYMOUS, retry_if=function)


def give_to_a_call(function: Any) -> None:
    with Connection("http://127.0.0.1:1", ANONYMOUS) as conn:
        conn.get("/", retry_if=function)


@pytest.mark.parametrize("give", [give_to_the_constructor, give_to_a_call])
@pytest.mark.parametrize("function", NOT_PLAIN, ids=lambda function: type(function).__name__)
def test_what_could_never_say_no_is_refused_by_its_name(function: Any, give: Callable[[Any], None]) -> None:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    with pytest.raises(TypeError) as caught:
        give(function)
    assert str(caught.value) == (
        f"retry_if must be a plain function that returns True or False: {name} is a coroutine or generator function, "
        f"whose return value always counts as true"
    )


@pytest.mark.parametrize("give", [give_to_the_constructor, give_to_a_call])
@pytest.mark.parametrize("wrong", [True, 503, "secret", [503], Policy()], ids=lambda wrong: type(wrong).__name__)
def test_what_cannot_be_called_is_refused(wrong: Any, give: Callable[[Any], None]) -> None:
    with pytest.raises(TypeError) as caught:
        give(wrong)
    kind = type(wrong).__name__
    assert str(caught.value) == (
        f"retry_if must be a function of one argument, the response or the error, not of type {kind}"
    )


def test_a_plain_function_around_a_coroutine_function_is_found_out_when_it_is_asked() -> None:
    response = requests.Response()
    with pytest.raises(TypeError, match=r"<lambda> returned a coroutine, which always counts as true$"):
        asking(lambda answer: coroutine([answer]))(Outcome(NEUTRAL, 202, response=response))


def test_functions_are_asked_in_order_until_one_says_true() -> None:
    asked: list[str] = []

    def saying(name: str, word: object) -> Callable[[object], object]:
        def function(came: object) -> object:
            asked.append(name)
            return word

        return function

    came = Outcome(NEUTRAL, 202, response=requests.Response())
    assert asking(saying("a", 0), None, saying("b", "yes"), saying("c", True))(came) is True
    assert asked == ["a", "b"]
    assert asking(saying("a", None), saying("b", ""))(came) is False
