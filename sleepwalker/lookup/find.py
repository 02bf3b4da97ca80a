"""`find` as a machine of steps: only here is it decided whether to use, refuse, wait or call hooks."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from sleepwalker.exceptions import ConnectionError
from sleepwalker.lookup.flights import MAX_NESTED
from sleepwalker.lookup.foreign import EMPTY
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.refusals import no_room, out_of_time, refused, too_early, too_late
from sleepwalker.lookup.slot import Fault, Flight, Slot
from sleepwalker.lookup.state import Lookup, closed_error
from sleepwalker.lookup.steps import (
    Await,
    AwaitRetired,
    Emit,
    Job,
    Look,
    Machine,
    Probe,
    Release,
    Remember,
    Start,
)
from sleepwalker.lookup.table import Released, Snapshot


class Waiter:
    """How long a caller of `find` waits."""

    __slots__ = ("nested", "seconds", "since")

    def __init__(self, seconds: float, *, nested: bool) -> None:
        self.seconds: float = seconds
        self.nested: bool = nested
        """Whether a signal handler calls, which interrupted the manager in this thread while it held its lock: no other
        thread can finish before it."""
        self.since: float | None = None
        """When its slot was first looked at."""


class Found(NamedTuple):
    """The result of `find`."""

    conn: Any = EMPTY
    error: BaseException | None = None
    """To be raised."""
    shared: bool = False
    """Whether others raise it as well, so that each needs a copy."""


class Decision(NamedTuple):
    """The decision for a caller."""

    what: Literal["use", "refuse", "wait", "ask"]
    conn: Any = EMPTY
    error: ConnectionError | None = None
    flight: Flight | None = None
    """The flight to wait for."""
    fault: Fault | None = None
    """If hooks are to be asked: what was wrong with the connection before."""


_AGAIN = Found()


def find(lookup: Lookup, asked: Asked, waiter: Waiter) -> Machine[Found]:
    """The slot's connection, or the result of a flight: this caller's own, or another one's."""
    while True:
        found = yield from _tried(lookup, asked, waiter)
        if found is not _AGAIN:
            return found


def look(lookup: Lookup, asked: Asked) -> Machine[Snapshot]:
    """Look a slot up. What was seen is valid until the next step."""
    while True:
        seen: Snapshot = yield Look(asked)
        if lookup.table.is_current(asked, seen):
            return seen


def _tried(lookup: Lookup, asked: Asked, waiter: Waiter) -> Machine[Found]:
    """One try of `find`. `_AGAIN` if the flight came to nothing, so that another try is needed."""
    mine = lookup.flight()
    try:
        return (yield from _sought(lookup, asked, mine, waiter))
    finally:
        lookup.leave(mine)


def _sought(lookup: Lookup, asked: Asked, mine: Flight, waiter: Waiter) -> Machine[Found]:
    seen = yield from look(lookup, asked)
    if lookup.closed:
        return Found(error=closed_error())
    events = lookup.notice_late(lookup.clock.monotonic())
    released: list[Released] = []
    slot, probe = _prepared(lookup, asked, seen, mine, waiter, released)
    decision = decide(lookup, slot, seen, waiter, released)
    if decision.what == "ask":
        lookup.flights.begin(slot, mine, lookup.clock.monotonic(), lookup.patience)
    fast = lookup.fast_table(slot) if decision.what == "use" else None
    if probe:
        yield Probe()
    if events:
        yield Emit(events)
    if fast is not None:
        yield Remember(fast, asked, slot)
    if decision.what == "ask":
        yield Start(Job(mine, asked, slot, decision.fault, released, waiter.nested or waiter.seconds == float("inf")))
        return (yield from _awaited(lookup, asked, mine, mine, waiter))
    if released:
        yield Release(released)
    if decision.flight is not None:
        return (yield from _awaited(lookup, asked, decision.flight, mine, waiter))
    return Found(decision.conn, decision.error)


def _prepared(
    lookup: Lookup, asked: Asked, seen: Snapshot, mine: Flight, waiter: Waiter, released: list[Released]
) -> tuple[Slot, bool]:
    """The slot, inserted into the table if it is new, and whether hosts are to be probed."""
    now = lookup.clock.monotonic()
    if waiter.since is None:
        waiter.since = now
    mine.slot = slot = seen.slot or Slot(asked)
    if seen.slot is None:
        lookup.table.insert(slot, asked.origin)
    released += lookup.sweep(now, slot)
    faulty = slot.ready and slot.fault(now, seen.closed) is not None
    # In a forked child the parent's prober does not run.
    return slot, lookup.probes and (faulty or slot.failed_over)


