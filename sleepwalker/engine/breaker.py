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
import math
from collections.abc import Callable
from itertools import islice
from typing import Literal, Protocol

import pybreaker

from sleepwalker.clock import Clock
from sleepwalker.engine.limits import Ticket
from sleepwalker.engine.outcome import FAILURE, NEUTRAL, SUCCESS, Verdict
from sleepwalker.engine.slow import SlowCalls
from sleepwalker.engine.slow_start import SlowStart
from sleepwalker.engine.trip import CLOSED, Trip
from sleepwalker.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event
from sleepwalker.frozen import frozen
from sleepwalker.latch import Latch
from sleepwalker.policy import BreakerPolicy

OPEN: Literal["open"] = "open"
HALF_OPEN: Literal["half-open"] = "half-open"
State = Literal["closed", "open", "half-open"]

#: What the state machine is told; the real error stays with the caller that met it.
_FAILED = Exception("an attempt failed")
#: So much of its open time a circuit rests at least after a probe that itself took longer.
_LEAST_REST = 0.1
#: Who waits for a circuit that is not open looks up this often, in seconds, should nobody wake it.
_LOOK_AGAIN = 1.0
_NEVER = -math.inf
#: The cause of a circuit that no failure opened.
_SLOW_CALLS = "slow calls"


@frozen
class Permit:
    """Leave to send one attempt.

    One with `expires` stands for a place, of a probe or in a slow start: it is lost to the others until it is given
    back or expires.
    """

    generation: int
    expires: float | None = None
    """When its place counts as lost."""
    issued: float = 0.0
    probe: bool = False
    """Whether it was given in half-open state."""


#: The standing permit of all circuits that have never opened: most never do, and there are many.
_FIRST = Permit(0)


class Bearer(Protocol):
    """Who asks for a permit: it is put down here before it counts as given, so that it can be given back."""

    permit: Permit


@frozen
class Refusal:
    """No leave to send; `retry_after` is in seconds, `cause` the failure that opened the circuit."""

    state: State
    """The circuit's. A closed one refuses during its slow start."""
    retry_after: float
    cause: str | None
    observed: bool = False
    """True in a dry run: the attempt is sent all the same, and what comes of it moves nothing."""
    max_wait: float = 0.0
    """Seconds that a call waits rather than be refused."""


def _patience_ends(ticket: Ticket) -> float:
    return ticket.until


