"""A hedge: an attempt, plus more while it is slow. The first good outcome counts; the others are cancelled."""

from __future__ import annotations

from collections.abc import Generator

from sleepwalker.engine.announcements import would_reject
from sleepwalker.engine.cooling import held_for
from sleepwalker.engine.host.permits import FREE_PERMIT, Refusal
from sleepwalker.engine.outcome import Outcome
from sleepwalker.engine.record import AttemptUnderWay, Call
from sleepwalker.engine.steps import DUE, LATE, Completed, Hold, Reply, Send, Step
from sleepwalker.events import HedgeFinished, HedgeSent


def hedge_in(call: Call, now: float, deadline: float) -> float | None:
    """Seconds after which a send that begins now and ends by `deadline` is hedged; None for never."""
    policy = call.compiled.hedge
    if policy is None or not (call.request.idempotent and call.request.concurrent) or call.hedges >= policy.max_extra:
        return None
    delay = policy.delay
    if delay is None and policy.percentile is not None:
        delay = call.host.latency_above(policy.percentile / 100, now)
    return None if delay is None or now + delay >= deadline else delay


def hedge(call: Call, step: Send, began: float, wait: float) -> Generator[Step, Reply, Outcome]:
    """Send, and hedge until an outcome is good. All permits are returned, whatever happens.

    An outcome that the policy would retry waits for the others. If all are of that kind, the last one counts.
    """
    under_way = call.under_way = {step.number: AttemptUnderWay(began, wait, call.permit)}
    outcome: Outcome | None = None
    why, winner = "", 0
    try:
        reply = yield step
        while True:
            if isinstance(reply, Completed):
                attempt = under_way[reply.number]
                outcome, call.permit = reply.outcome, attempt.permit
                del under_way[reply.number]
                call.settled(reply.number, attempt.began, attempt.wait, attempt.permit, outcome)
                good = not call.compiled.worth_it(outcome)
                if good or not under_way:
                    winner = reply.number if good else 0
                    return outcome
                reply = yield Hold()
            elif reply is DUE:
                reply = yield _attempt_more(call, step, under_way, began)
            elif reply is LATE and outcome is not None:
                return outcome
            else:
                raise TypeError(f"a Send with hedge_in is answered with Completed or a Signal, not with {reply!r}")
    except BaseException as error:
        why = type(error).__name__
        raise
    finally:
        reason = why or (f"cancelled: attempt {winner} came first" if winner else "cancelled: it overran its deadline")
        for number, attempt in under_way.items():
            call.cancelled(number, attempt.began, attempt.wait, attempt.permit, reason, lost=not why)
        call.attempts.sort(key=lambda attempt: attempt.number)  # they were recorded in the order of their ends
        for number in range(step.number + 1, len(call.attempts) + 1):
            _announce_end(call, number, won=number == winner)


def _announce_end(call: Call, number: int, *, won: bool) -> None:
    request = call.request
    call.observe(
        HedgeFinished(
            host=call.host.origin,
            call=call.id,
            asked_for=request.name,
            method=request.method,
            path=request.path,
            attempt=number,
            won=won,
        )
    )


def _attempt_more(call: Call, step: Send, under_way: dict[int, AttemptUnderWay], began: float) -> Send | Hold:
    """Send a hedge attempt, if the budget has one and the breaker admits it."""
    now, compiled, admission = call.clock.monotonic(), call.compiled, call.host.admission
    if now >= step.deadline or held_for(call)[0] > 0:
        return Hold()
    number = len(call.attempts) + len(under_way) + 1
    observed = call.dry and (circuit := call.host.circuit) is not None and circuit.observes
    attempt = under_way[number] = AttemptUnderWay(now, 0.0, FREE_PERMIT)
    permit, events = admission.admit_hedge(
        attempt, now, compiled.attempt + 1.0, breaker=compiled.breaker and not observed, budget=compiled.budget
    )
    call.emit(events)
    if permit is None:
        del under_way[number]
        return Hold()
    if isinstance(permit, Refusal):
        would_reject(call, "breaker", permit.retry_after, number)
    call.hedges += 1
    call.observe(
        HedgeSent(
            host=call.host.origin,
            call=call.id,
            asked_for=call.request.name,
            method=call.request.method,
            path=call.request.path,
            attempt=number,
            delay=now - began,
        )
    )
    # The first one may be slow because its socket is dead. So may be all sockets without a response since.
    proven_since = max(began, step.proven_since)
    return Send(step.deadline, step.limit, step.seconds, number, hedge_in(call, now, step.deadline), proven_since)
