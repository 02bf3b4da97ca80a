"""All state that is shared per host or part of one: breaker, budget, rate limit, bulkhead, counts; and snapshots."""

from __future__ import annotations

import math
import threading
import weakref
from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.breaker import HALF_OPEN, OPEN, Bearer, Breaker, Permit, Refusal, State
from sleepwalker.engine.buckets import Buckets
from sleepwalker.engine.bulkhead import Bulkhead
from sleepwalker.engine.cooldown import Cooldown, Cooldowns
from sleepwalker.engine.health import Gauges, HealthState, HostHealth, Latency
from sleepwalker.engine.isolation import FOR_GOOD, Isolation
from sleepwalker.engine.limits import Budget, Holdings, Ticket, Turn
from sleepwalker.engine.outcome import FAILURE, NEUTRAL, SUCCESS, Outcome
from sleepwalker.engine.parts import Parts
from sleepwalker.engine.tally import End, Tally
from sleepwalker.engine.trip import CLOSED
from sleepwalker.engine.window import Latencies, Window
from sleepwalker.events import CooldownBegan, Event, HostBroken, HostIsolated, HostRecovered, HostRestored
from sleepwalker.exceptions import HostIsolatedError
from sleepwalker.fork import renewed_after_fork
from sleepwalker.policy import SERVER_FAILURES, Policy

_GOOD, _BAD = 0, 1
_GO = Turn("go", 0.0)
#: Until a percentile is asked for.
_NOTHING: dict[float, tuple[float | None, float]] = {}
#: A run of connect failures that is less likely than this, by the share of failures before it, is no chance; and it is
#: judged as if at most this share had failed.
_CHANCE, _MOST = math.log(1e-5), 0.5
#: So many attempts must be known before a percentile of them says when to hedge, or their share of failures what chance
#: explains.
_ENOUGH = 20
#: No sooner than after so many seconds does a percentile hedge: below it, sending is most of what takes time.
_SOONEST = 0.001
#: For so many seconds a percentile holds once it is worked out, which takes tens of microseconds.
_FRESH = 0.25


