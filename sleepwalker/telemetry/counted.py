"""The values of managers and connections that metrics read."""

from __future__ import annotations

from typing import NamedTuple

from sleepwalker.engine import Host


class CountedHost(NamedTuple):
    """A host, or a part of one, whose metrics are to be read."""

    host: Host
    connections: int
    """How many connections to it are held."""
    name: str | None
    """What `find` was asked for to get there; None if that is not known."""


class CountedFleet(NamedTuple):
    """A manager's view of its fleet."""

    service: str
    joined: bool
    workers: int
    """How many workers are known; 0 while this one is alone."""
