"""What is known of a host at one moment, as its users see it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from sleepwalker.engine.host.activity import INTERVAL
from sleepwalker.engine.host.permits import Rule, State

HealthState = Literal["unknown", "healthy", "degraded", "broken", "isolated"]


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of how long attempts took, in seconds; None without any in the window."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Recent:
    """How many calls ended in each of the latest intervals, for 15 minutes at most: from the first in which one did, up
    to the one that is running."""

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
    """Calls and retries, by what refused them."""

    breaker: int = 0
    bulkhead: int = 0
    rate_limit: int = 0
    cooldown: int = 0
    isolation: int = 0


@dataclass(frozen=True, slots=True)
class Fellows:
    """What the workers of a fleet say of a host."""

    broken: int
    """How many find it broken."""
    fine: int
    """How many it has answered since."""
    workers: int
    """How many there are, those included that do not use it."""
    verdict: bool
    """Whether the host counts as broken for all."""
    since: float | None = None
    """When its trouble began, in seconds since 1970-01-01 UTC by this machine's clock; None where that is not known."""
    cause: str | None = None
    """The last failure that one of them met: a status, or the name of an exception type; None where that is not
    known."""


class Routes(NamedTuple):
    """What a table of hosts knows of the ways that lead to a host."""

    names: tuple[str, ...] = ()
    used: bool = True
    failover: str | None = None


#: Of a host that no manager has.
BY_ITSELF = Routes()
_NOTHING_RECENT, _NONE_REJECTED = Recent(), RejectedBy()


@dataclass(frozen=True, slots=True)
class HostHealth:
    """A snapshot of what is known of a host. Counts are since its first use, unless said otherwise.

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
    """With `mode = "observe"` what it would be: it refuses nothing, and has no part in `state`."""
    calls: int
    """Calls begun, rejected ones included."""
    attempts: int
    """Sends, retries and hedges included."""
    failures: int
    """Attempts that count against the host."""
    success_ratio: float | None
    """Of the attempts with a verdict within the policy's `health.window`; None without any."""
    consecutive_failures: int
    latency: Latency
    in_flight: int
    """Calls under way now."""
    limit: int | None
    """How many calls may be under way now: what an adaptive bulkhead makes of the latency, else `max_concurrent`.
    None without a bulkhead."""
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
    """Seconds since 1970-01-01 UTC; None for a host that does not count as broken, nor is recovering from it."""
    retry_in: float | None
    """Seconds until the breaker admits a probe; None unless it is open and refuses calls."""
    connections: int
    """How many connections to the host are held."""
    hooks_since: float | None
    """Since when a manager's hooks are at work to make one, in seconds since 1970-01-01 UTC; None unless they are."""
    cooldown: float | None = None
    """Seconds until all calls are let in that a server's "not now" holds back (`retry.after_binds`); None without."""
    share: float = 1.0
    """Of the calls that come now, the share that its circuit lets in: 0 while that is not closed, less than 1 in a slow
    start that holds some back."""
    isolated_reason: str | None = None
    """Why an operator isolated the host, in their words; None where they did not say, or the host is not isolated."""
    isolated_until: float | None = None
    """When that ends by itself, in seconds since 1970-01-01 UTC; None where only `restore` ends it."""
    isolated_since: float | None = None
    """When it began, in seconds since 1970-01-01 UTC; None for a host that is not isolated."""
    state_since: float | None = None
    """Since when it is in this state, in seconds since 1970-01-01 UTC: of a host that broke, since then, until it has
    recovered; of others to within 15 s. None for one that was never heard of."""
    last_error_at: float | None = None
    """When the last failure was, in seconds since 1970-01-01 UTC."""
    breaker_mode: Literal["enforce", "observe", "off"] = "enforce"
    """`observe` is a dry run: `breaker` is what the circuit would be."""
    opened_at: float | None = None
    """When the circuit opened, in seconds since 1970-01-01 UTC; None while it is closed."""
    opened_by: Rule | None = None
    """By which rule it did; None while it is closed."""
    rejected: RejectedBy = _NONE_REJECTED
    """The `rejections`, by what refused."""
    would_reject: RejectedBy = _NONE_REJECTED
    """Sends that a part with `mode = "observe"` would have refused."""
    recent: Recent = _NOTHING_RECENT
    """Calls and errors of the last 15 minutes."""
    names: tuple[str, ...] = ()
    """What a manager's `find` was asked for and led here, where that is not `host`; in the order of the alphabet."""
    used: bool = True
    """Whether anything leads to it. A host that moved is not used: a manager forgets it within 30 s."""
    failover: str | None = None
    """The host that calls go to meanwhile, while this one is broken; None where there is none."""
    fleet: Fellows | None = None
    """What the workers of the fleet say of it; None without a fleet, and of a host that is in no trouble there."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, nested ones as dicts."""
        return {name: _plain(getattr(self, name)) for name in _FIELDS}


@dataclass(slots=True)
class Gauges:
    """What goes up and down at a host."""

    state: HealthState
    breaker: State
    in_flight: int
    """Calls under way now."""
    queued: int
    """Calls that wait for a place in the bulkhead, a token of the rate limit, the circuit, or a cooldown's end."""
    max_in_flight: int | None
    """How many may be under way; None for any number."""
    rate: float | None
    """How many calls may begin per second; None for any number."""
    latency: Latency | None = None
    """Of the attempts within the window, where it was asked for: it takes longer to work out."""


_FIELDS = tuple(field.name for field in fields(HostHealth))
_NESTED = {kind: tuple(field.name for field in fields(kind)) for kind in (Fellows, Latency, Recent, RejectedBy)}


def _plain(value: Any) -> Any:
    """A field's value as JSON has it. `asdict` copies each number by itself, which takes a second of 10,000 hosts."""
    if (names := _NESTED.get(type(value))) is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    return list(value) if type(value) is tuple else value
