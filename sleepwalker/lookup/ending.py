"""How flights end: in which order, and who is told of an exception of a hook that is no failure to connect."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sleepwalker.events import Event, HookFailed
from sleepwalker.lookup.slot import Flight, Signal
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import Emit, Machine, Release
from sleepwalker.lookup.table import Released


def begin(lookup: Lookup, flight: Flight) -> bool:
    """The current worker carries a flight out; False if it is over before it began."""
    if flight.over:
        return False
    lookup.flights.lead(flight, lookup.caller())
    return True


def begin_here(lookup: Lookup, flight: Flight) -> None:
    """Its caller carries it out itself, and so does not wait for it."""
    flight.leader = flight.caller
    lookup.flights.waiting.pop(flight.caller, None)


def fail(flight: Flight, error: BaseException, copied: Callable[[Exception], Exception]) -> None:
    """Have the other waiters raise copies of an exception; one that is to end a program is not for them: they ask anew.

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
    """End a flight that a worker carried out; returns the signal that is to be set when all is dropped that it needed.

    First it decides for its slot no more, then its waiters are woken, and then what it replaced is retired, for which
    its caller alone waits: that may run a user's code. An `error` is the caller's to see and, if no one waits any more,
    told as an event.
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
    except BaseException:  # the driver ends the machine, where an observer or a connection raises
        if retired is not None:
            retired.set()
        raise
    return flight.done if retired is None else retired
