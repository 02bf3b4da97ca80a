"""What the raw series of a run come to."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.outage.job import STEP
from benchmarks.outage.load import OK
from benchmarks.outage.scenarios import Scenario, from_dict

#: A failure is fast that took no longer than this many seconds.
FAST = 0.010
#: The success share of calls is taken over so many seconds, and the host counts as recovered where it is this high.
WINDOW, RECOVERED = 1.0, 0.99


@dataclass(frozen=True, slots=True)
class Run:
    """One client in one scenario. Times are seconds, shares are from 0 to 1, None means that it never happened."""

    scenario: Scenario
    client: str
    durations: tuple[float, ...]
    outcomes: tuple[str, ...]
    reached: dict[str, tuple[int, ...]]
    """Requests per `STEP`, by the status that they were answered with."""

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
        first, last = (round(second / STEP) for second in self.scenario.fault)
        return sum(sum(series[first:last]) for series in self.reached.values()) / len(self._during())

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


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest of at least one figure that is not below `percent` % of them."""
    ordered = sorted(figures)
    return ordered[max(0, -int(-percent * len(ordered) // 100) - 1)]


def runs(result: Mapping[str, Any]) -> dict[str, dict[str, Run]]:
    """All runs that a result file holds, by scenario and client, in the order in which they are shown."""
    found: dict[str, dict[str, Run]] = {}
    for values in result["scenarios"]:
        scenario = from_dict(values)
        mine = {run["client"]: run for run in result["runs"] if run["scenario"] == scenario.name}
        found[scenario.name] = {
            client: Run(
                scenario,
                client,
                tuple(tenths / 10_000 for tenths in mine[client]["tenths of ms"]),
                tuple(mine[client]["outcomes"][letter] for letter in mine[client]["calls"]),
                {status: tuple(series) for status, series in mine[client]["reached"].items()},
            )
            for client in scenario.clients
            if client in mine
        }
    return found


@dataclass(frozen=True, slots=True)
class Target:
    """What the project asks of itself in a scenario."""

    words: str
    scenario: str
    client: str
    figure: Callable[[Mapping[str, Run]], float]
    limit: float
    at_most: bool = True

    def met(self, clients: Mapping[str, Run]) -> bool:
        found = self.figure(clients)
        return found <= self.limit if self.at_most else found >= self.limit


TARGETS = (
    Target(
        "requests reaching the server per call during the outage, at most",
        "outage",
        "sleepwalker",
        lambda of: of["sleepwalker"].amplification,
        1.2,
    ),
    Target(
        "share of calls answered while one request in twenty fails, at least",
        "errors",
        "sleepwalker",
        lambda of: of["sleepwalker"].success,
        0.999,
        at_most=False,
    ),
    Target(
        "p99 with hedging as a share of that without, at most",
        "tail",
        "sleepwalker, hedging",
        lambda of: of["sleepwalker, hedging"].duration(99) / of["sleepwalker"].duration(99),
        0.5,
    ),
    Target(
        "requests per call with hedging, at most",
        "tail",
        "sleepwalker, hedging",
        lambda of: of["sleepwalker, hedging"].requests / of["sleepwalker, hedging"].calls,
        1.1,
    ),
)
