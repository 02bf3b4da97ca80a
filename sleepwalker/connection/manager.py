"""`ConnectionManager`: one connection per <host, auth>, found again and again, and made anew when it breaks."""

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

    _finder: Finder
    _own_clock = BLOCKING_CLOCK
    _made = Finder

    def add_conn_hook(self, hook: Hook[Found_co]) -> None:
        """Ask `hook` as well from now on, after those added before."""
        refuse_coroutines(hook)
        self._add_hook(hook)

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
