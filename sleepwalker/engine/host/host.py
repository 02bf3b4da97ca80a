"""The record of one host, or of a scope of it: everything that its callers share."""

from __future__ import annotations

import math
import weakref
from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.host.admission import Admission
from sleepwalker.engine.host.breaker import Breaker
from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.host.counters import Counters
from sleepwalker.engine.host.history import History
from sleepwalker.engine.host.isolation import FOR_GOOD, Isolation, Restorer
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.engine.host.outcomes import Outcomes
from sleepwalker.engine.host.parts import Parts
from sleepwalker.engine.host.permits import OPEN
from sleepwalker.engine.host.reading import gauges_of, health_of
from sleepwalker.engine.host.snapshot import BY_ITSELF, Fellows, Gauges, HostHealth, Routes
from sleepwalker.engine.host.sources import SourceName
from sleepwalker.engine.host.verdict import Verdict
from sleepwalker.engine.outcome import failures_of
from sleepwalker.events import Event
from sleepwalker.fork import renewed_after_fork
from sleepwalker.policy import HealthPolicy, Policy


class Host:
    """A call asks `admission` and reports to `outcomes`; `verdict` decides whether the host is broken.

    This class has the owner's operations: read the record, reload its policy, isolate the host, manage its scopes
    ("parts"). All methods are thread-safe and return the events to announce. None calls foreign code under the lock. A
    part has its own record. It shares with the whole host what `Verdict` describes.
    """

    # Plain slots: there may be thousands.
    __slots__ = (
        "__weakref__",
        "_clock",
        "_parts",
        "_policy",
        "_whole",
        "admission",
        "asked_at",
        "brought",
        "counters",
        "failures",
        "fellows",
        "health_policy",
        "held",
        "history",
        "lock",
        "origin",
        "outcomes",
        "own_policy",
        "told_ignored",
        "verdict",
        "whose",
    )

    failures: frozenset[int]
    health_policy: HealthPolicy

    def __init__(self, origin: str, policy: Policy, clock: Clock, whole: Host | None = None) -> None:
        self.origin: str = origin
        # Weak, since the host refers to its parts: so both are freed with the last connection to it.
        self._whole = None if whole is None else weakref.ref(whole)
        self._parts: Parts[Host] | None = None
        self._clock = clock
        self._policy = policy
        self.health_policy = policy.health
        """How its health is judged, and when connections to it are given up. Read without the lock."""
        self.failures = failures_of(policy)
        """The statuses that are failures of the host. Read without the lock, once for each call."""
        self.lock: HostLock = HostLock()
        self.counters: Counters = Counters()
        """How its calls ended, for metrics. Each of the plain counts may be read without the lock."""
        self.history: History = History(policy.health.window)
        self.verdict: Verdict = Verdict(origin, policy.health, clock, self.history, self.counters)
        self.admission: Admission = Admission(origin, policy, clock, self.lock, self.counters, self.verdict)
        self.outcomes: Outcomes = Outcomes(self.lock, self.admission, self.counters, self.history, self.verdict)
        if whole is not None:
            self.verdict.whole, self.outcomes.whole = whole.verdict, whole.outcomes
        self.own_policy: Policy | None = None
        """The policy that was given for this part. A part without one follows its host's."""
        self.asked_at: float = -math.inf
        """When a part was last asked for, in seconds of the monotonic clock."""
        self.told_ignored: bool = False
        """Whether it was announced that a policy given for it is ignored."""
        self.fellows: Fellows | None = None
        """What the workers of the fleet say of it."""
        self.held: int = 0
        """How many connections to the host a manager holds."""
        self.whose: Literal["policies", "connection", "manager"] | None = None
        """Where the policy that it follows in a manager comes from; None until a connection to it has been there."""
        self.brought: Policy | None = None
        """The own policy of the first of these connections, if it had one."""
        _hosts.add(self)

    # What it is

    @property
    def policy(self) -> Policy:
        """The policy that it follows."""
        return self._policy

    @property
    def breaker(self) -> Breaker | None:
        """None if the policy switches it off."""
        return self.admission.breaker

    @property
    def circuit(self) -> Circuit | None:
        """The circuit of the breaker."""
        return None if (breaker := self.admission.breaker) is None else breaker.circuit

    @property
    def limit(self) -> int | None:
        """How many calls may be in flight now; None for no limit."""
        return self.admission.bulkhead.limit

    @property
    def isolation(self) -> Isolation | None:
        """Its isolation by an operator. It may have expired: check `isolated`."""
        return self.verdict.isolation

    @property
    def isolated(self) -> bool:
        """Whether it is isolated now, by itself or with the whole host."""
        return self.verdict.isolated

    @property
    def unhealthy(self) -> bool:
        """Whether it is broken or recovering."""
        return self.verdict.broken_since is not None

    @property
    def busy(self) -> bool:
        """Whether calls are in flight or waiting, including those of its parts."""
        if self.admission.bulkhead.in_flight > 0 or self.admission.queued > 0:
            return True
        return any(part.busy for part in self._all_parts())

    def rejects(self, now: float) -> bool:
        """Whether its circuit is open at `now`, whatever else is wrong."""
        circuit = self.circuit
        if circuit is None or circuit.observes:
            return False
        self._catch_up(circuit, now)
        return circuit.state(now) == OPEN

    def broken_by(self, now: float) -> SourceName | None:
        """What makes the host broken at `now`; None if nothing does."""
        circuit = self.circuit
        if circuit is not None:
            self._catch_up(circuit, now)
        return self.verdict.broken_by(circuit, now)

    def _catch_up(self, circuit: Circuit, now: float) -> None:
        if circuit.slow is not None:
            with self.lock.mutex:
                self.verdict.catch_up_locked(circuit, now)

    def answered_since(self, moment: float) -> bool:
        """Whether an attempt or a probe, here or in another worker, succeeded after `moment` (monotonic clock).

        A success of a part counts too, unless the host is unhealthy: then it says nothing about the rest.
        """
        last = self.history.known_well_at
        if last is not None and last > moment:
            return True
        return not self.unhealthy and any(part.answered_since(moment) for part in self._all_parts())

    def latency_above(self, share: float, now: float) -> float | None:
        """Seconds that `share` (0 to 1) of the recent attempts took at most; None while too few are known."""
        known = self.history.known_latency(share, now)
        if known is not None:
            return known[0]
        with self.lock.mutex:
            return self.history.latency_above(share, now)

    def snapshot(self, connections: int = 0, hooks_since: float | None = None, via: Routes = BY_ITSELF) -> HostHealth:
        """The host's health now. Its manager knows its names and hooks."""
        now = self._clock.monotonic()
        epoch = self._clock.wall() - now
        with self.lock.mutex:
            self.verdict.catch_up_locked(self.circuit, now)
            return health_of(self, now, epoch, connections, hooks_since, via)

    def gauges(self, *, latency: bool = False) -> Gauges:
        """The changing values now. Cheap, for metrics of many hosts, except for the `latency`."""
        now = self._clock.monotonic()
        with self.lock.mutex:
            self.verdict.catch_up_locked(self.circuit, now)
            return gauges_of(self, now, latency=latency)

    def count(self, kind: str, label: str) -> None:
        """Count a rare event, as `Counters.count` does."""
        with self.lock.mutex:
            self.counters.count(kind, label)

    def tell_refused(self) -> None:
        """Announce the refused calls that are still pending, including those of its parts."""
        for record in (self, *self._all_parts()):
            if (refusals := record.admission.refusals) is not None:
                refusals.tell()

    # Its parts

    @property
    def connections(self) -> int:
        """How many connections to the host a manager holds."""
        whole = self if self._whole is None else self._whole()
        return self.held if whole is None else whole.held

    def part(self, name: str, policy: Policy | None = None) -> tuple[Host, bool, tuple[Event, ...]]:
        """The record of a part, created if new; whether it follows `policy`; and the events.

        The first policy given for a part applies as long as its record lives. A later one does not change it under its
        users.
        """
        now = self._clock.monotonic()
        with self.lock.mutex:
            parts = self._parts
            if parts is None:
                parts = self._parts = Parts()
            part = parts.get(name)
            if part is None:
                part = Host(f"{self.origin}#{name}", policy or self._policy, self._clock, self)
                part.own_policy = policy
                parts.put(name, part)
            if parts.over_capacity:
                parts.trim(lambda old: old.busy or old.isolation is not None or old.rejects(now))
            part.asked_at = now
        if policy is None or policy is part.own_policy:
            return part, True, ()
        return part, *part._given(policy)

    def _given(self, policy: Policy) -> tuple[bool, tuple[Event, ...]]:
        with self.lock.mutex:
            own = self.own_policy
            if own is None:
                self.own_policy = policy
        return (True, self.reconfigure(policy)) if own is None else (policy == own, ())

    def give(self, policy: Policy) -> tuple[Event, ...]:
        """Give a part its own policy from now on; returns the events."""
        self.own_policy = policy
        return self.reconfigure(policy)

    def parts(self) -> list[Host]:
        """The records of all its parts, by name, except unused ones that would look broken for ever.

        A part that was not used within `health.idle` is treated as a route or tenant that is gone, like a host without
        connections. Its next call brings it back.
        """
        now, idle = self._clock.monotonic(), self._policy.health.idle
        return [
            part
            for part in self._all_parts()
            if not part.unhealthy or part.isolated or part.busy or part.rejects(now) or now - part.asked_at <= idle
        ]

    def _all_parts(self) -> list[Host]:
        return [] if self._parts is None else self._parts.all()

    def known_part(self, name: str) -> Host | None:
        """The record of a part, if there is one."""
        return None if self._parts is None else self._parts.peek(name)

    def forget_part(self, name: str) -> None:
        """Drop the record of a part, unless an operator isolated it. Its next use creates a new one."""
        with self.lock.mutex:
            part = None if self._parts is None else self._parts.peek(name)
            if self._parts is not None and part is not None and part.isolation is None:
                self._parts.drop(name)

    # Its policy

    def reconfigure(self, policy: Policy) -> tuple[Event, ...]:
        """Switch to `policy` and keep all state and running calls; returns the events.

        Running calls keep the policy that they began with. Queued calls enter if the new limits allow it. Its parts
        switch too, except those with their own policy.
        """
        now = self._clock.monotonic()
        with self.lock.mutex:
            self.history.reconfigure(policy.health.window)
            self._policy, self.health_policy, self.failures = policy, policy.health, failures_of(policy)
            self.verdict.reconfigure_locked(policy.health)
            self.admission.reconfigure_locked(policy, now)
            events = self.verdict.update_locked(self.circuit, now)
        self.lock.notify()
        for part in self._all_parts():
            if part.own_policy is None:
                events += part.reconfigure(policy)
        return events

    # An operator's hand

    def isolate(self, isolation: Isolation = FOR_GOOD) -> tuple[Event, ...]:
        """Reject all calls until `restore`, or until the isolation ends by itself. Replaces an earlier isolation."""
        with self.lock.mutex:
            isolated = self.verdict.isolate_locked(isolation)
            events = self.verdict.update_locked(self.circuit, self._clock.monotonic())
        for record in (self, *self._all_parts()):
            record.admission.turn_away()
        return events + isolated

    def restore(self, by: Restorer = "hand") -> tuple[Event, ...]:
        """End an isolation."""
        with self.lock.mutex:
            self.verdict.restore_locked(by)
            return self.verdict.update_locked(self.circuit, self._clock.monotonic())

    def lapse(self) -> tuple[Event, ...]:
        """End an isolation that has expired."""
        with self.lock.mutex:
            self.verdict.lapse_locked()
            return self.verdict.update_locked(self.circuit, self._clock.monotonic())

    def reset_circuit(self, by: Literal["fleet"] | None = None) -> tuple[Event, ...]:
        """Treat the host and its parts as healthy: circuits close, and attempts begun before no longer count."""
        now = self._clock.monotonic()
        with self.lock.mutex:
            self.verdict.reset_locked(now)
            if self.admission.cooldowns is not None:
                self.admission.cooldowns.clear()
            if self.admission.breaker is not None:
                self.admission.breaker.reset_locked(by)
            events = self.verdict.update_locked(self.circuit, now, by_hand=True, by=by)
        self.lock.notify()
        for part in self._all_parts():
            events += part.reset_circuit(by)
        return events

    def _renew_after_fork(self) -> None:
        self.lock.renew_after_fork()
        self.admission.renew_after_fork()


_hosts = renewed_after_fork("hosts", Host._renew_after_fork)
