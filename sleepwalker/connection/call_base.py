"""What blocking and asyncio calls of one connection share."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.connection.handover import Handover
from sleepwalker.connection.options import CallOptions
from sleepwalker.connection.outgoing import PreparedCall, RequestMaker
from sleepwalker.connection.part import Part
from sleepwalker.connection.traced import traced
from sleepwalker.connection.usage import Usage
from sleepwalker.engine import Send
from sleepwalker.events import Observer
from sleepwalker.exceptions import ConnectionError
from sleepwalker.telemetry.tracing import TracedCall
from sleepwalker.transport.outgoing import OutgoingRequest
from sleepwalker.transport.route import Route
from sleepwalker.transport.url import Origin

R = TypeVar("R", bound=Route)
C = TypeVar("C", bound=Clock)
W = TypeVar("W", bound="AnyWaits")
T = TypeVar("T")

#: A probe only shows that its host responds, so its body is limited.
_PROBE = CallOptions(max_body=1_000_000, raise_for_status=False)


class AnyWaits(Protocol):
    """The waits of calls, in threads or in tasks."""

    def end(self) -> None:
        """End all waits, present and future."""
        ...


class CallsBase(Generic[R, C, W]):
    """The calls of one connection and its scopes, until it is closed."""

    __slots__ = ("_clock", "_handover", "_maker", "_observe", "_origin", "_route", "_usage", "closed", "waits")

    def __init__(
        self,
        origin: Origin,
        route: R,
        maker: RequestMaker,
        handover: Handover,
        usage: Usage,
        clock: C,
        observe: Observer,
    ) -> None:
        self._origin = origin
        self._route = route
        self._maker = maker
        self._handover = handover
        self._usage = usage
        self._clock = clock
        self._observe = observe
        self.waits: W = self._new_waits()
        self.closed: bool = False

    def _new_waits(self) -> W:
        raise NotImplementedError

    def renew_after_fork(self) -> None:
        """Start with new sockets and waits, separate from the parent's."""
        self._route.renew()
        self.waits = self._new_waits()
        if self.closed:
            self.waits.end()

    def _prepared(self, part: Part, method: str, uri: str, options: CallOptions) -> PreparedCall:
        """Prepare a call. Raises ConnectionError once the connection is closed, and what the arguments raise."""
        if self.closed:
            closed = ConnectionError(f"{self._origin}: this connection is closed; make a new one")
            closed.never_sent, closed.retryable = True, False
            raise closed
        if part.whole is not None:
            part.catch_up()
        call = self._maker.call(part, method, uri, options)
        if options.total_covers_body:
            call.outgoing.body_ends_at = self._clock.monotonic() + call.compiled.total
        return call

    def _probing(self, part: Part, path: str, seconds: float) -> tuple[OutgoingRequest, Send]:
        """A probe of `path` within `seconds`, and how it is to be sent."""
        outgoing = self._maker.outgoing("GET", path, _PROBE, part.host)
        seconds = min(part.compiled.attempt, seconds)
        return outgoing, Send(self._clock.monotonic() + seconds, "attempt", seconds, proven_since=math.inf)

    def _traced(self, call: PreparedCall, run: Callable[[PreparedCall, Observer], T]) -> TracedCall[T]:
        """The call as a tracer gets it; `run` makes it."""
        headers, work = call.outgoing.prepared.headers, partial(run, call)
        return traced(self._origin, call.request, headers, self._clock, self._observe, work)
