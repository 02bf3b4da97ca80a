"""`total`: one number bounds one call, and nothing else need be lowered for it."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from sleepwalker.engine import CompiledPolicy, Outcome, failed
from sleepwalker.events import RetryAbandoned
from sleepwalker.exceptions import DeadlineExceeded
from sleepwalker.policy import Policy
from tests.unit.engine_driver import FakeClock, World, answer

#: connect 3.05, read 10, attempt 10, total 30.
STANDARD = Policy()


def times(compiled: CompiledPolicy) -> tuple[float, float, float, float]:
    return compiled.connect, compiled.read, compiled.attempt, compiled.total


@pytest.mark.parametrize(
    ("total", "come"),
    [
        (0.5, (0.5, 0.5, 0.5, 0.5)),
        (5, (3.05, 5, 5, 5)),
        (20, (3.05, 10, 10, 20)),
        (30, (3.05, 10, 10, 30)),
        (90, (3.05, 10, 10, 90)),
    ],
)
def test_longer_timeouts_are_cut_to_fit_and_shorter_ones_stay(
    total: float, come: tuple[float, float, float, float]
) -> None:
    assert times(CompiledPolicy(STANDARD, FakeClock()).within(total)) == come


@pytest.mark.parametrize(
    ("total", "come"), [(4, (4, 4, 4, 4)), (15, (5, 15, 15, 15)), (40, (5, 20, 25, 40)), (90, (5, 20, 25, 90))]
)
def test_a_total_bounds_the_timeout_given_beside_it(total: float, come: tuple[float, float, float, float]) -> None:
    """By itself that lifts `attempt` and `total` so that 5 s to connect and 20 s to read fit."""
    compiled = CompiledPolicy(STANDARD, FakeClock(), (5.0, 20.0))
    assert times(compiled) == (5, 20, 25, 30)
    assert times(compiled.within(total)) == come


def test_the_rules_that_other_calls_follow_stay_as_they_are() -> None:
    compiled = CompiledPolicy(STANDARD, FakeClock())
    short = compiled.within(0.5)
    assert times(compiled) == (3.05, 10, 10, 30)
    assert short.retries is compiled.retries
    own = {"attempt", "connect", "hasty", "read", "total"}
    assert all(getattr(short, name) == getattr(compiled, name) for name in CompiledPolicy.__slots__ if name not in own)


def test_the_attempt_ends_with_the_total_and_by_its_name() -> None:
    here = World()
    (began, send), *_ = here.begin(total=0.5).sends
    assert (send.deadline - began, send.limit) == (0.5, "total")
    (began, send), *_ = here.begin(total=12).sends
    assert (send.deadline - began, send.limit) == (10, "attempt")


def test_a_retry_that_would_not_fit_is_not_begun() -> None:
    here = World(Policy(retry={"jitter": "none", "wait_initial": 0.4}))
    call = here.call(answer(503), total=0.5, took=0.2)
    assert (len(call.sends), call.waits, call.outcome.status) == (1, [], 503)
    assert here.only(RetryAbandoned).reason == "deadline"
    assert len(here.call(answer(503), total=5, took=0.2).sends) == 3


def test_what_the_server_asks_to_wait_is_waited_for_only_if_it_fits() -> None:
    here = World()
    assert here.call(answer(503, "20"), total=10).waits == []
    assert here.call([answer(503, "20"), answer(200)], total=25).waits == [20]


def test_a_longer_total_gives_retries_time_that_the_policy_does_not() -> None:
    here = World()
    assert here.call(answer(503, "40")).waits == []
    assert here.call([answer(503, "40"), answer(200)], total=60).waits == [40]


def test_a_wait_for_a_place_ends_with_the_total() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1, "max_wait": 20}))
    _there = here.begin()
    waiting = here.call(answer(200), total=2)
    assert isinstance(waiting.outcome.error, DeadlineExceeded)
    assert str(waiting.outcome.error).endswith("the total deadline ran out after 2 s, while the call was queued")
    assert here.clock.now == 5002


def test_a_rate_limit_whose_token_comes_too_late_rejects_at_once() -> None:
    here = World(Policy(rate_limit={"rate": 0.1, "burst": 1, "max_wait": 20}))
    here.call(answer(200))
    assert here.call(answer(200), total=5).sends == []
    assert len(here.call(answer(200), total=15).sends) == 1


def test_a_hedge_that_would_come_after_the_end_is_not_sent() -> None:
    here = World(Policy(hedge={"delay": 1.0}))
    assert here.begin(concurrent=True, total=0.8).sends[0][1].hedge_in is None
    assert here.begin(concurrent=True, total=1.2).sends[0][1].hedge_in == 1.0


# A caller in a hurry


def too_slow(limit: Literal["attempt", "total"] = "total") -> Outcome:
    return failed(DeadlineExceeded("h: the deadline ran out", limit=limit))


def hurried(here: World, *, times: int = 20, **how: Any) -> None:
    for _ in range(times):
        here.call(too_slow(), took=0.02, **how)
        here.clock.advance(0.5)


@pytest.mark.parametrize("how", [{"total": 0.02}, {"timeout": (0.02, 0.02)}])
def test_a_caller_that_leaves_a_host_less_time_than_it_takes_opens_no_circuit_for_the_others(
    how: dict[str, Any],
) -> None:
    """The host answers in 0.1 s, and a handler has 0.02 s left of its own time."""
    here = World(Policy(retry=False))
    for _ in range(30):
        here.call(answer(200), took=0.1)
    hurried(here, **how)
    health = here.host.snapshot()
    assert (health.breaker, health.failures, health.state) == ("closed", 0, "healthy")
    assert health.latency.p50 == pytest.approx(0.1, rel=0.15), "what was cut says nothing of how long the host takes"


def test_nor_of_a_host_of_which_nothing_is_known() -> None:
    here = World(Policy(retry=False))
    hurried(here, total=0.02)
    assert here.host.snapshot().breaker == "closed"


def test_a_host_that_hangs_is_found_although_all_its_callers_are_in_a_hurry() -> None:
    here = World(Policy(retry=False))
    for _ in range(30):
        here.call(answer(200), took=0.01)
    hurried(here, total=0.02)
    assert here.host.snapshot().breaker == "open"


def test_and_so_is_one_of_which_nothing_is_known_by_those_with_half_a_second() -> None:
    here = World(Policy(retry=False))
    for _ in range(5):
        here.call(too_slow(), took=0.5, total=0.5)
    assert here.host.snapshot().breaker == "open"


def test_the_time_that_the_policy_leaves_is_no_hurry() -> None:
    here = World(Policy(retry=False, timeout={"connect": 0.02, "read": 0.02, "attempt": 0.02}))
    for _ in range(30):
        here.call(answer(200), took=0.1)
    hurried(here)
    assert here.host.snapshot().breaker == "open"


def test_what_a_host_answers_in_time_counts_for_a_caller_in_a_hurry_as_for_all() -> None:
    here = World(Policy(retry=False))
    for _ in range(5):
        here.call(answer(503), took=0.01, total=0.02)
        here.clock.advance(0.5)
    assert here.host.snapshot().breaker == "open"
