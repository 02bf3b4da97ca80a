"""Writes the reference page of the metrics from the families themselves."""

from __future__ import annotations

from sleepwalker.engine.host.counters import BOUNDS
from sleepwalker.telemetry.metrics import FAMILIES, Family

_HEAD = """\
# Metrics

<!-- Generated from the metrics themselves: `make reference` writes this page. -->

The metrics that a `sleepwalker.prometheus.Collector` exports. See also [how to export them](../how-to/metrics.md) and
[alerts and a dashboard](../operations/README.md).

## Collector(*sources, max_hosts=100, label=None)

A `prometheus_client` collector; register it once. `sources` are managers and connections; `add(source)` adds more
later. `max_hosts` limits the values of the label `host`. `label` is a function that returns a host's label for its
origin. Invalid arguments raise `TypeError` or `ValueError`.

## What is exported

All metrics except those of the fleet have the label `host`: the origin (for a
[scope](../how-to/keep-parts-of-a-host-apart.md) `https://host#name`), the result of `label`, or `other`. The label
`name` is the name passed to `ConnectionManager.find`, such as `billing`, at the host's first scrape. If it is unknown,
or `label` changed the label, it equals `host`. It never changes, so it adds no series. From a host's first scrape on, a
counter has a series for each value of its labels, and never decreases. Hosts with the same label are added.

A manager with a [fleet](../how-to/share-verdicts-in-a-fleet.md) has two gauges with the label `service` alone.

| name | kind | labels besides `host` and `name` | meaning |
|---|---|---|---|
"""

_TAIL = """
A histogram has the usual series `_bucket`, `_sum` and `_count`. The bounds of its buckets, in seconds:
{bounds}.
"""


def page() -> str:
    """The page `docs/reference/metrics.md`."""
    bounds = ", ".join(f"{bound:g}" for bound in BOUNDS)
    return _HEAD + "".join(map(_row, FAMILIES)) + _TAIL.format(bounds=bounds)


def _row(family: Family) -> str:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{name}` | {family.kind} | {labels} | {family.text} |\n"
