"""The steps of a lookup. A machine yields them one by one, and is sent the result that each one describes.

A machine is a generator. While it runs, no other may run: a driver with threads then holds its lock. It releases the
lock to perform a step, because most steps run a user's code. Whatever happens to a driver, it closes the machine, with
the lock.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from sleepwalker.engine import Host
from sleepwalker.events import Event
from sleepwalker.lookup.foreign import Answer, Candidate, Hook
from sleepwalker.lookup.keys import Asked
from sleepwalker.lookup.slot import Fault, Flight, Slot
from sleepwalker.lookup.table import Released, Snapshot


class Look(NamedTuple):
    """Look up a slot, and the `closed` of its connection. Sent: a `Snapshot`."""

    asked: Asked


class Emit(NamedTuple):
    """Pass events to the observers."""

    events: list[Event]


class Release(NamedTuple):
    """Announce released connections and retire them; with `cut` their waiting calls end now."""

    released: list[Released]
    cut: bool = False


class Remember(NamedTuple):
    """Put a slot into the table of fast keys, which `find` reads first. This hashes and compares credentials."""

    fast: dict[Any, Slot]
    asked: Asked
    slot: Slot


class Probe(NamedTuple):
    """Make sure that broken hosts are probed, if a policy says so."""


class Adopt(NamedTuple):
    """Examine a connection that is to be held. Sent: a `Candidate`."""

    conn: Any
    slot: Slot
    asked: Asked | None
    """Set if the requested origin counts as the origin of a connection that does not tell its own."""


class Share(NamedTuple):
    """Make a connection count in this record from now on."""

    conn: Any
    record: Host


class AskHook(NamedTuple):
    """Call one hook. Sent: an `Answer`."""

    hook: Hook
    asked: Asked


class Start(NamedTuple):
    """Let a worker run `lead.carry_out` for a flight: a separate thread or task, or the caller."""

    job: Job


class Await(NamedTuple):
    """Wait for a flight, until `until` on the clock at most. Sent: whether it ended; None if it never will.

    A driver may send before the time is over: it is asked again.
    """

    flight: Flight
    until: float


class AwaitRetired(NamedTuple):
    """Wait until a flight has retired what it replaced, until `until` at most."""

    flight: Flight
    until: float


class Job(NamedTuple):
    """The task of a flight's leader."""

    flight: Flight
    asked: Asked
    slot: Slot
    fault: Fault | None
    """What was wrong with the connection before."""
    released: list[Released]
    alone: bool
    """Whether the caller has to ask the hooks itself."""


Step = Look | Emit | Release | Remember | Probe | Adopt | Share | AskHook | Start | Await | AwaitRetired
Reply = Snapshot | Candidate | Answer | bool | None

T = TypeVar("T")
Machine = Generator[Step, Any, T]
