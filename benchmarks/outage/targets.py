"""What the project asks of itself, and whether it was so."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.outage.figures import Found, Run, amplification
from benchmarks.outage.load import OK
from benchmarks.outage.scenario import Scenario
from benchmarks.outage.scenarios import BATCH, EXACT, MACHINES, OUTAGES, PARTIAL


@dataclass(frozen=True, slots=True)
class Target:
    """One figure of one or more runs, and its limit."""

    words: str
    scenario: str
    figure: Callable[[Sequence[Sequence[Run]]], float]
    """Of the runs of each of `clients`; infinite, or below 0, where what is asked for never happened."""
    limit: float
    at_most: bool = True
    clients: tuple[str, ...] = ("sleepwalker",)
    group: str = ""

    def measured(self, found: Found) -> float | None:
        """None where one of the clients did not run."""
        clients = found.get(self.scenario, {})
        return self.figure([clients[name] for name in self.clients]) if set(self.clients) <= clients.keys() else None

    def met(self, figure: float) -> bool:
        return figure <= self.limit if self.at_most else figure >= self.limit


def _one(figure: Callable[[Run], float]) -> Callable[[Sequence[Sequence[Run]]], float]:
    return lambda of: figure(of[0][0])


def _worst(figure: Callable[[Run], float | None]) -> Callable[[Sequence[Sequence[Run]]], float]:
    return lambda of: max(_or_never(figure(run)) for run in of[0])


def _median(figure: Callable[[Run], float | None]) -> Callable[[Sequence[Sequence[Run]]], float]:
    return lambda of: statistics.median(_or_never(figure(run)) for run in of[0])


def _or_never(figure: float | None) -> float:
    return float("inf") if figure is None else figure


_HEDGED = ("sleepwalker, hedging", "sleepwalker")
_SINGLE = (
    Target(
        "requests reaching the server per call during the outage, at most",
        "outage",
        _one(lambda run: run.amplification),
        1.2,
    ),
    Target(
        "share of calls answered while one request in twenty fails, at least",
        "errors",
        _one(lambda run: run.success),
        0.999,
        at_most=False,
    ),
    Target(
        "p99 with hedging as a share of that without, at most",
        "tail",
        lambda of: of[0][0].duration(99) / of[1][0].duration(99),
        0.5,
        clients=_HEDGED,
    ),
    Target(
        "requests per call with hedging, at most",
        "tail",
        lambda of: of[0][0].requests / of[0][0].calls,
        1.1,
        clients=_HEDGED,
    ),
)

#: By the share of attempts that fail, in percent: how many calls are answered at least, and requests per call at most.
_PARTIAL = {10: (0.997, 1.16), 20: (0.987, 1.32), 30: (0.96, 1.45), 40: (0.88, 1.6), 50: (0.68, 1.6), 70: (0.35, 1.5)}


def _partial(scenario: Scenario) -> Iterable[Target]:
    answered, sent = _PARTIAL[round(100 * scenario.error_share)]
    yield Target(
        f"{scenario.title}: share of calls answered, at least",
        scenario.name,
        _one(lambda run: run.success),
        answered,
        at_most=False,
        group=scenario.group,
    )
    yield Target(
        f"{scenario.title}: requests per call, at most",
        scenario.name,
        _one(lambda run: run.amplification),
        sent,
        group=scenario.group,
    )


def _machines(scenario: Scenario) -> Iterable[Target]:
    words = scenario.title.rpartition("which ")[2]
    if scenario.phases[-1].kind != "404":  # no client takes a 404 for a failure, so none tries another machine
        yield Target(
            f"{words}: share of calls answered, at least",
            scenario.name,
            _one(lambda run: run.success_during),
            0.99,
            at_most=False,
            group=scenario.group,
        )
    yield Target(
        f"{words}: its share of the requests, at most",
        scenario.name,
        _one(lambda run: run.ill_share),
        1 / scenario.machines,
        group=scenario.group,
    )


#: By the seconds of an outage of exactly that length: those after which calls are answered as before, at the worst.
_BACK = {2: 2.0, 20: 6.0, 120: 12.0}
#: However long it was: a circuit looks every 11 s at least, and a call has to come, and another one, to close it.
_LOOKS = 11.5
#: Requests per call during the longer ones.
_VAIN = 0.06


def _outages(scenario: Scenario) -> Iterable[Target]:
    length, kind = round(scenario.phases[1].seconds), scenario.phases[1].kind
    title = f"{scenario.title}{', exactly' if scenario.exact else ''}"
    if scenario.phases[2].kind == "cold":
        yield Target(
            f"{title}: the circuit opens again, times at most",
            scenario.name,
            _worst(lambda run: run.opened_again),
            0,
            group=scenario.group,
        )
        return
    yield Target(
        f"{title}: seconds until recovered, at worst",
        scenario.name,
        _worst(lambda run: run.recovery),
        _BACK[length] if scenario.exact else _LOOKS,
        group=scenario.group,
    )
    if scenario.exact:
        yield Target(
            f"{title}: seconds until recovered, median",
            scenario.name,
            _median(lambda run: run.recovery),
            _BACK[length] / 2,
            group=scenario.group,
        )
    if length >= 20:
        after = DEADLINE if kind == "hang" else 0.0
        when = "once the first deadline is over" if after else "during it"
        yield Target(
            f"{title}: requests per call {when}, at most",
            scenario.name,
            lambda of: amplification(of[0], after),
            _VAIN,
            group=scenario.group,
        )


#: Seconds after which silence is known for what it is: an attempt's deadline.
DEADLINE = 10.0


def _batch(scenario: Scenario) -> Iterable[Target]:
    yield Target(
        f"{scenario.title}: items done, at least",
        scenario.name,
        _one(lambda run: run.outcomes.count(OK)),
        scenario.items,
        at_most=False,
        clients=("sleepwalker, batch",),
        group=scenario.group,
    )
    yield Target(
        f"{scenario.title}: failed attempts in any second after the first, at most",
        scenario.name,
        _one(lambda run: max(run.vain()[1:])),
        2,
        clients=("sleepwalker, batch",),
        group=scenario.group,
    )


TARGETS: tuple[Target, ...] = (
    *_SINGLE,
    *(target for scenario in PARTIAL for target in _partial(scenario)),
    *(target for scenario in MACHINES for target in _machines(scenario)),
    *(target for scenario in (*OUTAGES, *EXACT) for target in _outages(scenario)),
    *(target for scenario in BATCH for target in _batch(scenario)),
)
