"""The engine: one call as a generator of steps, without sockets, threads or real time.

The order of the policies is the order of the code: isolation, rate limit, bulkhead; then for each attempt the circuit,
the attempt deadline, send. The generator yields the next step and is sent its result. A connection performs the steps
on sockets; a test feeds in outcomes from a list; a simulator can drive thousands of callers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Literal

from sleepwalker.clock import Clock
from sleepwalker.engine.admitting import admit, until_admitted
from sleepwalker.engine.announcements import announce, announce_failed, would_reject
from sleepwalker.engine.compiled import CompiledPolicy
from sleepwalker.engine.entry import wait_for_place, wait_for_token
from sleepwalker.engine.hedging import hedge, hedge_in
from sleepwalker.engine.host import Host
from sleepwalker.engine.host.counters import End
from sleepwalker.engine.host.holdings import Waiter
from sleepwalker.engine.outcome import NEUTRAL, Outcome
from sleepwalker.engine.record import Call
from sleepwalker.engine.rejections import rejected_at_entry
from sleepwalker.engine.retry_wait import wait_for_retry
from sleepwalker.engine.steps import Final, Reply, Request, Send, Step, Steps
from sleepwalker.events import Observer

#: Makes the attempts of an admitted call, until a time on its clock; returns the outcome.
Perform = Callable[[Call, float], Generator[Step, Reply, Outcome]]


def run(
    host: Host,
    compiled: CompiledPolicy,
    request: Request,
    clock: Clock,
    observe: Observer,
    perform: Perform | None = None,
) -> Steps:
    """The steps of one call. To cancel it, throw an exception in: its permit is returned and the call is logged.

    `perform` makes its attempts, if they are not those of an ordinary call.
    """
    if perform is None:
        perform = attempts
    call = Call(host, compiled, request, clock, observe)
    end: End = "cancelled"
    try:
        try:
            refused = None
            if host.admission.cooldowns is not None or (compiled.rate_limit and host.admission.rate_limit is not None):
                refused = yield from wait_for_token(call)
            if refused is None:
                entered = host.admission.enter(call, bulkhead=compiled.bulkhead, refused=call.dry)
                if entered != "in":
                    refused = yield from _not_in(call, entered)
            outcome = (yield from perform(call, call.began + compiled.total)) if refused is None else refused
            end = call.end(outcome)
        finally:
            now = clock.monotonic()
            host.admission.leave(call, end, now - call.began, now, sent=bool(call.attempts))
    except BaseException as error:
        # An exception of a signal handler can strike anywhere, also in the line above: then this is done here.
        now = clock.monotonic()
        host.admission.leave(call, end, now - call.began, now, sent=bool(call.attempts))
        call.release()
        call.refused = None
        announce_failed(call, Outcome(NEUTRAL), type(error).__name__, None)
        raise
    announce(call, outcome)
    call.retrying = None  # it refers to the call, and would keep the last outcome until the garbage collector runs
    return Final(outcome, tuple(call.attempts), call.permit, call.id, call.refused)


def _not_in(
    call: Call, entered: Literal["over_limit", "bulkhead", "isolation"] | Waiter
) -> Generator[Step, Reply, Outcome | None]:
    """The outcome of a call that did not enter at once; None if it is in after all."""
    if isinstance(entered, Waiter):
        return (yield from wait_for_place(call, entered))
    if entered != "over_limit":
        return rejected_at_entry(call, entered)
    if not call.dry:
        would_reject(call, "bulkhead", None)
    return None


def attempts(call: Call, deadline: float, wait: float = 0.0) -> Generator[Step, Reply, Outcome]:
    """Attempt, and wait and attempt again for as long as the retry policy says so, until `deadline` at most.

    `wait` is how long the call has just waited, in seconds. All permits are returned, whatever happens.
    """
    host, clock, compiled = call.host, call.clock, call.compiled
    outcome = None
    while True:
        now, refusal = clock.monotonic(), None
        if host.admission.cooldowns is not None or now >= deadline or (refusal := admit(call, now)) is not None:
            before = call.waited
            ended = yield from until_admitted(call, refusal, deadline, outcome)
            wait += call.waited - before
            if ended is not None:
                return ended
            now = clock.monotonic()
        step = _send(call, now, deadline)
        if step.hedge_in is not None:
            outcome = yield from hedge(call, step, now, wait)
        else:
            # Here, not in a separate generator: one more level costs as much as several function calls.
            try:
                reply = yield step
                if not isinstance(reply, Outcome):
                    raise TypeError(f"a Send is answered with an Outcome, not with {reply!r}")
            except BaseException as error:
                call.cancelled(step.number, now, wait, call.permit, type(error).__name__)
                raise
            outcome = reply
            call.settled(step.number, now, wait, call.permit, outcome)
        retries = compiled.retries
        if retries is None:
            return outcome
        if not retries.worth_it(outcome) and call.spent is None and call.request.retry_if is None:
            return outcome  # nearly always
        retry_after = yield from wait_for_retry(call, retries, outcome, deadline)
        if retry_after is None:
            return outcome
        wait = retry_after


def _send(call: Call, now: float, deadline: float) -> Send:
    """The next send, and by when it must be over."""
    compiled, number = call.compiled, len(call.attempts) + 1
    ends = now + compiled.attempt
    if ends < deadline:
        step = Send(ends, "attempt", compiled.attempt, number)
    else:
        step = Send(deadline, "total", compiled.total, number)
    if call.permit.probe:  # idle time says nothing about a host that was broken
        step.proven_since = math.inf
    if compiled.hedge is not None:
        step.hedge_in = hedge_in(call, now, step.deadline)
    return step
