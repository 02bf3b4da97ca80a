"""What every store of a fleet does, whatever it keeps its data in: the same facts for each, by public methods alone.

A new store gets a place in `PLACES`. Times are in the place's own unit: a store whose clock a test can move takes a
second for it, one with a real clock a fraction of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from servers import RedisServer

from sleepwalker.fleet.redis import RedisStore
from sleepwalker.fleet.redis import store as redis_store
from sleepwalker.fleet.store import KEPT_FOR, RESTORED_FOR, Heard, Order, Said, Store, StoreError, View
from sleepwalker.fleet.verdicts import ACCUSES, Opinion, Tally
from tests.fleet_model import Model
from tests.memory import folder_in_memory
from tests.ranges import some

pytestmark = pytest.mark.once

A, B, C = "https://a.example.com", "https://b.example.com", "https://c.example.com"
#: In units: so long that no test lives to see its end, and so short that a test can wait for it.
LONG, SHORT = 600.0, 2.0
AGAIN = 5.0
BROKEN, FINE, NOTHING, BACK = View("broken"), View("fine"), View(None), View(None, back=True)
CALM = (0, 0, math.inf, math.inf)


class Place(Protocol):
    """Where a store keeps its data, for one test."""

    unit: float
    """Seconds of the store's clock that tests count in."""
    moves: bool
    """Whether `passes` takes no real time, so that a month may pass as well."""
    examples: int
    """How many random histories are played."""

    def store(self, service: str = "billing") -> Store:
        """One more client of what is kept here."""
        ...

    def passes(self, units: float) -> None:
        """Let so much time pass on the store's clock."""
        ...

    def flush(self) -> None:
        """Lose all data of all services."""
        ...


@dataclass
class SteppedClock:
    """Stands still until a test moves it."""

    steady: float = 1000.25
    ahead: float = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.steady

    def wall(self) -> float:
        return self.steady + self.ahead

    def random(self) -> float:
        raise NotImplementedError


@dataclass
class FilePlace:
    """A file, whose stores take the time from a clock that the test moves."""

    folder: Path
    unit: float = 1.0
    moves: bool = True
    examples: int = some(25, 80)
    clock: SteppedClock = field(default_factory=SteppedClock)
    stores: list[Store] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "billing.fleet"

    def store(self, service: str = "billing") -> Store:
        from sleepwalker.fleet.local import FileStore

        store = FileStore(self.path, service, timeout=5, clock=self.clock)
        self.stores.append(store)
        return store

    def passes(self, units: float) -> None:
        self.clock.steady += units

    def flush(self) -> None:
        for path in self.folder.glob("billing.fleet*"):
            path.unlink()


@contextlib.contextmanager
def file_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with folder_in_memory() as folder:
        place = FilePlace(folder)
        yield place
        for store in place.stores:
            store.close()


@dataclass
class RedisPlace:
    """A Redis whose script takes the time from a key that the test moves; what is kept ages with it."""

    server: RedisServer
    unit: float = 1.0
    moves: bool = True
    examples: int = some(10, 30)
    stores: list[Store] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = self.server.client()
        self.microseconds = 1_800_000_000_250_000
        self.passes(0)

    def store(self, service: str = "billing") -> Store:
        store = RedisStore(self.server.url, service, timeout=20)
        self.stores.append(store)
        return store

    def passes(self, units: float) -> None:
        for key in self.client.scan_iter("sleepwalker:*"):
            left = self.client.pttl(key)
            assert left > 0, f"{key!r} is kept for ever"
            self.client.pexpire(key, max(int(left - units * 1e3), 0))
        # Each call is a little later than the one before, as with a real clock.
        self.microseconds += int(units * 1e6) + 1
        self.client.set("clock", self.microseconds)

    def flush(self) -> None:
        self.client.flushall()
        self.passes(0)


