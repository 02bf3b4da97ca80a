"""What the raw series of a side come to."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.fleet.setting import ISOLATED, Setting, from_dict
from benchmarks.outage.load import OK

#: Seconds of calls after the outage that are looked at for what callers get.
AFTER = 10.0
#: A worker's attempts that end within so many seconds after its circuit opened were on their way.
_ON_THE_WAY = 0.01
#: Seconds beside an order in which a call belongs to neither side of it.
_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a setting. Seconds count from the outage's begin or end; None means never."""

    reached: int
    """What came to the host during the outage: requests, or where it refuses connects."""
    finding: int
    """Of that, what workers sent until their own circuit was open."""
    probing: int
    """The rest: looks at a host that was known to be broken."""
    series: tuple[int, ...]
    """`reached` by the second of the outage."""
    knew: tuple[float | None, ...]
    """When each worker's circuit had opened, of those whose network was not cut."""
    back: tuple[float | None, ...]
    """When each worker's circuit had closed after the outage, of those where it was open."""
    most_probes: int
    """What came within the busiest second of the outage after the last worker's finding."""
    most_after: int
    """What came within the busiest second after the outage, until the first worker's circuit closed."""
    answered: tuple[float, float, float]
    """Share of the calls that were answered: before, during and for `AFTER` seconds after."""
    opened: int
    """Workers whose circuit opened at any time, of those whose network was not cut."""
    durations: tuple[tuple[float, float], ...]
    """Median and 99th percentile of the durations of answered calls before, during and after; seconds."""
    failed: tuple[int, int, int]
    """Calls that were not answered: before, during, and in all the time after."""
    late: float
    """By how many seconds the latest call was begun late."""
    cpu: float
    """Seconds of CPU time of all workers."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def side_of(setting: Setting, found: dict[str, Any]) -> Side:
    """The figures of one side's raw series."""
    begin, end = setting.fault
    workers = found["workers"]
    well = [number for number in range(setting.workers) if number >= setting.cut]
    opened = [_moments(worker, "breaker.opened") for worker in workers]
    closed = [_moments(worker, "breaker.closed") for worker in workers]
    knew = [_first(opened[number], begin) for number in well]
    came = _came(setting, found)
    until = [knew_at if (knew_at := _first(mine, begin)) is not None else end for mine in opened]
    finding = sum(moment <= until[number] + _ON_THE_WAY for moment, number in came)
    open_then = [number for number in well if _was_open(opened[number], closed[number], end)]
    back = [_first(closed[number], end) for number in open_then]
    probed = [moment for moment, _ in _came(setting, found, through=setting.seconds)]
    return Side(
        reached=len(came),
        finding=finding,
        probing=len(came) - finding,
        series=tuple(_by_second([moment - begin for moment, _ in came], setting.outage)),
        knew=tuple(_since(moment, begin) for moment in knew),
        back=tuple(_since(moment, end) for moment in back),
        most_probes=_most(probed, max((moment for moment in knew if moment), default=begin), end),
        most_after=_most(probed, end, _least(back, end)),
        answered=tuple(_shares(setting, workers)),  # type: ignore[arg-type]
        opened=sum(bool(opened[number]) for number in well),
        durations=tuple(_durations(setting, workers)),
        failed=tuple(_failed(setting, workers)),  # type: ignore[arg-type]
        late=max(worker["late"] for worker in workers),
        cpu=round(sum(worker["cpu"] for worker in workers), 2),
    )


def sides(result: dict[str, Any]) -> tuple[Setting, dict[str, Side]]:
    """Those of a whole run."""
    setting = from_dict(result["setting"])
    return setting, {name: side_of(setting, found) for name, found in result["sides"].items()}


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest figure that is not below `percent` % of them; 0 of none."""
    ordered = sorted(figures)
    return ordered[max(0, -int(-percent * len(ordered) // 100) - 1)] if ordered else 0.0


def _came(setting: Setting, found: dict[str, Any], through: float | None = None) -> list[tuple[float, int]]:
    """When something came to the host from the outage's begin on, and from which worker."""
    begin, end = setting.fault
    end = end if through is None else through
    if setting.kind == "refuse":
        came = [(moment, number) for number, worker in enumerate(found["workers"]) for moment in worker["connects"]]
    else:
        came = [(moment, number) for moment, number, _ in found["reached"]]
    return sorted((moment, number) for moment, number in came if begin <= moment < end)


