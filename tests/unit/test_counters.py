"""The counters of a host: what each of them counts, and that nothing makes them go back."""

from __future__ import annotations

from array import array

import pytest

from sleepwalker.engine import Queue
from sleepwalker.engine.host.counters import BOUNDS, Counters
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.events import RequestRejected
from sleepwalker.policy import Policy
from tests.unit.engine_driver import World, answer, refused


def test_each_way_to_end_is_counted_once() -> None:
    world = World(Policy(retry=False))
    world.call(answer(200))
    world.call(answer(404))
    world.call(answer(500))
    world.call(refused())
    world.begin().close()
    world.host.isolate()
    world.begin()
    found = world.host.counters
    assert (found.calls, found.answered, found.failed, found.cancelled, found.rejected) == (6, 2, 2, 1, 1)
    assert found.labelled == {("rejected", "isolation"): 1}


def test_a_histogram_counts_what_equals_a_bound_below_it() -> None:
    counters = Counters()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] + 1e-9, BOUNDS[-1], BOUNDS[-1] + 1e-9, 1e9):
        counters.attempt(seconds)
        counters.end(Holdings(), "answered", seconds)
    for histogram in (counters.attempt_seconds, counters.call_seconds):
        assert histogram.counts == (2, 1, *[0] * (len(BOUNDS) - 3), 1, 2)
        assert histogram.total == pytest.approx(BOUNDS[0] * 2 + BOUNDS[-1] * 2 + 1e9)


def test_a_bucket_counts_on_past_what_two_bytes_hold() -> None:
    counters = Counters()
    for _ in range(70_000):
        counters.attempt(0.3)
    counters.end(Holdings(), "answered", 0.3)
    assert (sum(counters.attempt_seconds.counts), sum(counters.call_seconds.counts)) == (70_000, 1)
    total = Counters()
    total.merge(counters)
    assert total.attempt_seconds == counters.attempt_seconds


def test_a_call_is_measured_with_its_waits_and_an_attempt_without() -> None:
    world = World(Policy(retry={"jitter": "none", "wait_initial": 3, "wait_multiplier": 1}))
    world.call([answer(503), answer(200)], took=0.2)
    counters = world.host.counters
    assert counters.attempt_seconds.total == pytest.approx(0.4)
    assert counters.attempt_seconds.counts[BOUNDS.index(0.25)] == 2
    assert counters.call_seconds.total == pytest.approx(3.4)
    assert counters.call_seconds.counts[BOUNDS.index(5.0)] == 1


def test_a_rejected_call_says_nothing_about_durations() -> None:
    world = World(Policy(breaker={"consecutive_for": 0, "consecutive": 2}, retry=False))
    world.trip()
    before = list(world.host.counters.call_seconds.counts)
    world.begin()
    assert world.host.counters.rejected == 1
    assert list(world.host.counters.call_seconds.counts) == before


def test_hosts_to_which_nothing_rare_happened_share_no_count() -> None:
    first, second = Counters(), Counters()
    first.count("abandoned", "budget")
    assert (second.labelled, Counters().labelled) == ({}, {})


@pytest.mark.parametrize(
    ("policy", "by"),
    [
        (Policy(rate_limit={"rate": 1, "burst": 1, "max_wait": 0}), "rate_limit"),
        (Policy(bulkhead={"max_concurrent": 1, "max_wait": 0}), "bulkhead"),
        (Policy(bulkhead={"max_concurrent": 1, "max_wait": 2}), "bulkhead"),
    ],
)
def test_what_there_is_no_room_for_is_counted_by_what_refused_it(policy: Policy, by: str) -> None:
    world = World(policy)
    first = world.begin()
    second = world.begin()
    if second.final is None:
        world.clock.advance(2)
        second.reply(False)
    counters = world.host.counters
    assert counters.labelled == {("rejected", by): 1}
    assert (counters.calls, counters.rejected, counters.rejections) == (2, 1, 1)
    assert world.only(RequestRejected).by == by
    first.reply(answer(200))
    assert counters.answered == 1


def test_a_call_that_is_isolated_while_it_queues_is_rejected_by_that_and_leaves_no_place_taken() -> None:
    world = World(Policy(bulkhead={"max_concurrent": 1, "max_wait": 2}))
    first = world.begin()
    queued = world.begin()
    assert isinstance(queued.step, Queue)
    world.host.isolate()
    queued.reply(False)
    assert world.host.counters.labelled == {("rejected", "isolation"): 1}
    assert world.host.snapshot().in_flight == 1
    first.close()


def test_retries_are_counted_by_why_they_are_not_made() -> None:
    world = World()
    world.call(refused(), replayable=False)
    world.call(answer(503), "POST")
    assert world.host.counters.labelled == {("abandoned", "not replayable"): 1, ("abandoned", "not idempotent"): 1}
    assert world.reasons() == ["not replayable", "not idempotent"]


def test_a_circuit_that_comes_and_goes_is_counted_over_its_replacements() -> None:
    """A policy that is reloaded may take the breaker away and give another one: the counts are the host's."""
    policy = Policy(breaker={"ramp": 0}, retry=False)
    world = World(policy)
    world.trip()
    world.recover()
    world.host.reconfigure(policy.replace(breaker=None))
    world.host.reconfigure(policy)
    world.trip()
    words = world.host.counters.labelled
    assert {word: words["transition", word] for word in ("open", "half-open", "closed")} == {
        "open": 2,
        "half-open": 1,
        "closed": 1,
    }


def test_a_dry_run_is_counted_apart() -> None:
    world = World(Policy(breaker={"mode": "observe"}, retry=False))
    world.trip()
    world.call(answer(200))
    assert world.host.counters.labelled == {("observed transition", "open"): 1, ("would reject", "breaker"): 1}
    assert world.host.counters.rejections == 0


def test_merging_adds_up_everything() -> None:
    world, total = World(Policy(breaker={"consecutive_for": 0})), Counters()
    world.call([answer(503), answer(200)], took=0.01)
    world.trip()
    total.merge(world.host.counters)
    total.merge(world.host.counters)
    for name in Counters.__slots__:
        mine, theirs = getattr(total, name), getattr(world.host.counters, name)
        if isinstance(mine, array):
            assert list(mine) == [2 * count for count in theirs]
        elif isinstance(mine, dict):
            assert mine == {key: 2 * count for key, count in theirs.items()} != {}
        else:
            assert mine == pytest.approx(2 * theirs)
    assert world.host.counters.labelled is not total.labelled
