"""The errors of calls that ended before anything was sent: refused by a policy, out of time, or closed."""

from __future__ import annotations

from typing import Literal

from sleepwalker.engine.announcements import reject
from sleepwalker.engine.host.cooldown import Cooldown
from sleepwalker.engine.host.permits import HALF_OPEN, OPEN, Refusal
from sleepwalker.engine.outcome import NEUTRAL, Outcome
from sleepwalker.engine.record import Call
from sleepwalker.exceptions import (
    BulkheadFullError,
    CircuitOpenError,
    ConnectionError,
    DeadlineExceeded,
    RateLimitedError,
)


def rejected_by_breaker(call: Call, refusal: Refusal) -> Outcome:
    """The outcome of a call that the circuit did not admit."""
    host, wait = call.host, refusal.retry_after
    after = f" after {refusal.cause}" if refusal.cause else ""
    if refusal.state == OPEN:
        who = ": other workers found it broken" if refusal.told else ""
        what = f"is open{after}{who}; next try in {wait:.3g} s"
    elif refusal.state == HALF_OPEN:
        who = "; other workers found it broken" if refusal.told else ""
        what = f"is half-open{after}: a probe is under way{who}"
    else:
        what = f"closed again after it had opened{after}, and lets in a growing share of calls; all in {wait:.3g} s"
    message = f"the circuit of {host.origin} {what}"
    error = CircuitOpenError(message, host=host.origin, retry_after=wait, cause=refusal.cause)
    reject(call, "breaker", wait)
    return Outcome(NEUTRAL, error=error)


def rejected_at_entry(call: Call, by: Literal["bulkhead", "isolation"], waited: float = 0.0) -> Outcome:
    """The outcome of a call that found no place in the bulkhead, or whose host is isolated."""
    origin = call.host.origin
    error: ConnectionError
    if by == "isolation":
        error = call.host.verdict.refusal()
    else:
        bulkhead = call.host.admission.bulkhead
        which = "the limit (bulkhead.max_concurrent)" if bulkhead.adaptive is None else "the limit of bulkhead.adaptive"
        longer = f"; no slot became free within {waited:.3g} s" if waited else ""
        error = BulkheadFullError(f"{origin}: {bulkhead.limit} calls in flight, which is {which}{longer}", host=origin)
    reject(call, by, error.retry_after)
    return Outcome(NEUTRAL, error=error)


def rejected_by_rate_limit(call: Call, wait: float) -> Outcome:
    """The outcome of a call that gets no token in time."""
    origin = call.host.origin
    limit = call.host.admission.rate_limit
    whose = " for these credentials" if limit is not None and limit.by_credentials else ""
    error = RateLimitedError(
        f"{origin}: the policy's rate limit (rate_limit.rate){whose} is reached; next try in {wait:.3g} s",
        host=origin,
        retry_after=wait,
    )
    reject(call, "rate_limit", wait)
    return Outcome(NEUTRAL, error=error)


def held_back(call: Call, cooldown: Cooldown) -> Outcome:
    """The outcome of a call whose time ends before its host's cooldown."""
    origin, wait = call.host.origin, max(0.0, cooldown.until - call.clock.monotonic())
    whom = "all calls to it" if cooldown.whose is None else "all calls with these credentials"
    error = RateLimitedError(
        f"{origin}: the server asked to wait ({cooldown.cause}), which retry.after_binds extends to {whom}; "
        f"next try in {wait:.3g} s",
        host=origin,
        retry_after=wait,
        cause=cooldown.cause,
    )
    reject(call, "cooldown", wait)
    return Outcome(NEUTRAL, error=error)


def closed_meanwhile(call: Call) -> Outcome:
    """The outcome of a call whose connection was closed before anything was sent."""
    error = ConnectionError(f"{call.host.origin}: this connection was closed while the call was queued")
    error.never_sent, error.retryable = True, False
    return Outcome(NEUTRAL, error=error)


def too_late(call: Call) -> Outcome:
    """The outcome of a call that ran out of time before anything was sent."""
    error = DeadlineExceeded(
        f"{call.host.origin}: the total deadline ran out after {call.compiled.total:.3g} s, while the call was queued",
        limit="total",
        phase="queue",
    )
    error.never_sent = True
    return Outcome(NEUTRAL, error=error)
