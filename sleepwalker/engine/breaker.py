"""The circuit breaker: who is admitted, and when the circuit opens, half-opens and closes.

pybreaker keeps the state machine: which state follows which, told through its listener, its counts
kept in a storage. Its own `call()` is not used, for it holds one lock during the whole call. Here a
call takes a permit, works without any lock, and reports its outcome. A permit carries the generation
of the state it was given in, and an outcome of an older generation moves nothing: neither can a late
success close an open circuit, nor do eight failures of one blip count as eight.

Not thread-safe by itself: methods that end in `_locked` need the owner's lock held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Literal, Protocol

import pybreaker

from sleepwalker.clock import Clock
from sleepwalker.engine.outcome import FAILURE, NEUTRAL, SUCCESS, Verdict
from sleepwalker.engine.slow import SlowCalls
from sleepwalker.engine.window import Window
from sleepwalker.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event
from sleepwalker.frozen import frozen
from sleepwalker.policy import BreakerPolicy

CLOSED: Literal["closed"] = "closed"
OPEN: Literal["open"] = "open"
HALF_OPEN: Literal["half-open"] = "half-open"
State = Literal["closed", "open", "half-open"]

_GOOD, _BAD = 0, 1
#: What the state machine is told; the real error stays with the caller that met it.
_FAILED = Exception("an attempt failed")
#: The share of calls admitted right after closing.
_RAMP_START = 0.1
#: The cause of a circuit that no failure opened.
_SLOW_CALLS = "slow calls"


@frozen
class Permit:
    """Leave to send one attempt. A probe's permit is lost to the half-open state until it is given back or expires."""

    generation: int
    expires: float | None = None
    """For a probe: when it counts as lost."""


class Bearer(Protocol):
    """Who asks for a permit: it is put down here before it counts as given, so that it can be given back."""

    permit: Permit


@frozen
class Refusal:
    """No leave to send; `retry_after` is in seconds, `cause` the failure that opened the circuit."""

    state: State
    """The circuit's. A closed one refuses during its ramp."""
    retry_after: float
    cause: str | None
    observed: bool = False
    """True in a dry run: the attempt is sent all the same, and what comes of it moves nothing."""


class _Tally(pybreaker.CircuitBreakerStorage):
    """The counts behind the rules. pybreaker opens the circuit as soon as `counter` says 1."""

    #: A plain attribute in place of pybreaker's property: each call reads it, some of them several times.
    state: str = CLOSED

    def __init__(self, policy: BreakerPolicy) -> None:
        super().__init__("sleepwalker")
        self._policy = policy
        self._window = Window(policy.window, channels=2)
        self.state = CLOSED
        self._now = 0.0
        self._successes = 0
        self.consecutive = 0

    def follow(self, policy: BreakerPolicy) -> None:
        if policy.window != self._policy.window:
            self._window = Window(policy.window, channels=2)
        self._policy = policy

    def success(self, now: float) -> None:
        self._window.add(now, _GOOD)
        self.consecutive = 0

    def failure(self, now: float) -> None:
        self._window.add(now, _BAD)
        self.consecutive += 1
        self._now = now

    def broken_rule(self) -> Literal["consecutive", "failure_ratio"] | None:
        if self.consecutive >= self._policy.consecutive:
            return "consecutive"
        good, bad = self._window.totals(self._now)
        if good + bad >= self._policy.min_calls and bad >= self._policy.failure_ratio * (good + bad):
            return "failure_ratio"
        return None

    @property
    def counter(self) -> int:
        return 0 if self.broken_rule() is None else 1

    def reset_counter(self) -> None:
        self._window.clear()
        self.consecutive = 0

    @property
    def success_counter(self) -> int:
        return self._successes

    def increment_success_counter(self) -> None:
        self._successes += 1

    def reset_success_counter(self) -> None:
        self._successes = 0

    @property
    def opened_at(self) -> datetime | None:
        """Not kept: the wall clock can be set back, so `Breaker` holds monotonic times."""
        return None

    @opened_at.setter
    def opened_at(self, when: datetime) -> None:
        pass


