"""The content of the status page and its JSON: all hosts, worst first. Cached briefly, so that it costs little."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sleepwalker.clock import Clock
from sleepwalker.connection.base import ConnectionBase
from sleepwalker.connection.managing import ManagerBase
from sleepwalker.engine import HealthState, HostHealth
from sleepwalker.hosts import HostTable
from sleepwalker.hosts.fleet import FleetHealth

#: Worst first. An operator isolated a host on purpose, so it comes after those that are in trouble by themselves.
STATES: tuple[HealthState, ...] = ("broken", "degraded", "isolated", "healthy", "unknown")
_SEVERITY = {state: number for number, state in enumerate(STATES)}
#: Hooks that run for more seconds than this are trouble.
_SLOW_HOOKS = 5.0
#: A view is shown for at least this many seconds, however many clients ask ...
_FRESH = 1.0
#: ... and for at least this many times as long as it took, so that it uses at most a tenth of a processor.
_REST = 9.0


@dataclass(frozen=True, slots=True)
class View:
    """All hosts at one moment."""

    number: int
    """Which one it is of the views that this process took, from 1."""
    taken: float
    """Seconds since 1970-01-01 UTC."""
    hosts: tuple[HostHealth, ...]
    """Worst first."""
    states: dict[HealthState, int]
    """How many hosts are in each state, including states without hosts."""
    fleets: tuple[FleetHealth, ...] = ()
    """How the managers see their fleets, as of their last exchange."""

    def matching(self, words: str, states: frozenset[str]) -> tuple[HostHealth, ...]:
        """The hosts with `words` in their address or one of their names, in any letter case, and in one of `states`.

        Without `states`, hosts in any state.
        """
        wanted = words.casefold()
        if not wanted and not states:
            return self.hosts
        return tuple(
            health
            for health in self.hosts
            if (not states or health.state in states)
            and any(wanted in name.casefold() for name in (health.host, *health.names))
        )


class Views:
    """The current view of the given managers and connections. One thread at a time renews an old view."""

    def __init__(self, sources: Sequence[ManagerBase[Any, Any] | ConnectionBase], clock: Clock) -> None:
        self._sources = sources
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._taken = 0
        self._latest: View | None = None
        self._due = 0.0
        self._lock = threading.Lock()

    def current(self) -> View:
        """The view to show now. While another thread makes a new one, the old one."""
        if self._process != os.getpid():  # forked: the lock and the view belong to the parent
            self._begin()
        latest = self._latest
        if latest is not None and (self._clock.monotonic() < self._due or self._lock.locked()):
            return latest
        with self._lock:
            if self._latest is not None and self._clock.monotonic() < self._due:
                return self._latest
            began = self._clock.monotonic()
            view = self._take()
            ended = self._clock.monotonic()
            self._due = ended + max(_FRESH, _REST * (ended - began))
            self._latest = view
            return view

    def _take(self) -> View:
        taken = self._clock.wall()
        found: list[HostHealth] = []
        fleets: list[FleetHealth] = []
        tables: list[HostTable] = []
        for source in self._sources:
            if isinstance(source, ConnectionBase):
                found.append(health := source.health)
                found += (part.snapshot(health.connections) for part in source._record.parts())
            else:
                known = source.health()
                if not any(source.hosts is table for table in tables):  # managers may share a table of hosts
                    tables.append(source.hosts)
                    found += known.values()
                if (fleet := source.fleet) is not None and fleet not in fleets:
                    fleets.append(fleet)
        states: dict[HealthState, int] = dict.fromkeys(STATES, 0)
        for health in found:
            states[health.state] += 1
        self._taken += 1
        ranked = tuple(sorted(found, key=lambda health: _rank(health, taken)))
        return View(self._taken, taken, ranked, states, tuple(fleets))


def hooks_hang(health: HostHealth, taken: float) -> bool:
    """Whether hooks have been running long enough to count as trouble."""
    return health.hooks_since is not None and taken - health.hooks_since > _SLOW_HOOKS


def _rank(health: HostHealth, taken: float) -> tuple[int, float, float, str]:
    """By state, then the latest break, then the success ratio (in whole percent, so that rows do not jump), then name.

    A host with hanging hooks ranks at least as degraded, although it may never have had a call. A host in trouble that
    nothing uses any more comes last.
    """
    severity = _SEVERITY[health.state]
    if hooks_hang(health, taken):
        severity = min(severity, _SEVERITY["degraded"])
    elif not health.used and health.state in ("broken", "degraded"):
        severity = len(STATES)
    ratio = 1.0 if health.success_ratio is None else round(health.success_ratio, 2)
    return severity, -(health.broken_since or 0.0), ratio, health.host
