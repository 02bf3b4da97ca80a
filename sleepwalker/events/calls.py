"""Events of one call: its attempts, retries and hedges, and its end."""

from __future__ import annotations

from typing import ClassVar, Literal

from sleepwalker.events.base import CallEvent, Level, event_type

__all__ = [
    "AttemptFailed",
    "HedgeFinished",
    "HedgeSent",
    "RequestFailed",
    "RequestFinished",
    "RequestRejected",
    "RequestWouldReject",
    "RetryAbandoned",
    "RetryScheduled",
]


@event_type
class RequestFinished(CallEvent):
    """The caller got the server's response (a 404 too). `log.finished` sets the level."""

    name = "request.finished"
    level: ClassVar[Level] = "info"

    status: int | None
    """Absent only for a guarded object whose response has no status."""
    attempts: int
    duration: float
    waited: float
    sample: float | None = None
    """`log.sample`, the share of answered calls that are logged; absent if all are."""


@event_type
class RequestFailed(CallEvent):
    """The caller got a response that counts against the host, an exception, or a rejection.

    For refused calls, one event may stand for several (`log.rejections`). Its other fields describe the latest one.
    """

    name = "request.failed"
    level: ClassVar[Level] = "error"

    status: int | None
    error: str | None
    detail: str | None
    attempts: int
    duration: float
    waited: float
    count: int | None = None
    ago: float | None = None


@event_type
class AttemptFailed(CallEvent):
    """One send ended with an error, or with a status that is retried or counts as a failure."""

    name = "attempt.failed"
    level: ClassVar[Level] = "warning"

    attempt: int
    status: int | None
    error: str | None
    detail: str | None
    duration: float


@event_type
class RetryScheduled(CallEvent):
    """The call waits, then sends again. `attempt` is the number of the next send."""

    name = "retry.scheduled"
    level: ClassVar[Level] = "info"

    attempt: int
    wait: float
    server_directed: bool
    """True if the server set the wait, in this response or, with `retry.after_binds`, in that of another call."""
    reason: Literal["status", "error", "retry_if"]
    """What caused it: a status of `retry.statuses`, an error, or `retry_if` of the call or its connection."""


@event_type
class RetryAbandoned(CallEvent):
    """A retry was due and attempts were left, but `reason` prevented it."""

    name = "retry.abandoned"
    level: ClassVar[Level] = "warning"

    attempt: int
    reason: Literal["breaker", "budget", "closed", "deadline", "not idempotent", "not replayable", "retry after"]


@event_type
class HedgeSent(CallEvent):
    """An attempt is slow, so a hedge attempt was sent beside it. The first good response counts."""

    name = "hedge.sent"
    level: ClassVar[Level] = "info"

    attempt: int
    """The number of the hedge attempt."""
    delay: float


@event_type
class HedgeFinished(CallEvent):
    """A hedge attempt ended: it or another attempt of the call got a response."""

    name = "hedge.finished"
    level: ClassVar[Level] = "info"

    attempt: int
    """The number of the hedge attempt."""
    won: bool
    """Whether its response was the one that counts."""


@event_type
class RequestRejected(CallEvent):
    """The caller's policy refused the call before anything was sent. One event may stand for several calls."""

    name = "request.rejected"
    level: ClassVar[Level] = "warning"

    by: Literal["breaker", "bulkhead", "cooldown", "isolation", "rate_limit"]
    """The policy part that refused the call. `cooldown`: the host asked callers to wait (`retry.after_binds`).
    `isolation`: an operator took it out of use."""
    retry_after: float | None
    count: int | None = None
    ago: float | None = None


@event_type
class RequestWouldReject(CallEvent):
    """A part of the policy in `observe` mode would have refused this send. It is sent anyway."""

    name = "request.would_reject"
    level: ClassVar[Level] = "info"

    by: Literal["breaker", "bulkhead", "rate_limit"]
    attempt: int
    """The number of the send. The first would be a rejected call, a later one an abandoned retry."""
    retry_after: float | None
