"""The records of hosts by name: which ones are kept, and for how long."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from sleepwalker.clock import Clock
from sleepwalker.engine import Host
from sleepwalker.hosts.members import Lead

#: Records that one call examines to drop one, so that the lock is held for microseconds.
_BATCH = 16
#: The most seconds for which a host that nothing leads to any more still counts as broken. So an alert that waits a
#: minute before it pages does not fire.
_MAX_UNREFERENCED = 30.0


class Owner(Protocol):
    """The table that has the records. It is passed to each call: a stored reference would form a cycle."""

    def made(self, name: str) -> Host:
        """A new record, not kept yet."""

    def retains(self, record: Host) -> bool:
        """Whether a record must be kept because a scope of it is isolated."""

    def leads(self) -> Iterator[Lead]:
        """The leads of all managers."""


class Records:
    """The records of hosts. One is kept while a slot or a connection uses it, its host is isolated, or it is among the
    latest.

    Not thread-safe: its owner holds a lock. A signal handler may raise wherever a call ends.
    """

    __slots__ = ("_clock", "_known", "_latest", "_left", "_max")

    def __init__(
        self,
        clock: Clock,
        most: int,
    ) -> None:
        self._clock, self._max = clock, most
        self._known: weakref.WeakValueDictionary[str, Host] = weakref.WeakValueDictionary()
        self._latest: OrderedDict[str, Host] = OrderedDict()
        self._left: dict[str, float] = {}
        """When the last slot stopped leading to a broken host."""

    def __len__(self) -> int:
        return len(self._known)

    def now(self) -> list[Host]:
        """All records, in any order, even expired ones. Needs no lock."""
        return [record for ref in self._known.valuerefs() if (record := ref()) is not None]

    def host(self, owner: Owner, name: str) -> Host:
        """The record of an origin, or of a name that only hooks understand; created if it is new."""
        record = self.known(owner, name)
        if record is None:
            record = owner.made(name)
            self._known[name] = record
        self._latest[name] = record
        self._latest.move_to_end(name)
        if len(self._latest) > self._max:
            self._trim()
        return record

    def _trim(self) -> None:
        now = self._clock.monotonic()
        for _ in range(_BATCH):
            oldest = next(iter(self._latest))
            if not self._latest[oldest].rejects(now):
                del self._latest[oldest]
                return
            self._latest.move_to_end(oldest)  # if it were forgotten, the host would get requests too early

    def peek(self, name: str) -> Host | None:
        """The record of that name, if there is one, even if it has expired."""
        return self._known.get(name)

    def known(self, owner: Owner, name: str) -> Host | None:
        """A host's record, unless there is none or it has expired."""
        record = self._known.get(name)
        if record is None or not self._is_over(record, self._clock.monotonic()):
            return record
        if any(record in lead.records for lead in owner.leads()):
            return record
        self.drop(owner, record)
        return None

    def all(self, owner: Owner) -> list[Host]:
        """All records, by name."""
        self._drop_unreferenced(owner)
        return [record for _, record in sorted(self._known.items())]

    def leave(self, record: Host | None) -> None:
        """Note that a slot no longer leads to a host; if that is missed, `all` notices."""
        if record is not None and record.unhealthy:
            if len(self._left) > 2 * self._max:
                self._left = {}
            self._left[record.origin] = self._clock.monotonic()

    def drop(self, owner: Owner, record: Host) -> None:
        """Forget a record."""
        for table in (self._latest, self._known, self._left):
            table.pop(record.origin, None)
        if owner.retains(record):
            self.host(owner, record.origin)

    def _drop_unreferenced(self, owner: Owner) -> None:
        """Forget broken hosts that nothing has led to for a while: services that moved."""
        down = [record for record in list(self._known.values()) if record.unhealthy and not record.isolated]
        left, self._left = self._left, {}
        if not down:
            return
        now = self._clock.monotonic()
        led = {record for lead in owner.leads() for record in lead.records}
        for record in down:
            if record not in led:
                self._left[record.origin] = left.get(record.origin, now)
                if self._is_over(record, now):
                    self.drop(owner, record)

    def _is_over(self, record: Host, now: float) -> bool:
        """Whether a broken host that no slot leads to may be forgotten: never before its circuit may be probed."""
        left = self._left.get(record.origin)
        if left is None or now - left < min(record.health_policy.rehook_max, _MAX_UNREFERENCED):
            return False
        return record.unhealthy and not record.isolated and not record.busy and not record.rejects(now)