class Breaker(pybreaker.CircuitBreakerListener):
    """One host's circuit."""

    def __init__(self, host: str, policy: BreakerPolicy, clock: Clock) -> None:
        self._host = host
        self._policy = policy
        self._clock = clock
        self._trip = Trip(policy)
        self._slow: SlowCalls | None = None
        if policy.slow_ratio is not None and policy.slow_call is not None:
            self._slow = SlowCalls(
                policy.slow_ratio, policy.slow_call, min_calls=policy.min_calls, window=policy.window
            )
        self._machine = self._new_machine()
        self._generation = 0
        self._places: dict[int, Permit] = {}
        """The permits with a place that are not back, by identity: equal ones are not the same."""
        self._queue: tuple[Ticket, ...] = ()
        """Who waits for the circuit, longest first. Mostly empty."""
        self._start: SlowStart | None = None
        """How a circuit that closed gets its load again; None once it has it."""
        self._open_time = 0.0
        """How long it was open last, without jitter."""
        self._closed_at = _NEVER
        """When it closed last by what it was answered."""
        self._answered = True
        """Whether the host answered an attempt since it opened. A probe of a path of its own is none."""
        self._answered_half_open = False
        """Whether it has answered an attempt in the present half-open state."""
        self._probe_doubted = False
        """Whether that probe closed the circuit for calls that failed."""
        self.observes = policy.mode == "observe"
        """Whether this is a dry run: the circuit does all the same, but nobody heeds its refusals."""
        self._now = 0.0
        self._open_until = 0.0
        self._last_failure: str | None = None
        self._cause: str | None = None
        self._rest_since = 0.0
        """When the probe that failed was let through."""
        self.news: tuple[Event, ...] = ()
        """The transitions that `take_news_locked` has not given out yet."""
        self.down_since = 0.0
        """When the circuit opened last from closed, in seconds of the monotonic clock."""
        self.watches = self._slow is not None
        """Whether attempts are timed: the state may then change by time alone, and `catch_up_locked` comes first."""
        self.standing: Permit | None = None if self.watches else _FIRST
        """The permit for everyone while the circuit is closed and nothing is held back: read without a lock.

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
        state = self._trip.state
        if state == OPEN:
            return OPEN if now < self._open_until else HALF_OPEN
        return CLOSED if state == CLOSED else HALF_OPEN

    @property
    def down(self) -> bool:
        """Whether the circuit opened and has not closed again, and that has consequences."""
        return self._trip.state != CLOSED and not self.observes

    @property
    def suspects(self) -> bool:
        """Whether the circuit is about to open, so that a retry would be in vain. Read without a lock."""
        return self._trip.suspect and self._trip.state == CLOSED and not self.observes

    def opens_in(self, now: float) -> float:
        """Seconds until the next probe is admitted; 0 where the circuit is not open, or in a dry run."""
        return max(0.0, self._open_until - now) if self._trip.state == OPEN and not self.observes else 0.0

    @property
    def max_wait(self) -> float:
        """Seconds that a call waits for a circuit that does not let it through; 0 in a dry run."""
        return 0.0 if self.observes else self._policy.max_wait

    @property
    def waiting(self) -> int:
        """How many calls wait for it."""
        return len(self._queue)

    def share(self, now: float) -> float:
        """Of the attempts that come now, the share that is let in: 0 unless the circuit is closed."""
        if self.observes:
            return 1.0
        if self._trip.state != CLOSED:
            return 0.0
        return 1.0 if self._start is None or now >= self._start.until else self._start.share

    def admit_locked(
        self, bearer: Bearer, now: float, lifetime: float, ticket: Ticket | None = None
    ) -> Permit | Refusal:
        """A permit, or why not. A permit with a place that is not back after `lifetime` seconds counts as lost.

        `ticket` is the call's turn, if it has waited: those who come go behind those who wait.
        """
        if self._slow is not None:
            self.catch_up_locked(now)
        self._now = now
        state = self._trip.state
        if state == OPEN and now < self._open_until:
            return self._refusal(OPEN, self._open_until - now)
        admission = (
            self._admit_closed(now, lifetime, ticket) if state == CLOSED else self._admit_probe(now, lifetime, ticket)
        )
        if isinstance(admission, Permit):
            bearer.permit = admission
            if admission.expires is not None:
                self._places[id(admission)] = admission
            if self._slow is not None:
                self._slow.begin(admission, now)
        return admission

    def wait_locked(self, ticket: Ticket, now: float, seconds: float) -> float | None:
        """Queue for the circuit, or go on queueing: the seconds after which to ask again, unless woken before.

        None where it stays open for longer than `seconds`.
        """
        opens_in = self._open_until - now if self._trip.state == OPEN else 0.0
        if opens_in > seconds:
            return None
        ticket.wake, ticket.until = Latch(), now + seconds
        if ticket not in self._queue:
            self._queue += (ticket,)
        room = self._room()
        if opens_in <= 0 and (room is None or ticket in self._next(now, room)):
            return 0.0  # a place came free after the call was refused, and before it was known here
        if opens_in > 0 and ticket in self._next(now + opens_in, self._policy.half_open_probes):
            return opens_in
        return min(opens_in + _LOOK_AGAIN, seconds)

    def stop_waiting_locked(self, ticket: Ticket, now: float) -> None:
        """A call waits no more, whether it was let through or not."""
        self._drop(ticket)
        self.wake_locked(now)  # also where a Ctrl-C came before this the last time

    def _drop(self, ticket: Ticket) -> None:
        self._queue = tuple([other for other in self._queue if other is not ticket])

    def wake_locked(self, now: float) -> None:
        """Wake those who wait and would be let through now, or as soon as the circuit may be tried again.

        And those whose patience ends before that: they wait in vain.
        """
        if self._queue:
            room = self._room()
            when = max(now, self._open_until) if self._trip.state == OPEN else now
            for ticket in self._queue if room is None else self._next(when, room):
                ticket.wake.set()
            if self._trip.state == OPEN:
                for ticket in self._queue:
                    if ticket.until < self._open_until:
                        ticket.wake.set()

    def wake_all_locked(self) -> None:
        """Have all who wait look again, as where the host is taken out of use."""
        for ticket in self._queue:
            ticket.wake.set()

    def _next(self, now: float, room: int) -> list[Ticket]:
        """Those who are let through next: who has waited longest, of those whose time still allows a whole attempt.

        Of the others, where it is their turn, who can wait for longest. Who has waited longest has the least: its
        attempt would be cut short, and a host that is well would look as if it did not answer.
        """
        most = min(room, len(self._queue))
        ample = list(islice((ticket for ticket in self._queue if ticket.ample_until >= now), most))
        if len(ample) < most:
            short = (ticket for ticket in self._queue if ticket.ample_until < now)
            ample += sorted(short, key=_patience_ends, reverse=True)[: most - len(ample)]
        return ample

    def _room(self) -> int | None:
        """How many more attempts may begin, of an open circuit when its time is over. None for any number."""
        if self._trip.state == CLOSED:
            return None if self._start is None else max(0, self._start.at_once - len(self._places))
        return max(0, self._policy.half_open_probes - len(self._places))

    def _take_place(self, now: float, most: int, ticket: Ticket | None) -> bool:
        """Whether there is a place for this attempt, and it is nobody else's turn."""
        if len(self._places) >= most:
            self._places = {
                key: permit for key, permit in self._places.items() if permit.expires is None or permit.expires > now
            }
        room = max(0, most - len(self._places))
        if ticket is None:
            return len(self._queue) < room
        if ticket not in self._next(now, room):
            self.wake_locked(now)  # whose turn it is may have changed since who comes here was woken
            return False
        self._drop(ticket)
        return True

    def catch_up_locked(self, now: float) -> None:
        """Draw the consequences of attempts under way that became slow until `now`, each as of that moment."""
        if self._slow is None:
            return
        while (moment := self._slow.next_slow(now)) is not None:
            if self._trip.state == HALF_OPEN or self._slow.too_many(moment):
                self._open_for_slowness(moment)

    def _admit_probe(self, now: float, lifetime: float, ticket: Ticket | None) -> Permit | Refusal:
        if self._trip.state == OPEN:
            self._transit(self._machine.half_open)
        if not self._take_place(now, self._policy.half_open_probes, ticket):
            first = min((permit.expires or now for permit in self._places.values()), default=now)
            return self._refusal(HALF_OPEN, max(0.0, first - now))
        return Permit(self._generation, now + lifetime, now, probe=True)

    def report_locked(
        self, permit: Permit, verdict: Verdict, now: float, cause: str | None, *, first: bool = True
    ) -> None:
        """Give a permit back with what came of it; `cause` names a failure. `first` is an attempt that is no retry."""
        if self._slow is not None:
            self.catch_up_locked(now)
        if permit.generation != self._generation:
            return
        self._now = now
        if self._slow is not None:
            self._slow.end(permit, now, counts=verdict is not NEUTRAL)
        if permit.expires is not None:
            self._places.pop(id(permit), None)
        if verdict is SUCCESS:
            self._answered, self._probe_doubted = True, False
            self._trip.success(now)
            if self._trip.state != CLOSED:
                self._answered_half_open = True
                self._transit(self._machine.state.on_success)
            elif self._start is not None and self._start.succeeded():
                self._end_slow_start()
        elif verdict is FAILURE:
            self._failed(permit, now, cause, first=first)
        # A fast attempt lowers the share, but may be the one that makes them enough to judge by.
        if self._slow is not None and self._trip.state == CLOSED and self._slow.too_many(now):
            self._open_for_slowness(now)
        if self._queue:
            self.wake_locked(now)

    def _failed(self, permit: Permit, now: float, cause: str | None, *, first: bool) -> None:
        self._last_failure = cause
        self._trip.failure(now, first=first)
        if self._trip.state != CLOSED:
            self._rest_since = permit.issued
            self._transit(lambda: self._machine.state.on_failure(_FAILED))
        elif not self._answered:
            # A path of its own had answered, and the first call is not: no call has seen the host well.
            self._probe_doubted = True
            self._transit(self._machine.open)
        else:
            if self._start is not None:
                self._start.failed(permit.issued, now)
            self._transit(lambda: self._machine.state.on_failure(_FAILED))

    def probed_locked(self, now: float) -> None:
        """A probe outside any call succeeded: an open circuit becomes half-open at once, and the success counts.

        Not so where it has been wrong: then the open time, which grew, is kept.
        """
        self.catch_up_locked(now)
        self._now = now
        if self._trip.state == OPEN:
            if self._probe_doubted and now < self._open_until:
                return
            self._transit(self._machine.half_open)
        if self._trip.state == HALF_OPEN:
            self._trip.success(now)
            self._transit(self._machine.state.on_success)
        self.wake_locked(now)

    def reset_locked(self) -> None:
        """Close the circuit by hand: all are admitted at once, and what was sent before moves nothing any more."""
        self._transit(self._reset)
        self.wake_all_locked()

    def _reset(self) -> None:
        was_closed = self._trip.state == CLOSED
        self._trip.reset_counter()
        self._trip.state = CLOSED
        self._machine = self._new_machine()
        self._generation += 1
        if self._slow is not None:
            self._slow.forget()
        self._places = {}
        self._open_time = self._trip.cold_until = 0.0
        self._answered, self._probe_doubted = True, False
        self._end_slow_start()
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
        self._trip.follow(policy)
        self._machine = self._new_machine()
        if self._start is not None:
            self._start.until = min(self._start.until, now + policy.ramp)
        self._trip.cold_until = min(self._trip.cold_until, now + policy.ramp)
        self._open_until = min(self._open_until, now + 1.1 * policy.open_max)
        self.wake_all_locked()

    def take_news_locked(self) -> tuple[Event, ...]:
        """The transitions since the last call, to be announced once the lock is released."""
        news, self.news = self.news, ()
        return news

    def renew_after_fork(self) -> None:
        """Forget what only the parent's threads hold: places, turns, and perhaps the machine's own lock."""
        self._machine = self._new_machine()
        self._places = {}
        self._queue = ()
        if self._slow is not None:
            self._slow.forget_under_way()

    def _new_machine(self) -> pybreaker.CircuitBreaker:
        """A state machine that stands where the tally says."""
        return pybreaker.CircuitBreaker(
            fail_max=1,
            success_threshold=self._policy.close_after,
            listeners=[self],
            state_storage=self._trip,
            name=self._host,
        )

    def _transit(self, step: Callable[[], object]) -> None:
        """Have the state machine take a step as a whole, or not at all where a signal handler raises meanwhile."""
        before, counted = self.__dict__.copy(), self._trip.__dict__.copy()
        try:
            with contextlib.suppress(pybreaker.CircuitBreakerError):
                step()
        except BaseException:
            self.__dict__.update(before)
            self._trip.__dict__.update(counted)
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
        self._places = {}
        if self._slow is not None:
            self._slow.forget()
        self.standing = None
        self._start = None
        if new_state.name == OPEN:
            self._opened(now, was_closed=old_state is not None and old_state.name == CLOSED)
        elif new_state.name == CLOSED:
            ramp = self._policy.ramp
            self._trip.cold_until = now + ramp
            self._closed_at = now
            if ramp > 0:
                self._start = SlowStart(2 * self._policy.half_open_probes, now + ramp)
            else:
                self._end_slow_start()
            self.news += (BreakerClosed(self._host, ramp=ramp, observed=observed),)
        else:
            self._answered_half_open = False
            self.news += (BreakerHalfOpened(self._host, observed=observed),)

    def _open_for_slowness(self, moment: float) -> None:
        self._now = moment
        self._last_failure = _SLOW_CALLS
        self._rest_since = moment
        self._transit(self._machine.open)

    def _opened(self, now: float, *, was_closed: bool) -> None:
        self._open_time = open_time = self._next_open_time(now, was_closed=was_closed)
        open_for = open_time * (0.9 + 0.2 * self._clock.random())
        if not was_closed:
            # A probe that the host did not answer for long was a rest for it as well.
            open_for = max(open_for - max(0.0, now - self._rest_since), open_for * _LEAST_REST)
        self._open_until = now + open_for
        self._cause = self._last_failure
        rule, observed = self._rule(was_closed=was_closed), self.observes or None
        if was_closed:
            self.down_since = now
            self._answered = False
        news = BreakerOpened(self._host, rule=rule, open_for=open_for, cause=self._cause, observed=observed)
        self.news += (news,)

    def _next_open_time(self, now: float, *, was_closed: bool) -> float:
        """How long it is to stay open, without jitter."""
        policy, last = self._policy, self._open_time
        if not was_closed:
            # A host that answered some of the probes is not down, but perhaps cold: it is looked at soon again.
            grows, least = not self._answered_half_open, policy.open_for
        else:
            # One that calls had been answered by, and that is down again, has used up by then what the time had grown:
            # else a host that is down for 1 s in 4 would be kept from its callers for nearly all of the time.
            closed_for = now - self._closed_at
            grows = not self._answered and closed_for < policy.ramp + last
            least = max(policy.open_for, last - closed_for)
        return min(last * policy.open_growth if grows and last else least, policy.open_max)

    def _rule(self, *, was_closed: bool) -> Literal["consecutive", "failure_ratio", "probe", "slow_ratio"]:
        if not was_closed or not self._answered:
            return "probe"
        if self._last_failure == _SLOW_CALLS:
            return "slow_ratio"
        return self._trip.broken_rule() or "consecutive"

    def _admit_closed(self, now: float, lifetime: float, ticket: Ticket | None) -> Permit | Refusal:
        start = self._start
        if start is not None:
            if now >= start.until:
                self._end_slow_start()
                self.wake_locked(now)
            elif self._take_place(now, start.at_once, ticket):
                start.let_in()
                return Permit(self._generation, now + lifetime, now)
            else:
                start.held_back()
                return self._refusal(CLOSED, start.until - now)
        if ticket is not None:
            self._drop(ticket)
        return Permit(self._generation) if self.standing is None else self.standing

    def _end_slow_start(self) -> None:
        """Let in whoever comes from now on."""
        self._start = None
        self.standing = None if self.watches else Permit(self._generation)

    def _refusal(self, state: State, retry_after: float) -> Refusal:
        max_wait = 0.0 if self.observes else self._policy.max_wait
        return Refusal(state, retry_after, self._cause, self.observes, max_wait)
