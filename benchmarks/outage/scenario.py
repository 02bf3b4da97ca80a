"""What a server does to its callers, when, and under which load: one such plan."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal["healthy", "503", "404", "reset", "hang", "refused", "slow", "cold"]

#: Seconds that one entry of a series covers.
STEP = 0.1
#: By which share of their length outages that are repeated differ, up and down.
VARIED = 0.1


@dataclass(frozen=True, slots=True)
class Phase:
    """How the server behaves for some seconds.

    It answers well, with 503 or with 404; resets the connection when asked; accepts and never answers (hang); refuses
    connections, and has ended those that there were (refused); takes its time (slow); or answers again, but not yet
    all of the load (cold).
    """

    seconds: float
    kind: Kind = "healthy"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A plan for the server, the same for every client, and the load that is put on it.

    Answers, also a 503, take `answer` seconds. The shares are of the requests that reach the healthy server and are
    drawn from `seed` in the order in which requests arrive.
    """

    name: str
    title: str
    rate: float
    """Calls per second. They come by the clock, whether earlier ones have ended or not."""
    phases: tuple[Phase, ...]
    clients: tuple[str, ...]
    answer: float = 0.004
    error_share: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0
    """How many times longer a slow answer takes."""
    seed: int = 20
    group: str = ""
    """Scenarios of a group share a table."""
    error: Kind = "503"
    """What the requests of `error_share` meet."""
    machines: int = 1
    """How many there are behind the address. Of several only the last does what the phases say, the others are well.

    Each connection belongs to one of them for good, in turn, as behind a balancer of layer 4. Where the last one fails,
    it does so at once."""
    workers: int = 0
    """Where not 0, calls do not come by the clock: so many workers make `items` of them, one after another."""
    items: int = 0
    repeat: int = 1
    """How often each client goes through it. The outages of these runs differ in length (`VARIED`)."""
    exact: bool = False
    """Whether they do not."""
    number: int = 0
    """Which of the runs this is."""
    lanes: int = 3
    """How many such runs at a time leave the processors idle most of the time."""
    brief: bool = False
    """Whether the result keeps a hundred quantiles of the durations, and counts by the second."""

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def calls(self) -> int:
        return self.items if self.workers else round(self.rate * self.seconds)

    @property
    def fault(self) -> tuple[float, float]:
        """When the outage begins and ends, in seconds; the whole run where there is none."""
        begins = 0.0
        for phase in self.phases:
            if phase.kind != "healthy":
                return begins, begins + phase.seconds
            begins += phase.seconds
        return 0.0, begins

    @property
    def refuses(self) -> bool:
        """Whether requests come to an end of which the server knows nothing."""
        return self.machines == 1 and any(phase.kind == "refused" for phase in self.phases)

    @property
    def edges(self) -> list[float]:
        """The seconds at which the entries of a series begin: with each phase, and then each `STEP` or second."""
        step = 1.0 if self.brief else STEP
        begins = itertools.accumulate((phase.seconds for phase in self.phases), initial=0.0)
        return [
            begin + number * step
            for begin, phase in zip(begins, self.phases, strict=False)
            for number in range(math.ceil(round(phase.seconds / step, 6)))
        ]

    def counted(self, seconds: Iterable[float]) -> list[int]:
        """How many of the seconds fall into each entry; earlier and later ones count for the first and the last."""
        edges = self.edges
        counts = [0] * len(edges)
        for second in seconds:
            # Where an edge is no exact number, a second that falls onto it belongs to what it begins.
            counts[max(bisect_right(edges, second + 1e-9) - 1, 0)] += 1
        return counts

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(values: dict[str, Any]) -> Scenario:
    """The scenario that `to_dict` wrote, also by way of JSON."""
    phases = tuple(Phase(**phase) for phase in values["phases"])
    return Scenario(**{**values, "phases": phases, "clients": tuple(values["clients"])})


def varied(scenario: Scenario, number: int) -> Scenario:
    """The run `number`, from 0 on, of those that are repeated: with chance of its own, and its outage's end elsewhere.

    A circuit that looks every few seconds would else look at the same moments of each outage.
    """
    if scenario.repeat == 1:
        return scenario
    factor = 1.0 if scenario.exact else 1 + VARIED * ((2 * number + 1) / scenario.repeat - 1)
    phases = tuple(
        Phase(round(phase.seconds * factor, 2), phase.kind) if phase.kind not in ("healthy", "cold") else phase
        for phase in scenario.phases
    )
    return replace(scenario, phases=phases, seed=scenario.seed + number, number=number)