def _moments(worker: dict[str, Any], name: str) -> list[float]:
    return [moment for moment, event, _ in worker["events"] if event == name]


def _first(ordered: Sequence[float], since: float) -> float | None:
    return next((moment for moment in ordered if moment >= since), None)


def _since(moment: float | None, begin: float) -> float | None:
    return None if moment is None else round(moment - begin, 3)


def _least(moments: Sequence[float | None], otherwise: float) -> float:
    return min((moment for moment in moments if moment is not None), default=otherwise)


def _was_open(opened: Sequence[float], closed: Sequence[float], then: float) -> bool:
    last = [max((moment for moment in mine if moment < then), default=-1.0) for mine in (opened, closed)]
    return last[0] > last[1]


def _by_second(moments: Sequence[float], seconds: float) -> list[int]:
    counts = [0] * max(1, round(seconds))
    for moment in moments:
        counts[min(int(moment), len(counts) - 1)] += 1
    return counts


def _most(ordered: Sequence[float], begin: float, end: float) -> int:
    """The most that came within a second, of what came in between."""
    inside = [moment for moment in ordered if begin + _ON_THE_WAY < moment < end]
    return max((bisect.bisect_left(inside, moment + 1) - place for place, moment in enumerate(inside)), default=0)


def _phases(setting: Setting, after: float) -> list[tuple[float, float]]:
    begin, end = setting.fault
    return [(0.0, begin), (begin, end), (end, end + after)]


def _calls(setting: Setting, workers: Sequence[dict[str, Any]], begin: float, end: float) -> list[tuple[float, str]]:
    """Durations and outcomes of the calls due in between, of workers whose network is not cut."""
    return [
        (duration, outcome)
        for worker in workers[setting.cut :]
        for due, duration, outcome in worker["calls"]
        if begin <= due < end
    ]


def _shares(setting: Setting, workers: Sequence[dict[str, Any]]) -> list[float]:
    shares = []
    for phase in _phases(setting, AFTER):
        calls = _calls(setting, workers, *phase)
        shares.append(round(sum(outcome == OK for _, outcome in calls) / len(calls), 4) if calls else 0.0)
    return shares


def _durations(setting: Setting, workers: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    found = []
    for phase in _phases(setting, setting.after):
        took = [duration for duration, outcome in _calls(setting, workers, *phase) if outcome == OK]
        found.append((percentile(took, 50), percentile(took, 99)))
    return found


def _failed(setting: Setting, workers: Sequence[dict[str, Any]]) -> list[int]:
    return [
        sum(outcome != OK for _, outcome in _calls(setting, workers, *phase))
        for phase in _phases(setting, setting.after)
    ]


def isolations(result: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """By side and by how it was ordered: seconds from the order until each worker refused, and calls that were late.

    A worker refuses from its event on; whether it did, its calls tell.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for side, ordered in result["ordered"].items():
        found[side] = {}
        for how, moment in ordered.items():
            reached: list[float | None] = []
            let_through = 0
            for worker in result["sides"][side]["workers"]:
                first = _first(_moments(worker, "host.isolated"), moment)
                known = None if first is None or first > moment + ISOLATED else first
                reached.append(_since(known, moment))
                ends = moment + ISOLATED - _MARGIN
                let_through += sum(
                    outcome == OK for due, _, outcome in worker["calls"] if (known or moment) + _MARGIN < due < ends
                )
            found[side][how] = {"reached": reached, "let through": let_through}
    return found
