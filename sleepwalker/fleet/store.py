"""The protocol of both stores: what a store keeps for a service's workers, and how they use it.

A store knows nothing of quorums. It keeps and counts what each worker reported, grants probes ("looks"), and keeps
operators' orders. All its times are on its own clock. Everything in it expires: a killed worker disappears from the
counts after its time to live.
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
    """The host's round that the report is about, as last heard. A report on an earlier round is not counted."""
    cause: str | None = None
    """With `broken`: the last failure, a status or the name of an exception type."""
    lasted: float = 0.0
    """With `broken`: for how many seconds its attempts have failed."""
    failed: bool = False
    """With `broken`: its latest probe of the host has just failed."""
    answered: bool = False
    """One of its probes was just answered: no call is held back any longer. With the second one in a row, of any
    worker, the host is back."""
    back: bool = False
    """The worker had found the host broken, or was told so, and the host has answered it: a new round begins, without
    any reports. `opinion` is None then."""


@dataclass(frozen=True, slots=True)
class Order:
    """An operator's order for all workers."""

    kind: Literal["isolate", "restore", "reset"]
    number: int = 0
    """Increases with each order in the store. A worker carries out each order once. Of the isolations and restores of
    one name, the highest number counts. A `reset` replaces neither, and neither replaces it."""
    reason: str | None = None
    left: float | None = None
    """For how many more seconds an isolation holds, by the store's clock; None if only `restore` ends it."""
    by: str | None = None
    """The worker or the command line that gave it, by name."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a worker reports to the store, and asks of it."""

    worker: str
    """Its id: random, for this process alone."""
    label: str
    """Its name for people: the machine's name and the number of the process, `web-7 4711`."""
    ttl: float
    """After this many seconds without another sync it counts as gone, with all its reports."""
    since: int = -1
    """The version that it heard last; -1 before the first."""
    store: str | None = None
    """The store's id that it heard last."""
    views: Mapping[str, View] = field(default_factory=dict)
    """Its new reports, by origin."""
    looks: Mapping[str, float] = field(default_factory=dict)
    """The hosts that it asks to probe, by origin, and after how many seconds the next probe may be granted."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Its operator's orders, by the name of the host, or `host#scope`. The store fills in `by` and, if it is 0,
    `number`. Any other number is that of an order which a store lost."""
    most: int = 256
    """How many changed hosts are wanted at most. The rest comes with the next sync."""
    renew: bool = False
    """Whether to extend the life of what does not end with a worker: orders and counts."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer of the store."""

    store: str
    """Its id, made at random when it was empty. Another id means that it was flushed, or is another store."""
    version: int
    """Grows with each change. Send it with the next sync, to get what changed since."""
    now: float
    """The store's clock, in seconds since 1970-01-01 UTC."""
    workers: int
    """How many workers there are, this one included."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """What changed since, by origin. A host that is no longer in trouble has a tally of zeros, with its round. A host
    that the worker just reported on with too low a round is always included."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """New orders since, one for each name. If a `reset` and another order for one name are due, only the first is
    included, and `more` is true."""
    granted: tuple[str, ...] = ()
    """The hosts that this worker may probe now."""
    more: bool = False
    """Whether there is more than was wanted: ask again at once, with this `version`."""
    everything: bool = False
    """Whether this is everything, or the first part of it, and not only what changed: the store does not know what the
    worker heard before, or it heard nothing."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole content of the store, for people."""

    now: float
    workers: Mapping[str, str] = field(default_factory=dict)
    """The label of each present worker, by its id."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, View]] = field(default_factory=dict)
    """What each worker reports, by origin and the worker's id."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Isolations in force, and restores. No resets."""


class Store(Protocol):
    """A store, used by one thread at a time. Each method may raise `StoreError`, within about `timeout` seconds. The
    store stays usable: the next call connects anew. Creating a store does not connect."""

    shown: str
    """Its URL without user, password and query."""

    def version(self) -> tuple[str, int] | None:
        """Its id and version: the cheapest way to see whether anything changed. None for an empty store."""
        ...

    def sync(self, said: Said) -> Heard:
        """Report and ask, in one atomic step."""
        ...

    def order(self, name: str, order: Order) -> int:
        """Give an order. Returns its number in the store."""
        ...

    def overview(self) -> Overview:
        """Read everything."""
        ...

    def leave(self, worker: str) -> None:
        """Remove a worker that ends, with its reports."""
        ...

    def close(self) -> None:
        """Close what is open, without waiting."""
        ...

    def abandon(self) -> None:
        """In a forked child: release the parent's resources without touching them. The store is not used after that."""
        ...


#: Seconds for which a store keeps what no worker renews: orders, and the round of each host.
KEPT_FOR = 30 * 86_400.0
#: Seconds for which it keeps a restore, so that a worker that was away does not bring the isolation back.
RESTORED_FOR = 86_400.0
#: Seconds for which it keeps and reports a reset: later, the trouble would not be the one that its operator saw.
RESET_FOR = 60.0
#: The same by kind of order.
ORDER_KEPT_FOR = {"isolate": KEPT_FOR, "restore": RESTORED_FOR, "reset": RESET_FOR}
#: The most characters of a name, a cause, a label and a reason. A longer name is left out, a longer text is cut.
NAME, CAUSE, LABEL, REASON = 300, 60, 100, 200
#: The most views in one sync: they are counted in one step, during which the store does nothing else.
VIEWS = 1_000
