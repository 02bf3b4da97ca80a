"""What managers and connections give metrics to read."""

from __future__ import annotations

from typing import NamedTuple

from sleepwalker.engine import Host


class CountedHost(NamedTuple):
    """A host, or a part of one, whose metrics are to be read."""

    host: Host
    connections: int
    """How many connections to it are held."""
    name: str | None
    """What `find` was asked for to get there; None where that is not known."""


class CountedFleet(NamedTuple):
    """How a manager stands to its fleet."""

    service: str
    joined: bool
    workers: int
    """How many there are, as it heard; 0 while it is alone."""
