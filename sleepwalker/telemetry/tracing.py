"""Where somebody may stand around every call of a connection: `sleepwalker.otel` does, nobody by default."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from sleepwalker.clock import Clock
from sleepwalker.engine.call import Final
from sleepwalker.events import Observer
from sleepwalker.frozen import frozen

__all__ = ["TracedCall", "Tracer", "current", "put"]


@frozen
class TracedCall:
    """A call that is about to begin."""

    scheme: str
    server: str
    port: int
    method: str
    url: str
    """Without user information and query."""
    headers: MutableMapping[str, Any]
    """Those to be sent; what is added here goes out with every attempt."""
    clock: Clock
    observe: Observer
    """To be told of every event of the call."""
    work: Callable[[Observer], Final]
    """Makes the call, with whom its events are to be told to. May raise what stops a call from outside."""


class Tracer(Protocol):
    """Makes the call by `call.work`, and returns or raises what that does."""

    def __call__(self, call: TracedCall, /) -> Final: ...


_tracer: Tracer | None = None


def current() -> Tracer | None:
    """Who stands around calls now."""
    return _tracer


def put(tracer: Tracer | None) -> None:
    """Have `tracer` around all calls that begin from now on; None for nobody."""
    global _tracer
    _tracer = tracer
