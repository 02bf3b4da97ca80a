"""The protocol of both stores: what a store keeps for a service's workers, and how they use it.

A store knows nothing of quorums. It keeps and counts what each worker reported, grants probes ("looks"), and keeps
operators' orders. All its moments are on its own clock. Each method is one round trip. Everything in it expires: a
killed worker disappears from the counts after its time to live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sleepwalker.fleet.verdicts import Opinion, Tally


class StoreError(Exception):
    """The store cannot be used now. The text is one line, without credentials."""


@dataclass(frozen=True, slots=True)
class View:
    """A worker's report about one host."""

    opinion: Opinion | None
    """None takes back what it said before."""
    round: int = 0
    """The host's round that it speaks of, as it last heard; what it says of an earlier one is not counted."""
    cause: str | None = None
    """With `broken`: the last failure, a status or the name of an exception type."""
    lasted: float = 0.0
    """With `broken`: for how many seconds its attempts have failed."""
    failed: bool = False
    """With `broken`: its latest look at the host failed just now."""
    answered: bool = False
    """One of its probes was just answered, though another one is needed to be sure: no call is held back any longer.
    With the second one in a row, whichever worker's it is, the host is back."""
    back: bool = False
    """It had found the host broken, or was told so, and the host has answered it: a new round begins, in which
    nothing is said yet. `opinion` is None then."""


@dataclass(frozen=True, slots=True)
class Order:
    """An operator's order for all workers."""

    kind: Literal["isolate", "restore", "reset"]
    number: int = 0
    """Counts up in the store: a worker carries out each once, and of isolations and restores of one name the highest
    counts. A `reset` replaces neither, and neither replaces it."""
    reason: str | None = None
    left: float | None = None
    """For how many seconds more it holds, of an isolation, by the store's clock; None where only `restore` ends it."""
    by: str | None = None
    """The worker or the command line that gave it, by name."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a worker reports to the store, and asks of it."""

    worker: str
    """Its id: random, of this process alone."""
    label: str
    """How people know it: the name of its machine and the number of its process, `web-7 4711`."""
    ttl: float
    """After so many seconds without another word it counts as gone, with all that it said."""
    since: int = -1
    """The version of what it heard last; -1 before that."""
    store: str | None = None
    """The store's id as it heard it last."""
    views: Mapping[str, View] = field(default_factory=dict)
    """What is new, by origin."""
    looks: Mapping[str, float] = field(default_factory=dict)
    """The hosts that it asks leave to look at, by origin: the next look at one is due so many seconds later."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """What its operator ordered here, by the name of the host, or `host#scope`; `number` and `by` are the store's to
    fill in: a number of 0 is a new order, any other one that a store lost and is told again."""
    most: int = 256
    """Of what changed, so many hosts are wanted at most; the rest with the next time."""
    renew: bool = False
    """Whether to put off the end of what the store keeps without a worker's own end: orders, and the counts."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer of the store."""

    store: str
    """Its id, made at random when it was empty: another one means that it was flushed, or is another store."""
    version: int
    """Grows with each change. Ask with it the next time, to get what changed since."""
    now: float
    """The store's clock, in seconds since 1970-01-01 UTC as it goes there."""
    workers: int
    """How many are there, this one included."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """What changed since, by origin; of a host that is in no trouble any more a tally of zeros, with its round. A host
    of which the worker just spoke with too low a round is always among them."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Those that are new since, one of each name: where a `reset` and another of one name are due, the first of them
    is told, and `more` is true."""
    granted: tuple[str, ...] = ()
    """The hosts that this worker may look at now."""
    more: bool = False
    """Whether there is more than was wanted: ask again at once, with this `version`."""
    everything: bool = False
    """Whether it is no change but all there is, though perhaps not all of it yet: the store does not know what was
    heard before, or nothing was."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole content of the store, for people."""

    now: float
    workers: Mapping[str, str] = field(default_factory=dict)
    """The label of each worker that is there, by its id."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, View]] = field(default_factory=dict)
    """What each worker says, by origin and the worker's id."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Isolations in force and restores; a `reset` is over as soon as it is carried out."""


class Store(Protocol):
    """Used by one thread at a time. Each method raises `StoreError`, within about `timeout` seconds, and leaves the
    store usable: the next call connects anew by itself. Making a store connects to nothing."""

    shown: str
    """Where it is, as it may be shown: without user, password and query."""

    def version(self) -> tuple[str, int] | None:
        """Its id and version: the cheapest way to see whether anything changed. None for an empty store."""
        ...

    def sync(self, said: Said) -> Heard:
        """Report and ask, in one atomic step."""
        ...

    def order(self, name: str, order: Order) -> int:
        """Give an order; returns its number in the store."""
        ...

    def overview(self) -> Overview:
        """Read everything."""
        ...

    def leave(self, worker: str) -> None:
        """A worker ends: its reports are removed at once."""
        ...

    def close(self) -> None:
        """Close what is open, without waiting."""
        ...

    def abandon(self) -> None:
        """In a forked child: release the parent's resources without touching them. The store is not used after that."""
        ...


#: So many seconds a store remembers what no worker renews: orders, and in which round a host is.
KEPT_FOR = 30 * 86_400.0
#: So long it remembers that an isolation was ended, so that a worker that was away does not bring it back.
RESTORED_FOR = 86_400.0
#: A reset is kept, and told, for so many seconds: later it would be of another trouble than its operator saw.
RESET_FOR = 60.0
#: The same by kind.
ORDER_KEPT_FOR = {"isolate": KEPT_FOR, "restore": RESTORED_FOR, "reset": RESET_FOR}
#: The most characters of a name, a cause, a label and a reason. A longer name is left out, a longer text is cut.
NAME, CAUSE, LABEL, REASON = 300, 60, 100, 200
#: As many views as a worker may tell at once: they are counted in one step, while the store does nothing else.
VIEWS = 1_000
