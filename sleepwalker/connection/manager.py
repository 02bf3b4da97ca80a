"""`ConnectionManager`: one connection per <host, auth>, found again and again, and made anew when it breaks."""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self, overload

from sleepwalker import threads
from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.connection.connection import Connection
from sleepwalker.connection.conns import Conns
from sleepwalker.connection.guard import (
    end_waits,
    follow,
    guard,
    guarded_names,
    is_guard,
    once_idle,
    unguarded,
    usage_of,
)
from sleepwalker.connection.held import Held, Holding
from sleepwalker.connection.hook import ConnectionHook
from sleepwalker.connection.in_force import default_guarded, default_policy, follow_defaults
from sleepwalker.connection.keys import (
    Asked,
    AuthKey,
    check_host,
    checked_host_key,
    checked_record_key,
    words_of,
)
from sleepwalker.connection.pair import NOTHING, Fault, Made, Pair, Round, as_connection, bare, says_closed
from sleepwalker.connection.probe import LONGEST, Prober
from sleepwalker.connection.registry import GivenUp, Registry, Seen
from sleepwalker.connection.rounds import Rounds, no_room, out_of_time, too_late
from sleepwalker.connection.said import hooks_refusal, own_copy, told, too_early
from sleepwalker.connection.settings import check_isolation, check_wait, load_policy
from sleepwalker.connection.usage import Usage
from sleepwalker.connection.whose import PoliciesByPattern, Terms, check_policies, names_of
from sleepwalker.engine.health import HostHealth
from sleepwalker.engine.host import Host
from sleepwalker.engine.isolation import FOR_GOOD, Isolation
from sleepwalker.engine.outcome import Verdict
from sleepwalker.engine.rules import Rules
from sleepwalker.events import (
    AnyObserver,
    ConnectionEvicted,
    ConnectionHooked,
    ConnectionRetired,
    Event,
    HookFailed,
    HookSlow,
)
from sleepwalker.exceptions import ConnectionError, HostIsolatedError, HTTPError
from sleepwalker.fork import renewed_after_fork
from sleepwalker.frames import empty_frames, without_locals
from sleepwalker.latch import Latch
from sleepwalker.policy import HealthPolicy, Policy
from sleepwalker.telemetry.log import observing
from sleepwalker.transport.url import Origin

#: How a hook fails when it fails as connections fail (requests' exceptions are OSErrors); the rest is a bug to be seen.
_HOOK_FAILURES = (ConnectionError, HTTPError, OSError)


class _AnyAuth:
    def __repr__(self) -> str:
        return "ANY_AUTH"


_ANY_AUTH = _AnyAuth()
_CLOSED = "this manager is closed; make a new one"
_HOOK_THREAD = "sleepwalker hook"
#: A probe that is due in fewer seconds is made at once.
_AT_ONCE = 0.001
#: Who waits for hooks looks up this often, in seconds: whether the interpreter ended, and what a clock of a test says.
_SLICE = 0.25
_Shortcuts = dict[tuple[Any, ...], Pair]


class _Wait:
    """How long a caller of `find` waits."""

    __slots__ = ("nested", "seconds", "since")

    def __init__(self, seconds: float, *, nested: bool) -> None:
        self.seconds = seconds
        self.nested = nested
        """Whether it is a signal handler, in whose thread the manager was interrupted with its lock held: no other
        thread comes to its end before this one."""
        self.since: float | None = None
        """When its pair was first looked at."""


class _Turn(NamedTuple):
    """What `find` does next: return a connection, raise, wait for another thread's round, or have one made."""

    pair: Pair
    conn: Any = NOTHING
    error: ConnectionError | None = None
    wait_for: Round | None = None
    fault: Fault | None = None
    """Where hooks are to be asked: what was wrong with the connection before."""
    shortcuts: _Shortcuts | None = None
    """Where the words of this caller are to be remembered, if so."""


class _Said(NamedTuple):
    """What the hooks said."""

    conn: Any = None
    refusal: ConnectionError | None = None
    preferred: bool = True
    """Whether none of those asked before the one that made the connection had trouble."""


