"""`ConnectionManager`: one connection per <host, auth>, found again and again, and made anew when it breaks."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.connection.connection import Connection
from sleepwalker.connection.guard import REQUEST_METHODS, Guard
from sleepwalker.connection.hook import ConnectionHook
from sleepwalker.connection.keys import host_key
from sleepwalker.connection.pair import Fault, Pair, Round
from sleepwalker.connection.probe import LONGEST, Prober
from sleepwalker.connection.registry import GivenUp, Registry
from sleepwalker.connection.settings import load_policy
from sleepwalker.engine.host import Host
from sleepwalker.engine.rules import Rules
from sleepwalker.events import ConnectionEvicted, ConnectionHooked, ConnectionRetired, Event, HookFailed, Observer
from sleepwalker.exceptions import ConnectionError, HostIsolatedError, HTTPError, SleepwalkerException
from sleepwalker.policy import Policy
from sleepwalker.telemetry.log import observing

#: How a hook fails when it fails as connections fail (requests' exceptions are OSErrors); the rest is a bug to be seen.
_HOOK_FAILURES = (ConnectionError, HTTPError, OSError)


class _AnyAuth:
    def __repr__(self) -> str:
        return "ANY_AUTH"


_ANY_AUTH = _AnyAuth()


class ConnectionManager:
    """Follows links from one service to another, on the same host or on others.

    Holds one connection per <host, auth>, made by asking the registered hooks in order, and one health
    record per host, which all connections to it share. `find` gives a healthy connection at once and
    replaces one that is broken.

    Args:
        policy: What connections share per host follows it: breaker, budget, bulkhead, health.
            A `Policy`, the name of a shipped one, or the path of a TOML file.
        max_connections: How many are held; those unused for longest make room for others.
        guard: True, or the names of further methods: what a hook makes that is no `Connection` is wrapped, so
            that the policy applies to its request-like methods. False: it is returned as it is.
        observer: Called with each event of the manager and its guards, besides the log.
        clock: Where time and chance come from; for tests.

    All methods are thread-safe, and none holds a lock while a hook or a request is at work. After a fork
    the child goes on with sockets of its own.
    """

    def __init__(
        self,
        *,
        policy: Policy | str | os.PathLike[str] | None = None,
        max_connections: int = 10_000,
        guard: bool | Collection[str] = False,
        observer: Observer | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        _check_max_connections(max_connections)
        self._policy = Policy() if policy is None else load_policy(policy)
        self._health = self._policy.health
        self._max_connections = max_connections
        self._guarded = _guarded_names(guard)
        self._observe = observing(observer)
        self._clock = clock
        self._rules = Rules(self._policy, clock)
        self._hooks: tuple[ConnectionHook, ...] = ()
        self._registry = Registry(self._policy, clock, max_connections)
        self._shortcuts: dict[tuple[Any, Any], Pair] = {}
        self._waiting: dict[int, Round] = {}
        self._lock = threading.Lock()
        self._sweep_at = float("inf")
        self._closed = False
        self._prober = Prober(self._probe_broken, self._health.probe_interval) if self._health.probe else None
        _managers.add(self)

    def add(self, host: str, auth: Any, conn: Any) -> None:
        """Hold `conn` for the pair; one already there is replaced, and closed unless another pair has it as well."""
        name, origin = host_key(host)
        with self._lock:
            self._check_open_locked()
            pair = self._registry.pair_locked(name, origin, host, auth)
            given_up = self._replaced_locked(pair, conn)
            pair.asked, pair.again_at, pair.failover = 0, 0.0, None
            pair.round = None  # one that is under way no longer decides for this pair
            self._hold_locked(pair, conn, host, auth)
            given_up += self._registry.overdue_locked(self._clock.monotonic())
        self._give_up(given_up)

    def add_conn_hook(self, hook: ConnectionHook) -> None:
        """Ask `hook` as well from now on, after those added before."""
        if not callable(getattr(hook, "connect", None)):
            raise TypeError(
                f"hook must have a method connect(host, auth), as ConnectionHook has; {hook!r:.80} has none"
            )
        with self._lock:
            self._hooks += (hook,)
            self._end_back_offs_locked()

    def clear_hooks(self) -> None:
        """Forget all hooks; the connections that they made stay."""
        with self._lock:
            self._hooks = ()
            self._end_back_offs_locked()

    def find(self, host: str, auth: Any = None) -> Any:
        """The connection to `host` with `auth`, from the hooks if there is none yet or the one there is broken.

        Raises `ConnectionError` if there is none and no hook makes one: its text says what each hook said, and
        its `retry_after` when the hooks may be asked again. `HostIsolatedError` for an isolated host. Other
        exceptions of a hook are passed on.
        """
        try:
            pair = self._shortcuts.get((host, auth))
        except TypeError:  # credentials that cannot be hashed
            pair = None
        if pair is not None and pair.ready:
            conn, now = pair.conn, self._clock.monotonic()
            if now < self._sweep_at and pair.fault(now, self._health) is None and pair.ready:
                pair.used = now
                return conn
        return self._find(host, auth)

    def reset(self) -> None:
        """Close and forget all connections. What is known of the hosts, and the hooks, stay."""
        with self._lock:
            given_up = self._registry.clear_locked()
            self._shortcuts = {}
        self._give_up(given_up)

    @property
    def conns(self) -> Mapping[tuple[Any, Any], Any]:
        """The connections by (host as first given, auth) as of now, read-only.

        Credentials that cannot be hashed are represented by a key object that can.
        """
        with self._lock:
            pairs = [pair for pair in self._registry.pairs_locked() if pair.ready]
            return MappingProxyType({_public_key(pair): pair.conn for pair in pairs})

    def evict(self, host: str, auth: Any = _ANY_AUTH) -> int:
        """Give up the connection of a pair, or without `auth` all of the host; returns how many there were.

        The next `find` asks the hooks at once.
        """
        name, origin = host_key(host)
        with self._lock:
            if auth is _ANY_AUTH:
                pairs = [pair for pair in self._registry.pairs_locked() if pair.name == name]
            else:
                pairs = [self._registry.pair_locked(name, origin, host, auth)]
            given_up = []
            for pair in pairs:
                if pair.ready:
                    given_up.append(GivenUp(pair, self._registry.take_locked(pair), "by hand"))
                if pair.round is None:
                    self._registry.drop_locked(pair)
        self._give_up(given_up)
        return len(given_up)

    def isolate(self, host: str) -> None:
        """Take a host out of use: `find` and requests to it raise `HostIsolatedError` until `restore`."""
        name, origin = host_key(host)
        with self._lock:
            records = self._records_of_locked(name if origin is None else origin.text)
            self._registry.isolated.update({record.origin: record for record in records})
        self._tell(event for record in records for event in record.isolate())

    def restore(self, host: str) -> None:
        """End an isolation; without one nothing happens."""
        name, origin = host_key(host)
        with self._lock:
            records = self._records_of_locked(name if origin is None else origin.text)
            for record in records:
                self._registry.isolated.pop(record.origin, None)
        self._tell(event for record in records for event in record.restore())

    def health(self, host: str | None = None) -> Any:
        """A `HostHealth` snapshot of one host; without `host` a dict of them all by normalised origin."""
        if host is None:
            with self._lock:
                records = self._registry.hosts_locked()
            return {record.origin: record.snapshot(held) for record, held in records}
        name, origin = host_key(host)
        with self._lock:
            known = name if origin is None else origin.text
            record, held = self._registry.host_locked(known), self._registry.held_locked(known)
        return record.snapshot(held)

    def close(self) -> None:
        """Close and forget all connections, for good: a later `find` raises `ConnectionError`."""
        self._closed = True
        if self._prober is not None:
            self._prober.stop()
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._registry.count_locked()

    def __bool__(self) -> bool:
        return True  # an empty manager is a manager

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        with self._lock:
            held = [(pair.host, pair.conn) for pair in self._registry.pairs_locked() if pair.ready]
        return iter(held)

    def __repr__(self) -> str:
        return (
            f"<ConnectionManager connections={len(self)} hooks={len(self._hooks)}{' closed' if self._closed else ''}>"
        )

    def _find(self, host: str, auth: Any) -> Any:
        """The long way: the pair's connection, or a round of the hooks, led here or by another thread."""
        name, origin = host_key(host)
        while True:
            conn, mine = None, Round()
            with self._lock:
                self._check_open_locked()
                now = self._clock.monotonic()
                given_up = self._registry.overdue_locked(now)
                self._sweep_at = self._registry.due_at_locked()
                pair = self._registry.pair_locked(name, origin, host, auth)
                self._check_isolated_locked(pair)
                fault = pair.fault(now, self._health) if pair.ready else None
                current = pair.round
                usable = pair.ready and (fault is None or (fault == "failback" and current is not None))
                if not usable and current is None:
                    usable = self._backing_off_locked(pair, now)
                if usable:
                    pair.used = now
                    self._remember_locked(pair, host, auth)
                    conn = pair.conn
                elif current is None:
                    pair.round = mine
                    if pair.ready and fault != "failback":
                        self._note_failover_locked(pair, fault)
                        given_up.append(GivenUp(pair, self._registry.take_locked(pair), fault))
                else:
                    self._check_circle_locked(current, name)
                    self._waiting[threading.get_ident()] = current
            self._give_up(given_up)
            if usable:
                return conn
            if current is None:
                return self._lead(pair, mine, host, auth, fault)
            if self._follow(current):
                return current.result

    def _lead(self, pair: Pair, mine: Round, host: str, auth: Any, fault: Fault | None) -> Any:
        """Ask the hooks, and give the result to all who wait for it."""
        try:
            conn, refusal = self._ask_hooks(pair, host, auth)
        except BaseException as error:
            with self._lock:
                if pair.round is mine:
                    pair.round = None
                mine.error = error if isinstance(error, Exception) else None
                mine.abandoned = mine.error is None
            mine.done.set()
            raise
        given_up: list[GivenUp] = []
        with self._lock:
            now = self._clock.monotonic()
            mine.error, mine.result = refusal, conn
            if pair.round is mine:
                pair.round = None
                if refusal is None:
                    given_up += self._replaced_locked(pair, conn, fault or "replaced")
                    mine.result = self._hold_locked(pair, conn, host, auth)
                elif pair.ready:  # a stand-in, which still serves; the host asked for is asked for again later
                    mine.error, mine.result = None, pair.conn
                if refusal is None or refusal.retryable:
                    pair.back_off(now, self._health)
                if mine.error is not None and refusal is not None:
                    if refusal.retryable:
                        refusal.retry_after = pair.again_at - now
                        pair.refusal = str(refusal)
                        self._registry.note_locked(pair)
                    else:
                        self._registry.drop_locked(pair)
                given_up += self._registry.overdue_locked(now)
            elif pair.ready:  # somebody added one by hand meanwhile
                mine.error, mine.result = None, pair.conn
        mine.done.set()
        self._give_up(given_up)
        if self._prober is not None and not self._closed:
            self._prober.start()
        if mine.error is not None:
            raise mine.error
        return mine.result

    def _follow(self, current: Round) -> bool:
        """Wait for another thread's round; False where it was abandoned and has to be led anew."""
        try:
            current.done.wait()
        finally:
            with self._lock:
                self._waiting.pop(threading.get_ident(), None)
        if isinstance(current.error, ConnectionError):
            # One object raised in several threads would collect the tracebacks of all of them.
            error = type(current.error)(*current.error.args)
            error.retry_after, error.retryable = current.error.retry_after, current.error.retryable
            raise error
        if current.error is not None:
            raise current.error
        return not current.abandoned

    def _ask_hooks(self, pair: Pair, host: str, auth: Any) -> tuple[Any, ConnectionError | None]:
        """The first connection that a hook gives, or what all of them said."""
        hooks, said, failed = self._hooks, [], False
        for hook in hooks:
            began = self._clock.monotonic()
            kind = type(hook).__name__
            error: Exception | None = None
            conn = None
            try:
                conn = hook.connect(host, auth)
            except _HOOK_FAILURES as raised:
                error = raised
            if conn is not None and getattr(conn, "closed", False) is True:
                conn, error = None, ConnectionError("it gave a connection that is closed")
            took = self._clock.monotonic() - began
            if conn is not None:
                target = conn.origin.text if isinstance(conn, Connection) else type(conn).__name__
                self._observe(ConnectionHooked(pair.name, hook=kind, target=target, duration=took))
                return conn, None
            if error is None:
                said.append(f"{kind} does not know the host")
                continue
            failed = True
            said.append(f"{kind}: {_told(error)}")
            self._observe(HookFailed(pair.name, hook=kind, error=type(error).__name__, duration=took))
        why = "; ".join(said) if said else "there is no hook; add one with add_conn_hook, or a connection with add"
        refusal = ConnectionError(f"no connection to {pair.name}: {why}")
        refusal.retryable, refusal.never_sent = failed, True
        return None, refusal

    def _hold_locked(self, pair: Pair, conn: Any, host: str, auth: Any) -> Any:
        """Put a connection in, guarded if that is wished for; returns what `find` gives from now on."""
        now = self._clock.monotonic()
        if self._guarded and not isinstance(conn, Connection | Guard):
            record = self._registry.host_locked(pair.home.origin if pair.home is not None else pair.name)
            conn = Guard(conn, record, self._rules, self._guarded, self._clock, self._observe)
        self._registry.put_locked(pair, conn, now)
        self._remember_locked(pair, host, auth)
        self._sweep_at = self._registry.due_at_locked()
        return conn

    def _remember_locked(self, pair: Pair, host: str, auth: Any) -> None:
        """Let the same words find the pair without the lock."""
        if len(self._shortcuts) > 2 * self._max_connections:
            self._shortcuts = {}
        with contextlib.suppress(TypeError):  # credentials that cannot be hashed are found the long way
            self._shortcuts[host, auth] = pair

    def _replaced_locked(self, pair: Pair, conn: Any, reason: Any = "replaced") -> list[GivenUp]:
        if not pair.ready:
            return []
        old = self._registry.take_locked(pair)
        return [] if old is conn else [GivenUp(pair, old, reason)]

    def _note_failover_locked(self, pair: Pair, fault: Fault | None) -> None:
        """If the host asked for is given up as broken, another one may stand in for it now."""
        if fault in ("breaker", "connect") and pair.record is pair.home and isinstance(pair.conn, Connection):
            pair.failover = pair.conn

    def _backing_off_locked(self, pair: Pair, now: float) -> bool:
        """Whether to go on with the connection in hand until the hooks may be asked again; raises if there is none."""
        if now >= pair.again_at:
            return False
        if pair.well_since_round():
            pair.asked, pair.again_at = 0, 0.0
            return False
        if pair.ready and not getattr(pair.conn, "closed", False):
            return True
        if pair.ready:
            return False
        error = ConnectionError(f"{pair.refusal or f'no connection to {pair.name}'}; the hooks are asked again later")
        error.retry_after, error.never_sent = pair.again_at - now, True
        raise error

    def _end_back_offs_locked(self) -> None:
        for pair in self._registry.pairs_locked():
            pair.asked, pair.again_at, pair.refusal = 0, 0.0, None

    def _records_of_locked(self, name: str) -> list[Host]:
        """The host's own record, and where it is a name, those of the hosts that hooks connected it to."""
        records = {name: self._registry.host_locked(name)}
        for pair in self._registry.pairs_locked():
            if pair.name == name and pair.record is not None:
                records[pair.record.origin] = pair.record
        return list(records.values())

    def _check_open_locked(self) -> None:
        if self._closed:
            raise ConnectionError("this manager is closed; make a new one")

    def _check_isolated_locked(self, pair: Pair) -> None:
        if not self._registry.isolated:
            return
        for record in (pair.home, pair.record, self._registry.known_host_locked(pair.name)):
            if record is not None and record.isolated:
                raise HostIsolatedError(
                    f"{record.origin} is isolated by an operator; restore() ends that", host=record.origin
                )

    def _check_circle_locked(self, current: Round, name: str) -> None:
        """A hook that finds hosts itself must not wait, through whomever, for the round that it is part of."""
        me, wanted = threading.get_ident(), current
        while wanted.leader != me:
            step = self._waiting.get(wanted.leader)
            if step is None:
                return
            wanted = step
        raise ConnectionError(f"no connection to {name}: its hooks wait for it themselves")

    def _give_up(self, given_up: Iterable[GivenUp]) -> None:
        """Close and announce what is held no more; never with the lock held, for closing is somebody's code."""
        for pair, conn, reason in given_up:
            if reason in ("age", "idle", "room"):
                self._observe(ConnectionRetired(pair.name, reason=reason))
            else:
                self._observe(ConnectionEvicted(pair.name, reason=reason or "closed"))
            if self._held_elsewhere(conn):
                continue
            close = getattr(conn, "close", None)
            if callable(close):
                with contextlib.suppress(Exception):  # what closes badly is gone all the same
                    close()

    def _held_elsewhere(self, conn: Any) -> bool:
        with self._lock:
            return any(pair.ready and pair.conn is conn for pair in self._registry.pairs_locked())

    def _probe_broken(self) -> None:
        """Ask each broken host once whether it is back."""
        with self._lock:
            pairs = self._registry.pairs_locked()
        seen: set[int] = set()
        for pair in pairs:
            conn = pair.failover if pair.failover is not None else pair.conn
            record = pair.home if pair.failover is not None else pair.record
            if record is None or not record.trouble or record.isolated or id(record) in seen or self._closed:
                continue
            if isinstance(conn, Connection):
                seen.add(id(record))
                self._probe(conn, record)

    def _probe(self, conn: Connection, record: Host) -> None:
        needed = self._policy.breaker.close_after if self._policy.breaker else 1
        for _ in range(needed):
            try:
                outcome = conn.probe(str(self._health.probe), LONGEST)
            except SleepwalkerException:
                return
            self._tell(record.probed(outcome, self._clock.monotonic()))
            if not record.trouble or not outcome.succeeded:
                return

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._observe(event)

    def _renew_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._waiting = {}
        for pair in self._registry.pairs_locked():
            pair.round = None  # its leader is a thread of the parent


_managers: weakref.WeakSet[ConnectionManager] = weakref.WeakSet()


def _renew_all_after_fork() -> None:
    for manager in list(_managers):
        manager._renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all_after_fork)


def _check_max_connections(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"max_connections must be a positive number, not {value!r}")


def _guarded_names(guard: Any) -> frozenset[str]:
    """The methods to guard; none where guarding is off."""
    if isinstance(guard, bool):
        return REQUEST_METHODS if guard else frozenset()
    if isinstance(guard, str) or not isinstance(guard, Collection) or not all(isinstance(name, str) for name in guard):
        raise TypeError(f"guard must be True, False or names of methods, not {guard!r:.80}")
    return REQUEST_METHODS | frozenset(guard)


def _public_key(pair: Pair) -> tuple[Any, Any]:
    try:
        hash(pair.auth)
    except TypeError:
        return pair.host, pair.key[1]
    return pair.host, pair.auth


def _told(error: Exception) -> str:
    """What a hook's failure may say here: our own texts are safe, others may quote a URL with its query."""
    if isinstance(error, SleepwalkerException):
        return f"{type(error).__name__}: {error}"
    strerror = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {strerror}" if isinstance(strerror, str) else type(error).__name__
