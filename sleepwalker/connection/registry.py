"""The manager's tables: pairs, host records, and who is given up when.

Methods whose names end in `_locked` need the manager's lock held, and run no code of connections or credentials: a slow
one would delay all who look for other hosts, and one that asks the manager would wait for itself. A signal handler may
raise wherever a call ends, so each change is made by statements without a call among them, once all is worked out.
"""

from __future__ import annotations

import heapq
import itertools
import math
import weakref
from collections import OrderedDict
from typing import Any, NamedTuple

from sleepwalker.clock import Clock
from sleepwalker.connection.guard import rehost
from sleepwalker.connection.keys import Asked
from sleepwalker.connection.pair import NOTHING, Made, Pair, bare, says_closed
from sleepwalker.connection.whose import Terms, probe_every
from sleepwalker.engine.host import Host
from sleepwalker.engine.isolation import Isolation
from sleepwalker.events import Event, PolicyIgnored
from sleepwalker.policy import HealthPolicy, Policy
from sleepwalker.policy.shared import alike, unlike
from sleepwalker.transport.url import Origin

#: How many overdue entries one call looks at, so that the lock is held for microseconds.
_AT_ONCE = 16
#: How long one that is in use is left alone before it is looked at again, in seconds.
_BUSY = 1.0
#: For so many seconds at most a host that nothing leads to any more goes on counting as broken: an alert that waits a
#: minute before it pages does not see it for so long.
_LONGEST_UNLED = 30.0

_USED, _WAITING = 0, 1
_Queue = list[tuple[float, int, Pair]]
_NO_PAIRS: tuple[Pair, ...] = ()


class GivenUp(NamedTuple):
    """A connection to be retired and announced once the lock is released."""

    pair: Pair
    conn: Any
    reason: Any


class Seen(NamedTuple):
    """What was looked up while no lock was held: it counts if it still `fits_locked`."""

    alike: tuple[Pair, ...]
    """All pairs at the place."""
    pair: Pair | None
    """The one among them with equal credentials."""
    conn: Any
    """What the pair held, or NOTHING."""
    closed: bool
    """Whether that says that it is closed."""


class Isolated(NamedTuple):
    """What an operator isolated by one word."""

    isolation: Isolation
    records: dict[str, Host]
    """The host's own, and those of the hosts that hooks connected it to; of a scope, its own."""
    whole: Host | None = None
    """Of a scope, the record of its host, which has that of the scope."""


