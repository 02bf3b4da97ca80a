"""Writes the reference page of the metrics from the families themselves."""

from __future__ import annotations

from sleepwalker.engine.host.counters import BOUNDS
from sleepwalker.telemetry.metrics import FAMILIES, Family

_HEAD = """\
# Metrics

<!-- Generated from the metrics themselves: `make reference` writes this page. -->

What a `sleepwalker.prometheus.Collector` exports. [How to export them](../how-to/metrics.md) and [alerts and a
dashboard](../operations/README.md) are elsewhere.

## Collector(*sources, max_hosts=100, label=None)

A collector of `prometheus_client`, to be registered once. `sources` are managers and connections; `add(source)` adds
one later. `max_hosts` is how many values the label `host` may have, and `label` a function that gives a host's from its
origin. It raises `TypeError` and `ValueError` for arguments that cannot be.

## What is exported

All but those of the fleet have the label `host`: the origin (of a [scope](../how-to/keep-parts-of-a-host-apart.md)
`https://host#name`), what `label` makes of it, or `other`. Beside it stands `name`: what `ConnectionManager.find` was
asked for, such as `billing`, as of the host's first scrape. Where that is not known, or `label` made another label of
the origin, it is the same as `host`. It does not change, so it adds no series.
A counter has a series for each value of its labels from a host's first scrape on, and never goes back. Hosts that share
a label are added up.

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
