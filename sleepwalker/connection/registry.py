"""The manager's tables: pairs, host records, and who is given up when. Every method needs the manager's lock held."""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections import OrderedDict
from typing import Any, NamedTuple

from sleepwalker.clock import Clock
from sleepwalker.connection.connection import Connection
from sleepwalker.connection.keys import AuthKey
from sleepwalker.connection.pair import Pair
from sleepwalker.engine.host import Host
from sleepwalker.policy import Policy
from sleepwalker.transport.url import Origin

#: How many overdue entries one call looks at, so that the lock is held for microseconds.
_AT_ONCE = 16


class GivenUp(NamedTuple):
    """A connection to be closed and announced once the lock is released."""

    pair: Pair
    conn: Any
    reason: Any


class Registry:
    """Pairs by key, host records by name; bounded in both."""

    def __init__(self, policy: Policy, clock: Clock, max_connections: int) -> None:
        self.policy = policy
        self._clock = clock
        self._max = max_connections
        self._pairs: dict[tuple[str, AuthKey], Pair] = {}
        self._ready = 0
        # A record lives for as long as a pair or a connection uses it, somebody isolated its host, or it is among
        # the latest: so the table is bounded, and no record is forgotten that anybody would miss.
        self._hosts: weakref.WeakValueDictionary[str, Host] = weakref.WeakValueDictionary()
        self._latest: OrderedDict[str, Host] = OrderedDict()
        self.isolated: dict[str, Host] = {}
        self._held: dict[str, int] = {}
        self._queue: list[tuple[float, int, Pair]] = []
        self._tickets = itertools.count()

    def pair_locked(self, name: str, origin: Origin | None, host: Any, auth: Any) -> Pair:
        """The pair, made if it is new."""
        key = (name, AuthKey(auth))
        pair = self._pairs.get(key)
        if pair is None:
            pair = self._pairs[key] = Pair(host, auth, key, name)
            if origin is not None:
                pair.home = self.host_locked(origin.text)
        return pair

    def host_locked(self, name: str) -> Host:
        """The record of an origin, or of a name that only hooks understand; made if it is new."""
        record = self._hosts.get(name)
        if record is None:
            record = self._hosts[name] = Host(name, self.policy, self._clock)
        self._latest[name] = record
        self._latest.move_to_end(name)
        if len(self._latest) > self._max:
            self._latest.popitem(last=False)
        return record

    def known_host_locked(self, name: str) -> Host | None:
        """The record, if there is one."""
        return self._hosts.get(name)

    def put_locked(self, pair: Pair, conn: Any, now: float) -> None:
        """Hold `conn` for the pair, which must hold none."""
        if isinstance(conn, Connection):
            record = self.host_locked(conn.origin.text)
            conn.attach(record)
        else:
            record = self.host_locked(pair.home.origin if pair.home is not None else pair.name)
        if pair.home is None:
            pair.home = record
        elif record is pair.home:
            pair.failover = None
        pair.conn, pair.record, pair.ready = conn, record, True
        pair.made = pair.used = now
        pair.refusal = None
        self._pairs[pair.key] = pair
        self._held[record.origin] = self._held.get(record.origin, 0) + 1
        self._ready += 1
        heapq.heappush(self._queue, (now, next(self._tickets), pair))

    def take_locked(self, pair: Pair) -> Any:
        """Hold the pair's connection no more; it is returned."""
        conn, record = pair.conn, pair.record
        pair.ready, pair.conn, pair.record = False, None, None
        self._ready -= 1
        if record is not None:
            left = self._held[record.origin] - 1
            if left:
                self._held[record.origin] = left
            else:
                del self._held[record.origin]
        return conn

    def drop_locked(self, pair: Pair) -> None:
        """Forget the pair itself."""
        if self._pairs.get(pair.key) is pair:
            del self._pairs[pair.key]

    def overdue_locked(self, now: float) -> list[GivenUp]:
        """What was unused for `health.idle`, or is too much; a few at a time."""
        given_up = []
        for _ in range(_AT_ONCE):
            crowded = len(self._pairs) > self._max
            if not self._queue or not (crowded or self._queue[0][0] + self.policy.health.idle < now):
                break
            noted, _, pair = heapq.heappop(self._queue)
            if self._pairs.get(pair.key) is not pair or pair.round is not None:
                continue
            used = max(pair.last_used(), pair.again_at if not pair.ready else 0.0)
            busy = pair.record is not None and pair.record.busy
            if used > noted or busy or used > now:  # used since it was noted here, in use, or not to be forgotten yet
                heapq.heappush(self._queue, (max(used, noted + 1.0) if busy else used, next(self._tickets), pair))
            elif pair.ready:
                given_up.append(GivenUp(pair, self.take_locked(pair), "room" if crowded else "idle"))
                self.drop_locked(pair)
            else:
                self.drop_locked(pair)
        return given_up

    def note_locked(self, pair: Pair) -> None:
        """See to it that a pair without a connection is forgotten in time."""
        heapq.heappush(self._queue, (pair.again_at, next(self._tickets), pair))

    def due_at_locked(self) -> float:
        """When `overdue_locked` has something to look at."""
        if len(self._pairs) > self._max:
            return 0.0
        return self._queue[0][0] + self.policy.health.idle if self._queue else float("inf")

    def clear_locked(self) -> list[GivenUp]:
        """Give up everything. Host records stay: what is known of the hosts remains true."""
        given_up = [GivenUp(pair, self.take_locked(pair), "by hand") for pair in self.pairs_locked() if pair.ready]
        self._pairs.clear()
        self._queue.clear()
        return given_up

    def pairs_locked(self) -> list[Pair]:
        """All pairs, with or without a connection."""
        return list(self._pairs.values())

    def hosts_locked(self) -> list[tuple[Host, int]]:
        """All host records, and how many connections to each are held."""
        return [(record, self._held.get(name, 0)) for name, record in sorted(self._hosts.items())]

    def held_locked(self, name: str) -> int:
        """How many connections to the host are held."""
        return self._held.get(name, 0)

    def count_locked(self) -> int:
        """How many connections are held."""
        return self._ready
