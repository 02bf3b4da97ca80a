"""Is this host broken? Answered here, and nowhere else, from several sources.

    connect   attempts could not connect, so often in a row that it is no chance
    breaker   the circuit is open, or half-open
    fleet     other workers say so, and no circuit carries their report
    operator  it was taken out of use by hand

A source returns a `Finding`, or None if it finds the host healthy; the first one with a finding says why the host is
broken. A probe is no source: it makes the others judge again. To add one: a `finding`, an entry in `_sources`, and its
flag where `update_locked` checks whether anything changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.host.connects import ConnectFailures
from sleepwalker.engine.host.counters import Counters
from sleepwalker.engine.host.history import History
from sleepwalker.engine.host.isolation import FOR_GOOD, Isolation
from sleepwalker.engine.host.permits import CLOSED
from sleepwalker.engine.host.snapshot import HealthState
from sleepwalker.engine.host.sources import Finding, Source, SourceName, Word
from sleepwalker.events import BreakerOpened, Event, HostBroken, HostIsolated, HostRecovered, HostRestored
from sleepwalker.exceptions import HostIsolatedError
from sleepwalker.policy import HealthPolicy


class Verdict:
    """The verdict on one host, or on a part of it. Methods that end in `_locked` need the lock of the host.

    While its host is isolated, so is a part. The host knows whether it can be connected to, from its own attempts and
    those of all its parts.
    """

    __slots__ = (
        "_clock",
        "_counters",
        "_history",
        "_origin",
        "_pending",
        "broken_since",
        "connects",
        "degraded_below",
        "failed_looks",
        "isolated_at",
        "isolation",
        "level_since",
        "low",
        "probe",
        "suspect",
        "whole",
        "word",
    )

    suspect: bool
    low: bool
    failed_looks: int

    def __init__(
        self,
        origin: str,
        health: HealthPolicy,
        clock: Clock,
        history: History,
        counters: Counters,
    ) -> None:
        self._origin = origin
        self._clock = clock
        self._history = history
        self._counters = counters
        self.whole: Verdict | None = None
        """The verdict on the whole host, if this is a part's; else None."""
        self.connects: ConnectFailures = ConnectFailures(health.broken_after, history)
        self.isolation: Isolation | None = None
        """Its isolation by an operator. It may have expired: check `isolated`."""
        self.isolated_at: float = 0.0
        """When that began, on the host's clock; a change of its reason or end does not change this."""
        self.degraded_below: float = health.degraded_below
        self.low = False
        """Whether the share of successes was below `degraded_below` when it was last computed."""
        self.level_since: float | None = None
        """Since when `low` has had its present value, on the host's clock; None before the first call. It begins anew
        with the first call after a pause longer than health.window, and when the host recovers or is restored. A
        pause is known to within an interval of the host's activity."""
        self.broken_since: float | None = None
        """Since when it counts as broken, or is recovering from that, on the host's clock; None for neither."""
        self.probe: bool | None = False
        """Whether the last probe since then succeeded; None if none could be made."""
        self.suspect = False
        """False if it is certainly healthy. Read without a lock, to be fast."""
        self.word: Word | None = None
        """The report of the other workers of the fleet, while that is in force."""
        self.failed_looks = 0
        """How often attempts to see whether it is back have failed."""
        self._pending: tuple[Event, ...] = ()
        """Events that have not been returned yet."""

    # Sources

    def _sources(self, circuit: Circuit | None) -> Iterator[Source]:
        """The sources, in the order in which their reasons count."""
        yield self.connects
        if circuit is not None:
            yield circuit
        if self.word is not None and not self._carried(circuit):
            yield self.word

    @staticmethod
    def _carried(circuit: Circuit | None) -> bool:
        """Whether the circuit carries the report of others: then only its closing ends that."""
        return circuit is not None and circuit.tripped

    def _findings(self, circuit: Circuit | None, now: float) -> list[Finding]:
        found = [source.finding(now) for source in self._sources(circuit)]
        return [finding for finding in found if finding is not None]

    # The state

    def broken_by(self, circuit: Circuit | None, now: float) -> SourceName | None:
        """What makes it broken at `now`; None if nothing does."""
        return next((finding.source for finding in self._findings(circuit, now) if finding.broken), None)

    def state(self, circuit: Circuit | None, now: float) -> HealthState:
        """The state for users."""
        return self.state_since_locked(circuit, now)[0]

    def state_since_locked(self, circuit: Circuit | None, now: float) -> tuple[HealthState, float | None]:
        """The state for users, and since when, on the host's clock.

        A host that broke keeps that moment until it has recovered. For an unknown one it is the moment since when
        nothing is known of it; None if nothing ever was.
        """
        if (isolator := self._isolator()) is not None:
            return "isolated", isolator.isolated_at
        findings = self._findings(circuit, now)
        since = self.broken_since
        if self.whole is not None and (finding := self.whole.connects.finding(now)) is not None:
            findings.append(finding)
            since = self.whole.broken_since if since is None else since
        if findings:
            return "broken" if any(finding.broken for finding in findings) else "degraded", since
        ratio = self.note_level_locked(now)
        if ratio is None:
            quiet = self._history.empty_since
            return "unknown", None if quiet is None else min(quiet, now)  # the window moves in steps
        return "degraded" if self.low else "healthy", self.level_since

    def left_alone(self, now: float) -> bool:
        """Whether other workers of the fleet probe the host in turn, so that this one waits. Needs no lock."""
        word = self.word
        return word is not None and word.finding(now).broken

    @property
    def healthy_by_probe(self) -> bool | None:
        """Whether the last probe succeeded, or no probe is needed; None if none was possible."""
        return self.probe if self.suspect else True

    def not_probed(self) -> None:
        """Note that no probe is possible, for example without credentials: then only time decides."""
        self.probe = None

    # What changes

    def answered_locked(self, circuit: Circuit | None) -> None:
        """The host was connected to, or answered a probe: this ends findings that no circuit carries."""
        self.connects.answered()
        if not self._carried(circuit):
            self.word = None

    def contradicted_locked(self, circuit: Circuit | None, began: float) -> None:
        """An attempt that began then got an answer here, whatever others say. A late response does not count."""
        if self.word is not None and began >= self.word.since and not self._carried(circuit):
            self.word = None

    def reset_locked(self, now: float) -> None:
        """Treat it as healthy, whatever began before."""
        self.connects.reset(now)
        self.word = None

    def reconfigure_locked(self, health: HealthPolicy) -> None:
        """Judge by these numbers from now on."""
        self.connects.reconfigure(health.broken_after)
        self.degraded_below = health.degraded_below

    def note_level_locked(self, now: float) -> float | None:
        """Note whether the host is degraded by its share of successes, which is returned."""
        ratio = self._history.ratio(now)
        low = ratio is not None and ratio < self.degraded_below
        if low != self.low:
            self.low, self.level_since = low, now
        return ratio

    def called_locked(self, now: float, quiet: float | None) -> None:
        """Note that a call ended. `quiet` is for how many seconds before it no call had ended; None for the first.

        After a pause longer than health.window nothing is known of the time before, so `level_since` starts again.
        """
        if quiet is None or self.level_since is None or quiet > self._history.window:
            self.level_since = now

    def update_locked(
        self, circuit: Circuit | None, now: float, *, by_hand: bool | None = None, by: Literal["fleet"] | None = None
    ) -> tuple[Event, ...]:
        """The changes since the last time: the circuit's transitions, and whether the host is broken."""
        unhealthy = self.connects.broken or self.word is not None or (circuit is not None and circuit.tripped)
        changes = unhealthy != (self.broken_since is not None)
        if not (changes or self._pending or (circuit is not None and circuit.transitions)):
            return ()  # nearly always, so it must be cheap
        events, self._pending = self._pending, ()
        if circuit is not None and circuit.transitions:
            transitions = circuit.take_transitions()
            self._counters.count_transitions(transitions)
            self.failed_looks += failed_probes(transitions)
            events += transitions
            if self.word is not None and circuit.trip.state == CLOSED and not circuit.observes:
                self.word, unhealthy = None, self.connects.broken  # the circuit that carried it has closed
                changes = unhealthy != (self.broken_since is not None)
        if not changes:
            return events
        # A half-open circuit has not recovered yet: only its closing ends what its opening began.
        if unhealthy:
            return (*events, self._broke(self._findings(circuit, now)[0]))
        return (*events, self._recovered(now, by_hand=by_hand, by=by))

    def _broke(self, finding: Finding) -> Event:
        # The connect failures are those of its parts as well.
        failures = max(self._history.consecutive, self.connects.count)
        source = finding.source
        by: Literal["fleet"] | None = "fleet" if source == "fleet" else None
        event = HostBroken(self._origin, reason=source, failures=failures, cause=finding.cause, by=by)
        # These together, and after the last call: a Ctrl-C comes before all or after all of them.
        self.broken_since, self.probe, self.suspect = finding.since, False, True
        return event

    def _recovered(self, now: float, *, by_hand: bool | None, by: Literal["fleet"] | None) -> Event:
        event = HostRecovered(self._origin, broken_for=now - (self.broken_since or now), by_hand=by_hand, by=by)
        self.broken_since, self.suspect, self.level_since = None, self.isolation is not None, now
        return event

    def catch_up_locked(self, circuit: Circuit | None, now: float) -> None:
        """Apply the effects of time alone. A reader announces nothing: the next call does."""
        if circuit is not None and circuit.slow is not None:
            circuit.catch_up(now)
            self._pending = self.update_locked(circuit, now)

    # The operator

    @property
    def isolated(self) -> bool:
        """Whether it is isolated now."""
        return self.isolation_in_force() is not None

    def isolation_in_force(self) -> Isolation | None:
        """Its isolation now: by itself, or with the whole host."""
        isolator = self._isolator()
        return None if isolator is None else isolator.isolation

    def _isolator(self) -> Verdict | None:
        """Itself or the whole host, by which it is isolated."""
        isolation = self.isolation
        if isolation is not None and not isolation.over(self._clock):
            return self
        return None if self.whole is None else self.whole._isolator()

    def moment(self, isolation: Isolation) -> float | None:
        """When it ends by itself, in seconds since 1970-01-01 UTC; None if it does not."""
        return isolation.moment(self._clock)

    def refusal(self) -> HostIsolatedError:
        """The error of a call refused by the isolation; it names the isolated host or part."""
        if self.whole is not None and self.whole.isolated:
            return self.whole.refusal()
        return (self.isolation or FOR_GOOD).refusal(self._origin, self._clock)

    def isolate_locked(self, isolation: Isolation) -> tuple[Event, ...]:
        """Isolate it, in place of an earlier isolation; returns the changes."""
        before, now = self.isolation, self._clock.monotonic()
        began = now if before is None or before.over(self._clock) else self.isolated_at
        self.isolation, self.suspect, self.isolated_at = isolation, True, began
        if not isolation.tells(before, self._clock):
            return ()
        until = isolation.moment(self._clock)
        return (HostIsolated(self._origin, reason=isolation.reason, until=until, by=isolation.by),)

    def lapse_locked(self) -> None:
        """End an isolation that has expired."""
        if self.isolation is not None and self.isolation.over(self._clock):
            self.restore_locked("time")

    def restore_locked(self, by: Literal["fleet", "hand", "time"]) -> None:
        """End an isolation, if there is one."""
        isolation = self.isolation
        if isolation is None:
            return
        until = isolation.moment(self._clock)
        restored = HostRestored(self._origin, by=by, reason=isolation.reason, until=until)
        now = self._clock.monotonic()
        self.isolation, self.suspect, self.level_since = None, self.broken_since is not None, now
        self._pending = (*self._pending, restored)


def failed_probes(transitions: tuple[Event, ...]) -> int:
    """How many of these transitions are a failed probe, except in dry runs."""
    opened = [event for event in transitions if isinstance(event, BreakerOpened)]
    return sum(event.rule == "probe" and not event.observed for event in opened)
