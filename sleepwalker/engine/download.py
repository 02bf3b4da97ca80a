"""The engine of a download: one call whose attempts each bring a part of a file, for as long as that goes forward.

Each response is asked for as that of an ordinary call: attempts, waits, budget, circuit and deadlines are the same, and
an attempt counts for its host by its head. What differs is what comes after the head:

- `timeout.total` bounds each stretch without progress: from the beginning, or from when a body last broke off after
  progress, to the next head. A body may take any time.
- `retry.attempts` counts in a row without progress.
- A body that breaks off after progress is no failure of the host. Any other one takes the success of its head back.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace

from sleepwalker.clock import Clock
from sleepwalker.engine.announcements import abandon
from sleepwalker.engine.call import attempts, run
from sleepwalker.engine.compiled import CompiledPolicy
from sleepwalker.engine.host import Host
from sleepwalker.engine.outcome import FAILURE, Outcome
from sleepwalker.engine.record import Call
from sleepwalker.engine.rejections import rejected_at_entry
from sleepwalker.engine.retry_wait import wait_for_retry
from sleepwalker.engine.steps import Receive, Received, Reply, Request, Step, Steps
from sleepwalker.events import AttemptFailed, Observer
from sleepwalker.exceptions import DeadlineExceeded


def download(
    host: Host,
    compiled: CompiledPolicy,
    request: Request,
    clock: Clock,
    observe: Observer,
    ends_at: float = math.inf,
) -> Steps:
    """The steps of one download, which is over by `ends_at` on the clock; else they are those of `run`."""

    def perform(call: Call, deadline: float) -> Generator[Step, Reply, Outcome]:
        return _stretches(call, min(deadline, ends_at), ends_at)

    return run(host, compiled, request, clock, observe, perform)


def _stretches(call: Call, deadline: float, ends_at: float) -> Generator[Step, Reply, Outcome]:
    """Ask, receive, and ask for the rest, until there is nothing more to ask for or no progress."""
    wait = 0.0
    while True:
        if call.attempts and call.host.isolated:  # it may have begun hours ago, and an isolation ends it, too
            call.host.admission.count_rejection("isolation")
            return rejected_at_entry(call, "isolation")
        outcome = yield from attempts(call, deadline, wait)
        if outcome.error is not None:
            return outcome
        charged, call.spent, wait = call.spent, None, 0.0
        received = yield Receive(outcome)
        if not isinstance(received, Received):
            raise TypeError(f"a Receive is answered with a Received, not with {received!r}")
        _record(call, outcome, received)
        if received.forward:
            call.retrying = None
            deadline = min(call.clock.monotonic() + call.compiled.total, ends_at)
        if received.over or received.outcome.error is None:
            if received.over:
                return received.outcome
            continue
        again = yield from _wait(call, received, deadline, charged)
        if again is None:
            return received.outcome
        wait = again


def _wait(
    call: Call, received: Received, deadline: float, charged: float | None
) -> Generator[Step, Reply, float | None]:
    """Wait for the next attempt and return the seconds; None if the error is final."""
    retries, broke = call.compiled.retries, received.outcome
    if retries is None:
        return None
    if call.clock.monotonic() >= deadline:
        if retries.worth_it(broke):
            abandon(call, "deadline")
        return None
    if charged is not None and not received.forward:
        # Its head gave the share of the budget back, but the retry came to nothing.
        call.host.admission.spend_retry(call.clock.monotonic(), budget=True)
    return (yield from wait_for_retry(call, retries, broke, deadline))


def _record(call: Call, head: Outcome, received: Received) -> None:
    """Complete the record of an attempt whose head has counted already."""
    now, broke = call.clock.monotonic(), received.outcome
    at = next(i for i in reversed(range(len(call.attempts))) if call.attempts[i].status == head.status)
    attempt = call.attempts[at]
    duration = now - call.began - attempt.start
    error = None if broke.error is None else broke.describe()
    call.attempts[at] = replace(attempt, duration=duration, error=error, reached=received.reached)
    if broke.error is None:
        return
    call.observe(
        AttemptFailed(
            host=call.host.origin,
            call=call.id,
            asked_for=call.request.name,
            method=call.request.method,
            path=call.request.path,
            attempt=attempt.number,
            status=head.status,
            error=type(broke.error).__name__,
            detail=broke.detail,
            duration=duration,
        )
    )
    # A body that outlasts its caller's time says nothing about the host, and neither does one of another host.
    hers = not head.elsewhere and not isinstance(broke.error, DeadlineExceeded)
    if hers and not received.forward and broke.verdict is FAILURE and head.verdict is not FAILURE:
        broke.head = head.head
        call.emit(call.host.outcomes.settle_body(call.permit, broke, now))
