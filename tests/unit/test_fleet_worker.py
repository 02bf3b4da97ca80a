"""Workers of a fleet in virtual time: what callers and the host get with it, and what they get without."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.unit.fleet_world import FleetWorld
from tests.unit.virtual import down

#: Decisions of our own: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

DIES = 20.0


@dataclass
class Outage:
    """What an outage came to. Seconds are since the host died, or since it was back."""

    vain: int
    """Sends that reached it while it was down."""
    looks: float
    """Of these, those a second once all workers knew."""
    knew: list[float]
    back: list[float]
    answered: float
    """The share of calls that were answered in the ten seconds after."""
    opened: int


def times(rate: float, until: float, dice: random.Random) -> Iterator[float]:
    """When calls come that nobody arranged: at random."""
    moment = dice.expovariate(rate)
    while moment < until:
        yield moment
        moment += dice.expovariate(rate)


def outage(fleet: bool, workers: int, rate: float, seconds: float, seed: int = 1) -> Outage:
    """A host that is called `rate` times a second by each worker dies, and is back after so many seconds."""
    world = FleetWorld(seed, workers, fleet=fleet)
    server, back_at = down(DIES, DIES + seconds), DIES + seconds
    end, dice = back_at + 12.0, random.Random(seed)
    for process in range(workers):
        world._next_call(times(rate, end, dice), server, process)
    world.run_fleet(end)
    knew: dict[int, float] = {}
    back: dict[int, float] = {}

    def look() -> None:
        for process, host in enumerate(world.hosts):
            closed = (
                host.admission.breaker is not None and host.admission.breaker.circuit.state(world.clock.now) == "closed"
            )
            if DIES <= world.now < back_at and not closed:
                knew.setdefault(process, world.now - DIES)
            if world.now >= back_at and closed:
                back.setdefault(process, world.now - back_at)
        if world.now + 0.05 < end:
            world.at(world.now + 0.05, look)

    world.at(DIES, look)
    record = world.go()
    late = sum(number for second, number in record.vain.items() if DIES + 3 <= second < back_at)
    return Outage(
        sum(record.vain.values()),
        late / max(seconds - 3, 1),
        sorted(knew.values()) + [99.0] * (workers - len(knew)),
        sorted(back.values()) + [99.0] * (workers - len(back)),
        record.share(back_at, back_at + 10),
        len(record.tripped),
    )
