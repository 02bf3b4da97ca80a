"""Conditions between the fields of a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: Takes the sound values by their path (a field with a fault is not among them, nor is a field of a part that is off)
#: and the prefix of those paths in the whole policy; returns a text for each fault.
Constraint = Callable[[Mapping[str, Any], str], Iterable[str]]


def constraint(*needs: str) -> Callable[[Callable[..., str | None]], Constraint]:
    """Make a constraint of a function that takes the prefix and the values at `needs`; called if these are sound."""

    def decorate(fault_of: Callable[..., str | None]) -> Constraint:
        def run(values: Mapping[str, Any], prefix: str) -> Iterable[str]:
            if all(path in values for path in needs):
                fault = fault_of(prefix, *(values[path] for path in needs))
                return [fault] if fault else []
            return []

        return run

    return decorate


def at_most(low: str, high: str) -> Constraint:
    """`low` may not be greater than `high`."""

    @constraint(low, high)
    def check(prefix: str, low_value: float, high_value: float) -> str | None:
        if low_value <= high_value:
            return None
        return (
            f"{prefix}{low}: {low_value:.15g} is too much; must be at most {prefix}{high} ({high_value:.15g}): "
            f"lower {low} or raise {high}"
        )

    return check


def less_than(low: str, high: str, why: str) -> Constraint:
    """`low`, if it is set, must be less than `high`."""

    @constraint(low, high)
    def check(prefix: str, low_value: float | None, high_value: float) -> str | None:
        if low_value is None or low_value < high_value:
            return None
        return (
            f"{prefix}{low}: {low_value:.15g} is too much; must be less than {prefix}{high} ({high_value:.15g}): {why}"
        )

    return check


@constraint("connect", "attempt", "total")
def connect_fits_total(prefix: str, connect: float, attempt: float, total: float) -> str | None:
    """Reported together with an `attempt` that exceeds `total`: once that is lowered, this fault would appear."""
    if not total < connect <= attempt:
        return None
    return (
        f"{prefix}connect: {connect:.15g} is too much; must be at most {prefix}total ({total:.15g}), like an attempt: "
        "lower connect or raise total"
    )


#: Headers that mean something else to servers and to the library itself.
_TAKEN = frozenset(
    {"accept", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect"}
    | {"host", "idempotency-key", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)


def free_header(name: str) -> Constraint:
    """The header at `name`, if it is set, may not be one with another meaning."""

    @constraint(name)
    def check(prefix: str, header: str | None) -> str | None:
        if header is None or header.lower() not in _TAKEN:
            return None
        return (
            f"{prefix}{name}: {header!r} is not allowed, because it has another meaning; must be a header of your own"
        )

    return check


@constraint("slow_ratio", "slow_call")
def slow_both_or_neither(prefix: str, ratio: float | None, call: float | None) -> str | None:
    """A share of slow calls means nothing without a limit for slow, and the other way round."""
    if (ratio is None) == (call is None):
        return None
    given, missing = ("slow_call", "slow_ratio") if ratio is None else ("slow_ratio", "slow_call")
    return f"{prefix}{given}: set without {prefix}{missing}; give both or neither"


@constraint("delay", "percentile")
def one_trigger(prefix: str, delay: float | None, percentile: float | None) -> str | None:
    """A hedge is sent after a fixed delay or after one that follows the latencies seen."""
    if (delay is None) != (percentile is None):
        return None
    came = "neither was given" if delay is None else f"both were given ({delay:.15g} and {percentile:.15g})"
    return f"{prefix}delay: {came}; give exactly one of {prefix}delay and {prefix}percentile"


@constraint(
    "retry.attempts",
    "retry.wait_initial",
    "retry.wait_multiplier",
    "retry.wait_max",
    "retry.jitter",
    "timeout.total",
)
def waits_fit(
    prefix: str, attempts: int, initial: float, multiplier: float, maximum: float, jitter: str, total: float
) -> str | None:
    """If the waits alone took as long as the deadline, the last attempts could never be made."""
    waits = longest_waits(attempts, initial, multiplier, maximum, jitter)
    if waits < total:
        return None
    return (
        f"{prefix}retry: the longest waits between its {attempts} attempts add up to {waits:.15g}; must be less than "
        f"{prefix}timeout.total ({total:.15g}): fewer attempts, shorter waits or a longer total"
    )


def longest_waits(attempts: int, initial: float, multiplier: float, maximum: float, jitter: str) -> float:
    """The sum in seconds of all waits between `attempts` sends, each as long as its jitter may make it.

    Decorrelated jitter draws between `initial` and three times the last wait, so its waits triple at most.
    """
    if jitter == "decorrelated":
        initial, multiplier = 3 * initial, 3.0
    wait = min(initial, maximum)
    waits = 0.0
    for _ in range(attempts - 1):
        waits += wait
        wait = min(wait * multiplier, maximum)  # step by step: a power could overflow
    return waits
