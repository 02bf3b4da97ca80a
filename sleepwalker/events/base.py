"""What all events share, and the types of observers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import cache
from typing import Any, ClassVar, Literal, Protocol

from sleepwalker.process import THIS_PROCESS
from sleepwalker.value import Value, names_of, reader
from sleepwalker.value import value_type as event_type

__all__ = [
    "AnyObserver",
    "CallEvent",
    "Event",
    "Level",
    "Observer",
    "Transition",
    "event_type",
    "logged_names",
    "reader",
]

Level = Literal["debug", "info", "warning", "error"]


@event_type
class Event(Value):
    """The base of every event. Events are frozen.

    Example:
        ```python
        def observer(event: Event) -> None:
            if isinstance(event, BreakerOpened):
                print(event.host, "is left alone for", event.open_for, "s:", event.cause)

        conn = Connection("https://api.example.com", observer=observer)
        ```
    """

    name: ClassVar[str]
    level: ClassVar[Level]

    host: str

    @property
    def pid(self) -> int:
        """The number of the process that created the event."""
        return THIS_PROCESS.pid

    def fields(self) -> dict[str, Any]:
        """The fields by their logged names, without those that are None, and `pid`."""
        kind: Any = type(self)
        names, values = _reading(kind)
        shown = {name: value for name, value in zip(names, values(self), strict=True) if value is not None}
        shown["pid"] = THIS_PROCESS.pid
        return shown


@event_type
class CallEvent(Event):
    """The base of every event of a call."""

    call: str | None = field(default=None, kw_only=True)
    """The id of the call. All its events have it; it is unique, also across processes."""
    asked_for: str | None = field(default=None, kw_only=True)
    """The name passed to the manager's `find`, if it is not `host`: a name that a hook understood, a URL with a path,
    or the primary of a failover target. On an event object the attribute is `asked_for`."""
    method: str
    path: str


@event_type
class Transition(Event):
    """The base of every event about a change of a host's state."""

    call: str | None = field(default=None, kw_only=True)
    """The id of the call that caused it or first noticed it; absent if no call did."""


class Observer(Protocol):
    """Receives events, outside every lock. `level` replaces the event's own if a policy sets it."""

    def __call__(self, event: Event, level: Level | None = None, /) -> None: ...


#: What a caller may pass for one, a function of the event and its level or, as `list.append`, of the event alone.
AnyObserver = Callable[[Event, Level | None], object] | Callable[[Event], object]


def logged_names(cls: Any) -> tuple[str, ...]:
    """The logged names of an event type's fields, in order."""
    return tuple("name" if name == "asked_for" else name for name in names_of(cls))


@cache
def _reading(cls: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The names under which an event type's fields are logged, and a function that reads them."""
    return logged_names(cls), reader(names_of(cls))
