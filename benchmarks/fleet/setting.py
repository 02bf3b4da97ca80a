"""What a run does: to which host something happens, when, and who calls it how often. One such plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

#: What happens to the host: it answers 503; refuses connections, and has ended those that there were; accepts and never
#: answers; or nothing.
Kind = Literal["503", "refuse", "hang", "none"]
#: What happens beside: some workers' own network is cut; the store is stopped by SIGSTOP; operators isolate the host.
Beside = Literal["", "cut", "frozen", "isolate"]
#: Who calls: workers that know nothing of each other, and those that share a store.
Side = Literal["alone", "redis", "file"]
ALONE: Side = "alone"
#: How operators isolate the host, and how many seconds after the begin; each isolation ends `ISOLATED` s later. The
#: command comes last: its interpreter's start takes seconds on a busy machine.
ISOLATIONS = (("store", 0.0), ("worker", 7.0), ("command", 14.0))
ISOLATED = 5.0


@dataclass(frozen=True, slots=True)
class Setting:
    """All sides go through it at the same time, each with workers and a host of its own."""

    kind: Kind
    rate: float
    """Calls a second of each worker. They come at random moments, the same ones on all sides."""
    outage: float
    """Seconds."""
    workers: int = 24
    before: float = 8.0
    """Seconds of health before it."""
    after: float = 15.0
    """Seconds of health after it."""
    beside: Beside = ""
    """What happens beside, from `before` on and for `outage` seconds."""
    cut: int = 0
    """How many workers' own network is cut."""
    sides: tuple[Side, ...] = ("alone", "redis", "file")
    seed: int = 1
    """Of the moments of the calls."""

    @property
    def fault(self) -> tuple[float, float]:
        """When the outage begins and ends."""
        return self.before, self.before + self.outage

    @property
    def seconds(self) -> float:
        return self.before + self.outage + self.after

    @property
    def name(self) -> str:
        what = {"": self.kind, "cut": f"{self.cut} cut", "frozen": "store frozen", "isolate": "isolated"}[self.beside]
        return f"{what}, {self.outage:g} s, {self.workers} workers, {self.rate:g}/s"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(values: dict[str, Any]) -> Setting:
    """The setting that `to_dict` wrote, also by way of JSON."""
    return Setting(**{**values, "sides": tuple(values["sides"])})
