"""The place of a tracer, which surrounds every call of a connection; `sleepwalker.otel` puts one here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.engine import Final
from sleepwalker.events import Observer

__all__ = ["TracedCall", "Tracer", "put", "tracer"]

#: What the work of a call returns: a `Final`, or an awaitable of one.
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
    """The headers to send. Headers that are added here are sent with every attempt."""
    clock: Clock
    observe: Observer
    """Gets every event of the call."""
    work: Callable[[Observer], Work]
    """Makes the call and returns its result. The argument is the observer that gets its events. Raises what ends a call
    from outside, such as KeyboardInterrupt."""
    name: str | None = None
    """What the manager's `find` was asked for, if that is not the host."""


class Tracer(Protocol):
    """Makes a call by its `work`, and returns or raises what that does."""

    def __call__(self, call: TracedCall[Final], /) -> Final:
        """Make the call in this thread."""
        ...

    async def awaited(self, call: TracedCall[Awaitable[Final]], /) -> Final:
        """Make the call in this task. Tasks that the work starts begin in its context."""
        ...


#: The tracer of calls that begin now. A plain variable, because a function would be called by each of them.
tracer: Tracer | None = None


def put(new: Tracer | None) -> None:
    """Trace all calls that begin from now on by `new`; None for no tracer."""
    global tracer
    tracer = new
