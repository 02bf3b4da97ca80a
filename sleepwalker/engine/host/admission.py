"""Decides whether a call may go to its host, and whether an attempt may be sent: isolation, limits, queues, circuit."""

from __future__ import annotations

from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.host.activity import Activity
from sleepwalker.engine.host.breaker import Breaker
from sleepwalker.engine.host.budget import Budget
from sleepwalker.engine.host.bulkhead import Bulkhead
from sleepwalker.engine.host.cooldown_admission import CooldownAdmission
from sleepwalker.engine.host.counters import Counters, End
from sleepwalker.engine.host.holdings import Holdings, Waiter
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.engine.host.permits import FREE_PERMIT, HALF_OPEN, Permit, PermitHolder, Refusal
from sleepwalker.engine.host.rate_limit import RateDecision, RateLimit
from sleepwalker.engine.host.refusals import Refusals
from sleepwalker.engine.host.verdict import Verdict
from sleepwalker.events import Event
from sleepwalker.policy import Policy

_GO = RateDecision("go", 0.0)
#: What refused a call.
Refuser = Literal["breaker", "bulkhead", "cooldown", "isolation", "rate_limit"]


class Admission(CooldownAdmission):
    """Methods are thread-safe, except those that end in `_locked`: these need the host's lock held."""

    __slots__ = (
        "_clock",
        "_counters",
        "_rolls_at",
        "_verdict",
        "activity",
        "breaker",
        "budget",
        "bulkhead",
        "rate_limit",
        "refusals",
    )

    def __init__(
        self, origin: str, policy: Policy, clock: Clock, lock: HostLock, counters: Counters, verdict: Verdict
    ) -> None:
        super().__init__(origin, lock)
        self._clock = clock
        self._counters = counters
        self._verdict = verdict
        self.bulkhead: Bulkhead = Bulkhead(policy.bulkhead, lock)
        self.breaker = Breaker(origin, policy.breaker, clock, lock) if policy.breaker else None
        self.budget = Budget(policy.retry.budget) if policy.retry and policy.retry.budget else None
        self.rate_limit = RateLimit(policy.rate_limit) if policy.rate_limit else None
        self.activity: Activity | None = None
        """How many calls ended when; None before the first."""
        self._rolls_at = 0.0
        """When the running interval of `activity` ends, on the host's clock."""
        self.refusals: Refusals | None = None
        """The refused calls that are not announced yet; None until one is refused."""

    @property
    def queued(self) -> int:
        """How many calls wait for a place, a token, the end of a cooldown, or the circuit."""
        breaker, rate_limit, cooldowns = self.breaker, self.rate_limit, self.cooldowns
        return (
            len(self.bulkhead.queue)
            + (0 if breaker is None else len(breaker.queue.waiters))
            + (0 if rate_limit is None else rate_limit.waiting)
            + (0 if cooldowns is None else cooldowns.waiting)
        )

    # A call

    def enter(
        self, call: Holdings, *, bulkhead: bool, refused: bool = False
    ) -> Literal["in", "over_limit", "bulkhead", "isolation"] | Waiter:
        """Begin a call, reject it, or queue it (then `claim` its place). Every call must `leave`.

        A call that is `over_limit` of a dry run is in. `bulkhead` says whether the limit applies to the call; `refused`
        says whether another dry run would already have rejected it.
        """
        if self._lock.woken:
            self._lock.notify()
        verdict = self._verdict
        with self._lock.mutex:
            self._counters.calls += 1
            call.counted = True
            if verdict.isolation is not None or verdict.whole is not None:
                verdict.lapse_locked()
                if verdict.isolated:
                    self._counters.reject("isolation")
                    return "isolation"
            entry = self.bulkhead.enter(call, limited=bulkhead, refused=refused)
            if entry == "full":
                self._counters.reject("bulkhead")
                return "bulkhead"
            return entry

    def claim(self, call: Holdings) -> bool:
        """End a wait in the queue. True for a call that got its place and has entered; others lose their turn."""
        with self._lock.mutex:
            return self.bulkhead.claim(call)

    def leave(self, call: Holdings, how: End, seconds: float, now: float, *, sent: bool) -> None:
        """End a call, `seconds` after it began, and take back what it holds. Permits are settled one by one.

        Its place goes to the longest waiter. If nothing was `sent`, its token goes back too, because a token stands for
        a request to the host. If an exception of a signal handler strikes here, the call comes a second time.
        """
        with self._lock.mutex:
            self.bulkhead.leave(call)
            if call.cooldown_place is not None and self.cooldowns is not None:
                self.cooldowns.stop_waiting(call)
            if (bucket := call.bucket) is not None:
                bucket.stop_waiting(call)
                if call.token and not sent:
                    bucket.give_back(call)
            if call.circuit_waiter is not None:
                self._stop_waiting_locked(call, self._clock.monotonic())
            if now >= self._rolls_at:
                self._begin_interval_locked(now)
            self._counters.end(call, how, seconds)
        if self._lock.woken:
            self._lock.notify()

    def _begin_interval_locked(self, now: float) -> None:
        if self.activity is None:
            self.activity = Activity()
        self._rolls_at, quiet = self.activity.roll(now, *ended_calls(self._counters))
        self._verdict.called_locked(now, quiet)

    def count_rejection(self, by: Refuser) -> None:
        """Count a call that was refused after a wait."""
        with self._lock.mutex:
            self._counters.reject(by)

    def refused(self) -> Refusals:
        """The refused calls that are announced later; created if missing."""
        with self._lock.mutex:
            if self.refusals is None:
                self.refusals = Refusals(self._clock, self._lock)
            return self.refusals

    # The rate limit

    def take_token(self, call: Holdings, now: float, left: float, credentials: str = "") -> RateDecision:
        """Take a token of the rate limit, wait for one, or be rejected. `left` is the call's remaining time in seconds.

        A call that waits comes back with `take_due_token`, and in any case must `leave`. `credentials` is their mark,
        if each has its own rate.
        """
        with self._lock.mutex:
            if (rate_limit := self.rate_limit) is None:
                return _GO
            bucket = call.bucket = rate_limit.of(credentials, now)
            if (wait := bucket.take(call, now)) == 0:
                return _GO
            patience = min(bucket.max_wait, left)
            if bucket.observes:
                if wait > patience:
                    return RateDecision("over_limit", wait)
                bucket.reserve(call)
                return _GO
            if wait > patience:
                self._counters.reject("rate_limit")
                return RateDecision("rejected", wait)
            bucket.wait(call)
            return RateDecision("wait", wait)

    def take_due_token(self, call: Holdings, now: float) -> float:
        """Take the token that a call waited for. Returns 0, or the seconds that it still has to wait."""
        with self._lock.mutex:
            if (bucket := call.bucket) is not None and self.rate_limit is not None:
                if (wait := bucket.take(call, now)) > 0:
                    if not bucket.observes:
                        return wait
                    bucket.reserve(call)
                bucket.stop_waiting(call)
            return 0.0

    # The circuit

    def admit(self, holder: PermitHolder, now: float, lifetime: float) -> tuple[Permit | Refusal, tuple[Event, ...]]:
        """The breaker's decision about one attempt, and the events to announce."""
        breaker = self.breaker
        if breaker is None:
            return FREE_PERMIT, ()
        if (closed := breaker.circuit.closed_permit) is not None:
            return closed, ()
        with self._lock.mutex:
            admission = breaker.admit_locked(holder, now, lifetime)
            if isinstance(admission, Refusal) and not admission.observed and admission.max_wait == 0:
                self._counters.reject("breaker")
            events = self._verdict.update_locked(breaker.circuit, now)
        if self._lock.woken:
            self._lock.notify()
        return admission, events

    def admit_waiting(
        self, call: Holdings, holder: PermitHolder, now: float, lifetime: float
    ) -> tuple[Permit | Refusal, tuple[Event, ...]]:
        """The same for a call that has waited; if it is admitted, its wait ends."""
        with self._lock.mutex:
            breaker = self.breaker
            if breaker is None:
                self._stop_waiting_locked(call, now)
                return FREE_PERMIT, ()
            admission = breaker.admit_locked(holder, now, lifetime, call.circuit_waiter)
            if not isinstance(admission, Refusal) or admission.observed:
                self._stop_waiting_locked(call, now)
            events = self._verdict.update_locked(breaker.circuit, now)
        if self._lock.woken:
            self._lock.notify()
        return admission, events

    def wait_for_circuit(self, call: Holdings, now: float, seconds: float, ample_for: float) -> float | None:
        """Queue a refused call for its circuit. Returns the seconds after which it asks again, unless woken before.

        None if the circuit stays open longer than the `seconds` that the call may wait. `ample_for` is for how many
        seconds from now the call has time for a whole attempt.
        """
        with self._lock.mutex:
            if call.circuit_waiter is None:
                call.circuit_waiter = Waiter(call, seconds, now + ample_for)
            # If the breaker was switched off meanwhile, the call asks at once, and is admitted.
            return 0.0 if self.breaker is None else self.breaker.wait_locked(call.circuit_waiter, now, seconds)

    def stop_waiting(self, call: Holdings, now: float) -> None:
        """End a call's wait for its circuit."""
        with self._lock.mutex:
            self._stop_waiting_locked(call, now)
        if self._lock.woken:
            self._lock.notify()

    def _stop_waiting_locked(self, call: Holdings, now: float) -> None:
        if call.circuit_waiter is not None:
            if self.breaker is not None:
                self.breaker.stop_waiting_locked(call.circuit_waiter, now)
            call.circuit_waiter = None

    # Retries and hedge attempts

    def spend_retry(self, now: float, *, budget: bool) -> bool:
        """Count one retry and take it from the budget, unless that is off. False if the budget is empty."""
        with self._lock.mutex:
            if budget and self.budget is not None and not self.budget.spend(now):
                return False
            self._counters.retries += 1
            return True

    def retry_answered(self, spent: float, now: float) -> None:
        """A retry taken from the budget at `spent` got a response: it returns its share."""
        with self._lock.mutex:
            if self.budget is not None:
                self.budget.give_back(spent, now)

    def admit_hedge(
        self, holder: PermitHolder, now: float, lifetime: float, *, breaker: bool, budget: bool
    ) -> tuple[Permit | Refusal | None, tuple[Event, ...]]:
        """A permit for a hedge, taken from the retry budget, or None; and the events to announce.

        A hedge is not a probe: it needs a closed circuit. In a dry run a Refusal is returned, and it is sent anyway.
        """
        with self._lock.mutex:
            if self._verdict.isolated or (budget and self.budget is not None and self.budget.left(now) < 1.0):
                return None, ()
            circuit = None if self.breaker is None else self.breaker.circuit
            admission: Permit | Refusal = FREE_PERMIT
            if breaker and self.breaker is not None and circuit is not None:
                if circuit.state(now) == HALF_OPEN:
                    admission = Refusal(HALF_OPEN, 0.0, circuit.cause, circuit.observes)
                else:
                    admission = self.breaker.admit_locked(holder, now, lifetime)
            refused = isinstance(admission, Refusal) and not admission.observed
            if not refused:
                if budget and self.budget is not None:
                    self.budget.spend(now)
                self._counters.hedges += 1
            events = self._verdict.update_locked(circuit, now)
        if self._lock.woken:
            self._lock.notify()
        return None if refused else admission, events

    # From outside

    def turn_away(self) -> None:
        """End all waits for a place and for the circuit: each call asks again, and is refused."""
        with self._lock.mutex:
            self.bulkhead.turn_all_away()
            if self.breaker is not None:
                self.breaker.queue.wake_all()
        self._lock.notify()

    def reconfigure_locked(self, policy: Policy, now: float) -> None:
        """Switch to `policy`. Waiting calls enter if the new limits allow it."""
        if policy.breaker is None:
            if self.breaker is not None:
                self.breaker.queue.wake_all()
            self.breaker = None
        elif self.breaker is None:
            self.breaker = Breaker(self._origin, policy.breaker, self._clock, self._lock)
        else:
            self.breaker.reconfigure_locked(policy.breaker, now)
        budget = policy.retry.budget if policy.retry else None
        if budget is None:
            self.budget = None
        elif self.budget is None:
            self.budget = Budget(budget)
        else:
            self.budget.reconfigure(budget)
        if policy.rate_limit is None:
            self.rate_limit = None
        elif self.rate_limit is None:
            self.rate_limit = RateLimit(policy.rate_limit)
        else:
            self.rate_limit.reconfigure(policy.rate_limit, now)
        self.bulkhead.reconfigure(policy.bulkhead)

    def renew_after_fork(self) -> None:
        """Forget the calls of threads that exist only in the parent."""
        self.bulkhead.renew_after_fork()
        for part in (self.breaker, self.rate_limit, self.cooldowns, self.refusals):
            if part is not None:
                part.renew_after_fork()


def ended_calls(counters: Counters) -> tuple[int, int]:
    """How many calls ended, and how many of them failed or were rejected."""
    errors = counters.failed + counters.rejected
    return counters.answered + counters.cancelled + errors, errors
