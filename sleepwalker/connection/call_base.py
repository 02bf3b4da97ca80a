"""What makes the calls of one connection, whichever way they wait."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.connection.handover import Handover
from sleepwalker.connection.options import CallOptions
from sleepwalker.connection.outgoing import PreparedCall, RequestMaker
from sleepwalker.connection.part import Part
from sleepwalker.connection.usage import Usage
from sleepwalker.engine import Send
from sleepwalker.events import Observer
from sleepwalker.exceptions import ConnectionError
from sleepwalker.transport.outgoing import OutgoingRequest
from sleepwalker.transport.route import Route
from sleepwalker.transport.url import Origin

R = TypeVar("R", bound=Route)
C = TypeVar("C", bound=Clock)

#: A probe is to show that its host responds, in so many bytes of body at most.
_PROBE = CallOptions(max_body=1_000_000, raise_for_status=False)


class CallsBase(Generic[R, C]):
    """For the calls of one connection and its scopes, for as long as it is not closed."""

    __slots__ = ("_clock", "_handover", "_maker", "_observe", "_origin", "_route", "_usage", "closed")

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
        self.closed: bool = False

    def _prepared(self, part: Part, method: str, uri: str, options: CallOptions) -> PreparedCall:
        """A call that can be made. ConnectionError once the connection is closed; what the arguments raise."""
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
