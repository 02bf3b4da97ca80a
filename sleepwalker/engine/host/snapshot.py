"""The state of a host at one moment, for users."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from sleepwalker.engine.host.activity import INTERVAL
from sleepwalker.engine.host.permits import Rule, State

HealthState = Literal["unknown", "healthy", "degraded", "broken", "isolated"]


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the durations of attempts, in seconds; None if there were none in the window."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Recent:
    """How many calls ended in each interval of the last 15 minutes.

    The first interval is the first with such a call; the last one is still running.
    """

    began: float | None = None
    """When the first interval began, in seconds since 1970-01-01 UTC; None where no call ended in any."""
    seconds: float = INTERVAL
    """How long each is."""
    calls: tuple[int, ...] = ()
    """Calls that ended, the oldest interval first."""
    errors: tuple[int, ...] = ()
    """Those of them that failed or were rejected."""


@dataclass(frozen=True, slots=True)
class RejectedBy:
    """Rejected calls and retries, by what rejected them."""

    breaker: int = 0
    bulkhead: int = 0
    rate_limit: int = 0
    cooldown: int = 0
    isolation: int = 0


@dataclass(frozen=True, slots=True)
class Fellows:
    """What the workers of a fleet report of a host."""

    broken: int
    """How many find it broken."""
    fine: int
    """How many it has answered since."""
    workers: int
    """How many there are, those included that do not use it."""
    verdict: bool
    """Whether the host counts as broken for all."""
    since: float | None = None
    """When its trouble began, in seconds since 1970-01-01 UTC by this machine's clock; None if unknown."""
    cause: str | None = None
    """The last failure in any of them: a status, or the name of an exception type; None if unknown."""


class Routes(NamedTuple):
    """How a host is reached, as a table of hosts knows it."""

    names: tuple[str, ...] = ()
    used: bool = True
    failover: str | None = None


#: Of a host that no manager has.
BY_ITSELF = Routes()
_NOTHING_RECENT, _NONE_REJECTED = Recent(), RejectedBy()


@dataclass(frozen=True, slots=True)
class HostHealth:
    """A snapshot of the state of a host. Counts are since its first use, unless said otherwise.

    Example:
        ```python
        health = conn.health
        if health.state == "broken":
            print(health.host, "since", health.broken_since, "because of", health.last_error)
        ```
    """

    host: str
    """The origin, `https://api.example.net:8443`; of a scope, `https://api.example.net:8443#name`."""
    state: HealthState
    breaker: State
    """With `mode = "observe"`: what it would be. It then refuses nothing and does not affect `state`."""
    calls: int
    """Calls begun, including rejected ones."""
    attempts: int
    """Sends, including retries and hedges."""
    failures: int
    """Attempts that count against the host."""
    success_ratio: float | None
    """The share of successes among attempts with a verdict within the policy's `health.window`; None without any."""
    consecutive_failures: int
    latency: Latency
    in_flight: int
    """Calls in flight now."""
    limit: int | None
    """How many calls may be in flight now: an adaptive bulkhead sets it by the latency; else `max_concurrent`. None
    without a bulkhead."""
    retries: int
    hedges: int
    """Hedge attempts that were sent."""
    rejections: int
    """Calls and retries that the breaker, the bulkhead, the rate limit, a cooldown or an isolation refused."""
    last_error: str | None
    """The last failure: a status, or an exception's type and text."""
    last_success: float | None
    """Seconds since 1970-01-01 UTC."""
    broken_since: float | None
    """Seconds since 1970-01-01 UTC; None for a host that is neither broken nor recovering."""
    retry_in: float | None
    """Seconds until the breaker admits a probe; None unless it is open and refuses calls."""
    connections: int
    """How many connections to the host are held."""
    hooks_since: float | None
    """Since when a manager's hooks have been running to connect to it, in seconds since 1970-01-01 UTC; None if none is
    running."""
    cooldown: float | None = None
    """Seconds until the host admits all calls again that a server's "not now" holds back (`retry.after_binds`); None if
    none."""
    share: float = 1.0
    """The share of calls that its circuit admits now: 0 while it is not closed, less than 1 while a slow start holds
    some back."""
    isolated_reason: str | None = None
    """The operator's reason for an isolation; None if none was given, or the host is not isolated."""
    isolated_until: float | None = None
    """When the isolation ends by itself, in seconds since 1970-01-01 UTC; None if only `restore` ends it."""
    isolated_since: float | None = None
    """When the isolation began, in seconds since 1970-01-01 UTC; None for a host that is not isolated."""
    state_since: float | None = None
    """Since when it has been in this state, in seconds since 1970-01-01 UTC. A broken host keeps the moment it broke
    until it has recovered; for others it is exact to 15 s. None for a host that was never used."""
    last_error_at: float | None = None
    """When the last failure was, in seconds since 1970-01-01 UTC."""
    breaker_mode: Literal["enforce", "observe", "off"] = "enforce"
    """`observe` is a dry run: `breaker` is what the circuit would be."""
    opened_at: float | None = None
    """When the circuit opened, in seconds since 1970-01-01 UTC; None while it is closed."""
    opened_by: Rule | None = None
    """By which rule it did; None while it is closed."""
    rejected: RejectedBy = _NONE_REJECTED
    """The `rejections`, by what rejected them."""
    would_reject: RejectedBy = _NONE_REJECTED
    """Sends that a part with `mode = "observe"` would have refused."""
    recent: Recent = _NOTHING_RECENT
    """Calls and errors of the last 15 minutes."""
    names: tuple[str, ...] = ()
    """The names passed to a manager's `find` that led here, other than `host`, in alphabetical order."""
    used: bool = True
    """Whether any connection or name leads to it. If not (the host moved), a manager forgets it within 30 s."""
    failover: str | None = None
    """The failover target that calls go to while this host is broken; None if there is none."""
    fleet: Fellows | None = None
    """What the workers of the fleet report of it; None without a fleet, and for a host without trouble there."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, nested ones as dicts."""
        return {name: _plain(getattr(self, name)) for name in _FIELDS}


@dataclass(slots=True)
class Gauges:
    """The changing values of a host, for metrics."""

    state: HealthState
    breaker: State
    in_flight: int
    """Calls in flight now."""
    queued: int
    """Calls that wait for the bulkhead, the rate limit, the circuit, or the end of a cooldown."""
    max_in_flight: int | None
    """How many may be in flight; None for no limit."""
    rate: float | None
    """How many calls may begin per second; None for no limit."""
    latency: Latency | None = None
    """Of the attempts within the window; only if requested, because it takes longer to compute."""


_FIELDS = tuple(field.name for field in fields(HostHealth))
_NESTED = {kind: tuple(field.name for field in fields(kind)) for kind in (Fellows, Latency, Recent, RejectedBy)}


def _plain(value: Any) -> Any:
    """A field's value as JSON has it. `asdict` copies each number by itself, which takes a second of 10,000 hosts."""
    if (names := _NESTED.get(type(value))) is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    return list(value) if type(value) is tuple else value
