"""Reads the state of a host from its record."""

from __future__ import annotations

from typing import Protocol

from sleepwalker.engine.host.admission import Admission, ended_calls
from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.host.counters import Counters
from sleepwalker.engine.host.history import History
from sleepwalker.engine.host.permits import CLOSED
from sleepwalker.engine.host.snapshot import Fellows, Gauges, HostHealth, Latency, Recent, RejectedBy, Routes
from sleepwalker.engine.host.verdict import Verdict
from sleepwalker.policy import HealthPolicy

_SHARES = (0.5, 0.95, 0.99)
_NONE_RECENT, _NONE_REJECTED = Recent(), RejectedBy()


class Readable(Protocol):
    """A host's record: its parts, all read under its lock."""

    origin: str
    admission: Admission
    counters: Counters
    fellows: Fellows | None
    health_policy: HealthPolicy
    history: History
    verdict: Verdict

    @property
    def circuit(self) -> Circuit | None:
        """None if its policy switches the breaker off."""
        ...


def health_of(
    host: Readable, now: float, epoch: float, connections: int, hooks_since: float | None, routes: Routes
) -> HostHealth:
    """The health for users. `epoch` is the wall clock's time at which the host's clock showed 0."""

    def moment(seconds: float | None) -> float | None:
        return None if seconds is None else seconds + epoch

    admission, circuit, counters, history, verdict = (
        host.admission, host.circuit, host.counters, host.history, host.verdict,
    )  # fmt: skip
    state, state_since = verdict.state_since_locked(circuit, now)
    opened_at, opened_by = (None, None) if circuit is None else circuit.opened(now)
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
        last_success=moment(history.last_success),
        broken_since=moment(verdict.broken_since),
        retry_in=(None if circuit is None else circuit.opens_in(now)) or None,
        cooldown=admission.cooldowns.longest(now) if admission.cooldowns else None,
        connections=connections,
        hooks_since=hooks_since,
        share=1.0 if circuit is None else circuit.share(now),
        isolated_reason=None if isolation is None else isolation.reason,
        isolated_until=None if isolation is None else verdict.moment(isolation),
        isolated_since=moment(state_since) if state == "isolated" else None,
        state_since=moment(state_since),
        last_error_at=moment(history.last_error_at),
        breaker_mode="off" if circuit is None else "observe" if circuit.observes else "enforce",
        opened_at=moment(opened_at),
        opened_by=opened_by,
        rejected=_rejected(counters, "rejected"),
        would_reject=_rejected(counters, "would reject"),
        recent=_recent(admission, counters, now, epoch),
        names=routes.names,
        used=routes.used,
        failover=routes.failover,
        fleet=host.fellows,
    )


def _rejected(counters: Counters, kind: str) -> RejectedBy:
    found = {label: count for (of, label), count in counters.labelled.items() if of == kind}
    return RejectedBy(**found) if found else _NONE_REJECTED


def _recent(admission: Admission, counters: Counters, now: float, epoch: float) -> Recent:
    activity = admission.activity
    found = None if activity is None else activity.read(now, *ended_calls(counters))
    if found is None:
        return _NONE_RECENT
    began, calls, errors = found
    return Recent(began + epoch, calls=tuple(calls), errors=tuple(errors))


def gauges_of(host: Readable, now: float, *, latency: bool) -> Gauges:
    """The changing values. Cheap, for metrics of many hosts, except for the `latency`."""
    admission, circuit = host.admission, host.circuit
    return Gauges(
        state=host.verdict.state(circuit, now),
        breaker=CLOSED if circuit is None else circuit.state(now),
        in_flight=admission.bulkhead.in_flight,
        queued=admission.queued,
        max_in_flight=admission.bulkhead.limit,
        rate=admission.rate_limit.rate if admission.rate_limit else None,
        latency=_latency(host.history, now) if latency else None,
    )


def _latency(history: History, now: float) -> Latency:
    return Latency(*history.latencies.quantiles(now, _SHARES))
