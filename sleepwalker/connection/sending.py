"""Drives a call through the engine in threads. A call that may be hedged is sent so that it can be cancelled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sleepwalker.clock import Clock
from sleepwalker.connection.outgoing import SendableCall
from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.drivers.threads.drive import Receiver, drive
from sleepwalker.drivers.threads.hedge import PendingEvents, hedge
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import Final, Outcome, Send, Steps, run
from sleepwalker.events import Observer
from sleepwalker.transport.blocking.attempt import Sender, attempt, discard
from sleepwalker.transport.blocking.canceller import Canceller
from sleepwalker.transport.blocking.deadline import AttemptDeadline


def perform(sender: Sender, call: SendableCall, waits: Waits, clock: BlockingClock, observe: Observer) -> Final:
    """Drive a call to its end."""
    compiled = call.compiled
    if compiled.hedge is None:
        send = partial(attempt, sender, call.outgoing, connect=compiled.connect, read=compiled.read)
        return drive(run(call.host, compiled, call.request, clock, observe), waits, send, discard)

    def steps(observe: Observer) -> Steps:
        return run(call.host, compiled, call.request, clock, observe)

    return perform_steps(sender, call, waits, clock, observe, steps)


def perform_steps(
    sender: Sender,
    call: SendableCall,
    waits: Waits,
    clock: BlockingClock,
    observe: Observer,
    steps: Callable[[Observer], Steps],
    receive: Receiver | None = None,
) -> Final:
    """Drive the steps of a call that may be hedged, or is a download, to their end."""
    compiled = call.compiled
    send = partial(attempt, sender, call.outgoing, connect=compiled.connect, read=compiled.read)
    if compiled.hedge is None:
        return drive(steps(observe), waits, send, discard, None, receive)
    events = PendingEvents(observe)
    begin = partial(HedgeableAttempt, sender, call, clock)
    hedged = partial(hedge, events=events, begin=begin, release=discard, waits=waits, clock=clock)
    return drive(steps(events), waits, send, discard, hedged, receive)


class HedgeableAttempt:
    """One attempt of a call that another thread can cancel."""

    __slots__ = ("_call", "_deadline", "_outgoing", "_sender", "_step")

    def __init__(self, sender: Sender, call: SendableCall, clock: Clock, step: Send, extra: bool) -> None:
        """`extra`: a hedge attempt, which needs a request of its own, because attempts change theirs."""
        self._sender = sender
        self._call = call
        self._outgoing = call.outgoing.copy() if extra else call.outgoing
        self._step = step
        self._deadline = AttemptDeadline(
            clock,
            connect=call.compiled.connect,
            read=call.compiled.read,
            ends_at=step.deadline,
            canceller=Canceller(),
            proven_since=step.proven_since,
        )

    @property
    def on_the_wire(self) -> bool:
        """Whether it reached one of our pools. A mock or a cache never asks a pool."""
        return self._deadline.phase is not None

    def send(self) -> Outcome:
        """Send, and wait for the response."""
        call, compiled = self._call, self._call.compiled
        outcome = attempt(self._sender, self._outgoing, self._step, compiled.connect, compiled.read, self._deadline)
        if self._outgoing is not call.outgoing:
            # Made known to the call only now: until then another thread owned its sockets, and only that one closes
            # them.
            call.outgoing.deadlines += (self._deadline,)
        return outcome

    def cancel(self) -> None:
        """Set its deadline to now, and end what it waits for."""
        self._deadline.cancel()

    def end(self) -> None:
        """Mark the attempt as over: it can no longer be cancelled."""
        self._deadline.end()
