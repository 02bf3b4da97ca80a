"""Whether a manager hears of the other workers of its service."""

from __future__ import annotations

from typing import ClassVar

from sleepwalker.events.base import Event, Level, event_type

__all__ = ["FleetJoined", "FleetLost"]


@event_type
class FleetJoined(Event):
    """This worker hears from the others from now on. `host` is the URL of the store that they share, not
    a host that is called."""

    name = "fleet.joined"
    level: ClassVar[Level] = "info"

    service: str
    """Which workers these are."""
    workers: int
    """How many there are, this one included."""


@event_type
class FleetLost(Event):
    """The store of the fleet cannot be used: this worker goes on alone, and joins again by itself. `host` is its
    URL, not a host that is called."""

    name = "fleet.lost"
    level: ClassVar[Level] = "warning"

    service: str
    """Which workers these are."""
    reason: str
    """What the store, or the way to it, said."""
