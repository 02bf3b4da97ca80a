"""When slots are checked: idle connections, slots without a connection, and slots beyond the limit."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping

from sleepwalker.lookup.slot import Slot

#: How many entries one call looks at, so that the lock is held for microseconds.
BATCH = 16

USED, WAITING = 0, 1
_Queue = list[tuple[float, int, Slot]]


class Expiry:
    """Two queues: slots with a connection by their last use, and slots without one by the end of their back-off.

    Neither kind makes room for the other. A slot's times may have changed since it was scheduled, so it is checked when
    its turn comes. Its owner holds a lock, or is one task; a signal handler may raise wherever a call ends.
    """

    __slots__ = ("_most", "_numbers", "_queues", "_ready", "_slots")

    def __init__(self, slots: Mapping[Slot, None], ready: Mapping[Slot, None], most: int) -> None:
        """`slots` are all that there are, `ready` those with a connection, `most` how many of a kind there may be."""
        self._slots, self._ready, self._most = slots, ready, most
        self._queues: tuple[_Queue, _Queue] = ([], [])
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def schedule(self, slot: Slot, when: float | None = None, kind: int | None = None) -> None:
        """Make sure that a slot is checked, and forgotten in time."""
        if kind is None:
            kind = USED if slot.ready else WAITING
        if not slot.queued & (1 << kind):
            queue = self._queues[kind]
            if len(queue) > 2 * len(self._slots) + BATCH:  # of slots that were dropped meanwhile
                queue[:] = [entry for entry in queue if entry[2] in self._slots]
                heapq.heapify(queue)
            moment = when if when is not None else slot.used if slot.ready else slot.again_at
            heapq.heappush(queue, (moment, next(self._numbers), slot))
            slot.queued |= 1 << kind  # last: rather twice in a queue than never

    def over_capacity(self, kind: int) -> bool:
        """Whether there are too many of a kind."""
        return (len(self._ready) if kind == USED else len(self._slots) - len(self._ready)) > self._most

    def next(self, kind: int, now: float, idle: float) -> tuple[float, Slot] | None:
        """The first slot of a kind that is due, and its scheduled time. It stays in the queue."""
        queue = self._queues[kind]
        if not queue or queue[0][0] + (0.0 if self.over_capacity(kind) else idle) > now:
            return None
        scheduled, _, slot = queue[0]
        return scheduled, slot

    def take(self, kind: int, slot: Slot) -> None:
        """Remove the first slot of a kind from the queue."""
        slot.queued &= ~(1 << kind)  # first: rather twice in a queue than never
        heapq.heappop(self._queues[kind])

    def postpone(self, kind: int, slot: Slot, when: float) -> None:
        """Schedule the first slot of a kind again for later."""
        heapq.heapreplace(self._queues[kind], (when, next(self._numbers), slot))

    def due_at(self, idle: float) -> float:
        """When the next check is due; infinity for never."""
        due = math.inf
        for kind, queue in enumerate(self._queues):
            if queue:
                due = min(due, queue[0][0] + (0.0 if self.over_capacity(kind) else idle))
        return due

    def clear(self) -> None:
        """Forget all scheduled checks."""
        for queue in self._queues:
            for _, _, slot in queue:
                slot.queued = 0
            queue.clear()
