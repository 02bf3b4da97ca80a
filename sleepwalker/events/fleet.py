"""Events of a manager's connection to its fleet."""

from __future__ import annotations

from typing import ClassVar

from sleepwalker.events.base import Event, Level, event_type

__all__ = ["FleetJoined", "FleetLost"]


@event_type
class FleetJoined(Event):
    """This worker joined its fleet. `host` is the URL of the shared store, not of a called host."""

    name = "fleet.joined"
    level: ClassVar[Level] = "info"

    service: str
    """The name of the service."""
    workers: int
    """How many workers there are, including this one."""


@event_type
class FleetLost(Event):
    """The fleet's store cannot be used. This worker works alone and joins again by itself. `host` is the store's URL,
    not that of a called host."""

    name = "fleet.lost"
    level: ClassVar[Level] = "warning"

    service: str
    """The name of the service."""
    reason: str
    """The error of the store, or of the connection to it."""
