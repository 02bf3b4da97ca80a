"""Applies what a worker heard to the records of its hosts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from sleepwalker.engine import Host
from sleepwalker.engine import fleet as word
from sleepwalker.events import Event


class Action(NamedTuple):
    """An action for a host's record."""

    kind: Literal["broken", "hold", "look", "back", "withdraw"]
    host: str
    until: float = 0.0
    """For `broken` and `hold`: until when, by the worker's clock, no call here probes the host, unless granted."""
    cause: str | None = None


def done(action: Action, record: Host, now: float) -> Iterable[Event]:
    """Apply an action to a record. Returns the events of its changes."""
    if action.kind == "broken":
        return word.told_broken(record, action.cause, action.until, now)
    if action.kind == "hold":
        return word.hold(record, action.until, now)
    if action.kind == "look":
        return word.let_look(record, now)
    return word.came_back(record, now) if action.kind == "back" else word.withdrawn(record, now)
