"""Everything that finding a connection reads and changes: slots, flights, hooks, and the table of fast keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Literal

from sleepwalker.clock import Clock
from sleepwalker.engine import FOR_GOOD, Host
from sleepwalker.events import Event, HookSlow
from sleepwalker.exceptions import ConnectionError, HostIsolatedError
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.members import AtWork, Lead
from sleepwalker.lookup.flights import Flights
from sleepwalker.lookup.foreign import Hook
from sleepwalker.lookup.slot import Flight, Signal, Slot
from sleepwalker.lookup.table import Released, SlotTable

_CLOSED = "this manager is closed; make a new one"


class Lookup:
    """The state of a manager's lookups. Its owner holds a lock, or is one task, unless said otherwise.

    A signal handler may raise wherever a call ends, and may call the manager again.
    """

    def __init__(
        self,
        hosts: HostTable,
        max_connections: int,
        *,
        caller: Callable[[], Hashable],
        signal: Callable[[], Signal],
        behalf: Callable[[], Hashable] | None = None,
        worker: Literal["thread", "task"] = "thread",
    ) -> None:
        """`caller` returns the current thread or task; `signal` makes a signal that wakes waiters.

        `behalf` returns the worker whose hook the caller works for, by default the caller. `worker` names in texts
        where hooks run.
        """
        self.hosts = hosts
        self.clock: Clock = hosts.clock
        self.max_connections = max_connections
        self.table: SlotTable = SlotTable(hosts, max_connections)
        self.flights: Flights = Flights()
        self.hooks: tuple[Hook, ...] = ()
        self.fast: dict[Any, Slot] = {}
        """Slots by fast key. Read without the lock."""
        self.sweep_at: float = math.inf
        """From then on, `find` first checks what has expired. Read without the lock."""
        self.closed = False
        self.caller = caller
        self.behalf: Callable[[], Hashable] = caller if behalf is None else behalf
        self.signal = signal
        self.worker: str = worker

    @property
    def patience(self) -> float:
        """How long hooks may run before they are late, in seconds."""
        return self.hosts.policy.timeout.total

    @property
    def probes(self) -> bool:
        """Whether a policy asks for probes of broken hosts."""
        return self.hosts.probe_every != math.inf

    def refuse_closed(self) -> None:
        """Raise `ConnectionError` if it is closed."""
        if self.closed:
            raise closed_error()

    def flight(self) -> Flight:
        """A flight for the caller. It does not call hooks yet."""
        return Flight(self.caller(), self.signal(), self.behalf())

    def fast_table(self, slot: Slot) -> dict[Any, Slot] | None:
        """The table for the fast key of a slot; None if it must not be remembered."""
        if self.isolated_by(slot) is not None:
            return None  # its name may be isolated while the host behind it is not: only the full look-up sees that
        if len(self.fast) > 2 * self.max_connections:
            self.fast = {}
        return self.fast

    def isolated_by(self, slot: Slot) -> Host | None:
        """The record whose isolation prevents a `find` of the slot, if any."""
        hosts = self.hosts
        return hosts.isolated_by(slot.lead()) if hosts.has_isolated else None

    def isolation_error(self, record: Host) -> HostIsolatedError:
        """The error for the caller in that case."""
        return (record.isolation or FOR_GOOD).refusal(record.origin, self.clock)

    def sweep(self, now: float, keep: Slot) -> list[Released]:
        """Release unused and surplus connections, except `keep`."""
        released = self.table.expired(now, keep)
        self.sweep_at = self.table.due_at()
        return released

    def back_off(self, slot: Slot, now: float) -> None:
        """Delay the next flight of a slot."""
        slot.back_off(now, self.table.health_policy(slot))

    def end_back_offs(self, slots: Iterable[Slot]) -> None:
        """Allow a call of the hooks at once for these slots."""
        now = self.clock.monotonic()
        for slot in slots:
            slot.end_back_off()
            self.tidy(slot, now)

    def notice_late(self, now: float) -> list[Event]:
        """End expired isolations, and mark flights that outlast their time as late. Returns the events to emit.

        The slots of such flights back off, and the next flight need not wait for them.
        """
        events = self.hosts.lapse()
        for one in self.flights.expired(now):
            slot = one.slot
            decides = slot is not None and slot.flight is one
            if not self.flights.late(one) or slot is None:
                continue
            if decides:
                if not slot.ready:  # else a failover target, which serves until the hooks are asked again
                    slot.refusal = ""  # nothing was said yet
                self.back_off(slot, now)
            events.append(HookSlow(slot.name, hook=one.hook, duration=now - one.since))
        return events

    def end(self, flight: Flight) -> None:
        """End a flight for any reason; repeating it changes nothing. Its waiters are not woken yet."""
        self.flights.end(flight)
        slot, now = flight.slot, self.clock.monotonic()
        if slot is not None:
            if slot.flight is flight:  # it came to nothing, by an exception that is no failure to connect
                if slot.ready:  # a failover target, which serves until the hooks are asked again
                    self.back_off(slot, now)
                slot.flight = None
            self.tidy(slot, now)
        flight.over = True

    def leave(self, flight: Flight) -> None:
        """End a caller's part in a slot, unless a worker runs its flight; repeating it changes nothing."""
        try:
            self._leave(flight)
        except BaseException:  # a signal handler raised: nothing else would end the flight
            self._leave(flight)
            raise

    def _leave(self, flight: Flight) -> None:
        self.flights.waiting.pop(flight.caller, None)
        if flight.taken or (flight.over and flight.done.is_set()):
            return
        self.end(flight)
        flight.done.set()

    def tidy(self, slot: Slot, now: float) -> None:
        """Make sure that a slot without a connection is dropped in time: at once if nothing is known of it."""
        if slot.ready or slot.asking:
            return
        if not slot.failed_over and (slot.flights == 0 or (slot.refusal is None and now >= slot.again_at)):
            self.table.drop(slot)
        else:
            self.table.schedule(slot)

    def dismiss_all(self) -> None:
        """Make the waiters of all flights ask again."""
        for one in self.flights.at_work():
            one.dismiss()

    # -- for the table of hosts: without the lock

    def leads(self) -> Iterator[Lead]:
        """Where the slots lead."""
        return self.table.leads()

    def at_work(self) -> list[AtWork]:
        """What the hooks are running for."""
        since_epoch = self.clock.wall() - self.clock.monotonic()
        found = []
        for one in self.flights.at_work():
            if (slot := one.slot) is not None:
                found.append(AtWork(slot.name, slot.primary, one.since + since_epoch))
        return found

    def begin_anew(self) -> None:
        """Drop the flights of a fork's parent, or of a loop that ended; waiters here ask again."""
        self.dismiss_all()
        self.flights = Flights()
        self.sweep_at = 0.0  # so the next find is a full look-up, which starts what only the parent, or old loop, has
        for slot in self.table.slots():
            slot.flight, slot.late = None, ()
            self.tidy(slot, self.clock.monotonic())


def closed_error() -> ConnectionError:
    """The error of a closed manager."""
    return ConnectionError(_CLOSED)
