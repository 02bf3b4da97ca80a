"""Before each attempt: the permit of the circuit, and what a call does if it gets none at once."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from sleepwalker.engine.announcements import abandon, would_reject
from sleepwalker.engine.cooling import held_for, wait_out
from sleepwalker.engine.entry import not_sent
from sleepwalker.engine.host.permits import FREE_PERMIT, Refusal
from sleepwalker.engine.outcome import Outcome
from sleepwalker.engine.record import Call
from sleepwalker.engine.rejections import closed_meanwhile, rejected_at_entry, rejected_by_breaker, too_late
from sleepwalker.engine.retrying import MINIMAL_ATTEMPT
from sleepwalker.engine.steps import Reply, Step, Wait

#: The result of a wait for the circuit; None if the circuit admits the call.
Ended = Literal["breaker", "closed", "isolation"] | None


def admit(call: Call, now: float) -> Refusal | None:
    """Take a permit for the next attempt, or return why there is none."""
    admission, lifetime = call.host.admission, call.compiled.attempt + 1.0
    if call.circuit_waiter is not None:
        permit, events = admission.admit_waiting(call, call, now, lifetime)
    elif not call.compiled.breaker or (
        call.dry and (breaker := admission.breaker) is not None and breaker.circuit.observes
    ):
        return None
    else:
        permit, events = admission.admit(call, now, lifetime)
    if events:
        call.emit(events)
    if not isinstance(permit, Refusal):
        call.permit = permit
        return None
    if not permit.observed:
        return permit
    call.permit = FREE_PERMIT
    would_reject(call, "breaker", permit.retry_after)
    return None


def until_admitted(
    call: Call, refusal: Refusal | None, deadline: float, outcome: Outcome | None
) -> Generator[Step, Reply, Outcome | None]:
    """Wait until the call has its permit and no cooldown holds it back. None, or the outcome that ends it.

    `refusal` is the answer to an earlier request for a permit; `outcome` is that of the latest attempt, if there was
    one.
    """
    while True:
        if refusal is None:
            if (ended := (yield from _cool_down(call, outcome))) is not None:
                return ended
            now = call.clock.monotonic()
            if now >= deadline:  # a wait took too long: the machine was suspended
                return _out_of_time(call, outcome)
            refusal = admit(call, now)
            if refusal is None:
                return None
        if (ended := (yield from _refused(call, refusal, deadline, outcome))) is not None:
            return ended
        now = call.clock.monotonic()
        if now < deadline and (call.host.admission.cooldowns is None or held_for(call)[0] <= 0):
            return None
        # It is too late by now, or a cooldown began while it waited.
        call.emit(call.host.outcomes.release(call.permit, now))
        refusal = None


def _cool_down(call: Call, outcome: Outcome | None) -> Generator[Step, Reply, Outcome | None]:
    """Wait for the end of a cooldown, if one holds the call back. Returns None, or the outcome that ends the call."""
    if call.host.admission.cooldowns is None:
        return None
    stopped = yield from wait_out(call)
    if stopped is None:
        return None
    if outcome is None:
        return not_sent(call, stopped)
    abandon(call, "closed" if stopped == "closed" else "deadline")
    return outcome


def _out_of_time(call: Call, outcome: Outcome | None) -> Outcome:
    if outcome is None:
        return too_late(call)
    abandon(call, "deadline")
    return outcome


def _refused(
    call: Call, refusal: Refusal, deadline: float, outcome: Outcome | None
) -> Generator[Step, Reply, Outcome | None]:
    """The outcome of a call that its circuit does not admit: that of its latest attempt, if there was one.

    None if it waited, as its policy says, and was admitted in the end.
    """
    ended: Ended = "breaker"
    if refusal.max_wait > 0:
        ended, refusal = yield from _wait_for_circuit(call, refusal, deadline)
        if ended is None:
            return None
        if ended != "closed":
            call.host.admission.count_rejection(ended)
    if outcome is not None:
        abandon(call, "closed" if ended == "closed" else "breaker")
        return outcome
    if ended == "closed":
        return closed_meanwhile(call)
    return rejected_by_breaker(call, refusal) if ended == "breaker" else rejected_at_entry(call, "isolation")


def _wait_for_circuit(call: Call, refusal: Refusal, deadline: float) -> Generator[Step, Reply, tuple[Ended, Refusal]]:
    """Queue until the circuit admits the call. Returns why it did not (None if it did), and its last refusal.

    A call whose wait could not succeed does not wait.
    """
    admission, now = call.host.admission, call.clock.monotonic()
    until = min(now + refusal.max_wait, deadline - MINIMAL_ATTEMPT)
    ended: Ended = "breaker"
    while now < until:
        wait = admission.wait_for_circuit(call, now, until - now, deadline - call.compiled.attempt - now)
        if wait is None or call.circuit_waiter is None:
            break
        closed = yield Wait(wait, call.circuit_waiter)
        began, now = now, call.clock.monotonic()
        call.waited += now - began
        if closed or call.host.isolated:
            ended = "closed" if closed else "isolation"
            break
        again = admit(call, now)
        if again is None:
            return None, refusal
        refusal = again
    admission.stop_waiting(call, now)
    return ended, refusal
