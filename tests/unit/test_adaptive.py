"""The adaptive limit: when it grows, when it is cut, what it learns, and where it settles before a simulated host."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepwalker.engine import Outcome, Queue, Send, failed
from sleepwalker.engine.host.adaptive import START, Adaptive
from sleepwalker.events import RequestWouldReject
from sleepwalker.exceptions import BulkheadFullError, ConnectTimeout, DeadlineExceeded, ReadTimeout
from sleepwalker.policy import Policy
from tests.ranges import some
from tests.unit.engine_driver import HOST, World, answer, refused, reset

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

OK = answer(200)


class Bench:
    """A limit whose attempts take as long as the test says, one after the other, the limit in full use."""

    def __init__(self, most: int = 1000, in_flight: int = 0) -> None:
        self.limit = Adaptive(most, in_flight)
        self.now = 100.0

    def round(self, took: float = 0.1, outcome: Outcome = OK, *, used: bool = True, most: int = 2000) -> int:
        """Attempts that take so long until the limit changes, `most` at most; how many were needed."""
        before = self.limit.limit
        for number in range(1, most + 1):
            if used:
                self.limit.entered(before)
            self.now += took
            self.limit.learn(outcome, self.now - took, self.now)
            if self.limit.limit != before:
                return number
        return most


def grown(to: int = 64, **how: Any) -> Bench:
    """A limit that has learned that an attempt takes a tenth of a second."""
    bench = Bench(**how)
    while bench.limit.limit < to:
        bench.round()
    return bench


def test_it_starts_with_a_few_and_doubles_while_attempts_are_fast() -> None:
    bench = Bench()
    limits = [bench.limit.limit]
    for _ in range(5):
        bench.round()
        limits.append(bench.limit.limit)
    assert limits == [4, 8, 16, 32, 64, 128]


def test_after_the_first_cut_it_grows_step_by_step() -> None:
    bench = grown(128)
    bench.round(0.5)
    limits = [bench.limit.limit]
    assert limits == [51]
    for _ in range(3):
        bench.round(0.1)
        limits.append(bench.limit.limit)
    assert limits == [51, 54, 58, 62]


def test_at_the_bottom_a_step_is_one() -> None:
    bench = grown()
    for _ in range(10):
        bench.round(10.0, most=70)
    while bench.limit.limit > 1:
        bench.round(50.0, most=70)
    bench.round()
    assert bench.limit.limit == 2


def test_twice_the_usual_time_is_a_queue_and_less_is_not() -> None:
    bench = grown()
    bench.round(0.19)
    assert bench.limit.limit == 128
    bench.round(0.21)
    assert bench.limit.limit == 51


def test_a_limit_that_is_not_used_stays() -> None:
    """Neither fast nor slow attempts say anything about a limit that is not reached."""
    bench = grown()
    for took in (0.1, 5.0):
        bench.round(took, used=False, most=300)
        assert bench.limit.limit == 64


def test_half_of_it_in_use_is_use() -> None:
    bench = grown(8)
    bench.limit.entered(3)
    bench.round(used=False, most=100)
    assert bench.limit.limit == 8
    bench.limit.entered(4)
    bench.round(used=False, most=100)
    assert bench.limit.limit == 16


def test_a_burst_from_before_a_cut_does_not_cut_again() -> None:
    bench = grown()
    began = bench.now
    bench.now += 1.0
    for _ in range(64):
        bench.limit.entered(64)
        bench.limit.learn(OK, began, bench.now)
    assert bench.limit.limit == 25
    for _ in range(2000):
        bench.now += 0.01
        bench.limit.entered(25)
        bench.limit.learn(OK, began, bench.now)
        bench.limit.learn(answer(503), began, bench.now)
    assert bench.limit.limit == 25


@pytest.mark.parametrize(
    "outcome",
    [
        answer(503),
        answer(429),
        failed(DeadlineExceeded("too late", limit="attempt", phase="head")),
        failed(ReadTimeout("nothing came")),
        failed(ConnectTimeout("no response")),
    ],
    ids=lambda outcome: outcome.cause,
)
def test_overload_cuts_at_the_fourth_in_a_round(outcome: Outcome) -> None:
    bench = grown()
    assert bench.round(0.001, outcome) == 4
    assert bench.limit.limit == 25


def test_a_few_overload_answers_in_a_round_are_chance() -> None:
    bench = grown()
    for _ in range(3):
        bench.round(0.1, answer(503), most=1)
    bench.round(0.1, OK)
    assert bench.limit.limit == 128


@pytest.mark.parametrize(
    "outcome",
    [
        answer(500),
        answer(502),
        answer(501),
        answer(408),
        refused(),
        reset(),
        failed(ValueError("the caller's own")),
        failed(DeadlineExceeded("no turn", limit="total", phase="queue")),
        failed(BulkheadFullError("full", host=HOST)),
    ],
    ids=lambda outcome: outcome.cause,
)
def test_what_says_nothing_of_load_moves_nothing(outcome: Outcome) -> None:
    bench = grown()
    bench.round(20.0, outcome, most=500)
    assert (bench.limit.limit, bench.limit.baseline) == (64, pytest.approx(0.1))


def test_a_503_that_the_policy_takes_for_an_answer_is_no_overload_and_a_429_is_whatever_it_says() -> None:
    """`breaker.statuses` without 503: it may mean "not in stock"."""
    bench = grown()
    assert bench.round(0.1, answer(503, failures=frozenset({502}))) > 4
    assert bench.limit.limit == 128
    bench = grown()
    assert bench.round(0.1, answer(429, failures=frozenset({429}))) == 4
    assert bench.limit.limit == 25


def test_it_never_leaves_its_bounds() -> None:
    bench = Bench(most=10)
    for _ in range(10):
        bench.round(most=100)
    assert bench.limit.limit == 10
    for _ in range(20):
        bench.round(0.1, answer(503), most=100)
    assert bench.limit.limit == 1
    assert Adaptive(2).limit == 2
    assert Adaptive(1000).limit == START


def test_it_begins_with_those_that_are_in_flight_already() -> None:
    assert Adaptive(1000, in_flight=60).limit == 60
    assert Adaptive(50, in_flight=60).limit == 50


def test_a_lower_bound_takes_effect_at_once_and_a_higher_one_leaves_room() -> None:
    bench = grown()
    bench.limit.reconfigure(30)
    assert bench.limit.limit == 30
    bench.limit.reconfigure(500)
    assert bench.limit.limit == 30
    bench.round()
    assert bench.limit.limit == 60


def test_one_attempt_that_took_ages_is_no_queue() -> None:
    bench = grown()
    bench.round(600.0, most=1)
    bench.round()
    assert bench.limit.limit == 128


def test_a_host_that_got_slower_for_good_is_learned_anew() -> None:
    bench = grown()
    rounds = 0
    while bench.limit.limit < 30 or rounds < 5:
        bench.round(0.4, most=200)
        rounds += 1
    assert rounds < 80
    assert bench.limit.baseline == pytest.approx(0.4, rel=0.5)


# A simulated host: so many workers, one queue, first come first served; callers that always want more.

SERVICE: dict[str, Callable[[random.Random], float]] = {
    "constant": lambda dice: 1.0,
    "uniform": lambda dice: dice.uniform(0.5, 1.5),
    "exponential": lambda dice: dice.expovariate(1.0),
    "log-normal": lambda dice: dice.lognormvariate(-0.5, 1.0),
    "of two kinds": lambda dice: 0.02 if dice.random() < 0.5 else 1.98,
}


class Simulation:
    """A closed loop. The unit of time is what the host takes on average for an attempt that does not queue."""

    def __init__(self, workers: int, service: str = "constant", clients: int = 300, seed: int = 1) -> None:
        self.workers, self.speed, self.clients = workers, 1.0, clients
        self.limit = Adaptive(1000)
        self.now, self.in_flight, self.busy = 0.0, 0, 0
        self._service, self._dice = SERVICE[service], random.Random(seed)
        self._queue: deque[float] = deque()
        self._ends: list[tuple[float, float]] = []

    def run(self, seconds: float) -> tuple[float, float, float]:
        """The mean limit, attempts per unit of time, and mean latency over so much time."""
        began, end, area, done, waited = self.now, self.now + seconds, 0.0, 0, 0.0
        while self.now < end:
            while self.in_flight < min(self.limit.limit, self.clients):
                self.in_flight += 1
                self.limit.entered(self.in_flight)
                self._queue.append(self.now)
            while self.busy < self.workers and self._queue:
                self.busy += 1
                took = self._service(self._dice) / self.speed
                heapq.heappush(self._ends, (self.now + took, self._queue.popleft()))
            now, since = heapq.heappop(self._ends)
            area += self.limit.limit * (now - self.now)
            self.now = now
            self.busy -= 1
            self.in_flight -= 1
            done += 1
            waited += now - since
            self.limit.learn(OK, since, now)
        return area / (self.now - began), done / (self.now - began), waited / done


@settings(max_examples=some(10, 25), deadline=None)
@given(st.integers(2, 60), st.sampled_from(["constant", "uniform"]), st.integers(0, 9))
def test_it_settles_near_the_hosts_capacity(workers: int, service: str, seed: int) -> None:
    here = Simulation(workers, service, seed=seed)
    here.run(200 + 5 * workers)
    limit, throughput, latency = here.run(300)
    assert workers / 2 <= limit <= 4 * workers
    assert throughput >= 0.85 * workers
    assert latency <= 4.0


@pytest.mark.parametrize("service", ["exponential", "log-normal", "of two kinds"])
@pytest.mark.parametrize("workers", [1, 4, 20, 60])
def test_it_takes_chance_for_chance(service: str, workers: int) -> None:
    """Service times that vary tenfold cost some throughput, and no more than that."""
    here = Simulation(workers, service)
    here.run(300)
    limit, throughput, _ = here.run(700)
    assert workers / 2 <= limit <= 2 * workers + START
    assert throughput >= 0.55 * workers


@pytest.mark.parametrize("service", ["constant", "exponential"])
def test_it_follows_a_host_that_gets_more_workers_or_loses_them(service: str) -> None:
    here = Simulation(10, service)
    here.run(400)
    here.workers = 50
    here.run(400)
    limit, throughput, _ = here.run(400)
    assert 25 <= limit <= 150
    assert throughput >= 30
    here.workers = 5
    here.run(600)
    limit, throughput, latency = here.run(400)
    assert 2.5 <= limit <= 20
    assert throughput >= 4
    assert latency <= 4


@pytest.mark.parametrize("service", ["constant", "exponential"])
@pytest.mark.parametrize("speed", [0.25, 4.0])
def test_it_recovers_when_the_host_gets_slower_or_faster(service: str, speed: float) -> None:
    here = Simulation(20, service)
    here.run(400)
    here.speed = speed
    here.run(1000)
    limit, throughput, _ = here.run(500)
    assert 10 <= limit <= 80
    assert throughput >= 0.6 * 20 * speed


def test_a_host_with_room_for_all_is_not_held_back() -> None:
    for service in SERVICE:
        here = Simulation(100_000, service, clients=30)
        here.run(60)
        limit, throughput, _ = here.run(300)
        assert limit >= 30, service
        assert throughput >= 27, service


# In a host's record


def world(most: int = 1000, **bulkhead: Any) -> World:
    return World(Policy(bulkhead={"max_concurrent": most, "adaptive": True, **bulkhead}, retry=False, breaker=False))


def busy_round(here: World, took: float, *, outcome: Outcome = OK) -> None:
    """A round in which as many calls as may be are in flight, each for so long."""
    while True:
        before = here.host.limit
        calls = []
        while (call := here.begin()).sends:
            calls.append(call)
        here.clock.advance(took)
        for call in calls:
            call.reply(outcome)
        if here.host.limit != before:
            return


def test_the_limit_is_seen_in_the_hosts_health_and_rejects_what_is_beyond() -> None:
    here = world()
    assert here.host.snapshot().limit == START
    calls = [here.begin() for _ in range(START + 1)]
    assert [bool(call.sends) for call in calls] == [True] * START + [False]
    error = calls[-1].outcome.error
    assert isinstance(error, BulkheadFullError)
    assert str(error) == f"{HOST}: {START} calls in flight, which is the limit of bulkhead.adaptive"
    assert World(Policy(bulkhead=False)).host.snapshot().limit is None


def test_attempts_move_it() -> None:
    here = world()
    busy_round(here, 0.1)
    busy_round(here, 0.1)
    assert here.host.snapshot().limit == 16
    busy_round(here, 0.4)
    assert here.host.snapshot().limit == 6


def test_a_limit_that_grows_lets_those_in_who_queue_in_their_order() -> None:
    here = world(max_wait=25)
    calls = [here.begin() for _ in range(START + 12)]
    first, queued = calls[:START], calls[START:]
    here.clock.advance(0.1)
    for _ in range(10):
        for call in first:
            call.reply(OK)
        first = [call.reply(False) for call in queued if isinstance(call.step, Queue) and call.step.waiter.granted]
        assert here.host.snapshot().in_flight <= (here.host.limit or 0)
        waiting = [isinstance(call.step, Queue) for call in queued]
        assert waiting == sorted(waiting)  # in the order of arrival
        here.clock.advance(0.1)
    assert here.host.snapshot().in_flight == 0
    assert all(call.sends for call in calls)
    assert here.host.limit == 8


def test_after_a_cut_no_call_enters_until_enough_have_left() -> None:
    here = world(max_wait=20)
    for _ in range(3):
        busy_round_of(here, 0.1)
    assert here.host.limit == 32
    calls = [here.begin() for _ in range(36)]
    for call in calls[:4]:
        call.reply(answer(503))
    assert here.host.limit == 12
    last = calls[-1]
    assert isinstance(last.step, Queue)
    for call in calls[4:23]:
        call.reply(OK)
    assert not last.step.waiter.granted
    assert here.host.snapshot().in_flight == 12
    calls[23].reply(OK)
    assert last.step.waiter.granted
    assert here.host.snapshot().in_flight == 12


def busy_round_of(here: World, took: float) -> None:
    """As `busy_round`, where calls would queue."""
    before = here.host.limit
    while here.host.limit == before:
        calls = [here.begin() for _ in range(before or 0)]
        here.clock.advance(took)
        for call in calls:
            call.reply(OK)


def test_switched_on_and_off_it_keeps_who_is_in_and_what_was_counted() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 20}, retry=False, breaker=False))
    calls = [here.begin() for _ in range(10)]
    here.policy = here.policy.replace(bulkhead={"adaptive": True})
    here.host.reconfigure(here.policy)
    assert (here.host.limit, here.host.snapshot().in_flight) == (10, 10)
    assert not here.begin().sends
    here.policy = here.policy.replace(bulkhead={"adaptive": False})
    here.host.reconfigure(here.policy)
    calls += [here.begin() for _ in range(10)]
    assert (here.host.limit, here.host.snapshot().in_flight) == (20, 20)
    assert not here.begin().sends
    for call in calls:
        call.reply(OK)
    health = here.host.snapshot()
    assert (health.in_flight, health.calls, health.rejections) == (0, 22, 2)


def test_what_was_learned_outlives_another_policy() -> None:
    here = world()
    busy_round(here, 0.1)
    here.policy = here.policy.replace(bulkhead={"max_wait": 1.0})
    here.host.reconfigure(here.policy)
    assert here.host.limit == 8
    assert isinstance([here.begin() for _ in range(9)][-1].step, Queue)


def test_a_dry_run_tells_of_calls_beyond_the_limit_as_it_is() -> None:
    here = world(mode="observe")
    calls = [here.begin() for _ in range(START + 2)]
    assert all(isinstance(call.step, Send) for call in calls)
    assert [event.by for event in here.all(RequestWouldReject)] == ["bulkhead"] * 2


def test_a_call_that_passes_the_bulkhead_by_teaches_it_all_the_same() -> None:
    here = world()
    urgent = Policy(bulkhead=False, retry=False, breaker=False)
    for _ in range(4):
        calls = [here.begin(policy=urgent) for _ in range(START)]
        here.clock.advance(0.1)
        for call in calls:
            call.reply(OK)
    assert here.host.limit == 2 * START
