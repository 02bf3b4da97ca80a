"""Metrics for `prometheus_client`: a collector that reads the host records when it is scraped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sleepwalker.connection.base import ConnectionBase
from sleepwalker.connection.managing import ManagerBase
from sleepwalker.telemetry.counted import CountedFleet
from sleepwalker.telemetry.metrics import FAMILIES, Family, HostMetrics, Point, read_fleets

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector as _Collector
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "sleepwalker.prometheus needs the package prometheus-client: pip install 'sleepwalker[prometheus]'",
        name=_error.name,
    ) from None

__all__ = ["Collector"]

#: A connection or a manager, of threads or of tasks.
Source = ConnectionBase | ManagerBase[Any, Any]


class Collector(_Collector):
    """A `prometheus_client` collector with the metrics of all hosts of the given managers and connections.

    Args:
        sources: Managers and connections, blocking or asyncio. If a host is in several of them, its counts are added.
        max_hosts: How many values the label `host` may have. The first hosts keep theirs; all later hosts share
            `other`.
        label: A function that returns a host's label for its origin (`https://api.example.net:8443`). Hosts with the
            same label are added, such as the replicas of a service. Default: the origin itself. A host for which it
            raises counts as `other`.

    Raises TypeError and ValueError for invalid arguments.

    Register one collector in a registry, and `add` later sources to it. It keeps its sources alive.

    Example:
        ```python
        prometheus_client.REGISTRY.register(Collector(manager, max_hosts=50))
        ```
    """

    def __init__(
        self,
        *sources: Source,
        max_hosts: int = 100,
        label: Callable[[str], str] | None = None,
    ) -> None:
        _check(max_hosts, label)
        self._sources = [_check_source(source) for source in sources]
        self._metrics = HostMetrics(max_hosts, label)

    def add(self, source: Source) -> None:
        """Add a source; its hosts are included from now on."""
        self._sources.append(_check_source(source))

    def describe(self) -> Iterable[Metric]:
        """The metric families without values, so that registering reads no host."""
        return [_family(family, ()) for family in FAMILIES]

    def collect(self) -> Iterator[Metric]:
        """The metric families with their current values."""
        sources = list(self._sources)
        records = [record for source in sources for record in source._records()]
        for family, points in (*self._metrics.read(records), *read_fleets(_fleets(sources))):
            yield _family(family, points)


def _fleets(sources: Iterable[Source]) -> Iterator[CountedFleet]:
    for source in sources:
        if isinstance(source, ManagerBase) and (fleet := source.fleet) is not None:
            yield CountedFleet(fleet.service, fleet.joined, fleet.workers)


def _check_source(source: Any) -> Source:
    if not isinstance(source, ConnectionBase | ManagerBase):
        raise TypeError(f"source must be a Connection or a ConnectionManager, not {type(source).__name__}")
    return source


def _check(max_hosts: Any, label: Any) -> None:
    if not isinstance(max_hosts, int) or isinstance(max_hosts, bool) or max_hosts < 1:
        raise ValueError(f"max_hosts must be a positive number, not {max_hosts!r:.60}")
    if label is not None and not callable(label):
        raise TypeError(f"label must be callable with an origin, not {type(label).__name__}")


def _family(family: Family, points: Iterable[Point]) -> Metric:
    labels = family.all_labels
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.text, labels=labels)
        for point in points:
            buckets = [(repr(bound) if bound < math.inf else "+Inf", count) for bound, count in point.buckets]
            histogram.add_metric(point.labels, buckets, point.value)
        return histogram
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    scalar = make(family.name, family.text, labels=labels)
    for point in points:
        scalar.add_metric(point.labels, point.value)
    return scalar
