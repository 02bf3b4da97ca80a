"""Policies are frozen values with the documented defaults."""

from __future__ import annotations

import copy
import pickle
from http import HTTPMethod, HTTPStatus
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel, ValidationError

from sleepwalker.exceptions import PolicyError
from sleepwalker.policy import (
    BreakerFields,
    BreakerPolicy,
    BudgetFields,
    BulkheadFields,
    BulkheadPolicy,
    HealthFields,
    HealthPolicy,
    HedgeFields,
    HedgePolicy,
    LogFields,
    LogPolicy,
    Policy,
    PolicyFields,
    PoolFields,
    PoolPolicy,
    RateLimitFields,
    RateLimitPolicy,
    RetryBudget,
    RetryFields,
    RetryPolicy,
    TimeoutFields,
    TimeoutPolicy,
)
from sleepwalker.policy.base import PolicyModel, can_be_off
from sleepwalker.policy.constraints import longest_waits

DEFAULTS: dict[type[BaseModel], dict[str, Any]] = {
    TimeoutPolicy: {"connect": 3.05, "read": 10, "attempt": 10, "total": 30, "propagate": None},
    RetryPolicy: {
        "attempts": 3,
        "wait_initial": 0.1,
        "wait_multiplier": 2,
        "wait_max": 5,
        "jitter": "full",
        "statuses": frozenset({408, 429, 502, 503, 504}),
        "methods": frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}),
        "retry_after_max": 60,
        "after_binds": "call",
        "never_sent": True,
        "budget": RetryBudget(),
    },
    RetryBudget: {"ratio": 0.2, "min_per_second": 1, "window": 10},
    BreakerPolicy: {
        "failure_ratio": 0.85,
        "window": 30,
        "min_calls": 50,
        "consecutive": 5,
        "consecutive_for": 0.5,
        "statuses": frozenset(range(500, 1000)) - {501},
        "slow_ratio": None,
        "slow_call": None,
        "open_for": 1,
        "open_growth": 1.5,
        "open_max": 10,
        "half_open_probes": 1,
        "close_after": 2,
        "ramp": 5,
        "max_wait": 0,
        "mode": "enforce",
    },
    BulkheadPolicy: {"max_concurrent": 1000, "max_wait": 0, "adaptive": False, "mode": "enforce"},
    HealthPolicy: {
        "window": 60,
        "degraded_below": 0.95,
        "broken_after": 3,
        "rehook_initial": 1,
        "rehook_max": 60,
        "idle": 300,
        "max_age": None,
        "probe": None,
        "probe_interval": 5.0,
        "unauthorized_evicts": True,
    },
    LogPolicy: {"finished": "info", "sample": 1.0, "rejections": 1.0},
    PoolPolicy: {"size": 32, "idle": 50, "max_age": 300, "block": False, "require_close_notify": True},
    Policy: {
        "timeout": TimeoutPolicy(),
        "retry": RetryPolicy(),
        "breaker": BreakerPolicy(),
        "bulkhead": BulkheadPolicy(),
        "rate_limit": None,
        "hedge": None,
        "health": HealthPolicy(),
        "log": LogPolicy(),
        "pool": PoolPolicy(),
    },
}


@pytest.mark.parametrize("cls", DEFAULTS, ids=lambda cls: cls.__name__)
def test_every_default_is_the_documented_one(cls: type[BaseModel]) -> None:
    model = cls()
    assert {name: getattr(model, name) for name in cls.model_fields} == DEFAULTS[cls]
    for name, value in DEFAULTS[cls].items():
        if isinstance(value, bool):
            assert getattr(model, name) is value


def test_a_rate_limit_needs_its_rate_and_a_hedge_its_trigger() -> None:
    per_host = {"rate": 5, "burst": False, "max_wait": 0, "per": "host", "mode": "enforce"}
    assert RateLimitPolicy(rate=5).to_dict() == per_host
    assert HedgePolicy(delay=0.5).to_dict() == {"delay": 0.5, "percentile": False, "max_extra": 1}
    assert HedgePolicy(percentile=95).delay is None


