"""The slots of a manager: by <host, auth>, by their connection, and by expiry.

A signal handler may raise wherever a call ends. So each change is computed first, and then made by statements without a
call among them. Nothing here runs code of connections or of credentials, except `look`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sleepwalker.hosts import HostTable
from sleepwalker.hosts.members import Lead
from sleepwalker.lookup.expiry import BATCH, USED, Expiry
from sleepwalker.lookup.foreign import EMPTY, Candidate, says_closed
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.slot import Slot
from sleepwalker.policy import HealthPolicy
from sleepwalker.transport.url import Origin

#: How long a slot whose connection is in use is left alone before it is looked at again, in seconds.
_BUSY = 1.0
_NO_SLOTS: tuple[Slot, ...] = ()


class Released(NamedTuple):
    """A connection to announce and retire after the lock is released."""

    slot: Slot
    conn: Any
    reason: Any
    """Why; None for one that never was in use."""


class Snapshot(NamedTuple):
    """What was looked up without a lock: it is valid if it `is_current`."""

    alike: tuple[Slot, ...]
    """All slots at the place."""
    slot: Slot | None
    """The one among them with equal credentials."""
    conn: Any
    """What the slot held, or EMPTY."""
    closed: bool
    """Whether that connection says that it is closed."""


class SlotTable:
    """Slots by key; bounded."""

    def __init__(self, hosts: HostTable, max_connections: int) -> None:
        self.hosts = hosts
        # Slots by name and hash of their credentials. Which one of a place is meant is told by comparing credentials,
        # which may run a user's code: so a place is a tuple that never changes, and is searched without the lock.
        self._places: dict[tuple[str, int], tuple[Slot, ...]] = {}
        self._slots: dict[Slot, None] = {}
        self._ready: dict[Slot, None] = {}
        self._holders: dict[int, dict[Slot, None]] = {}
        """The slots that hold an object, by its id."""
        self._expiry = Expiry(self._slots, self._ready, max_connections)

    def __del__(self) -> None:
        # The manager was not closed. Others may go on with its hosts.
        for slot in getattr(self, "_ready", ()):
            if slot.record is not None:
                slot.record.held -= 1

    def __len__(self) -> int:
        """How many connections are held."""
        return len(self._ready)

    def look(self, asked: Asked) -> Snapshot:
        """The requested slot, and the `closed` of its connection. This runs a user's code: hold no lock."""
        alike = self._places.get(asked.place, _NO_SLOTS)
        slot = next((slot for slot in alike if slot.key == asked.key), None)
        conn = EMPTY if slot is None else slot.conn
        return Snapshot(alike, slot, conn, conn is not EMPTY and says_closed(conn))

    def is_current(self, asked: Asked, seen: Snapshot) -> bool:
        """Whether what was seen is still true. If not, look again."""
        same = self._places.get(asked.place, _NO_SLOTS) is seen.alike
        return same and (seen.slot is None or seen.slot.conn is seen.conn)

    def insert(self, slot: Slot, origin: Origin | None = None) -> None:
        """Add a slot that the table does not have; `origin` is where it is requested."""
        primary = slot.primary if origin is None else self.hosts.host(origin.text)
        alike = (*self._places.get(slot.place, _NO_SLOTS), slot)
        slot.primary = primary
        self._places[slot.place] = alike
        self._slots[slot] = None

    def drop(self, slot: Slot) -> None:
        """Forget a slot, which must hold nothing."""
        if slot not in self._slots:
            return
        rest = tuple(other for other in self._places[slot.place] if other is not slot)
        if rest:
            self._places[slot.place] = rest
        else:
            del self._places[slot.place]
        del self._slots[slot]
        self.hosts.kept.leave(slot.primary)

    def put(self, slot: Slot, candidate: Candidate, now: float, *, preferred: bool, by_hand: bool = False) -> None:
        """Hold a connection in the slot, which must hold none. A slot that was dropped meanwhile is added again.

        `preferred`: no hook failed that could have returned another host. Then the primary of a name is this
        connection's host. If a URL leads to another host, that is a failover target while its own host is broken.
        """
        record = self.hosts.replace(candidate.record)  # another one if it was forgotten meanwhile
        before = slot.primary
        moves = before is None or (slot.named and preferred)
        on_primary = moves or record is before
        failed_over = not on_primary and (slot.failed_over or (before is not None and before.unhealthy))
        primary = record if moves else before
        key = id(candidate.bare)
        holders = self._holders.get(key, {})
        self._expiry.schedule(slot, now, USED)  # first: what is held must be checked for expiry, whatever happens here
        while slot not in self._slots:  # a signal handler may drop it, until it holds something
            self.insert(slot)
        slot.primary = primary
        slot.failed_over = failed_over
        if on_primary:
            slot.probe_with = None
        if (usage := candidate.usage) is not None:
            usage.retired = False  # held again, it keeps sockets again
            if (holding := candidate.holding) is not None:
                known = usage.held
                # Another thread may have put it into another slot meanwhile.
                usage.held = holding.after if known is holding.before else (*known, holding.mine)
                holding.mine.primary = None if primary is None else primary.origin
            usage.accepted = False  # that a hook could log in does not count, only what calls show from now on
        slot.record, slot.own, slot.usage, slot.bare = record, candidate.own, usage, candidate.bare
        slot.made = slot.used = now
        slot.by_hand = by_hand
        slot.refusal = None
        record.held += 1
        holders[slot] = None
        self._holders[key] = holders
        self._ready[slot] = None
        slot.conn = candidate.conn  # last, for it is read without the lock
        if moves:
            self.hosts.kept.leave(before)

    def take(self, slot: Slot) -> Any:
        """Release the slot's connection and return it."""
        conn, record = slot.conn, slot.record
        key = id(slot.bare)
        holders = self._holders[key]
        slot.conn, slot.bare, slot.record, slot.own, slot.usage = EMPTY, EMPTY, None, None, None
        del self._ready[slot]
        del holders[slot]
        if not holders:
            del self._holders[key]
        if record is not None:
            record.held -= 1
        self.hosts.kept.leave(record)
        return conn

    def settle_primary(self, slot: Slot) -> None:
        """Note that hooks, without a failure, again return the host that the slot's connection goes to."""
        if slot.named and slot.primary is not slot.record:
            before = slot.primary
            slot.primary, slot.failed_over, slot.probe_with = slot.record, False, None
            self.hosts.kept.leave(before)

    def release(self, slot: Slot, reason: Any) -> list[Released]:
        """Release the slot's connection, if it has one."""
        return [Released(slot, self.take(slot), reason)] if slot.ready else []

    def release_by_hand(self, slots: list[Slot]) -> list[Released]:
        """Forget these slots, unless hooks are running for them; the next flight may begin at once."""
        released = []
        for slot in slots:
            released += self.release(slot, "by hand")
            slot.end_back_off()
            slot.end_failover()
            if not slot.asking:
                self.drop(slot)
        return released

    def clear(self) -> list[Released]:
        """Release everything."""
        released = []
        for slot in self.slots():
            released += self.release(slot, "reset")
            if not slot.asking:
                self.drop(slot)
            slot.queued = 0
        self._expiry.clear()
        return released

    def forget(self, name: str, origin: Origin | None) -> list[Released]:
        """Release everything that leads to a host, and drop its record unless it is isolated.

        A name stands for the hosts that only this name leads to.
        """
        gone = dict.fromkeys(self.slots_of(name, origin))
        records = self.hosts.only_led_to(name, origin)
        released = []
        for slot in self.slots():
            if slot in gone or slot.record in records:
                released += self.release(slot, "by hand")
                slot.flight = None  # one that is under way no longer decides for this slot
                self.drop(slot)
            elif slot.primary not in records:
                continue
            slot.primary = slot.record  # the failover target stays
            slot.end_back_off()
            slot.end_failover()
        self.hosts.forget(records)
        return released

    def leading_to(self, name: str, origin: Origin | None) -> list[Slot]:
        """Everything that leads to a host, by name or by its connection."""
        records = self.hosts.led_to(name, origin)
        named = dict.fromkeys(self.slots_of(name, origin))
        return [slot for slot in self.slots() if slot in named or slot.primary in records or slot.record in records]

    # -- what expires

    def schedule(self, slot: Slot) -> None:
        """Make sure that a slot is checked, and forgotten in time."""
        self._expiry.schedule(slot)

    def due_at(self) -> float:
        """When `expired` is due next."""
        return self._expiry.due_at(self.hosts.idle)

    def expired(self, now: float, keep: Slot | None = None) -> list[Released]:
        """Connections unused for `health.idle`, or surplus; a few at a time, and never `keep`."""
        released: list[Released] = []
        for kind in range(2):
            for _ in range(BATCH):
                if (entry := self._expiry.next(kind, now, self.hosts.idle)) is None:
                    break
                released += self._expire(kind, *entry, now, keep)
        return released

    def _expire(self, kind: int, scheduled: float, slot: Slot, now: float, keep: Slot | None) -> list[Released]:
        expiry = self._expiry
        if slot not in self._slots or slot.ready != (kind == USED):
            expiry.take(kind, slot)
            if slot in self._slots:
                expiry.schedule(slot)
            return []
        over_capacity = expiry.over_capacity(kind)
        last = slot.last_used() if slot.ready else slot.again_at
        if not over_capacity:  # its own policy may allow a longer idle time: it is checked again after that
            last += self.health_policy(slot).idle - self.hosts.idle
        if slot is keep or (slot.ready and slot.by_hand and not over_capacity):
            expiry.postpone(kind, slot, now)
        elif slot.asking or (slot.record is not None and slot.record.busy):
            expiry.postpone(kind, slot, now + _BUSY)
        elif last > scheduled:
            expiry.postpone(kind, slot, last)
        else:
            released = self.release(slot, "room" if over_capacity else "idle")
            self.drop(slot)
            expiry.take(kind, slot)
            return released
        return []

    # -- what there is

    def slots(self) -> list[Slot]:
        """All slots, with or without a connection."""
        return list(self._slots)

    def held(self) -> list[tuple[Slot, Any]]:
        """The slots that have a connection, and these. Needs no lock."""
        found = ((slot, slot.conn) for slot in list(self._slots))
        return [(slot, conn) for slot, conn in found if conn is not EMPTY]

    def slots_of(self, name: str, origin: Origin | None) -> list[Slot]:
        """All slots of a host; for one with a base path, those of that path."""
        below = f"{name}/" if origin is not None and name == origin.text else None
        return [
            slot for slot in self._slots if slot.name == name or (below is not None and slot.name.startswith(below))
        ]

    def leads(self) -> Iterator[Lead]:
        """Where all of them lead. Needs no lock."""
        return (slot.lead() for slot in list(self._slots))

    def holds(self, bare: Any) -> bool:
        """Whether a slot holds this object, which is neither a guard nor a scope."""
        return id(bare) in self._holders

    def holders(self, bare: Any) -> tuple[Slot, ...]:
        """The slots that hold this object, which is neither a guard nor a scope."""
        return tuple(self._holders.get(id(bare), ()))

    def health_policy(self, slot: Slot) -> HealthPolicy:
        """The health policy of the host that a slot requests; if unknown, that of its name."""
        return self.hosts.health_policy(slot.name, slot.primary or slot.record)

    def names_of(self, slot: Slot, origin: str | None) -> tuple[str, ...]:
        """The names of the host of a connection in the slot; `origin` is None for an object without one."""
        own = origin or (slot.name if slot.primary is None else slot.primary.origin)
        return (own,) if own == slot.name else (own, slot.name)
