"""The errors of a call that a policy refused, or that ran out of time or was closed, before anything was sent."""

from __future__ import annotations

from typing import Literal

from sleepwalker.engine.breaker import CLOSED, HALF_OPEN, OPEN, Refusal
from sleepwalker.engine.outcome import Outcome, Verdict
from sleepwalker.engine.record import Call
from sleepwalker.exceptions import (
    BulkheadFullError,
    CircuitOpenError,
    ConnectionError,
    DeadlineExceeded,
    HostIsolatedError,
    RateLimitedError,
)

_STATES = {
    OPEN: "is open{cause}; next try in {wait:.3g} s",
    HALF_OPEN: "is half-open{cause}: a probe is under way, and decides",
    CLOSED: "closed again after it had opened{cause}, and admits a growing part of the calls; all in {wait:.3g} s",
}


def rejected_by_breaker(call: Call, refusal: Refusal) -> Outcome:
    """The outcome of a call that the open circuit did not let through."""
    cause = f" after {refusal.cause}" if refusal.cause else ""
    breaker = call.host.breaker
    state = breaker.state(call.clock.monotonic()) if breaker is not None else OPEN
    error = CircuitOpenError(
        f"the circuit of {call.host.origin} {_STATES[state].format(cause=cause, wait=refusal.retry_after)}",
        host=call.host.origin,
        retry_after=refusal.retry_after,
        cause=refusal.cause,
    )
    call.reject("breaker", refusal.retry_after)
    return Outcome(Verdict.NEUTRAL, error=error)


def rejected_at_entry(call: Call, by: Literal["bulkhead", "isolation"], waited: float = 0.0) -> Outcome:
    """The outcome of a call for which there was no room, or whose host is isolated."""
    origin = call.host.origin
    error: ConnectionError
    if by == "isolation":
        error = HostIsolatedError(f"{origin} is isolated by an operator; restore() ends that", host=origin)
    else:
        limit = call.host.limit
        longer = f"; no place came free within {waited:.3g} s" if waited else ""
        error = BulkheadFullError(f"{origin}: {limit} calls in flight, the most that it may get{longer}", host=origin)
    call.reject(by, None)
    return Outcome(Verdict.NEUTRAL, error=error)


def rejected_by_rate_limit(call: Call, wait: float) -> Outcome:
    """The outcome of a call for which no token comes in time."""
    origin = call.host.origin
    error = RateLimitedError(
        f"{origin}: the policy's rate of calls to it is used up; next try in {wait:.3g} s",
        host=origin,
        retry_after=wait,
    )
    call.reject("rate_limit", wait)
    return Outcome(Verdict.NEUTRAL, error=error)


def closed_meanwhile(call: Call) -> Outcome:
    """The outcome of a call whose connection was closed before anything was sent."""
    error = ConnectionError(f"{call.host.origin}: this connection was closed while the call waited for its turn")
    error.never_sent, error.retryable = True, False
    return Outcome(Verdict.NEUTRAL, error=error)


def too_late(call: Call) -> Outcome:
    """The outcome of a call whose time was over before anything was sent."""
    error = DeadlineExceeded(
        f"{call.host.origin}: the total deadline ran out after {call.rules.total:.3g} s, waiting for a turn",
        limit="total",
        phase="queue",
    )
    error.never_sent = True
    return Outcome(Verdict.NEUTRAL, error=error)
