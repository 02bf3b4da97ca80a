"""Reads what is known of a host out of its record."""

from __future__ import annotations

from typing import Protocol

from sleepwalker.engine.host.admission import Admission
from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.host.counters import Counters
from sleepwalker.engine.host.history import History
from sleepwalker.engine.host.permits import CLOSED
from sleepwalker.engine.host.snapshot import Gauges, HealthState, HostHealth, Latency
from sleepwalker.engine.host.verdict import Verdict
from sleepwalker.policy import HealthPolicy

_SHARES = (0.5, 0.95, 0.99)


class Readable(Protocol):
    """A host's record: its parts, all read under its lock."""

    origin: str
    admission: Admission
    counters: Counters
    health_policy: HealthPolicy
    history: History
    verdict: Verdict

    @property
    def circuit(self) -> Circuit | None:
        """None where its policy has the breaker off."""
        ...


def health_of(host: Readable, now: float, epoch: float, connections: int, hooks_since: float | None) -> HostHealth:
    """What its users see. `epoch` is the wall clock's time at which the host's clock showed 0."""
    admission, circuit, counters, history, verdict = (
        host.admission, host.circuit, host.counters, host.history, host.verdict,
    )  # fmt: skip
    state = _state(host, now)
    isolation = verdict.isolation_in_force() if state == "isolated" else None
    return HostHealth(
        host=host.origin,
        state=state,
        breaker=CLOSED if circuit is None else circuit.state(now),
        calls=counters.calls,
        attempts=counters.attempts,
        failures=counters.failures,
        success_ratio=history.ratio(now),
        consecutive_failures=history.consecutive,
        latency=_latency(history, now),
        in_flight=admission.bulkhead.in_flight,
        limit=admission.bulkhead.limit,
        retries=counters.retries,
        hedges=counters.hedges,
        rejections=counters.rejections,
        last_error=history.last_error,
        last_success=None if history.last_success is None else history.last_success + epoch,
        broken_since=None if verdict.broken_since is None else verdict.broken_since + epoch,
        retry_in=(None if circuit is None else circuit.opens_in(now)) or None,
        cooldown=admission.cooldowns.longest(now) if admission.cooldowns else None,
        connections=connections,
        hooks_since=hooks_since,
        share=1.0 if circuit is None else circuit.share(now),
        isolated_reason=None if isolation is None else isolation.reason,
        isolated_until=None if isolation is None else verdict.moment(isolation),
    )


def gauges_of(host: Readable, now: float, *, latency: bool) -> Gauges:
    """What goes up and down: cheap, for metrics of many hosts, but for the `latency`."""
    admission, circuit = host.admission, host.circuit
    return Gauges(
        state=_state(host, now),
        breaker=CLOSED if circuit is None else circuit.state(now),
        in_flight=admission.bulkhead.in_flight,
        queued=admission.queued,
        max_in_flight=admission.bulkhead.limit,
        rate=admission.rate_limit.rate if admission.rate_limit else None,
        latency=_latency(host.history, now) if latency else None,
    )


def _latency(history: History, now: float) -> Latency:
    return Latency(*history.latencies.quantiles(now, _SHARES))


def _state(host: Readable, now: float) -> HealthState:
    return host.verdict.state(host.circuit, now, host.health_policy.degraded_below)
