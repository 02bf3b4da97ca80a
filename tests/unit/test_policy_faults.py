"""A policy that cannot be says everything that is wrong with it."""

from __future__ import annotations

import itertools
import math
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from sleepwalker.exceptions import PolicyError
from sleepwalker.policy import Policy, RateLimitPolicy, RetryBudget, RetryPolicy, TimeoutPolicy
from sleepwalker.policy.base import PolicyModel, part_of

DURATION = "a number, at least 0.001 and at most 2000000"
DURATION_OR_ZERO = "a number, at least 0 and at most 2000000"
RATIO = "a number, more than 0 and at most 1"
COUNT = "a whole number, at least 1 and at most 1000000"
FLAG = "true or false"
MODE = "one of enforce, observe"
STATUSES = 'a list, each a whole number, at least 200 and at most 999, or "5xx"'
METHODS = "a list, each an HTTP method"
LEVELS = "one of debug, info, warning, error, off"
PATH = "a path that begins with / and has no query, fragment or space, or false"

NOT_NUMBERS = [True, "3", None, [3], math.nan, math.inf, -1]
#: By kind of field: what is allowed, and values that are not.
KINDS: dict[str, list[Any]] = {
    DURATION: [*NOT_NUMBERS, False, 0, 0.0009, 2_000_001, 10**400],
    f"{DURATION}, or false": [*(value for value in NOT_NUMBERS if value is not None), 0, 2_000_001],
    DURATION_OR_ZERO: [*NOT_NUMBERS, -0.001, 2_000_001],
    RATIO: [*NOT_NUMBERS, 0, 1.01],
    f"{RATIO}, or false": [*(value for value in NOT_NUMBERS if value is not None), 0, 1.01],
    COUNT: [*NOT_NUMBERS, 0, 3.0, 1_000_001],
    f"{COUNT}, or false": [*(value for value in NOT_NUMBERS if value is not None), 0, 3.0],
    FLAG: [0, 1, "true", "no", None],
    STATUSES: [503, "5xx", None, [503, 199], [1000], ["503"], ["4xx"], [503.0], [True], [[503]], {503: 1}],
    METHODS: ["GET", None, [1], ["GET IT"], [""], ["GET\r\n"], ["GÉT"], [["GET"]]],
    LEVELS: ["INFO", "critical", True, None, 20],
    PATH: ["health", "", "/a?b", "/a#b", "/a b", "/a\r\nX: y", "/é", "http://h/", True, 5],
}
FIELDS: dict[str, str] = {
    "timeout.connect": DURATION,
    "timeout.read": DURATION,
    "timeout.attempt": DURATION,
    "timeout.total": DURATION,
    "timeout.propagate": "a header's name, or false",
    "retry.attempts": "a whole number, at least 1 and at most 100",
    "retry.wait_initial": DURATION_OR_ZERO,
    "retry.wait_multiplier": "a number, at least 1 and at most 100",
    "retry.wait_max": DURATION_OR_ZERO,
    "retry.jitter": "one of full, equal, decorrelated, none",
    "retry.statuses": STATUSES,
    "retry.methods": METHODS,
    "retry.retry_after_max": DURATION_OR_ZERO,
    "retry.after_binds": "one of call, pair, host",
    "retry.never_sent": FLAG,
    "retry.budget.ratio": RATIO,
    "retry.budget.min_per_second": "a number, at least 0 and at most 1000000",
    "retry.budget.window": DURATION,
    "breaker.failure_ratio": RATIO,
    "breaker.window": DURATION,
    "breaker.min_calls": COUNT,
    "breaker.consecutive": COUNT,
    "breaker.consecutive_for": DURATION_OR_ZERO,
    "breaker.statuses": STATUSES,
    "breaker.slow_ratio": f"{RATIO}, or false",
    "breaker.slow_call": f"{DURATION}, or false",
    "breaker.open_for": DURATION,
    "breaker.open_growth": "a number, at least 1 and at most 10",
    "breaker.open_max": DURATION,
    "breaker.half_open_probes": COUNT,
    "breaker.close_after": COUNT,
    "breaker.ramp": DURATION_OR_ZERO,
    "breaker.max_wait": DURATION_OR_ZERO,
    "breaker.mode": MODE,
    "bulkhead.max_concurrent": COUNT,
    "bulkhead.max_wait": DURATION_OR_ZERO,
    "bulkhead.adaptive": FLAG,
    "bulkhead.mode": MODE,
    "rate_limit.rate": "a number, at least 0.0001 and at most 1000000",
    "rate_limit.burst": f"{COUNT}, or false",
    "rate_limit.max_wait": DURATION_OR_ZERO,
    "rate_limit.mode": MODE,
    "rate_limit.per": "one of host, credentials",
    "hedge.delay": f"{DURATION}, or false",
    "hedge.percentile": "a number, more than 0 and less than 100, or false",
    "hedge.max_extra": "a whole number, at least 1 and at most 10",
    "health.window": DURATION,
    "health.degraded_below": RATIO,
    "health.broken_after": COUNT,
    "health.rehook_initial": DURATION_OR_ZERO,
    "health.rehook_max": DURATION_OR_ZERO,
    "health.idle": DURATION,
    "health.max_age": f"{DURATION}, or false",
    "health.probe": PATH,
    "health.probe_interval": DURATION,
    "health.unauthorized_evicts": FLAG,
    "log.finished": LEVELS,
    "log.sample": "a number, at least 0 and at most 1",
    "log.rejections": "a number, at least 0.0001 and at most 1000000",
    "pool.size": "a whole number, at least 1 and at most 10000",
    "pool.idle": DURATION_OR_ZERO,
    "pool.max_age": f"{DURATION}, or false",
    "pool.block": FLAG,
    "pool.require_close_notify": FLAG,
}
#: Values for the fields whose kind is theirs alone.
VALUES: dict[str, list[Any]] = {
    "timeout.propagate": ["", "X Y", "X:", "X\r\nY: 1", "Ü", True, 5],
    "retry.attempts": [*NOT_NUMBERS, 0, 2.0, 101],
    "retry.wait_multiplier": [*NOT_NUMBERS, 0.99, 101],
    "retry.jitter": ["Full", "random", True, False, None],
    "retry.after_binds": ["all", "Host", True, False, None],
    "retry.budget.min_per_second": [*NOT_NUMBERS, 1_000_001],
    "breaker.open_growth": [*NOT_NUMBERS, 0.99, 10.1],
    "breaker.mode": ["off", True, False, None],
    "bulkhead.mode": ["off", True, False, None],
    "rate_limit.mode": ["Observe", True, False, None],
    "rate_limit.per": ["user", "Host", True, False, None],
    "rate_limit.rate": [*NOT_NUMBERS, 0, 1_000_001],
    "hedge.percentile": [True, "95", 0, 100, math.nan],
    "hedge.max_extra": [*NOT_NUMBERS, 0, 11, 1.0],
    "log.sample": [*NOT_NUMBERS, 1.01],
    "log.rejections": [*NOT_NUMBERS, 0, 1_000_001],
    "pool.size": [*NOT_NUMBERS, 0, 10_001, 32.0],
}


