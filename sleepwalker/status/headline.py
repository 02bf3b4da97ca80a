"""The heading of the page: one sentence with the worst news, and its details."""

from __future__ import annotations

from typing import NamedTuple

from sleepwalker.engine import HealthState, HostHealth
from sleepwalker.status import fleet
from sleepwalker.status.view import View, hooks_hang
from sleepwalker.status.words import ago, label, labels, last_outcome_at, plural, span, time_of_day

#: If at least this many hosts are broken, and this share of those with a known state, what they share may be at fault.
_FEWEST, _SHARE = 3, 0.8
#: Hosts that broke within this many seconds of each other broke together.
_TOGETHER = 60.0


class Headline(NamedTuple):
    """The heading of the page, in plain text."""

    words: str
    state: HealthState
    """The worst state that it reports."""
    notes: tuple[str, ...] = ()
    together: bool = False
    """Whether something that all hosts share may be at fault."""


class _Hosts:
    """The hosts of a view, grouped by what the heading says of them."""

    def __init__(self, view: View) -> None:
        self.taken = view.taken
        self.all = view.hosts
        self.noun = "hosts and scopes" if any("#" in health.host for health in view.hosts) else "hosts"
        self.together = fleet.Together(view.fleets)
        # What all workers report is shown as such, whatever state the host has here.
        used = [health for health in view.hosts if health.used and health.host not in self.together]
        self.moved = [health for health in view.hosts if not health.used and health.state in ("broken", "degraded")]
        self.broken = [health for health in used if health.state == "broken"]
        self.degraded = [health for health in used if health.state == "degraded"]
        self.hanging = [health for health in used if hooks_hang(health, view.taken)]
        self.isolated = [health for health in view.hosts if health.state == "isolated"]
        self.healthy = [health for health in view.hosts if health.state == "healthy"]
        unknown = [health for health in view.hosts if health.state == "unknown"]
        self.new = [health for health in unknown if last_outcome_at(health) is None]
        self.quiet = [health for health in unknown if last_outcome_at(health) is not None]

    def some(self, found: list[HostHealth], what: str) -> str:
        """`1 of 8 hosts is broken: stock`; `2 of 8 hosts are broken`."""
        if len(self.all) == 1:
            return f"{label(self.all[0])} is {what}"
        if len(found) == 1:
            return f"1 of {len(self.all):,} {self.noun} is {what}: {label(found[0])}"
        return f"{len(found):,} of {len(self.all):,} {self.noun} are {what}"


def headline(view: View) -> Headline:
    """The heading, with the worst first. A host that nothing uses any more is mentioned, but is no trouble."""
    hosts = _Hosts(view)
    words, state = _worst(hosts)
    return Headline(words, state, tuple(_notes(hosts)), bool(hosts.broken) and _is_it_us(hosts))


def _worst(hosts: _Hosts) -> tuple[str, HealthState]:
    if hosts.together.told:
        return hosts.together.words(), "broken"
    if hosts.broken:
        return _broken(hosts), "broken"
    if hosts.together.doubted:
        return hosts.together.words(), "degraded"
    if not hosts.all:
        return "No hosts yet", "unknown"
    if hosts.degraded:
        return hosts.some(hosts.degraded, "degraded"), "degraded"
    if hosts.hanging:
        return f"Hooks hang: {labels(hosts.hanging)}", "degraded"
    if hosts.isolated:
        return hosts.some(hosts.isolated, "isolated"), "isolated"
    return _no_trouble(hosts), "healthy" if hosts.healthy else "unknown"


def _broken(hosts: _Hosts) -> str:
    if not _is_it_us(hosts):
        return hosts.some(hosts.broken, "broken")
    if len(hosts.broken) == len(hosts.all):
        return f"All {len(hosts.all):,} {hosts.noun} are broken: is it us?"
    return f"{hosts.some(hosts.broken, 'broken')}: is it us?"


