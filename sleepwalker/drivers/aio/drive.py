"""Performs the steps of a call, one after the other, in its caller's task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sleepwalker.drivers.aio.waits import Waits
from sleepwalker.drivers.asking import ask
from sleepwalker.engine import Ask, Final, Outcome, Queue, Receive, Received, Reply, Send, Step, Steps, Wait

#: Sends one attempt and returns its outcome, whatever goes wrong; cancelled, it ends at once.
Sender = Callable[[Send], Awaitable[Outcome]]
#: Performs a send with hedge attempts. Returns the call's next step, and the outcome it continues with.
Hedged = Callable[[Steps, Send], Awaitable[tuple[Step | Final, Outcome]]]
#: Receives the body of a download's response.
Receiver = Callable[[Outcome], Awaitable[Received]]


async def drive(
    steps: Steps,
    waits: Waits,
    send: Sender,
    release: Callable[[object], None],
    hedged: Hedged | None = None,
    receive: Receiver | None = None,
) -> Final:
    """Perform the steps to their end, and return the `Final`.

    A cancelled task ends here with its attempt: the call's permits are returned, and nothing counts against the host.

    Args:
        steps: The steps of one call, as `engine.run` makes them.
        waits: Where the call waits; closing a connection ends them.
        send: Sends one attempt.
        release: Gets the response of an attempt that is not used, so that it holds no socket during a wait. It may be
            None.
        hedged: Performs sends that may be hedged; without it they are sent like the others.
        receive: Receives the body of a download.
    """
    reply: Reply = None
    outcome: Outcome | None = None
    step: Step | Final | None = None
    try:
        while True:
            if step is None:
                try:
                    step = steps.send(reply)
                except StopIteration as stop:
                    outcome = reply = None  # an error in it may have this frame in its traceback: a cycle
                    return stop.value  # type: ignore[no-any-return]
            if isinstance(step, Send):
                if step.hedge_in is not None and hedged is not None:
                    step, outcome = await hedged(steps, step)
                    continue
                reply = outcome = await send(step)
            elif isinstance(step, Wait):
                if outcome is not None:
                    release(outcome.response)
                waited = waits.pause(step.seconds) if step.waiter is None else waits.queue(step.waiter, step.seconds)
                reply = await waited
            elif isinstance(step, Queue):
                reply = await waits.queue(step.waiter, step.seconds)
            elif isinstance(step, Final):
                return step
            elif isinstance(step, Ask):
                reply = ask(step, release)
            elif isinstance(step, Receive) and receive is not None:
                reply = await receive(step.outcome)
            else:
                raise TypeError(f"only a hedged send may be followed by {step!r}")
            step = None
    except BaseException as error:
        # The steps end here after any error, or their permits would be held as long as their frame. If they raised it
        # themselves, they have ended.
        try:
            steps.throw(error)  # gives back all permits, emits the call's last event, and raises it again
        finally:
            steps.close()
        raise
