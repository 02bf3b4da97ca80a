"""What `ConnectionManager` and `AsyncConnectionManager` share: all methods that never wait."""

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
    """Base of both managers. None of its methods waits or takes long."""

    hosts: HostTable
    _finder: FinderBase
    _own_clock: ClassVar[Clock]
    """The clock of a manager that is given none."""
    _made: ClassVar[Callable[..., FinderBase]]
    """Makes the driver of its lookups."""
    _joined: Client | None = None
    """The fleet that this manager was given; None if it was given none."""

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
        """The records of hosts. Pass it as `hosts=` to another manager to share them. Read-only."""
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
        """Hold `conn` for the pair. A connection already held is retired, unless another pair uses it too.

        `conn` stays until a hook creates another one, `add` replaces it, or it is closed.
        """
        check_host(host)
        asked = Asked(host, auth)
        self._finder.change(lambda: change.add(self._lookup, asked, conn), None)

    def _add_hook(self, hook: Any) -> None:
        check_hook(hook)
        with self._finder.lock:
            change.set_hooks(self._lookup, (*self._lookup.hooks, hook))

    def clear_hooks(self) -> None:
        """Forget all hooks. Their connections stay."""
        with self._finder.lock:
            change.set_hooks(self._lookup, ())

    @without_locals
    def is_current(self, conn: object, host: str, auth: object = None) -> bool:
        """Whether `find` would return `conn`, or the connection that `conn` is a scope of, for this pair at once."""
        found, _ = at_hand(self._lookup, host, auth)
        if found is conn or bare(found) is bare(conn):
            return True
        check_host(host)
        return False

    def held_as(self, conn: object) -> tuple[tuple[str, Any], ...]:
        """The pairs (host as first given, auth) for which the manager holds this connection object now."""
        return tuple((slot.host, slot.auth) for slot in self._lookup.table.holders(bare(conn)))

    def reset(self) -> None:
        """Close and forget all connections. Hooks and the state of hosts stay.

        Requests in flight finish. Queued calls and retries end, and later calls raise `ConnectionError`, also on
        connections that were evicted before. Hooks that are running continue, and their connections are kept.
        """
        self._finder.clear(change.reset)

    @property
    def conns(self) -> Mapping[tuple[str, Any], _Found_co]:
        """The connections by (host as first given, auth), as a live, read-only view.

        Credentials that cannot be hashed are represented by a hashable key object.
        """
        return Conns(self._lookup.table)

    @without_locals
    def evict(self, host: str, auth: object = ANY_AUTH) -> int:
        """Evict the connection of a pair, or all of the host if `auth` is left out. Returns their number.

        Calls on them continue to their end. The next `find` calls the hooks at once.
        """
        name, origin = checked_host_key(host)
        asked = None if auth is ANY_AUTH else Asked(host, auth)
        return self._finder.evict(name, origin, asked)

    @without_locals
    def forget(self, host: str) -> None:
        """Forget a host as if it had never been used: its connections, back-off, circuit and counters.

        Use it for a host that moved for good or was added by mistake. The host is no longer shown, and its alerts end.
        Calls on its connections continue to their end. A name that hooks understand stands for the hosts that only this
        name leads to. An isolated host stays isolated until `restore`. For a scope (`https://host#name`), only its
        record is forgotten.
        """
        key = checked_record_key(host)
        self._finder.change(lambda: change.forget(self._lookup, *key), None)

    @overload
    def health(self, host: None = None) -> dict[str, HostHealth]: ...

    @overload
    def health(self, host: str) -> HostHealth: ...

    @without_locals
    def health(self, host: str | None = None) -> HostHealth | dict[str, HostHealth]:
        """A `HostHealth` snapshot of one host; without `host`, a dict of all snapshots by normalised origin.

        A name that hooks understand stands for the host that they connected it to. Scopes appear as
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
        """Switch everything that is shared per host, and guarded objects, to another policy.

        `policy` and `policies` are as in the constructor; an argument that is left out stays as it is. Circuits,
        counters, permits and back-offs continue with the new numbers. Running calls finish under the old policy. A host
        that follows the policy of its first connection keeps that policy, unless a pattern now matches the host.
        Timeouts, retries and logs belong to the connection: assign `connection.policy` to change them. Raises
        PolicyError or TypeError for an invalid policy, and then changes nothing.
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
