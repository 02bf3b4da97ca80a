"""How flights end: in which order, and who gets an exception of a hook that is not a failure to connect."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sleepwalker.events import Event, HookFailed
from sleepwalker.lookup.slot import Flight, Signal
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import Emit, Machine, Release
from sleepwalker.lookup.table import Released


def begin(lookup: Lookup, flight: Flight) -> bool:
    """The current worker runs a flight. False if it ended before it began."""
    if flight.over:
        return False
    lookup.flights.lead(flight, lookup.caller())
    return True


def begin_here(lookup: Lookup, flight: Flight) -> None:
    """The caller of a flight runs it itself, and so does not wait for it."""
    flight.leader = flight.caller
    lookup.flights.waiting.pop(flight.caller, None)


def fail(flight: Flight, error: BaseException, copied: Callable[[Exception], Exception]) -> None:
    """Make the other waiters raise copies of an exception. For one that ends a program, they ask again instead.

    `copied` makes a copy.
    """
    if isinstance(error, Exception):
        flight.error, flight.abandoned = copied(error), False


def end(
    lookup: Lookup,
    flight: Flight,
    released: Iterable[Released],
    error: BaseException | None,
    copied: Callable[[Exception], Exception],
) -> Machine[Signal]:
    """End a flight that a worker ran. Returns the signal to set when everything it needed is dropped.

    First it no longer decides for its slot, then its waiters are woken, and then what it replaced is retired. Only its
    caller waits for that, because it may run a user's code. An `error` is for the caller or, if nobody waits any more,
    becomes an event.
    """
    events: list[Event] = []
    if error is not None:
        flight.raised = error
        fail(flight, error, copied)
        if (slot := flight.slot) is not None and not lookup.flights.waited_for(flight):
            took = lookup.clock.monotonic() - flight.hook_since
            events.append(HookFailed(slot.name, hook=flight.hook, error=type(error).__name__, duration=took))
    rest = [*released]
    retired = flight.retired = lookup.signal() if rest else None
    lookup.end(flight)
    if retired is None and not events:
        return flight.done
    flight.done.set()
    try:
        if events:
            yield Emit(events)
        if rest:
            yield Release(rest)
    except BaseException:  # the driver ends the machine if an observer or a connection raises
        if retired is not None:
            retired.set()
        raise
    return flight.done if retired is None else retired
