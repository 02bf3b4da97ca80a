"""What is wrong in a fleet, from all that its store keeps, worst first. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sleepwalker.cli.fleet.words import iso
from sleepwalker.fleet.store import Order, Overview, View
from sleepwalker.fleet.verdicts import Quorum, Tally

#: `broken`: for all workers. `heard`: enough workers say so, but the others are heard first. `open`: too few say so.
Verdict = Literal["broken", "heard", "open"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A host that some worker finds broken or failing."""

    host: str
    tally: Tally
    verdict: Verdict
    needed: int
    """How many of the reporting workers must find it broken."""
    views: Mapping[str, View]
    """What each worker reports, by its id."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown of a fleet at one moment."""

    now: float
    workers: Sequence[tuple[str, str]]
    """Id and label of each, sorted by machine and process number."""
    hosts: Sequence[Trouble]
    isolated: Sequence[tuple[str, Order]]

    @property
    def trouble(self) -> bool:
        """Whether a worker finds a host broken or failing, or a host is isolated."""
        return bool(self.hosts or self.isolated)


def picture(overview: Overview, quorum: Quorum) -> Picture:
    """Judge the content of the store."""
    hosts = [_trouble(host, tally, overview, quorum) for host, tally in overview.tallies.items() if tally.accusers]
    ranks: dict[Verdict, int] = {"broken": 0, "heard": 1, "open": 2}
    hosts.sort(key=lambda one: (ranks[one.verdict], -one.tally.broken, -one.tally.failing, one.tally.since, one.host))
    isolated = [(name, order) for name, order in overview.orders.items() if order.kind == "isolate"]
    return Picture(
        overview.now,
        sorted(overview.workers.items(), key=lambda worker: (_by_number(worker[1]), worker[0])),
        hosts,
        sorted(isolated, key=lambda one: one[0]),
    )


def machine_of(label: str) -> tuple[str, str]:
    """The machine's name and the number of the process: `web-7 4711`."""
    machine, _, number = label.rpartition(" ")
    return (machine, number) if machine else (label, "")


def document(shown: Picture, store: str, service: str, quorum: Quorum) -> dict[str, Any]:
    """All of it as JSON-ready values. Times are those of the store's clock."""
    labels = dict(shown.workers)
    return {
        "store": store,
        "service": service,
        "now": iso(shown.now),
        "quorum": quorum.share,
        "min_reporters": quorum.min_reporters,
        "trouble": shown.trouble,
        "workers": [{"id": worker, "label": label} for worker, label in shown.workers],
        "hosts": [_host(one, labels) for one in shown.hosts],
        "isolated": [
            {
                "host": name, "reason": order.reason, "by": order.by, "number": order.number,
                "until": None if order.left is None else iso(shown.now + order.left),
            }
            for name, order in shown.isolated
        ],
    }  # fmt: skip


def _trouble(host: str, tally: Tally, overview: Overview, quorum: Quorum) -> Trouble:
    decides_at = quorum.decides_at(tally)
    verdict: Verdict = "open" if decides_at == math.inf else "broken" if overview.now >= decides_at else "heard"
    return Trouble(host, tally, verdict, quorum.needed(tally.broken + tally.fine), overview.views.get(host, {}))


def _by_number(label: str) -> tuple[str, int, str]:
    machine, number = machine_of(label)
    return machine, int(number) if number.isdecimal() and len(number) < 20 else -1, number


def _host(one: Trouble, labels: Mapping[str, str]) -> dict[str, Any]:
    tally = one.tally
    return {
        "host": one.host,
        "broken_for_all": one.verdict == "broken",
        "broken": tally.broken,
        "failing": tally.failing,
        "fine": tally.fine,
        "needed": one.needed,
        "since": iso(tally.since),
        "began": iso(tally.began),
        "failed_at": iso(tally.failed_at),
        "cause": tally.cause,
        "round": tally.round,
        "workers": [
            {"id": worker, "label": labels.get(worker), "says": view.opinion, "cause": view.cause}
            for worker, view in sorted(one.views.items())
            if view.opinion is not None
        ],
    }
