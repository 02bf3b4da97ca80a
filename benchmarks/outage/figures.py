"""What the raw series of a run come to."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.outage.load import OK
from benchmarks.outage.scenario import STEP, Scenario, from_dict, varied

#: A failure is fast that took no longer than this many seconds.
FAST = 0.010
#: The success share of calls is taken over so many seconds, and the host counts as recovered where it is this high.
WINDOW, RECOVERED = 1.0, 0.99
#: Seconds that differ by less are the same, but for rounding.
_EXACT = 1e-6


@dataclass(frozen=True, slots=True)
class Run:
    """One client in one scenario. Times are seconds, shares are from 0 to 1, None means that it never happened."""

    scenario: Scenario
    client: str
    durations: tuple[float, ...]
    """Of a brief scenario a hundred quantiles, else those of the calls in their order."""
    outcomes: tuple[str, ...]
    reached: Mapping[str, tuple[int, ...]]
    """Requests in each entry of the series (`Scenario.edges`), by the status that they were answered with."""
    ill: tuple[int, ...] = ()
    """Those that reached the machine that is ill, where there are others."""
    opened: tuple[float, ...] = ()
    closed: tuple[float, ...] = ()
    """When sleepwalker's circuit did."""
    refused: tuple[int, ...] = ()
    """Attempts that failed in each entry, by sleepwalker's log, where the server refuses connections."""
    took: float = 0.0
    """Until all calls had ended."""

    @property
    def calls(self) -> int:
        return len(self.outcomes)

    @property
    def success(self) -> float:
        """The share of all calls that were answered well."""
        return self.outcomes.count(OK) / self.calls

    @property
    def requests(self) -> int:
        """How many requests reached the server."""
        return sum(map(sum, self.reached.values()))

    @property
    def amplification(self) -> float:
        """Requests that reached the server during the fault for each call that was due then."""
        return amplification([self])

    def during(self, after: float = 0) -> tuple[float, int]:
        """Requests and calls during the fault, but for its first seconds."""
        begin, end = self.scenario.fault
        return self._arrived(begin + after), self._first_from(end) - self._first_from(begin + after)

    @property
    def ill_share(self) -> float:
        """The share of the requests during the fault that reached the machine that is ill."""
        return self._in_fault(self.ill, self.scenario.fault[0]) / self._arrived(self.scenario.fault[0])

    @property
    def opened_again(self) -> int | None:
        """How often the circuit opened after it had closed for the first time after the fault; None: it never closed.

        An outage that opened no circuit, as a short one may, leaves none to be closed.
        """
        end = self.scenario.fault[1]
        first = min((second for second in self.closed if second >= end), default=None)
        if first is None:
            return None if any(second < end for second in self.opened) else len(self.opened)
        return sum(second > first for second in self.opened)

    @property
    def counted(self) -> bool:
        """Whether all requests are known: those that were refused only the client can have counted."""
        return not self.scenario.refuses or bool(self.refused)

    def vain(self) -> list[float]:
        """Attempts at nothing per second, in each entry of the fault."""
        edges = [*self.scenario.edges, self.scenario.seconds]
        bad = [series for status, series in self.reached.items() if status != "200"]
        series = [sum(entry) for entry in zip(*bad, self.refused or [0] * len(edges), strict=False)]
        return [series[place] / (edges[place + 1] - edges[place]) for place in self._entries(self.scenario.fault[0])]

    def _arrived(self, begin: float) -> float:
        return sum(self._in_fault(series, begin) for series in [*self.reached.values(), self.refused])

    def _in_fault(self, series: Sequence[float], begin: float) -> float:
        return sum(series[place] for place in self._entries(begin)) if series else 0

    def _entries(self, begin: float) -> list[int]:
        """The entries of the series from then to the fault's end."""
        edges, end = self.scenario.edges, self.scenario.fault[1]
        return [place for place, edge in enumerate(edges) if begin - _EXACT <= edge < end - _EXACT]

    @property
    def first_fast_failure(self) -> float | None:
        """From the fault's begin to the end of the first call that failed within `FAST`."""
        ends = [
            self._due(number) + self.durations[number] - self.scenario.fault[0]
            for number in self._failed(self._during())
            if self.durations[number] <= FAST
        ]
        return min(ends, default=None)

    @property
    def recovery(self) -> float | None:
        """From the fault's end to the first `WINDOW` in which `RECOVERED` of the calls were answered well."""
        size = round(WINDOW * self.scenario.rate)
        first = self._first_from(self.scenario.fault[1])
        for number in range(first, self.calls - size + 1):
            if self.outcomes[number : number + size].count(OK) >= RECOVERED * size:
                return max(0.0, self._due(number) - self.scenario.fault[1])
        return None

    @property
    def failed_after(self) -> int:
        """How many calls failed that were due when the server was well again."""
        return len(self._failed(range(self._first_from(self.scenario.fault[1]), self.calls)))

    @property
    def success_during(self) -> float:
        """The share of the calls due during the fault that were answered well."""
        during = self._during()
        return 1 - len(self._failed(during)) / len(during)

    def failing(self, percent: float) -> float | None:
        """A percentile of the durations of calls that were due during the fault and failed."""
        durations = [self.durations[number] for number in self._failed(self._during())]
        return percentile(durations, percent) if durations else None

    def duration(self, percent: float) -> float:
        """A percentile of the durations of all calls."""
        return percentile(self.durations, percent)

    @property
    def most_in_flight(self) -> int:
        """How many calls were waited for at once."""
        return max(count for _, count in self.in_flight())

    def in_flight(self, step: float = STEP) -> list[tuple[float, int]]:
        """How many calls were waited for, at each second that is a multiple of `step`."""
        begins = [self._due(number) for number in range(self.calls)]
        ends = sorted(begin + duration for begin, duration in zip(begins, self.durations, strict=True))
        seconds = [place * step for place in range(round(self.scenario.seconds / step) + 1)]
        return [(second, bisect.bisect_right(begins, second) - bisect.bisect_right(ends, second)) for second in seconds]

    def success_series(self, step: float = 0.5) -> list[tuple[float, float]]:
        """The share of calls answered well, of those due in each `step`."""
        size = round(step * self.scenario.rate)
        return [
            ((number + size / 2) / self.scenario.rate, self.outcomes[number : number + size].count(OK) / size)
            for number in range(0, self.calls - size + 1, size)
        ]

    def reached_series(self, step: float = 0.5) -> list[tuple[float, float, float]]:
        """In each `step` around a second: requests per second answered well, and those that were not."""
        size = round(step / STEP)
        length = round(self.scenario.seconds / STEP)
        good = self.reached.get("200", (0,) * length)
        bad = [sum(series[place] for name, series in self.reached.items() if name != "200") for place in range(length)]
        return [
            ((place + size / 2) * STEP, sum(good[place : place + size]) / step, sum(bad[place : place + size]) / step)
            for place in range(0, length - size + 1, size)
        ]

    def _due(self, number: int) -> float:
        return number / self.scenario.rate

    def _first_from(self, second: float) -> int:
        return -int(-second * self.scenario.rate // 1)

    def _during(self) -> range:
        return range(*(min(self._first_from(second), self.calls) for second in self.scenario.fault))

    def _failed(self, numbers: range) -> list[int]:
        return [number for number in numbers if self.outcomes[number] != OK]


def amplification(several: Sequence[Run], after: float = 0) -> float:
    """Requests for each call during the fault of all these runs together, but for its first seconds."""
    found = [run.during(after) for run in several]
    return sum(requests for requests, _ in found) / sum(calls for _, calls in found)


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest of at least one figure that is not below `percent` % of them."""
    ordered = sorted(figures)
    return ordered[max(0, -int(-percent * len(ordered) // 100) - 1)]


#: All runs of a result, by scenario and client.
Found = Mapping[str, Mapping[str, Sequence[Run]]]


def repeated(result: Mapping[str, Any]) -> dict[str, dict[str, list[Run]]]:
    """All runs that a result file holds, by scenario and client, in the order in which they are shown."""
    found: dict[str, dict[str, list[Run]]] = {}
    for values in result["scenarios"]:
        scenario = from_dict(values)
        mine: dict[str, list[Run]] = {client: [] for client in scenario.clients}
        for run in result["runs"]:
            if run["scenario"] == scenario.name and run["client"] in mine:
                mine[run["client"]].append(_read(scenario, run))
        for several in mine.values():
            several.sort(key=lambda run: run.scenario.number)
        found[scenario.name] = {client: several for client, several in mine.items() if several}
    return found


def runs(result: Mapping[str, Any]) -> dict[str, dict[str, Run]]:
    """The same with the first run of each."""
    return {
        name: {client: several[0] for client, several in clients.items()} for name, clients in repeated(result).items()
    }


def _read(scenario: Scenario, run: Mapping[str, Any]) -> Run:
    return Run(
        varied(scenario, run.get("number", 0)),
        run["client"],
        tuple(tenths / 10_000 for tenths in run["tenths of ms"]),
        tuple(run["outcomes"][letter] for letter in run["calls"]),
        {status: tuple(series) for status, series in run["reached"].items()},
        tuple(run.get("ill", ())),
        tuple(run.get("circuit opened", ())),
        tuple(run.get("circuit closed", ())),
        tuple(run.get("attempts failed", ())),
        run.get("took, s", 0.0),
    )