def _is_it_us(hosts: _Hosts) -> bool:
    """Whether this process, its machine or its network may be at fault. Scopes of one host count as one."""
    fallen = {health.host.partition("#")[0] for health in hosts.broken}
    heard_of = {health.host.partition("#")[0] for health in (*hosts.broken, *hosts.degraded, *hosts.healthy)}
    if len(fallen) == len(heard_of):
        return len(fallen) > 1
    return len(fallen) >= _FEWEST and len(fallen) >= _SHARE * len(heard_of)


def _no_trouble(hosts: _Hosts) -> str:
    total, quiet, new = len(hosts.all), len(hosts.quiet), len(hosts.new)
    one = total == 1
    if len(hosts.healthy) == total:
        return hosts.some(hosts.healthy, "healthy") if one else f"All {total:,} {hosts.noun} are healthy"
    if new == total:
        return f"{label(hosts.all[0])} was not tried yet" if one else "No host was tried yet"
    if quiet + new == total:
        return f"No recent results from {label(hosts.all[0]) if one else 'any host'}"
    rest = [f"{quiet:,} quiet"] * bool(quiet) + [f"{new:,} not tried yet"] * bool(new)
    rest += [f"{len(hosts.moved):,} moved"] * bool(hosts.moved)
    if not hosts.healthy:
        return f"The state of {plural(total, 'host')} is unknown: {', '.join(rest)}"
    be = "is" if len(hosts.healthy) == 1 else "are"
    return f"{len(hosts.healthy):,} of {total:,} {hosts.noun} {be} healthy, {', '.join(rest)}"


def _notes(hosts: _Hosts) -> list[str]:
    together, taken = hosts.together, hosts.taken
    found = together.told or ({} if hosts.broken else together.doubted)  # those that the heading is about
    notes = [*(fleet.when(found, taken) if found else []), *fleet.notes(together, hosts.all)]
    if hosts.broken and together.told:
        notes.append(f"This worker alone: {_broken(hosts)}.")
    if hosts.broken:
        notes.append(_when(hosts.broken, taken))
        if _is_it_us(hosts):
            notes.append("What they share is this process, its machine and its network.")
    notes += [
        f"Calls to {label(health)} go to {health.failover} meanwhile." for health in hosts.all if health.failover
    ][:3]
    if hosts.hanging:
        since = min(health.hooks_since or taken for health in hosts.hanging)
        notes.append(f"Hooks for {labels(hosts.hanging)} have been running for {span(taken - since)}.")
    if hosts.moved:
        them, they = ("it", "It is") if len(hosts.moved) == 1 else ("them", "They are")
        notes.append(f"{labels(hosts.moved)} moved: nothing uses {them} any more. {they} forgotten within 30 s.")
    if would_be := [health for health in hosts.all if health.breaker_mode == "observe" and health.breaker != "closed"]:
        be = "circuit" if len(would_be) == 1 else "circuits"
        notes.append(f"Dry run: {len(would_be):,} {be} would be open: {labels(would_be)}.")
    if wrong := [
        health for health in hosts.quiet if health.last_error_at and health.last_error_at == last_outcome_at(health)
    ]:
        last = max(health.last_error_at or 0.0 for health in wrong)
        notes.append(f"The last result from {labels(wrong)} was an error, {ago(last, taken)}.")
    return notes


def _when(broken: list[HostHealth], taken: float) -> str:
    """Which hosts broke, in order of time, since when, and whether they broke together."""
    broken = sorted(broken, key=lambda health: health.state_since or 0.0)
    moments = [health.state_since for health in broken if health.state_since is not None]
    if not moments:
        return f"{labels(broken)}."
    first, last = moments[0], moments[-1]
    since = f"since {time_of_day(first, taken)} UTC, for {span(taken - first)}"
    if len(broken) == 1:
        return f"S{since[1:]}."
    if last - first < 1:
        return f"{labels(broken)}: together, {since}."
    if last - first <= _TOGETHER:
        return f"{labels(broken)}: within {span(last - first)} of each other, {since}."
    return f"{labels(broken)}: the first {since}, the latest at {time_of_day(last, taken)}."
