"""The entry of a call: the end of a cooldown, a token of the rate limit, and a place in the bulkhead."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from sleepwalker.engine.announcements import would_reject
from sleepwalker.engine.cooling import pause, wait_out
from sleepwalker.engine.host.cooldown import Cooldown
from sleepwalker.engine.host.holdings import Waiter
from sleepwalker.engine.outcome import Outcome
from sleepwalker.engine.record import Call
from sleepwalker.engine.rejections import (
    closed_meanwhile,
    held_back,
    rejected_at_entry,
    rejected_by_rate_limit,
    too_late,
)
from sleepwalker.engine.steps import Queue, Reply, Step


def wait_for_token(call: Call) -> Generator[Step, Reply, Outcome | None]:
    """Wait for the end of a cooldown, then for a token. Returns the outcome of a call that gets none."""
    admission = call.host.admission
    limited = call.compiled.rate_limit and admission.rate_limit is not None and not call.host.isolated
    refused = None
    if limited or admission.cooldowns is not None:
        refused = yield from _cool(call)
    return (yield from _take_token(call)) if limited and refused is None else refused


def _cool(call: Call) -> Generator[Step, Reply, Outcome | None]:
    stopped = yield from wait_out(call)
    return None if stopped is None else not_sent(call, stopped)


def not_sent(call: Call, stopped: Cooldown | Literal["closed"]) -> Outcome:
    """The outcome of a call that a cooldown held back until its time was over or its connection closed."""
    if stopped == "closed":
        return closed_meanwhile(call)
    call.host.admission.count_rejection("cooldown")
    return held_back(call, stopped)


def _take_token(call: Call) -> Generator[Step, Reply, Outcome | None]:
    """Take a token of the rate limit, waiting for it if need be. Returns the outcome of a call that gets none.

    A call takes one token for all its attempts: the retry budget limits retries.
    """
    admission, now = call.host.admission, call.clock.monotonic() if call.waited else call.began
    left = call.began + call.compiled.total - now
    limit = admission.rate_limit
    credentials = call.request.credentials() if limit is not None and limit.by_credentials else ""
    decision, wait = admission.take_token(call, now, left, credentials)
    if decision == "rejected":
        return rejected_by_rate_limit(call, wait)
    if decision == "over_limit":
        would_reject(call, "rate_limit", wait)
        return None
    while wait > 0:
        if wait > left:
            admission.count_rejection("rate_limit")
            return rejected_by_rate_limit(call, wait)
        if (yield from pause(call, wait)):
            return closed_meanwhile(call)
        # A token is taken at the moment a call goes: a call that a cooldown holds back now must not keep one.
        if admission.cooldowns is not None and (refused := (yield from _cool(call))) is not None:
            return refused
        now = call.clock.monotonic()
        left = call.began + call.compiled.total - now
        # Mostly it is there. If many calls woke up late and the bucket was full meanwhile, some wait again.
        wait = admission.take_due_token(call, now)
    return None


def wait_for_place(call: Call, waiter: Waiter) -> Generator[Step, Reply, Outcome | None]:
    """Wait for a place in the bulkhead. Returns None with a place, or the outcome of a call that gets none."""
    admission, began = call.host.admission, call.clock.monotonic()
    left = max(0.0, call.began + call.compiled.total - began)
    closed = yield Queue(waiter, min(waiter.patience, left))
    call.waited += call.clock.monotonic() - began
    entered = admission.claim(call)  # a place may have come at the same moment as the end of the wait
    if call.host.isolated:
        admission.count_rejection("isolation")
        return rejected_at_entry(call, "isolation")
    if entered:
        return None
    if closed:
        return closed_meanwhile(call)
    if left < waiter.patience:
        return too_late(call)
    admission.count_rejection("bulkhead")
    return rejected_at_entry(call, "bulkhead", waiter.patience)
