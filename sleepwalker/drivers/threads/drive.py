"""Performs the steps of a call, one after the other, in its caller's thread."""

from __future__ import annotations

from collections.abc import Callable

from sleepwalker.drivers.asking import ask
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import Ask, Final, Outcome, Queue, Receive, Received, Reply, Send, Step, Steps, Wait

#: Performs a send with hedge attempts. Returns the call's next step, and the outcome it continues with.
Hedged = Callable[[Steps, Send], tuple[Step | Final, Outcome]]
#: Receives the body of a download's response.
Receiver = Callable[[Outcome], Received]


def drive(
    steps: Steps,
    waits: Waits,
    send: Callable[[Send], Outcome],
    release: Callable[[object], None],
    hedged: Hedged | None = None,
    receive: Receiver | None = None,
) -> Final:
    """Perform the steps to their end, and return the `Final`.

    Args:
        steps: The steps of one call, as `engine.call.run` makes them.
        waits: Where the call waits; closing a connection ends them.
        send: Sends one attempt and returns its outcome, whatever goes wrong.
        release: Gets the response of an attempt that is not used, so that it holds no socket during a wait. It may be
            None.
        hedged: Performs sends that may be hedged; without it they are sent like the others.
        receive: Receives the body of a download.
    """
    try:
        return _perform(steps, waits, send, release, hedged, receive)
    except BaseException as error:
        # The steps end here after any error, or their permits would be held as long as their frame. If they raised it
        # themselves, they have ended.
        try:
            steps.throw(error)  # gives back all permits, emits the call's last event, and raises it again
        finally:
            steps.close()
        raise


def _perform(
    steps: Steps,
    waits: Waits,
    send: Callable[[Send], Outcome],
    release: Callable[[object], None],
    hedged: Hedged | None,
    receive: Receiver | None,
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
                outcome = reply = None  # an error in it may have this frame in its traceback: a cycle
                return stop.value  # type: ignore[no-any-return]
        if isinstance(step, Send):
            if step.hedge_in is not None and hedged is not None:
                step, outcome = hedged(steps, step)
                continue
            reply = outcome = send(step)
        elif isinstance(step, Wait):
            if outcome is not None:
                release(outcome.response)
            reply = waits.pause(step.seconds) if step.waiter is None else waits.queue(step.waiter, step.seconds)
        elif isinstance(step, Queue):
            reply = waits.queue(step.waiter, step.seconds)
        elif isinstance(step, Final):
            return step
        elif isinstance(step, Ask):
            reply = ask(step, release)
        elif isinstance(step, Receive) and receive is not None:
            reply = receive(step.outcome)
        else:
            raise TypeError(f"only a hedged send may be followed by {step!r}")
        step = None
