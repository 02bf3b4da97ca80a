"""The columns of the status page, and the sort orders of hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sleepwalker.engine import HostHealth
from sleepwalker.status.line import calls_per_second
from sleepwalker.status.words import label

Key = Callable[[HostHealth, float], Any]


class Column(NamedTuple):
    """A column, and how hosts are sorted by it. A host with the key None always comes last."""

    name: str
    """Its name in the URL, as in `?sort=-p95`."""
    title: str
    hint: str
    key: Key | None
    """None for the order of the view: worst first."""
    falls: bool
    """Whether the first click sorts the largest first."""

    @property
    def first(self) -> str:
        """The order on the first click."""
        return f"-{self.name}" if self.falls else self.name


_CIRCUITS = {"closed": 0, "half-open": 1, "open": 2}

COLUMNS = (
    Column(
        "host",
        "Host",
        "The name passed to find; scheme, address and port",
        lambda health, _: label(health).casefold(),
        False,
    ),
    Column("state", "State", "Broken, degraded, isolated, healthy or unknown; worst first", None, False),
    Column("since", "Since", "How long it has been in this state", lambda health, _: health.state_since, False),
    Column(
        "circuit",
        "Circuit",
        "The circuit breaker: when it opened and why, and when it lets the next call through",
        lambda health, _: _CIRCUITS[health.breaker],
        True,
    ),
    Column(
        "rate",
        "Last 15 min",
        "Calls a second; failed and rejected ones in red",
        lambda health, taken: calls_per_second(health.recent, taken),
        True,
    ),
    Column(
        "success",
        "Success",
        "Share of attempts that succeeded",
        lambda health, _: health.success_ratio,
        False,
    ),
    Column("p95", "p95", "95 % of the attempts took no longer", lambda health, _: health.latency.p95, True),
    Column("in_flight", "In flight", "Calls in flight", lambda health, _: health.in_flight, True),
    Column(
        "calls",
        "Calls",
        "Calls begun since the host was first used, retries, and attempts that failed",
        lambda health, _: health.calls,
        True,
    ),
    Column(
        "rejected",
        "Rejected",
        "Calls and retries refused before sending, and by what",
        lambda health, _: health.rejections,
        True,
    ),
    Column(
        "error",
        "Last error",
        "Last failure, last success, running hooks, and the reason of an isolation",
        lambda health, _: health.last_error_at,
        True,
    ),
)
#: The order that the page begins with.
DEFAULT = "state"
_BY_NAME = {column.name: column for column in COLUMNS}
#: All orders that can be requested.
ORDERS = tuple(order for name in _BY_NAME for order in (name, f"-{name}"))


def in_order(hosts: tuple[HostHealth, ...], order: str, taken: float) -> tuple[HostHealth, ...]:
    """Hosts in one of `ORDERS`. They are given worst first, and equal ones keep that order."""
    key, falls = _BY_NAME[order.lstrip("-")].key, order.startswith("-")
    if key is None:
        return hosts[::-1] if falls else hosts
    keyed = [(key(health, taken), health) for health in hosts]
    known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=falls)
    return tuple(health for _, health in [*known, *(pair for pair in keyed if pair[0] is None)])
