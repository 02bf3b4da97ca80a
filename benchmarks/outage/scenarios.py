"""What the server does to its callers, when, and under which load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["healthy", "503", "hang"]


@dataclass(frozen=True, slots=True)
class Phase:
    """How the server behaves for some seconds: answers, answers 503, or accepts and never answers."""

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

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def calls(self) -> int:
        return round(self.rate * self.seconds)

    @property
    def fault(self) -> tuple[float, float]:
        """When the outage begins and ends, in seconds; the whole run where there is none."""
        begins = 0.0
        for phase in self.phases:
            if phase.kind != "healthy":
                return begins, begins + phase.seconds
            begins += phase.seconds
        return 0.0, begins

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(values: dict[str, Any]) -> Scenario:
    """The scenario that `to_dict` wrote, also by way of JSON."""
    phases = tuple(Phase(**phase) for phase in values["phases"])
    return Scenario(**{**values, "phases": phases, "clients": tuple(values["clients"])})


PEERS = (
    "requests",
    "requests + urllib3.Retry",
    "requests + tenacity + pybreaker",
    "httpx",
    "httpx + stamina",
    "httpx-retries",
    "elastic-transport",
)

OUTAGE = Scenario(
    name="outage",
    title="An outage: 503 for 20 s",
    rate=50,
    phases=(Phase(5), Phase(20, "503"), Phase(30)),
    clients=(
        *PEERS,
        "sleepwalker",
        "sleepwalker, open_max=5",
        "sleepwalker, probing",
        "sleepwalker, without its breaker",
    ),
)
ERRORS = Scenario(
    name="errors",
    title="One request in twenty fails",
    rate=125,
    phases=(Phase(40),),
    clients=(*PEERS, "sleepwalker"),
    error_share=0.05,
)
TAIL = Scenario(
    name="tail",
    title="A slow tail: 3 % of the answers take 50 times longer",
    rate=50,  # with 100 a second a client that makes one call at a time could not keep up, and nothing else would show
    phases=(Phase(40),),
    clients=("requests", "requests + tenacity + pybreaker", "httpx", "sleepwalker", "sleepwalker, hedging"),
    slow_share=0.03,
    slow_factor=50,
)
HANG = Scenario(
    name="hang",
    title="A host that accepts and never answers, for 20 s",
    rate=20,
    phases=(Phase(3), Phase(20, "hang"), Phase(25)),
    clients=(*PEERS, "sleepwalker", "sleepwalker, slow_call=1", "sleepwalker, interactive"),
)
ALL = (OUTAGE, ERRORS, TAIL, HANG)

_QUICK: dict[str, Sequence[float]] = {"outage": (1, 4, 7), "errors": (4,), "tail": (5,), "hang": (1, 3, 2)}


def quick(scenario: Scenario) -> Scenario:
    """The same in seconds: a look at whether it runs, and no figures to go by."""
    phases = zip(_QUICK[scenario.name], scenario.phases, strict=True)
    shorter = tuple(Phase(seconds, phase.kind) for seconds, phase in phases)
    return from_dict({**scenario.to_dict(), "phases": [asdict(phase) for phase in shorter]})
