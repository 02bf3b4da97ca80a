"""The fleet options of a manager: the store, and how many workers must agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sleepwalker.fleet.store import Store
from sleepwalker.fleet.stores import DEFAULT_SERVICE, open_store
from sleepwalker.fleet.verdicts import Quorum
from sleepwalker.transport.url import shown_number

#: Seconds. Shorter intervals would load the store, and longer ones would be too slow.
_SHORTEST: Final = 0.1
_LONGEST: Final = 60.0
#: Intervals that the others get to report on a host that one worker finds broken.
_HEARING: Final = 0.3


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers of one service, which tell each other about broken hosts.

    Args:
        url: The store that they share. `file:///run/billing.fleet` for the workers of one machine: a file, created if
            missing, in a folder that all of them can write to. `redis://host:6379/0`, `rediss://...` (TLS) or
            `unix:///path.sock` for workers on many machines: Redis or Valkey, with the extra `fleet`.
        service: Workers of the same service share their findings. 1 to 60 letters, digits, `-`, `_` and `.`.
        quorum: A host is broken for all if more than this share (0 to 1) of the reporting workers find it broken. At
            1.0 all must agree.
        min_reporters: The least number of workers that must agree, 1 to 10,000.
        interval: Seconds between two reports of a worker, 0.1 to 60. It reads news four times as often.

    Raises ValueError or TypeError for invalid arguments, ImportError if the extra is missing. It does not connect yet.
    `repr` shows the store without user, password and query.
    """

    url: str = field(repr=False)
    service: str = DEFAULT_SERVICE
    quorum: float = 0.5
    min_reporters: int = 2
    interval: float = 1.0
    place: str = field(init=False, default="")
    """The store's URL as it may be shown."""

    def __post_init__(self) -> None:
        _check("quorum", self.quorum, (int, float), 0.0, 1.0)
        _check("min_reporters", self.min_reporters, (int,), 1, 10_000)
        _check("interval", self.interval, (int, float), _SHORTEST, _LONGEST)
        object.__setattr__(self, "place", self.opened().shown)

    def opened(self) -> Store:
        """The store, not connected yet."""
        return open_store(self.url, self.service, max(0.25, min(1.0, self.interval)))

    def verdicts(self) -> Quorum:
        """How many workers must agree for a verdict."""
        return Quorum(float(self.quorum), self.min_reporters, _HEARING * self.interval)


def _check(name: str, value: Any, kinds: tuple[type, ...], least: float, most: float) -> None:
    kind: Any = type(value)  # bool is an int
    if kind is bool or not issubclass(kind, kinds):
        wanted = "a number" if float in kinds else "an int"
        raise TypeError(f"{name} must be {wanted}, not {kind.__name__}; leave it out for the default")
    if not least <= value <= most:  # nor is NaN
        shown = shown_number(value)
        raise ValueError(f"{name} must be {least:,g} to {most:,g}, not {shown}; leave it out for the default")


def fleet_of(fleet: Fleet | str) -> Fleet:
    """The `Fleet` for a `fleet=` argument: itself, or made from a URL. TypeError for anything else."""
    if isinstance(fleet, Fleet):
        return fleet
    if isinstance(fleet, str):
        return Fleet(fleet)
    raise TypeError(f"fleet must be the URL of a store or a Fleet, not {type(fleet).__name__}")
