"""The fleet as a host table and its managers see it: the findings of other processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sleepwalker.engine import Fellows, Host, Isolation
from sleepwalker.transport.url import Origin


@dataclass(frozen=True, slots=True)
class FleetHealth:
    """How a manager sees its fleet. Moments are seconds since 1970-01-01 UTC, by this machine's clock."""

    store: str
    """The store's URL, without user, password and query."""
    service: str
    joined: bool
    """Whether the store answers. Else this worker goes on alone, and joins again by itself."""
    since: float
    """When `joined` became what it is: when the worker joined or lost the store, at first when it was made."""
    error: str | None = None
    """Why the store cannot be used, if it cannot."""
    workers: int = 0
    """How many workers there are, this one included, as they were counted last; 0 while it is alone."""
    hosts: dict[str, Fellows] = field(default_factory=dict)
    """What the workers find of each host that is in trouble, by origin."""


class Fleet(Protocol):
    """The table's interface to a fleet."""

    def made(self, record: Host) -> None:
        """A record was created. Called with the table's lock held."""

    def order(
        self,
        kind: Literal["isolate", "restore", "reset"],
        key: tuple[str, Origin | None, str | None],
        isolation: Isolation | None = None,
    ) -> Callable[[], None]:
        """An operator of this process changes a host, named by its record's key. Returns a function that makes all
        workers do the same. It may be called twice."""

    def health(self) -> FleetHealth:
        """How it sees the fleet."""
        ...

    def renew_after_fork(self) -> None:
        """A forked child is a separate worker."""
