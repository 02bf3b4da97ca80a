"""The plan of the demo: its hosts, the policy of each, and when things happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["sleepwalker", "requests"]
SIDES: tuple[Side, ...] = ("sleepwalker", "requests")


@dataclass(frozen=True, slots=True)
class Course:
    """When things happen, in seconds since the traffic began."""

    traffic: float
    """Calls are due from 0 until then."""
    down_at: float
    down_for: float
    move_at: float
    drip: float
    """How long a dripping body takes."""
    limit: float
    """Calls that are not done by then count as failed, so that the demo ends."""

    @property
    def back_at(self) -> float:
        return self.down_at + self.down_for


FULL = Course(traffic=10.0, down_at=2.0, down_for=4.5, move_at=5.0, drip=12.0, limit=26.0)
QUICK = Course(traffic=4.0, down_at=1.0, down_for=1.5, move_at=2.0, drip=3.0, limit=16.0)


@dataclass(frozen=True, slots=True)
class Host:
    """One server of the fleet, and how it is called."""

    name: str
    policy: str
    rate: float
    """Calls per second."""
    about: str
    """What it does, with the fields of `Course` in braces."""


HOSTS = (
    Host("healthy", "standard", 10, "answers in 5 to 20 ms"),
    Host("flaky", "standard", 10, "answers 503 to 3 of 10 requests"),
    Host("dies", "standard", 10, "is gone after {down_at:g} s, for {down_for:g} s"),
    Host("reboots", "batch", 10, "does the same; its callers can wait"),
    Host("drips", "interactive", 3, "sends 1 of 10 bodies byte by byte, for {drip:g} s"),
    Host("moves", "standard", 10, "is at another port after {move_at:g} s"),
)

#: The seed of a run is below this: short enough to be typed again.
SEEDS = 10_000

#: Threads per host and side.
WORKERS = 3
#: The timeout that a careful user of plain requests sets, in seconds. It limits the silence between two bytes, not the
#: call.
PLAIN_TIMEOUT = 10
