"""Trouble told from chance: healthy counts of many shapes have none, and every fault is found where it is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepwalker.inspect.episodes import Draft, Evidence, drafts
from sleepwalker.inspect.model import Outage
from sleepwalker.inspect.segments import CALLS, FEWEST, SENDS, SLOW, Count, Scale, bad_runs
from sleepwalker.inspect.ticks import Tick, interval_for
from tests.ranges import some

#: Arithmetic: no interpreter and no library does it differently.
pytestmark = pytest.mark.once

#: Calls per interval, over a log of which `at` goes from 0 to 1.
LOADS: dict[str, Callable[[float], float]] = {
    "rare": lambda _: 0.05,
    "one": lambda _: 1.0,
    "steady": lambda _: 20.0,
    "a day and a night": lambda at: 20 * (1 + 0.9 * math.sin(2 * math.pi * at)),
    "bursts": lambda at: 100.0 if int(at * 40) % 8 == 0 else 0.3,
}


def poisson(dice: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    number, chance, limit = 0, dice.random(), math.exp(-mean)
    while chance > limit:
        number += 1
        chance *= dice.random()
    return number


def counts(
    seed: int, load: Callable[[float], float], usual: float, length: int, fault: Callable[[int], float] = lambda _: 0.0
) -> list[Count]:
    """Intervals in which calls are bad by chance: as is usual, or as often as the fault has it."""
    dice = random.Random(seed)
    made = []
    for number in range(length):
        calls = poisson(dice, load(number / length))
        bad = sum(dice.random() < max(usual, fault(number)) for _ in range(calls))
        if calls:
            made.append(Count(number, bad, calls - bad))
    return made


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    ("scale", "usual"),
    [(CALLS, 0.0001), (CALLS, 0.01), (CALLS, 0.02), (SENDS, 0.01), (SENDS, 0.05), (SLOW, 0.005), (SLOW, 0.02)],
    ids=lambda value: "" if isinstance(value, Scale) else str(value),
)
def test_a_healthy_log_has_no_trouble_whatever_its_load(load: str, scale: Scale, usual: float) -> None:
    for seed in range(some(3, 12)):
        assert bad_runs(counts(seed, LOADS[load], usual, 700), scale) == []


@settings(max_examples=some(15, 200))
@given(
    seed=st.integers(0, 10**6),
    load=st.sampled_from(sorted(LOADS)),
    usual=st.floats(0, 0.015),
    length=st.integers(2, 600),
)
def test_no_healthy_log_of_any_length_has_trouble(seed: int, load: str, usual: float, length: int) -> None:
    assert bad_runs(counts(seed, LOADS[load], usual, length), CALLS) == []


@settings(max_examples=some(15, 200))
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([2, 8, 40, 200]),
    usual=st.floats(0, 0.01),
    share=st.sampled_from([0.2, 0.4, 0.7, 1.0]),
    begin=st.integers(5, 120),
    length=st.integers(2, 60),
)
def test_a_fault_of_enough_calls_is_found_and_begins_and_ends_where_it_does(
    seed: int, rate: int, usual: float, share: float, begin: int, length: int
) -> None:
    """Enough are 20 failures, so dense that an interval without one is no end.

    Of a fault of one call in five, chance can make the first and the last intervals nearly healthy ones.
    """
    end = begin + length - 1
    made = counts(seed, lambda _: rate, usual, 200, lambda number: share if begin <= number <= end else 0.0)
    failed = [one.number for one in made if begin <= one.number <= end and one.bad]
    if sum(one.bad for one in made if begin <= one.number <= end) < 20 or rate * share < 4:
        return  # too little to be sure of
    [(first, last)] = bad_runs(made, CALLS)
    # A fault shows with its first failure and no earlier.
    within = 1 if share > 0.2 else 3
    assert abs(made[first].number - failed[0]) <= within
    assert abs(made[last].number - failed[-1]) <= within


@pytest.mark.parametrize("every", [1, 3, 10, 60])
def test_rare_calls_add_up_over_intervals(every: int) -> None:
    """A call in sixty intervals: five of them that fail one after the other are an outage all the same."""
    made = [Count(number, float(40 <= number // every < 46), float(not 40 <= number // every < 46)) for number in
            range(0, 100 * every, every)]  # fmt: skip
    assert [(made[first].number // every, made[last].number // every) for first, last in bad_runs(made, CALLS)] == [
        (40, 45)
    ]


@pytest.mark.parametrize("bad", [1, 2])
def test_one_or_two_failures_are_no_outage_even_if_nothing_else_was_called(bad: int) -> None:
    assert FEWEST == 3
    assert bad_runs([Count(1, bad, 0)], CALLS) == []
    assert bad_runs([Count(1, bad, 0), Count(2, 0, 50)], CALLS) == []


def test_two_outages_with_a_quiet_hour_between_them_are_two() -> None:
    made = [Count(number, 100, 0) if number in (10, 11, 80, 81) else Count(number, 0, 100) for number in range(100)]
    assert bad_runs(made, CALLS) == [(10, 11), (80, 81)]


def test_a_share_that_a_host_always_has_is_usual_as_far_as_the_scale_goes() -> None:
    for seed in range(5):
        assert bad_runs(counts(seed, LOADS["steady"], 0.10, 700), SENDS) == []
        runs = bad_runs(counts(seed, LOADS["steady"], 0.09, 700), CALLS)
        assert sum(last - first + 1 for first, last in runs) > 600, "the scale ends where callers notice"


# -- episodes from intervals and states ------------------------------------------------------------


def tick(number: int, bad: int = 0, good: int = 0, **values: float) -> Tick:
    made = Tick(number, answered=good, failed=bad)
    if bad:
        made.first_bad, made.last_bad = number + 0.2, number + 0.8
    if good:
        made.last_good = number + 0.9
    for name, value in values.items():
        setattr(made, name, value)
    return made


def found(known: Evidence, end: float = 100.0) -> list[tuple[float, float, bool]]:
    return [(one.begin, one.end, one.goes_on) for one in drafts(known, 1, end)]


def test_a_state_and_the_failures_before_it_are_one_episode() -> None:
    known = Evidence([tick(at, 5 if 10 <= at < 13 else 0, 0 if 10 <= at < 20 else 20) for at in range(100)],
                     [Outage(12.5, 20.25, "breaker", None)])  # fmt: skip
    assert found(known) == [(10.2, 20.25, False)]


def test_a_state_that_no_event_ends_goes_on() -> None:
    known = Evidence([tick(at, 0 if at < 50 else 9, 9 if at < 50 else 0) for at in range(60)],
                     [Outage(51.0, None, "connect", None)])  # fmt: skip
    assert found(known) == [(50.2, 100.0, True)]


def test_failures_that_last_until_the_last_call_go_on_also_if_that_was_long_ago() -> None:
    known = Evidence([tick(at, 0 if at < 50 else 9, 9 if at < 50 else 0) for at in range(55)])
    assert found(known, 1000.0) == [(50.2, 54.8, True)]


def test_what_a_circuit_refuses_after_it_has_closed_says_nothing_about_the_host() -> None:
    ticks = [tick(at, 0, 20, shut=30.0 if 60 <= at < 65 else 0.0, first_shut=at + 0.1, last_shut=at + 0.9)
             for at in range(100)]  # fmt: skip
    assert found(Evidence(ticks, ramps=[(60.0, 65.0)])) == []
    assert [(begin, end) for begin, end, _ in found(Evidence(ticks))] == [(60.1, 64.9)]


def test_what_an_operator_refuses_is_told_by_the_isolation_alone() -> None:
    ticks = [tick(at, 0, 0 if 30 <= at < 40 else 9, isolated=9.0 if 30 <= at < 40 else 0.0) for at in range(60)]
    assert found(Evidence(ticks, isolated=[Outage(30.0, 40.0, "isolated", None)])) == [(30.0, 40.0, False)]
    assert len(found(Evidence(ticks))) == 1, "where its events are not in the log, the calls tell"


def test_slow_and_failing_at_once_is_one_episode() -> None:
    ticks = [
        tick(at, 9 if 30 <= at < 40 else 0, 20, quick=20, slow=15 if 20 <= at < 40 else 0,
             first_slow=at + 0.1, last_slow=at + 0.9)
        for at in range(60)
    ]  # fmt: skip
    [one] = drafts(Evidence(ticks), 1, 60.0)
    assert (one.begin, one.end, one.signs >= {"calls", "slow"}) == (20.1, 39.9, True)


def test_what_is_so_for_all_of_the_log_does_not_swallow_an_outage() -> None:
    """A quarter of the sends fail all day long; and for a minute, all of them do."""
    ticks = [tick(at, 20 if 300 <= at < 360 else 0, 0 if 300 <= at < 360 else 20, sends_failed=7,
                  first_bad=at + 0.1, last_bad=at + 0.9) for at in range(1000)]  # fmt: skip
    made = drafts(Evidence(ticks), 1, 1000.0)
    assert [(one.always, round(one.begin), round(one.end)) for one in made] == [(True, 0, 1000), (False, 300, 360)]


def test_a_draft_goes_on_if_its_calls_or_its_state_do() -> None:
    assert not Draft(0, 1).goes_on
    assert Draft(0, 1, counts_go_on=True).goes_on
    assert Draft(0, 1, state_goes_on=True).goes_on


@pytest.mark.parametrize(
    ("length", "hosts", "interval"),
    [(0, 1, 1), (30, 8, 1), (1_400, 20, 1), (3_600, 20, 5), (86_400, 20, 60), (604_800, 20, 600), (86_400, 2_000, 600)],
)
def test_the_interval_fits_a_minute_a_day_and_a_week(length: float, hosts: int, interval: int) -> None:
    assert interval_for(length, hosts) == interval
