"""The record of one call: what it has tried so far, and the events that tell of it."""

from __future__ import annotations

import math
from typing import Literal

from sleepwalker.attempt import Attempt
from sleepwalker.clock import Clock
from sleepwalker.engine.breaker import Bearer, Permit
from sleepwalker.engine.cooldown import Cooldown
from sleepwalker.engine.host import Host, free_permit
from sleepwalker.engine.limits import Holdings
from sleepwalker.engine.outcome import FAILURE, NEUTRAL, Outcome
from sleepwalker.engine.rules import Rules
from sleepwalker.engine.steps import Request
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
    ConnectionError,
    ConnectTimeout,
    DeadlineExceeded,
    ReadTimeout,
    SleepwalkerException,
)
from sleepwalker.frozen import slotted


@slotted
class Runner:
    """One send of a race, under way."""

    began: float
    wait: float
    """How long the call had waited before it."""
    permit: Permit


_TIMEOUTS = (ConnectTimeout, DeadlineExceeded, ReadTimeout)
#: The share of attempts whose time says how long a host mostly takes: half, so that those which hang do not move it;
#: and seconds, where too few are known.
_MOSTLY, _UNKNOWN = 0.5, 0.5

_NOBODY: dict[int, Runner] = {}
#: Answers by which a server refuses, besides those that are retried, whether these are or not.
_NOT_NOW = frozenset({429, 503})