def nested(path: str, value: Any) -> dict[str, Any]:
    """`a.b`, 1: `{"a": {"b": 1}}`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def faults_of(**parts: Any) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        Policy(**parts)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value.faults


def about(path: str, faults: tuple[str, ...]) -> list[str]:
    return [fault for fault in faults if fault.startswith(f"{path}:")]


BAD = [(path, value) for path, kind in FIELDS.items() for value in VALUES.get(path, KINDS.get(kind, []))]


@pytest.mark.parametrize(("path", "value"), BAD, ids=lambda item: str(item)[:24])
def test_a_bad_value_is_named_with_its_path_and_what_is_allowed(path: str, value: Any) -> None:
    (fault,) = about(path, faults_of(**nested(path, value)))
    came, _, allowed = fault.removeprefix(f"{path}: ").partition(" is not allowed; must be ")
    assert allowed == FIELDS[path]
    item = value[-1] if isinstance(value, list) else value
    shown = {repr(value), repr(item), f"a {type(value).__name__} of 1", f"a {type(item).__name__} of 1", "a table"}
    assert came in shown | {"a number beyond all bounds", f"a text of {len(str(item))} characters"}


def leaves(cls: type[PolicyModel], prefix: str = "") -> Iterator[str]:
    for name in cls.model_fields:
        part = part_of(cls, name)
        if part:
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_field_has_bad_values_in_the_table() -> None:
    assert {path for path, _ in BAD} == set(leaves(Policy))


@pytest.mark.parametrize("value", [3, "x", [1], True])
@pytest.mark.parametrize("path", ["timeout", "retry", "retry.budget", "breaker", "hedge", "log"])
def test_a_part_that_is_no_table_is_named(path: str, value: Any) -> None:
    fault = about(path, faults_of(**nested(path, value)))[0]
    came = {"x": "a text of 1 characters", "[1]": "a list of 1", "True": "True has no meaning here"}.get(
        str(value), repr(value)
    )
    assert fault.startswith(f"{path}: {came}")
    assert "must be a table of" in fault


@pytest.mark.parametrize("value", [False, None])
@pytest.mark.parametrize("part", ["timeout", "health", "log", "pool"])
def test_a_part_that_cannot_be_off_says_so(part: str, value: Any) -> None:
    (fault,) = faults_of(**{part: value})
    assert fault.startswith(f"{part}: {value} is not allowed, it cannot be switched off (leave it out for the default")


def test_true_says_nothing() -> None:
    (fault,) = faults_of(retry=True)
    assert "True has no meaning here (leave it out for the default); must be a table of attempts, wait_initial" in fault
    assert "or false (in code also a RetryPolicy)" in fault


def test_the_model_of_another_part_is_refused() -> None:
    (fault,) = faults_of(timeout=RetryPolicy())
    assert fault.startswith("timeout: a RetryPolicy is not allowed; must be a table of connect, read, attempt, total")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"timeout": {"totl": 1}}, "timeout.totl: unknown; did you mean timeout.total? allowed: connect, read, "),
        ({"retries": 3}, "retries: unknown; did you mean retry? allowed: timeout, retry, breaker, "),
        ({"connect": 3}, "connect: unknown; did you mean timeout.connect? allowed: timeout, "),
        ({"attempts": 3}, "attempts: unknown; did you mean retry.attempts? allowed: timeout, "),
        (
            {"max_wait": 3},
            "max_wait: unknown; did you mean breaker.max_wait or bulkhead.max_wait or rate_limit.max_wait? allowed: ",
        ),
        ({"retry": {"budget": {"ratoi": 0.1}}}, "retry.budget.ratoi: unknown; did you mean retry.budget.ratio? "),
        ({"zzz": 3}, "zzz: unknown; allowed: timeout, "),
        ({"rules": ()}, "rules: unknown; "),
        ({"self": 1}, "self: unknown; "),
        ({"model_config": {}}, "model_config: unknown; "),
    ],
)
def test_an_unknown_key_is_a_fault_that_names_what_may_have_been_meant(parts: dict[str, Any], expected: str) -> None:
    (fault,) = faults_of(**parts)
    assert fault.startswith(expected)


@pytest.mark.parametrize("key", [1, None, ("a",), "a\nb", "x" * 500, b"retry"])
def test_a_key_that_is_no_name_is_a_fault(key: Any) -> None:
    with pytest.raises(PolicyError, match="unknown") as caught:
        Policy.from_dict({key: 1, "log": {key: 1}})
    assert len(caught.value.faults) == 2
    assert len(str(caught.value).splitlines()) == 3
    assert all(len(fault) < 200 for fault in caught.value.faults)


@pytest.mark.parametrize("data", [None, [], "standard", 3, Policy()])
def test_from_dict_takes_only_mappings(data: Any) -> None:
    with pytest.raises(PolicyError, match="must be a dict"):
        Policy.from_dict(data)


CROSS: list[tuple[dict[str, Any], str]] = [
    (
        {"timeout": {"propagate": "Content-Length"}},
        "timeout.propagate: 'Content-Length' is not allowed, because it has another meaning; must be",
    ),
    ({"timeout": {"connect": 11}}, "timeout.connect: 11 is too much; must be at most timeout.attempt (10): lower"),
    ({"timeout": {"attempt": 31}}, "timeout.attempt: 31 is too much; must be at most timeout.total (30): lower"),
    ({"timeout": {"total": 9.9999999}}, "timeout.attempt: 10 is too much; must be at most timeout.total (9.9999999)"),
    ({"retry": {"wait_initial": 6}}, "retry.wait_initial: 6 is too much; must be at most retry.wait_max (5)"),
    (
        {"retry": {"attempts": 4, "wait_initial": 10, "wait_max": 10}},
        "retry: the longest waits between its 4 attempts add up to 30; must be less than timeout.total (30): fewer",
    ),
    (
        {"retry": {"wait_initial": 9, "wait_max": 20, "jitter": "decorrelated"}},
        "retry: the longest waits between its 3 attempts add up to 40; must be less than timeout.total (30)",
    ),
    ({"breaker": {"open_for": 11}}, "breaker.open_for: 11 is too much; must be at most breaker.open_max (10): lower"),
    ({"breaker": {"slow_call": 1}}, "breaker.slow_call: set without breaker.slow_ratio; give both or neither"),
    ({"breaker": {"slow_ratio": 1}}, "breaker.slow_ratio: set without breaker.slow_call; give both or neither"),
    (
        {"breaker": {"slow_ratio": 0.5, "slow_call": 30}},
        "breaker.slow_call: 30 is too much; must be less than timeout.total (30): no call lasts long enough",
    ),
    ({"bulkhead": {"max_wait": 30}}, "bulkhead.max_wait: 30 is too much; must be less than timeout.total (30)"),
    ({"rate_limit": {"rate": 1, "max_wait": 31}}, "rate_limit.max_wait: 31 is too much; must be less than"),
    ({"rate_limit": {}}, "rate_limit.rate: missing; must be a number, at least 0.0001"),
    ({"hedge": {}}, "hedge.delay: neither was given; give exactly one of hedge.delay and hedge.percentile"),
    ({"hedge": {"delay": 1, "percentile": 95}}, "hedge.delay: both were given (1 and 95); give exactly one of"),
    ({"hedge": {"delay": 10}}, "hedge.delay: 10 is too much; must be less than timeout.attempt (10): the attempt is"),
    ({"health": {"rehook_initial": 61}}, "health.rehook_initial: 61 is too much; must be at most health.rehook_max"),
]


@pytest.mark.parametrize(("parts", "expected"), CROSS, ids=lambda item: str(item)[:50])
def test_fields_that_do_not_go_together_are_a_fault(parts: dict[str, Any], expected: str) -> None:
    (fault,) = faults_of(**parts)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    "parts",
    [
        {"timeout": {"connect": 10, "attempt": 10, "total": 10}},
        {"timeout": {"read": 60}},
        {"retry": {"wait_initial": 5, "wait_max": 5}},
        {"retry": {"wait_initial": 14.9, "wait_max": 15, "attempts": 3}},
        {"retry": {"wait_initial": 0, "wait_max": 0, "attempts": 100}},
        {"retry": {"statuses": [], "methods": []}},
        {"retry": {"retry_after_max": 0}},
        {"breaker": {"slow_call": 29, "slow_ratio": 1}},
        {"breaker": {"open_for": 10}},
        {"breaker": {"open_for": 60, "open_max": 60}},
        {"breaker": {"open_growth": 1, "consecutive_for": 0}},
        {"breaker": {"max_wait": 3600}},
        {"hedge": {"percentile": 99.9}},
        {"hedge": {"delay": 9.9, "max_extra": 2}},
        {"rate_limit": {"rate": 0.5, "burst": 10, "max_wait": 29}},
        {"bulkhead": {"max_wait": 29, "adaptive": True}},
        {"health": {"probe": "/health", "max_age": 600}},
        {"log": {"finished": "off", "sample": 0}},
        {"pool": {"idle": 0}},
    ],
    ids=str,
)
def test_the_edges_of_what_is_allowed_are_allowed(parts: dict[str, Any]) -> None:
    policy = Policy(**parts)
    for part, fields in parts.items():
        for name, value in fields.items():
            assert getattr(getattr(policy, part), name) == (frozenset() if value == [] else value)


def test_rules_about_a_part_that_is_off_are_silent() -> None:
    policy = Policy(retry=False, timeout={"connect": 0.01, "attempt": 0.01, "total": 0.01})
    assert policy.timeout.total == 0.01


def test_rules_about_parts_given_as_models_hold_too() -> None:
    (fault,) = faults_of(retry=RetryPolicy(attempts=2, wait_initial=50, wait_max=50))
    assert fault.startswith("retry: the longest waits between its 2 attempts add up to 50")


def test_each_bad_value_of_a_list_is_reported() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(retry={"statuses": [99, 199, 503, 1000, 1000], "methods": ["GET", "G T", ""]})
    assert [fault.partition(" is not")[0] for fault in sorted(caught.value.faults)] == [
        "retry.methods: ''",
        "retry.methods: 'G T'",
        "retry.statuses: 1000",
        "retry.statuses: 199",
        "retry.statuses: 99",
    ]


def test_all_faults_are_reported_at_once() -> None:
    """Unknown keys, bad values and broken rules, of several parts, beside each other."""
    faults = faults_of(
        timeout={"connect": 40, "attempt": 35, "read": "x", "totl": 1},
        retry={"budget": {"ratio": 2, "windwo": 1}, "wait_initial": 50, "jitter": 1},
        breaker={"open_for": 100, "window": 0, "mode": "dry"},
        health=False,
        log={"sample": 2},
        hedge={},
        surprise=1,
    )
    assert {fault.partition(":")[0] for fault in faults} == {
        "timeout.connect",
        "timeout.attempt",
        "timeout.read",
        "timeout.totl",
        "retry.budget.ratio",
        "retry.budget.windwo",
        "retry.wait_initial",
        "retry.jitter",
        "breaker.open_for",
        "breaker.window",
        "breaker.mode",
        "health",
        "log.sample",
        "hedge.delay",
        "surprise",
    }


def test_a_rule_is_not_judged_by_a_value_that_is_wrong_itself() -> None:
    assert len(faults_of(timeout={"attempt": -5})) == 1


def test_the_text_has_a_line_for_each_fault() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(timeout={"connect": 0}, log={"sample": 2})
    assert str(caught.value).splitlines() == [
        "2 faults in Policy:",
        f"  timeout.connect: 0 is not allowed; must be {DURATION}",
        "  log.sample: 2 is not allowed; must be a number, at least 0 and at most 1",
    ]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TimeoutPolicy(connect=-1), "1 fault in TimeoutPolicy:\n  connect: -1 is not allowed; must be a num"),
        (lambda: TimeoutPolicy(connect=20), "1 fault in TimeoutPolicy:\n  connect: 20 is too much; must be at most a"),
        (lambda: RetryBudget(ratio=0), "1 fault in RetryBudget:\n  ratio: 0 is not allowed"),
        (lambda: RetryPolicy(budget={"ratio": 0}), "1 fault in RetryPolicy:\n  budget.ratio: 0 is not allowed"),
        (RateLimitPolicy, "1 fault in RateLimitPolicy:\n  rate: missing; must be"),
    ],
)
def test_a_part_made_by_itself_raises_the_same_error(make: Any, text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        make()
    assert str(caught.value).startswith(text)
    assert isinstance(caught.value, ValueError)
    assert "pydantic" not in "".join(traceback.format_exception(caught.value)).replace("pydantic/", "")


def test_the_error_survives_a_pickle() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(log={"sample": 2})
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.faults) == (str(caught.value), caught.value.faults)


CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    "parts",
    [
        {"auth": ("user", CANARY)},
        {"password": CANARY},
        {"timeout": {"token": CANARY}},
        {"log": CANARY},
        {"hedge": CANARY},
        {"retry": {"budget": CANARY}},
        {"timeout": {"total": {"a": CANARY}}},
        {"timeout": {"total": [CANARY]}},
        {"retry": [CANARY]},
        {"log": {"finished": (CANARY,)}},
        {"health": {"probe": f"/health?token={CANARY}"}},
        {"health": {"probe": f"https://user:{CANARY}@host/health"}},
        {"health": {"probe": f"user:{CANARY}@host"}},
    ],
    ids=str,
)
def test_what_may_be_a_secret_is_not_shown(parts: dict[str, Any]) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(**parts)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.faults)


def test_every_pair_of_bad_parts_is_reported_together() -> None:
    """No part's faults hide another's."""
    bad: dict[str, Any] = {
        "timeout": {"connect": -1},
        "retry": {"attempts": 0},
        "breaker": {"window": 0},
        "bulkhead": {"max_concurrent": 0},
        "health": {"idle": 0},
        "log": {"sample": 2},
        "pool": {"size": 0},
    }
    for one, other in itertools.combinations(bad, 2):
        assert len(faults_of(**{one: bad[one], other: bad[other]})) == 2


def test_what_is_no_policy_is_told_in_few_lines_and_without_its_values() -> None:
    """A file of secrets that was named by mistake has names of its own, maybe thousands."""
    with pytest.raises(PolicyError) as caught:
        Policy.from_dict({f"name-{number}": CANARY for number in range(5000)} | {"log": {CANARY: "finished"}})
    text = str(caught.value)
    assert len(text.splitlines()) < 30
    assert "*: 4980 more are unknown" in text
    assert text.count(CANARY) == 1  # as a name


@pytest.mark.parametrize("value", ["\x1b[31m", "\u202e", "\r\n", "x" * 100_000])
def test_a_wrong_value_is_shown_short_and_cannot_steer_a_terminal(value: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(log={"finished": value, value: 1}, health={"probe": value}, timeout={"total": value})
    assert len(str(caught.value)) < 5000
    assert all(line.isprintable() for line in str(caught.value).splitlines())


def test_a_total_below_the_other_timeouts_names_both_of_them_at_once() -> None:
    """Else lowering the attempt would bring the next fault to light."""
    with pytest.raises(PolicyError) as caught:
        Policy(timeout={"total": 1})
    faults = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert faults == ["timeout.attempt", "timeout.connect"]
    with pytest.raises(PolicyError) as caught:
        Policy(timeout={"total": 1, "attempt": 1}, retry=None)
    assert str(caught.value).count("timeout.connect") == 1
