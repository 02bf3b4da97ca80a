"""What a lookup asks of its driver. A machine yields these one after the other and is sent what each says it gets.

A machine is a generator. While it runs, no other may: a driver with threads holds its lock then, and releases it to
perform a step, for most steps run a user's code. Whatever happens to a driver, it closes the machine, with the lock.
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
    """Look a slot up, and at the `closed` of what it holds. Sent: a `Snapshot`."""

    asked: Asked


class Emit(NamedTuple):
    """Tell observers of events."""

    events: list[Event]


class Release(NamedTuple):
    """Announce connections that are held no more, and retire them; with `cut` their calls end now."""

    released: list[Released]
    cut: bool = False


class Remember(NamedTuple):
    """Put a slot into the table of fast keys, which `find` reads first: credentials are hashed and compared for it."""

    fast: dict[Any, Slot]
    asked: Asked
    slot: Slot


class Probe(NamedTuple):
    """See to it that broken hosts are probed, if a policy says so."""


class Adopt(NamedTuple):
    """Look at a connection that is to be held. Sent: a `Candidate`."""

    conn: Any
    slot: Slot
    asked: Asked | None
    """Set where an origin that was asked for says where a connection goes that does not say so itself."""


class Share(NamedTuple):
    """Have a connection count in this record from now on."""

    conn: Any
    record: Host


class AskHook(NamedTuple):
    """Ask one hook. Sent: an `Answer`."""

    hook: Hook
    asked: Asked


class Start(NamedTuple):
    """Have `lead.carry_out` done for a flight by a worker: a thread or task of its own, or the caller."""

    job: Job


class Await(NamedTuple):
    """Wait for a flight until then at most, in seconds of the clock. Sent: whether it is over; None for never.

    A driver may send before the time is over: it is asked again.
    """

    flight: Flight
    until: float


class AwaitRetired(NamedTuple):
    """Wait until a flight has retired what it replaced, until then at most."""

    flight: Flight
    until: float


class Job(NamedTuple):
    """What the leader of a flight has to do."""

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
