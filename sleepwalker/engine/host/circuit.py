"""The state of one host's circuit (closed, open, half-open), and what changes it.

A transition begins a new generation: permits of an earlier one no longer change anything. So a late success cannot
close an open circuit, and late failures of one fault do not count again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.host.open_time import OpenTime
from sleepwalker.engine.host.permits import CLOSED, HALF_OPEN, OPEN, Permit, Places, Rule, State
from sleepwalker.engine.host.slow_calls import SlowCalls
from sleepwalker.engine.host.slow_start import SlowStart
from sleepwalker.engine.host.sources import Finding, SourceName
from sleepwalker.engine.host.trip import Machine, Step, Trip, count_failure, count_success, force_open, half_open
from sleepwalker.engine.outcome import FAILURE, NEUTRAL, SUCCESS, Head, Verdict
from sleepwalker.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event
from sleepwalker.policy import BreakerPolicy

#: The cause of a circuit that no failure opened.
_SLOW_CALLS = "slow calls"
#: The closed-state permit of all circuits that have never opened: most never do, and there are many.
_FIRST = Permit(0)
#: Their open time.
_NEVER_OPEN = OpenTime()


class Circuit:
    """Not thread-safe: its owner holds a lock.

    It has no `__slots__`, so that a step of the state machine which a signal handler interrupts can be undone as a
    whole.
    """

    generation: int

    def __init__(self, host: str, policy: BreakerPolicy, clock: Clock) -> None:
        self._host = host
        self.policy: BreakerPolicy = policy
        self._clock = clock
        self.trip: Trip = Trip(policy)
        """The state that was recorded last, and the counts that decide about the next one."""
        self._now = 0.0
        self._last_failure: str | None = None
        self.generation = 0
        self.slow = SlowCalls.of(policy)
        self.start: SlowStart | None = None
        """The slow start of a circuit that closed; None once it admits all calls."""
        self.places: Places = Places()
        self.open: OpenTime = _NEVER_OPEN
        self.cause: str | None = None
        """The failure that opened it last."""
        self.observes: bool = policy.mode == "observe"
        """Whether this is a dry run: the circuit changes as usual, but its refusals are ignored."""
        self.tripped: bool = False
        """Whether it has opened and not closed again. False in a dry run."""
        self.transitions: tuple[Event, ...] = ()
        """The transitions that `take_transitions` has not returned yet."""
        self.tripped_at: float = 0.0
        """When it last opened from closed, on the host's clock."""
        self.rule: Rule | None = None
        """The rule by which it last opened from closed."""
        self.told: bool = False
        """Whether it is open, or half-open, only because other workers say so."""
        self.by: Literal["fleet"] | None = None
        """Set while other workers cause its transitions."""
        self.closed_permit: Permit | None = None if self.slow is not None else _FIRST
        """The permit for all while the circuit is closed and holds nothing back. Read without a lock.

        None if attempts are timed: each has a permit of its own then.
        """

    # What it is

    def state(self, now: float) -> State:
        """The state at `now`: after the open time it is half-open, even before the first call.

        If attempts are timed, it is as of the last `catch_up`.
        """
        state = self.trip.state
        return HALF_OPEN if state == OPEN and now >= self.open.until else state

    @property
    def about_to_open(self) -> bool:
        """Whether it is about to open, so that a retry would be refused. Read without a lock."""
        return self.trip.suspect and self.trip.state == CLOSED and not self.observes

    def finding(self, now: float) -> Finding | None:
        """Its finding about the host, as a source of the verdict."""
        if not self.tripped:
            return None
        source: SourceName = "fleet" if self.rule == "fleet" else "breaker"
        return Finding(source, broken=self.state(now) == OPEN, since=self.tripped_at, cause=self.cause)

    def opened(self, now: float) -> tuple[float | None, Rule | None]:
        """When it opened from closed, on the host's clock, and by which rule; None for both while it is closed."""
        return (None, None) if self.state(now) == CLOSED else (self.tripped_at, self.rule)

    def opens_in(self, now: float) -> float:
        """Seconds until the next probe is admitted; 0 if it is not open, or in a dry run."""
        return max(0.0, self.open.until - now) if self.trip.state == OPEN and not self.observes else 0.0

    @property
    def max_wait(self) -> float:
        """Seconds that a call waits for a circuit that does not admit it; 0 in a dry run."""
        return 0.0 if self.observes else self.policy.max_wait

    def share(self, now: float) -> float:
        """The share of attempts that it admits now; 0 unless it is closed."""
        if self.observes:
            return 1.0
        if self.trip.state != CLOSED:
            return 0.0
        return 1.0 if self.start is None or now >= self.start.until else self.start.share

    # What makes it change

    def half_open(self, now: float) -> None:
        """The open time is over, and a call is ready to try."""
        self._now = now
        self._transit(half_open)

    def report(
        self,
        permit: Permit,
        verdict: Verdict,
        now: float,
        cause: str | None,
        *,
        first: bool,
        head: Head | None = None,
    ) -> None:
        """The outcome of an attempt of this generation. `cause` names a failure; `first`: it is not a retry."""
        self._now = now
        if self.slow is not None:
            self.slow.end(permit, now, counts=verdict is not NEUTRAL)
        if permit.expires is not None:
            self.places.give_back(permit)
        if verdict is SUCCESS:
            self.trip.success(now, head)
            if self.trip.state != CLOSED or self.start is not None or not self.open.answered:
                self._recovers()
        elif verdict is FAILURE:
            if head is not None:
                self.trip.take_back(head, now)
            self._failed(permit, now, cause, first=first)
        # A fast attempt lowers the share of slow ones, but there may only now be enough attempts to judge by.
        if self.slow is not None and self.trip.state == CLOSED and self.slow.too_many(now):
            self._open_for_slowness(now)

    def _recovers(self) -> None:
        """An attempt was answered by a host that may not be healthy again yet."""
        tries = self.trip.state != CLOSED
        if tries or not self.open.answered:
            self.open = self.open.attempt_answered(half_open=tries)
        if tries:
            self._transit(count_success)
        elif self.start is not None and self.start.succeeded():
            self.end_slow_start()

    def _failed(self, permit: Permit, now: float, cause: str | None, *, first: bool) -> None:
        self._last_failure = cause
        self.trip.failure(now, first=first)
        if self.trip.state != CLOSED:
            self.open = self.open.probe_failed(permit.issued)
            self._transit(count_failure)
        elif not self.open.answered:
            self.open = self.open.doubted()
            self._transit(force_open)
        else:
            if self.start is not None:
                self.start.failed(permit.issued, now)
            self._transit(count_failure)

    def closed_by(self, permit: Permit) -> bool:
        """Whether a probe with this permit helped to close it, and its slow start still lasts."""
        return permit.probe and permit.generation == self.generation - 1 and self.start is not None

    def reopen(self, permit: Permit, now: float, cause: str | None) -> None:
        """The head of a probe's response helped to close it, and then the body broke: it opens again."""
        self._now = now
        self._last_failure = cause
        self.open = self.open.unanswered(permit.issued)
        self._transit(force_open)

    def catch_up(self, now: float) -> None:
        """Count running attempts that became slow before `now`, each at its own moment."""
        if self.slow is None:
            return
        while (moment := self.slow.next_slow(now)) is not None:
            if self.trip.state == HALF_OPEN or self.slow.too_many(moment):
                self._open_for_slowness(moment)

    def _open_for_slowness(self, moment: float) -> None:
        self._now = moment
        self._last_failure = _SLOW_CALLS
        self.open = self.open.probe_failed(moment)
        self._transit(force_open)

    def probed(self, now: float) -> bool:
        """A background probe succeeded: an open circuit becomes half-open at once. Returns whether the success counted.

        It does not if such a probe was wrong before: the open time, which grew then, is kept.
        """
        self._now = now
        if self.trip.state == OPEN:
            if self.open.probe_doubted and now < self.open.until:
                return False
            self._transit(half_open)
        if self.trip.state == HALF_OPEN:
            self.trip.success(now)
            self._transit(count_success)
        return True

    @contextmanager
    def moved(self, by: Literal["fleet"] | None) -> Iterator[None]:
        """Mark its transitions with their origin while this context lasts."""
        self.by = by
        try:
            yield
        finally:
            self.by = None

    def tell(self, cause: str | None, until: float, now: float) -> None:
        """Other workers say that the host is broken: the closed circuit opens until then."""
        self._now, self._last_failure = now, cause
        with self.moved("fleet"):
            self._transit(lambda machine: self._open_as_told(machine, until))

    def _open_as_told(self, machine: Machine, until: float) -> None:
        self.open = self.open.told(self.policy, self._now, until)
        force_open(machine)

    def reset(self) -> None:
        """Close it by hand: all calls are admitted at once, and earlier attempts no longer count."""
        self._transit(self._reset)

    def _reset(self, _: object) -> None:
        was_closed = self.trip.state == CLOSED
        self.trip.reset_counter()
        self.trip.state = CLOSED
        self.trip.cold_until = 0.0
        self.tripped = self.told = False
        self.open = self.open.forgotten()
        self._begin_generation()
        self.end_slow_start()
        if not was_closed:
            observed = self.observes or None
            closed = BreakerClosed(self._host, ramp=0.0, observed=observed, by_hand=True, by=self.by)
            self.transitions += (closed,)

    def end_slow_start(self) -> None:
        """Admit all calls from now on."""
        self.start = None
        self.closed_permit = None if self.slow is not None else Permit(self.generation)

    def reconfigure(self, policy: BreakerPolicy, now: float) -> None:
        """Continue in the same state with the numbers of `policy`. Another window length starts the counts again."""
        self.catch_up(now)
        if not SlowCalls.alike(policy, self.policy):
            self.slow = SlowCalls.of(policy)
        self.policy = policy
        self.observes = policy.mode == "observe"
        self.tripped = self.trip.state != CLOSED and not self.observes
        if self.slow is not None:
            self.closed_permit = None
        self.trip.reconfigure(policy)
        if self.start is not None:
            self.start.until = min(self.start.until, now + policy.ramp)
        self.trip.cold_until = min(self.trip.cold_until, now + policy.ramp)
        self.open = self.open.cut(now + 1.1 * policy.open_max)

    # Transitions

    def _transit(self, step: Step) -> None:
        """Let the state machine take a step as a whole, or not at all if a signal handler raises meanwhile."""
        from sleepwalker.engine.host import machine  # noqa: PLC0415 - loaded before, where anything can be sent

        before, counted = self.__dict__.copy(), self.trip.__dict__.copy()
        try:
            machine.take(self.trip, self.policy.close_after, step, self._changed)
        except BaseException:
            self.__dict__.update(before)
            self.trip.__dict__.update(counted)
            raise

    def _changed(self, before: State, after: State) -> None:
        """The state machine changed its state: a new generation begins."""
        observed = self.observes or None
        self._begin_generation()
        self.closed_permit = self.start = None
        self.tripped = after != CLOSED and not self.observes
        self.told = self.by is not None if after == OPEN else self.told and after == HALF_OPEN
        if after == OPEN:
            self._opened(was_closed=before == CLOSED)
        elif after == CLOSED:
            self._closed()
            self.transitions += (BreakerClosed(self._host, ramp=self.policy.ramp, observed=observed, by=self.by),)
        else:
            self.open = self.open.half_opened()
            self.transitions += (BreakerHalfOpened(self._host, observed=observed),)

    def _begin_generation(self) -> None:
        self.generation += 1
        self.places = Places()
        if self.slow is not None:
            self.slow.forget()

    def _opened(self, *, was_closed: bool) -> None:
        rule: Rule = self._rule(was_closed=was_closed)
        self.cause = self._last_failure
        if not self.told:
            self.open = self.open.opened(self.policy, self._now, self._clock.random(), was_closed=was_closed)
        if was_closed:
            self.tripped_at, self.rule = self._now, rule
        seconds, observed = self.open.seconds, self.observes or None
        opened = BreakerOpened(self._host, rule=rule, open_for=seconds, cause=self.cause, observed=observed, by=self.by)
        self.transitions += (opened,)

    def _rule(self, *, was_closed: bool) -> Rule:
        if self.told:
            return "fleet"
        if not was_closed or not self.open.answered:
            return "probe"
        if self._last_failure == _SLOW_CALLS:
            return "slow_ratio"
        return self.trip.broken_rule() or "consecutive"

    def _closed(self) -> None:
        self.trip.cold_until = self._now + self.policy.ramp
        self.open = self.open.closed(self._now)
        if self.policy.ramp > 0:
            self.start = SlowStart(2 * self.policy.half_open_probes, self._now + self.policy.ramp)
        else:
            self.end_slow_start()

    def take_transitions(self) -> tuple[Event, ...]:
        """The transitions since the last call, to be announced once the lock is released."""
        transitions, self.transitions = self.transitions, ()
        return transitions
