"""`ConnectionManager`: one connection per <host, auth>, found again and again, and made anew when it breaks."""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, overload

from sleepwalker.connection.conns import Conns
from sleepwalker.connection.finder import Finder
from sleepwalker.connection.found import Found_co
from sleepwalker.connection.guard import guarded_names
from sleepwalker.connection.hook import Hook, check_hook
from sleepwalker.connection.in_force import clock_with, follow_defaults, host_table
from sleepwalker.connection.kinds import bare
from sleepwalker.connection.operated import Operated
from sleepwalker.connection.settings import check_wait
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, BlockingClock
from sleepwalker.engine import HostHealth
from sleepwalker.events import AnyObserver
from sleepwalker.frames import empty_frames, without_locals
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.names import check_count, check_host, checked_host_key, checked_record_key
from sleepwalker.hosts.policies import PoliciesByPattern, check_reload
from sleepwalker.lookup import change
from sleepwalker.lookup.fast import at_hand
from sleepwalker.lookup.foreign import EMPTY
from sleepwalker.lookup.keys import ANY_AUTH, Asked
from sleepwalker.policy import Policy
from sleepwalker.telemetry.counted import CountedHost
from sleepwalker.telemetry.log import observing

if TYPE_CHECKING:
    from sleepwalker.fleet.client import Client
    from sleepwalker.fleet.options import Fleet


