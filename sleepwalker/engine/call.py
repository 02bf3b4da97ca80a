"""One call: the policies in their order, as a generator of steps.

Outermost first: total deadline, rate limit, bulkhead, retry (with its budget), breaker, attempt deadline, send.
The generator yields what should happen next and is sent what came of it. A connection performs the
steps on sockets; a test feeds it outcomes from a list; a simulator can drive thousands of callers.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from sleepwalker.attempt import Attempt
from sleepwalker.clock import Clock
from sleepwalker.engine.breaker import CLOSED, HALF_OPEN, OPEN, Permit, Refusal
from sleepwalker.engine.host import Host, free_permit
from sleepwalker.engine.limits import Ticket
from sleepwalker.engine.outcome import Outcome, Verdict
from sleepwalker.engine.retry import Stop, Terms
from sleepwalker.engine.rules import Rules
from sleepwalker.engine.tally import End
from sleepwalker.events import (
    AttemptFailed,
    Event,
    Observer,
    RequestFailed,
    RequestFinished,
    RequestRejected,
    RequestWouldReject,
    RetryAbandoned,
    RetryScheduled,
)
from sleepwalker.exceptions import (
    BulkheadFullError,
    CircuitOpenError,
    ConnectionError,
    DeadlineExceeded,
    HostIsolatedError,
    RateLimitedError,
    SleepwalkerException,
)

_STATES = {
    OPEN: "is open{cause}; next try in {wait:.3g} s",
    HALF_OPEN: "is half-open{cause}: a probe is under way, and decides",
    CLOSED: "closed again after it had opened{cause}, and admits a growing part of the calls; all in {wait:.3g} s",
}


@dataclass(slots=True)
class Request:
    """What the policies need to know of a request."""

    method: str
    path: str
    """Without the query."""
    idempotent: bool
    """Whether it may be sent twice once it may have been processed."""
    replayable: bool
    """Whether its body can be sent a second time."""


@dataclass(slots=True)
class Send:
    """Send the request; what came of it is sent back as an `Outcome`. Times are on the call's clock."""

    deadline: float
    limit: Literal["attempt", "total"]
    """Which of the two deadlines comes first."""
    seconds: float
    """How long that limit is as a whole."""


@dataclass(slots=True)
class Wait:
    """Do nothing for `seconds`; True is sent back where the wait was cut short for good."""

    seconds: float


@dataclass(slots=True)
class Queue:
    """Wait until `ticket.wake` is set, `seconds` at most; True is sent back where the wait was cut short for good."""

    ticket: Ticket
    seconds: float


Step = Send | Wait | Queue
Reply = Outcome | bool | None
Steps = Generator[Step, Reply, "Final"]


