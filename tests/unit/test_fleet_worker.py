"""Workers of a fleet in virtual time: what callers and the host get with it, and what they get without."""

from __future__ import annotations

import functools
import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from sleepwalker.engine import Fellows, Outcome, Standing
from sleepwalker.fleet import Fleet
from sleepwalker.fleet.client import Client
from sleepwalker.fleet.store import Heard
from sleepwalker.fleet.verdicts import Quorum, Tally
from sleepwalker.fleet.worker import Worker
from sleepwalker.hosts import HostTable
from tests.ranges import some, whole
from tests.unit.fleet_world import HOST, FleetWorld, ModelStore
from tests.unit.virtual import BAD, GOOD, LATENCY, Record, Server, VirtualClock, down, failing, flapping

#: Decisions of our own: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

DIES = 20.0
#: A host that this worker finds broken.
DOWN = Standing(
    broken=True, told=False, healthy=False, failing=True, run=9, lasted=600.0, cause="503", failed_looks=0,
    answered_at=None, demand=0, waiting=False,
)  # fmt: skip


def answers(now: float) -> tuple[Outcome, float]:
    return GOOD, LATENCY


def refuses(now: float) -> tuple[Outcome, float]:
    return BAD, LATENCY


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


@functools.cache
def outage(fleet: bool, workers: int, rate: float, seconds: float, seed: int = 1, interval: float = 1.0) -> Outage:
    """A host that is called `rate` times a second by each worker dies, and is back after so many seconds.

    Several tests look at the same outage.
    """
    world = FleetWorld(seed, workers, fleet=fleet, interval=interval)
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


def minute(
    servers: list[Server], rate: float, seed: int, *, fleet: bool, seconds: float = 40.0
) -> tuple[Record, FleetWorld]:
    """Each worker calls what serves it, `rate` times a second."""
    world, dice = FleetWorld(seed, len(servers), fleet=fleet), random.Random(seed)
    for process, server in enumerate(servers):
        world._next_call(times(rate, seconds, dice), server, process)
    world.run_fleet(seconds)
    return world.go(), world


# A host that dies


# Vain sends are 0.21 to 0.31 of those without the fleet, and all know after 1.0 to 2.7 s.
@pytest.mark.parametrize(("rate", "most", "knew"), [(0.5, 0.32, 2.0), whole(0.2, 0.35, 5.0)])
def test_the_first_who_notice_spare_the_rest_the_experience(rate: float, most: float, knew: float) -> None:
    alone, together = outage(False, 24, rate, 60), outage(True, 24, rate, 60)
    assert together.vain <= most * alone.vain
    assert together.knew[-1] <= knew
    assert together.looks <= 1.0


@pytest.mark.parametrize(("rate", "seconds"), [(1, 20), whole(0.5, 60), whole(3, 20)])
def test_when_it_is_back_all_are_back(rate: float, seconds: float) -> None:
    """Alone the last of them needs more than ten seconds, and callers get two thirds of the answers, or half."""
    alone = [outage(False, 24, rate, seconds, seed) for seed in (1, 2)]
    together = [outage(True, 24, rate, seconds, seed) for seed in (1, 2)]
    assert statistics.mean(run.back[-1] for run in together) <= 3.0
    assert max(run.back[-1] for run in together) <= 4.0
    assert statistics.mean(run.answered for run in together) > statistics.mean(run.answered for run in alone)


@pytest.mark.parametrize("interval", [10, whole(30), whole(60)])
def test_nobody_waits_longer_than_alone_however_long_the_interval_is(interval: float) -> None:
    """With leave to look once in 1.8 intervals, and holds of three ticks, it was 12 s for 10, and 40 s for 60."""
    alone, together = outage(False, 24, 1, 60), outage(True, 24, 1, 60, interval=interval)
    assert statistics.mean(together.back) <= statistics.mean(alone.back)
    assert together.answered > alone.answered


def test_two_workers_are_a_fleet() -> None:
    """They look more often than two that wait for up to ten seconds each, and are back so much sooner."""
    alone, together = outage(False, 2, 2, 30), outage(True, 2, 2, 30)
    assert together.looks <= 1.0
    assert together.back[-1] <= 3.0
    assert together.answered > alone.answered


# Workers that are wrong


@pytest.mark.parametrize(("lie", "rate"), [(2, 1), (13, 1), whole(1, 1), whole(2, 0.2), whole(13, 5)])
def test_workers_whose_own_network_is_cut_change_nothing_for_the_rest(lie: int, rate: float) -> None:
    """Even where they are the majority: the host answers the others, and they know better."""
    servers: list[Server] = [*[refuses] * lie, *[answers] * (24 - lie)]
    _, world = minute(servers, rate, 1, fleet=True, seconds=20 if rate >= 1 else 40)
    tripped = [host.snapshot().breaker != "closed" for host in world.hosts]
    assert tripped == [True] * lie + [False] * (24 - lie)
    assert [host.counters.rejected for host in world.hosts[lie:]] == [0] * (24 - lie)


# A host that is ill, or comes and goes