class Registry:
    """Pairs by key, host records by name; bounded in both."""

    def __init__(self, terms: Terms, clock: Clock, max_connections: int) -> None:
        self.terms = terms
        self.probe_every = terms.probe_every
        """The shortest interval at which a policy that a host may follow has it probed, in seconds; or infinity."""
        self._idle = terms.idle
        """The shortest `health.idle` of these policies."""
        self._clock = clock
        self._max = max_connections
        # Pairs by name and hash of their credentials. Which one of a place is meant is told by comparing credentials,
        # which may run anybody's code: so a place is a tuple that never changes, and is searched without the lock.
        self._places: dict[tuple[str, int], tuple[Pair, ...]] = {}
        self._pairs: dict[Pair, None] = {}
        self._ready: dict[Pair, None] = {}
        self._holders: dict[int, dict[Pair, None]] = {}
        """The pairs that hold an object, by its id."""
        # A record lives for as long as a pair or a connection uses it, somebody isolated its host, or it is among
        # the latest: so the table is bounded, and no record is forgotten that anybody would miss.
        self._hosts: weakref.WeakValueDictionary[str, Host] = weakref.WeakValueDictionary()
        self._latest: OrderedDict[str, Host] = OrderedDict()
        self._isolated: dict[str, Isolated] = {}
        self._lapses_at = (math.inf, math.inf)
        """On the monotonic and on the wall clock: before this the time of none of these is over."""
        self._left: dict[str, float] = {}
        """When a pair last stopped leading to a host that counts as broken."""
        # Pairs with a connection by when that was used, and pairs without one by when their back-off ends. Neither
        # kind makes room for the other. Times may have passed since, so a pair is looked at when it comes up.
        self._queues: tuple[_Queue, _Queue] = ([], [])
        self._tickets = itertools.count()

    def look(self, asked: Asked) -> Seen:
        """The pair that is meant, and what its connection says of itself. Not to be called with the lock held."""
        alike = self._places.get(asked.place, _NO_PAIRS)
        pair = next((pair for pair in alike if pair.key == asked.key), None)
        conn = NOTHING if pair is None else pair.conn
        return Seen(alike, pair, conn, conn is not NOTHING and says_closed(conn))

    def fits_locked(self, asked: Asked, seen: Seen) -> bool:
        """Whether what was seen is still so; else it is to be looked at anew."""
        same = self._places.get(asked.place, _NO_PAIRS) is seen.alike
        return same and (seen.pair is None or seen.pair.conn is seen.conn)

    def insert_locked(self, pair: Pair, origin: Origin | None = None) -> None:
        """Take up a pair, which the tables do not have; `origin` is where it is asked for."""
        home = pair.home if origin is None else self.host_locked(origin.text)
        alike = (*self._places.get(pair.place, _NO_PAIRS), pair)
        pair.home = home
        self._places[pair.place] = alike
        self._pairs[pair] = None

    def drop_locked(self, pair: Pair) -> None:
        """Forget a pair, which must hold nothing."""
        if pair not in self._pairs:
            return
        rest = tuple(other for other in self._places[pair.place] if other is not pair)
        if rest:
            self._places[pair.place] = rest
        else:
            del self._places[pair.place]
        del self._pairs[pair]
        self._leave_locked(pair.home)

    def pairs_of_locked(self, name: str, origin: Origin | None) -> list[Pair]:
        """All pairs of a host; for one with a base path, those of that path."""
        below = f"{name}/" if origin is not None and name == origin.text else None
        return [
            pair for pair in self._pairs if pair.name == name or (below is not None and pair.name.startswith(below))
        ]

    def host_locked(self, name: str) -> Host:
        """The record of an origin, or of a name that only hooks understand; made if it is new."""
        record = self._known_locked(name)
        if record is None:
            record = self._hosts[name] = Host(name, self.terms.followed((name,)).policy, self._clock)
            self._isolate_parts_locked(record)
        self._latest[name] = record
        self._latest.move_to_end(name)
        if len(self._latest) > self._max:
            now = self._clock.monotonic()
            for _ in range(_AT_ONCE):
                oldest = next(iter(self._latest))
                if not self._latest[oldest].rejects(now):
                    del self._latest[oldest]
                    break
                self._latest.move_to_end(oldest)  # forgotten, the host would be asked again before its time
        return record

    def _isolate_parts_locked(self, record: Host) -> None:
        """Have the scopes of a host isolated that were so before its record was dropped, and this one made."""
        for key, isolated in list(self._isolated.items()):
            host, _, scope = key.partition("#")
            if isolated.whole is not None and host == record.origin:
                part, _, _ = record.part(scope)
                part.isolate(isolated.isolation)
                self._isolated[key] = Isolated(isolated.isolation, {key: part}, record)

    def known_host_locked(self, name: str, origin: Origin | None, scope: str | None = None) -> Host:
        """A host's record or that of its scope, made but not kept if there is none.

        A name's is the one of the host that hooks connect it to.
        """
        if scope is not None:
            whole = self.known_host_locked(name, origin)
            own = f"{whole.origin}#{scope}"
            return whole.known_part(scope) or Host(own, whole.policy, self._clock, whole)
        own = name if origin is None else origin.text
        pairs = self.pairs_of_locked(name, None) if origin is None else []
        behind = (pair.record or pair.home for pair in pairs)
        return next(filter(None, behind), None) or self._known_locked(own) or self.unknown_host(own)

    def unknown_host(self, name: str) -> Host:
        """The record of a host that nothing is known of, which is not kept."""
        return Host(name, self.terms.followed((name,)).policy, self._clock)

    def settle_locked(self, record: Host, names: tuple[str, ...], brought: Policy | None) -> list[Event]:
        """A connection to a host is there, which goes by these names here; what is to be told.

        The first one settles whose policy the host follows. What a later one brings, a policy of its own or a name that
        another pattern fits, changes nothing and is told once; but a pattern goes before what hooks and managers say.
        """
        wanted = None if brought is None else brought.for_host(*names)
        # One that shares what the manager's does is nothing of its own: a reload is for its hosts as well.
        own = None if wanted is None or alike(wanted, self.terms.policy) else wanted
        policy, whose = self.terms.followed(names, own)
        news: list[Event] = []
        if record.whose is None or (whose == "policies" and record.whose != "policies"):
            if record.whose is None:
                record.brought = None if own is None else brought
            news += self._follow_locked(record, policy)
            record.whose = whose
        asked = [each for each in (wanted, policy if whose == "policies" else None) if each is not None]
        ignored = dict.fromkeys(field for each in asked for field in unlike(each, record.policy))
        if ignored and not record.told_ignored:
            record.told_ignored = True
            news.append(PolicyIgnored(record.origin, ignored=", ".join(ignored), followed=record.whose))
        return news

    def _follow_locked(self, record: Host, policy: Policy) -> tuple[Event, ...]:
        self.probe_every = min(self.probe_every, probe_every(policy))
        self._idle = min(self._idle, policy.health.idle)
        return () if policy is record.policy else record.follow(policy)

    def reload_locked(self, terms: Terms) -> list[Event]:
        """Have all hosts follow what the manager was told now; what is to be told."""
        names: dict[Host, dict[str, None]] = {}
        for pair in self._pairs:
            for record in (pair.home, pair.record):
                if record is not None:
                    names.setdefault(record, {})[pair.name] = None
        self.terms, self.probe_every, self._idle = terms, terms.probe_every, terms.idle
        news: list[Event] = []
        for record in self.hosts_locked():
            known = (record.origin, *names.get(record, ()))
            own = None if record.brought is None else record.brought.for_host(*known)
            policy, whose = terms.followed(known, own)
            news += self._follow_locked(record, policy)
            if record.whose is not None:
                record.whose = whose
        return news

    def judged_by_locked(self, pair: Pair) -> HealthPolicy:
        """How the host is judged that a pair is asked for; where that is not known, by its name."""
        record = pair.home or pair.record
        return self.terms.followed((pair.name,)).policy.health if record is None else record.judged_by

    def isolate_locked(
        self, name: str, origin: Origin | None, isolation: Isolation | None = None, scope: str | None = None
    ) -> list[Event]:
        """Isolate a host, its own record and those of the hosts that hooks connected it to; what is to be told.

        One that merely stands in for a URL's host while that is broken is not among them. Without `isolation` the one
        that there is, if any, holds for what it leads to meanwhile. With `scope` it is that of the host alone.
        """
        news = self.lapse_locked()
        before = self._isolated.get(_word(name, origin, scope))
        if isolation is None:
            if before is None:  # its time was over a moment ago
                return news
            isolation = before.isolation
        own, whole = self.host_locked(name if origin is None else origin.text), None
        if scope is not None:
            whole, (own, _, _) = own, own.part(scope)
        records = {own.origin: own}
        for pair in self.pairs_of_locked(name, origin) if scope is None else ():
            if pair.record is not None and (origin is None or not pair.stands_in):
                records[pair.record.origin] = pair.record
        if before is not None:
            records = before.records | records
        self._isolated[own.origin] = Isolated(isolation, records, whole)
        self._note_ends_locked()
        for record in records.values():
            news += record.isolate(self._longest_locked(record) or isolation)
        return news

    def restore_locked(self, name: str, origin: Origin | None, scope: str | None = None) -> list[Event]:
        """Restore what was isolated with a host or a scope, but for what was also isolated by another word."""
        news = self.lapse_locked()
        own = _word(name, origin, scope)
        isolated = self._isolated.get(own)
        records = {} if isolated is None else dict(isolated.records)
        for others in self._isolated.values():
            if (record := others.records.get(own)) is not None:
                records[own] = record
        for record in records.values():
            longest = None if record.origin == own else self._longest_locked(record, but=own)
            news += record.restore() if longest is None else record.isolate(longest)
        # Last: whoever was struck in here finds again what is left to be restored.
        for others in list(self._isolated.values()):
            others.records.pop(own, None)
        self._isolated.pop(own, None)
        return news

    def lapse_locked(self) -> list[Event]:
        """End the isolations whose time is over; what is to be told."""
        clock, (at, wall) = self._clock, self._lapses_at
        if not self._isolated or (clock.monotonic() < at and clock.wall() < wall):
            return []
        over = [name for name, isolated in self._isolated.items() if isolated.isolation.over(clock)]
        ended = [record for name in over for record in self._isolated.pop(name).records.values()]
        self._note_ends_locked()
        news: list[Event] = []
        for record in ended:
            longest = self._longest_locked(record)
            news += record.lapse() if longest is None else record.isolate(longest)
        return news

    def _note_ends_locked(self) -> None:
        isolations = [isolated.isolation for isolated in self._isolated.values()]
        ends = (one.ends for one in isolations if one.ends is not None)
        moments = (one.until for one in isolations if one.ends is None and one.until is not None)
        self._lapses_at = (min(ends, default=math.inf), min(moments, default=math.inf))

    def _longest_locked(self, record: Host, but: str | None = None) -> Isolation | None:
        """Of the isolations of a record the one that ends last, its own before others that end with it.

        All `but` the one that is noted under that name.
        """
        found = self._isolated.get(record.origin)
        longest = None if found is None else found.isolation
        now, wall = self._clock.monotonic(), self._clock.wall()
        for name, (isolation, records, _) in self._isolated.items():
            if name == but or record.origin not in records:
                continue
            if longest is None or isolation.left(now, wall) > longest.left(now, wall):
                longest = isolation
        return longest

    def isolates_locked(self, name: str, origin: Origin | None) -> bool:
        """Whether the host itself was isolated."""
        isolated = self._isolated.get(name if origin is None else origin.text)
        return isolated is not None and not isolated.isolation.over(self._clock)

    def isolated_locked(self, pair: Pair) -> Host | None:
        """The record over which the pair may not be found."""
        if not self._isolated:
            return None
        isolated = self._isolated.get(pair.name)
        named = None if isolated is None else isolated.records.get(pair.name)
        return next((record for record in (pair.home, pair.record, named) if record and record.isolated), None)

    def reset_locked(self, name: str, origin: Origin | None) -> list[Host]:
        """End the back-off of all that leads to a host; returns its record, and for a name those of where it leads."""
        own = self._known_locked(name if origin is None else origin.text)
        pairs = dict.fromkeys(self.pairs_of_locked(name, origin))
        records = set() if own is None else {own}
        for pair in pairs:
            led = (pair.home,) if pair.stands_in and origin is not None else (pair.home, pair.record)
            records.update(record for record in led if record is not None)
        for pair in self.pairs_locked():
            if pair in pairs or pair.home in records or pair.record in records:
                pair.end_back_off()
        return sorted(records, key=lambda record: record.origin)

    def forget_locked(self, name: str, origin: Origin | None) -> list[GivenUp]:
        """Give up all that leads to a host, and drop its record; returns the connections.

        With a name go the hosts that it alone leads to. One that is isolated stays so until it is restored.
        """
        own = self._hosts.get(name if origin is None else origin.text)
        gone = dict.fromkeys(self.pairs_of_locked(name, origin))
        records = {own} if own is not None else set()
        if origin is None:
            records.update(record for pair in gone for record in (pair.record, pair.home) if record is not None)
            others = (pair for pair in self._pairs if pair not in gone)
            records.difference_update(record for pair in others for record in (pair.record, pair.home))
        given_up = []
        for pair in self.pairs_locked():
            if pair in gone or pair.record in records:
                if pair.ready:
                    given_up.append(GivenUp(pair, self.take_locked(pair), "by hand"))
                pair.round = None  # one that is under way no longer decides for this pair
                self.drop_locked(pair)
            elif pair.home not in records:
                continue
            pair.home = pair.record  # what stood in stays
            pair.end_back_off()
            pair.stay_home()
        for record in records:
            if not record.isolated:
                self._drop_host_locked(record)
        return given_up

    def parts_locked(self, origin: Origin | None, scope: str) -> list[Host]:
        """The record of a scope of a host, if there is one."""
        whole = None if origin is None else self._known_locked(origin.text)
        part = None if whole is None else whole.known_part(scope)
        return [] if part is None else [part]

    def forget_part_locked(self, origin: Origin | None, scope: str) -> None:
        """Drop the record of a scope of a host, unless it is isolated."""
        whole = None if origin is None else self._known_locked(origin.text)
        if whole is not None:
            whole.forget_part(scope)

    def put_locked(self, pair: Pair, made: Made, now: float, *, preferred: bool) -> None:
        """Hold a connection for the pair, which must hold none. It is taken up again if it was dropped meanwhile.

        `preferred` is whether no hook had trouble that could have named another place: then a name is where this one
        goes. Where a URL leads to another host, that is a stand-in while its own is broken.
        """
        record = self.host_locked(made.record.origin)
        if record is not made.record:  # forgotten meanwhile
            rehost(made.conn, record)
            if record.whose is None:  # made just now, so there is nothing to tell
                record.follow(made.record.policy)
                record.whose, record.brought = made.record.whose, made.record.brought
        before = pair.home
        moves = before is None or (pair.named and preferred)
        at_home = moves or record is before
        stands_in = not at_home and (pair.stands_in or (before is not None and before.down))
        home = record if moves else before
        key = id(made.bare)
        holders = self._holders.get(key, {})
        self.note_locked(pair, now, _USED)  # first: what is held is looked at some day, whatever happens here
        while pair not in self._pairs:  # a signal handler may drop it, until it holds something
            self.insert_locked(pair)
        pair.home = home
        pair.stands_in = stands_in
        if at_home:
            pair.failover = None
        if made.usage is not None:
            made.usage.retired = False  # held again, it keeps sockets again
            if made.holding is not None:
                holding, known = made.holding, made.usage.held
                # Another thread may have put it into another pair meanwhile.
                made.usage.held = holding.after if known is holding.before else (*known, holding.mine)
                holding.mine.home = None if home is None else home.origin
            made.usage.accepted = False  # of interest is what it is worth from now on, not whether a hook could log in
        pair.record, pair.ours, pair.usage = record, made.ours, made.usage
        pair.made = pair.used = now
        pair.refusal = None
        record.held += 1
        holders[pair] = None
        self._holders[key] = holders
        self._ready[pair] = None
        pair.conn = made.conn  # last, for it is read without the lock
        if moves:
            self._leave_locked(before)

    def settle_home_locked(self, pair: Pair) -> None:
        """Take note that hooks without trouble name the place again that the pair's connection goes to."""
        if pair.named and pair.home is not pair.record:
            before = pair.home
            pair.home, pair.stands_in, pair.failover = pair.record, False, None
            self._leave_locked(before)

    def opaque_name(self, pair: Pair) -> str:
        """The record's name for a connection that does not say where it goes."""
        return pair.home.origin if pair.home is not None else pair.name

    def take_locked(self, pair: Pair) -> Any:
        """Hold the pair's connection no more; it is returned."""
        conn, record = pair.conn, pair.record
        key = id(bare(conn))
        holders = self._holders[key]
        pair.conn, pair.record, pair.ours, pair.usage = NOTHING, None, None, None
        del self._ready[pair]
        del holders[pair]
        if not holders:
            del self._holders[key]
        if record is not None:
            record.held -= 1
        self._leave_locked(record)
        return conn

    def holds_locked(self, conn: Any) -> bool:
        """Whether some pair has this very object."""
        return id(bare(conn)) in self._holders

    def holders_locked(self, conn: Any) -> tuple[Pair, ...]:
        """The pairs that have this very object."""
        return tuple(self._holders.get(id(bare(conn)), ()))

    def overdue_locked(self, now: float, keep: Pair | None = None) -> list[GivenUp]:
        """What was unused for `health.idle`, or is too much; a few at a time, and never `keep`."""
        given_up = []
        for kind, queue in enumerate(self._queues):
            for _ in range(_AT_ONCE):
                crowded = self._crowded_locked(kind)
                if not queue or queue[0][0] + (0.0 if crowded else self._idle) > now:
                    break
                noted, _, pair = queue[0]
                if pair not in self._pairs or pair.ready != (kind == _USED):
                    self._pop_locked(kind, pair)
                    if pair in self._pairs:
                        self.note_locked(pair)
                    continue
                last = pair.last_used() if pair.ready else pair.again_at
                if not crowded:  # where it may be idle for longer than others, it comes up again when that is over
                    last += self.judged_by_locked(pair).idle - self._idle
                if pair is keep:
                    again = now
                elif pair.asking or (pair.record is not None and pair.record.busy):
                    again = now + _BUSY
                elif last > noted:
                    again = last
                else:
                    if pair.ready:
                        given_up.append(GivenUp(pair, self.take_locked(pair), "room" if crowded else "idle"))
                    self.drop_locked(pair)
                    self._pop_locked(kind, pair)
                    continue
                heapq.heapreplace(queue, (again, next(self._tickets), pair))
        return given_up

    def note_locked(self, pair: Pair, when: float | None = None, kind: int | None = None) -> None:
        """See to it that a pair is looked at, and forgotten in time."""
        if kind is None:
            kind = _USED if pair.ready else _WAITING
        if not pair.queued & (1 << kind):
            queue = self._queues[kind]
            if len(queue) > 2 * len(self._pairs) + _AT_ONCE:  # of pairs that were dropped meanwhile
                queue[:] = [entry for entry in queue if entry[2] in self._pairs]
                heapq.heapify(queue)
            moment = when if when is not None else pair.used if pair.ready else pair.again_at
            heapq.heappush(queue, (moment, next(self._tickets), pair))
            pair.queued |= 1 << kind  # last: rather twice in a queue than never

    def _pop_locked(self, kind: int, pair: Pair) -> None:
        pair.queued &= ~(1 << kind)  # first, for the same reason
        heapq.heappop(self._queues[kind])

    def due_at_locked(self) -> float:
        """When `overdue_locked` has something to look at."""
        idle = self._idle
        return min(
            (
                queue[0][0] + (0.0 if self._crowded_locked(kind) else idle)
                for kind, queue in enumerate(self._queues)
                if queue
            ),
            default=float("inf"),
        )

    def _crowded_locked(self, kind: int) -> bool:
        return (len(self._ready) if kind == _USED else len(self._pairs) - len(self._ready)) > self._max

    def clear_locked(self) -> list[GivenUp]:
        """Give up everything. Host records stay: what is known of the hosts remains true."""
        given_up = []
        for pair in self.pairs_locked():
            if pair.ready:
                given_up.append(GivenUp(pair, self.take_locked(pair), "reset"))
            if not pair.asking:
                self.drop_locked(pair)
            pair.queued = 0
        for queue in self._queues:
            for _, _, pair in queue:
                pair.queued = 0
            queue.clear()
        return given_up

    def pairs_locked(self) -> list[Pair]:
        """All pairs, with or without a connection."""
        return list(self._pairs)

    def ready_locked(self) -> list[Pair]:
        """The pairs that have a connection."""
        return [pair for pair in self._pairs if pair in self._ready]

    def hosts_locked(self) -> list[Host]:
        """All host records."""
        self._drop_unled_locked()
        return [record for _, record in sorted(self._hosts.items())]

    def records_locked(self) -> list[Host]:
        """All host records, each followed by those of its scopes."""
        return [one for record in self.hosts_locked() for one in (record, *record.parts())]

    def count_locked(self) -> int:
        """How many connections are held."""
        return len(self._ready)

    def _known_locked(self, name: str) -> Host | None:
        """A host's record, unless there is none or its time is over."""
        record = self._hosts.get(name)
        if record is None or not self._is_over_locked(record, self._clock.monotonic()):
            return record
        if any(record is pair.record or record is pair.home for pair in self._pairs):
            return record
        self._drop_host_locked(record)
        return None

    def _leave_locked(self, record: Host | None) -> None:
        """Take note that a pair leads to a host no more; should that be missed, `_drop_unled_locked` sees it."""
        if record is not None and record.down:
            if len(self._left) > 2 * self._max:
                self._left = {}
            self._left[record.origin] = self._clock.monotonic()

    def _drop_unled_locked(self) -> None:
        """Forget the hosts that count as broken and that nothing has led to for a while: services that moved."""
        down = [record for record in list(self._hosts.values()) if record.down and not record.isolated]
        left, self._left = self._left, {}
        if not down:
            return
        now = self._clock.monotonic()
        led = {record for pair in self._pairs for record in (pair.record, pair.home)}
        for record in down:
            if record not in led:
                self._left[record.origin] = left.get(record.origin, now)
                if self._is_over_locked(record, now):
                    self._drop_host_locked(record)

    def _is_over_locked(self, record: Host, now: float) -> bool:
        """Whether a broken host's time is over, should no pair lead to it: never before that of its open circuit."""
        left = self._left.get(record.origin)
        if left is None or now - left < min(record.judged_by.rehook_max, _LONGEST_UNLED):
            return False
        return record.down and not record.isolated and not record.busy and not record.rejects(now)

    def _drop_host_locked(self, record: Host) -> None:
        for table in (self._latest, self._hosts, self._left):
            table.pop(record.origin, None)
        if any(isolated.whole is record for isolated in self._isolated.values()):
            self.host_locked(record.origin)  # a scope of it is isolated, and stays so


def _word(name: str, origin: Origin | None, scope: str | None) -> str:
    """What an isolation is noted under: the name of the record that it is for first of all."""
    own = name if origin is None else origin.text
    return own if scope is None else f"{own}#{scope}"
