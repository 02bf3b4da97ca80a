"""Brings the fleet's knowledge of a host into its record, and this worker's knowledge to the fleet.

For the thread that talks to the fleet. Each function takes the record's lock once, for microseconds, and returns the
events to announce.
"""

from __future__ import annotations

from dataclasses import dataclass

from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.host.host import Host
from sleepwalker.engine.host.permits import CLOSED, OPEN
from sleepwalker.engine.host.sources import Word
from sleepwalker.events import Event


@dataclass(frozen=True, slots=True)
class Standing:
    """What this worker itself knows of a host. Moments are on the host's clock, in seconds."""

    broken: bool
    """Whether it finds the host broken by what it met: its circuit opened, or it could not connect. A dry run does not
    count."""
    told: bool
    """Whether the report of the other workers is in force here."""
    healthy: bool
    """Neither broken nor told to be so, and its circuit is closed."""
    failing: bool
    """Whether the latest attempt failed."""
    run: int
    """How many attempts have failed in a row."""
    lasted: float
    """For how many seconds its attempts have failed: since the first of those in a row, or since the host broke here;
    0 if none failed."""
    cause: str | None
    """The last failure: a status, the name of an exception type, or `slow calls`. Never the text of an error."""
    failed_looks: int
    """Grows with each look at the broken host that failed: a half-open probe or, if no circuit holds attempts back, an
    attempt that began after the host broke."""
    answered_at: float | None
    """When an attempt was answered last. Background probes and the attempts of other workers do not count."""
    demand: int
    """Grows with each call that the circuit refused."""
    waiting: bool
    """Whether calls wait for the circuit now."""


def standing(record: Host, now: float) -> Standing:
    """What this worker itself knows of the host."""
    with record.lock.mutex:
        verdict, history, breaker = record.verdict, record.history, record.breaker
        circuit = None if breaker is None else breaker.circuit
        verdict.catch_up_locked(circuit, now)
        tripped = circuit is not None and circuit.tripped
        opened = tripped and circuit is not None and not circuit.told
        broken = verdict.connects.broken or opened
        failing = history.consecutive > 0
        cause = history.last_cause if broken or failing else None
        if opened and circuit is not None:
            cause = circuit.cause
        return Standing(
            broken=broken,
            told=verdict.word is not None,
            healthy=not (verdict.connects.broken or tripped or verdict.word is not None),
            failing=failing,
            run=history.consecutive,
            lasted=max(0.0, now - _failing_since_locked(record, circuit, now)),
            cause=cause,
            failed_looks=verdict.failed_looks,
            answered_at=history.answered_at,
            demand=record.counters.labelled.get(("rejected", "breaker"), 0),
            waiting=breaker is not None and bool(breaker.queue.waiters),
        )


def _failing_since_locked(record: Host, circuit: Circuit | None, now: float) -> float:
    """Since when attempts have failed here, on the host's clock; `now` if none do."""
    verdict, history = record.verdict, record.history
    moments = [now]
    if history.consecutive:
        moments.append(history.failing_since)
    if circuit is not None and circuit.tripped and circuit.rule != "fleet":
        moments.append(circuit.tripped_at)
    # Only if the host broke here before other workers reported it.
    word, since = verdict.word, verdict.broken_since
    if verdict.connects.broken and since is not None and (word is None or since < word.since):
        moments.append(since)
    return min(moments)


def told_broken(record: Host, cause: str | None, until: float, now: float) -> tuple[Event, ...]:
    """The others say that the host is broken: a closed circuit opens until then.

    An open or half-open circuit stays as it is. Without a circuit, or in a dry run, the host is broken until then and
    recovering after that.
    """
    until = max(until, now)
    with record.lock.mutex:
        verdict, breaker = record.verdict, record.breaker
        verdict.catch_up_locked(record.circuit, now)
        if verdict.word is None:
            verdict.word = Word(now, until, cause)
        if breaker is not None and not breaker.circuit.observes and breaker.circuit.trip.state == CLOSED:
            breaker.circuit.tell(cause, until, now)
            breaker.wake_locked(now)
        events = verdict.update_locked(record.circuit, now)
    record.lock.notify()
    return events


def hold(record: Host, until: float, now: float) -> tuple[Event, ...]:
    """Other workers probe the host without success: it stays out of use at least until then.

    A half-open circuit is not changed, because a probe of this worker is running. Waiting calls keep waiting.
    """
    with record.lock.mutex:
        verdict, circuit = record.verdict, record.circuit
        verdict.catch_up_locked(circuit, now)
        if verdict.word is not None:
            verdict.word = verdict.word.held(until)
        if circuit is not None and not circuit.observes and circuit.trip.state == OPEN:
            circuit.open = circuit.open.held(until)
        return verdict.update_locked(circuit, now)


def let_look(record: Host, now: float) -> tuple[Event, ...]:
    """This worker may probe: the next call, or a waiting one, is admitted at once.

    Until a call uses this permission, `hold` can end it again.
    """
    with record.lock.mutex:
        _let_look_locked(record, now)
        events = record.verdict.update_locked(record.circuit, now)
    record.lock.notify()
    return events


def _let_look_locked(record: Host, now: float) -> None:
    verdict, breaker = record.verdict, record.breaker
    verdict.catch_up_locked(record.circuit, now)
    if verdict.word is not None:
        verdict.word = verdict.word.cut(now)
    if breaker is not None and not breaker.circuit.observes and breaker.circuit.trip.state == OPEN:
        breaker.circuit.open = breaker.circuit.open.cut(now)
        breaker.wake_locked(now)


def came_back(record: Host, now: float) -> tuple[Event, ...]:
    """The host answered another worker's probes: its circuit closes here too.

    Not if that was wrong before, so that the first call failed: then it stays open for its time.
    """
    with record.lock.mutex:
        verdict, breaker = record.verdict, record.breaker
        verdict.catch_up_locked(record.circuit, now)
        verdict.word = None
        verdict.connects.answered()
        if breaker is not None:
            breaker.vouched_locked(now)
        events = verdict.update_locked(record.circuit, now, by="fleet")
        if verdict.broken_since is None:
            record.history.vouched_at = now  # lookups that back off until the host is healthy may go on
    record.lock.notify()
    return events


def withdrawn(record: Host, now: float) -> tuple[Event, ...]:
    """The others withdraw their report, but the host has not answered: a circuit opened only by it may be tried."""
    with record.lock.mutex:
        verdict, circuit = record.verdict, record.circuit
        if circuit is not None and circuit.told:
            _let_look_locked(record, now)
        verdict.word = None
        events = verdict.update_locked(circuit, now, by="fleet")
    record.lock.notify()
    return events
