"""A call as a tracer sees it that stands around it, whichever way it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sleepwalker.clock import Clock
from sleepwalker.connection.outgoing import SendableCall
from sleepwalker.events import Observer
from sleepwalker.telemetry.tracing import TracedCall
from sleepwalker.transport.url import Origin

_Work = TypeVar("_Work")
_Call = TypeVar("_Call", bound=SendableCall)


def traced(
    origin: Origin,
    call: _Call,
    clock: Clock,
    observe: Observer,
    run: Callable[[_Call, Observer], _Work],
) -> TracedCall[_Work]:
    """The call to `origin`; `run` makes it, and tells its events to the observer that it is given."""
    request = call.request
    return TracedCall(
        scheme=origin.scheme,
        server=origin.host,
        port=origin.port,
        method=request.method,
        url=f"{origin}{request.path}",
        headers=call.outgoing.prepared.headers,
        clock=clock,
        observe=observe,
        work=lambda observe: run(call, observe),
        name=request.name,
    )
