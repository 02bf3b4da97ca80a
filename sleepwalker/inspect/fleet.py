"""Fleets in the log: which worker heard from the others when, and which of its states that ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sleepwalker.inspect.model import Alone, FleetFacts
from sleepwalker.inspect.moves import seconds
from sleepwalker.inspect.session import Session
from sleepwalker.inspect.spans import Process, Transition
from sleepwalker.inspect.window import Filter

__all__ = ["Fleets", "read"]

#: Seconds. Workers that lose their store within this time of each other lost it together.
_TOGETHER = 2.0
#: The end of something that goes on.
_NEVER = float("inf")

#: A fleet: the URL of its store, and its service.
Name = tuple[str, str]
#: The fleet of a worker if the log does not tell which.
_UNKNOWN: Name = ("", "")

#: For each state that one worker ends for all: the events that begin it, and those that end it.
_ENDS = {
    "circuit": (("breaker.opened", "breaker.half_opened"), ("breaker.closed", "host.recovered")),
    "host": (("host.broken",), ("breaker.closed", "host.recovered")),
    "isolation": (("host.isolated",), ("host.restored",)),
}
#: For each of those, the events that say that it is over in the worker itself.
_OVER = {"circuit": ("breaker.closed",), "host": ("host.recovered",), "isolation": ("host.restored",)}


@dataclass(frozen=True, slots=True)
class _Lack:
    """A time in which a worker was without the store of its fleet."""

    fleet: Name
    process: int
    begin: float
    end: float
    reason: str


class Fleets:
    """Which worker heard from the others of its service, and when."""

    def __init__(
        self, members: Mapping[int, set[Name]], lacks: Sequence[_Lack], lives: Mapping[int, tuple[float, float]]
    ) -> None:
        self._members = members
        self._lives = lives
        self._lacks = lacks

    def of(self, process: int, at: float) -> set[Name]:
        """The fleets whose other workers this process hears from at that time."""
        lost = {one.fleet for one in self._lacks if one.process == process and one.begin <= at < one.end}
        return self._members.get(process, set()) - lost

    def ended(self, whose: str, transitions: Sequence[Transition]) -> dict[int, float]:
        """For each process that does not log the end of a host's state: when another worker ended it for all.

        In a fleet, all workers close their circuits within moments. One that logs nothing was killed, or its log ends.
        """
        if not self._members:
            return {}
        begins, ends = _ENDS[whose]
        last: dict[int, Transition] = {}
        closings = []
        for one in transitions:
            if one.observed:
                continue
            if one.event in (*begins, *_OVER[whose]):
                last[one.process] = one
            if one.event in ends:
                closings.append(one)
        found: dict[int, float] = {}
        for process, held in last.items():
            if held.event not in begins:
                continue
            for one in closings:
                both = one.time > held.time and self.of(process, one.time) & self.of(one.process, one.time)
                if both and one.process != process:
                    found[process] = one.time
                    break
        return found

    def facts(self, begin: float, end: float) -> list[FleetFacts]:
        """The facts about each fleet in that time."""
        names = sorted({name for mine in self._members.values() for name in mine if name != _UNKNOWN})
        return [
            FleetFacts(
                store,
                service,
                self._size((store, service), begin, end),
                list(self._alone((store, service), begin, end)),
            )
            for store, service in names
        ]

    def _size(self, fleet: Name, begin: float, end: float) -> int:
        there = (one for one, (began, gone) in self._lives.items() if began <= end and gone >= begin)
        return sum(fleet in self._members.get(one, ()) for one in there)

    def _alone(self, fleet: Name, begin: float, end: float) -> Iterator[Alone]:
        mine = sorted(
            (one for one in self._lacks if one.fleet == fleet and one.end >= begin and one.begin <= end),
            key=lambda one: one.begin,
        )
        while mine:
            until = mine[0].end
            number = 1
            while number < len(mine) and mine[number].begin <= max(until, mine[0].begin + _TOGETHER):
                until = max(until, mine[number].end)
                number += 1
            these, mine = mine[:number], mine[number:]
            yield Alone(
                these[0].begin,
                None if until > end else until,
                len({one.process for one in these}),
                self._size(fleet, these[0].begin, until),
                len({one.process for one in these if one.end > end}),
                Counter(one.reason for one in these).most_common(1)[0][0],
            )


def read(session: Session, of: Mapping[tuple[int, int | None], Process], chosen: Filter, dated: str) -> Fleets:
    """The fleets in the log until the end of the period, whatever hosts the filter includes.

    A worker whose log begins after it joined is recognised by events that came from others (`by` is `fleet`).
    """
    until = Filter(until=chosen.until).condition()
    members: dict[int, set[Name]] = {}
    lost: dict[tuple[Name, int], list[tuple[float, str]]] = {}
    lacks: list[_Lack] = []
    joined_or_lost = f"""
        SELECT {seconds("time")}, event, file, pid, host, service, reason FROM everything
        WHERE event IN ('fleet.joined', 'fleet.lost') AND {until} AND {dated} ORDER BY time, file, line"""
    for time, event, file, pid, store, service, reason in session.rows(joined_or_lost, "fleet."):
        fleet, process = (store, service or ""), of[file, pid].number
        members.setdefault(process, set()).add(fleet)
        # Each manager of a process joins by itself: the process is back when all of them are.
        waiting = lost.setdefault((fleet, process), [])
        if event == "fleet.lost":
            waiting.append((time, (reason or "").removeprefix(f"{store}: ")))
        elif len(waiting) == 1:
            lacks.append(_Lack(fleet, process, waiting[0][0], time, waiting.pop()[1]))
        elif waiting:
            waiting.pop()
    lives = {one.number: (one.began, _NEVER if one.gone is None else one.gone) for one in of.values()}
    for (fleet, process), waiting in lost.items():
        if waiting:
            begin, reason = waiting[0]
            lacks.append(_Lack(fleet, process, begin, max(begin, lives[process][1]), reason))
    from_others = f"""
        SELECT DISTINCT file, pid FROM everything
        WHERE (event LIKE 'host.%' OR event LIKE 'breaker.%') AND "by" = 'fleet' AND {until} AND {dated}"""
    if told := session.rows(from_others, "host.", "breaker."):
        known = {name for mine in members.values() for name in mine}
        for file, pid in told:
            members.setdefault(of[file, pid].number, known if len(known) == 1 else {_UNKNOWN})
    return Fleets(members, lacks, lives)