class Call(Holdings):
    """The memory of one call, and the one who announces what happens to it."""

    __slots__ = (
        "attempts",
        "began",
        "clock",
        "cooled",
        "dry",
        "earned",
        "hedges",
        "host",
        "lot",
        "observe",
        "permit",
        "refused",
        "request",
        "rules",
        "runners",
        "sent",
        "spent",
        "waited",
    )

    def __init__(self, host: Host, rules: Rules, request: Request, clock: Clock, observe: Observer) -> None:
        super().__init__()
        self.host = host
        self.rules = rules
        self.request = request
        self.clock = clock
        self.observe = observe
        self.began = clock.monotonic()
        self.attempts: list[Attempt] = []
        self.earned = False
        """Whether it has paid into the retry budget: with the first of its sends that came to something."""
        self.hedges = 0
        """How many of its sends were copies of one under way."""
        self.waited = 0.0
        self.cooled = -math.inf
        """The cooldowns that had ended by then hold it back no more: it has had its turn after them."""
        self.lot: float | None = None
        """Where it goes among those that a cooldown held back, from 0 to 1; drawn once it matters."""
        self.spent: float | None = None
        """When its latest retry was taken out of the budget; None where it has had none, or that was for free."""
        self.sent = False
        """Whether any of its sends may have reached the server. One that was cut may have."""
        self.permit = free_permit()
        self.runners: dict[int, Runner] = _NOBODY
        """Those of the race that is on, or was the last one, by number."""
        self.refused = False
        self.dry = False
        """Whether a limit that only observes would have refused the call: then those behind it would not know of it."""

    def settled(self, number: int, began: float, wait: float, permit: Permit, outcome: Outcome) -> None:
        """Put on record what a send came to, and give its permit back. `wait` is what the call waited before it."""
        done = self.clock.monotonic()
        if self.rules.hasty and self._in_haste(outcome, done - began, done):
            outcome.verdict = NEUTRAL
            news = self.host.cancel(permit, done)
        else:
            news = self.host.settle(permit, outcome, done, done - began, first=not self.earned)
            self.earned = True
        if not outcome.never_sent:
            self.sent = True
        text = None if outcome.error is None else outcome.describe()
        self.attempts.append(Attempt(number, began - self.began, done - began, outcome.status, text, wait))
        if outcome.verdict is FAILURE or outcome.error is not None or outcome.status in self.rules.statuses:
            self.observe(
                AttemptFailed(
                    host=self.host.origin,
                    method=self.request.method,
                    path=self.request.path,
                    attempt=number,
                    status=outcome.status,
                    error=None if outcome.error is None else type(outcome.error).__name__,
                    detail=_detail(outcome),
                    duration=done - began,
                )
            )
        if news:
            self.tell(news)
        if outcome.retry_after is not None:
            self._bind(outcome, outcome.retry_after, done)

    def _bind(self, outcome: Outcome, asked: float, now: float) -> None:
        """Have a server's "not now" hold back those that the policy says; the call itself waits in any case."""
        retry = self.rules.policy.retry
        if retry is None or retry.after_binds == "call" or outcome.elsewhere or outcome.status is None:
            return
        if outcome.status < 400 or not (outcome.status in retry.statuses or outcome.status in _NOT_NOW):
            return
        seconds = min(asked, retry.retry_after_max)
        if seconds > 0:
            whose = self.request.credentials() if retry.after_binds == "pair" else None
            self.tell(self.host.begin_cooldown(Cooldown(now, now + seconds, outcome.cause, whose)))

    def cooldowns(self, now: float) -> tuple[Cooldown, ...]:
        """What may hold it back as of `now`. Without retries it is one plain send, and its host is not asked."""
        host = self.host
        if host.cooldowns is None or self.rules.retries is None or host.isolated:
            return ()
        return host.cooldowns_on(self.request.credentials(), now)

    def luck(self) -> float:
        """A number from [0, 1), the same each time."""
        if self.lot is None:
            self.lot = self.clock.random()
        return self.lot

    def _in_haste(self, outcome: Outcome, duration: float, now: float) -> bool:
        """Whether an attempt ended for want of time that its caller did not leave it: less than the host mostly takes.

        That says nothing of the host. One that was given more counts: else a host that hangs would never be found
        where all callers are in a hurry.
        """
        if outcome.verdict is not FAILURE or not isinstance(outcome.error, _TIMEOUTS):
            return False
        usual = self.host.latency_above(_MOSTLY, now)
        return duration < (_UNKNOWN if usual is None else usual)

    def cancelled(self, number: int, began: float, wait: float, permit: Permit, why: str, *, cut: bool = False) -> None:
        """Put on record that a send was ended from here: its permit goes back, and nothing is said of the host.

        `cut` is one that lost a race, and would have gone on for longer.
        """
        done = self.clock.monotonic()
        self.sent = True
        self.attempts.append(Attempt(number, began - self.began, done - began, None, why, wait))
        self.tell(self.host.cancel(permit, done, done - began if cut else None))

    def release(self) -> None:
        """Give back all permits, also those that are back already: the call was struck, nobody knows where."""
        now = self.clock.monotonic()
        bearers: tuple[Bearer, ...] = (self, *self.runners.values())
        for bearer in bearers:
            self.tell(self.host.release(bearer.permit, now))

    def answer_for_all_sends(self, outcome: Outcome) -> None:
        """Have the error that the call ends with say `never_sent` only where that is true of each of its sends."""
        if self.sent and isinstance(outcome.error, ConnectionError):
            outcome.error.never_sent = False

    def tell(self, news: tuple[Event, ...]) -> None:
        """Announce what changed at the host."""
        for event in news:
            self.observe(event)

    def schedule(self, wait: float, outcome: Outcome, *, server_directed: bool, asked_for: bool = False) -> None:
        """Announce a wait. `asked_for` is one that the caller's `retry_if` wants."""
        self.observe(
            RetryScheduled(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                attempt=len(self.attempts) + 1,
                wait=wait,
                server_directed=server_directed,
                reason="retry_if" if asked_for else "status" if outcome.error is None else "error",
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

    def reject(
        self, by: Literal["breaker", "bulkhead", "cooldown", "isolation", "rate_limit"], retry_after: float | None
    ) -> None:
        """Announce a rejection."""
        self.refused = True
        request = self.request
        self.observe(RequestRejected(self.host.origin, request.method, request.path, by, retry_after))

    def would_reject(
        self,
        by: Literal["breaker", "bulkhead", "rate_limit"],
        retry_after: float | None,
        number: int | None = None,
    ) -> None:
        """Announce what only a dry run let through; `number` is the send's where it is not the next one."""
        self.dry = self.dry or by != "breaker"
        self.host.count("would reject", by)
        self.observe(
            RequestWouldReject(
                host=self.host.origin,
                method=self.request.method,
                path=self.request.path,
                by=by,
                attempt=len(self.attempts) + 1 if number is None else number,
                retry_after=retry_after,
            )
        )

    def end(self, outcome: Outcome) -> End:
        """How the call ended, for the host's counters."""
        if self.refused:
            return "rejected"
        return "failed" if outcome.error is not None or outcome.verdict is FAILURE else "answered"

    def announce(self, outcome: Outcome) -> None:
        """The one closing event of the call."""
        if (error := outcome.error) is not None or outcome.verdict is FAILURE:
            self.announce_failed(outcome, None if error is None else type(error).__name__, _detail(outcome))
            return
        level, sample = self.rules.finished_level, self.rules.sample
        if level == "off" or (sample < 1.0 and self.clock.random() >= sample):
            return
        # Each call makes this event or the next, and with keywords that takes half as long again.
        request, attempts, duration = self.request, len(self.attempts), self.clock.monotonic() - self.began
        self.observe(
            RequestFinished(
                self.host.origin,
                request.method,
                request.path,
                outcome.status,
                attempts,
                duration,
                self.waited,
                sample if sample < 1.0 else None,
            ),
            level,
        )

    def announce_failed(self, outcome: Outcome, error: str | None, detail: str | None) -> None:
        """The closing event of a call that its host, a policy or its caller ended."""
        request, attempts, duration = self.request, len(self.attempts), self.clock.monotonic() - self.began
        self.observe(
            RequestFailed(
                self.host.origin,
                request.method,
                request.path,
                outcome.status,
                error,
                detail,
                attempts,
                duration,
                self.waited,
            )
        )


def _detail(outcome: Outcome) -> str | None:
    """The text of an error of ours. Others are a caller's own, and may say anything."""
    return str(outcome.error) if isinstance(outcome.error, SleepwalkerException) else None