def decide(lookup: Lookup, slot: Slot, seen: Snapshot, waiter: Waiter, released: list[Released]) -> Decision:
    """The decision for a caller: use the slot's connection, refuse, wait, or call the hooks."""
    now = lookup.clock.monotonic()
    fault = slot.fault(now, seen.closed) if slot.ready else None
    isolated = lookup.isolated_by(slot)
    if isolated is not None and not (slot.may_replace(isolated) and not slot.holds_off(now, "isolated")):
        return Decision("refuse", error=lookup.isolation_error(isolated))
    if slot.ready and (fault is None or (slot.keeps(fault) and slot.flight is not None)):
        return _use(slot, now)
    if slot.flight is not None:
        return _wait(lookup, slot, slot.flight, waiter)
    full = lookup.flights.full(slot)
    if full or slot.holds_off(now, fault):
        return _hold_off(lookup, slot, seen, waiter, released, fault, full=full)
    if lookup.flights.nested(lookup.behalf()):
        why = f"{MAX_NESTED} hooks wait for one another in a chain of nested find calls"
        return Decision("refuse", error=refused(slot.name, why))
    slot.begin_flight(now, fault)
    if not slot.keeps(fault):
        released += lookup.table.release(slot, fault)
    return Decision("ask", fault=fault)


def _use(slot: Slot, now: float) -> Decision:
    slot.used = now
    return Decision("use", slot.conn)


def _wait(lookup: Lookup, slot: Slot, flight: Flight, waiter: Waiter) -> Decision:
    if waiter.nested:
        why = "its hooks run in another thread, which waits for this one (deadlock)"
        return Decision("refuse", error=refused(slot.name, why))
    if lookup.flights.circle(flight, lookup.caller()):
        return Decision("refuse", error=refused(slot.name, "its own hooks call find for it"))
    return Decision("wait", flight=flight)


def _hold_off(
    lookup: Lookup,
    slot: Slot,
    seen: Snapshot,
    waiter: Waiter,
    released: list[Released],
    fault: Fault | None,
    *,
    full: bool,
) -> Decision:
    """The hooks may not be asked now: what is held is used all the same, unless it is closed."""
    now = lookup.clock.monotonic()
    if slot.ready and seen.closed:
        if fault == "unauthorized":
            slot.refusal = f"no connection to {slot.name}: its credentials were not accepted"
        released += lookup.table.release(slot, fault)
    if slot.ready:
        return _use(slot, now)
    if not slot.late:
        return Decision("refuse", error=no_room(slot, now, lookup.worker) if full else too_early(slot, now))
    # A caller that waits for longer than `patience` can wait for a late flight.
    late = [one for one in slot.late if not one.dismissed] if waiter.seconds > lookup.patience else []
    if late:
        return _wait(lookup, slot, late[-1], waiter)
    if full:
        return Decision("refuse", error=no_room(slot, now, lookup.worker))
    return Decision("refuse", error=too_early(slot, now) if slot.refusal else too_late(slot, now))


def _awaited(lookup: Lookup, asked: Asked, flight: Flight, mine: Flight, waiter: Waiter) -> Machine[Found]:
    """The result of a flight, for one of its waiters."""
    began = waiter.since or 0.0
    try:
        over = yield from _over(lookup, flight, began + waiter.seconds)
    finally:
        lookup.flights.waiting.pop(mine.caller, None)
    if not over:
        return (yield from _timed_out(lookup, asked, flight, began))
    if flight.dismissed:
        return _AGAIN
    if flight is mine:
        if mine.retired is not None:
            yield AwaitRetired(mine, began + waiter.seconds)
        if mine.raised is not None:
            return Found(error=mine.raised)
    if flight.error is not None:
        return Found(error=flight.error, shared=True)
    return _AGAIN if flight.abandoned else Found(flight.result)


def _over(lookup: Lookup, flight: Flight, until: float) -> Machine[bool]:
    """Wait for a flight, until `until` at most. Returns whether it is over. A late one is marked and announced."""
    while not flight.done.is_set():
        now = lookup.clock.monotonic()
        expired = now >= flight.late_at
        if expired and not flight.late:
            events = lookup.notice_late(now)
            yield Emit(events)
        if now >= until:
            return False
        over = yield Await(flight, until if expired else min(until, flight.late_at))
        if over is None:
            return False  # no other thread runs any more: the interpreter is ending
    return True


def _timed_out(lookup: Lookup, asked: Asked, flight: Flight, began: float) -> Machine[Found]:
    """The connection that stays until the hooks return another one, if there is one; else an error."""
    seen = yield from look(lookup, asked)
    now, slot = lookup.clock.monotonic(), seen.slot
    if slot is not None and slot.ready and lookup.isolated_by(slot) is None:
        fault = slot.fault(now, seen.closed)
        if fault is None or slot.keeps(fault):
            return Found(seen.conn)
    return Found(error=out_of_time(asked.name, flight, now - began, now, lookup.worker))
