"""Performs the steps of a call, one after the other, until it says what it came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sleepwalker.connection.waits import Waits
from sleepwalker.engine.outcome import Outcome
from sleepwalker.engine.steps import Ask, Final, Queue, Reply, Send, Step, Steps, Wait

#: Runs the race that a step begins: what the call does next, and the outcome that it goes on with.
Race = Callable[[Steps, Send], tuple[Step | Final, Outcome]]


def drive(
    steps: Steps,
    waits: Waits,
    send: Callable[[Send], Outcome],
    let_go: Callable[[Any], None],
    race: Race | None = None,
) -> Final:
    """What the call comes to. `let_go` is handed a failed attempt's response before a wait; it may be None."""
    try:
        return _perform(steps, waits, send, let_go, race)
    except BaseException as error:
        # Whatever was raised, and wherever: the steps end here, or what they hold would be held for as long as their
        # frame is. Where they raised it themselves, they have ended.
        try:
            steps.throw(error)  # gives all back, logs the call's end, and raises it again
        finally:
            steps.close()
        raise


def _perform(
    steps: Steps,
    waits: Waits,
    send: Callable[[Send], Outcome],
    let_go: Callable[[Any], None],
    race: Race | None,
) -> Final:
    # Not within the `try` of `drive`: since Python 3.12 a loop's jump back may stand outside of the `try` around it,
    # and a signal handler may raise there.
    reply: Reply = None
    outcome: Outcome | None = None
    step: Step | Final | None = None
    while True:
        if step is None:
            try:
                step = steps.send(reply)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
        if isinstance(step, Send):
            if step.hedge_in is not None and race is not None:
                step, outcome = race(steps, step)
                continue
            reply = outcome = send(step)
        elif isinstance(step, Wait):
            if outcome is not None:
                let_go(outcome.response)
            reply = waits.pause(step.seconds) if step.ticket is None else waits.queue(step.ticket, step.seconds)
        elif isinstance(step, Queue):
            reply = waits.queue(step.ticket, step.seconds)
        elif isinstance(step, Final):
            return step
        elif isinstance(step, Ask):
            reply = _asked(step, let_go)
        else:
            raise TypeError(f"outside a race there is no {step!r}")
        step = None


def _asked(step: Ask, let_go: Callable[[Any], None]) -> bool:
    """The caller's word. Where its function raises instead, that ends the call, and nobody will have the answer."""
    try:
        response = step.outcome.response
        if response is not None:
            response.attempts = step.attempts
        return step.retry_if(step.outcome)
    except BaseException:
        let_go(step.outcome.response)
        raise
