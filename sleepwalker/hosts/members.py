"""The managers that share a table: what they were asked for, and where their connections lead."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from sleepwalker.engine import Host, Routes
from sleepwalker.transport.url import Origin


class Lead(NamedTuple):
    """A name that a manager was asked to find."""

    name: str
    primary: Host | None
    """The host asked for, if it is known."""
    record: Host | None
    """The host of the connection, if there is one."""
    failed_over: bool
    """Whether that is a failover target, used while the primary is broken."""

    @property
    def records(self) -> list[Host]:
        """The records of the connection's host and of the requested host, as far as they are known."""
        return [record for record in (self.record, self.primary) if record is not None]

    def is_of(self, name: str, origin: Origin | None) -> bool:
        """Whether it leads to this host; for one with a base path, below that path."""
        below = origin is not None and name == origin.text and self.name.startswith(f"{name}/")
        return self.name == name or below


class AtWork(NamedTuple):
    """Running hooks of a manager."""

    name: str
    primary: Host | None
    since: float
    """In seconds since 1970 (UTC)."""

    @property
    def place(self) -> str:
        """The origin, or the name if only hooks may know the host."""
        return self.name if self.primary is None else self.primary.origin


class Member(Protocol):
    """A manager as its table sees it. Runs no user code; the first two methods take no lock."""

    def leads(self) -> Iterator[Lead]:
        """The names it was asked for, and where its connections lead."""

    def at_work(self) -> list[AtWork]:
        """What its hooks are running for."""

    def policies_changed(self) -> None:
        """Switch to the present policies of the hosts. Called with the table's lock held."""

    def isolations_changed(self) -> None:
        """Drop cached lookups of hosts that may be isolated now. Called with the table's lock held."""

    def circuit_was_reset(self, name: str, origin: Origin | None) -> None:
        """Allow a call of the hooks at once for everything that leads to a host."""


class Members:
    """All managers of a table, held weakly. Needs no lock."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: weakref.WeakValueDictionary[int, Member] = weakref.WeakValueDictionary()

    def join(self, member: Member) -> None:
        """Count what a manager's slots lead to."""
        self._by_id[id(member)] = member

    def all(self) -> list[Member]:
        """The managers."""
        return [member for ref in self._by_id.valuerefs() if (member := ref()) is not None]

    def leads(self) -> Iterator[Lead]:
        """The leads of all managers, one by one: thousands at once would trigger the garbage collector."""
        return (lead for member in self.all() for lead in member.leads())

    def at_work(self) -> list[AtWork]:
        """The running hooks of all managers."""
        return [one for member in self.all() for one in member.at_work()]

    def hooks_since(self, name: str, place: str) -> float | None:
        """Since when hooks are at work for a name or, if for none of that name, for a place; in seconds since 1970."""
        at_work = self.at_work()
        mine = [one.since for one in at_work if one.name == name]
        return min(mine or [one.since for one in at_work if one.place == place], default=None)

    def hooks_by_place(self) -> dict[str, float]:
        """The same for all places with running hooks."""
        since: dict[str, float] = {}
        for one in self.at_work():
            since[one.place] = min(one.since, since.get(one.place, one.since))
        return since

    def routes(self, records: Iterable[Host]) -> dict[str, Routes]:
        """What leads to each of these hosts and places, by origin; to a scope the same as to its host."""
        hosts = {record.origin: record.origin.partition("#")[0] for record in records}
        names: dict[str, set[str]] = {host: set() for host in hosts.values()}
        failover: dict[str, str] = {}
        for name, primary, record, failed_over in self.leads():  # thousands, perhaps for the health of one host
            if name in names:
                names[name].add(name)
            for led in (primary, record):
                if led is not None and led.origin in names:
                    names[led.origin].add(name)
            if failed_over and primary is not None and record is not None:
                failover[primary.origin] = record.origin
        return {
            origin: Routes(tuple(sorted(names[host] - {host})), bool(names[host]), failover.get(host))
            for origin, host in hosts.items()
        }

    def led_to(self, name: str, origin: Origin | None) -> set[Host]:
        """The records that a host leads to. A URL that failed over leads only to its own host's record."""
        found: set[Host] = set()
        for lead in self.leads():
            if lead.is_of(name, origin):
                led = [lead.primary] if lead.failed_over and origin is not None else lead.records
                found.update(record for record in led if record is not None)
        return found

    def only_led_to(self, name: str, own: set[Host]) -> set[Host]:
        """The name's own records, and those of the hosts that only this name leads to."""
        mine, others = set(own), set[Host]()
        for lead in self.leads():
            (mine if lead.is_of(name, None) else others).update(lead.records)
        return mine - others