def test_policies_are_compared_and_hashed_by_value() -> None:
    one = Policy(timeout={"total": 40}, retry={"statuses": [503, 502]})
    other = Policy(timeout=TimeoutPolicy(total=40.0), retry=RetryPolicy(statuses={502, 503}))
    assert one == other
    assert hash(one) == hash(other)
    assert {one: "found"}[other] == "found"
    assert one != Policy()
    assert Policy(retry=False) != Policy()


def test_an_explicit_default_is_the_same_value_as_an_absent_field() -> None:
    assert Policy(timeout={"total": 30}, hedge=False) == Policy()


@pytest.mark.parametrize("model", [TimeoutPolicy(), Policy(), RetryPolicy()], ids=lambda model: type(model).__name__)
def test_a_policy_cannot_be_changed(model: BaseModel) -> None:
    name = next(iter(type(model).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model, name, None)
    with pytest.raises(ValidationError, match="frozen"):
        delattr(model, name)
    with pytest.raises(ValidationError, match="frozen"):
        model.surprise = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("off", [False, None])
@pytest.mark.parametrize("part", ["retry", "breaker", "bulkhead", "rate_limit", "hedge"])
def test_a_part_that_may_be_off_is_none_on_the_object_and_false_outside(part: str, off: bool | None) -> None:
    parts: dict[str, Any] = {part: off}
    policy = Policy(**parts)
    assert getattr(policy, part) is None
    assert policy.to_dict()[part] is False
    assert Policy.from_dict({part: off}) == policy


@pytest.mark.parametrize("off", [False, None])
def test_the_budget_can_be_off(off: Literal[False] | None) -> None:
    assert RetryPolicy(budget=off).budget is None
    policy = Policy(retry={"budget": off})
    assert policy.retry is not None
    assert policy.retry.budget is None
    assert policy.retry.attempts == 3


def test_a_field_that_may_be_off_takes_false_as_none() -> None:
    # What a type checker would refuse, TOML has no other word for.
    assert HealthPolicy.replace(HealthPolicy(), probe=False, max_age=False) == HealthPolicy()
    assert BreakerPolicy().replace(slow_call=False, slow_ratio=False) == BreakerPolicy()


def test_0_switches_the_ramp_off() -> None:
    assert BreakerPolicy(ramp=0).ramp == 0


def test_a_dict_keeps_the_defaults_of_the_fields_that_it_does_not_name() -> None:
    policy = Policy(timeout={"read": 3}, retry={"budget": {"ratio": 0.1}})
    assert policy.timeout == TimeoutPolicy(read=3)
    assert policy.retry == RetryPolicy(budget=RetryBudget(ratio=0.1))


def test_methods_are_upper_case_and_known_by_the_standard_library_enums() -> None:
    retry = RetryPolicy(methods=["get", HTTPMethod.PUT], statuses=(HTTPStatus.BAD_GATEWAY,))
    assert retry.methods == {"GET", "PUT"}
    assert retry.statuses == {502}
    assert retry.to_dict()["methods"] == ["GET", "PUT"]
    assert {type(item) for item in retry.to_dict()["methods"]} == {str}


def test_sets_are_written_in_order() -> None:
    assert RetryPolicy(statuses=[504, 429, 503]).to_dict()["statuses"] == [429, 503, 504]
    assert RetryPolicy().model_dump()["methods"] == ["DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"]


def test_whole_numbers_are_durations_too() -> None:
    connect = TimeoutPolicy(connect=3).connect
    assert (connect, type(connect)) == (3.0, float)


def test_replace_changes_one_field_and_keeps_the_others() -> None:
    changed = TimeoutPolicy(connect=1, read=2).replace(read=4)
    assert changed == TimeoutPolicy(connect=1, read=4)


def test_replace_merges_a_dict_into_the_part() -> None:
    policy = Policy(timeout={"connect": 1, "read": 2}, retry={"attempts": 2, "budget": {"ratio": 0.1}})
    changed = policy.replace(timeout={"read": 4}, retry={"budget": {"window": 20}})
    assert changed.timeout == TimeoutPolicy(connect=1, read=4)
    assert changed.retry == RetryPolicy(attempts=2, budget=RetryBudget(ratio=0.1, window=20))
    assert changed.breaker == policy.breaker
    assert policy.timeout.read == 2


def test_replace_takes_a_model_whole() -> None:
    policy = Policy(timeout={"connect": 1}).replace(timeout=TimeoutPolicy(read=4))
    assert policy.timeout == TimeoutPolicy(read=4)


def test_replace_switches_parts_off_and_on() -> None:
    off = Policy().replace(retry=False, breaker=None)
    assert (off.retry, off.breaker) == (None, None)
    assert off.replace(retry={"attempts": 5}).retry == RetryPolicy(attempts=5)


def test_replace_checks_the_result_as_a_whole() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy().replace(timeout={"total": 5}, surprise=1)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["surprise", "timeout.attempt"]


def test_a_copy_with_changes_is_checked_like_replace() -> None:
    """pydantic's own `model_copy` would take anything."""
    with pytest.raises(PolicyError, match=r"connect: -1"):
        TimeoutPolicy().model_copy(update={"connect": -1})
    assert TimeoutPolicy().model_copy() == TimeoutPolicy()


def test_copies_and_pickles_are_equal() -> None:
    policy = Policy(retry={"budget": False}, bulkhead=False)
    assert copy.copy(policy) == copy.deepcopy(policy) == pickle.loads(pickle.dumps(policy)) == policy


def test_a_policy_can_be_a_field_of_an_applications_settings() -> None:
    class Settings(BaseModel):
        policy: Policy = Policy()

    assert Settings.model_validate({"policy": {"retry": False}}).policy == Policy(retry=False)
    with pytest.raises(ValidationError, match=r"timeout\.totl: unknown; did you mean timeout\.total"):
        Settings.model_validate({"policy": {"timeout": {"totl": 1}}})


@pytest.mark.parametrize(
    ("attempts", "initial", "multiplier", "maximum", "jitter", "longest"),
    [
        (1, 1, 2, 10, "none", 0),
        (3, 0.5, 2, 5, "full", 0.5 + 1),
        (5, 1, 2, 3, "equal", 1 + 2 + 3 + 3),
        (4, 1, 2, 100, "decorrelated", 3 + 9 + 27),
        (4, 1, 2, 10, "decorrelated", 3 + 9 + 10),
        (100, 1, 100, 2_000_000, "none", 1 + 100 + 10_000 + 1_000_000 + 95 * 2_000_000),
    ],
)
def test_the_longest_waits_add_up(
    attempts: int, initial: float, multiplier: float, maximum: float, jitter: str, longest: float
) -> None:
    assert longest_waits(attempts, initial, multiplier, maximum, jitter) == pytest.approx(longest)


@pytest.mark.parametrize(
    ("fields", "cls"),
    [
        (PolicyFields, Policy),
        (TimeoutFields, TimeoutPolicy),
        (RetryFields, RetryPolicy),
        (BudgetFields, RetryBudget),
        (BreakerFields, BreakerPolicy),
        (BulkheadFields, BulkheadPolicy),
        (RateLimitFields, RateLimitPolicy),
        (HedgeFields, HedgePolicy),
        (HealthFields, HealthPolicy),
        (LogFields, LogPolicy),
        (PoolFields, PoolPolicy),
    ],
    ids=lambda value: value.__name__,
)
def test_checkers_know_each_field_of_a_part_and_where_false_is_allowed(fields: Any, cls: type[PolicyModel]) -> None:
    """What a constructor, `replace` and a dict take is written down for checkers in a place of its own."""
    hints = get_type_hints(fields)
    assert [*hints] == [*cls.model_fields, *(["host"] if cls is Policy else [])]
    for name in cls.model_fields:
        off = can_be_off(cls, name)
        assert (False in _words(hints[name]), type(None) in get_args(hints[name])) == (off, off), name


def _words(hint: Any) -> list[Any]:
    return [word for kind in get_args(hint) for word in get_args(kind) if get_origin(kind) is Literal]