# What is answered is 0.5 points less at most; of a host that is down for 1 s in 4, up to 5.
@pytest.mark.parametrize(("rate", "seconds"), some([(1, 30)], [(1, 40), (5, 30)]))
@pytest.mark.parametrize(
    ("fault", "points"),
    [("a third fails", 1), ("half fails", 1), ("0.5 s", 1), ("3 s of 23", 3), ("1 s of 4", 8)],
)
def test_callers_get_what_they_get_without_a_fleet(fault: str, points: float, rate: float, seconds: float) -> None:
    serve: Callable[[int], Server] = {
        "a third fails": lambda process: failing(1 / 3, process),
        "half fails": lambda process: failing(0.5, process),
        "0.5 s": lambda process: down(20, 20.5, seed=process),
        "3 s of 23": lambda process: flapping(20, 3),
        "1 s of 4": lambda process: flapping(3, 1),
    }[fault]
    alone, together = (
        minute([serve(process) for process in range(24)], rate, 0, fleet=fleet, seconds=seconds)[0].share()
        for fleet in (False, True)
    )
    assert together >= alone - points / 100


# They get 21 %, and alone 27. Held back, one look at a time, they got 5.
def test_a_host_that_answers_some_is_not_down_for_all() -> None:
    """Two looks in a row are hardly ever answered: who waits for them gets nothing of what the host could give."""
    alone, together = (
        minute([failing(0.8, process) for process in range(24)], 1, 1, fleet=fleet)[0].share(15)
        for fleet in (False, True)
    )
    assert together >= alone - 0.1


# A process that is no worker


@pytest.mark.parametrize("idle", [False, True])
def test_a_process_that_turns_out_to_be_no_worker_forgets_what_it_heard(
    idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, world = minute([refuses] * 2, 5, 1, fleet=True, seconds=5)
    table = HostTable(clock=world.clock)
    client = Client(Fleet("file:///nowhere/h.fleet"), table, lambda name, order: (), lambda event, level=None: None)
    store = ModelStore(world.model, world.clock)
    client.turn(store)
    assert client.health().hosts[HOST].verdict
    if idle:
        monkeypatch.setattr("sleepwalker.fleet.client.forks_made", lambda: 10**9)
        client.turn(store)
        assert not client.health().joined
    table.fleet = client
    assert table.host(HOST).snapshot().breaker == ("closed" if idle else "open")


# What it costs


def test_workers_of_healthy_hosts_say_one_thing_in_an_interval_and_ask_four_times() -> None:
    _, world = minute([answers] * 24, 1, 1, fleet=True)
    for store in world.stores:
        assert store.syncs <= 42
        assert store.syncs + store.asked <= 170


def test_in_trouble_a_worker_syncs_once_a_tick_or_hardly_more() -> None:
    _, world = minute([refuses] * 24, 5, 1, fleet=True, seconds=20)
    assert statistics.mean(store.syncs for store in world.stores) <= 4.5 * 20


def test_of_many_workers_each_asks_less_often() -> None:
    quick, slow = (Worker("w", "w", Quorum(), 1.0, workers=workers) for workers in (24, 400))
    assert (quick.tick, slow.tick) == (0.25, 1.25)


# The store's clock


def test_a_store_whose_clock_was_set_back_holds_nobody_back() -> None:
    """As where a Redis fails over to a machine with another time: the last look seems to be still to come."""
    worker = Worker("w", "w", Quorum(), 1.0)
    began, back = 1_700_000_000.0, 60.0
    tally = Tally(2, 0, began - 600, began - 600, failed_at=began)
    worker.note({HOST: DOWN}, 100.0)
    worker.says()
    worker.hears(Heard("s", 1, began, 2, {HOST: tally}, everything=True), 100.0)
    assert [action.kind for action in worker.decides(100.0)] == ["broken", "hold"]
    worker.says()
    worker.hears(Heard("s", 1, began + 1 - back, 2), 101.0)
    assert worker.decides(101.0) == []


@pytest.mark.parametrize(("interval", "free"), [(1.0, 10.0), (60.0, 30.0)])
def test_a_look_that_was_answered_frees_for_ten_intervals_and_30_seconds_at_most(interval: float, free: float) -> None:
    worker, now = Worker("w", "w", Quorum(), interval), 1_700_000_000.0
    tally = Tally(2, 0, now - 600, now - 600)
    worker.note({HOST: DOWN}, 100.0)
    for at, failed_at in ((100.0, -math.inf), (101.0, now + 1), (99.0 + free, now), (101.0 + free, now + 1 + free)):
        worker.says()
        told = {HOST: replace(tally, failed_at=failed_at)}
        worker.hears(Heard("s", 1, now + at - 100, 2, told, everything=True), at)
        assert bool(worker.decides(at)) == (at > 100 + free), at


# What people are shown


class Ahead(VirtualClock):
    """The clock of a store, which goes an hour ahead and a little to and fro."""

    def __init__(self, ours: VirtualClock) -> None:
        self._ours = ours

    def wall(self) -> float:
        return self._ours.wall() + 3600 + random.Random(self._ours.now).uniform(-0.2, 0.2)


def test_since_when_a_host_is_in_trouble_is_told_by_this_machines_clock_and_stays() -> None:
    world = FleetWorld(1, 3, fleet=True)
    for store in world.stores:
        store._clock = Ahead(world.clock)
    for process in range(2):
        world._next_call(times(5, 20, random.Random(process)), down(5, 99), process)
    world.run_fleet(20)
    heard: list[Fellows] = []
    began = world.clock.wall() - world.now

    def look() -> None:
        heard.extend(world.clients[2].health().hosts.values())
        if world.now < 19:
            world.at(world.now + 0.1, look)

    world.at(5, look)
    world.go()
    [(since, cause)] = {(said.since, said.cause) for said in heard}
    assert since == pytest.approx(began + 5, abs=2.5)
    assert cause == "503"
    assert any(said.verdict for said in heard)