class Breaker(pybreaker.CircuitBreakerListener):
    """One host's circuit."""

    def __init__(self, host: str, policy: BreakerPolicy, clock: Clock) -> None:
        self._host = host
        self._policy = policy
        self._clock = clock
        self._tally = _Tally(policy)
        self._slow: SlowCalls | None = None
        if policy.slow_ratio is not None and policy.slow_call is not None:
            self._slow = SlowCalls(
                policy.slow_ratio, policy.slow_call, min_calls=policy.min_calls, window=policy.window
            )
        self._machine = self._new_machine()
        self._generation = 0
        self._probes: list[Permit] = []
        self._reopened = 0
        self.observes = policy.mode == "observe"
        """Whether this is a dry run: the circuit does all the same, but nobody heeds its refusals."""
        self._now = 0.0
        self._open_until = 0.0
        self._ramp_until = 0.0
        self._last_failure: str | None = None
        self._cause: str | None = None
        self.news: tuple[Event, ...] = ()
        """The transitions that `take_news_locked` has not given out yet."""
        self.down_since = 0.0
        """When the circuit opened last from closed, in seconds of the monotonic clock."""
        self.watches = self._slow is not None
        """Whether attempts are timed: the state may then change by time alone, and `catch_up_locked` comes first."""
        self.standing: Permit | None = None if self.watches else Permit(0)
        """The permit for everyone while the circuit is closed and its ramp is over: read without a lock.

        None where attempts are timed: each has a permit of its own then.
        """

    @property
    def cause(self) -> str | None:
        """The failure that opened the circuit last."""
        return self._cause

    def state(self, now: float) -> State:
        """The state as of `now`: an open time that is over counts as half-open although nobody has come by yet.

        Where attempts are timed, it is as of the last `catch_up_locked`.
        """
        state = self._tally.state
        if state == OPEN:
            return OPEN if now < self._open_until else HALF_OPEN
        return CLOSED if state == CLOSED else HALF_OPEN

    @property
    def down(self) -> bool:
        """Whether the circuit opened and has not closed again, and that has consequences."""
        return self._tally.state != CLOSED and not self.observes

    def opens_in(self, now: float) -> float:
        """Seconds until the next probe is admitted; 0 where the circuit is not open, or in a dry run."""
        return max(0.0, self._open_until - now) if self._tally.state == OPEN and not self.observes else 0.0

    def admit_locked(self, bearer: Bearer, now: float, lifetime: float) -> Permit | Refusal:
        """A permit, or why not. A probe's permit that is not back after `lifetime` seconds counts as lost."""
        if self._slow is not None:
            self.catch_up_locked(now)
        self._now = now
        state = self._tally.state
        if state == OPEN and now < self._open_until:
            return self._refusal(OPEN, self._open_until - now)
        admission = self._admit_closed(now) if state == CLOSED else self._admit_probe(now, lifetime)
        if isinstance(admission, Permit):
            bearer.permit = admission
            if admission.expires is not None:
                self._probes.append(admission)
            if self._slow is not None:
                self._slow.begin(admission, now)
        return admission

    def catch_up_locked(self, now: float) -> None:
        """Draw the consequences of attempts under way that became slow until `now`, each as of that moment."""
        if self._slow is None:
            return
        while (moment := self._slow.next_slow(now)) is not None:
            if self._tally.state == HALF_OPEN or self._slow.too_many(moment):
                self._open_for_slowness(moment)

    def _admit_probe(self, now: float, lifetime: float) -> Permit | Refusal:
        if self._tally.state == OPEN:
            self._transit(self._machine.half_open)
        self._probes = [probe for probe in self._probes if probe.expires is None or probe.expires > now]
        if len(self._probes) >= self._policy.half_open_probes:
            first = min(probe.expires or now for probe in self._probes)
            return self._refusal(HALF_OPEN, max(0.0, first - now))
        return Permit(self._generation, now + lifetime)

    def report_locked(self, permit: Permit, verdict: Verdict, now: float, cause: str | None) -> None:
        """Give a permit back with what came of it; `cause` names a failure."""
        if self._slow is not None:
            self.catch_up_locked(now)
        if permit.generation != self._generation:
            return
        self._now = now
        if self._slow is not None:
            self._slow.end(permit, now, counts=verdict is not NEUTRAL)
        if permit.expires is not None:
            self._probes = [probe for probe in self._probes if probe is not permit]
        if verdict is SUCCESS:
            self._tally.success(now)
            if self._tally.state != CLOSED:
                self._transit(self._machine.state.on_success)
        elif verdict is FAILURE:
            self._last_failure = cause
            self._tally.failure(now)
            self._transit(lambda: self._machine.state.on_failure(_FAILED))
        # A fast attempt lowers the share, but may be the one that makes them enough to judge by.
        if self._slow is not None and self._tally.state == CLOSED and self._slow.too_many(now):
            self._open_for_slowness(now)

    def probed_locked(self, now: float) -> None:
        """A probe outside any call succeeded: an open circuit becomes half-open at once, and the success counts."""
        self.catch_up_locked(now)
        self._now = now
        if self._tally.state == OPEN:
            self._transit(self._machine.half_open)
        if self._tally.state == HALF_OPEN:
            self._tally.success(now)
            self._transit(self._machine.state.on_success)

    def reset_locked(self) -> None:
        """Close the circuit by hand: all are admitted at once, and what was sent before moves nothing any more."""
        self._transit(self._reset)

    def _reset(self) -> None:
        was_closed = self._tally.state == CLOSED
        self._tally.reset_counter()
        self._tally.state = CLOSED
        self._machine = self._new_machine()
        self._generation += 1
        if self._slow is not None:
            self._slow.forget()
        self._ramp_until = 0.0  # so that the next failures are no relapse either
        self.standing = None if self.watches else Permit(self._generation)
        if not was_closed:
            self.news += (BreakerClosed(self._host, ramp=0.0, observed=self.observes or None, by_hand=True),)

    def follow_locked(self, policy: BreakerPolicy, now: float) -> None:
        """Go on in the same state by the numbers of `policy`. Over a window of another length counts begin anew."""
        if policy == self._policy:
            return
        self.catch_up_locked(now)
        slow = policy.slow_ratio, policy.slow_call, policy.min_calls, policy.window
        old = self._policy
        if slow != (old.slow_ratio, old.slow_call, old.min_calls, old.window):
            self._slow = None
            if policy.slow_ratio is not None and policy.slow_call is not None:
                self._slow = SlowCalls(
                    policy.slow_ratio, policy.slow_call, min_calls=policy.min_calls, window=policy.window
                )
        self._policy = policy
        self.watches = self._slow is not None
        self.observes = policy.mode == "observe"
        if self.watches:
            self.standing = None
        self._tally.follow(policy)
        self._machine = self._new_machine()
        self._ramp_until = min(self._ramp_until, now + policy.ramp)
        self._open_until = min(self._open_until, now + 1.1 * policy.open_max)

    def take_news_locked(self) -> tuple[Event, ...]:
        """The transitions since the last call, to be announced once the lock is released."""
        news, self.news = self.news, ()
        return news

    def renew_after_fork(self) -> None:
        """Forget what only the parent's threads hold: the probes under way, and perhaps the machine's own lock."""
        self._machine = self._new_machine()
        self._probes = []
        if self._slow is not None:
            self._slow.forget_under_way()

    def _new_machine(self) -> pybreaker.CircuitBreaker:
        """A state machine that stands where the tally says."""
        return pybreaker.CircuitBreaker(
            fail_max=1,
            success_threshold=self._policy.close_after,
            listeners=[self],
            state_storage=self._tally,
            name=self._host,
        )

    def _transit(self, step: Callable[[], object]) -> None:
        """Have the state machine take a step as a whole, or not at all where a signal handler raises meanwhile."""
        before, counted = self.__dict__.copy(), self._tally.__dict__.copy()
        try:
            with contextlib.suppress(pybreaker.CircuitBreakerError):
                step()
        except BaseException:
            self.__dict__.update(before)
            self._tally.__dict__.update(counted)
            self._machine = self._new_machine()
            raise

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """pybreaker's notice of a transition: a new generation begins."""
        now, observed = self._now, self.observes or None
        self._generation += 1
        self._probes = []
        if self._slow is not None:
            self._slow.forget()
        self.standing = None
        if new_state.name == OPEN:
            self._opened(now, was_closed=old_state is not None and old_state.name == CLOSED)
        elif new_state.name == CLOSED:
            self._ramp_until = now + self._policy.ramp
            if self._policy.ramp == 0 and not self.watches:
                self.standing = Permit(self._generation)
            self.news += (BreakerClosed(self._host, ramp=self._policy.ramp, observed=observed),)
        else:
            self.news += (BreakerHalfOpened(self._host, observed=observed),)

    def _open_for_slowness(self, moment: float) -> None:
        self._now = moment
        self._last_failure = _SLOW_CALLS
        self._transit(self._machine.open)

    def _opened(self, now: float, *, was_closed: bool) -> None:
        # A circuit that trips again before it carried its full load again has not recovered: wait longer.
        relapse = not was_closed or now < self._ramp_until
        self._reopened = self._reopened + 1 if relapse else 0
        open_for = self._policy.open_for
        for _ in range(self._reopened):
            if open_for >= self._policy.open_max:
                break
            open_for *= 2
        open_for = min(open_for, self._policy.open_max) * (0.9 + 0.2 * self._clock.random())
        self._open_until = now + open_for
        self._cause = self._last_failure
        if was_closed:
            self.down_since = now
        rule, observed = self._rule(was_closed=was_closed), self.observes or None
        news = BreakerOpened(self._host, rule=rule, open_for=open_for, cause=self._cause, observed=observed)
        self.news += (news,)

    def _rule(self, *, was_closed: bool) -> Literal["consecutive", "failure_ratio", "probe", "slow_ratio"]:
        if not was_closed:
            return "probe"
        if self._last_failure == _SLOW_CALLS:
            return "slow_ratio"
        return self._tally.broken_rule() or "consecutive"

    def _admit_closed(self, now: float) -> Permit | Refusal:
        left = self._ramp_until - now
        permit = Permit(self._generation)
        if left <= 0 or self._policy.ramp == 0:  # some may be left to one who read his clock before it closed
            if not self.watches:
                self.standing = permit
            return permit
        share = 1 - (1 - _RAMP_START) * left / self._policy.ramp
        return permit if self._clock.random() < share else self._refusal(CLOSED, left)

    def _refusal(self, state: State, retry_after: float) -> Refusal:
        return Refusal(state, retry_after, self._cause, self.observes)
