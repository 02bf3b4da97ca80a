"""A call's own policy: it replaces the call's own parts, may leave out what the host shares, and changes none of it."""

from __future__ import annotations

from typing import Any

import pytest

from sleepwalker import ANONYMOUS, Connection
from sleepwalker.connection.options import CallOptions
from sleepwalker.engine import passes_rate_limit
from sleepwalker.events import RequestFinished
from sleepwalker.exceptions import BulkheadFullError, CircuitOpenError, HostIsolatedError, RateLimitedError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import FakeClock, Running, World, answer

OK, BAD = answer(200), answer(503)

#: The host's policy: each shared part is about to refuse.
SHARED: dict[str, Any] = {
    "breaker": {"consecutive_for": 0, "consecutive": 1, "open_for": 10},
    "bulkhead": {"max_concurrent": 1},
    "rate_limit": {"rate": 0.001, "burst": 1},
    "retry": {"budget": {"ratio": 0.0001, "min_per_second": 0}},
}


def refusing(part: str) -> tuple[World, Running]:
    """A host at which the next call is refused by this part (or gets no retry), and by no other; keep both."""
    off = {"breaker": False, "bulkhead": False}
    here = World(Policy(**{**off, part: SHARED[part]}))
    call = here.begin()
    if part != "bulkhead":
        call.reply(answer(500 if part == "breaker" else 200))
    return here, call


def sends(here: World, policy: Policy) -> int:
    """How often a call under this policy is sent whose answers are all 503."""
    return len(here.call(BAD, policy=policy).sends)


PARTS = ("breaker", "bulkhead", "rate_limit")


@pytest.mark.parametrize("part", PARTS)
def test_a_shared_part_is_left_out_by_saying_that_it_is_off(part: str) -> None:
    errors = {"breaker": CircuitOpenError, "bulkhead": BulkheadFullError, "rate_limit": RateLimitedError}
    here, _kept = refusing(part)
    for silent in (Policy(), here.policy, Policy.load("batch"), Policy(timeout={"total": 20})):
        assert isinstance(here.call(OK, policy=silent).outcome.error, errors[part])
    for off in (
        Policy(**{part: False}),
        Policy(**{part: None}),
        Policy.from_dict({part: False}),
        here.policy.replace(**{part: False}),
        Policy.load("off"),
    ):
        assert here.call(OK, policy=off).outcome is OK


@pytest.mark.parametrize("part", PARTS)
def test_a_shared_part_is_not_made_anew_by_a_call(part: str) -> None:
    generous = {
        "breaker": {"consecutive_for": 0, "consecutive": 1000},
        "bulkhead": {"max_concurrent": 1000},
        "rate_limit": {"rate": 1000},
    }
    here, _kept = refusing(part)
    assert sends(here, Policy(**{part: generous[part]})) == 0
    assert sends(here, Policy(**{part: {**generous[part], "mode": "observe"}})) == 0


def test_the_retry_budget_is_left_out_by_saying_so_and_not_made_anew() -> None:
    here, _ = refusing("retry")
    assert sends(here, Policy()) == 1
    assert sends(here, Policy(retry={"budget": {"min_per_second": 1000}})) == 1
    assert sends(here, Policy(retry={"budget": False})) == 3


def test_the_calls_own_parts_are_its_policys() -> None:
    here = World(Policy(breaker=False))
    assert sends(here, Policy(retry=False)) == 1
    assert sends(here, Policy(retry={"attempts": 2})) == 2
    call = here.begin(policy=Policy(timeout={"attempt": 4, "connect": 2}))
    assert call.sends[0][1].deadline == here.clock.now + 4
    call.reply(OK)
    assert len(here.all(RequestFinished)) == 1
    here.call(OK, policy=Policy(log={"finished": "off"}))
    assert len(here.all(RequestFinished)) == 1


def test_an_isolation_cannot_be_left_out() -> None:
    here = World(Policy())
    here.host.isolate()
    assert isinstance(here.begin(policy=Policy.load("off")).outcome.error, HostIsolatedError)


def test_what_a_policy_did_not_say_its_copies_do_not_say_either() -> None:
    for silent in (Policy(), Policy.load("standard"), Policy().replace(timeout={"total": 20}), Policy().model_copy()):
        assert not passes_rate_limit(silent)
        assert not passes_rate_limit(silent.replace(retry=False))
    saying = Policy(rate_limit=False)
    assert saying == Policy()
    for policy in (saying, saying.replace(retry=False), Policy.from_dict(saying.to_dict())):
        assert passes_rate_limit(policy)
    assert not passes_rate_limit(saying.replace(rate_limit={"rate": 1}))


def test_equal_policies_that_say_different_things_are_kept_apart() -> None:
    """A connection remembers what it made of a call's policy; the two are equal as values."""
    conn = Connection("https://h.test", ANONYMOUS, clock=FakeClock())
    assert conn._part.compiled_for(CallOptions(policy=Policy(retry=False))).rate_limit
    assert not conn._part.compiled_for(CallOptions(policy=Policy(retry=False, rate_limit=False))).rate_limit
    assert conn._part.compiled_for(CallOptions(policy=Policy(retry=False))).rate_limit
