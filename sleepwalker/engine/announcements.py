"""The events of a call, except those of its attempts and of its host."""

from __future__ import annotations

from typing import Literal

from sleepwalker.engine.outcome import FAILURE, Outcome
from sleepwalker.engine.record import Call
from sleepwalker.events import (
    RequestFailed,
    RequestFinished,
    RequestRejected,
    RequestWouldReject,
    RetryAbandoned,
    RetryScheduled,
)
from sleepwalker.value import draft_of

#: Each call makes one or two of these events: a draft without keywords is faster.
_FinishedDraft, _FailedDraft = draft_of(RequestFinished), draft_of(RequestFailed)
_RejectedDraft = draft_of(RequestRejected)


def schedule(call: Call, wait: float, outcome: Outcome, *, server_directed: bool, asked_for: bool = False) -> None:
    """Announce a wait before a retry. `asked_for`: the caller's `retry_if` wants the retry."""
    call.observe(
        RetryScheduled(
            host=call.host.origin,
            call=call.id,
            asked_for=call.request.name,
            method=call.request.method,
            path=call.request.path,
            attempt=len(call.attempts) + 1,
            wait=wait,
            server_directed=server_directed,
            reason="retry_if" if asked_for else "status" if outcome.error is None else "error",
        )
    )


def abandon(
    call: Call,
    reason: Literal["breaker", "budget", "closed", "deadline", "not idempotent", "not replayable", "retry after"],
) -> None:
    """Announce that a retry was due but is not made."""
    call.host.count("abandoned", reason)
    call.observe(
        RetryAbandoned(
            host=call.host.origin,
            call=call.id,
            asked_for=call.request.name,
            method=call.request.method,
            path=call.request.path,
            attempt=len(call.attempts),
            reason=reason,
        )
    )


def reject(
    call: Call, by: Literal["breaker", "bulkhead", "cooldown", "isolation", "rate_limit"], retry_after: float | None
) -> None:
    """Note a rejection; it is announced when the call ends."""
    request = call.request
    call.refused = _RejectedDraft(
        call.host.origin, request.method, request.path, by, retry_after, call=call.id, asked_for=request.name
    )


def would_reject(
    call: Call,
    by: Literal["breaker", "bulkhead", "rate_limit"],
    retry_after: float | None,
    number: int | None = None,
) -> None:
    """Announce that a dry run would have refused a send. `number` is the send's, if it is not the next one."""
    call.dry = call.dry or by != "breaker"
    call.host.count("would reject", by)
    call.observe(
        RequestWouldReject(
            host=call.host.origin,
            call=call.id,
            asked_for=call.request.name,
            method=call.request.method,
            path=call.request.path,
            by=by,
            attempt=len(call.attempts) + 1 if number is None else number,
            retry_after=retry_after,
        )
    )


def announce(call: Call, outcome: Outcome) -> None:
    """Announce the one closing event of the call. For a refused call it may come later, together with others."""
    if (refusals := call.host.admission.refusals) is not None and call.refused is None:
        refusals.tell_if_due()
    if (error := outcome.error) is not None or outcome.verdict is FAILURE:
        announce_failed(call, outcome, None if error is None else type(error).__name__, outcome.detail)
        return
    level, sample = call.compiled.finished_level, call.compiled.sample
    if level == "off" or (sample < 1.0 and call.clock.random() >= sample):
        return
    request, attempts, duration = call.request, len(call.attempts), call.clock.monotonic() - call.began
    event = _FinishedDraft(
        call.host.origin,
        request.method,
        request.path,
        outcome.status,
        attempts,
        duration,
        call.waited,
        sample if sample < 1.0 else None,
        call=call.id,
        asked_for=request.name,
    )
    event.__class__ = RequestFinished
    call.observe(event, level)


def announce_failed(call: Call, outcome: Outcome, error: str | None, detail: str | None) -> None:
    """Announce the closing event of a call that its host, a policy or its caller ended."""
    request, attempts, duration = call.request, len(call.attempts), call.clock.monotonic() - call.began
    event = _FailedDraft(
        call.host.origin,
        request.method,
        request.path,
        outcome.status,
        error,
        detail,
        attempts,
        duration,
        call.waited,
        call=call.id,
        asked_for=request.name,
    )
    if call.refused is not None:
        call.host.admission.refused().add(call.refused, event, call.observe, call.compiled.rejections)
        return
    event.__class__ = RequestFailed
    call.observe(event)
