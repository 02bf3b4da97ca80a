"""A race: an attempt, and the copies of it that are sent while it is slow. The first good answer wins."""

from __future__ import annotations

from collections.abc import Generator

from sleepwalker.engine.breaker import Refusal
from sleepwalker.engine.held import held_for
from sleepwalker.engine.host import free_permit
from sleepwalker.engine.outcome import Outcome
from sleepwalker.engine.record import Call, Runner
from sleepwalker.engine.steps import DUE, LATE, Came, Hold, Reply, Send, Step
from sleepwalker.events import HedgeFinished, HedgeSent


def hedge_in(call: Call, now: float, deadline: float) -> float | None:
    """After how many seconds a send that begins now, and ends by `deadline`, is to be hedged; None for never."""
    policy = call.rules.hedge
    if policy is None or not (call.request.idempotent and call.request.concurrent) or call.hedges >= policy.max_extra:
        return None
    delay = policy.delay
    if delay is None and policy.percentile is not None:
        delay = call.host.latency_above(policy.percentile / 100, now)
    return None if delay is None or now + delay >= deadline else delay


def race(call: Call, step: Send, began: float, wait: float) -> Generator[Step, Reply, Outcome]:
    """Send, and hedge for as long as no answer is good; all permits go back whatever happens.

    An outcome that the policy would retry waits for the others. If all are of that kind, the last one counts.
    """
    runners = call.runners = {step.number: Runner(began, wait, call.permit)}
    outcome: Outcome | None = None
    why, winner = "", 0
    try:
        reply = yield step
        while True:
            if isinstance(reply, Came):
                runner = runners[reply.number]
                outcome, call.permit = reply.outcome, runner.permit
                del runners[reply.number]
                call.settled(reply.number, runner.began, runner.wait, runner.permit, outcome)
                good = not call.rules.worth_it(outcome)
                if good or not runners:
                    winner = reply.number if good else 0
                    return outcome
                reply = yield Hold()
            elif reply is DUE:
                reply = yield _hedge(call, step, runners, began)
            elif reply is LATE and outcome is not None:
                return outcome
            else:
                raise TypeError(f"a Send with hedge_in is answered with Came or a Signal, not with {reply!r}")
    except BaseException as error:
        why = type(error).__name__
        raise
    finally:
        reason = why or (f"cancelled: attempt {winner} came first" if winner else "cancelled: it overran its deadline")
        for number, runner in runners.items():
            call.cancelled(number, runner.began, runner.wait, runner.permit, reason, cut=not why)
        call.attempts.sort(key=lambda attempt: attempt.number)  # they are put on record as they end
        for number in range(step.number + 1, len(call.attempts) + 1):
            _tell_end(call, number, won=number == winner)


def _tell_end(call: Call, number: int, *, won: bool) -> None:
    host, request = call.host.origin, call.request
    call.observe(HedgeFinished(host=host, method=request.method, path=request.path, attempt=number, won=won))


def _hedge(call: Call, step: Send, runners: dict[int, Runner], began: float) -> Send | Hold:
    """Send a copy, if the budget has one and the breaker admits it."""
    now, rules = call.clock.monotonic(), call.rules
    if now >= step.deadline or held_for(call)[0] > 0:
        return Hold()
    number = len(call.attempts) + len(runners) + 1
    breaker = rules.breaker and not (call.dry and call.host.breaker is not None and call.host.breaker.observes)
    runner = runners[number] = Runner(now, 0.0, free_permit())
    admission, news = call.host.admit_hedge(runner, now, rules.attempt + 1.0, breaker=breaker, budget=rules.budget)
    call.tell(news)
    if admission is None:
        del runners[number]
        return Hold()
    if isinstance(admission, Refusal):
        call.would_reject("breaker", admission.retry_after, number)
    call.hedges += 1
    call.observe(
        HedgeSent(
            host=call.host.origin,
            method=call.request.method,
            path=call.request.path,
            attempt=number,
            delay=now - began,
        )
    )
    # The first one may be slow because its socket is dead, and so may be all that have not answered since.
    proven_since = max(began, step.proven_since)
    return Send(step.deadline, step.limit, step.seconds, number, hedge_in(call, now, step.deadline), proven_since)
