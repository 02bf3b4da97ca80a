"""Makes the calls of one connection: prepares each call, drives it through the engine, and hands over the outcome."""

from __future__ import annotations

from functools import partial

from sleepwalker.connection.call_base import CallsBase
from sleepwalker.connection.downloading import DownloadCall, Receiving
from sleepwalker.connection.handover import Streams
from sleepwalker.connection.options import CallOptions
from sleepwalker.connection.outgoing import PreparedCall
from sleepwalker.connection.part import Part
from sleepwalker.connection.receiving import receive
from sleepwalker.connection.response import Response
from sleepwalker.connection.sending import perform, perform_steps
from sleepwalker.downloads import Download
from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import Final, Outcome
from sleepwalker.events import Observer
from sleepwalker.telemetry import tracing
from sleepwalker.transport.blocking.attempt import attempt
from sleepwalker.transport.blocking.route import Route


class Calls(CallsBase[Route, BlockingClock, Waits]):
    """Makes the calls of one connection and its scopes, until it is closed."""

    __slots__ = ()

    def _new_waits(self) -> Waits:
        return Waits(self._clock)

    def call(self, part: Part, method: str, uri: str, options: CallOptions) -> Response:
        """The response to a request. Raises the error that explains why there is none."""
        call = self._prepared(part, method, uri, options)
        tracer = tracing.tracer
        try:
            # Passed on without a name: otherwise this frame and the error it raises would keep each other alive.
            return self._handover.hand_over(
                self._run(call, self._observe) if tracer is None else tracer(self._traced(call, self._run)),
                call,
            )
        except BaseException:
            # A Ctrl-C may have come after an attempt ended: its response, which may hold a socket, is not used.
            for deadline in call.outgoing.deadlines:
                deadline.release()
            raise

    def download(self, part: Part, uri: str, asked: DownloadCall, streams: Streams) -> Download:
        """Download the file of a URI. Raises the error that explains why it is not complete."""
        call = self._prepared(part, "GET", uri, asked.options)
        receiving, tracer = Receiving(call, asked, self._origin, streams, self._clock), tracing.tracer
        run = partial(self._run_download, receiving)
        try:
            receiving.transfer.open()
            response = self._handover.hand_over(
                run(call, self._observe) if tracer is None else tracer(self._traced(call, run)), call
            )
            return receiving.transfer.result(response)
        except BaseException:
            for deadline in call.outgoing.deadlines:
                deadline.release()
            raise
        finally:
            receiving.transfer.close()

    def probe(self, part: Part, path: str, seconds: float) -> Outcome:
        """Request `path` once, within `seconds`, without policies or counters. Works on a closed connection too."""
        outgoing, step = self._probing(part, path, seconds)
        try:
            return attempt(self._route.sender, outgoing, step, part.compiled.connect, part.compiled.read)
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
                self.waits.end()  # again, because a Ctrl-C may have come before all were woken
            finally:
                self._route.close()

    def _run_download(self, receiving: Receiving, call: PreparedCall, observe: Observer) -> Final:
        """Drive a download to its end."""
        steps, receiver = receiving.steps, partial(receive, receiving)
        try:
            return perform_steps(self._route.sender, call, self.waits, self._clock, observe, steps, receiver)
        finally:
            if self.closed or self._usage.retired:
                self._route.close()

    def _run(self, call: PreparedCall, observe: Observer) -> Final:
        """Drive a call to its end."""
        try:
            return perform(self._route.sender, call, self.waits, self._clock, observe)
        finally:
            if self.closed or self._usage.retired:  # the socket just used must not stay open
                self._route.close()
