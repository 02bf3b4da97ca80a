"""The record of one call: what it has tried, and what it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sleepwalker.attempt import Attempt
from sleepwalker.clock import Clock
from sleepwalker.engine.compiled import CompiledPolicy
from sleepwalker.engine.host import Host
from sleepwalker.engine.host.cooldown import Cooldown
from sleepwalker.engine.host.counters import End
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.engine.host.permits import FREE_PERMIT, Permit, PermitHolder
from sleepwalker.engine.outcome import FAILURE, NEUTRAL, Outcome
from sleepwalker.engine.retrying import RetryState
from sleepwalker.engine.steps import Request
from sleepwalker.events import (
    AttemptFailed,
    Event,
    Observer,
    Transition,
)
from sleepwalker.exceptions import (
    ConnectionError,
    ConnectTimeout,
    DeadlineExceeded,
    ReadTimeout,
)
from sleepwalker.process import THIS_PROCESS
from sleepwalker.value import draft_of

_AttemptDraft = draft_of(Attempt)


@dataclass(slots=True)
class AttemptUnderWay:
    """One running attempt of a hedge."""

    began: float
    wait: float
    """How long the call had waited before it."""
    permit: Permit


_TIMEOUTS = (ConnectTimeout, DeadlineExceeded, ReadTimeout)
#: How long a host usually takes: this share of attempts takes no longer (half, so that hanging ones do not move it);
#: and the seconds to assume while too few are known.
_MOSTLY, _UNKNOWN = 0.5, 0.5

#: For a call that was not hedged.
_NONE: dict[int, AttemptUnderWay] = {}
#: Statuses by which a server refuses a request, in addition to the retried ones.
_NOT_NOW = frozenset({429, 503})


class Call(Holdings):
    """The memory of one call."""

    __slots__ = (
        "_drawn",
        "attempts",
        "began",
        "clock",
        "compiled",
        "cooled",
        "deposited",
        "dry",
        "hedges",
        "host",
        "id",
        "observe",
        "permit",
        "refused",
        "request",
        "retrying",
        "sent",
        "spent",
        "under_way",
        "waited",
    )

    def __init__(self, host: Host, compiled: CompiledPolicy, request: Request, clock: Clock, observe: Observer) -> None:
        super().__init__()
        self.id: str = f"{THIS_PROCESS.prefix}-{next(THIS_PROCESS.calls):x}"
        """The id that all its events have, and no other call's."""
        self.host: Host = host
        self.compiled: CompiledPolicy = compiled
        self.request: Request = request
        self.clock: Clock = clock
        self.observe: Observer = observe
        self.began: float = clock.monotonic()
        self.attempts: list[Attempt] = []
        self.deposited: bool = False
        """Whether it has paid into the retry budget: with the first of its attempts that has an outcome."""
        self.hedges: int = 0
        """How many of its attempts were sent beside one that was slow."""
        self.waited: float = 0.0
        self.cooled: float = -math.inf
        """Cooldowns that ended by then no longer hold it back: it has had its turn after them."""
        self._drawn: float | None = None
        """The random number of `draw`; None until it is needed."""
        self.spent: float | None = None
        """When its latest retry was taken out of the budget; None if it has had none, or no budget applied."""
        self.sent: bool = False
        """Whether any of its sends may have reached the server. One that was cancelled may have."""
        self.permit: Permit = FREE_PERMIT
        self.under_way: dict[int, AttemptUnderWay] = _NONE
        """The attempts of the present or latest hedge, by number."""
        self.retrying: RetryState | None = None
        """The memory of its retry decisions; None before the first."""
        self.refused: Any = None
        """The draft of its `RequestRejected` event, if it was refused."""
        self.dry: bool = False
        """Whether a limit that only observes would have refused the call: then later limits would not have seen it."""

    def settled(self, number: int, began: float, wait: float, permit: Permit, outcome: Outcome) -> None:
        """Record an attempt's outcome and return its permit. `wait` is the time that the call waited before it."""
        done = self.clock.monotonic()
        if self.compiled.hasty and self._in_haste(outcome, done - began, done):
            outcome.verdict = NEUTRAL
            events = self.host.outcomes.cancel(permit, done)
        else:
            events = self.host.outcomes.settle(permit, outcome, done, done - began, first=not self.deposited)
            self.deposited = True
        if not outcome.never_sent:
            self.sent = True
        text = None if outcome.error is None else outcome.describe()
        attempt = _AttemptDraft(number, began - self.began, done - began, outcome.status, text, wait)
        attempt.__class__ = Attempt
        self.attempts.append(attempt)
        if outcome.verdict is FAILURE or outcome.error is not None or outcome.status in self.compiled.statuses:
            self.observe(
                AttemptFailed(
                    host=self.host.origin,
                    call=self.id,
                    asked_for=self.request.name,
                    method=self.request.method,
                    path=self.request.path,
                    attempt=number,
                    status=outcome.status,
                    error=None if outcome.error is None else type(outcome.error).__name__,
                    detail=outcome.detail,
                    duration=done - began,
                )
            )
        if events:
            self.emit(events)
        if outcome.retry_after is not None:
            self._bind(outcome, outcome.retry_after, done)

    def _bind(self, outcome: Outcome, asked: float, now: float) -> None:
        """Begin a cooldown, as the policy says, if the server said "not now". The call itself waits in any case."""
        retry = self.compiled.policy.retry
        if retry is None or retry.after_binds == "call" or outcome.elsewhere or outcome.status is None:
            return
        if outcome.status < 400 or not (outcome.status in retry.statuses or outcome.status in _NOT_NOW):
            return
        seconds = min(asked, retry.retry_after_max)
        if seconds > 0:
            whose = self.request.credentials() if retry.after_binds == "pair" else None
            self.emit(self.host.admission.begin_cooldown(Cooldown(now, now + seconds, outcome.cause, whose)))

    def cooldowns(self, now: float) -> tuple[Cooldown, ...]:
        """The cooldowns that may hold it back at `now`. Without retries it is one plain send, and none applies."""
        host = self.host
        if host.admission.cooldowns is None or self.compiled.retries is None or host.isolated:
            return ()
        return host.admission.cooldowns_on(self.request.credentials(), now)

    def draw(self) -> float:
        """A number from [0, 1), the same each time."""
        if self._drawn is None:
            self._drawn = self.clock.random()
        return self._drawn

    def _in_haste(self, outcome: Outcome, duration: float, now: float) -> bool:
        """Whether an attempt timed out because its caller left it less time than the host usually takes.

        That says nothing about the host. A timeout after more time counts: else a host that hangs would never be found
        if all callers are in a hurry.
        """
        if outcome.verdict is not FAILURE or not isinstance(outcome.error, _TIMEOUTS):
            return False
        usual = self.host.latency_above(_MOSTLY, now)
        return duration < (_UNKNOWN if usual is None else usual)

    def cancelled(
        self, number: int, began: float, wait: float, permit: Permit, why: str, *, lost: bool = False
    ) -> None:
        """Record that an attempt was ended from here: its permit is returned, and nothing counts against the host.

        `lost` marks a hedge attempt that would have continued if no other one had been answered.
        """
        done = self.clock.monotonic()
        self.sent = True
        self.attempts.append(Attempt(number, began - self.began, done - began, None, why, wait))
        self.emit(self.host.outcomes.cancel(permit, done, done - began if lost else None))

    def release(self) -> None:
        """Return all permits, even those already returned, after an exception struck the call at any point."""
        now = self.clock.monotonic()
        holders: tuple[PermitHolder, ...] = (self, *self.under_way.values())
        for holder in holders:
            self.emit(self.host.outcomes.release(holder.permit, now))

    def emit(self, events: tuple[Event, ...]) -> None:
        """Announce the changes of the host."""
        for event in events:
            self.observe(replace(event, call=self.id) if isinstance(event, Transition) else event)

    def end(self, outcome: Outcome) -> End:
        """How the call ended, for the host's counters.

        Its error says `never_sent` only if that is true of each attempt.
        """
        if self.sent and isinstance(outcome.error, ConnectionError):
            outcome.error.never_sent = False
        if self.refused is not None:
            return "rejected"
        return "failed" if outcome.error is not None or outcome.verdict is FAILURE else "answered"
