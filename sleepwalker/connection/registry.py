"""The manager's tables: pairs, host records, and who is given up when. Every method needs the manager's lock held."""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections import OrderedDict
from typing import Any, NamedTuple

from sleepwalker.clock import Clock
from sleepwalker.connection.connection import Connection
from sleepwalker.connection.guard import unguarded
from sleepwalker.connection.keys import AuthKey
from sleepwalker.connection.pair import NOTHING, Pair
from sleepwalker.engine.host import Host
from sleepwalker.policy import Policy
from sleepwalker.transport.url import Origin

#: How many overdue entries one call looks at, so that the lock is held for microseconds.
_AT_ONCE = 16
#: How long one that is in use is left alone before it is looked at again, in seconds.
_BUSY = 1.0

_USED, _WAITING = 0, 1
_Queue = list[tuple[float, int, Pair]]


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
        self._isolated: dict[str, dict[str, Host]] = {}
        self._objects: dict[int, int] = {}
        # Pairs with a connection by when that was used, and pairs without one by when their back-off ends. Neither
        # kind makes room for the other. Times may have passed since, so a pair is looked at when it comes up.
        self._queues: tuple[_Queue, _Queue] = ([], [])
        self._tickets = itertools.count()

    def pair_locked(self, name: str, key: AuthKey, origin: Origin | None, host: Any, auth: Any) -> Pair:
        """The pair, made if it is new."""
        pair = self._pairs.get((name, key))
        if pair is None:
            pair = self._pairs[name, key] = Pair(host, auth, (name, key), name)
            if origin is not None:
                pair.home = self.host_locked(origin.text)
        return pair

    def known_pair_locked(self, name: str, key: AuthKey) -> Pair | None:
        """The pair, if there is one."""
        return self._pairs.get((name, key))

    def pairs_of_locked(self, name: str, origin: Origin | None) -> list[Pair]:
        """All pairs of a host; for one with a base path, those of that path."""
        below = f"{name}/" if origin is not None and name == origin.text else None
        return [
            pair
            for pair in self._pairs.values()
            if pair.name == name or (below is not None and pair.name.startswith(below))
        ]

    def host_locked(self, name: str) -> Host:
        """The record of an origin, or of a name that only hooks understand; made if it is new."""
        record = self._hosts.get(name)
        if record is None:
            record = self._hosts[name] = Host(name, self.policy, self._clock)
        self._latest[name] = record
        self._latest.move_to_end(name)
        if len(self._latest) > self._max:
            now = self._clock.monotonic()
            for _ in range(_AT_ONCE):
                oldest = next(iter(self._latest))
                if self._latest[oldest].broken_by(now) != "breaker":
                    del self._latest[oldest]
                    break
                self._latest.move_to_end(oldest)  # forgotten, the host would be asked again before its time
        return record

    def known_host_locked(self, name: str, origin: Origin | None) -> Host:
        """A host's record, made but not kept if there is none.

        A name's is the one of the host that hooks connect it to.
        """
        own = name if origin is None else origin.text
        pairs = self.pairs_of_locked(name, None) if origin is None else []
        behind = (pair.record or pair.home for pair in pairs)
        return next(filter(None, behind), None) or self._hosts.get(own) or Host(own, self.policy, self._clock)

    def isolate_locked(self, name: str, origin: Origin | None) -> list[Host]:
        """The records to isolate: the host's own, and those of the hosts that hooks connected it to.

        One that merely stands in for a URL's host while that is broken is not among them.
        """
        own = self.host_locked(name if origin is None else origin.text)
        records = {own.origin: own}
        for pair in self.pairs_of_locked(name, origin):
            if pair.record is not None and (origin is None or not pair.stands_in):
                records[pair.record.origin] = pair.record
        self._isolated.setdefault(own.origin, {}).update(records)
        return list(records.values())

    def restore_locked(self, name: str, origin: Origin | None) -> list[Host]:
        """The records to restore: those isolated with the host, but for hosts that were also isolated themselves."""
        own = name if origin is None else origin.text
        records = self._isolated.pop(own, {})
        for others in self._isolated.values():
            if (record := others.pop(own, None)) is not None:
                records[own] = record
        return [record for record in records.values() if record.origin not in self._isolated]

    def empty_pair_locked(self, pair: Pair) -> Pair | None:
        """The pair as the table has it now, or gets it back; None where somebody has, or makes, a connection for it."""
        now = self._pairs.setdefault(pair.key, pair)
        return None if now.ready or now.round is not None else now

    def isolates_locked(self, name: str, origin: Origin | None) -> bool:
        """Whether the host itself was isolated."""
        return (name if origin is None else origin.text) in self._isolated

    def isolated_locked(self, pair: Pair) -> Host | None:
        """The record over which the pair may not be found."""
        if not self._isolated:
            return None
        named = self._isolated.get(pair.name, {}).get(pair.name)
        return next((record for record in (pair.home, pair.record, named) if record and record.isolated), None)

    def put_locked(self, pair: Pair, conn: Any, ours: Connection | None, now: float) -> None:
        """Hold `conn` for the pair, which must hold none."""
        if ours is not None:
            record = self.host_locked(ours.origin.text)
            ours.attach(record)
            ours.usage.accepted = (
                False  # of interest is what its credentials are worth, not whether a hook could log in
            )
        else:
            record = self.host_locked(self.opaque_name(pair))
        if pair.home is None:
            pair.home = record
        elif record is pair.home:
            pair.stay_home()
        elif pair.home.down:
            pair.stands_in = True
        pair.record, pair.ours = record, ours
        pair.made = pair.used = now
        pair.refusal = None
        record.held += 1
        key = id(unguarded(conn))
        self._objects[key] = self._objects.get(key, 0) + 1
        self._ready += 1
        pair.conn = conn  # last, for it is read without the lock
        self.note_locked(pair)

    def opaque_name(self, pair: Pair) -> str:
        """The record's name for a connection that does not say where it goes."""
        return pair.home.origin if pair.home is not None else pair.name

    def take_locked(self, pair: Pair) -> Any:
        """Hold the pair's connection no more; it is returned."""
        conn, record = pair.conn, pair.record
        pair.conn, pair.record, pair.ours = NOTHING, None, None
        self._ready -= 1
        if record is not None:
            record.held -= 1
        key = id(unguarded(conn))
        self._objects[key] -= 1
        if not self._objects[key]:
            del self._objects[key]
        return conn

    def holds_locked(self, conn: Any) -> bool:
        """Whether some pair has this very object."""
        return id(unguarded(conn)) in self._objects

    def drop_locked(self, pair: Pair) -> None:
        """Forget the pair itself."""
        if self._pairs.get(pair.key) is pair:
            del self._pairs[pair.key]

    def overdue_locked(self, now: float, keep: Pair | None = None) -> list[GivenUp]:
        """What was unused for `health.idle`, or is too much; a few at a time, and never `keep`."""
        given_up = []
        for kind, queue in enumerate(self._queues):
            for _ in range(_AT_ONCE):
                crowded = self._crowded_locked(kind)
                if not queue or queue[0][0] + (0.0 if crowded else self.policy.health.idle) > now:
                    break
                noted, _, pair = heapq.heappop(queue)
                pair.queued &= ~(1 << kind)
                if self._pairs.get(pair.key) is not pair or pair.ready != (kind == _USED):
                    continue
                last = pair.last_used() if pair.ready else pair.again_at
                if pair is keep:
                    self.note_locked(pair, now)
                elif pair.round is not None or (pair.record is not None and pair.record.busy):
                    self.note_locked(pair, now + _BUSY)
                elif last > noted:
                    self.note_locked(pair, last)
                else:
                    if pair.ready:
                        given_up.append(GivenUp(pair, self.take_locked(pair), "room" if crowded else "idle"))
                    self.drop_locked(pair)
        return given_up

    def note_locked(self, pair: Pair, when: float | None = None) -> None:
        """See to it that a pair is looked at, and forgotten in time."""
        kind = _USED if pair.ready else _WAITING
        if not pair.queued & (1 << kind):
            pair.queued |= 1 << kind
            queue = self._queues[kind]
            if len(queue) > 2 * len(self._pairs) + _AT_ONCE:  # of pairs that were dropped meanwhile
                queue[:] = [entry for entry in queue if self._pairs.get(entry[2].key) is entry[2]]
                heapq.heapify(queue)
            moment = when if when is not None else pair.used if pair.ready else pair.again_at
            heapq.heappush(queue, (moment, next(self._tickets), pair))

    def due_at_locked(self) -> float:
        """When `overdue_locked` has something to look at."""
        idle = self.policy.health.idle
        return min(
            (
                queue[0][0] + (0.0 if self._crowded_locked(kind) else idle)
                for kind, queue in enumerate(self._queues)
                if queue
            ),
            default=float("inf"),
        )

    def _crowded_locked(self, kind: int) -> bool:
        return (self._ready if kind == _USED else len(self._pairs) - self._ready) > self._max

    def clear_locked(self) -> list[GivenUp]:
        """Give up everything. Host records stay: what is known of the hosts remains true."""
        given_up = [GivenUp(pair, self.take_locked(pair), "by hand") for pair in self.pairs_locked() if pair.ready]
        self._pairs = {key: pair for key, pair in self._pairs.items() if pair.round is not None}
        for queue in self._queues:
            for _, _, pair in queue:
                pair.queued = 0
            queue.clear()
        return given_up

    def pairs_locked(self) -> list[Pair]:
        """All pairs, with or without a connection."""
        return list(self._pairs.values())

    def hosts_locked(self) -> list[Host]:
        """All host records."""
        return [record for _, record in sorted(self._hosts.items())]

    def count_locked(self) -> int:
        """How many connections are held."""
        return self._ready
