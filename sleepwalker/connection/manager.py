"""`ConnectionManager`: one connection per <host, auth>, kept, found and replaced when it breaks."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sleepwalker.connection.finder import Finder
from sleepwalker.connection.found import Found_co
from sleepwalker.connection.hook import Hook, refuse_coroutines
from sleepwalker.connection.managing import ManagerBase
from sleepwalker.connection.settings import check_wait
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, BlockingClock
from sleepwalker.frames import empty_frames
from sleepwalker.lookup.fast import at_hand
from sleepwalker.lookup.foreign import EMPTY


class ConnectionManager(ManagerBase[BlockingClock, Found_co]):
    """Follows links from one service to another, on the same host or on others.

    It holds one connection per <host, auth>, created by the registered hooks, and one health record per host, shared by
    all connections to the host. `find` returns a healthy connection at once and replaces a broken one.

    Args:
        policy: The policy for what connections share per host: breaker, budget, bulkhead, rate limit, health. It
            applies unless a pattern matches the host or its first connection brings its own policy. Timeouts, retries
            and logs of calls follow the connection's policy. A `Policy`, the name of a shipped one, or the path of a
            TOML file. None: the policy chosen with `defaults`, or else `standard`.
        policies: Policies by pattern. A pattern is matched against the origin and against the name passed to `find`.
            The first match wins. Next come the tables for single hosts in `policy`, then the policy of the host's first
            connection, then `policy` itself.
        max_connections: How many connections are held. The least recently used ones make room.
        guard: True, or the names of additional methods: wrap what hooks return that is not a `Connection`, so that its
            request methods follow the policy. False: do not wrap. None: as chosen with `defaults`, or else do not wrap.
        hosts: A `HostTable` to share host records with other managers: one circuit, health and isolation for all. The
            table's policies and clock apply, so leave out `policy`, `policies` and `clock`. None: a table of its own.
        fleet: The store that the workers of a service share, as a URL or a `sleepwalker.fleet.Fleet`. A host that
            enough workers find broken is broken for all, and `isolate`, `restore` and `reset_circuit` reach all
            workers. Use `file:///run/billing.fleet` for the workers of one machine, or `redis://host:6379/0` for
            workers on many machines. A background thread talks to the store until the last manager with this fleet is
            closed or dropped. None: this process works alone, unless another manager of the same `hosts` has a fleet.
        observer: A function called with each event of the manager and its guards and the event's level, or with the
            event alone, in addition to the log. Events of calls go to the observer of their `Connection`.
        clock: The source of time and randomness; for tests.

    All methods are thread-safe. No lock is held while a hook, a request, or code of a connection or of credentials
    runs. A signal handler may raise inside any method. It may also call `find` or `health`, or close the manager. If it
    interrupts a change, a change that it makes itself (`add`, `evict`, `close`, ...) runs after that one. After a fork
    the child uses new sockets.

    For type checkers the connections are `Connection` objects. If hooks return another type, name it:
    `ConnectionManager[Client]()`.

    Example:
        ```python
        manager = ConnectionManager(policy="interactive")
        manager.add("https://api.example.com", None, Connection("https://api.example.com", ANONYMOUS))
        item = manager.find("https://api.example.com").json_request("GET", "/items/7")
        print({host: health.state for host, health in manager.health().items()})
        ```
    """

    _finder: Finder
    _own_clock = BLOCKING_CLOCK
    _made = Finder

    def add_conn_hook(self, hook: Hook[Found_co]) -> None:
        """Add a hook. Hooks are called in the order in which they were added."""
        refuse_coroutines(hook)
        self._add_hook(hook)

    def find(self, host: str, auth: object = None, *, timeout: float | None = None) -> Found_co:
        """Return the connection to `host` with `auth`. Hooks create it if there is none or it is broken.

        Hooks run in a separate thread. `timeout` is the longest wait for them, in seconds; the default is the policy's
        `timeout.total`. A connection that they create later is kept for the next `find`. With `float("inf")` the wait
        is unlimited, and the hooks run in the caller's thread.

        Raises `ConnectionError` if no hook creates a connection: its text has the answer of each hook, and its
        `retry_after` says when the hooks can be called again. `DeadlineExceeded` if the hooks are still running after
        `timeout`. `HostIsolatedError` for an isolated host. Other exceptions of a hook reach the caller; each waiting
        thread gets its own copy. As in all methods here, a `host` that is not a str raises TypeError, and an empty or
        blank one `URLError`.
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
            del host, auth, key  # the same as `without_locals`, which would cost one call more

    def close(self) -> None:
        """Close and forget all connections, permanently: a later `find` raises `ConnectionError`."""
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
