"""`HostTable`: the records of hosts, which belong to one manager or are shared by several."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from typing import overload

from sleepwalker.clock import SYSTEM_CLOCK, Clock, each_in_turn
from sleepwalker.engine import Host, HostHealth, Isolation, Restorer
from sleepwalker.events import Event, PolicyIgnored
from sleepwalker.fork import renewed_after_fork
from sleepwalker.hosts.fleet import Fleet
from sleepwalker.hosts.isolations import Isolated, Isolations, isolation_key
from sleepwalker.hosts.members import Lead, Members
from sleepwalker.hosts.names import check_count, checked_record_key
from sleepwalker.hosts.policies import Matched, PoliciesByPattern, PolicyMap, check_policies, load_policy, probe_every
from sleepwalker.hosts.probes import ProbeTurns
from sleepwalker.hosts.records import Records
from sleepwalker.policy import HealthPolicy, Policy
from sleepwalker.policy.shared import alike, unlike
from sleepwalker.transport.url import Origin


class HostTable:
    """The records of hosts, by origin or name: circuit, budget, limits, counters and isolation of each.

    A `ConnectionManager` creates its own table unless it is given one. Managers with the same table share circuits,
    health and isolations, and follow the table's policies. It is bounded and thread-safe.

    Args:
        policy: The policy for breaker, budget, bulkhead, rate limit and health of hosts, and for how long a manager
            waits for its hooks. A `Policy`, the name of a shipped one, or the path of a TOML file. None: `standard`, or
            the policy chosen with `defaults` once a manager has the table.
        policies: Policies by pattern, as for a `ConnectionManager`.
        max_hosts: The most records of hosts without a connection.
        clock: The source of time, also for the managers; for tests.

    Raises ValueError for a `max_hosts` below 1, and PolicyError for an invalid policy.

    Example:
        ```python
        hosts = HostTable(policy="standard")
        reports = ConnectionManager(hosts=hosts)
        orders = ConnectionManager(hosts=hosts)  # both see the same circuits
        print(hosts.health("https://api.example.com").state)
        ```
    """

    policy_map: PolicyMap

    # One re-entrant lock for the table and all its managers, taken before a host's. With one each, a signal handler
    # that calls a manager while its thread holds the table's lock could wait for a thread that waits for that lock.
    def __init__(
        self,
        *,
        policy: Policy | str | os.PathLike[str] | None = None,
        policies: PoliciesByPattern | None = None,
        max_hosts: int = 10_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        check_count(max_hosts, "max_hosts")
        self.clock = clock
        self.own_policy: bool = policy is not None
        """Whether it was given one, so that it does not follow the choice of `defaults`."""
        chosen = load_policy("standard" if policy is None else policy)
        self.policy_map = PolicyMap(chosen, () if policies is None else check_policies(policies))
        self.probe_every: float = self.policy_map.probe_every
        """The shortest probe interval of the policies that a host may follow, in seconds; or infinity."""
        self.idle: float = self.policy_map.idle
        """The shortest `health.idle` of these policies, in seconds."""
        self._max = max_hosts
        self.lock: threading.RLock = threading.RLock()
        """Held while the table or its managers change."""
        self.probe_turns: ProbeTurns = ProbeTurns()
        self._isolations = Isolations(clock)
        self.kept: Records = Records(clock, max_hosts)
        """The records. They are changed with the lock held."""
        self.fleet: Fleet | None = None
        """What the workers of other processes find of these hosts, if a manager has joined them."""
        self.members: Members = Members()
        """The managers that use this table."""
        _tables.add(self)

    @property
    def policy(self) -> Policy:
        """The policy of hosts that no pattern matches, and whose first connection had no policy."""
        return self.policy_map.policy

    def __len__(self) -> int:
        return len(self.records())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<HostTable hosts={len(self.kept)}>"

    @overload
    def health(self, host: None = None) -> dict[str, HostHealth]: ...

    @overload
    def health(self, host: str) -> HostHealth: ...

    def health(self, host: str | None = None) -> HostHealth | dict[str, HostHealth]:
        """A `HostHealth` snapshot of one host; without `host`, a dict of all snapshots by normalised origin.

        A name stands for the host that a manager's connection for it goes to. A scope is `https://host#name`.
        """
        if host is not None:
            name, origin, scope = checked_record_key(host)
            record = self.find(name, origin, scope)
            hooks_since = self.members.hooks_since(name, record.origin) if scope is None else None
            return record.snapshot(record.connections, hooks_since, self.members.routes([record])[record.origin])
        since = self.members.hooks_by_place()
        records = {record.origin: record for record in self.records()}
        for place in since.keys() - records.keys():  # only hooks may know what it is, and they have not said so yet
            records[place] = self.unknown(place)
        routes, known = self.members.routes(records.values()), each_in_turn(sorted(records.items()))
        return {name: one.snapshot(one.connections, since.get(name), routes[name]) for name, one in known}

    # -- for managers

    def leads(self) -> Iterator[Lead]:
        """What all managers were asked to find. For the records."""
        return self.members.leads()

    def host(self, name: str) -> Host:
        """The record of an origin, or of a name that only hooks understand; created if it is new."""
        with self.lock:
            return self.kept.host(self, name)

    def made(self, name: str) -> Host:
        """A new record, which is not kept yet. For the records."""
        record = self.unknown(name)
        if (fleet := self.fleet) is not None:  # another thread may close it
            fleet.made(record)
        self._isolations.renew_parts(record)
        return record

    def retains(self, record: Host) -> bool:
        """Whether a record must be kept, since a scope of it is isolated. For the records."""
        return self._isolations.of_a_part(record)

    def find(self, name: str, origin: Origin | None, scope: str | None = None) -> Host:
        """A host's or scope's record; if there is none, a new one that is not kept.

        A name stands for the host that hooks connect it to.
        """
        if scope is not None:
            whole = self.find(name, origin)
            return whole.known_part(scope) or Host(f"{whole.origin}#{scope}", whole.policy, self.clock, whole)
        own, leads = (name, self.leads()) if origin is None else (origin.text, ())
        behind = (lead.record or lead.primary for lead in leads if lead.name == name)
        with self.lock:
            return next(filter(None, behind), None) or self.kept.known(self, own) or self.unknown(own)

    def unknown(self, name: str) -> Host:
        """The record of an unknown host, which is not kept."""
        return Host(name, self.policy_map.followed((name,)).policy, self.clock)

    def records(self) -> list[Host]:
        """All records, each followed by those of its scopes; for metrics as well."""
        return [one for record in self.hosts() for one in (record, *record.parts())]

    def hosts(self) -> list[Host]:
        """All records but those of scopes."""
        with self.lock:
            return self.kept.all(self)

    def parts(self, origin: Origin | None, scope: str) -> list[Host]:
        """The record of a scope of a host, if there is one."""
        with self.lock:
            whole = None if origin is None else self.kept.known(self, origin.text)
            part = None if whole is None else whole.known_part(scope)
            return [] if part is None else [part]

    # -- whose policy a host follows

    def settle(self, record: Host, names: tuple[str, ...], brought: Policy | None) -> list[Event]:
        """Register a connection to a host under these names. Returns the events to emit.

        The first connection settles whose policy the host follows. A later one with its own policy or another pattern
        changes nothing, and one event says so. A pattern takes precedence over hooks and managers.
        """
        wanted = None if brought is None else brought.for_host(*names)
        with self.lock:
            # A policy that shares what the table's does is not its own: a reload applies to its hosts, too.
            own = None if wanted is None or alike(wanted, self.policy) else wanted
            policy, whose = self.policy_map.followed(names, own)
            events: list[Event] = []
            if record.whose is None or (whose == "policies" and record.whose != "policies"):
                if record.whose is None:
                    record.brought = None if own is None else brought
                events += self._follow_locked(record, policy)
                record.whose = whose
            asked = (wanted, policy if whose == "policies" else None)
            ignored = dict.fromkeys(field for each in asked if each for field in unlike(each, record.policy))
            if ignored and not record.told_ignored:
                record.told_ignored = True
                events.append(PolicyIgnored(record.origin, ignored=", ".join(ignored), followed=record.whose))
            return events

    def replace(self, record: Host) -> Host:
        """The present record in place of one that was looked up before; it follows the same policy."""
        with self.lock:
            current = self.host(record.origin)
            if current is not record and current.whose is None:  # made just now, so there is nothing to emit
                current.reconfigure(record.policy)
                current.whose, current.brought = record.whose, record.brought
            return current

    def reload(self, policy: Policy | None = None, policies: Matched | None = None) -> list[Event]:
        """Switch all hosts and managers to these policies; None keeps the present ones. Returns the events to emit."""
        names: dict[Host, dict[str, None]] = {}
        for lead in self.leads():
            for record in (lead.primary, lead.record):
                if record is not None:
                    names.setdefault(record, {})[lead.name] = None
        with self.lock:
            return self._reload_locked(self.policy_map.replaced(policy, policies), names)

    def _reload_locked(self, policy_map: PolicyMap, names: dict[Host, dict[str, None]]) -> list[Event]:
        events: list[Event] = []
        self.policy_map, self.probe_every, self.idle = policy_map, policy_map.probe_every, policy_map.idle
        for record in self.hosts():
            known = (record.origin, *names.get(record, ()))
            own = None if record.brought is None else record.brought.for_host(*known)
            policy, whose = policy_map.followed(known, own)
            events += self._follow_locked(record, policy)
            if record.whose is not None:
                record.whose = whose
        for member in self.members.all():
            member.policies_changed()
        return events

    def _follow_locked(self, record: Host, policy: Policy) -> tuple[Event, ...]:
        self.probe_every = min(self.probe_every, probe_every(policy))
        self.idle = min(self.idle, policy.health.idle)
        return () if policy is record.policy else record.reconfigure(policy)

    def health_policy(self, name: str, record: Host | None) -> HealthPolicy:
        """The health policy of a host; without a record, that for its name."""
        return self.policy_map.followed((name,)).policy.health if record is None else record.health_policy

    # -- what operators do

    def isolate(
        self, name: str, origin: Origin | None, isolation: Isolation | None = None, scope: str | None = None
    ) -> list[Event]:
        """Isolate a host, with the hosts that hooks connected it to. Returns the events to emit.

        A failover target of a URL's host is not isolated with it. Without `isolation`, an existing one is extended to
        what the name leads to. With `scope`, only that scope is isolated.
        """
        with self.lock:
            return self._isolate_locked(name, origin, isolation, scope)

    def _isolate_locked(
        self, name: str, origin: Origin | None, isolation: Isolation | None, scope: str | None
    ) -> list[Event]:
        events = self._isolations.lapse()
        before = self._isolations.get(isolation_key(name, origin, scope))
        if isolation is None:
            if before is None:  # its time was over a moment ago
                return events
            isolation = before.isolation
        host = self.host(name if origin is None else origin.text)
        own, whole = (host, None) if scope is None else (host.part(scope)[0], host)
        records = {own.origin: own}
        for lead in self.leads() if scope is None else ():
            if lead.record is not None and lead.is_of(name, origin) and (origin is None or not lead.failed_over):
                records[lead.record.origin] = lead.record
        if before is not None:
            records = before.records | records
        for member in self.members.all():
            member.isolations_changed()
        return events + self._isolations.begin(own.origin, Isolated(isolation, records, whole))

    def restore(self, name: str, origin: Origin | None, scope: str | None = None, by: Restorer = "hand") -> list[Event]:
        """Restore a host or a scope, except what is also isolated by another name."""
        with self.lock:
            return self._isolations.lapse() + self._isolations.end(isolation_key(name, origin, scope), by)

    def lapse(self) -> list[Event]:
        """End the isolations whose time is over. Returns the events to emit."""
        if not self._isolations:
            return []
        with self.lock:
            return self._isolations.lapse()

    @property
    def has_isolated(self) -> bool:
        """Whether any host is isolated. Needs no lock."""
        return bool(self._isolations)

    def isolates(self, name: str, origin: Origin | None) -> bool:
        """Whether the host itself was isolated."""
        if not self._isolations:
            return False
        with self.lock:
            return self._isolations.in_force(name if origin is None else origin.text)

    def isolated_by(self, lead: Lead) -> Host | None:
        """The isolated record that prevents a `find` of the slot."""
        with self.lock:
            isolated = self._isolations.get(lead.name)
            named = None if isolated is None else isolated.records.get(lead.name)
            return next((each for each in (lead.primary, lead.record, named) if each and each.isolated), None)

    def led_to(self, name: str, origin: Origin | None) -> list[Host]:
        """A host's record, if there is one; for a name, also those of the hosts that it leads to."""
        with self.lock:
            own = self.kept.known(self, name if origin is None else origin.text)
        records = self.members.led_to(name, origin) | ({own} if own is not None else set())
        return sorted(records, key=lambda record: record.origin)

    def only_led_to(self, name: str, origin: Origin | None) -> set[Host]:
        """A host's record; for a name, those of the hosts that it alone leads to."""
        records = {own} if (own := self.kept.peek(name if origin is None else origin.text)) else set()
        return self.members.only_led_to(name, records) if origin is None else records

    def forget(self, records: Iterable[Host]) -> None:
        """Drop records, except those that are isolated, or that another manager's slots lead to."""
        led = {record for lead in self.leads() for record in lead.records}
        others = [record for record in records if record not in led]
        with self.lock:
            self._drop_locked(others)

    def _drop_locked(self, records: list[Host]) -> None:
        for record in records:
            if not record.isolated:
                self.kept.drop(self, record)

    def forget_part(self, origin: Origin | None, scope: str) -> None:
        """Drop the record of a scope of a host, unless it is isolated."""
        with self.lock:
            whole = None if origin is None else self.kept.known(self, origin.text)
            if whole is not None:
                whole.forget_part(scope)

    def _renew_after_fork(self) -> None:
        self.lock = threading.RLock()
        self.probe_turns.clear()
        if self.fleet is not None:
            self.fleet.renew_after_fork()


_tables = renewed_after_fork("host tables", HostTable._renew_after_fork)