class Host:
    """One host's record. Methods are thread-safe and hold the lock for microseconds; none calls anyone else's code.

    A thread that holds the lock may be interrupted by a signal handler which closes a connection, or asks for its
    health: so the lock may be taken once more by the same thread.

    A part of a host, as a scope of a connection sees it, has a record of its own; `whole` is that of the host. All is
    the part's own but this: while its host is isolated, so is the part; and whether the host can be connected to is
    known to the host, by the attempts of all its parts and its own.
    """

    # More than thirty attributes, which would cost a dict of their own per host.
    __slots__ = (
        "__weakref__",
        "_above",
        "_broken_since",
        "_budget",
        "_bulkhead",
        "_clock",
        "_consecutive",
        "_cut",
        "_last_cause",
        "_last_error",
        "_last_success",
        "_latencies",
        "_lock",
        "_parts",
        "_policy",
        "_probed_well",
        "_reset_at",
        "_unreached",
        "_unreached_by_chance",
        "_untold",
        "_verdicts",
        "_whole",
        "asked_at",
        "breaker",
        "brought",
        "buckets",
        "cooldowns",
        "failures",
        "held",
        "isolation",
        "judged_by",
        "origin",
        "own_policy",
        "tally",
        "told_ignored",
        "trouble",
        "whose",
    )

    def __init__(self, origin: str, policy: Policy, clock: Clock, whole: Host | None = None) -> None:
        self.origin = origin
        # Weak, for the host has its parts: so both are gone with the last connection to it.
        self._whole = None if whole is None else weakref.ref(whole)
        self._parts: Parts[Host] | None = None
        self.own_policy: Policy | None = None
        """The policy that was given for this part; one without goes by that of its host."""
        self.asked_at = -math.inf
        """When a part was last asked for, in seconds of the monotonic clock."""
        self.told_ignored = False
        """Whether it was told that a policy which somebody gave for it is not followed."""
        self.breaker = Breaker(origin, policy.breaker, clock) if policy.breaker else None
        self._clock = clock
        self._policy = policy
        self.judged_by = policy.health
        """How its health is judged, and when connections to it are given up. Read without the lock."""
        self.failures = _failures(policy)
        """The statuses that are failures of the host. Read without the lock, once for each call."""
        self._budget = Budget(policy.retry.budget) if policy.retry and policy.retry.budget else None
        self.buckets = Buckets(policy.rate_limit) if policy.rate_limit else None
        self.cooldowns: Cooldowns | None = None
        """None for as long as the host asked nobody to stay away. Read without the lock, once for each attempt."""
        self._bulkhead = Bulkhead(policy.bulkhead)
        self._verdicts = Window(policy.health.window, channels=2)
        self._latencies = Latencies(policy.health.window)
        self._cut: Latencies | None = None
        self._above = _NOTHING
        self._lock = threading.RLock()
        self.tally = Tally()
        """What its calls came to, for metrics. Of those that only count, each number may be read without the lock."""
        self._consecutive = 0
        self._unreached = 0
        self._unreached_by_chance = 0
        """So many connect failures in a row come by chance, as where one of three machines refuses them."""
        self._reset_at = -math.inf
        """Attempts that began before this do not count in `_unreached`."""
        self._last_error: str | None = None
        self._last_cause: str | None = None
        self._last_success: float | None = None
        self._broken_since: float | None = None
        self._probed_well: bool | None = False
        self._untold: tuple[Event, ...] = ()
        self.held = 0
        """How many connections to the host a manager holds."""
        self.whose: Literal["policies", "connection", "manager"] | None = None
        """Whose policy it follows in a manager; None until a connection to it has been there."""
        self.brought: Policy | None = None
        """The policy of its own that the first of those had, if any."""
        self.isolation: Isolation | None = None
        """How an operator took the host out of use. Its time may be over: `isolated` tells."""
        self.trouble = False
        """False where the host is certainly fine: read without a lock by whoever wants to know fast."""
        _hosts.add(self)

    @property
    def policy(self) -> Policy:
        """What it follows."""
        return self._policy

    @property
    def isolated(self) -> bool:
        """Whether an operator took the host out of use, as of now."""
        return self._isolation_in_force() is not None

    def _isolation_in_force(self) -> Isolation | None:
        """How it is isolated, as of now: by itself, or with the whole host."""
        isolation = self.isolation
        if isolation is not None and not isolation.over(self._clock):
            return isolation
        return None if self._whole is None or (whole := self._whole()) is None else whole._isolation_in_force()

    def isolated_error(self) -> HostIsolatedError:
        """What a call is told that is refused because of that; it names what is isolated, the host or the part."""
        if self._whole is not None and (whole := self._whole()) is not None and whole.isolated:
            return whole.isolated_error()
        return (self.isolation or FOR_GOOD).refusal(self.origin, self._clock)

    def part(self, name: str, policy: Policy | None = None) -> tuple[Host, bool, tuple[Event, ...]]:
        """The record of a part of the host, made if it is new; whether it heeds `policy`, if given; what is to be told.

        The first policy that is given for a part holds for as long as its record lives: asked for another way by
        somebody else, it does not change under those who are at work with it.
        """
        now = self._clock.monotonic()
        with self._lock:
            parts = self._parts
            if parts is None:
                parts = self._parts = Parts()
            part = parts.get(name)
            if part is None:
                part = Host(f"{self.origin}#{name}", policy or self._policy, self._clock, self)
                part.own_policy = policy
                parts.put(name, part)
            if parts.crowded:
                parts.trim(lambda old: old.busy or old.isolation is not None or old.rejects(now))
            part.asked_at = now
        if policy is None or policy is part.own_policy:
            return part, True, ()
        return part, *part._given(policy)

    def _given(self, policy: Policy) -> tuple[bool, tuple[Event, ...]]:
        with self._lock:
            own = self.own_policy
            if own is None:
                self.own_policy = policy
        return (True, self.follow(policy)) if own is None else (policy == own, ())

    def give(self, policy: Policy) -> tuple[Event, ...]:
        """Have a part follow a policy of its own from now on; what changed by it."""
        self.own_policy = policy
        return self.follow(policy)

    @property
    def connections(self) -> int:
        """How many connections a manager holds to the host, or to that of the part."""
        whole = self if self._whole is None else self._whole()
        return self.held if whole is None else whole.held

    def parts(self) -> list[Host]:
        """The records of all its parts, by name, but for those that are out of use and would look broken for ever.

        What nobody has asked for within `health.idle` is taken for a route or tenant that is gone, as a host is that no
        connection leads to any more. It is there again with its next call.
        """
        if self._parts is None:
            return []
        now, idle = self._clock.monotonic(), self._policy.health.idle
        return [
            part
            for part in self._parts.all()
            if not part.down or part.isolated or part.busy or part.rejects(now) or now - part.asked_at <= idle
        ]

    def known_part(self, name: str) -> Host | None:
        """The record of a part, if there is one."""
        return None if self._parts is None else self._parts.peek(name)

    def forget_part(self, name: str) -> None:
        """Drop the record of a part, unless an operator isolated it. Whoever asks for it gets a new one."""
        with self._lock:
            part = None if self._parts is None else self._parts.peek(name)
            if self._parts is not None and part is not None and part.isolation is None:
                self._parts.drop(name)

    def take_token(self, call: Holdings, now: float, left: float, credentials: str = "") -> Turn:
        """Take a token of the rate limit, wait for one, or be rejected. `left` is how many seconds the call has.

        A call that waits comes back by `take_due_token`, and in any case must `leave`. `credentials` is their mark,
        where each have a rate of their own.
        """
        with self._lock:
            if (buckets := self.buckets) is None:
                return _GO
            bucket = call.bucket = buckets.of(credentials, now)
            if (wait := bucket.take(call, now)) == 0:
                return _GO
            patience = min(bucket.max_wait, left)
            if bucket.observes:
                if wait > patience:
                    return Turn("beyond", wait)
                bucket.reserve(call)
                return _GO
            if wait > patience:
                self.tally.reject("rate_limit")
                return Turn("rejected", wait)
            bucket.wait(call)
            return Turn("wait", wait)

    def take_due_token(self, call: Holdings, now: float) -> float:
        """Take the token that a call waited for: 0, or the seconds that it is still to wait."""
        with self._lock:
            if (bucket := call.bucket) is not None and self.buckets is not None:
                if (wait := bucket.take(call, now)) > 0:
                    if not bucket.observes:
                        return wait
                    bucket.reserve(call)
                bucket.stop_waiting(call)
            return 0.0

    def begin_cooldown(self, cooldown: Cooldown) -> tuple[Event, ...]:
        """Leave the host alone, all or those with some credentials, unless a longer cooldown is on; what changed."""
        with self._lock:
            if self.cooldowns is None:
                self.cooldowns = Cooldowns()
            if not self.cooldowns.begin(cooldown):
                return ()
        binds: Literal["pair", "host"] = "host" if cooldown.whose is None else "pair"
        return (CooldownBegan(self.origin, cooldown.cause, binds, cooldown.until - cooldown.began),)

    def cooldowns_on(self, whose: str, now: float) -> tuple[Cooldown, ...]:
        """Those that may hold back a call with the credentials of this mark."""
        with self._lock:
            if (cooldowns := self.cooldowns) is None:
                return ()
            if cooldowns.needless(now):
                self.cooldowns = None
                return ()
            return cooldowns.on(whose, now)

    def wait_for_cooldown(self, call: Holdings, came: float) -> None:
        """Put a call that came at that time among those that wait for a cooldown to end. It must `leave`."""
        with self._lock:
            if self.cooldowns is not None:
                self.cooldowns.wait(call, came)

    def stop_waiting_for_cooldown(self, call: Holdings) -> None:
        """Take it away from there."""
        with self._lock:
            if self.cooldowns is not None:
                self.cooldowns.stop_waiting(call)

    @property
    def nobody_waits_for_cooldown(self) -> bool:
        """Whether no call does, so that those who come when it is over need let nobody go first."""
        cooldowns = self.cooldowns
        return cooldowns is None or cooldowns.waiting == 0

    def place_after_cooldown(self, call: Holdings, came: float, luck: float) -> float:
        """Where a call goes in the time after a cooldown, from 0 for its begin to 1 for its end."""
        with self._lock:
            return 0.0 if self.cooldowns is None else self.cooldowns.place(call, came, luck)

    def enter(
        self, call: Holdings, *, bulkhead: bool, refused: bool = False
    ) -> Literal["in", "beyond", "bulkhead", "isolation"] | Ticket:
        """Begin a call, or say what rejects it, or queue it: then `claim` its place. All must `leave`.

        A call that is in `beyond` a limit that only observes is in. `bulkhead` is whether the limit is the call's, and
        `refused` whether another dry run would have turned it away before.
        """
        with self._lock:
            self.tally.calls += 1
            call.counted = True
            if self.isolation is not None or self._whole is not None:
                self._lapse_locked()
                if self.isolated:
                    self.tally.reject("isolation")
                    return "isolation"
            entry = self._bulkhead.enter(call, limited=bulkhead, refused=refused)
            if entry == "full":
                self.tally.reject("bulkhead")
                return "bulkhead"
            return entry

    def leave(self, call: Holdings, how: End, seconds: float, *, sent: bool) -> None:
        """End a call, `seconds` after it began, and take back what it holds; its permits are settled one by one.

        Its place goes to the one that has queued for longest. Its token does, where nothing was `sent`: a token stands
        for what the host gets. Whoever is struck by an exception from a signal handler in here comes a second time.
        """
        with self._lock:
            self._bulkhead.leave(call)
            if call.cools is not None and self.cooldowns is not None:
                self.cooldowns.stop_waiting(call)
            if (bucket := call.bucket) is not None:
                bucket.stop_waiting(call)
                if call.token and not sent:
                    bucket.give_back(call)
            if call.turn is not None:
                self._stop_waiting_locked(call, self._clock.monotonic())
            self.tally.end(call, how, seconds)

    def claim(self, call: Holdings) -> bool:
        """End a wait in the queue: True for a call that got its place and so has entered; others lose their turn."""
        with self._lock:
            return self._bulkhead.claim(call)

    def count_rejection(self, by: Literal["breaker", "bulkhead", "cooldown", "isolation", "rate_limit"]) -> None:
        """Count a call that was refused after it had waited."""
        with self._lock:
            self.tally.reject(by)

    def count(self, kind: str, word: str) -> None:
        """Count something rare, as `Tally.count` does."""
        with self._lock:
            self.tally.count(kind, word)

    def admit(self, bearer: Bearer, now: float, lifetime: float) -> tuple[Permit | Refusal, tuple[Event, ...]]:
        """The breaker's word on one attempt, and what changed by asking."""
        breaker = self.breaker
        if breaker is None:
            return _FREE, ()
        if (standing := breaker.standing) is not None:
            return standing, ()
        with self._lock:
            admission = breaker.admit_locked(bearer, now, lifetime)
            if isinstance(admission, Refusal) and not admission.observed and admission.max_wait == 0:
                self.tally.reject("breaker")
            return admission, self._news_locked(now)

    def admit_waiting(
        self, call: Holdings, bearer: Bearer, now: float, lifetime: float
    ) -> tuple[Permit | Refusal, tuple[Event, ...]]:
        """The same for a call that has waited for it: where it is let through, it waits no more."""
        with self._lock:
            breaker = self.breaker
            if breaker is None:
                self._stop_waiting_locked(call, now)
                return _FREE, ()
            admission = breaker.admit_locked(bearer, now, lifetime, call.turn)
            if not isinstance(admission, Refusal) or admission.observed:
                self._stop_waiting_locked(call, now)
            return admission, self._news_locked(now)

    def wait_for_circuit(self, call: Holdings, now: float, seconds: float, ample_for: float) -> float | None:
        """Have a call that was refused queue for its circuit: the seconds after which to ask again, unless its ticket
        wakes before; or None where the circuit stays open for longer than the `seconds` that it may wait.

        `ample_for` is how many seconds from now on its time allows a whole attempt."""
        with self._lock:
            if call.turn is None:
                call.turn = Ticket(call, seconds, now + ample_for)
            # Where it was switched off meanwhile, the call asks at once, and is let through.
            return 0.0 if self.breaker is None else self.breaker.wait_locked(call.turn, now, seconds)

    def stop_waiting(self, call: Holdings, now: float) -> None:
        """A call waits for its circuit no more."""
        with self._lock:
            self._stop_waiting_locked(call, now)

    def _stop_waiting_locked(self, call: Holdings, now: float) -> None:
        if call.turn is not None:
            if self.breaker is not None:
                self.breaker.stop_waiting_locked(call.turn, now)
            call.turn = None

    def settle(
        self, permit: Permit, outcome: Outcome, now: float, duration: float, *, first: bool
    ) -> tuple[Event, ...]:
        """Record an attempt's outcome and give its permit back; what changed by it. `first` is one that is no retry."""
        with self._lock:
            self.tally.attempt(duration)
            if first and self._budget is not None:
                self._budget.deposit(now)
            self._latencies.add(now, duration)
            if self._bulkhead.adaptive is not None:
                self._bulkhead.learn(outcome, now - duration, now)
            news = self._record_locked(permit, outcome, now, now - duration, first=first)
        return news if self._whole is None else news + self._tell_whole(outcome, now, now - duration)

    def settle_body(self, permit: Permit, outcome: Outcome, now: float) -> tuple[Event, ...]:
        """Record that a streamed body broke off after its attempt had been settled by its head."""
        with self._lock:
            return self._record_locked(permit, outcome, now, now)

    def cancel(self, permit: Permit, now: float, cut_after: float | None = None) -> tuple[Event, ...]:
        """Give a permit back after an attempt that came to nothing, such as one ended by Ctrl-C.

        `cut_after` is how long it had taken when it lost a race against its copy, in seconds.
        """
        with self._lock:
            if cut_after is not None:
                if self._cut is None:
                    self._cut = Latencies(self._policy.health.window)
                self._cut.add(now, cut_after)
            self.tally.attempts += 1
            return self._record_locked(permit, _CANCELLED, now, now)

    def release(self, permit: Permit, now: float) -> tuple[Event, ...]:
        """Give back a permit that may be back already, after an exception from outside ended a call wherever it was."""
        if permit is _FREE:
            return ()
        with self._lock:
            if self.breaker is not None:
                self.breaker.report_locked(permit, NEUTRAL, now, None)
            return self._news_locked(now)

    def retry_answered(self, spent: float, now: float) -> None:
        """A retry that was taken from the budget at `spent` came to an answer: it gives its share back."""
        with self._lock:
            if self._budget is not None:
                self._budget.give_back(spent, now)

    def spend_retry(self, now: float, *, budget: bool) -> bool:
        """Count one retry, taken from the budget unless that is off; False where the budget is empty."""
        with self._lock:
            if budget and self._budget is not None and not self._budget.spend(now):
                return False
            self.tally.retries += 1
            return True

    def latency_above(self, share: float, now: float) -> float | None:
        """Seconds that `share` (0 to 1) of the recent attempts took at most; None as long as too few are known.

        Attempts that were cut count, for as long as they had taken by then. They are the slowest: without them the
        measure would sink with each that it cuts.
        """
        known = self._above.get(share)
        if known is not None and now < known[1]:
            return known[0]
        with self._lock:
            value = self._latencies.above(now, share, _ENOUGH, self._cut)
            if value is not None:
                value = max(value, _SOONEST)
            if self._above is _NOTHING or len(self._above) >= 8:  # per-call policies may have any number of percentiles
                self._above = {}
            self._above[share] = value, now + _FRESH
        return value

    def admit_hedge(
        self, bearer: Bearer, now: float, lifetime: float, *, breaker: bool, budget: bool
    ) -> tuple[Permit | Refusal | None, tuple[Event, ...]]:
        """Leave to send a copy of a slow attempt, taken from the retry budget, or None; and what changed by asking.

        A copy is no probe: it needs a closed circuit. In a dry run it goes without, and has the Refusal.
        """
        with self._lock:
            if self.isolated or (budget and self._budget is not None and self._budget.left(now) < 1.0):
                return None, ()
            admission: Permit | Refusal = _FREE
            if breaker and self.breaker is not None:
                if self.breaker.state(now) == HALF_OPEN:
                    admission = Refusal(HALF_OPEN, 0.0, self.breaker.cause, self.breaker.observes)
                else:
                    admission = self.breaker.admit_locked(bearer, now, lifetime)
                if isinstance(admission, Refusal) and not admission.observed:
                    return None, self._news_locked(now)
            if budget and self._budget is not None:
                self._budget.spend(now)
            self.tally.hedges += 1
            return admission, self._news_locked(now)

    def snapshot(self, connections: int = 0, hooks_since: float | None = None) -> HostHealth:
        """The host's health as of now; how many connections lead to it, and what their hooks do, its manager knows."""
        now = self._clock.monotonic()
        since_epoch = self._clock.wall() - now
        with self._lock:
            self._catch_up_locked(now)
            breaker: State = self.breaker.state(now) if self.breaker else "closed"
            opens_in = self.breaker.opens_in(now) if self.breaker else 0.0
            good, bad = self._verdicts.totals(now)
            ratio = good / (good + bad) if good + bad else None
            state = self._state_locked(breaker, ratio)
            isolation = self._isolation_in_force() if state == "isolated" else None
            return HostHealth(
                host=self.origin,
                state=state,
                breaker=breaker,
                calls=self.tally.calls,
                attempts=self.tally.attempts,
                failures=self.tally.failures,
                success_ratio=ratio,
                consecutive_failures=self._consecutive,
                latency=Latency(*self._latencies.quantiles(now, (0.5, 0.95, 0.99))),
                in_flight=self._bulkhead.in_flight,
                limit=self._bulkhead.limit,
                retries=self.tally.retries,
                hedges=self.tally.hedges,
                rejections=self.tally.rejections,
                last_error=self._last_error,
                last_success=None if self._last_success is None else self._last_success + since_epoch,
                broken_since=None if self._broken_since is None else self._broken_since + since_epoch,
                retry_in=opens_in or None,
                cooldown=self.cooldowns.longest(now) if self.cooldowns else None,
                connections=connections,
                hooks_since=hooks_since,
                share=self.breaker.share(now) if self.breaker else 1.0,
                isolated_reason=None if isolation is None else isolation.reason,
                isolated_until=None if isolation is None else isolation.moment(self._clock),
            )

    def gauges(self) -> Gauges:
        """What goes up and down, as of now: cheap, for metrics of many hosts."""
        now = self._clock.monotonic()
        with self._lock:
            self._catch_up_locked(now)
            breaker: State = self.breaker.state(now) if self.breaker else "closed"
            good, bad = self._verdicts.totals(now)
            return Gauges(
                state=self._state_locked(breaker, good / (good + bad) if good + bad else None),
                breaker=breaker,
                in_flight=self._bulkhead.in_flight,
                queued=self._queued,
                max_in_flight=self._bulkhead.limit,
                rate=self.buckets.rate if self.buckets else None,
            )

    def _record_locked(
        self, permit: Permit, outcome: Outcome, now: float, began: float, *, first: bool = True
    ) -> tuple[Event, ...]:
        verdict = outcome.verdict
        if verdict is SUCCESS:
            self._verdicts.add(now, _GOOD)
            self._consecutive = 0
            if self._unreached:
                self._note_reach_locked(outcome, began)
            self._last_success = now
        elif verdict is FAILURE:
            self._verdicts.add(now, _BAD)
            self.tally.failures += 1
            self._consecutive += 1
            if self._whole is None:
                self._note_reach_locked(outcome, began)
            self._last_error = outcome.describe()
            self._last_cause = outcome.cause
        if self.breaker is not None and permit is not _FREE:
            self.breaker.report_locked(permit, verdict, now, self._last_cause, first=first)
        return self._news_locked(now)

    def _note_reach_locked(self, outcome: Outcome, began: float) -> None:
        """Take note of what a success or a failure says about whether the host can be connected to."""
        if outcome.verdict is SUCCESS:
            if self._broken_since is None or began >= self._broken_since:  # a late answer is no recovery
                self._unreached = 0
        elif outcome.never_sent:
            if began >= self._reset_at:
                if self._unreached == 0:
                    good, bad = self._verdicts.totals(self._clock.monotonic())
                    self._unreached_by_chance = _longest_by_chance(good, bad - 1)
                self._unreached += 1
        elif not self._cut_off:  # nor is another failure
            self._unreached = 0

    @property
    def _cut_off(self) -> bool:
        """Whether connecting failed so often in a row that it counts as broken."""
        count = self._unreached
        return count >= self._policy.health.broken_after and count > self._unreached_by_chance

    def _tell_whole(self, outcome: Outcome, now: float, began: float) -> tuple[Event, ...]:
        """Let the host know what an attempt of its part says about connecting to it: nothing else is its business."""
        whole = self._whole() if self._whole is not None else None
        if whole is None or outcome.verdict is NEUTRAL or not (whole._unreached or outcome.never_sent):
            return ()
        return whole._told_by_part(outcome, now, began)

    def _told_by_part(self, outcome: Outcome, now: float, began: float) -> tuple[Event, ...]:
        with self._lock:
            self._note_reach_locked(outcome, began)
            if outcome.never_sent:
                self._last_error, self._last_cause = outcome.describe(), outcome.cause
            return self._news_locked(now)

    @property
    def _unreachable(self) -> bool:
        """Whether connecting to the host, or to that of the part, failed so often in a row that it counts as broken."""
        whole = self if self._whole is None else self._whole()
        return whole is not None and whole._cut_off

    def broken_by(self, now: float) -> Literal["breaker", "connect"] | None:
        """What makes the host count as broken as of `now`, None if nothing does."""
        if self._cut_off:
            return "connect"
        return "breaker" if self.rejects(now) else None

    def rejects(self, now: float) -> bool:
        """Whether its circuit is open as of `now`, whatever else is wrong with it."""
        if self.breaker is None or self.breaker.observes:
            return False
        if self.breaker.watches:
            with self._lock:
                self._catch_up_locked(now)
        return self.breaker.state(now) == OPEN

    @property
    def busy(self) -> bool:
        """Whether calls are in flight, or wait to be, those of its parts included."""
        if self._bulkhead.in_flight > 0 or self._queued > 0:
            return True
        return self._parts is not None and any(part.busy for part in self._parts.all())

    @property
    def _queued(self) -> int:
        buckets, cooldowns = self.buckets, self.cooldowns
        waiting = (0 if buckets is None else buckets.waiting) + (0 if cooldowns is None else cooldowns.waiting)
        return len(self._bulkhead.queue) + waiting + (self.breaker.waiting if self.breaker else 0)

    @property
    def limit(self) -> int | None:
        """How many calls may be in flight now, None for any number."""
        return self._bulkhead.limit

    @property
    def down(self) -> bool:
        """Whether it counts as broken, or is recovering from that."""
        return self._broken_since is not None

    def answered_since(self, moment: float) -> bool:
        """Whether an attempt, or a probe, succeeded after `moment`, in seconds of the monotonic clock.

        One of a part of the host's will do, unless the host is down: that says nothing of the rest.
        """
        if self._last_success is not None and self._last_success > moment:
            return True
        return not self.down and self._parts is not None and any(p.answered_since(moment) for p in self._parts.all())

    def follow(self, policy: Policy) -> tuple[Event, ...]:
        """Go on by `policy`, with all that is known and under way; what changed by it.

        Calls under way keep their own rules. Those that queue get in where the new limits have room for them. Its parts
        go along but for those that were given a policy of their own.
        """
        news = self._follow(policy)
        if self._parts is not None:
            for part in self._parts.all():
                if part.own_policy is None:
                    news += part.follow(policy)
        return news

    def _follow(self, policy: Policy) -> tuple[Event, ...]:
        now = self._clock.monotonic()
        with self._lock:
            if policy.health.window != self._policy.health.window:
                self._verdicts = Window(policy.health.window, channels=2)
                self._latencies = Latencies(policy.health.window)
                self._cut, self._above = None, _NOTHING
            self._policy, self.judged_by, self.failures = policy, policy.health, _failures(policy)
            if policy.breaker is None:
                if self.breaker is not None:
                    self.breaker.wake_all_locked()
                self.breaker = None
            elif self.breaker is None:
                self.breaker = Breaker(self.origin, policy.breaker, self._clock)
            else:
                self.breaker.follow_locked(policy.breaker, now)
            budget = policy.retry.budget if policy.retry else None
            if budget is None:
                self._budget = None
            elif self._budget is None:
                self._budget = Budget(budget)
            else:
                self._budget.follow(budget)
            if policy.rate_limit is None:
                self.buckets = None
            elif self.buckets is None:
                self.buckets = Buckets(policy.rate_limit)
            else:
                self.buckets.follow(policy.rate_limit, now)
            self._bulkhead.follow(policy.bulkhead)
            return self._news_locked(now)

    def isolate(self, isolation: Isolation = FOR_GOOD) -> tuple[Event, ...]:
        """Reject all calls until `restore`, or until the isolation ends by itself. It takes the place of one before."""
        with self._lock:
            before, self.isolation, self.trouble = self.isolation, isolation, True
            self._turn_away_locked()
            news = self._news_locked(self._clock.monotonic())
        if self._parts is not None:
            for part in self._parts.all():
                with part._lock:
                    part._turn_away_locked()
        if isolation == before:
            return news
        return (*news, HostIsolated(self.origin, reason=isolation.reason, until=isolation.moment(self._clock)))

    def _turn_away_locked(self) -> None:
        """End all waits for a place and for the circuit: whoever waited looks again, and is refused."""
        self._bulkhead.turn_all_away()
        if self.breaker is not None:
            self.breaker.wake_all_locked()

    def restore(self) -> tuple[Event, ...]:
        """End an isolation."""
        with self._lock:
            self._restore_locked("hand")
            return self._news_locked(self._clock.monotonic())

    def lapse(self) -> tuple[Event, ...]:
        """End an isolation whose time is over."""
        with self._lock:
            self._lapse_locked()
            return self._news_locked(self._clock.monotonic())

    def _lapse_locked(self) -> None:
        if self.isolation is not None and self.isolation.over(self._clock):
            self._restore_locked("time")

    def _restore_locked(self, by: Literal["hand", "time"]) -> None:
        isolation = self.isolation
        if isolation is None:
            return
        until = isolation.moment(self._clock)
        restored = HostRestored(self.origin, by=by, reason=isolation.reason, until=until)
        self.isolation, self.trouble, self._untold = None, self._broken_since is not None, (*self._untold, restored)

    def reset_circuit(self) -> tuple[Event, ...]:
        """Take the host for well from now on: its circuit closes, and what was begun before says nothing any more.

        So are its parts.
        """
        now = self._clock.monotonic()
        with self._lock:
            self._unreached, self._reset_at = 0, now
            if self.cooldowns is not None:
                self.cooldowns.clear()
            if self.breaker is not None:
                self.breaker.reset_locked()
            news = self._news_locked(now, by_hand=True)
        if self._parts is not None:
            for part in self._parts.all():
                news += part.reset_circuit()
        return news

    @property
    def well_by_probe(self) -> bool | None:
        """Whether the last probe succeeded, or the host needs none; None where none could be made."""
        return self._probed_well if self.trouble else True

    def not_probed(self) -> None:
        """Take note that no probe can be made, as without credentials: only time tells then."""
        self._probed_well = None

    def probed(self, outcome: Outcome, now: float) -> tuple[Event, ...]:
        """Take note of a probe that no call made, and that moves no count.

        One that succeeds counts as a success in half-open state, and as an answer once the host is well by it.
        """
        with self._lock:
            self._probed_well = outcome.succeeded
            if outcome.succeeded:
                self._unreached = 0
                if self.breaker is not None:
                    self.breaker.probed_locked(now)
            news = self._news_locked(now)
            if outcome.succeeded and self._broken_since is None:
                self._last_success = now  # whoever backs off until the host is well need wait no longer
            return news

    def _catch_up_locked(self, now: float) -> None:
        # Who only reads announces nothing: the next call does.
        if self.breaker is not None and self.breaker.watches:
            self.breaker.catch_up_locked(now)
            self._untold = self._news_locked(now)

    def _news_locked(self, now: float, *, by_hand: bool | None = None) -> tuple[Event, ...]:
        """What changed: the breaker's transitions, and whether the host counts as broken."""
        news = self._untold
        if news:
            self._untold = ()
        breaker = self.breaker
        if breaker is not None and breaker.news:
            transitions = breaker.take_news_locked()
            self.tally.count_transitions(transitions)
            news += transitions
        unreached = self._unreached > 0 and self._cut_off
        # A half-open circuit has not recovered yet: only its closing ends what its opening began. One with a standing
        # permit is closed, and need not be asked.
        down = unreached or (breaker is not None and breaker.standing is None and breaker.down)
        if down == (self._broken_since is not None):
            return news
        if down:
            reason: Literal["breaker", "connect"] = "connect"
            since, cause = now, self._last_cause
            if not unreached and breaker is not None:
                reason, since, cause = "breaker", breaker.down_since, breaker.cause
            failures = max(self._consecutive, self._unreached)  # the latter are those of its parts as well
            news += (HostBroken(self.origin, reason=reason, failures=failures, cause=cause),)
            # These together, and after the last call: a Ctrl-C comes before all or after all of them.
            self._broken_since, self._probed_well, self.trouble = since, False, True
        else:
            news += (HostRecovered(self.origin, broken_for=now - (self._broken_since or now), by_hand=by_hand),)
            self._broken_since, self.trouble = None, self.isolation is not None
        return news

    def _state_locked(self, breaker: State, ratio: float | None) -> HealthState:
        if self.isolated:
            return "isolated"
        if self.breaker is not None and self.breaker.observes:
            breaker = CLOSED
        if breaker == OPEN or self._unreachable:
            return "broken"
        if breaker != CLOSED:
            return "degraded"
        if ratio is None:
            return "unknown"
        return "degraded" if ratio < self._policy.health.degraded_below else "healthy"

    def _renew_after_fork(self) -> None:
        # The lock may be held, and the calls in flight are made, by threads that only the parent has.
        self._lock = threading.RLock()
        self._bulkhead.renew_after_fork()
        if self.buckets is not None:
            self.buckets.renew_after_fork()
        if self.cooldowns is not None:
            self.cooldowns.renew_after_fork()
        if self.breaker is not None:
            self.breaker.renew_after_fork()


#: The permit where no breaker watches.
_FREE = Permit(-1)
_CANCELLED = Outcome(NEUTRAL)

_hosts = renewed_after_fork("hosts", Host._renew_after_fork)


def _failures(policy: Policy) -> frozenset[int]:
    return policy.breaker.statuses if policy.breaker else SERVER_FAILURES


def _longest_by_chance(good: int, bad: int) -> int:
    """The longest run of failures that chance explains (1 in 100,000 or more) where so many failed before it."""
    if bad <= 0 or good + bad < _ENOUGH:
        return 0
    return int(_CHANCE / math.log(min(bad / (good + bad), _MOST)))


def free_permit() -> Permit:
    """The permit of a call whose policy has the breaker off."""
    return _FREE
