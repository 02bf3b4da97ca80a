"""Turns host records into metrics: their names, what they mean, and their values by label."""

from __future__ import annotations

import os
import threading
import typing
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from sleepwalker.engine import Gauges, HealthState, Host, State
from sleepwalker.engine.host.counters import BOUNDS, Counters, End, Histogram
from sleepwalker.events import RequestRejected, RequestWouldReject, RetryAbandoned
from sleepwalker.telemetry.counted import CountedFleet, CountedHost

__all__ = ["FAMILIES", "OTHER", "Family", "HostMetrics", "Point", "read_fleets"]

#: The label of all hosts that have none of their own.
OTHER = "other"

_ENDS = typing.get_args(End)
_STATES = typing.get_args(HealthState)
_CIRCUITS = typing.get_args(State)
_TRANSITIONS = (("enforce", "transition"), ("observe", "observed transition"))


def _words(event: type, field: str) -> tuple[str, ...]:
    """The values that a field of an event can have, so that each has its series from the start."""
    return typing.get_args(typing.get_type_hints(event)[field])


_REASONS = _words(RetryAbandoned, "reason")
_REFUSERS = _words(RequestRejected, "by")
_WOULD_REFUSE = _words(RequestWouldReject, "by")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without a suffix of its kind, what it means, and its labels besides those of all hosts."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    of_hosts: bool = True
    """Whether there is one for each host."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The labels in the order in which a point has their values."""
        return ("host", "name", *self.labels) if self.of_hosts else self.labels


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a family. A histogram's `buckets` are cumulative counts by upper bound, the last one infinite."""

    labels: tuple[str, ...]
    """The values of the family's `all_labels`."""
    value: float
    """A histogram's is the sum of all durations, in seconds."""
    buckets: tuple[tuple[float, int], ...] = ()


@dataclass(slots=True)
class _Sum:
    """The sums over all hosts of one label."""

    counters: Counters
    hosts: int
    """How many of them there are now. Without any, counters and histograms stay, and gauges go."""
    states: dict[str, int]
    circuits: dict[str, int]
    in_flight: int = 0
    queued: int = 0
    connections: int = 0
    max_in_flight: int | None = None
    rate: float | None = None
    latency: dict[str, float] = field(default_factory=dict)
    """By quantile, that of the slowest host."""

    def add(self, now: Gauges, connections: int) -> None:
        self.hosts += 1
        self.states[now.state] += 1
        self.circuits[now.breaker] += 1
        self.in_flight += now.in_flight
        self.queued += now.queued
        self.connections += connections
        if now.max_in_flight is not None:
            self.max_in_flight = (self.max_in_flight or 0) + now.max_in_flight
        if now.rate is not None:
            self.rate = (self.rate or 0.0) + now.rate
        if (latency := now.latency) is not None:
            for quantile, seconds in (("0.5", latency.p50), ("0.95", latency.p95), ("0.99", latency.p99)):
                if seconds is not None:
                    self.latency[quantile] = max(seconds, self.latency.get(quantile, 0.0))


#: The values of the labels `host` and `name`.
_Labels = tuple[str, str]
_Values = Iterator[tuple[tuple[str, ...], float]]


def _ends(found: _Sum) -> _Values:
    return (((end,), getattr(found.counters, end)) for end in _ENDS)


def _counted(kind: str, words: tuple[str, ...]) -> Callable[[_Sum], _Values]:
    return lambda found: (((word,), found.counters.labelled.get((kind, word), 0)) for word in words)


def _transitions(found: _Sum) -> _Values:
    words = found.counters.labelled
    return (((to, mode), words.get((kind, to), 0)) for mode, kind in _TRANSITIONS for to in _CIRCUITS)


def _one(read: Callable[[_Sum], float | None]) -> Callable[[_Sum], _Values]:
    """Reads a family without further labels. It has no value if `read` returns None."""
    return lambda found: iter([((), value)] if (value := read(found)) is not None else [])


