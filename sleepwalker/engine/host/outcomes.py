"""Records an attempt's outcome for the circuit, the history and the verdict, and returns its permit."""

from __future__ import annotations

from sleepwalker.engine.host.admission import Admission
from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.host.counters import Counters
from sleepwalker.engine.host.history import History
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.engine.host.permits import FREE_PERMIT, Permit
from sleepwalker.engine.host.verdict import Verdict
from sleepwalker.engine.outcome import FAILURE, NEUTRAL, SUCCESS, Outcome
from sleepwalker.events import Event

_CANCELLED = Outcome(NEUTRAL)


class Outcomes:
    """Methods are thread-safe, except those that end in `_locked`. They return the events to announce."""

    __slots__ = ("_admission", "_counters", "_history", "_lock", "_verdict", "whole")

    def __init__(
        self,
        lock: HostLock,
        admission: Admission,
        counters: Counters,
        history: History,
        verdict: Verdict,
    ) -> None:
        self._lock = lock
        self._admission = admission
        self._counters = counters
        self._history = history
        self._verdict = verdict
        self.whole: Outcomes | None = None
        """The outcomes of the whole host, if these are a part's."""

    def settle(
        self, permit: Permit, outcome: Outcome, now: float, duration: float, *, first: bool
    ) -> tuple[Event, ...]:
        """Record an attempt's outcome and return its permit. `first` is an attempt that is not a retry."""
        admission = self._admission
        with self._lock.mutex:
            self._counters.attempt(duration)
            if first and admission.budget is not None:
                admission.budget.deposit(now)
            self._history.latencies.add(now, duration)
            if admission.bulkhead.adaptive is not None:
                admission.bulkhead.learn(outcome, now - duration, now)
            events = self._record_locked(permit, outcome, now, now - duration, first=first)
        if self._lock.woken:
            self._lock.notify()
        return events if self.whole is None else events + self.whole.settle_connect(outcome, now, now - duration)

    def settle_body(self, permit: Permit, outcome: Outcome, now: float) -> tuple[Event, ...]:
        """Record how a streamed body ended, after its head had settled the attempt.

        Only a failure changes anything: the attempt then counts only as a failure.
        """
        if outcome.verdict is not FAILURE:
            return ()
        with self._lock.mutex:
            events = self._record_locked(permit, outcome, now, now)
        if self._lock.woken:
            self._lock.notify()
        return events

    def settle_connect(self, outcome: Outcome, now: float, began: float) -> tuple[Event, ...]:
        """Record whether a part's attempt connected to the host; nothing else of it concerns the host."""
        connects = self._verdict.connects
        if outcome.verdict is NEUTRAL or not (connects.count or outcome.never_sent):
            return ()
        with self._lock.mutex:
            connects.attempted(outcome, began, now, self._verdict.broken_since)
            if outcome.never_sent:
                self._history.note_error(outcome, now)
                self._note_look_locked(began)
            return self._update_locked(now)

    def cancel(self, permit: Permit, now: float, cancelled_after: float | None = None) -> tuple[Event, ...]:
        """Return a permit after an attempt without an outcome, such as one ended by Ctrl-C.

        `cancelled_after` is how long it had taken, in seconds, when another attempt of its call was answered first.
        """
        with self._lock.mutex:
            if cancelled_after is not None:
                self._history.cancelled(cancelled_after, now)
            self._counters.attempts += 1
            events = self._record_locked(permit, _CANCELLED, now, now)
        if self._lock.woken:
            self._lock.notify()
        return events

    def release(self, permit: Permit, now: float) -> tuple[Event, ...]:
        """Return a permit that may be back already, after an exception from outside ended a call."""
        if permit is FREE_PERMIT:
            return ()
        with self._lock.mutex:
            if (breaker := self._admission.breaker) is not None:
                breaker.report_locked(permit, NEUTRAL, now, None)
            events = self._update_locked(now)
        if self._lock.woken:
            self._lock.notify()
        return events

    def probed(self, outcome: Outcome, now: float) -> tuple[Event, ...]:
        """Record a background probe, which changes no counter.

        A success counts as a success in half-open state, and as the host's latest success if the host is healthy after
        it.
        """
        with self._lock.mutex:
            self._verdict.probe = outcome.succeeded
            if outcome.succeeded:
                self._verdict.answered_locked(self._circuit)
                if (breaker := self._admission.breaker) is not None:
                    breaker.probed_locked(now)
            events = self._update_locked(now)
            if outcome.succeeded and self._verdict.broken_since is None:
                self._history.probed_at = now  # lookups that back off until the host is healthy may go on
        self._lock.notify()
        return events

    def _record_locked(
        self, permit: Permit, outcome: Outcome, now: float, began: float, *, first: bool = True
    ) -> tuple[Event, ...]:
        history, verdict = self._history, self._verdict
        if outcome.verdict is SUCCESS:
            history.succeeded(now, outcome.head)
            if verdict.connects.count:
                verdict.connects.attempted(outcome, began, now, verdict.broken_since)
            if verdict.word is not None:
                verdict.contradicted_locked(self._circuit, began)
            if verdict.low:
                verdict.note_level_locked(now)
        elif outcome.verdict is FAILURE:
            history.failed(outcome, now)
            verdict.note_level_locked(now)
            self._counters.failures += 1
            if verdict.broken_since is not None:
                self._note_look_locked(began)
            if self.whole is None:
                verdict.connects.attempted(outcome, began, now, verdict.broken_since)
        breaker = self._admission.breaker
        if breaker is None:
            return verdict.update_locked(None, now)
        if permit is not FREE_PERMIT:
            breaker.report_locked(permit, outcome.verdict, now, history.last_cause, first=first, head=outcome.head)
        return verdict.update_locked(breaker.circuit, now)

    def _note_look_locked(self, began: float) -> None:
        """An attempt failed. If the host is broken and no circuit holds attempts back, count it as a failed look."""
        since, circuit = self._verdict.broken_since, self._circuit
        if since is not None and began >= since and (circuit is None or not circuit.tripped):
            self._verdict.failed_looks += 1

    @property
    def _circuit(self) -> Circuit | None:
        breaker = self._admission.breaker
        return None if breaker is None else breaker.circuit

    def _update_locked(self, now: float) -> tuple[Event, ...]:
        return self._verdict.update_locked(self._circuit, now)
