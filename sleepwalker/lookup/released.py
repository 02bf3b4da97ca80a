"""Connections that are no longer held: what is announced of them, whose calls go on, and when they are closed."""

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
    """What is to be emitted of it; nothing of one that never was in use."""
    slot, _, reason = released
    if reason is None:
        return []
    if reason in _OF_GOOD_ONES:
        return [ConnectionRetired(slot.name, reason=reason)]
    return [ConnectionEvicted(slot.name, reason=reason or "closed")]


class Leaving:
    """The connections that are held no more and have calls under way, or a user who has them.

    Its owner holds a lock, or is one task, but where it is said otherwise. Nothing here runs the code of connections.
    """

    __slots__ = ("_at_work", "_retired", "_table")

    def __init__(self, table: SlotTable) -> None:
        self._table = table
        self._at_work: dict[int, tuple[Any, Any]] = {}
        """Guards whose calls go on, each with what it guards, by their ids."""
        self._retired: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def goes_on(self, guard: Any, bare: Any) -> None:
        """Take note that a guard has calls under way, which go on with what it guards."""
        self._at_work[id(guard)] = (guard, bare)

    def may_close(self, conn: Any, bare: Any) -> bool:
        """Whether a connection may be closed whose own calls are over.

        Not while a slot holds what is behind it, nor while another guard of that has calls under way that began before
        it was released.
        """
        self._at_work.pop(id(conn), None)
        return not (self._table.holds(bare) or any(other is bare for _, other in [*self._at_work.values()]))

    def retired(self, conn: Any, bare: Any, usage: Usage) -> None:
        """Take note that a connection gave up its sockets, unless a hook gave it again meanwhile."""
        if self._table.holds(bare):
            usage.retired = False
        else:
            self._retired[id(conn)] = conn

    def all(self) -> tuple[list[Any], Sequence[weakref.ref[Any]]]:
        """The guards that have calls under way, and references to those that a user still has. Needs no lock."""
        return [guard for guard, _ in [*self._at_work.values()]], self._retired.valuerefs()
