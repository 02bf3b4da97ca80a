"""The findings of a fleet's workers, as every worker's page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sleepwalker.engine import Fellows, HostHealth
from sleepwalker.hosts.fleet import FleetHealth
from sleepwalker.status.runbook import Runbook
from sleepwalker.status.words import plural, span, text, time_of_day

#: How many hosts in trouble are listed. Counts include all.
_SHOWN = 20
#: How many names a sentence has at most.
_NAMED = 3


class Together:
    """What the workers report about hosts in trouble, by origin, worst first."""

    def __init__(self, fleets: Sequence[FleetHealth]) -> None:
        self.told: dict[str, Fellows] = {}
        """About hosts that are broken for all."""
        self.doubted: dict[str, Fellows] = {}
        """About hosts that some workers find broken, but too few."""
        found = [item for fleet in fleets if fleet.joined for item in fleet.hosts.items()]
        for host, fellows in sorted(found, key=lambda item: (-item[1].broken, item[0])):
            (self.told if fellows.verdict else self.doubted)[host] = fellows

    def __contains__(self, host: str) -> bool:
        return host in self.told or host in self.doubted

    def words(self) -> str:
        """The headline if there is trouble. It uses names and counts that all workers share.

        Names are shown in full, as `sleepwalker fleet` takes them.
        """
        if self.told:
            return f"{_hosts(self.told)} broken for {_all(self.told)}"
        return f"{_hosts(self.doubted)} broken for {_few(self.doubted)}"


def _hosts(found: dict[str, Fellows]) -> str:
    return f"{next(iter(found))} is" if len(found) == 1 else f"{len(found):,} hosts are"


def _all(found: dict[str, Fellows]) -> str:
    workers = {fellows.workers for fellows in found.values()}
    return f"all {workers.pop():,} workers" if len(workers) == 1 else "all workers"


def _few(found: dict[str, Fellows]) -> str:
    """How many workers find the hosts broken: of several hosts, the largest number."""
    most = max(found.values(), key=lambda fellows: fellows.broken)
    return f"{most.broken:,} of {plural(most.workers, 'worker')}"


def when(found: dict[str, Fellows], taken: float) -> list[str]:
    """Since when, and why, as far as known. For several hosts: the names of the worst, and when the first one broke."""
    moments = [fellows.since for fellows in found.values() if fellows.since is not None]
    since = f"ince {time_of_day(min(moments), taken)} UTC, for {span(taken - min(moments))}" if moments else ""
    if len(found) > 1:
        more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
        return [f"{', '.join([*found][:_NAMED])}{more}{since and f': the first s{since}'}."]
    causes = [fellows.cause for fellows in found.values() if fellows.cause]
    return [f"S{since}."] * bool(since) + [f"The last failure was {cause}." for cause in causes]


def notes(together: Together, here: Sequence[HostHealth]) -> list[str]:
    """What this worker adds to the common view: whether it is among the few that find a host broken."""
    found = [host.host for host in here if host.host in together.doubted and host.state == "broken"]
    if not found:
        return []
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    note = f"This worker finds {', '.join(found[:_NAMED])}{more} broken, but too few others agree."
    return [f"{note} Its own network may be the cause." if len(found) > 1 else note]


def section(fleets: Sequence[FleetHealth], isolated: int, taken: float, runbook: Runbook | None) -> str:
    """A section of the page for each fleet, as HTML; empty without a fleet."""
    return "".join(_section(fleet, isolated, taken, runbook) for fleet in fleets)


def document(fleet: FleetHealth) -> dict[str, Any]:
    """How a manager sees its fleet, and all hosts in trouble, as JSON-ready values."""
    hosts = {
        host: {
            "broken": one.broken, "fine": one.fine, "workers": one.workers, "verdict": one.verdict,
            "since": one.since, "cause": one.cause,
        }
        for host, one in fleet.hosts.items()
    }  # fmt: skip
    return {
        "store": fleet.store, "service": fleet.service, "joined": fleet.joined, "since": fleet.since,
        "error": fleet.error, "workers": fleet.workers, "hosts": hosts,
    }  # fmt: skip


def _section(fleet: FleetHealth, isolated: int, taken: float, runbook: Runbook | None) -> str:
    since, place = time_of_day(fleet.since, taken), f"<bdi>{text(fleet.store)}</bdi>"
    if not fleet.joined:
        why = f": {text(fleet.error)}" if fleet.error else ""
        said = (
            f"<p><b>This worker is alone</b> since {since} UTC, and shows only its own findings. It rejoins the "
            f"workers of service {text(fleet.service)} when it reaches {place}{why}</p>"
        )
        return f'<section class="fleet alone" aria-label="Fleet"><h2>Fleet</h2>{said}</section>'
    others = plural(fleet.workers, "worker")
    said = (
        f"<p><b>{others}</b> of service {text(fleet.service)} share their findings. This one joined at {since} UTC, "
        f"through {place}.</p>"
    )
    together = Together([fleet])
    items = [_item(host, fellows, "broken", taken) for host, fellows in together.told.items()]
    items += [_item(host, fellows, "degraded", taken) for host, fellows in together.doubted.items()]
    said += f"<ul>{''.join(items[:_SHOWN])}</ul>" if items else "<p>No worker finds a host broken.</p>"
    if len(items) > _SHOWN:
        said += (
            f"<p>and {plural(len(items) - _SHOWN, 'host')} more, which fewer workers find broken; hosts.json "
            "lists all.</p>"
        )
    if isolated:
        said += f"<p>{plural(isolated, 'host')} isolated by an operator, for all workers.</p>"
    if together.told and runbook is not None:
        said += f"<p>{runbook.link('broken')}</p>"
    return f'<section class="fleet" aria-label="Fleet"><h2>Fleet</h2>{said}</section>'


def _item(host: str, fellows: Fellows, state: str, taken: float) -> str:
    verdict = "broken for all" if fellows.verdict else "not broken for all"
    answered = "none was" if not fellows.fine else "1 was" if fellows.fine == 1 else f"{fellows.fine:,} were"
    counts = f"{fellows.broken:,} of {plural(fellows.workers, 'worker')} find it broken, {answered} answered"
    counts += "" if fellows.since is None else f", since {time_of_day(fellows.since, taken)} UTC"
    counts += "" if fellows.cause is None else f", after {text(fellows.cause)}"
    return (
        f'<li class="{state}"><svg aria-hidden="true"><use href="#{state}"/></svg><span><b><bdi>{text(host)}</bdi></b> '
        f"{verdict}: {counts}</span></li>"
    )


def says(health: HostHealth) -> str | None:
    """The fleet's addition to the state in a host's row."""
    found = health.fleet
    if found is None or not found.broken:
        return None
    return (
        f"for all: {found.broken:,} of {found.workers:,} workers say so"
        if found.verdict
        else (f"{found.broken:,} of {plural(found.workers, 'worker')} find it broken")
    )