#: Every metric of hosts except the histograms, and how its values are read.
_SCALARS: Mapping[Family, Callable[[_Sum], _Values]] = {
    Family(
        "sleepwalker_calls",
        "counter",
        "Calls that ended: answered (including a 404), failed, rejected by a policy before sending, or cancelled by "
        "an exception from outside.",
        ("outcome",),
    ): _ends,
    Family("sleepwalker_attempts", "counter", "Sends that ended, including retries and hedges."): _one(
        lambda found: found.counters.attempts
    ),
    Family("sleepwalker_failed_attempts", "counter", "Attempts that count against the host."): _one(
        lambda found: found.counters.failures
    ),
    Family("sleepwalker_retries", "counter", "Retries that were scheduled."): _one(
        lambda found: found.counters.retries
    ),
    Family("sleepwalker_hedges", "counter", "Hedges: sends beside a slow one."): _one(
        lambda found: found.counters.hedges
    ),
    Family(
        "sleepwalker_retries_abandoned",
        "counter",
        "Retries that were due, by what prevented them.",
        ("reason",),
    ): _counted("abandoned", _REASONS),
    Family(
        "sleepwalker_rejections",
        "counter",
        "Calls and retries refused by a part of the policy, an operator, or a wait that the host asked for (cooldown).",
        ("by",),
    ): _counted("rejected", _REFUSERS),
    Family(
        "sleepwalker_would_be_rejections",
        "counter",
        'Sends that a part with mode "observe" would have refused.',
        ("by",),
    ): _counted("would reject", _WOULD_REFUSE),
    Family(
        "sleepwalker_breaker_transitions",
        "counter",
        "How often the circuit entered a state, enforced or in a dry run.",
        ("to", "mode"),
    ): _transitions,
    Family(
        "sleepwalker_host_state", "gauge", "1 for the current state of the host, 0 for the others.", ("state",)
    ): lambda found: (((state,), found.states[state]) for state in _STATES),
    Family(
        "sleepwalker_breaker_state", "gauge", "1 for the current state of the circuit, 0 for the others.", ("state",)
    ): lambda found: (((state,), found.circuits[state]) for state in _CIRCUITS),
    Family("sleepwalker_in_flight", "gauge", "Calls in flight."): _one(lambda found: found.in_flight),
    Family(
        "sleepwalker_queued",
        "gauge",
        "Calls that wait for the bulkhead, the rate limit or the circuit, or because the host asked them to.",
    ): _one(lambda found: found.queued),
    Family(
        "sleepwalker_max_in_flight", "gauge", "How many calls may be in flight; absent if the bulkhead is off."
    ): _one(lambda found: found.max_in_flight),
    Family(
        "sleepwalker_rate_limit", "gauge", "How many calls may begin per second; absent if the rate limit is off."
    ): _one(lambda found: found.rate),
    Family(
        "sleepwalker_latency_seconds",
        "gauge",
        "Latency quantiles of the attempts within health.window, exact to 3 %; for several hosts with one label, the "
        "slowest.",
        ("quantile",),
    ): lambda found: (((quantile,), seconds) for quantile, seconds in found.latency.items()),
    Family("sleepwalker_connections", "gauge", "Connections held."): _one(lambda found: found.connections),
}

_HISTOGRAMS: Mapping[Family, Callable[[Counters], Histogram]] = {
    Family(
        "sleepwalker_call_duration_seconds",
        "histogram",
        "Duration of calls that were not rejected, with all their attempts and waits.",
    ): lambda counters: counters.call_seconds,
    Family(
        "sleepwalker_attempt_duration_seconds", "histogram", "Duration of attempts, including the body."
    ): lambda counters: counters.attempt_seconds,
}

_JOINED = Family(
    "sleepwalker_fleet_joined",
    "gauge",
    "1 while this worker is connected to the others of its service, 0 while it is alone; absent without a fleet.",
    ("service",),
    of_hosts=False,
)
_WORKERS = Family(
    "sleepwalker_fleet_workers",
    "gauge",
    "Known workers of the service, including this one; 0 while it is alone, absent without a fleet.",
    ("service",),
    of_hosts=False,
)

#: Every metric.
FAMILIES: tuple[Family, ...] = (*_SCALARS, *_HISTOGRAMS, _JOINED, _WORKERS)