class ConnectionManager:
    """Follows links from one service to another, on the same host or on others.

    Holds one connection per <host, auth>, made by asking the registered hooks in order, and one health
    record per host, which all connections to it share. `find` gives a healthy connection at once and
    replaces one that is broken.

    Args:
        policy: What connections share per host follows it: breaker, budget, bulkhead, rate limit, health. So it does
            where no pattern fits the host and its first connection has no policy of its own.
            A `Policy`, the name of a shipped one, or the path of a TOML file. None: the one that `defaults` chose,
            `standard` if none was.
        policies: Policies by pattern, for hosts whose origin, or what `find` is asked for, it fits. The first that fits
            counts, before what a connection brings; then come the tables that `policy` itself has for single hosts.
        max_connections: How many are held; those unused for longest make room for others.
        guard: True, or the names of further methods: what a hook makes that is no `Connection` is wrapped, so
            that the policy applies to its request-like methods. False: it is returned as it is. None: as `defaults`
            chose, else as it is.
        observer: Called with each event of the manager and its guards and its level, or with the event alone, besides
            the log.
        clock: Where time and chance come from; for tests.

    All methods are thread-safe. None holds a lock while a hook, a request, or any code of a connection's or of
    credentials' is at work. A signal handler may raise in the middle of any of them, and may itself ask a manager
    (`find`, `health`) or close it; other changes (`add`, `evict`, `reset`, ...) are for threads to make. After a fork
    the child goes on with sockets of its own.
    """

    @without_locals
    def __init__(
        self,
        *,
        policy: Policy | str | os.PathLike[str] | None = None,
        policies: PoliciesByPattern | None = None,
        max_connections: int = 10_000,
        guard: bool | Collection[str] | None = None,
        observer: AnyObserver | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        _check_max_connections(max_connections)
        self._policy = default_policy() if policy is None else load_policy(policy)
        self._own_policy = policy is not None
        self._max_connections = max_connections
        self._guarded = None if guard is None else guarded_names(guard)
        self._observe = observing(observer)
        self._clock = clock
        self._rules = Rules(self._policy, clock)
        self._hooks: tuple[ConnectionHook, ...] = ()
        terms = Terms(self._policy, () if policies is None else check_policies(policies))
        self._registry = Registry(terms, clock, max_connections)
        self._shortcuts: _Shortcuts = {}
        self._rounds = Rounds()
        self._leaving: dict[int, Any] = {}
        """Guards that were given up and have calls under way."""
        self._retired: weakref.WeakValueDictionary[int, Connection] = weakref.WeakValueDictionary()
        """Connections that were given up, and that somebody still has, by their ids."""
        # One that its thread may take again: a signal handler, or a finaliser, may ask the manager at any call here.
        self._lock = threading.RLock()
        self._sweep_at = float("inf")
        self._closed = False
        self._prober: Prober | None = None
        self._probes_due: dict[str, float] = {}
        """In how many seconds the broken hosts that are probed have their next one, by origin."""
        _managers.add(self)
        if policy is None:
            follow_defaults(self)

    @without_locals
    def add(self, host: str, auth: Any, conn: Any) -> None:
        """Hold `conn` for the pair; one already there is replaced, and retired unless another pair has it as well."""
        check_host(host)
        asked, mine = Asked(host, auth), Round()
        try:
            self._add(asked, mine, conn)
        finally:
            self._leave(mine)

    def _add(self, asked: Asked, mine: Round, conn: Any) -> None:
        self._check_open()
        pair = self._registry.look(asked).pair or Pair(asked)
        made = self._made(conn, pair, asked.origin)
        while True:
            seen = self._registry.look(asked)
            with self._lock:
                if not self._registry.fits_locked(asked, seen):
                    continue
                self._check_open()
                now = self._clock.monotonic()
                mine.pair = pair = seen.pair or Pair(asked)
                if seen.pair is None:
                    self._registry.insert_locked(pair, asked.origin)
                given_up = self._replaced_locked(pair, conn)
                pair.end_back_off()
                pair.stay_home()
                shortcuts = self._hold_locked(pair, mine, made, now, preferred=True)
                isolated = self._registry.isolates_locked(asked.name, asked.origin)
                news = self._isolate_locked(asked.name, asked.origin) if isolated else []
                given_up += self._registry.overdue_locked(now, pair)
                self._sweep_at = self._registry.due_at_locked()
                self._start_probing_locked()
                break
        self._held(made, pair)
        self._remember(shortcuts, asked, pair)
        self._give_up(given_up)
        self._tell(news)

    def add_conn_hook(self, hook: ConnectionHook) -> None:
        """Ask `hook` as well from now on, after those added before."""
        if isinstance(hook, type):
            raise TypeError(f"hook is the class {hook.__name__}: pass an instance of it")
        if not callable(getattr(hook, "connect", None)):
            raise TypeError(
                f"hook must have a method connect(host, auth), as ConnectionHook has, not be a {type(hook).__name__}"
            )
        with self._lock:
            self._hooks += (hook,)
            self._end_back_offs_locked()

    def clear_hooks(self) -> None:
        """Forget all hooks; the connections that they made stay."""
        with self._lock:
            self._hooks = ()
            self._end_back_offs_locked()

    def find(self, host: str, auth: Any = None, *, timeout: float | None = None) -> Any:
        """The connection to `host` with `auth`, from the hooks if there is none yet or the one there is broken.

        The hooks are at work in a thread of their own. `timeout` is how many seconds to wait for them at most, the
        policy's `timeout.total` by default; what they make later is there for the next `find`. With `float("inf")`
        there is no bound, and hooks that are asked for this caller are asked in its own thread.

        Raises `ConnectionError` if there is none and no hook makes one: its text says what each hook said, and
        its `retry_after` when the hooks may be asked again. `DeadlineExceeded` where the hooks are still at work when
        the time is over. `HostIsolatedError` for an isolated host. Other exceptions of a hook are passed on, to each
        thread that waits for them as an object of its own.
        A `host` that is no str is a TypeError, an empty or blank one a `URLError`, as with all methods here.
        """
        try:
            if timeout is not None:
                check_wait(timeout)
            conn = self._at_hand(host, auth)
            return self._find(host, auth, timeout) if conn is NOTHING else conn
        except BaseException as error:
            empty_frames(error)
            raise
        finally:
            del host, auth  # as `without_locals` does it, which costs a call more

    @without_locals
    def is_current(self, conn: Any, host: str, auth: Any = None) -> bool:
        """Whether `find` gives `conn` for this pair at once, or what it is a scope of: for who keeps what it gave."""
        at_hand = self._at_hand(host, auth)
        if at_hand is conn or bare(at_hand) is bare(conn):
            return True
        check_host(host)
        return False

    def held_as(self, conn: Any) -> tuple[tuple[Any, Any], ...]:
        """The pairs (host as first given, auth) that hold this very connection now."""
        with self._lock:
            return tuple((pair.host, pair.auth) for pair in self._registry.holders_locked(conn))

    def reset(self) -> None:
        """Close and forget all connections. What is known of the hosts, and the hooks, stay.

        Requests in flight finish; calls that wait for a turn or a retry end, and later ones raise `ConnectionError`,
        also on connections that were given up before.
        Hooks that are at work meanwhile are not interrupted, and what they make is held.
        """
        with self._lock:
            given_up = self._registry.clear_locked()
            self._shortcuts = {}
            leaving, retired = [*self._leaving.values()], self._retired.valuerefs()
        self._give_up(given_up, cut=True)
        for conn in leaving:
            end_waits(conn)
        for ref in retired:
            if (conn := ref()) is not None:
                self._close_unheld(conn)

    @property
    def conns(self) -> Mapping[tuple[Any, Any], Any]:
        """The connections by (host as first given, auth): a live view, read-only.

        Credentials that cannot be hashed are represented by a key object that can.
        """
        return Conns(self._ready_pairs, self._look, self.__len__)

    @without_locals
    def evict(self, host: str, auth: Any = _ANY_AUTH) -> int:
        """Give up the connection of a pair, or without `auth` all of the host; returns how many there were.

        Its calls go on to their end. The next `find` asks the hooks at once.
        """
        name, origin = checked_host_key(host)
        asked = None if auth is _ANY_AUTH else Asked(host, auth)
        while True:
            seen = None if asked is None else self._registry.look(asked)
            with self._lock:
                if asked is None or seen is None:
                    pairs = self._registry.pairs_of_locked(name, origin)
                elif self._registry.fits_locked(asked, seen):
                    pairs = [] if seen.pair is None else [seen.pair]
                else:
                    continue
                given_up = self._take_by_hand_locked(pairs)
                break
        self._give_up(given_up)
        return len(given_up)

    def _take_by_hand_locked(self, pairs: list[Pair]) -> list[GivenUp]:
        # Not a loop within `with`: since Python 3.12 its jump back may stand outside of it, and what a signal handler
        # raises there would leave the lock locked.
        given_up = []
        for pair in pairs:
            if pair.ready:
                given_up.append(GivenUp(pair, self._registry.take_locked(pair), "by hand"))
            pair.end_back_off()
            pair.stay_home()
            if not pair.asking:
                self._registry.drop_locked(pair)
        return given_up

    @without_locals
    def forget(self, host: str) -> None:
        """Forget a host as if it had never been seen: its connections, back-off, circuit and counts.

        For one that moved for good or was a mistake: nothing of it is shown any more, and its alerts end. Calls on its
        connections go on to their end. For a name that hooks understand, that goes for the hosts that it alone leads
        to. An isolated host stays isolated until `restore`. Of a scope, as `https://host#name`, the record is forgotten
        and no connection.
        """
        name, origin, scope = checked_record_key(host)
        if scope is not None:
            with self._lock:
                self._registry.forget_part_locked(origin, scope)
            return
        with self._lock:
            self._shortcuts = {}
            given_up = self._registry.forget_locked(name, origin)
        self._give_up(given_up)

    @without_locals
    def isolate(self, host: str, *, reason: str | None = None, until: datetime | float | None = None) -> None:
        """Take a host out of use: `find` and requests to it raise `HostIsolatedError` until `restore`.

        `reason` is a short text that errors, events, health and the status page show. `until` is when it ends by
        itself: a datetime with a time zone, or a number of seconds from now, which setting the machine's clock does not
        change. Isolating a host again replaces both.
        For a name that hooks understand, all that goes for the hosts that its connections lead to; of several
        isolations of one host the latest end counts. The scopes of a host are isolated with it; one alone is as
        `https://host#name`, which `find` does not heed.

        Raises ValueError for a reason that is blank, not printable or longer than 200 characters, and for an `until`
        without a time zone, in the past or more than a year from now; TypeError for what is neither.
        """
        name, origin, scope = checked_record_key(host)
        isolation = check_isolation(reason, until, self._clock)
        with self._lock:
            news = self._isolate_locked(name, origin, isolation, scope)
        self._tell(news)

    @without_locals
    def restore(self, host: str) -> None:
        """End an isolation; without one nothing happens.

        For a name, that ends what was said of the name: a host that is isolated by its URL or by another name, too,
        stays so. For a URL, it ends all that there is of that host, but for its scopes that are isolated themselves.
        """
        name, origin, scope = checked_record_key(host)
        with self._lock:
            news = self._registry.restore_locked(name, origin, scope)
        self._tell(news)

    @without_locals
    def reset_circuit(self, host: str) -> None:
        """Take a host for well from now on: its circuit closes at once, and the next `find` may ask the hooks.

        For a fault that is known to be repaired. A circuit that is half-open or lets in only a part of the calls admits
        all, a host that could not be connected to no longer counts as broken, and back-offs end. What was sent before
        says nothing any more. Counts and latencies stay, and so does an isolation. For a name that hooks understand,
        that goes for the hosts that it leads to; for a host that nobody looked for, nothing happens. Circuits of the
        host's scopes close as well, or that of one alone: `https://host#name`.
        """
        name, origin, scope = checked_record_key(host)
        with self._lock:
            if scope is None:
                records = self._registry.reset_locked(name, origin)
            else:
                records = self._registry.parts_locked(origin, scope)
            news = [event for record in records for event in record.reset_circuit()]
        self._tell(news)

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
        if host is None:
            with self._lock:
                now = self._clock.monotonic()
                news = self._notice_late_locked(now)
                records = {record.origin: record for record in self._registry.records_locked()}
                since = self._hooks_since_locked(now)
                for name in since:
                    if name not in records:  # only hooks may know what it is, and they have not said so yet
                        records[name] = self._registry.unknown_host(name)
            self._tell(news)
            return {
                name: record.snapshot(record.connections, since.get(name)) for name, record in sorted(records.items())
            }
        name, origin, scope = checked_record_key(host)
        with self._lock:
            now = self._clock.monotonic()
            news = self._notice_late_locked(now)
            record, begun = self._registry.known_host_locked(name, origin, scope), None
            if scope is None:
                begun = self._hooks_since_locked(now, name).get(name)
                begun = begun or self._hooks_since_locked(now).get(record.origin)
        self._tell(news)
        return record.snapshot(record.connections, begun)

    def _hooks_since_locked(self, now: float, name: str | None = None) -> dict[str, float]:
        """Since when hooks are at work, in seconds since 1970, by the host that they are asked for; or for one name."""
        since_epoch = self._clock.wall() - now
        found: dict[str, float] = {}
        for one in self._rounds.at_work_locked():
            pair = one.pair
            if pair is not None and name in (None, pair.name):
                place = pair.name if name is not None or pair.home is None else pair.home.origin
                found[place] = min(found.get(place, math.inf), one.since + since_epoch)
        return found

    def reload(
        self,
        policy: Policy | str | os.PathLike[str] | None = None,
        *,
        policies: PoliciesByPattern | None = None,
    ) -> None:
        """Have everything that is shared per host, and guarded objects, follow another policy from now on.

        `policy` and `policies` are those of the constructor, and one that is left out stays as it is. Circuits, counts,
        permits and back-offs go on with the new numbers; calls under way end as they began. A host that follows what
        its first connection brought goes on with that, unless a pattern fits it now.
        A connection's own timeouts, retries and logs are those of its own policy: set `connection.policy` as well.
        Raises PolicyError, or TypeError for what is no policy, and leaves the old ones in force.
        """
        if policy is None and policies is None:
            raise TypeError("reload needs a policy, or policies by pattern, and got neither")
        loaded = None if policy is None else load_policy(policy)
        checked = None if policies is None else check_policies(policies)
        with self._lock:
            self._check_open()
            self._own_policy = self._own_policy or loaded is not None
            before = self._registry.terms
            terms = Terms(loaded or before.policy, before.policies if checked is None else checked)
            news = self._reload_locked(terms)
        self._tell(news)

    def _follow_default(self) -> None:
        """Follow the policy of the application's choice, if none was given to this manager."""
        with self._lock:
            policy = default_policy()  # now: of two that are chosen at a time the later one counts
            if self._own_policy or self._closed or policy is self._policy:
                return
            news = self._reload_locked(Terms(policy, self._registry.terms.policies))
        self._tell(news)

    def _reload_locked(self, terms: Terms) -> list[Event]:
        """Go on by other policies; returns what is to be told."""
        policy = terms.policy
        self._policy, self._rules = policy, Rules(policy, self._clock)
        self._rounds.follow_locked(policy.timeout.total)
        news = self._registry.reload_locked(terms)
        for pair in self._registry.pairs_locked():
            if pair.record is not None:
                follow(pair.conn, self._rules_of(names_of(pair.record.origin, pair)))
        if self._prober is not None:
            self._prober.stop()
            self._prober = None
        if self._registry.count_locked():
            self._start_probing_locked()
        self._sweep_at = self._registry.due_at_locked()
        return news

    def close(self) -> None:
        """Close and forget all connections, for good: a later `find` raises `ConnectionError`."""
        with self._lock:
            self._closed = True
            if self._prober is not None:
                self._prober.stop()
            self._dismiss_all_locked()
        self.reset()

    def _dismiss_all_locked(self) -> None:
        for one in self._rounds.at_work_locked():
            one.dismiss()

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
        return iter([(pair.host, conn) for pair, conn in self._ready_pairs()])

    def __repr__(self) -> str:
        if "_sweep_at" not in vars(self):  # a traceback with locals, of a constructor that failed
            return f"<{type(self).__name__}, not made>"
        return (
            f"<ConnectionManager connections={len(self)} hooks={len(self._hooks)}{' closed' if self._closed else ''}>"
        )

    def _at_hand(self, host: str, auth: Any) -> Any:
        """The short way: the pair's connection where nothing is wrong with it, else NOTHING. Takes no lock."""
        try:
            pair = self._shortcuts.get(words_of(host, auth))
        except TypeError:  # credentials that cannot be hashed
            check_host(host)
            pair = self._shortcuts.get((host, AuthKey, AuthKey(auth)))
        if pair is not None:
            conn, now = pair.conn, self._clock.monotonic()
            if now < self._sweep_at and conn is not NOTHING and pair.fault(now, says_closed(conn)) is None:
                pair.used = now
                if pair.conn is conn:  # and was therefore what looked good
                    return conn
        return NOTHING

    def _find(self, host: str, auth: Any, timeout: float | None) -> Any:
        """The long way: the pair's connection, or a round of the hooks, had made here or by another thread."""
        check_host(host)
        owned = getattr(self._lock, "_is_owned", None)  # no public name tells
        wait = _Wait(self._policy.timeout.total if timeout is None else timeout, nested=owned is not None and owned())
        asked = Asked(host, auth)
        self._registry.terms.matched(asked.name if asked.origin is None else asked.origin.text)
        while (conn := self._tried(asked, wait)) is NOTHING:
            pass
        return conn

    def _tried(self, asked: Asked, wait: _Wait) -> Any:
        """The same, but NOTHING where it has to be asked anew, as the round came to nothing."""
        mine = Round()
        try:
            return self._sought(asked, mine, wait)
        finally:
            self._leave(mine)

    def _sought(self, asked: Asked, mine: Round, wait: _Wait) -> Any:
        while True:
            seen = self._registry.look(asked)
            given_up: list[GivenUp] = []
            with self._lock:
                if not self._registry.fits_locked(asked, seen):
                    continue
                news = self._notice_late_locked(self._clock.monotonic())
                turn = self._decide_locked(asked, seen, mine, wait, given_up)
                break
        self._tell(news)
        self._remember(turn.shortcuts, asked, turn.pair)
        if turn.wait_for is None and turn.error is None and turn.conn is NOTHING:
            self._lead(asked, turn.pair, mine, turn.fault, given_up, wait)
            return self._outcome(asked, mine, mine, wait)
        self._give_up(given_up)
        if turn.wait_for is not None:
            return self._outcome(asked, turn.wait_for, mine, wait)
        if turn.error is not None:
            raise turn.error
        return turn.conn

    def _decide_locked(self, asked: Asked, seen: Seen, mine: Round, wait: _Wait, given_up: list[GivenUp]) -> _Turn:
        """What to do for somebody who looks for a pair: use its connection, refuse, wait, or ask the hooks."""
        self._check_open()
        now = self._clock.monotonic()
        if wait.since is None:
            wait.since = now
        registry = self._registry
        mine.pair = pair = seen.pair or Pair(asked)
        if seen.pair is None:
            registry.insert_locked(pair, asked.origin)
        given_up += registry.overdue_locked(now, pair)
        self._sweep_at = registry.due_at_locked()
        fault = pair.fault(now, seen.closed) if pair.ready else None
        if fault is not None or pair.stands_in:
            self._start_probing_locked()  # in a forked child the parent's thread does not run
        isolated = registry.isolated_locked(pair)
        if isolated is not None and not (pair.may_replace(isolated) and not pair.holds_off(now, "isolated")):
            return _Turn(pair, error=self._isolated(isolated))
        if pair.ready and (fault is None or (fault == "failback" and pair.round is not None)):
            pair.used = now
            return _Turn(pair, pair.conn, shortcuts=self._shortcuts_locked(pair))
        if pair.round is not None:
            return self._wait_locked(pair, pair.round, wait)
        full = self._rounds.full_locked(pair)
        if full or pair.holds_off(now, fault):
            if pair.ready and seen.closed:
                if fault == "unauthorized":
                    pair.refusal = f"no connection to {pair.name}: its credentials were not accepted"
                given_up.append(GivenUp(pair, pair.conn, fault))
                registry.take_locked(pair)
            if pair.ready:
                pair.used = now
                return _Turn(pair, pair.conn, shortcuts=self._shortcuts_locked(pair))
            if not pair.late:
                return _Turn(pair, error=no_room(pair, now) if full else too_early(pair, now))
            if wait.seconds > self._policy.timeout.total:  # longer than others: what comes late is not late for it
                return self._wait_locked(pair, pair.late[-1], wait)
            if full:
                return _Turn(pair, error=no_room(pair, now))
            return _Turn(pair, error=too_early(pair, now) if pair.refusal else too_late(pair, now))
        pair.begin_round(now, fault)
        if pair.ready and fault != "failback":
            given_up.append(GivenUp(pair, pair.conn, fault))
            registry.take_locked(pair)
        self._rounds.begin_locked(pair, mine, now, self._policy.timeout.total)
        return _Turn(pair, fault=fault)

    def _wait_locked(self, pair: Pair, current: Round, wait: _Wait) -> _Turn:
        if wait.nested:
            why = "its hooks are at work in another thread, which waits for this one"
            return _Turn(pair, error=ConnectionError(f"no connection to {pair.name}: {why}"))
        if self._rounds.circle_locked(current):
            return _Turn(pair, error=ConnectionError(f"no connection to {pair.name}: its hooks wait for it themselves"))
        return _Turn(pair, wait_for=current)

    def _notice_late_locked(self, now: float) -> list[Event]:
        """Isolations whose time is over end, and so do rounds that outlast theirs; what is to be told.

        The pairs of such rounds back off, and the next one need not wait for them.
        """
        news = self._registry.lapse_locked()
        for one in self._rounds.overdue_locked(now):
            pair = one.pair
            decides = pair is not None and pair.round is one
            if not self._rounds.late_locked(one) or pair is None:
                continue
            if decides:
                if not pair.ready:  # else a stand-in, which serves until the hooks are asked again
                    pair.refusal = ""  # nothing was said yet
                pair.back_off(now, self._registry.judged_by_locked(pair))
            news.append(HookSlow(pair.name, hook=one.hook, duration=now - one.since))
        return news

    def _lead(
        self, asked: Asked, pair: Pair, mine: Round, fault: Fault | None, given_up: list[GivenUp], wait: _Wait
    ) -> None:
        """Have the hooks asked, in a thread of their own: it gives the result to all who wait for it.

        Whatever happens to this thread meanwhile is no business of theirs.
        """
        if self._hooks and wait.seconds < math.inf and not wait.nested and not sys.is_finalizing():
            context = contextvars.copy_context()
            with contextlib.suppress(threads.NoThread):
                work = partial(context.run, self._ask_in_thread, asked, pair, mine, fault, given_up)
                threads.lend(partial(_perform, [work]), _HOOK_THREAD)
                mine.taken = True
                return
        self._ask_here(asked, pair, mine, fault, given_up)

    def _ask_in_thread(
        self, asked: Asked, pair: Pair, mine: Round, fault: Fault | None, given_up: list[GivenUp]
    ) -> Latch:
        """Carry out a round, in a thread that nothing interrupts. Returns what is still waited for."""
        with self._lock:
            if mine.over:
                return mine.done
            mine.taken, mine.leader = True, threading.get_ident()
        rest: list[GivenUp] = []
        try:
            if mine.dismissed:
                rest = given_up
            else:
                rest = self._carry_out(asked, pair, mine, fault, given_up)
        except BaseException as error:  # noqa: BLE001 - the caller's to see
            self._pass_on(mine, error)
        finally:
            if rest:
                mine.given_up = Latch()
            with self._lock:
                self._end_locked(mine)
        if mine.given_up is None:
            return mine.done
        mine.done.set()  # before anything is retired, which may be anybody's code
        try:
            self._give_up(rest)
        except BaseException:
            mine.given_up.set()
            raise
        return mine.given_up

    def _pass_on(self, mine: Round, error: BaseException) -> None:
        """Have what a hook raised raised by those who wait; an event tells of it where nobody does any more."""
        # The frame of the function that caught it is still at work, so it could not be emptied.
        error.__traceback__ = None if error.__traceback__ is None else error.__traceback__.tb_next
        empty_frames(error)
        mine.raised = error
        if isinstance(error, Exception):
            mine.error, mine.abandoned = own_copy(error), False
        pair = mine.pair
        if pair is not None and mine not in list(self._rounds.waiting.values()):
            took = self._clock.monotonic() - mine.hook_since
            self._observe(HookFailed(pair.name, hook=mine.hook, error=type(error).__name__, duration=took))

    def _ask_here(self, asked: Asked, pair: Pair, mine: Round, fault: Fault | None, given_up: list[GivenUp]) -> None:
        """Carry out a round in the caller's own thread."""
        mine.leader = mine.caller
        self._rounds.waiting.pop(mine.caller, None)
        try:
            rest = self._carry_out(asked, pair, mine, fault, given_up)
        except Exception as error:
            # In the main thread it may come from a signal handler (a time limit), which is no business of those who
            # wait: they ask anew. Elsewhere it is a hook's.
            if mine.caller != threading.main_thread().ident:
                mine.error, mine.abandoned = own_copy(error), False
            raise
        finally:
            self._end(mine)
        self._give_up(rest)

    def _carry_out(
        self, asked: Asked, pair: Pair, mine: Round, fault: Fault | None, given_up: list[GivenUp]
    ) -> list[GivenUp]:
        """Ask the hooks, and hold what they give; returns what is to be given up."""
        hooks = self._hooks
        self._give_up(given_up)
        said = self._ask_hooks(hooks, pair, mine, asked, fault)
        made = None if said.refusal is not None else self._made(said.conn, pair, None)
        rest = self._settle(asked, pair, mine, made, said, hooks, fault)
        if mine.error is None:
            mine.error = self._isolated_meanwhile(pair, asked)
        return rest

    def _outcome(self, asked: Asked, current: Round, mine: Round, wait: _Wait) -> Any:
        """What a round comes to, for one who waits for it; NOTHING where it has to be asked anew."""
        began = wait.since or 0.0
        try:
            if not self._wait(current, began + wait.seconds):
                return self._out_of_time(asked, current, began)
        finally:
            self._rounds.waiting.pop(mine.caller, None)
        if current.dismissed:
            return NOTHING
        if current is mine:
            if mine.given_up is not None:
                mine.given_up.wait(began + wait.seconds - self._clock.monotonic())
            if mine.raised is not None:
                _raise(mine.raised)
        if current.error is not None:
            raise own_copy(current.error)
        return NOTHING if current.abandoned else current.result

    def _wait(self, current: Round, until: float) -> bool:
        """Wait for a round, until then at most; whether it is over. Sees to it that one that is late shows."""
        while not current.done.is_set():
            now = self._clock.monotonic()
            overdue = now >= current.late_at
            if overdue and not current.late:
                self._notice_late(now)
            if now >= until:
                return False
            end = until if overdue else min(until, current.late_at)
            # The hooks' thread is a real one, whatever clock the manager has.
            current.done.wait(min(end - now, _SLICE))
            if sys.is_finalizing() and not current.done.is_set():
                return False  # no other thread does anything any more
        return True

    def _notice_late(self, now: float) -> None:
        with self._lock:
            news = self._notice_late_locked(now)
        self._tell(news)

    def _out_of_time(self, asked: Asked, current: Round, began: float) -> Any:
        """The stand-in that still serves, where the hooks were asked for a way back; else an error is raised."""
        while True:
            seen = self._registry.look(asked)
            with self._lock:
                if not self._registry.fits_locked(asked, seen):
                    continue
                now, pair = self._clock.monotonic(), seen.pair
                break
        if pair is not None and pair.ready and pair.fault(now, seen.closed) in (None, "failback"):
            return seen.conn
        raise out_of_time(asked.name, current, now - began, now)

    def _leave(self, mine: Round) -> None:
        """End what a thread does with a pair, however it came to its end; a second time changes nothing.

        A signal handler may raise within the first time.
        """
        self._rounds.waiting.pop(mine.caller, None)
        if mine.taken or (mine.over and mine.done.is_set()):
            return
        with self._lock:
            if mine.taken:
                return
            self._end_locked(mine)
        mine.done.set()

    def _end(self, mine: Round) -> None:
        """End a round, and let go those who wait for it."""
        with self._lock:
            self._end_locked(mine)
        mine.done.set()

    def _end_locked(self, mine: Round) -> None:
        self._rounds.end_locked(mine)
        pair, now = mine.pair, self._clock.monotonic()
        if pair is not None:
            if pair.round is mine:  # it came to nothing: an exception that is not the hooks' to handle
                if pair.ready:
                    pair.back_off(
                        now, self._registry.judged_by_locked(pair)
                    )  # a stand-in, which serves until the hooks are asked again
                pair.round = None
            self._tidy_locked(pair, now)
        mine.over = True

    def _isolated_meanwhile(self, pair: Pair, asked: Asked) -> HostIsolatedError | None:
        """An operator may have isolated the host while the hooks were at work, or the one that stands in, before."""
        name, origin = asked.name, asked.origin
        with self._lock:
            news = self._isolate_locked(name, origin) if self._registry.isolates_locked(name, origin) else []
            isolated = self._registry.isolated_locked(pair)
        self._tell(news)
        return None if isolated is None else self._isolated(isolated)

    def _isolated(self, record: Host) -> HostIsolatedError:
        return (record.isolation or FOR_GOOD).refusal(record.origin, self._clock)

    def _settle(
        self,
        asked: Asked,
        pair: Pair,
        mine: Round,
        made: Made | None,
        said: _Said,
        hooks: tuple[ConnectionHook, ...],
        fault: Fault | None,
    ) -> list[GivenUp]:
        """End a round with what the hooks gave or said; returns what is to be given up."""
        while True:
            seen = self._registry.look(asked)
            with self._lock:
                if not self._registry.fits_locked(asked, seen):
                    continue
                given_up: list[GivenUp] = []
                shortcuts = self._settle_locked(seen, pair, mine, made, said, hooks, fault, given_up)
                mine.abandoned = False
                break
        if made is not None and shortcuts is not None:
            self._held(made, pair)
            self._remember(shortcuts, asked, pair)
        return given_up

    def _settle_locked(
        self,
        seen: Seen,
        pair: Pair,
        mine: Round,
        made: Made | None,
        said: _Said,
        hooks: tuple[ConnectionHook, ...],
        fault: Fault | None,
        given_up: list[GivenUp],
    ) -> _Shortcuts | None:
        now, refusal = self._clock.monotonic(), said.refusal
        mine.error, mine.result = refusal, None if made is None else made.conn
        if self._closed:
            mine.error = ConnectionError(_CLOSED)
            if pair.round is mine:
                pair.round = None
            if made is not None:
                given_up.append(GivenUp(pair, made.conn, "by hand"))
            return None
        if pair.round is not mine:
            return self._settle_late_locked(seen, pair, mine, made, now, given_up, preferred=said.preferred)
        shortcuts: _Shortcuts | None = None
        if made is not None and fault == "failback" and self._holds_such_locked(pair, made, seen, now):
            mine.result = pair.conn  # the hooks say again what they said before, and its sockets are open
            if made.bare is not bare(pair.conn):
                given_up.append(GivenUp(pair, made.conn, None))
            if said.preferred:
                self._registry.settle_home_locked(pair)
        elif made is not None:
            given_up += self._replaced_locked(pair, made.conn, fault or "replaced")
            shortcuts = self._hold_locked(pair, mine, made, now, preferred=said.preferred)
        elif pair.ready:  # a stand-in, which still serves; the host asked for is asked for again later
            mine.error, mine.result = None, pair.conn
        else:
            pair.refusal = str(refusal) if refusal is not None and refusal.retryable else None
        if mine.error is None or (refusal is not None and refusal.retryable):
            pair.back_off(now, self._registry.judged_by_locked(pair))
        if hooks is not self._hooks:  # the new ones have not been asked
            pair.end_back_off()
        elif refusal is not None and refusal.retryable:
            refusal.retry_after = pair.again_at - now
        pair.round = None
        given_up += self._registry.overdue_locked(now, pair)
        self._sweep_at = self._registry.due_at_locked()
        self._start_probing_locked()
        return shortcuts

    def _settle_late_locked(
        self,
        seen: Seen,
        pair: Pair,
        mine: Round,
        made: Made | None,
        now: float,
        given_up: list[GivenUp],
        *,
        preferred: bool,
    ) -> _Shortcuts | None:
        """End a round that no longer decides for its pair: a connection was added meanwhile, which counts."""
        current = seen.pair or pair
        if current.ready:
            mine.error, mine.result = None, current.conn
            if made is not None and made.bare is not bare(current.conn):
                given_up.append(GivenUp(current, made.conn, "replaced"))
            return None
        # It was evicted again, or it took too long. What was made is held, unless another one for these credentials
        # will be: one that is late comes first all the same.
        if made is None:
            if pair.refusal == "" and mine.error is not None:
                pair.refusal = str(mine.error)
            return None
        if current.round is not None and not mine.late:
            mine.dismissed = True  # who still waits for this one is given the other
            given_up.append(GivenUp(current, made.conn, "replaced"))
            return None
        mine.pair = current
        return self._hold_locked(current, mine, made, now, preferred=preferred)

    def _holds_such_locked(self, pair: Pair, made: Made, seen: Seen, now: float) -> bool:
        """Whether the connection in hand goes to the same place as the new one, and nothing is wrong with it."""
        if made.ours is None or pair.ours is None or pair.record is None or pair.record.origin != made.record.origin:
            return False
        return pair.fault(now, seen.closed) in (None, "failback")

    def _ask_hooks(
        self, hooks: tuple[ConnectionHook, ...], pair: Pair, mine: Round, asked: Asked, fault: Fault | None
    ) -> _Said:
        """The first connection that a hook gives, or what all of them said."""
        said, failed = [], False
        for hook in hooks:
            began = self._clock.monotonic()
            kind = type(hook).__name__
            mine.hook_since, mine.hook = began, kind
            error: Exception | None = None
            conn = None
            try:
                conn = hook.connect(asked.host, asked.auth)
            except _HOOK_FAILURES as raised:
                error = raised
            if conn is not None and says_closed(conn):
                conn, error = None, ConnectionError("it gave a connection that is closed")
            took = self._clock.monotonic() - began
            if conn is not None:
                ours = as_connection(conn)
                target = type(conn).__name__ if ours is None else ours.origin.text
                self._observe(ConnectionHooked(pair.name, hook=kind, target=target, duration=took))
                return _Said(conn, preferred=not failed)
            if error is None:
                said.append(f"{kind} does not know the host")
                continue
            failed = True
            detail = told(error, asked)
            said.append(f"{kind}: {detail}")
            self._observe(HookFailed(pair.name, hook=kind, error=type(error).__name__, duration=took, detail=detail))
        return _Said(refusal=hooks_refusal(pair.name, said, fault, failed=failed))

    def _made(self, conn: Any, pair: Pair, origin: Origin | None) -> Made:
        """A connection as a pair can hold it: sharing its host's record, and guarded if that is wished for."""
        ours = as_connection(conn)
        name = None if ours is None else ours.origin.text
        if name is None and origin is not None:
            name = origin.text
        names = names_of(self._registry.opaque_name(pair) if name is None else name, pair)
        self._registry.terms.matched(*names)  # while no lock is held: then it is known
        brought = None if ours is None else ours.given_policy
        with self._lock:
            record = self._registry.host_locked(names[0])
            news = self._registry.settle_locked(record, names, brought)
        self._tell(news)
        if ours is not None:
            ours.attach(record)
            return Made(conn, bare(conn), ours, ours.usage, record, self._holding(ours.usage, pair))
        inner = unguarded(conn)
        methods = default_guarded() if self._guarded is None else self._guarded
        if methods and inner is conn:
            conn = guard(inner, record, self._rules_of(names), methods, self._clock, self._observe, pair.key.mark)
        usage = usage_of(conn)
        return Made(conn, inner, None, usage, record, None if usage is None else self._holding(usage, pair))

    def _rules_of(self, names: tuple[str, ...]) -> Rules:
        """What the calls of a guard follow whose host has these names: objects of other kinds bring no policy."""
        policy, whose = self._registry.terms.followed(names)
        return self._rules if whose == "manager" else Rules(policy, self._clock)

    def _holding(self, usage: Usage, pair: Pair) -> Holding:
        return Holding(usage.held, Held(weakref.ref(self), pair.name, pair.host, pair.auth, pair.key))

    def _held(self, made: Made, pair: Pair) -> None:
        """See to it that a connection shares the record that its pair has, should the host have been forgotten."""
        record = pair.record
        if made.ours is not None and record is not None and record is not made.record and pair.ours is made.ours:
            made.ours.attach(record)

    def _hold_locked(self, pair: Pair, mine: Round, made: Made, now: float, *, preferred: bool) -> _Shortcuts | None:
        """Put a connection in; returns where its callers' words are to be remembered.

        Other rounds that are under way do not decide for the pair any more: who waits for them is given this one.
        """
        others = [*pair.late]
        if pair.round is not None and pair.round is not mine:
            others.append(pair.round)
            pair.round = None
        self._registry.put_locked(pair, made, now, preferred=preferred)
        for one in others:
            one.dismiss()
        self._sweep_at = self._registry.due_at_locked()
        return self._shortcuts_locked(pair)

    def _shortcuts_locked(self, pair: Pair) -> _Shortcuts | None:
        """Where the words of those who ask for a pair may be remembered, so that they find it fast."""
        if self._registry.isolated_locked(pair) is not None:
            return None  # its name may be isolated while the host behind it is not, which only the long way sees
        if len(self._shortcuts) > 2 * self._max_connections:
            self._shortcuts = {}
        return self._shortcuts

    def _remember(self, shortcuts: _Shortcuts | None, asked: Asked, pair: Pair) -> None:
        """Let the same words find the pair without the lock; not with it held, for words are compared by their code.

        In a table that was replaced meanwhile, as by an isolation, nobody looks any more.
        """
        if shortcuts is None:
            return
        try:
            shortcuts[words_of(asked.host, asked.auth)] = pair
        except TypeError:
            shortcuts[asked.host, AuthKey, asked.key] = pair

    def _ready_pairs(self) -> list[tuple[Pair, Any]]:
        with self._lock:
            return [(pair, pair.conn) for pair in self._registry.ready_locked()]

    def _look(self, asked: Asked) -> tuple[Pair | None, Any]:
        """The pair, and what it holds."""
        seen = self._registry.look(asked)
        return seen.pair, seen.conn

    def _replaced_locked(self, pair: Pair, conn: Any, reason: Any = "replaced") -> list[GivenUp]:
        if not pair.ready:
            return []
        old = self._registry.take_locked(pair)
        return [] if bare(old) is bare(conn) else [GivenUp(pair, old, reason)]

    def _tidy_locked(self, pair: Pair, now: float) -> None:
        """See to it that a pair without a connection does not stay for ever: at once where nothing is known of it."""
        if pair.ready or pair.asking:
            return
        if not pair.stands_in and (pair.asked == 0 or (pair.refusal is None and now >= pair.again_at)):
            self._registry.drop_locked(pair)
        else:
            self._registry.note_locked(pair)

    def _isolate_locked(
        self, name: str, origin: Origin | None, isolation: Isolation | None = None, scope: str | None = None
    ) -> list[Event]:
        self._shortcuts = {}
        return self._registry.isolate_locked(name, origin, isolation, scope)

    def _end_back_offs_locked(self) -> None:
        for pair in self._registry.pairs_locked():
            pair.end_back_off()

    def _start_probing_locked(self) -> None:
        every = self._registry.probe_every
        if self._closed or every == math.inf:
            return
        if self._prober is None:
            self._probes_due = {}
            self._prober = Prober(self._probe_broken, every)
        self._prober.start()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionError(_CLOSED)

    def _give_up(self, given_up: Iterable[GivenUp], *, cut: bool = False) -> None:
        """Announce what is held no more, and retire it; never with the lock held, for closing is somebody's code.

        Callers may be at work with it: their calls go on, unless they are to be cut.
        """
        for pair, conn, reason in given_up:
            if reason is None:
                pass  # it never was in use
            elif reason in ("age", "idle", "reset", "room"):
                self._observe(ConnectionRetired(pair.name, reason=reason))
            else:
                self._observe(ConnectionEvicted(pair.name, reason=reason or "closed"))
            if cut or self._closed or reason is None:
                end_waits(conn)
                self._close_unheld(conn)
            elif is_guard(conn):
                with self._lock:
                    self._leaving[id(conn)] = conn
                once_idle(conn, partial(self._close_unheld, conn))
            else:
                self._close_unheld(conn, gently=True)

    def _close_unheld(self, conn: Any, *, gently: bool = False) -> None:
        """Close what no pair has, and what no call goes on with that a guard of it let in before it was given up.

        Of a scope, that is the connection.
        """
        if not is_guard(conn):
            conn = bare(conn)
        with self._lock:
            self._leaving.pop(id(conn), None)
            if self._registry.holds_locked(conn) or any(bare(other) is bare(conn) for other in self._leaving.values()):
                return
        with contextlib.suppress(Exception):  # what closes badly is gone all the same
            ours = as_connection(conn)
            if ours is not None and gently:
                ours.retire()
                usage = ours.usage
                with self._lock:
                    if self._registry.holds_locked(conn):  # since a moment ago: a hook gave it again
                        usage.retired = False
                    else:
                        self._retired[id(conn)] = conn
            elif callable(close := getattr(conn, "close", None)):
                close()

    def _probe_broken(self, elapsed: float = math.inf) -> float:
        """Ask each broken host whose time has come once whether it is back; in how many seconds to look again.

        `elapsed` is how many have gone by since it was done last.
        """
        targets: dict[str, tuple[Connection, Host, HealthPolicy]] = {}
        with self._lock:
            prober = self._prober
            for pair in self._registry.pairs_locked():
                conn, record = (pair.failover, pair.home) if pair.stands_in else (pair.ours, pair.record)
                if conn is not None and record is not None and record.trouble and not record.isolated:
                    targets[record.origin] = (conn, record, record.judged_by)
            again = self._registry.probe_every
        due: dict[str, float] = {}
        for origin, (conn, record, health) in targets.items():
            if self._closed or self._prober is not prober:  # a new policy has a prober of its own
                return again
            if health.probe is None:
                continue
            due[origin] = self._probes_due.get(origin, 0.0) - elapsed
            if due[origin] < _AT_ONCE:
                due[origin] = health.probe_interval
                self._probe(conn, record, health.probe)
        self._probes_due = due
        return min([again, *due.values()])

    def _probe(self, conn: Connection, record: Host, path: str) -> None:
        breaker = record.policy.breaker
        needed = breaker.close_after if breaker else 1
        for _ in range(needed):
            try:
                outcome = conn.probe(path, LONGEST)
            except Exception:  # noqa: BLE001 - credentials are somebody's code, and the other hosts are waiting
                record.not_probed()
                return
            if outcome.verdict is Verdict.NEUTRAL and outcome.error is not None:  # the same, once it was under way
                record.not_probed()
                return
            self._tell(record.probed(outcome, self._clock.monotonic()))
            if not record.trouble or not outcome.succeeded:
                return

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._observe(event)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._dismiss_all_locked()  # the threads at work are the parent's, but this one may wait for one of them
        self._rounds = Rounds()
        self._sweep_at = 0.0  # the next find goes the long way, on which the child starts what only the parent has
        for pair in self._registry.pairs_locked():
            pair.round, pair.late = None, ()
            self._tidy_locked(pair, self._clock.monotonic())


_managers = renewed_after_fork("managers", ConnectionManager._renew_after_fork)


def _check_max_connections(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"max_connections must be a positive number, not {value!r}")


def _perform(work: list[Callable[[], Latch]]) -> None:
    """What the thread of a round does. It lets go of all that the round needed before those who wait for it go on.

    Else a manager or a connection that they let go of would live on for a moment, in the frames of this thread.
    """
    work.pop()().set()


def _raise(error: BaseException) -> NoReturn:
    """Raise what was raised in another thread, with what it was raised in the course of there, if anything."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context or error.__context__
