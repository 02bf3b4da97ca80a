"""Bulkhead and rate limit in a dry run: nothing waits, nothing is refused, and what would have been is told."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sleepwalker.engine import Send, Wait
from sleepwalker.events import RequestFailed, RequestRejected, RequestWouldReject
from sleepwalker.exceptions import HostIsolatedError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import Running, World, answer, refused

OK = answer(200)


def observing(**parts: Any) -> World:
    limits: dict[str, Any] = {"bulkhead": False, **parts}
    for name in ("bulkhead", "rate_limit"):
        if limits.get(name):
            limits[name] = {"mode": "observe", **limits[name]}
    return World(Policy(**{"breaker": False, "retry": False, **limits}))


def told(here: World) -> list[tuple[str, float | None]]:
    return [(event.by, event.retry_after) for event in here.all(RequestWouldReject)]


def test_calls_beyond_the_bulkhead_go_at_once_and_are_told_of() -> None:
    here = observing(bulkhead={"max_concurrent": 2})
    calls = [here.begin() for _ in range(5)]
    assert all(isinstance(call.step, Send) for call in calls)
    assert told(here) == [("bulkhead", None)] * 3
    event = here.all(RequestWouldReject)[0]
    assert (event.method, event.path, event.attempt) == ("GET", "/things", 1)
    health = here.host.snapshot()
    assert (health.in_flight, health.limit, health.rejections, health.calls) == (5, 2, 0, 5)
    for call in calls:
        call.reply(OK)
    assert here.all(RequestRejected) == here.all(RequestFailed) == []
    assert here.host.snapshot().in_flight == 0
    assert here.host.counters.labelled == {("would reject", "bulkhead"): 3}


def test_a_call_beyond_the_limit_takes_no_place_from_the_next() -> None:
    """An enforced one would not be there: else one moment too many would have all calls after it told of."""
    here = observing(bulkhead={"max_concurrent": 2})
    first, _second, beyond = (here.begin() for _ in range(3))
    first.reply(OK)
    _fourth = here.begin()
    assert told(here) == [("bulkhead", None)]
    beyond.reply(OK)
    here.begin()
    assert told(here) == [("bulkhead", None)] * 2


def test_a_bulkhead_that_observes_never_queues_and_counts_as_if_it_did_not() -> None:
    here = observing(bulkhead={"max_concurrent": 1, "max_wait": 5})
    _first, second = here.begin(), here.begin()
    assert isinstance(second.step, Send)
    assert told(here) == [("bulkhead", None)]


def test_however_a_call_beyond_the_limit_ends_its_stay_is_over() -> None:
    here = observing(bulkhead={"max_concurrent": 1})
    held = here.begin()
    for end in (
        lambda call: call.reply(OK),
        lambda call: call.reply(refused()),
        Running.close,
    ):
        end(here.begin())
    assert len(told(here)) == 3
    held.reply(OK)
    here.begin().reply(OK)
    assert len(told(here)) == 3
    assert here.host.snapshot().in_flight == 0


def test_calls_over_the_rate_go_at_once_and_are_told_of_with_the_time_to_a_token() -> None:
    here = observing(rate_limit={"rate": 0.5, "burst": 2})
    here.clock.advance(100)
    calls = [here.begin() for _ in range(4)]
    assert all(isinstance(call.step, Send) for call in calls)
    assert told(here) == [("rate_limit", 2.0)] * 2
    here.clock.advance(1.5)
    here.begin()
    assert told(here)[-1] == ("rate_limit", 0.5)
    here.clock.advance(0.5)
    here.begin()
    assert len(told(here)) == 3
    assert here.host.snapshot().rejections == 0
    assert here.all(RequestRejected) == []


def test_a_call_that_would_have_waited_for_a_token_goes_at_once_and_those_after_it_would_wait_longer() -> None:
    here = observing(rate_limit={"rate": 1.0, "burst": 1, "max_wait": 2.0})
    calls = [here.begin() for _ in range(5)]
    assert not any(isinstance(call.step, Wait) for call in calls)
    assert told(here) == [("rate_limit", 3.0)] * 2
    here.clock.advance(3)
    here.begin()
    assert len(told(here)) == 2


def test_a_call_over_the_rate_is_told_of_once_though_other_dry_runs_would_refuse_it_too() -> None:
    here = observing(rate_limit={"rate": 0.01, "burst": 1}, bulkhead={"max_concurrent": 1})
    _first = here.begin()
    for _ in range(3):
        here.begin()
    assert {by for by, _ in told(here)} == {"rate_limit"}
    assert len(told(here)) == 3


def test_a_breaker_that_observes_does_not_count_what_a_limit_would_have_kept_from_it() -> None:
    here = observing(
        bulkhead={"max_concurrent": 1},
        breaker={"consecutive_for": 0, "consecutive": 2, "mode": "observe"},
        health={"broken_after": 100},
    )
    first = here.begin()
    for _ in range(5):
        here.call(answer(500))
    assert here.host.snapshot().breaker == "closed"
    first.reply(answer(500))
    here.call(answer(500))
    assert here.host.snapshot().breaker == "open"
    assert {by for by, _ in told(here)} == {"bulkhead"}


def test_what_is_enforced_behind_a_dry_run_is_enforced() -> None:
    here = observing(rate_limit={"rate": 0.01, "burst": 1})
    here.host.isolate()
    assert isinstance(here.begin().outcome.error, HostIsolatedError)
    here = World(
        Policy(rate_limit={"rate": 0.01, "burst": 1, "mode": "observe"}, bulkhead={"max_concurrent": 2}, breaker=False)
    )
    calls = [here.begin() for _ in range(4)]
    assert [bool(call.sends) for call in calls] == [True, True, False, False]
    assert len(told(here)) == 3


LIMIT = st.fixed_dictionaries(
    {"rate": st.floats(0.1, 20), "burst": st.integers(1, 5), "max_wait": st.sampled_from([0.0, 0.0, 1.0, 5.0])}
)


@settings(max_examples=80, deadline=None)
@given(LIMIT, st.lists(st.floats(0, 2), max_size=60))
def test_a_dry_run_of_the_rate_limit_tells_of_those_that_enforcing_would_reject(
    limit: dict[str, Any], pauses: list[float]
) -> None:
    """The same calls, once enforced and once observed; who waits is woken on time."""
    dry = observing(rate_limit=limit)
    real = World(Policy(rate_limit=limit, bulkhead=False, breaker=False, retry=False))
    waiting: list[tuple[float, Running]] = []
    for pause in pauses:
        dry.clock.advance(pause)
        until = real.clock.now + pause
        while waiting and waiting[0][0] <= until:
            when, call = waiting.pop(0)
            real.clock.now = max(real.clock.now, when)
            call.reply(False)
            if isinstance(call.step, Wait):  # a rounding error too early
                waiting.insert(0, (when + call.step.seconds, call))
        real.clock.now = until
        dry.begin()
        call = real.begin()
        if isinstance(call.step, Wait):
            waiting.append((real.clock.now + call.step.seconds, call))
        rejected, observed = real.host.counters.rejected, len(dry.all(RequestWouldReject))
        assert rejected == observed


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.lists(st.sampled_from(["come", "come", "go"]), max_size=60))
def test_a_dry_run_of_the_bulkhead_tells_of_those_that_enforcing_would_reject(places: int, steps: list[str]) -> None:
    """The same calls, once enforced and once observed; those that enforcing rejects end at some time in the dry run."""
    dry = observing(bulkhead={"max_concurrent": places})
    real = World(Policy(bulkhead={"max_concurrent": places}, breaker=False, retry=False))
    calls: list[tuple[Running, Running]] = []
    for step in steps:
        if step == "come":
            calls.append((dry.begin(), real.begin()))
        elif calls:
            first, second = calls.pop(0)
            first.reply(OK)
            if second.final is None:
                second.reply(OK)
        assert len(dry.all(RequestWouldReject)) == real.host.counters.rejected
    assert dry.host.snapshot().in_flight == len(calls)
