"""One call: the policies in their order, as a generator of steps.

Outermost first: total deadline, rate limit, bulkhead, retry (with its budget), breaker, hedge, attempt deadline, send.
The generator yields what should happen next and is sent what came of it. A connection performs the
steps on sockets; a test feeds it outcomes from a list; a simulator can drive thousands of callers.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.breaker import Breaker, Refusal
from sleepwalker.engine.cooldown import Cooldown
from sleepwalker.engine.hedge import hedge_in, race
from sleepwalker.engine.held import held_for, pause, wait_out
from sleepwalker.engine.host import Host, free_permit
from sleepwalker.engine.limits import Ticket
from sleepwalker.engine.outcome import FAILURE, Outcome, Verdict
from sleepwalker.engine.record import Call
from sleepwalker.engine.rejections import (
    closed_meanwhile,
    held_back,
    rejected_at_entry,
    rejected_by_breaker,
    rejected_by_rate_limit,
    too_late,
)
from sleepwalker.engine.retry import MINIMAL_ATTEMPT, Stop, Terms
from sleepwalker.engine.rules import Rules
from sleepwalker.engine.steps import DUE, LATE, Ask, Came, Final, Hold, Queue, Reply, Request, Send, Step, Steps, Wait
from sleepwalker.engine.tally import End
from sleepwalker.events import Observer
from sleepwalker.exceptions import ConnectionError

__all__ = ["DUE", "LATE", "Ask", "Came", "Final", "Hold", "Queue", "Request", "Send", "Step", "Steps", "Wait", "run"]


#: What ends a wait for the circuit other than that it lets the call through.
Ended = Literal["breaker", "closed", "isolation"] | None


def run(host: Host, rules: Rules, request: Request, clock: Clock, observe: Observer) -> Steps:
    """The steps of one call. Throw an exception in to cancel it: its permit goes back and it is logged."""
    call = Call(host, rules, request, clock, observe)
    end: End = "cancelled"
    try:
        try:
            limited = rules.rate_limit and host.buckets is not None and not host.isolated
            refused = (yield from _turn(call, limited)) if limited or host.cooldowns is not None else None
            if refused is None and (by := host.enter(call, bulkhead=rules.bulkhead, refused=call.dry)) != "in":
                if isinstance(by, Ticket):
                    refused = yield from _queue(call, by)
                elif by != "beyond":
                    refused = rejected_at_entry(call, by)
                elif not call.dry:
                    call.would_reject("bulkhead", None)
            if refused is None:
                outcome = yield from _attempts_until_done(call)
                call.answer_for_all_sends(outcome)
            else:
                outcome = refused
            end = call.end(outcome)
        finally:
            host.leave(call, end, clock.monotonic() - call.began, sent=bool(call.attempts))
    except BaseException as error:
        # An exception from a signal handler strikes anywhere, also in the line above: then it is done here.
        host.leave(call, end, clock.monotonic() - call.began, sent=bool(call.attempts))
        call.release()
        call.announce_failed(Outcome(Verdict.NEUTRAL), type(error).__name__, None)
        raise
    call.announce(outcome)
    return Final(outcome, tuple(call.attempts), call.permit)


def _turn(call: Call, limited: bool) -> Generator[Step, Reply, Outcome | None]:
    """Wait for as long as the host is to be left alone, then for a token; or the outcome of a call that cannot."""
    refused = yield from _cool(call)
    return (yield from _take_token(call)) if limited and refused is None else refused


def _cool(call: Call) -> Generator[Step, Reply, Outcome | None]:
    stopped = yield from wait_out(call)
    return None if stopped is None else _not_sent(call, stopped)


def _not_sent(call: Call, stopped: Cooldown | Literal["closed"]) -> Outcome:
    if stopped == "closed":
        return closed_meanwhile(call)
    call.host.count_rejection("cooldown")
    return held_back(call, stopped)


def _take_token(call: Call) -> Generator[Step, Reply, Outcome | None]:
    """Take a token of the rate limit, waiting for it if need be; or the outcome of a call that gets none.

    A call takes one, whatever its attempts: retries are for their budget to limit.
    """
    host, now = call.host, call.clock.monotonic() if call.waited else call.began
    left = call.began + call.rules.total - now
    whose = "" if (buckets := host.buckets) is None or not buckets.by_credentials else call.request.credentials()
    word, wait = host.take_token(call, now, left, whose)
    if word == "rejected":
        return rejected_by_rate_limit(call, wait)
    if word == "beyond":
        call.would_reject("rate_limit", wait)
        return None
    while wait > 0:
        if wait > left:
            host.count_rejection("rate_limit")
            return rejected_by_rate_limit(call, wait)
        if (yield from pause(call, wait)):
            return closed_meanwhile(call)
        # A token is taken at the moment a call goes: those that are held back now do not keep theirs meanwhile.
        if host.cooldowns is not None and (refused := (yield from _cool(call))) is not None:
            return refused
        now = call.clock.monotonic()
        left = call.began + call.rules.total - now
        # Mostly it is there. Where many woke up late and the bucket was full meanwhile, some wait again.
        wait = host.take_due_token(call, now)
    return None


def _queue(call: Call, ticket: Ticket) -> Generator[Step, Reply, Outcome | None]:
    """Wait for a place at the host: None with it, or the outcome of a call that gets none."""
    host, began = call.host, call.clock.monotonic()
    left = max(0.0, call.began + call.rules.total - began)
    closed = yield Queue(ticket, min(ticket.patience, left))
    call.waited += call.clock.monotonic() - began
    entered = host.claim(call)  # a place may have come at the same moment as the end of the wait
    if host.isolated:
        host.count_rejection("isolation")
        return rejected_at_entry(call, "isolation")
    if entered:
        return None
    if closed:
        return closed_meanwhile(call)
    if left < ticket.patience:
        return too_late(call)
    host.count_rejection("bulkhead")
    return rejected_at_entry(call, "bulkhead", ticket.patience)


def _attempts_until_done(call: Call) -> Generator[Step, Reply, Outcome]:
    """Attempt, and wait and attempt again for as long as the retry policy says so.

    Each permit goes back whatever happens.
    """
    retrying, deadline, outcome, wait = None, call.began + call.rules.total, None, 0.0
    while True:
        if call.host.cooldowns is not None:
            before = call.waited
            stopped = yield from wait_out(call)
            wait += call.waited - before
            if stopped is not None:
                if outcome is None:
                    return _not_sent(call, stopped)
                call.abandon("closed" if stopped == "closed" else "deadline")
                return outcome
        now = call.clock.monotonic()
        if now >= deadline:  # a wait took longer than it should: a machine that slept
            if outcome is None:
                return too_late(call)
            call.abandon("deadline")
            return outcome
        refusal = _admit(call, now)
        if refusal is not None:
            before = call.waited
            ended = yield from _refused(call, refusal, deadline, outcome)
            wait += call.waited - before
            if ended is not None:
                return ended
            now = call.clock.monotonic()
            # It is too late by now, or a cooldown began while it waited.
            if now >= deadline or (call.host.cooldowns is not None and held_for(call)[0] > 0):
                call.tell(call.host.release(call.permit, now))
                continue
        step = _send(call, now, deadline)
        if step.hedge_in is not None:
            outcome = yield from race(call, step, now, wait)
        else:
            # Here rather than in a generator of its own: one more to go through costs as much as some functions.
            try:
                reply = yield step
                if not isinstance(reply, Outcome):
                    raise TypeError(f"a Send is answered with an Outcome, not with {reply!r}")
            except BaseException as error:
                call.cancelled(step.number, now, wait, call.permit, type(error).__name__)
                raise
            outcome = reply
            call.settled(step.number, now, wait, call.permit, outcome)
        retries = call.rules.retries
        if retries is None:
            return outcome
        asked_for = False
        if not retries.worth_it(outcome):
            asked_for = call.request.retry_if is not None and (yield from _asked(call, outcome))
            if not asked_for:
                # Once nobody wants another one: a caller who polls for a better answer has not had its own.
                if call.spent is not None and outcome.error is None and outcome.verdict is not FAILURE:
                    call.host.retry_answered(call.spent, call.clock.monotonic())
                return outcome
        if retrying is None:
            retrying = retries.begin(_terms(call, deadline))
        decision = retries.after(retrying, outcome, asked_for=asked_for)
        if isinstance(decision, Stop):
            if decision.reason is not None:
                call.abandon(decision.reason)
            return outcome
        wait = decision
        call.schedule(wait, outcome, server_directed=retrying.server_directed, asked_for=asked_for)
        if (yield from pause(call, wait)):
            call.abandon("closed")
            return outcome


def _asked(call: Call, outcome: Outcome) -> Generator[Step, Reply, bool]:
    """Whether the caller wants another attempt. Of its own errors, as of an auth object of its, it is not asked."""
    retry_if = call.request.retry_if
    if retry_if is None or (outcome.error is not None and not isinstance(outcome.error, ConnectionError)):
        return False
    return (yield Ask(outcome, retry_if, tuple(call.attempts))) is True


def _send(call: Call, now: float, deadline: float) -> Send:
    """The next send, and by when it must be over."""
    rules, number = call.rules, len(call.attempts) + 1
    ends = now + rules.attempt
    if ends < deadline:
        step = Send(ends, "attempt", rules.attempt, number)
    else:
        step = Send(deadline, "total", rules.total, number)
    if call.permit.probe:  # what lay idle says nothing about a host that was down
        step.proven_since = math.inf
    if rules.hedge is not None:
        step.hedge_in = hedge_in(call, now, step.deadline)
    return step


def _admit(call: Call, now: float) -> Refusal | None:
    """Take a permit for the next attempt, or say why there is none."""
    lifetime = call.rules.attempt + 1.0
    if call.turn is not None:
        admission, news = call.host.admit_waiting(call, call, now, lifetime)
    elif not call.rules.breaker or (call.dry and (breaker := call.host.breaker) is not None and breaker.observes):
        return None
    else:
        admission, news = call.host.admit(call, now, lifetime)
    if news:
        call.tell(news)
    if not isinstance(admission, Refusal):
        call.permit = admission
        return None
    if not admission.observed:
        return admission
    call.permit = free_permit()
    call.would_reject("breaker", admission.retry_after)
    return None


def _refused(
    call: Call, refusal: Refusal, deadline: float, outcome: Outcome | None
) -> Generator[Step, Reply, Outcome | None]:
    """What a call ends with that its circuit does not let through: the outcome in hand, if it has one.

    None where the policy has it wait, and it was let through in the end.
    """
    ended: Ended = "breaker"
    if refusal.max_wait > 0:
        ended, refusal = yield from _wait_for_circuit(call, refusal, deadline)
        if ended is None:
            return None
        if ended != "closed":
            call.host.count_rejection(ended)
    if outcome is not None:
        call.abandon("closed" if ended == "closed" else "breaker")
        return outcome
    if ended == "closed":
        return closed_meanwhile(call)
    return rejected_by_breaker(call, refusal) if ended == "breaker" else rejected_at_entry(call, "isolation")


def _wait_for_circuit(call: Call, refusal: Refusal, deadline: float) -> Generator[Step, Reply, tuple[Ended, Refusal]]:
    """Wait until the circuit lets the call through, fairly: why it did not, None if it did; and its last refusal.

    Nobody waits who would wait in vain.
    """
    host, now = call.host, call.clock.monotonic()
    until = min(now + refusal.max_wait, deadline - MINIMAL_ATTEMPT)
    ended: Ended = "breaker"
    while now < until:
        wait = host.wait_for_circuit(call, now, until - now, deadline - call.rules.attempt - now)
        if wait is None or call.turn is None:
            break
        closed = yield Wait(wait, call.turn)
        began, now = now, call.clock.monotonic()
        call.waited += now - began
        if closed or host.isolated:
            ended = "closed" if closed else "isolation"
            break
        answer = _admit(call, now)
        if answer is None:
            return None, refusal
        refusal = answer
    host.stop_waiting(call, now)
    return ended, refusal


def _terms(call: Call, deadline: float) -> Terms:
    """What this call brings to the decision about a retry."""
    clock, host, rules = call.clock, call.host, call.rules
    breaker = host.breaker if rules.breaker else None
    return Terms(
        idempotent=call.request.idempotent,
        replayable=call.request.replayable,
        time_left=lambda: deadline - clock.monotonic(),
        rejected_for=lambda: _rejected_for(breaker, clock.monotonic()) if breaker else 0.0,
        held_for=lambda: held_for(call)[0] if host.cooldowns is not None else 0.0,
        spend=lambda: _spend(call),
    )


def _rejected_for(breaker: Breaker, now: float) -> float:
    """Seconds for which the circuit lets no retry through. Of a call that waits for it: what is beyond its patience."""
    if breaker.suspects:
        return 0.0 if breaker.max_wait > 0 else math.inf
    return breaker.opens_in(now) - breaker.max_wait


def _spend(call: Call) -> bool:
    """Take a retry out of the host's budget, and remember when: one that is answered gives it back.

    One that will wait for its circuit takes nothing: that lets no more through than the host can do with.
    """
    now, rules, breaker = call.clock.monotonic(), call.rules, call.host.breaker
    waits = rules.breaker and breaker is not None and breaker.max_wait > 0 and (breaker.down or breaker.suspects)
    budget = rules.budget and not waits
    if not call.host.spend_retry(now, budget=budget):
        return False
    call.spent = now if budget else None
    return True
