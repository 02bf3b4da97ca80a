"""What `ConnectionManager` and its counterpart for asyncio share: all that does not wait."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from sleepwalker.clock import Clock
from sleepwalker.connection.conns import Conns
from sleepwalker.connection.finding import FinderBase
from sleepwalker.connection.guard import guarded_names
from sleepwalker.connection.hook import check_hook
from sleepwalker.connection.in_force import clock_with, follow_defaults, host_table
from sleepwalker.connection.kinds import bare
from sleepwalker.connection.operated import Operated
from sleepwalker.engine import HostHealth
from sleepwalker.events import AnyObserver
from sleepwalker.frames import without_locals
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.names import check_count, check_host, checked_host_key, checked_record_key
from sleepwalker.hosts.policies import PoliciesByPattern, check_reload
from sleepwalker.lookup import change
from sleepwalker.lookup.fast import at_hand
from sleepwalker.lookup.keys import ANY_AUTH, Asked
from sleepwalker.policy import Policy
from sleepwalker.telemetry.counted import CountedHost
from sleepwalker.telemetry.log import observing

if TYPE_CHECKING:
    from sleepwalker.fleet.client import Client
    from sleepwalker.fleet.options import Fleet

_Clock = TypeVar("_Clock", bound=Clock)
_Found_co = TypeVar("_Found_co", covariant=True)


class ManagerBase(Operated, Generic[_Clock, _Found_co]):
    """For a manager. No method here waits for anything, or does what takes long."""

    hosts: HostTable
    _finder: FinderBase
    _own_clock: ClassVar[Clock]
    """The clock of a manager that is given none."""
    _made: ClassVar[Callable[..., FinderBase]]
    """Makes what drives its lookups."""
    _joined: Client | None = None
    """The fleet that this manager was given; None where it was not."""

    @without_locals
    def __init__(
        self,
        *,
        policy: Policy | str | os.PathLike[str] | None = None,
        policies: PoliciesByPattern | None = None,
        max_connections: int = 10_000,
        guard: bool | Collection[str] | None = None,
        hosts: HostTable | None = None,
        fleet: Fleet | str | None = None,
        observer: AnyObserver | None = None,
        clock: _Clock | None = None,
    ) -> None:
        check_count(max_connections, "max_connections")
        own = self._own_clock
        self._hosts = self.hosts = hosts = host_table(hosts, policy, policies, max_connections, clock, own)
        """The records of hosts, to be given to other managers that shall share them. Not to be changed."""
        guarded = None if guard is None else guarded_names(guard)
        clocked = clock_with(hosts, own)
        self._finder = self._made(weakref.ref(self), hosts, max_connections, guarded, observing(observer), clocked)
        self._lookup = self._finder.lookup
        if not hosts.own_policy:
            follow_defaults(self._finder)
        if fleet is not None:
            from sleepwalker.connection.joining import join  # noqa: PLC0415 - most have none, and it takes a while

            self._joined = join(fleet, hosts, observing(observer), self)

    @without_locals
    def add(self, host: str, auth: object, conn: _Found_co) -> None:  # type: ignore[misc]
        """Hold `conn` for the pair. One already there is replaced, and retired unless another pair has it as well."""
        check_host(host)
        asked = Asked(host, auth)
        self._finder.change(lambda: change.add(self._lookup, asked, conn), None)

    def _add_hook(self, hook: Any) -> None:
        check_hook(hook)
        with self._finder.lock:
            change.set_hooks(self._lookup, (*self._lookup.hooks, hook))

    def clear_hooks(self) -> None:
        """Forget all hooks; the connections that they made stay."""
        with self._finder.lock:
            change.set_hooks(self._lookup, ())

    @without_locals
    def is_current(self, conn: object, host: str, auth: object = None) -> bool:
        """Whether `find` would give `conn` for this pair at once, or the connection that it is a scope of."""
        found, _ = at_hand(self._lookup, host, auth)
        if found is conn or bare(found) is bare(conn):
            return True
        check_host(host)
        return False

    def held_as(self, conn: object) -> tuple[tuple[str, Any], ...]:
        """The pairs (host as first given, auth) that hold this very connection now."""
        return tuple((slot.host, slot.auth) for slot in self._lookup.table.holders(bare(conn)))

    def reset(self) -> None:
        """Close and forget all connections. What is known of the hosts, and the hooks, stay.

        Requests in flight finish; calls that wait for a turn or a retry end, and later ones raise `ConnectionError`,
        also on connections that were given up before.
        Hooks that run meanwhile are not interrupted, and what they make is held.
        """
        self._finder.clear(change.reset)

    @property
    def conns(self) -> Mapping[tuple[str, Any], _Found_co]:
        """The connections by (host as first given, auth): a live view, read-only.

        Credentials that cannot be hashed are represented by a key object that can.
        """
        return Conns(self._lookup.table)

    @without_locals
    def evict(self, host: str, auth: object = ANY_AUTH) -> int:
        """Evict the connection of a pair, or without `auth` all of the host; returns how many there were.

        Its calls go on to their end. The next `find` asks the hooks at once.
        """
        name, origin = checked_host_key(host)
        asked = None if auth is ANY_AUTH else Asked(host, auth)
        return self._finder.evict(name, origin, asked)

    @without_locals
    def forget(self, host: str) -> None:
        """Forget a host as if it had never been seen: its connections, back-off, circuit and counts.

        For a host that moved for good or was a mistake: it is no longer shown, and its alerts end. Calls on its
        connections go on to their end. For a name that hooks understand, that goes for the hosts that it alone leads
        to. An isolated host stays isolated until `restore`. Of a scope, as `https://host#name`, the record is forgotten
        and no connection.
        """
        key = checked_record_key(host)
        self._finder.change(lambda: change.forget(self._lookup, *key), None)

    @overload
    def health(self, host: None = None) -> dict[str, HostHealth]: ...

    @overload
    def health(self, host: str) -> HostHealth: ...

    @without_locals
    def health(self, host: str | None = None) -> HostHealth | dict[str, HostHealth]:
        """A `HostHealth` snapshot of one host; without `host` a dict of them all by normalised origin.

        A name that hooks understand stands for the host that they connected it to. Scopes are there as
        `https://host#name`.
        """
        if host is not None:
            checked_record_key(host)
        self._finder.run(change.notice(self._lookup))
        return self._hosts.health(host)

    def reload(
        self,
        policy: Policy | str | os.PathLike[str] | None = None,
        *,
        policies: PoliciesByPattern | None = None,
    ) -> None:
        """Let everything that is shared per host, and guarded objects, follow another policy from now on.

        `policy` and `policies` are those of the constructor, and one that is left out stays as it is. Circuits, counts,
        permits and back-offs go on with the new numbers; calls under way end as they began. A host that follows what
        its first connection brought goes on with that, unless a pattern fits it now.
        A connection's own timeouts, retries and logs are those of its own policy: set `connection.policy` as well.
        Raises PolicyError, or TypeError for what is no policy, and leaves the old ones in force.
        """
        self._finder.run(change.reload(self._lookup, *check_reload(policy, policies)))

    def _records(self) -> list[CountedHost]:
        """All hosts, for metrics to read."""
        records = self._hosts.records()
        routes = self._hosts.members.routes(records)
        return [CountedHost(host, host.held, next(iter(routes[host.origin].names), None)) for host in records]

    def __len__(self) -> int:
        return len(self._lookup.table)

    def __bool__(self) -> bool:
        return True  # an empty manager is a manager

    def __iter__(self) -> Iterator[tuple[str, _Found_co]]:
        return iter([(slot.host, conn) for slot, conn in self._lookup.table.held()])

    def __repr__(self) -> str:
        if "_lookup" not in vars(self):  # a traceback with locals, of a constructor that failed
            return f"<{type(self).__name__}, not made>"
        hooks, closed = len(self._lookup.hooks), " closed" if self._lookup.closed else ""
        return f"<{type(self).__name__} connections={len(self)} hooks={hooks}{closed}>"