@contextlib.contextmanager
def redis_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    code, _ = redis_store._script()
    moved = code.replace(
        b'local time = call("TIME")\n',
        b'local clock = call("INCR", "clock")\nlocal time = { math.floor(clock / 1e6), clock % 1e6 }\n',
    )
    assert moved != code
    place = RedisPlace(request.getfixturevalue("redis_server"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_store, "_script", lambda: (moved, hashlib.sha1(moved).hexdigest().encode()))
        yield place
    for store in place.stores:
        store.close()
    place.client.close()


PLACES: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[Place]]] = {
    "file": file_place,
    "redis": redis_place,
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with PLACES[request.param](request) as place:
        yield place


@pytest.fixture
def moving(place: Place) -> Place:
    """A place where a day passes in no time."""
    if not place.moves:
        pytest.skip("its clock is real, and would have to run for a day")
    return place


@dataclass
class Worker:
    """One that tells and asks, and keeps what it heard, as workers do."""

    place: Place
    name: str
    ttl: float = LONG
    store: Store = field(init=False)
    last: Heard | None = None
    tallies: dict[str, Tally] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = self.place.store()

    def sync(
        self,
        views: Mapping[str, View] | None = None,
        *,
        looks: Mapping[str, float] | None = None,
        orders: Mapping[str, Order] | None = None,
        **more: object,
    ) -> Heard:
        """Say it, with the version that was heard last; all that came of it."""
        said: dict[str, object] = {
            "worker": f"id-{self.name}",
            "label": self.name,
            "ttl": self.ttl * self.place.unit,
            "since": self.last.version if self.last else -1,
            "store": self.last.store if self.last else None,
            "views": views or {},
            "looks": {host: units * self.place.unit for host, units in (looks or {}).items()},
            "orders": orders or {},
        }
        heard = self.store.sync(Said(**{**said, **more}))  # type: ignore[arg-type]
        self.last = heard
        self.tallies.update(heard.tallies)
        self.orders.update(heard.orders)
        return heard

    def order(self, name: str, order: Order) -> int:
        return self.store.order(name, order)


@pytest.fixture
def one(place: Place) -> Worker:
    return Worker(place, "web-1 1")


@pytest.fixture
def two(place: Place) -> Worker:
    return Worker(place, "web-2 2")


@pytest.fixture
def three(place: Place) -> Worker:
    return Worker(place, "web-3 3")


def counts(tally: Tally) -> tuple[int, int]:
    return tally.broken, tally.fine


def trouble(heard: Heard) -> dict[str, tuple[int, int]]:
    """The counts of what was heard, of hosts in trouble or not."""
    return {host: counts(tally) for host, tally in heard.tallies.items()}


def calm(tally: Tally) -> tuple[int, int, float, float]:
    return tally.broken, tally.fine, tally.since, tally.began


# Who and what it is


def test_a_place_where_nobody_said_anything_has_no_version(place: Place) -> None:
    assert place.store().version() is None


def test_an_empty_store_shows_nothing(place: Place) -> None:
    seen = place.store().overview()
    assert (seen.workers, seen.tallies, seen.views, seen.orders) == ({}, {}, {}, {})


def test_version_tells_what_the_last_answer_told(one: Worker) -> None:
    heard = one.sync({A: BROKEN})
    assert one.store.version() == (heard.store, heard.version)


def test_all_clients_of_a_place_hear_the_same_id(one: Worker, two: Worker) -> None:
    assert one.sync().store == two.sync().store


def test_a_store_that_lost_its_data_has_another_id(place: Place, one: Worker) -> None:
    before = one.sync().store
    place.flush()
    assert one.sync().store != before


def test_what_a_store_lost_is_not_counted(place: Place, one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    place.flush()
    assert trouble(two.sync({A: BROKEN})) == {A: (1, 0)}


def test_services_are_kept_apart(place: Place, one: Worker) -> None:
    one.sync({A: BROKEN}, orders={A: Order("isolate")})
    other = place.store("shipping")
    assert other.version() is None
    assert (other.overview().workers, other.overview().tallies, other.overview().orders) == ({}, {}, {})


def test_a_sync_that_says_nothing_new_changes_no_version(one: Worker, two: Worker) -> None:
    before = one.sync({A: BROKEN}).version
    two.sync()
    assert one.sync().version == before


def test_a_store_that_was_closed_goes_on_with_the_next_call(one: Worker) -> None:
    heard = one.sync({A: BROKEN})
    one.store.close()
    one.store.close()
    assert one.store.version() == (heard.store, heard.version)


def test_now_is_the_stores_clock(place: Place, one: Worker) -> None:
    before = one.sync().now
    place.passes(1)
    assert one.sync().now - before == pytest.approx(place.unit, rel=0.01 if place.moves else 5)


# Workers


def test_workers_are_counted_with_the_one_that_asks(one: Worker, two: Worker) -> None:
    assert [one.sync().workers, two.sync().workers, one.sync().workers] == [1, 2, 2]


def test_a_worker_is_shown_by_its_label(one: Worker) -> None:
    one.sync()
    assert one.store.overview().workers == {"id-web-1 1": "web-1 1"}


def test_a_worker_whose_time_to_live_is_over_is_not_counted(place: Place, one: Worker, two: Worker) -> None:
    one.ttl = SHORT
    one.sync()
    place.passes(SHORT + 0.5)
    assert two.sync().workers == 1


def test_each_word_of_a_worker_puts_its_end_off(place: Place, one: Worker, two: Worker) -> None:
    one.ttl = 3 * SHORT
    one.sync()
    for _ in range(3):
        place.passes(0.5 * SHORT)
        one.sync()
    place.passes(2.4 * SHORT)
    assert two.sync().workers == 2


def test_what_a_worker_said_goes_with_it(place: Place, one: Worker, two: Worker) -> None:
    one.ttl = SHORT
    two.sync()
    one.sync({A: BROKEN})
    assert trouble(two.sync()) == {A: (1, 0)}
    place.passes(SHORT + 0.5)
    heard = two.sync()
    assert calm(heard.tallies[A]) == CALM


def test_a_worker_that_stayed_away_too_long_has_said_nothing(place: Place, one: Worker) -> None:
    """Its end comes before its new word: it must say again what it still finds."""
    one.ttl = SHORT
    one.sync({A: BROKEN})
    place.passes(SHORT + 0.5)
    assert calm(one.sync().tallies[A]) == CALM


def test_a_worker_that_leaves_is_gone_at_once(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN, B: BROKEN})
    two.sync({B: BROKEN})
    one.store.leave("id-web-1 1")
    heard = two.sync()
    assert heard.workers == 1
    assert trouble(heard) == {A: (0, 0), B: (1, 0)}


def test_leaving_changes_the_version_when_something_was_said(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    before = two.sync().version
    one.store.leave("id-web-1 1")
    assert two.store.version() != (two.last.store if two.last else None, before)


def test_a_worker_that_nobody_knows_may_leave(one: Worker) -> None:
    one.store.leave("somebody")
    assert one.sync().workers == 1


def test_the_overview_leaves_out_whoever_is_gone(place: Place, one: Worker, two: Worker) -> None:
    one.ttl = SHORT
    one.sync({A: BROKEN})
    two.sync({B: BROKEN})
    place.passes(SHORT + 0.5)
    seen = two.store.overview()
    assert seen.workers == {"id-web-2 2": "web-2 2"}
    assert {host: counts(tally) for host, tally in seen.tallies.items() if tally.broken} == {B: (1, 0)}
    assert {host for host, views in seen.views.items() if views} == {B}


def test_reading_changes_nothing(place: Place, one: Worker, two: Worker) -> None:
    one.ttl = SHORT
    one.sync({A: BROKEN})
    place.passes(SHORT + 0.5)
    before = two.store.version()
    two.store.overview()
    assert two.store.version() == before


# Views


def test_an_accusation_is_counted(one: Worker) -> None:
    [tally] = one.sync({A: BROKEN}).tallies.values()
    assert (tally.broken, tally.fine, tally.round) == (1, 0, 0)


def test_each_worker_counts_once(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    one.sync({A: View("broken", failed=True)})
    assert trouble(two.sync({A: BROKEN})) == {A: (2, 0)}


def test_trouble_begins_with_the_first_accusation(place: Place, one: Worker, two: Worker) -> None:
    first = one.sync({A: View("broken", lasted=3.0)})
    place.passes(1)
    tally = two.sync({A: View("broken", lasted=30.0)}).tallies[A]
    assert tally.since == pytest.approx(first.now, abs=1e-3)
    assert tally.began == pytest.approx(first.now - 3, abs=1e-3)


def test_trouble_goes_on_when_the_first_accuser_takes_it_back(one: Worker, two: Worker) -> None:
    first = one.sync({A: BROKEN})
    two.sync({A: BROKEN})
    tally = one.sync({A: NOTHING}).tallies[A]
    assert counts(tally) == (1, 0)
    assert tally.since == pytest.approx(first.now, abs=1e-3)


def test_trouble_that_comes_again_begins_anew(place: Place, one: Worker) -> None:
    one.sync({A: BROKEN})
    one.sync({A: NOTHING})
    place.passes(1)
    heard = one.sync({A: BROKEN})
    assert heard.tallies[A].since == pytest.approx(heard.now, abs=1e-3)


def test_the_cause_is_that_of_the_first_accuser_until_a_look_fails(one: Worker, two: Worker) -> None:
    assert one.sync({A: View("broken", cause="503")}).tallies[A].cause == "503"
    assert one.sync({A: View("broken", cause="500")}).tallies.get(A) is None
    assert one.sync({A: View("broken", cause="ConnectTimeout", failed=True)}).tallies[A].cause == "ConnectTimeout"


def test_a_new_accuser_tells_its_cause(one: Worker, two: Worker) -> None:
    one.sync({A: View("broken", cause="503")})
    assert two.sync({A: View("broken", cause="504")}).tallies[A].cause == "504"


def test_a_look_that_fails_is_told_with_its_moment(place: Place, one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    place.passes(1)
    heard = one.sync({A: View("broken", failed=True)})
    assert two.sync().tallies[A].failed_at == pytest.approx(heard.now, abs=1e-3)


@pytest.mark.parametrize("opinion", ["broken", "fine", None])
def test_a_look_that_was_answered_frees_those_who_are_held_back(one: Worker, two: Worker, opinion: Opinion) -> None:
    two.sync({A: View("broken", failed=True)})
    heard = one.sync({A: View(opinion, answered=True)})
    assert two.sync().tallies[A].failed_at == heard.tallies[A].failed_at == -math.inf


def test_a_look_at_a_host_in_no_trouble_that_was_answered_is_no_news(one: Worker) -> None:
    before = one.sync().version
    heard = one.sync({A: View(None, answered=True)})
    assert (heard.version, heard.tallies) == (before, {})


def test_an_accusation_said_again_is_no_news(place: Place, one: Worker, two: Worker) -> None:
    """Else each worker that says all again, after the store was away, wakes all others."""
    first = one.sync({A: View("broken", lasted=1.0)})
    two.sync()
    place.passes(1)
    one.sync({A: View("broken", lasted=2.0)})
    heard = two.sync()
    assert heard.tallies == {}
    assert heard.version == first.version


def test_an_accusation_may_be_taken_back(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    two.sync()
    one.sync({A: NOTHING})
    tally = two.sync().tallies[A]
    assert calm(tally) == CALM
    assert (tally.failed_at, tally.cause) == (-math.inf, None)


def test_what_was_not_said_is_taken_back_without_a_trace(one: Worker) -> None:
    before = one.sync().version
    heard = one.sync({A: NOTHING})
    assert (heard.version, heard.tallies) == (before, {})


def test_fine_counts_where_somebody_accuses(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    assert trouble(two.sync({A: FINE})) == {A: (1, 1)}


def test_those_whose_attempts_fail_are_counted_apart_from_those_who_find_it_broken(one: Worker, two: Worker) -> None:
    one.sync({A: View("failing", lasted=0.25, cause="502")})
    tally = two.sync({A: BROKEN}).tallies[A]
    assert (tally.broken, tally.failing, tally.fine, tally.accusers) == (1, 1, 0, 2)
    tally = one.sync({A: BROKEN}).tallies[A]
    assert (tally.broken, tally.failing) == (2, 0)
    tally = one.sync({A: FINE}).tallies[A]
    assert (tally.broken, tally.failing, tally.fine) == (1, 0, 1)


def test_trouble_begins_with_the_first_whose_attempts_fail(place: Place, one: Worker, two: Worker) -> None:
    heard = one.sync({A: View("failing", lasted=0.25)})
    place.passes(1)
    tally = two.sync({A: BROKEN}).tallies[A]
    assert tally.since == pytest.approx(heard.now, abs=1e-3)
    assert tally.began == pytest.approx(heard.now - 0.25, abs=1e-3)


def test_fine_of_a_host_in_no_trouble_is_not_kept(one: Worker, two: Worker) -> None:
    before = one.sync().version
    heard = one.sync({A: FINE})
    assert (heard.version, heard.tallies) == (before, {})
    assert trouble(two.sync({A: BROKEN})) == {A: (1, 0)}


def test_fine_in_place_of_the_last_accusation_ends_the_trouble(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    two.sync({A: FINE})
    assert calm(one.sync({A: FINE}).tallies[A]) == CALM


def test_a_worker_that_changes_its_mind_moves_from_one_count_to_the_other(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    two.sync({A: BROKEN})
    assert trouble(one.sync({A: FINE})) == {A: (1, 1)}
    assert trouble(one.sync({A: BROKEN})) == {A: (2, 0)}


def test_fine_is_forgotten_with_the_trouble_that_it_spoke_of(one: Worker, two: Worker, three: Worker) -> None:
    one.sync({A: BROKEN})
    two.sync({A: FINE})
    one.sync({A: NOTHING})
    assert trouble(three.sync({A: BROKEN})) == {A: (1, 0)}


def test_attempts_that_fail_are_trouble(one: Worker, two: Worker) -> None:
    """It is told to all, may be looked at, and ends when they are taken back."""
    assert one.sync({A: View("failing")}, looks={A: AGAIN}).granted == (A,)
    assert two.sync().tallies[A].failing == 1
    one.sync({A: NOTHING})
    tally = two.sync().tallies[A]
    assert (calm(tally), tally.failing) == (CALM, 0)


def test_attempts_that_still_fail_are_no_news(one: Worker) -> None:
    before = one.sync({A: View("failing")}).version
    heard = one.sync({A: View("failing", failed=True, lasted=5.0)})
    assert (heard.version, heard.tallies) == (before, {})


def test_hosts_are_counted_apart(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN, B: BROKEN})
    assert trouble(two.sync({B: BROKEN, C: FINE})) == {A: (1, 0), B: (2, 0)}


def test_the_overview_shows_who_says_what(one: Worker, two: Worker) -> None:
    one.sync({A: View("broken", cause="503")})
    two.sync({A: FINE})
    seen = one.store.overview()
    assert {who: view.opinion for who, view in seen.views[A].items()} == {"id-web-1 1": "broken", "id-web-2 2": "fine"}
    assert counts(seen.tallies[A]) == (1, 1)
    assert seen.tallies[A].cause == "503"


# Rounds


def test_a_host_that_is_back_begins_a_round_in_which_nothing_is_said(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    two.sync({A: BROKEN})
    tally = one.sync({A: BACK}).tallies[A]
    assert calm(tally) == CALM
    assert tally.round == 1
    assert two.sync().tallies[A] == tally


def test_what_is_said_of_an_earlier_round_is_not_counted(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    two.sync({A: BROKEN})
    one.sync({A: BACK})
    assert trouble(two.sync({A: View("broken", failed=True)})) == {A: (0, 0)}


def test_what_is_said_of_the_new_round_is_counted(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    one.sync({A: BACK})
    tally = two.sync({A: View("broken", round=1)}).tallies[A]
    assert (tally.broken, tally.round) == (1, 1)


def test_whoever_speaks_of_an_earlier_round_hears_of_the_new_one(one: Worker, two: Worker) -> None:
    """A worker that joins is not told of hosts in no trouble: else it would speak of round 0 in vain for ever."""
    one.sync({A: BROKEN})
    one.sync({A: BACK})
    assert two.sync().tallies == {}
    heard = two.sync({A: BROKEN})
    assert heard.tallies[A].round == 1
    assert heard.version == one.sync().version


def test_a_host_that_nobody_accuses_cannot_come_back(one: Worker) -> None:
    one.sync({A: BROKEN})
    before = one.sync({A: BACK}).version
    heard = one.sync({A: View(None, round=1, back=True), B: BACK})
    assert (heard.version, heard.tallies) == (before, {})


def test_two_workers_that_saw_it_come_back_begin_one_round(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    two.sync({A: BROKEN})
    one.sync({A: BACK})
    assert two.sync({A: BACK}).tallies[A].round == 1


def test_a_higher_round_is_taken_over(place: Place, one: Worker, two: Worker) -> None:
    """The store was flushed, and a worker remembers."""
    one.sync({A: BROKEN})
    tally = two.sync({A: View("broken", round=7)}).tallies[A]
    assert (tally.broken, tally.round) == (1, 7)
    assert trouble(one.sync({A: View("broken", failed=True)})) == {A: (1, 0)}


def test_a_higher_round_of_a_worker_that_says_nothing_ends_what_was_said_before(one: Worker, two: Worker) -> None:
    two.sync()
    one.sync({A: BROKEN})
    tally = two.sync({A: View("fine", round=3)}).tallies[A]
    assert calm(tally) == CALM
    assert tally.round == 3


def test_the_round_outlives_the_trouble(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN})
    one.sync({A: BACK})
    one.sync({A: View("broken", round=1)})
    tally = one.sync({A: View(None, round=1)}).tallies[A]
    assert (tally.broken, tally.round) == (0, 1)
    assert two.sync({A: BROKEN}).tallies[A].round == 1


# Looks


def test_a_look_at_a_host_in_trouble_is_granted(one: Worker) -> None:
    assert one.sync({A: BROKEN}, looks={A: AGAIN}).granted == (A,)


def test_a_look_at_a_host_in_no_trouble_is_not_granted(one: Worker) -> None:
    one.sync({A: BROKEN})
    assert one.sync({A: NOTHING}, looks={A: AGAIN, B: AGAIN}).granted == ()


def test_the_next_look_is_granted_when_it_is_due(place: Place, one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN}, looks={A: AGAIN})
    assert two.sync(looks={A: AGAIN}).granted == ()
    place.passes(AGAIN + 0.5)
    assert two.sync(looks={A: AGAIN}).granted == (A,)
    assert one.sync(looks={A: AGAIN}).granted == ()


def test_looks_at_two_hosts_are_granted_apart(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN, B: BROKEN}, looks={A: LONG})
    assert two.sync(looks={A: LONG, B: LONG}).granted == (B,)


def test_a_look_changes_no_version(one: Worker) -> None:
    before = one.sync({A: BROKEN}).version
    assert one.sync(looks={A: AGAIN}).version == before


def test_a_host_that_came_back_may_be_looked_at_as_soon_as_it_is_in_trouble_again(one: Worker) -> None:
    one.sync({A: BROKEN}, looks={A: LONG})
    one.sync({A: BACK})
    assert one.sync({A: View("broken", round=1)}, looks={A: LONG}).granted == (A,)


# What an answer has


def test_a_worker_that_joins_hears_of_all_trouble(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN, B: BROKEN, C: BROKEN})
    one.sync({C: BACK})
    assert trouble(two.sync()) == {A: (1, 0), B: (1, 0)}


def test_an_answer_says_whether_it_is_all_there_is_or_what_changed(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN, B: BROKEN})
    assert [two.sync(most=1).everything, two.sync(most=1).everything] == [True, False]
    assert one.sync().everything is False
    assert one.sync(store="another").everything is True


def test_an_answer_has_only_what_changed(one: Worker, two: Worker) -> None:
    one.sync({A: BROKEN, B: BROKEN})
    two.sync()
    one.sync({B: View("broken", failed=True)})
    assert list(two.sync().tallies) == [B]
    assert two.sync().tallies == {}


def test_each_host_that_changes_counts_the_version_up(one: Worker) -> None:
    before = one.sync().version
    assert one.sync({A: BROKEN, B: BROKEN}).version == before + 2


@pytest.mark.parametrize("odd", [{"store": "another"}, {"store": None}, {"since": 10**9}, {"since": -1}])
def test_whoever_speaks_of_another_store_or_of_a_version_to_come_hears_all(
    one: Worker, two: Worker, odd: dict[str, object]
) -> None:
    two.sync()
    one.sync({A: BROKEN})
    two.sync()
    assert trouble(two.sync(**odd)) == {A: (1, 0)}


def test_of_many_hosts_an_answer_has_as_many_as_are_wanted(one: Worker, two: Worker) -> None:
    names = [f"https://{number}.example.com" for number in range(5)]
    for name in names:
        one.sync({name: BROKEN})
    told = []
    for more in (True, True, False):
        heard = two.sync(most=2)
        assert heard.more is more
        told.append(list(heard.tallies))
    assert told == [names[:2], names[2:4], names[4:]]
    assert two.store.version() == (heard.store, heard.version)


def test_there_is_no_more_where_exactly_as_many_changed_as_are_wanted(one: Worker) -> None:
    assert one.sync({A: BROKEN, B: BROKEN}, most=2).more is False


def test_what_changes_while_a_worker_asks_for_the_rest_is_told(one: Worker, two: Worker) -> None:
    for name in (A, B, C):
        one.sync({name: BROKEN})
    assert list(two.sync(most=2).tallies) == [A, B]
    one.sync({A: View("broken", failed=True), B: BACK})
    rest = two.sync()
    assert trouble(rest) == {C: (1, 0), A: (1, 0), B: (0, 0)}


def test_a_thousand_views_are_told_at_once(one: Worker, two: Worker) -> None:
    one.sync({f"https://{number}.example.com": BROKEN for number in range(1000)})
    heard = two.sync(most=10_000)
    assert len(heard.tallies) == 1000
    assert heard.more is False


# Orders


def test_an_order_is_told_to_all(one: Worker, two: Worker) -> None:
    one.sync()
    two.sync()
    number = one.order(A, Order("isolate", reason="maintenance", by="ops"))
    assert one.sync().orders == {A: Order("isolate", number=number, reason="maintenance", by="ops")}
    assert two.sync().orders == one.orders


def test_an_order_may_come_with_a_sync_and_is_signed_with_the_label(one: Worker, two: Worker) -> None:
    one.sync(orders={A: Order("isolate")})
    order = two.sync().orders[A]
    assert (order.kind, order.by) == ("isolate", "web-1 1")
    assert order.number > 0


def test_an_order_changes_the_version(one: Worker) -> None:
    before = one.sync()
    one.order(A, Order("reset"))
    assert one.store.version() != (before.store, before.version)


def test_an_order_is_told_once(one: Worker) -> None:
    one.sync(orders={A: Order("isolate")})
    assert one.sync().orders == {}


def test_orders_are_numbered_upwards_over_all_names(one: Worker, two: Worker) -> None:
    numbers = [one.order(A, Order("isolate")), two.order(B, Order("reset")), one.order(A, Order("restore"))]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0


def test_the_last_order_of_a_name_counts(one: Worker, two: Worker) -> None:
    one.order(A, Order("isolate"))
    last = one.order(A, Order("restore"))
    heard = two.sync()
    assert (heard.orders[A].kind, heard.orders[A].number) == ("restore", last)


def test_whoever_joins_hears_of_isolations_and_restores_but_not_of_resets(one: Worker, two: Worker) -> None:
    for name, order in ((A, Order("isolate")), (B, Order("restore")), (C, Order("reset"))):
        one.order(name, order)
    assert {name: order.kind for name, order in two.sync().orders.items()} == {A: "isolate", B: "restore"}


def test_a_reset_leaves_an_isolation_standing(one: Worker, two: Worker) -> None:
    """As `reset_circuit` does in one process: a worker that joins must not send to the isolated host."""
    one.order(A, Order("isolate"))
    one.order(A, Order("reset"))
    assert two.sync().orders[A].kind == "isolate"
    assert one.store.overview().orders[A].kind == "isolate"


@pytest.mark.parametrize("first", ["isolate", "restore"])
def test_of_two_orders_for_one_name_none_is_lost(one: Worker, two: Worker, first: str) -> None:
    """An answer has one of a name, so there is more to ask for."""
    two.sync()
    one.order(A, Order(first))  # type: ignore[arg-type]
    one.order(A, Order("reset"))
    heard = two.sync({B: BROKEN})
    assert (heard.orders[A].kind, heard.more) == (first, True)
    heard = two.sync()
    assert (heard.orders[A].kind, heard.more) == ("reset", False)
    assert two.sync().orders == {}
    assert two.last is not None
    assert two.store.version() == (two.last.store, two.last.version)


def test_a_reset_comes_before_a_later_isolation(one: Worker, two: Worker) -> None:
    two.sync()
    one.order(A, Order("reset"))
    one.order(A, Order("isolate"))
    assert [two.sync().orders[A].kind, two.sync().orders[A].kind] == ["reset", "isolate"]


def test_an_isolation_tells_what_is_left_of_it(place: Place, one: Worker, two: Worker) -> None:
    one.order(A, Order("isolate", left=100 * place.unit))
    place.passes(1)
    left = two.sync().orders[A].left
    assert left == pytest.approx(99 * place.unit, abs=1e-5 if place.moves else 30 * place.unit)
    assert left is not None
    assert left < 100 * place.unit


def test_an_isolation_ends_with_its_time(place: Place, one: Worker, two: Worker, three: Worker) -> None:
    three.sync()
    one.order(A, Order("isolate", left=SHORT * place.unit))
    place.passes(SHORT + 0.5)
    assert two.sync().orders == {}
    assert three.sync().orders == {}
    assert two.store.overview().orders == {}


def test_the_overview_shows_orders_with_their_reason(one: Worker) -> None:
    number = one.order(A, Order("isolate", reason="maintenance", by="ops"))
    assert one.store.overview().orders == {A: Order("isolate", number=number, reason="maintenance", by="ops")}


def test_an_order_that_a_flushed_store_is_told_again_keeps_its_number(place: Place, one: Worker, two: Worker) -> None:
    for _ in range(3):
        one.order(B, Order("reset"))
    number = one.order(A, Order("isolate", by="ops"))
    one.sync()
    place.flush()
    one.sync(orders={A: Order("isolate", number=number, by="ops")})
    assert two.sync().orders == {A: Order("isolate", number=number, by="ops")}
    assert one.order(B, Order("isolate")) > number


def test_an_order_told_again_replaces_none_of_the_store(one: Worker, two: Worker) -> None:
    """Two workers tell theirs again; one of them was away when the host was restored."""
    old = one.order(A, Order("isolate"))
    new = one.order(A, Order("restore"))
    before = one.sync().version
    heard = two.sync(orders={A: Order("isolate", number=old)})
    assert (heard.orders[A].kind, heard.orders[A].number, heard.version) == ("restore", new, before)


def test_an_order_that_a_flushed_store_got_first_outranks_those_told_again(
    place: Place, one: Worker, two: Worker
) -> None:
    """Workers carry out the highest number, and the operator's last word came after the flush."""
    for _ in range(3):
        one.order(B, Order("reset"))
    old = one.order(A, Order("isolate"))
    place.flush()
    two.sync()
    one.order(A, Order("restore"))
    one.sync(orders={A: Order("isolate", number=old)})
    order = two.sync().orders[A]
    assert order.kind == "restore"
    assert order.number > old


def test_an_isolation_told_again_that_is_over_is_not_kept(one: Worker, two: Worker) -> None:
    one.sync(orders={A: Order("isolate", number=4, left=0.0)})
    assert two.sync().orders == {}


def test_orders_name_scopes_as_well(one: Worker, two: Worker) -> None:
    one.order(f"{A}#reports", Order("isolate"))
    assert list(two.sync().orders) == [f"{A}#reports"]


# What is kept for how long


def test_a_reset_is_forgotten_after_a_minute(moving: Place, one: Worker, two: Worker) -> None:
    one.sync()
    two.sync()
    one.order(A, Order("reset"))
    moving.passes(59)
    assert one.sync().orders[A].kind == "reset"
    moving.passes(2)
    assert two.sync().orders == {}


def test_a_restore_is_forgotten_after_a_day(moving: Place, one: Worker, two: Worker) -> None:
    one.order(A, Order("restore"))
    moving.passes(RESTORED_FOR - 1)
    assert two.sync().orders[A].kind == "restore"
    moving.passes(2)
    assert two.sync(since=-1, renew=True).orders == {}


def test_an_isolation_without_end_is_kept_while_workers_renew_it(moving: Place, one: Worker, two: Worker) -> None:
    one.order(A, Order("isolate"))
    for _ in range(2):
        moving.passes(KEPT_FOR - 1)
        one.sync(renew=True)
    moving.passes(KEPT_FOR - 1)
    assert two.sync().orders[A].left is None


def test_an_isolation_without_end_is_forgotten_when_nobody_renews_it(moving: Place, one: Worker, two: Worker) -> None:
    one.order(A, Order("isolate"))
    moving.passes(KEPT_FOR + 1)
    assert two.sync().orders == {}


def test_a_round_is_kept_while_workers_renew_it(moving: Place, one: Worker) -> None:
    one.sync({A: BROKEN})
    one.sync({A: BACK})
    moving.passes(KEPT_FOR - 1)
    one.sync(renew=True)
    moving.passes(KEPT_FOR - 1)
    assert one.sync({A: BROKEN}).tallies[A].round == 1


def test_a_round_is_forgotten_when_nobody_renews_it(moving: Place, one: Worker) -> None:
    one.sync({A: BROKEN})
    one.sync({A: BACK})
    moving.passes(KEPT_FOR + 1)
    assert trouble(one.sync({A: BROKEN})) == {A: (1, 0)}


# Odd words


@pytest.mark.parametrize(("limit", "text"), [(60, "x" * 60), (60, "ä" * 60)])
def test_a_long_cause_is_cut(one: Worker, limit: int, text: str) -> None:
    assert one.sync({A: View("broken", cause=text + "and more")}).tallies[A].cause == text[:limit]


def test_a_long_label_is_cut(one: Worker) -> None:
    one.sync(label="x" * 150)
    assert one.store.overview().workers == {"id-web-1 1": "x" * 100}


def test_a_long_reason_is_cut(one: Worker) -> None:
    one.order(A, Order("isolate", reason="x" * 250, by="y" * 150))
    order = one.sync().orders[A]
    assert (order.reason, order.by) == ("x" * 200, "y" * 100)


def test_a_name_of_three_hundred_characters_is_kept_and_a_longer_one_is_not(one: Worker) -> None:
    fits, long = "h" * 300, "h" * 301
    with contextlib.suppress(StoreError):
        one.order(long, Order("isolate"))
    one.sync({fits: BROKEN, long: BROKEN}, looks={fits: AGAIN, long: AGAIN}, orders={fits: Order("isolate")})
    seen = one.store.overview()
    assert (list(seen.tallies), list(seen.orders)) == ([fits], [fits])


@pytest.mark.parametrize("text", ["é\n\t\"'{}[]%s;--", "\x00", "null", "", "\U0001f634", "1e999", "https://ü.example"])
def test_odd_texts_come_back_as_they_went(one: Worker, two: Worker, text: str) -> None:
    name = f"host {text}"
    one.sync({name: View("broken", cause=text)}, orders={name: Order("isolate", reason=text)})
    heard = two.sync()
    assert heard.tallies[name].cause == text
    assert heard.orders[name].reason == text


def test_texts_that_cannot_be_written_raise_nothing_but_a_store_error(one: Worker) -> None:
    """Half a surrogate pair, as a status line or a file name may have it."""
    bad = "\udc80"
    for act in (
        lambda: one.sync({f"host {bad}": View("broken", cause=bad)}, label=bad, orders={bad: Order("isolate")}),
        lambda: one.store.order(bad, Order("isolate", reason=bad, by=bad)),
        lambda: one.store.leave(bad),
    ):
        with contextlib.suppress(StoreError):
            act()
    assert one.sync().workers >= 1


# Many at once


def test_of_many_that_ask_at_the_same_moment_one_gets_the_look(place: Place) -> None:
    workers = [Worker(place, f"web {number}") for number in range(8)]
    barrier = threading.Barrier(len(workers))
    heard: list[Heard] = []

    def ask(worker: Worker) -> None:
        barrier.wait(30)
        heard.append(worker.sync({A: BROKEN}, looks={A: LONG}, orders={worker.name: Order("isolate")}))

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    last = Worker(place, "last").sync()
    assert sorted(one.granted for one in heard) == [()] * 7 + [(A,)]
    assert (last.workers, trouble(last)) == (9, {A: (8, 0)})
    assert len({order.number for order in last.orders.values()}) == 8


# Any order of events


HOSTS = st.sampled_from([A, B, C])
VIEWS = st.one_of(
    st.builds(
        View,
        st.just("broken"),
        round=st.integers(0, 2),
        cause=st.sampled_from([None, "503", "ReadTimeout"]),
        lasted=st.sampled_from([0.0, 1.25, 40.0]),
        failed=st.booleans(),
    ),
    st.builds(View, st.sampled_from(["broken", "fine", None]), round=st.integers(0, 2), answered=st.booleans()),
    st.builds(
        View,
        st.just("failing"),
        round=st.integers(0, 2),
        cause=st.sampled_from([None, "502"]),
        lasted=st.sampled_from([0.25, 1.0]),
    ),
    st.builds(View, st.none(), round=st.integers(0, 2), back=st.just(True)),
)
NEW_ORDERS = st.builds(
    Order,
    st.sampled_from(["isolate", "restore", "reset"]),
    number=st.sampled_from([0, 0, 0, 1, 5]),
    reason=st.sampled_from([None, "maintenance"]),
    by=st.just("ops"),
)


class Machine(RuleBasedStateMachine):
    """Workers come, say things, are late and go; after each word the answer is what the model says it must be."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        place.flush()
        self.model = Model()
        self.workers = [Worker(place, f"web {number}", ttl=ttl) for number, ttl in enumerate((3.0, 3.0, 10.0, LONG))]
        #: What each worker has heard, by the model's own count of versions; None: nothing yet.
        self.heard: dict[str, int | None] = {worker.name: None for worker in self.workers}

    def teardown(self) -> None:
        for worker in self.workers:
            worker.store.close()

    @initialize()
    def begin(self) -> None:
        self.said(self.workers[3], {}, {}, {})

    @rule(
        number=st.integers(0, 3),
        views=st.dictionaries(HOSTS, VIEWS, max_size=3),
        looks=st.dictionaries(HOSTS, st.sampled_from([1.0, 4.0]), max_size=2),
        orders=st.one_of(st.just({}), st.just({}), st.dictionaries(HOSTS, NEW_ORDERS, max_size=2)),
        most=st.sampled_from([1, 2, 256]),
        afresh=st.sampled_from([False, False, False, True]),
    )
    def sync(
        self,
        number: int,
        views: dict[str, View],
        looks: dict[str, float],
        orders: dict[str, Order],
        most: int,
        afresh: bool,
    ) -> None:
        worker = self.workers[number]
        if afresh:
            self.heard[worker.name] = worker.last = None
        self.said(worker, views, looks, orders, most)

    def said(
        self,
        worker: Worker,
        views: dict[str, View],
        looks: dict[str, float],
        orders: dict[str, Order],
        most: int = 256,
    ) -> None:
        model, since, name = self.model, self.heard[worker.name], f"id-{worker.name}"
        answer = worker.sync(views, looks=looks, orders=orders, most=most)
        now = answer.now
        model.age(now)
        model.workers[name] = now + worker.ttl * self.place.unit
        late = {host for host, view in views.items() if model.view(name, host, view, now)}
        granted = set()
        for host, units in looks.items():
            kept = model.hosts.get(host)
            if kept and kept.accusers() and now >= kept.look_at:
                granted.add(host)
                kept.look_at = now + units * self.place.unit
        for host, order in orders.items():
            model.give(host, order, now)

        assert set(answer.granted) == granted
        assert answer.workers == len(model.workers)
        assert answer.everything is (since is None)
        tallies, told = dict(answer.tallies), [answer.orders]
        assert len(set(answer.tallies) - late) <= most
        while answer.more:  # the rest, with nothing more to say
            answer = worker.sync(most=most)
            tallies.update(answer.tallies)
            told.append(answer.orders)
        due = {
            host
            for host, kept in model.hosts.items()
            if (kept.changed > since if since is not None else kept.accusers() > 0)
        }
        # With the rest, whoever heard nothing before may hear of hosts in no trouble as well.
        assert due <= set(tallies)
        assert since is None or set(tallies) - late == due - late
        assert late <= set(tallies)
        for host, tally in tallies.items():
            self.same(tally, model.hosts[host].tally())
        self.same_orders(told, since)
        self.heard[worker.name] = model.version

    def same(self, told: Tally, known: Tally) -> None:
        for name in ("broken", "failing", "fine", "round", "cause"):
            assert getattr(told, name) == getattr(known, name), name
        for name in ("since", "began", "failed_at"):
            assert getattr(told, name) == pytest.approx(getattr(known, name), abs=1e-3), name

    def same_orders(self, told: list[Mapping[str, Order]], since: int | None) -> None:
        """Each that is due was told; of two for one name the earlier one first."""
        for (name, is_reset), (order, _, changed) in self.model.orders.items():
            due = changed > since if since is not None else not is_reset
            seen = [(answer[name].kind, answer[name].number) for answer in told if name in answer]
            assert ((order.kind, order.number) in seen) is due or (since is None and is_reset)
            changes = [changed for _, (_, _, changed) in self._of(name, seen)]
            # Whoever joins hears of isolations with the first hosts, and of resets with the rest.
            assert changes == sorted(changes) or since is None
        known = {(name, order.number) for (name, _), (order, _, _) in self.model.orders.items()}
        assert {(name, order.number) for answer in told for name, order in answer.items()} <= known

    def _of(self, name: str, seen: list[tuple[str, int]]) -> list[tuple[str, tuple[Order, float, int]]]:
        """What the model keeps of each order that was told, in the order in which they were told first."""
        kept = {
            (order.kind, order.number): (name, self.model.orders[name, order.kind == "reset"])
            for (of, _), (order, _, _) in self.model.orders.items()
            if of == name
        }
        return [kept[key] for key in dict.fromkeys(seen)]

    @rule(number=st.integers(0, 2))
    def leave(self, number: int) -> None:
        worker = self.workers[number]
        worker.store.leave(f"id-{worker.name}")
        self.model.remove(f"id-{worker.name}")

    @rule(units=st.sampled_from([0.625, 1.625, 3.625, 11.0]))
    def wait(self, units: float) -> None:
        self.place.passes(units)

    @rule(name=HOSTS, order=NEW_ORDERS)
    def order(self, name: str, order: Order) -> None:
        now = self.workers[3].store.overview().now
        number = self.workers[3].store.order(name, order)
        self.model.give(name, order, now)
        if not order.number:
            assert number == self.model.counter

    @invariant()
    def what_people_see_is_what_is_known(self) -> None:
        seen = self.workers[3].store.overview()
        alive = {worker for worker, end in self.model.workers.items() if end > seen.now}
        assert set(seen.workers) == alive
        for host, kept in self.model.hosts.items():
            opinions = {who: opinion for who, opinion in kept.views.items() if who in alive}
            shown = seen.tallies.get(host, Tally(0, 0, 0, 0))
            if ACCUSES & set(opinions.values()):
                assert {who: view.opinion for who, view in seen.views[host].items()} == opinions
                count = Counter(opinions.values())
                assert (shown.broken, shown.failing, shown.fine) == (count["broken"], count["failing"], count["fine"])
            else:
                assert (shown.broken, shown.failing, shown.fine) == (0, 0, 0)
                assert not seen.views.get(host)
        orders = {(name, order.kind, order.number) for name, order in seen.orders.items()}
        assert orders == {
            (name, order.kind, order.number)
            for (name, is_reset), (order, end, _) in self.model.orders.items()
            if not is_reset and end > seen.now
        }


def test_any_history_ends_as_the_rules_say(place: Place) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Machine(place),
        settings=settings(
            max_examples=place.examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
