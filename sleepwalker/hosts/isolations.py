"""Isolations by operators: by the name that was given, with the end of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from sleepwalker.clock import Clock
from sleepwalker.engine import Host, Isolation, Restorer
from sleepwalker.events import Event
from sleepwalker.transport.url import Origin


class Isolated(NamedTuple):
    """The isolation of one name."""

    isolation: Isolation
    records: dict[str, Host]
    """The record of the host, and those of the hosts that hooks connected it to; for a scope, its own."""
    whole: Host | None = None
    """For a scope, the record of its host, which holds that of the scope."""


def isolation_key(name: str, origin: Origin | None, scope: str | None) -> str:
    """The key of an isolation: the name of its main record."""
    own = name if origin is None else origin.text
    return own if scope is None else f"{own}#{scope}"


class Isolations:
    """The isolations of a table. Not thread-safe: its owner holds a lock. A signal handler may raise after any call."""

    __slots__ = ("_by_name", "_clock", "_lapses_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_name: dict[str, Isolated] = {}
        self._lapses_at = (math.inf, math.inf)
        """The earliest end of an isolation, on the monotonic and on the wall clock."""

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def __iter__(self) -> Iterator[str]:
        return iter([*self._by_name])

    def get(self, name: str) -> Isolated | None:
        """The isolation of that name, if there is one."""
        return self._by_name.get(name)

    def begin(self, name: str, isolated: Isolated) -> list[Event]:
        """Isolate these records; returns the events to emit."""
        self._by_name[name] = isolated
        self._schedule()
        events: list[Event] = []
        for record in isolated.records.values():
            events += record.isolate(self._longest(record) or isolated.isolation)
        return events

    def end(self, name: str, by: Restorer = "hand") -> list[Event]:
        """End the isolation of a name, except of hosts that another name isolates, too; returns the events to emit."""
        isolated = self._by_name.get(name)
        records = {} if isolated is None else dict(isolated.records)
        for others in self._by_name.values():
            if (record := others.records.get(name)) is not None:
                records[name] = record
        events: list[Event] = []
        for record in records.values():
            longest = None if record.origin == name else self._longest(record, but=name)
            events += record.restore(by) if longest is None else record.isolate(longest)
        # Last, so that the next call restores the rest if a signal handler raised above.
        for others in list(self._by_name.values()):
            others.records.pop(name, None)
        self._by_name.pop(name, None)
        return events

    def lapse(self) -> list[Event]:
        """End the isolations whose time is over; returns the events to emit."""
        clock, (at, wall) = self._clock, self._lapses_at
        if not self._by_name or (clock.monotonic() < at and clock.wall() < wall):
            return []
        over = [name for name, isolated in self._by_name.items() if isolated.isolation.over(clock)]
        ended = [record for name in over for record in self._by_name.pop(name).records.values()]
        self._schedule()
        events: list[Event] = []
        for record in ended:
            longest = self._longest(record)
            events += record.lapse() if longest is None else record.isolate(longest)
        return events

    def in_force(self, name: str) -> bool:
        """Whether something is isolated by that name now."""
        isolated = self._by_name.get(name)
        return isolated is not None and not isolated.isolation.over(self._clock)

    def renew_parts(self, record: Host) -> None:
        """Isolate a host's scopes again, if they were isolated before its old record was dropped."""
        for key, isolated in list(self._by_name.items()):
            host, _, scope = key.partition("#")
            if isolated.whole is not None and host == record.origin:
                part, _, _ = record.part(scope)
                part.isolate(isolated.isolation)
                self._by_name[key] = Isolated(isolated.isolation, {key: part}, record)

    def of_a_part(self, record: Host) -> bool:
        """Whether a scope of that host is isolated."""
        return any(isolated.whole is record for isolated in self._by_name.values())

    def _schedule(self) -> None:
        isolations = [isolated.isolation for isolated in self._by_name.values()]
        ends = (one.ends for one in isolations if one.ends is not None)
        moments = (one.until for one in isolations if one.ends is None and one.until is not None)
        self._lapses_at = (min(ends, default=math.inf), min(moments, default=math.inf))

    def _longest(self, record: Host, but: str | None = None) -> Isolation | None:
        """The isolation of a record that ends last; its own, if others end at the same time.

        The isolation of the name `but` does not count.
        """
        found = self._by_name.get(record.origin)
        longest = None if found is None else found.isolation
        now, wall = self._clock.monotonic(), self._clock.wall()
        for name, (isolation, records, _) in self._by_name.items():
            if name == but or record.origin not in records:
                continue
            if longest is None or isolation.left(now, wall) > longest.left(now, wall):
                longest = isolation
        return longest
