"""Which flights are running, for how long, and who waits for them."""

from __future__ import annotations

from collections.abc import Hashable

from sleepwalker.lookup.slot import Flight, Slot

#: With as many late flights of one slot, or of all slots, no more are begun: the threads in which their hooks hang
#: cannot be ended.
MAX_LATE_OF_A_SLOT = 3
MAX_LATE = 64
#: With as many in all, each slot may have only one: else a few hosts whose hooks hang would use up `MAX_LATE`.
MANY_LATE = 16
#: The most hooks that may wait for one another, each for a host that the one before looked for. Each takes a thread,
#: and a hook that looks for ever new hosts would take all threads.
MAX_NESTED = 100


class Flights:
    """The flights of a manager. Its owner holds a lock, or is one task.

    A signal handler may raise wherever a call ends, so related fields change without a call in between.
    """

    __slots__ = ("_in_time", "_late", "_led", "waiting")

    def __init__(self) -> None:
        # Oldest first; all have the same limit. A signal handler may change both between two steps of a loop, so loops
        # go over copies.
        self._in_time: dict[Flight, None] = {}
        self._late: dict[Flight, None] = {}
        # By the workers that carry them out.
        self._led: dict[Hashable, Flight] = {}
        self.waiting: dict[Hashable, Flight] = {}
        """The flight that each waiting thread or task waits for."""

    def begin(self, slot: Slot, mine: Flight, now: float, seconds: float) -> None:
        """The hooks are about to be called; from now on `mine` decides for the slot. It is late after `seconds`."""
        late_at = now + seconds
        mine.since = mine.hook_since = now
        mine.late_at = late_at
        self.waiting[mine.caller] = mine
        self._in_time[mine] = None
        slot.flight = mine

    def lead(self, mine: Flight, leader: Hashable) -> None:
        """A worker runs a flight from now on."""
        mine.taken, mine.leader = True, leader
        self._led[leader] = mine

    def end(self, mine: Flight) -> None:
        """The hooks are no longer running."""
        if self._led.get(mine.leader) is mine:
            self._led.pop(mine.leader, None)
        self._in_time.pop(mine, None)
        self._late.pop(mine, None)
        slot = mine.slot
        if slot is not None and mine in slot.late:
            slot.late = tuple(one for one in slot.late if one is not mine)

    def follow(self, seconds: float) -> None:
        """Set another limit for all flights that are not late yet: `seconds` since their begin."""
        for one in [*self._in_time]:
            one.late_at = one.since + seconds

    def expired(self, now: float) -> list[Flight]:
        """Flights whose time is over and that are not yet marked as late."""
        found = []
        for one in [*self._in_time]:
            if now < one.late_at:
                break
            found.append(one)
        return found

    def late(self, one: Flight) -> bool:
        """Mark a flight as late: it no longer decides for its slot.

        False if it is marked already: a signal handler that called the manager may have come first.
        """
        slot = one.slot
        if one not in self._in_time or slot is None:
            return False
        self._late[one] = None
        slot.late = (*slot.late, one)
        if slot.flight is one:
            slot.flight = None
        one.late = True
        del self._in_time[one]
        return True

    def full(self, slot: Slot) -> bool:
        """Whether too many flights are late to start another one for the slot."""
        of_a_pair = MAX_LATE_OF_A_SLOT if len(self._late) < MANY_LATE else 1
        return len(slot.late) >= of_a_pair or len(self._late) >= MAX_LATE

    def nested(self, me: Hashable) -> bool:
        """Whether the chain of hooks that wait for one another has reached its limit for `me`."""
        one, depth = self._led.get(me), 0
        while one is not None and depth < MAX_NESTED:
            depth += 1
            one = self._led.get(one.behalf) if self.waiting.get(one.caller) is one else None
        return depth >= MAX_NESTED

    def waited_for(self, one: Flight) -> bool:
        """Whether a caller waits for it."""
        return one in [*self.waiting.values()]

    def at_work(self) -> list[Flight]:
        """All flights, in the order in which they began."""
        return [*self._late, *self._in_time]

    def circle(self, current: Flight, me: Hashable) -> bool:
        """Whether `me`, about to wait for `current`, would wait for itself, directly or through others.

        If not, `me` is noted as waiting. A hook that calls `find` must not wait for the flight that it is part of.
        """
        wanted = current
        if current.caller == me and current.leader is None and not current.taken:
            return True  # a signal handler asks, before a thread was started
        while wanted.leader != me:
            step = None if wanted.leader is None else self.waiting.get(wanted.leader)
            if step is None or step.done.is_set():  # over, and its waiter has just not left it yet
                self.waiting[me] = current
                return False
            wanted = step
        return True
