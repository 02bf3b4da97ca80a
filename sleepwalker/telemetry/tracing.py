"""Where a tracer may stand around every call of a connection: `sleepwalker.otel` puts one here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.engine import Final
from sleepwalker.events import Observer

__all__ = ["TracedCall", "Tracer", "put", "tracer"]

#: What the work of a call comes to: a `Final`, or what is awaited for one.
Work = TypeVar("Work")


@dataclass(slots=True, repr=False)  # its headers may be secret
class TracedCall(Generic[Work]):
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
    work: Callable[[Observer], Work]
    """Makes the call, with whom its events are to be told to. May raise what stops a call from outside."""
    name: str | None = None
    """What the manager's `find` was asked for, where that is not the host."""


class Tracer(Protocol):
    """Makes the call by `call.work`, and returns or raises what that does."""

    def __call__(self, call: TracedCall[Final], /) -> Final:
        """Make it in this thread."""
        ...

    async def awaited(self, call: TracedCall[Awaitable[Final]], /) -> Final:
        """Make it in this task: the work may have others, which begin in its context."""
        ...


#: Stands around the calls that begin now. Read as it is, for a function would be called by each of them.
tracer: Tracer | None = None


def put(new: Tracer | None) -> None:
    """Have `new` around all calls that begin from now on; None for no tracer."""
    global tracer
    tracer = new
