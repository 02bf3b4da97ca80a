"""Released connections: their events, their running calls, and when they are closed."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from sleepwalker.events import ConnectionEvicted, ConnectionRetired, Event
from sleepwalker.lookup.foreign import Usage
from sleepwalker.lookup.table import Released, SlotTable

#: Why good connections are held no more.
_OF_GOOD_ONES = ("age", "idle", "reset", "room")


def announced(released: Released) -> list[Event]:
    """The event for it, in a list; an empty one if it was never in use."""
    slot, _, reason = released
    if reason is None:
        return []
    if reason in _OF_GOOD_ONES:
        return [ConnectionRetired(slot.name, reason=reason)]
    return [ConnectionEvicted(slot.name, reason=reason or "closed")]


class Leaving:
    """Released connections that still have running calls, or a user who holds them.

    Its owner holds a lock, or is one task, unless said otherwise. Nothing here runs code of connections.
    """

    __slots__ = ("_at_work", "_retired", "_table")

    def __init__(self, table: SlotTable) -> None:
        self._table = table
        self._at_work: dict[int, tuple[Any, Any]] = {}
        """Guards whose calls go on, each with what it guards, by their ids."""
        self._retired: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def goes_on(self, guard: Any, bare: Any) -> None:
        """Note that a guard has running calls, which continue with the guarded object."""
        self._at_work[id(guard)] = (guard, bare)

    def may_close(self, conn: Any, bare: Any) -> bool:
        """Whether a connection without running calls of its own may be closed.

        Not while a slot holds the object behind it, or another guard of that object has running calls from before its
        release.
        """
        self._at_work.pop(id(conn), None)
        return not (self._table.holds(bare) or any(other is bare for _, other in [*self._at_work.values()]))

    def retired(self, conn: Any, bare: Any, usage: Usage) -> None:
        """Note that a connection gave up its sockets, unless a hook returned it again meanwhile."""
        if self._table.holds(bare):
            usage.retired = False
        else:
            self._retired[id(conn)] = conn

    def all(self) -> tuple[list[Any], Sequence[weakref.ref[Any]]]:
        """The guards with running calls, and references to connections that a user still holds. Needs no lock."""
        return [guard for guard, _ in [*self._at_work.values()]], self._retired.valuerefs()