class ConnectionManager(Operated, Generic[Found_co]):
    """Follows links from one service to another, on the same host or on others.

    Holds one connection per <host, auth>, made by asking the registered hooks in order, and one health
    record per host, which all connections to it share. `find` gives a healthy connection at once and
    replaces one that is broken.

    Args:
        policy: What connections share per host follows it: breaker, budget, bulkhead, rate limit, health. So it does
            where no pattern fits the host and its first connection has no policy of its own. Timeouts, retries and logs
            of calls follow the connection's.
            A `Policy`, the name of a shipped one, or the path of a TOML file. None: the one that `defaults` chose,
            `standard` if none was.
        policies: Policies by pattern, for hosts whose origin, or what `find` is asked for, it fits. The first that fits
            counts, before what a connection brings; then come the tables that `policy` itself has for single hosts.
        max_connections: How many are held; those unused for longest make room for others.
        guard: True, or the names of further methods: what a hook makes that is no `Connection` is wrapped, so that the
            policy applies to its request-like methods. False: it is not. None: as `defaults` chose, else it is not.
        hosts: A `HostTable` to have records from, for managers that share them: one circuit, health and isolation for
            all. Its policies count and its clock, so `policy`, `policies` and `clock` are left out. None: one of its
            own.
        fleet: The store that the workers of a service share, a URL or a `sleepwalker.fleet.Fleet`: a host that enough
            of them find broken is so for all, and what `isolate`, `restore` and `reset_circuit` do reaches all.
            `file:///run/billing.fleet` for the workers of one machine, `redis://host:6379/0` for those of many. A
            thread of its own talks with it, until the last manager of the table that was given it is closed or dropped.
            None: this process is on its own, unless another manager of the same `hosts` has one.
        observer: Called with each event of the manager and its guards and its level, or with the event alone, besides
            the log. Events of calls go to the observer of their `Connection`.
        clock: The source of time and chance; for tests.

    All methods are thread-safe. None holds a lock while a hook, a request, or any code of a connection's or of
    credentials' runs. A signal handler may raise in the middle of any of them, and may itself ask a manager
    (`find`, `health`) or close it; a change (`add`, `evict`, `close`, ...) that it asks for in the middle of another
    one is made once that is over. After a fork the child goes on with sockets of its own.

    To checkers it finds `Connection` objects. Where hooks make others, name their type: `ConnectionManager[Client]()`.

    Example:
        ```python
        manager = ConnectionManager(policy="interactive")
        manager.add("https://api.example.com", None, Connection("https://api.example.com", ANONYMOUS))
        item = manager.find("https://api.example.com").json_request("GET", "/items/7")
        print({host: health.state for host, health in manager.health().items()})
        ```
    """

    hosts: HostTable
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
        clock: BlockingClock = BLOCKING_CLOCK,
    ) -> None:
        check_count(max_connections, "max_connections")
        self._hosts = self.hosts = hosts = host_table(hosts, policy, policies, max_connections, clock)
        """The records of hosts, to be given to other managers that shall share them. Not to be changed."""
        guarded, clock = None if guard is None else guarded_names(guard), clock_with(hosts, clock)
        self._finder = Finder(weakref.ref(self), hosts, max_connections, guarded, observing(observer), clock)
        self._lookup = self._finder.lookup
        if not hosts.own_policy:
            follow_defaults(self._finder)
        if fleet is not None:
            from sleepwalker.connection.joining import join  # noqa: PLC0415 - most have none, and it takes a while

            self._joined = join(fleet, hosts, observing(observer), self)

    @without_locals
    def add(self, host: str, auth: object, conn: Found_co) -> None:  # type: ignore[misc]
        """Hold `conn` for the pair. One already there is replaced, and retired unless another pair has it as well."""
        check_host(host)
        asked = Asked(host, auth)
        self._finder.change(lambda: change.add(self._lookup, asked, conn), None)

    def add_conn_hook(self, hook: Hook[Found_co]) -> None:
        """Ask `hook` as well from now on, after those added before."""
        check_hook(hook)
        with self._finder.lock:
            change.set_hooks(self._lookup, (*self._lookup.hooks, hook))

    def clear_hooks(self) -> None:
        """Forget all hooks; the connections that they made stay."""
        with self._finder.lock:
            change.set_hooks(self._lookup, ())

    def find(self, host: str, auth: object = None, *, timeout: float | None = None) -> Found_co:
        """The connection to `host` with `auth`, from the hooks if there is none yet or the one there is broken.

        The hooks run in a thread of their own. `timeout` is how many seconds to wait for them at most, the
        policy's `timeout.total` by default; what they make later is there for the next `find`. With `float("inf")`
        there is no bound, and hooks that are asked for this caller are asked in its own thread.

        Raises `ConnectionError` if there is none and no hook makes one: its text says what each hook said, and
        its `retry_after` when the hooks may be asked again. `DeadlineExceeded` if the hooks are still running when
        the time is over. `HostIsolatedError` for an isolated host. Other exceptions of a hook are passed on, to each
        thread that waits for them as an object of its own.
        A `host` that is no str is a TypeError, an empty or blank one a `URLError`, as with all methods here.
        """
        key: object = None
        try:
            if timeout is not None:
                check_wait(timeout)
            conn, key = at_hand(self._lookup, host, auth)
            found: Found_co = self._finder.find(host, auth, timeout, key) if conn is EMPTY else conn
            return found
        except BaseException as error:
            empty_frames(error)
            raise
        finally:
            del host, auth, key  # as `without_locals` does it, which costs a call more

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
    def conns(self) -> Mapping[tuple[str, Any], Found_co]:
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

    def close(self) -> None:
        """Close and forget all connections, for good: a later `find` raises `ConnectionError`."""
        try:
            self._finder.close()
        finally:
            if self._joined is not None:
                self._joined.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._lookup.table)

    def __bool__(self) -> bool:
        return True  # an empty manager is a manager

    def __iter__(self) -> Iterator[tuple[str, Found_co]]:
        return iter([(slot.host, conn) for slot, conn in self._lookup.table.held()])

    def __repr__(self) -> str:
        if "_lookup" not in vars(self):  # a traceback with locals, of a constructor that failed
            return f"<{type(self).__name__}, not made>"
        hooks, closed = len(self._lookup.hooks), " closed" if self._lookup.closed else ""
        return f"<ConnectionManager connections={len(self)} hooks={hooks}{closed}>"
