"""What happens to one call: its attempts, retries and hedges, and its end."""

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
    """The server's response was handed to the caller, a 404 included. Its level follows `log.finished`."""

    name = "request.finished"
    level: ClassVar[Level] = "info"

    status: int | None
    """Absent only for a guarded object that does not say."""
    attempts: int
    duration: float
    waited: float
    sample: float | None = None
    """`log.sample`, the share of answered calls that are logged; absent where all of them are."""


@event_type
class RequestFailed(CallEvent):
    """The caller got a response that counts against the host, an exception, or a rejection.

    Of refused calls one event may stand for several (`log.rejections`); its other fields are those of the latest.
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
    """The call waits, then sends again. `attempt` is the number of the send to come."""

    name = "retry.scheduled"
    level: ClassVar[Level] = "info"

    attempt: int
    wait: float
    server_directed: bool
    """True where the server set the wait: by this response or, under `retry.after_binds`, by one to another call."""
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
    """A hedge attempt is over: it got a response, or another attempt of the call did."""

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
    """The policy part that refused the call; `cooldown`: the host had asked for a wait (`retry.after_binds`);
    `isolation`: an operator had taken it out of use."""
    retry_after: float | None
    count: int | None = None
    ago: float | None = None


@event_type
class RequestWouldReject(CallEvent):
    """A part of the policy in `observe` mode would have refused this send, which is made all the same."""

    name = "request.would_reject"
    level: ClassVar[Level] = "info"

    by: Literal["breaker", "bulkhead", "rate_limit"]
    attempt: int
    """The number of the send. The first would have been a rejected call, a later one an abandoned retry."""
    retry_after: float | None