@dataclass(slots=True)
class Final:
    """What a call came to: the last real outcome, what was tried, and the permit that it was tried under."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]
    permit: Permit


def run(host: Host, rules: Rules, request: Request, clock: Clock, observe: Observer) -> Steps:
    """The steps of one call. Throw an exception in to cancel it: its permit goes back and it is logged."""
    call = _Call(host, rules, request, clock, observe)
    entered = False
    end: End = "cancelled"
    try:
        limited = host.bucket is not None and not host.isolated
        refused = (yield from call.take_token()) if limited else None
        try:
            if refused is None and (by := host.enter(call.began, bulkhead=rules.bulkhead)) is not None:
                refused = (yield from call.queue(by)) if isinstance(by, Ticket) else call.rejected_at_entry(by)
            if refused is not None:
                host.turn_away(call.end(refused), clock.monotonic() - call.began)
                call.announce(refused)
                return Final(refused, (), call.permit)
            entered = True
            try:
                outcome = yield from call.attempts_until_done()
                end = call.end(outcome)
            finally:
                host.leave(end, clock.monotonic() - call.began)
        finally:
            if call.holds_token and not call.attempts:  # a token stands for what the host gets, and it got nothing
                host.return_token()
    except BaseException as error:
        if not entered:
            host.turn_away(end, clock.monotonic() - call.began)
        call.announce_failed(Outcome(Verdict.NEUTRAL), type(error).__name__, None)
        raise
    call.announce(outcome)
    return Final(outcome, tuple(call.attempts), call.permit)


class _Call:
    """The memory of one call."""

    __slots__ = (
        "attempts",
        "began",
        "clock",
        "holds_token",
        "host",
        "observe",
        "permit",
        "refused",
        "request",
        "rules",
        "waited",
    )

    def __init__(self, host: Host, rules: Rules, request: Request, clock: Clock, observe: Observer) -> None:
        self.host = host
        self.rules = rules
        self.request = request
        self.clock = clock
        self.observe = observe
        self.began = clock.monotonic()
        self.attempts: list[Attempt] = []
        self.waited = 0.0
        self.permit = free_permit()
        self.holds_token = False
        self.refused = False

    def take_token(self) -> Generator[Step, Reply, Outcome | None]:
        """Take a token of the rate limit, waiting for it if need be; or the outcome of a call that gets none.

        A call takes one, whatever its attempts: retries are for their budget to limit.
        """
        host, left = self.host, self.rules.total
        wait, patience = host.take_token(self.began, left)
        if wait > patience:
            return self.rejected_by_rate_limit(wait)
        waits, rejected = wait > 0, False
        try:
            while wait > 0:
                if wait > left:
                    rejected = True
                    return self.rejected_by_rate_limit(wait)
                if (yield from self.pause(wait)):
                    return self.closed()
                now = self.clock.monotonic()
                left = self.began + self.rules.total - now
                # Mostly it is there. Where many woke up late and the bucket was full meanwhile, some wait again.
                wait = host.take_due_token(now)
            self.holds_token = True
        finally:
            if waits and not self.holds_token:
                host.stop_waiting(rejected=rejected)
        return None

    def pause(self, seconds: float) -> Generator[Step, Reply, bool]:
        """Wait; True where the wait was cut short for good."""
        began = self.clock.monotonic()
        if (yield Wait(seconds)):
            self.waited += self.clock.monotonic() - began
            return True
        self.waited += seconds
        return False

    def queue(self, ticket: Ticket) -> Generator[Step, Reply, Outcome | None]:
        """Wait for a place at the host: None with it, or the outcome of a call that gets none."""
        host, began = self.host, self.clock.monotonic()
        left = max(0.0, self.began + self.rules.total - began)
        try:
            closed = yield Queue(ticket, min(ticket.patience, left))
        except BaseException:
            if host.claim(ticket):
                host.leave()
            raise
        self.waited += self.clock.monotonic() - began
        entered = host.claim(ticket)  # a place may have come at the same moment as the end of the wait
        if host.isolated:
            if entered:
                host.leave()
            host.count_rejection("isolation")
            return self.rejected_at_entry("isolation")
        if entered:
            return None
        if closed:
            return self.closed()
        if left < ticket.patience:
            return self.too_late()
        host.count_rejection("bulkhead")
        return self.rejected_at_entry("bulkhead", ticket.patience)

    def attempts_until_done(self) -> Generator[Step, Reply, Outcome]:
        """Attempt, and wait and attempt again for as long as the retry policy says so."""
        retrying, deadline, outcome, wait = None, self.began + self.rules.total, None, 0.0
        while True:
            now = self.clock.monotonic()
            if now >= deadline:  # a wait took longer than it should: a machine that slept
                if outcome is None:
                    return self.too_late()
                self.abandon("deadline")
                return outcome
            refusal = self.admit(now)
            if refusal is not None:
                if outcome is None:
                    return self.rejected_by_breaker(refusal)
                self.abandon("breaker")
                return outcome
            outcome = yield from self.attempt(now, deadline, wait)
            retries = self.rules.retries
            if retries is None or not retries.worth_it(outcome):
                return outcome
            if retrying is None:
                retrying = retries.begin(self.terms(deadline))
            decision = retries.after(retrying, outcome)
            if isinstance(decision, Stop):
                if decision.reason is not None:
                    self.abandon(decision.reason)
                return outcome
            wait = decision
            self.schedule(wait, outcome)
            if (yield from self.pause(wait)):
                self.abandon("closed")
                return outcome

    def attempt(self, now: float, deadline: float, wait: float) -> Generator[Step, Reply, Outcome]:
        """One send under a permit that goes back whatever happens."""
        ends = now + self.rules.attempt
        rules = self.rules
        step = Send(ends, "attempt", rules.attempt) if ends < deadline else Send(deadline, "total", rules.total)
        number = len(self.attempts) + 1
        try:
            outcome = yield step
            if not isinstance(outcome, Outcome):
                raise TypeError(f"a Send is answered with an Outcome, not with {outcome!r}")
        except BaseException as error:
            done = self.clock.monotonic()
            self.attempts.append(Attempt(number, now - self.began, done - now, None, type(error).__name__, wait))
            self.tell(self.host.cancel(self.permit, done))
            raise
        done = self.clock.monotonic()
        news = self.host.settle(self.permit, outcome, done, done - now, first=number == 1)
        text = None if outcome.error is None else outcome.describe()
        self.attempts.append(Attempt(number, now - self.began, done - now, outcome.status, text, wait))
        if outcome.verdict is Verdict.FAILURE or outcome.error is not None or outcome.status in self.rules.statuses:
            self.observe(
                AttemptFailed(
                    host=self.host.origin,
                    method=self.request.method,
                    path=self.request.path,
                    attempt=number,
                    status=outcome.status,
                    error=None if outcome.error is None else type(outcome.error).__name__,
                    detail=_detail(outcome),
                    duration=done - now,
                )
            )
        self.tell(news)
        return outcome

    def admit(self, now: float) -> Refusal | None:
        """Take a permit for the next attempt, or say why there is none."""
        if not self.rules.breaker:
            return None
        admission, news = self.host.admit(now, self.rules.attempt + 1.0)
        self.tell(news)
        if not isinstance(admission, Refusal):
            self.permit = admission
            return None
        if not admission.observed:
            return admission
        self.permit = free_permit()
        self.would_reject("breaker", admission.retry_after)
        return None

    def terms(self, deadline: float) -> Terms:
        """What this call brings to the decision about a retry."""
        clock, host, rules = self.clock, self.host, self.rules
        breaker = host.breaker if rules.breaker else None
        return Terms(
            idempotent=self.request.idempotent,
            replayable=self.request.replayable,
            time_left=lambda: deadline - clock.monotonic(),
            rejected_for=lambda: breaker.opens_in(clock.monotonic()) if breaker else 0.0,
            spend=lambda: host.spend_retry(clock.monotonic(), budget=rules.budget),
        )

    def tell(self, news: tuple[Event, ...]) -> None:
        """Announce what changed at the host."""
        for event in news:
            self.observe(event)

    def schedule(self, wait: float, outcome: Outcome) -> None:
        """Announce a wait."""
        self.observe(
            RetryScheduled(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                attempt=len(self.attempts) + 1,
                wait=wait,
                server_directed=outcome.retry_after is not None and wait <= outcome.retry_after,
            )
        )

    def abandon(
        self,
        reason: Literal["breaker", "budget", "closed", "deadline", "not idempotent", "not replayable", "retry after"],
    ) -> None:
        """Announce that a retry that was due is not made."""
        self.host.count("abandoned", reason)
        self.observe(
            RetryAbandoned(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                attempt=len(self.attempts),
                reason=reason,
            )
        )

    def rejected_by_breaker(self, refusal: Refusal) -> Outcome:
        """The outcome of a call that the open circuit did not let through."""
        cause = f" after {refusal.cause}" if refusal.cause else ""
        breaker = self.host.breaker
        state = breaker.state(self.clock.monotonic()) if breaker is not None else OPEN
        error = CircuitOpenError(
            f"the circuit of {self.host.origin} {_STATES[state].format(cause=cause, wait=refusal.retry_after)}",
            host=self.host.origin,
            retry_after=refusal.retry_after,
            cause=refusal.cause,
        )
        self.reject("breaker", refusal.retry_after)
        return Outcome(Verdict.NEUTRAL, error=error)

    def rejected_at_entry(self, by: Literal["bulkhead", "isolation"], waited: float = 0.0) -> Outcome:
        """The outcome of a call for which there was no room, or whose host is isolated."""
        origin = self.host.origin
        error: ConnectionError
        if by == "isolation":
            error = HostIsolatedError(f"{origin} is isolated by an operator; restore() ends that", host=origin)
        else:
            limit = self.host.max_concurrent
            longer = f"; no place came free within {waited:.3g} s" if waited else ""
            error = BulkheadFullError(
                f"{origin}: {limit} calls in flight, the most that it may get{longer}", host=origin
            )
        self.reject(by, None)
        return Outcome(Verdict.NEUTRAL, error=error)

    def rejected_by_rate_limit(self, wait: float) -> Outcome:
        """The outcome of a call for which no token comes in time."""
        origin = self.host.origin
        error = RateLimitedError(
            f"{origin}: the policy's rate of calls to it is used up; next try in {wait:.3g} s",
            host=origin,
            retry_after=wait,
        )
        self.reject("rate_limit", wait)
        return Outcome(Verdict.NEUTRAL, error=error)

    def closed(self) -> Outcome:
        """The outcome of a call whose connection was closed before anything was sent."""
        error = ConnectionError(f"{self.host.origin}: this connection was closed while the call waited for its turn")
        error.never_sent, error.retryable = True, False
        return Outcome(Verdict.NEUTRAL, error=error)

    def too_late(self) -> Outcome:
        """The outcome of a call whose time was over before anything was sent."""
        error = DeadlineExceeded(
            f"{self.host.origin}: the total deadline ran out after {self.rules.total:.3g} s, waiting for a turn",
            limit="total",
            phase="queue",
        )
        error.never_sent = True
        return Outcome(Verdict.NEUTRAL, error=error)

    def reject(self, by: Literal["breaker", "bulkhead", "isolation", "rate_limit"], retry_after: float | None) -> None:
        """Announce a rejection."""
        self.refused = True
        self.observe(
            RequestRejected(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                by=by,
                retry_after=retry_after,
            )
        )

    def would_reject(self, by: Literal["breaker"], retry_after: float) -> None:
        """Announce what only a dry run let through."""
        self.host.count("would reject", by)
        self.observe(
            RequestWouldReject(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                by=by,
                attempt=len(self.attempts) + 1,
                retry_after=retry_after,
            )
        )

    def end(self, outcome: Outcome) -> End:
        """How the call ended, for the host's counters."""
        if self.refused:
            return "rejected"
        return "failed" if outcome.error is not None or outcome.verdict is Verdict.FAILURE else "answered"

    def announce(self, outcome: Outcome) -> None:
        """The one closing event of the call."""
        if outcome.error is not None or outcome.verdict is Verdict.FAILURE:
            error = None if outcome.error is None else type(outcome.error).__name__
            self.announce_failed(outcome, error, _detail(outcome))
            return
        level = self.rules.finished_level
        if level == "off" or (self.rules.sample < 1.0 and self.clock.random() >= self.rules.sample):
            return
        self.observe(
            RequestFinished(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                status=outcome.status,
                attempts=len(self.attempts),
                duration=self.clock.monotonic() - self.began,
                waited=self.waited,
            ),
            level,
        )

    def announce_failed(self, outcome: Outcome, error: str | None, detail: str | None) -> None:
        """The closing event of a call that its host, a policy or its caller ended."""
        self.observe(
            RequestFailed(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                status=outcome.status,
                error=error,
                detail=detail,
                attempts=len(self.attempts),
                duration=self.clock.monotonic() - self.began,
                waited=self.waited,
            )
        )


def _detail(outcome: Outcome) -> str | None:
    """The text of an error of ours. Others are a caller's own, and may say anything."""
    return str(outcome.error) if isinstance(outcome.error, SleepwalkerException) else None
