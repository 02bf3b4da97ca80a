"""After an attempt: whether to make another one, and the wait before it."""

from __future__ import annotations

import math
from collections.abc import Generator

from sleepwalker.engine.announcements import abandon, schedule
from sleepwalker.engine.cooling import held_for, pause
from sleepwalker.engine.host.circuit import Circuit
from sleepwalker.engine.outcome import FAILURE, Outcome
from sleepwalker.engine.record import Call
from sleepwalker.engine.retrying import Retries, RetryContext, Stop
from sleepwalker.engine.steps import Ask, Reply, Step
from sleepwalker.exceptions import ConnectionError


def wait_for_retry(
    call: Call, retries: Retries, outcome: Outcome, deadline: float
) -> Generator[Step, Reply, float | None]:
    """Wait before the next attempt and return the seconds; None if the outcome is final."""
    asked_for = False
    if not retries.worth_it(outcome):
        asked_for = yield from _asked(call, outcome)
        if not asked_for:
            # Only when no other attempt is wanted: a caller that polls for a better response still waits for its own.
            if call.spent is not None and outcome.error is None and outcome.verdict is not FAILURE:
                call.host.admission.retry_answered(call.spent, call.clock.monotonic())
            return None
    if call.retrying is None:
        call.retrying = retries.begin(_context(call, deadline))
    decision = retries.after(call.retrying, outcome, asked_for=asked_for)
    if isinstance(decision, Stop):
        if decision.reason is not None:
            abandon(call, decision.reason)
        return None
    schedule(call, decision, outcome, server_directed=call.retrying.server_directed, asked_for=asked_for)
    if (yield from pause(call, decision)):
        abandon(call, "closed")
        return None
    return decision


def _asked(call: Call, outcome: Outcome) -> Generator[Step, Reply, bool]:
    """Whether the caller wants another attempt. It is not asked about its own errors, such as its auth object's."""
    retry_if = call.request.retry_if
    if retry_if is None or (outcome.error is not None and not isinstance(outcome.error, ConnectionError)):
        return False
    return (yield Ask(outcome, retry_if, tuple(call.attempts))) is True


def _context(call: Call, deadline: float) -> RetryContext:
    """The facts of this call that decide about a retry."""
    clock, host = call.clock, call.host
    circuit = host.circuit if call.compiled.breaker else None
    return RetryContext(
        idempotent=call.request.idempotent,
        replayable=call.request.replayable,
        time_left=lambda: deadline - clock.monotonic(),
        rejected_for=lambda: _rejected_for(circuit, clock.monotonic()) if circuit else 0.0,
        held_for=lambda: held_for(call)[0] if host.admission.cooldowns is not None else 0.0,
        spend=lambda: _spend(call),
    )


def _rejected_for(circuit: Circuit, now: float) -> float:
    """Seconds for which the circuit admits no retry, less those that a call waits for it (`breaker.max_wait`)."""
    if circuit.about_to_open:
        return 0.0 if circuit.max_wait > 0 else math.inf
    return circuit.opens_in(now) - circuit.max_wait


def _spend(call: Call) -> bool:
    """Take a retry out of the host's budget, and remember when: one that is answered gives it back.

    One that will wait for its circuit takes nothing: the circuit admits no more than the host can handle.
    """
    now, circuit = call.clock.monotonic(), call.host.circuit
    budget = call.compiled.budget
    if call.compiled.breaker and circuit is not None and circuit.max_wait > 0:
        budget = budget and not (circuit.tripped or circuit.about_to_open)
    if not call.host.admission.spend_retry(now, budget=budget):
        return False
    call.spent = now if budget else None
    return True
