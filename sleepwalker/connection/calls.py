"""Makes the calls of one connection: each is made ready, driven through the engine, and handed over."""

from __future__ import annotations

import math

from sleepwalker.connection.handover import Handover
from sleepwalker.connection.options import CallOptions
from sleepwalker.connection.outgoing import PreparedCall, RequestMaker
from sleepwalker.connection.part import Part
from sleepwalker.connection.response import Response
from sleepwalker.connection.sending import perform
from sleepwalker.connection.traced import traced
from sleepwalker.connection.usage import Usage
from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import Final, Outcome, Send
from sleepwalker.events import Observer
from sleepwalker.exceptions import ConnectionError
from sleepwalker.telemetry import tracing
from sleepwalker.transport.blocking.attempt import attempt
from sleepwalker.transport.blocking.route import Route
from sleepwalker.transport.url import Origin

#: A probe is to show that its host responds, in so many bytes of body at most.
_PROBE = CallOptions(max_body=1_000_000, raise_for_status=False)


class Calls:
    """Makes the calls of one connection and its scopes, for as long as it is not closed."""

    __slots__ = ("_clock", "_handover", "_maker", "_observe", "_origin", "_route", "_usage", "closed", "waits")

    def __init__(
        self,
        origin: Origin,
        route: Route,
        maker: RequestMaker,
        handover: Handover,
        usage: Usage,
        clock: BlockingClock,
        observe: Observer,
    ) -> None:
        self._origin = origin
        self._route = route
        self._maker = maker
        self._handover = handover
        self._usage = usage
        self._clock = clock
        self._observe = observe
        self.waits: Waits = Waits(clock)
        self.closed: bool = False

    def call(self, part: Part, method: str, uri: str, options: CallOptions) -> Response:
        """The response to a request, or the error that says why there is none."""
        if self.closed:
            closed = ConnectionError(f"{self._origin}: this connection is closed; make a new one")
            closed.never_sent, closed.retryable = True, False
            raise closed
        if part.whole is not None:
            part.catch_up()
        call = self._maker.call(part, method, uri, options)
        if options.total_covers_body:
            call.outgoing.body_ends_at = self._clock.monotonic() + call.compiled.total
        tracer = tracing.tracer
        try:
            # Handed on without a name: this frame would keep the error alive that it raises, and the error this frame.
            return self._handover.hand_over(
                self._run(call, self._observe)
                if tracer is None
                else tracer(traced(self._origin, call, self._clock, self._observe, self._run)),
                call,
            )
        except BaseException:
            # A Ctrl-C may have come after an attempt was over: its response, which may hold a socket, goes to no one.
            for deadline in call.outgoing.deadlines:
                deadline.release()
            raise

    def probe(self, part: Part, path: str, seconds: float) -> Outcome:
        """Ask for `path` once within `seconds`, outside every policy and count; also once closed."""
        now, compiled = self._clock.monotonic(), part.compiled
        outgoing = self._maker.outgoing("GET", path, _PROBE, part.host)
        seconds = min(compiled.attempt, seconds)
        step = Send(now + seconds, "attempt", seconds, proven_since=math.inf)
        try:
            return attempt(self._route.sender, outgoing, step, compiled.connect, compiled.read)
        finally:
            if self.closed or self._usage.retired:  # the socket just used must not stay open
                self._route.close()

    def close(self) -> None:
        """End waits, close idle sockets, and refuse later calls. Requests in flight finish."""
        self.closed = True
        try:
            self.waits.end()
        finally:
            try:
                self.waits.end()  # again, for a Ctrl-C may have come before all had been woken
            finally:
                self._route.close()

    def renew_after_fork(self) -> None:
        """Begin with sockets and waits that are not the parent's."""
        self._route.renew()
        self.waits = Waits(self._clock)
        if self.closed:
            self.waits.end()

    def _run(self, call: PreparedCall, observe: Observer) -> Final:
        """Drive a call to its end."""
        try:
            return perform(self._route.sender, call, self.waits, self._clock, observe)
        finally:
            if self.closed or self._usage.retired:  # the socket just used must not stay open
                self._route.close()