class HostMetrics:
    """The metrics of hosts as they come and go. Thread-safe.

    The first `max_hosts` labels are kept for good, the busiest hosts first if many come at once; all later hosts share
    `other`. So a host never changes its label, and no counter goes back: what a record counted stays in its label's
    sums after the record is gone. Its gauges end then. Scopes take half of the labels at most, so that many tenants
    leave room for hosts; later ones share that of their host.
    """

    def __init__(self, max_hosts: int, label: Callable[[str], str] | None) -> None:
        self._max = max_hosts
        self._label = label
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._labels: dict[str, str] = {}
        """Each label, with the value of `name` that it keeps for good."""
        self._scopes = 0
        """How many of the labels are those of scopes."""
        self._departed: dict[str, Counters] = {}
        self._live: dict[int, tuple[weakref.ref[Host], Counters, str]] = {}

    def read(self, records: Iterable[CountedHost]) -> list[tuple[Family, list[Point]]]:
        """All families with their values as of now."""
        # Records without a call say nothing, and take no label.
        used = [one for one in records if one.host.counters.calls or one.connections or one.host.isolated]
        if self._process != os.getpid():  # after a fork: a thread of the parent may have held the lock
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            sums = self._sums_locked(used)
        found = [((label, self._labels.get(label, label)), sums[label]) for label in sorted(sums)]
        living = [(labels, one) for labels, one in found if one.hosts]
        return [
            (family, [*_points(living if family.kind == "gauge" else found, values)])
            for family, values in _SCALARS.items()
        ] + [
            (family, [_histogram(labels, of(one.counters)) for labels, one in found])
            for family, of in _HISTOGRAMS.items()
        ]

    def _sums_locked(self, records: list[CountedHost]) -> dict[str, _Sum]:
        new = [one for one in records if id(one.host.counters) not in self._live]
        for host, _, name in sorted(new, key=lambda one: -one.host.counters.calls):
            # The counters are kept, so that what is counted until the record goes is not lost, and their id not reused.
            self._live[id(host.counters)] = weakref.ref(host), host.counters, self._label_of(host.origin, name)
        sums: dict[str, _Sum] = {}
        for label, departed in self._departed.items():
            _sum(sums, label).counters.merge(departed)
        for key, (alive, counters, label) in list(self._live.items()):
            _sum(sums, label).counters.merge(counters)
            if alive() is None:
                self._departed.setdefault(label, Counters()).merge(counters)
                del self._live[key]
        seen = set()
        for host, connections, _ in records:
            if host not in seen:  # a connection may be given beside its manager
                seen.add(host)
                label = self._live[id(host.counters)][2]
                # The slowest of all other hosts is not worth the time.
                sums[label].add(host.gauges(latency=label != OTHER), connections)
        return sums

    def _label_of(self, origin: str, name: str | None) -> str:
        label: object = origin
        if self._label is not None:
            try:
                label = self._label(origin)
            except Exception:  # noqa: BLE001 - it is the application's code, and the other hosts are to be seen
                label = OTHER
        if not isinstance(label, str):
            return OTHER
        if label in self._labels:
            return label
        host, mark, scope = origin.partition("#")
        if len(self._labels) < self._max and not (mark and self._scopes >= self._max // 2):
            # A label that the application made may stand for many hosts, which have no common name.
            self._labels[label] = label if name is None or label != origin else f"{name}{mark}{scope}"
            self._scopes += bool(mark)
            return label
        return self._label_of(host, name) if mark else OTHER


def read_fleets(fleets: Iterable[CountedFleet]) -> list[tuple[Family, list[Point]]]:
    """The families of fleets with their values as of now. If several workers in this process are of one service, it
    counts as joined only if all of them have."""
    joined: dict[str, bool] = {}
    workers: dict[str, int] = {}
    for fleet in fleets:
        joined[fleet.service] = fleet.joined and joined.get(fleet.service, True)
        workers[fleet.service] = max(fleet.workers, workers.get(fleet.service, 0))
    return [
        (_JOINED, [Point((service,), float(value)) for service, value in sorted(joined.items())]),
        (_WORKERS, [Point((service,), value) for service, value in sorted(workers.items())]),
    ]


def _sum(sums: dict[str, _Sum], label: str) -> _Sum:
    if label not in sums:
        sums[label] = _Sum(Counters(), 0, dict.fromkeys(_STATES, 0), dict.fromkeys(_CIRCUITS, 0))
    return sums[label]


def _points(found: list[tuple[_Labels, _Sum]], values: Callable[[_Sum], _Values]) -> Iterator[Point]:
    return (Point((*labels, *rest), value) for labels, one in found for rest, value in values(one))


def _histogram(labels: _Labels, histogram: Histogram) -> Point:
    counts = accumulate(histogram.counts)
    return Point(labels, histogram.total, tuple(zip((*BOUNDS, float("inf")), counts, strict=True)))
