"""When a circuit opens under `standard`: what lasts and is no chance, and nothing else."""

from __future__ import annotations

import random

import pytest

from sleepwalker.engine import Outcome, failed
from sleepwalker.events import BreakerOpened
from sleepwalker.exceptions import ReadError
from sleepwalker.policy import BreakerPolicy, Policy
from tests.unit.engine_driver import World, answer, refused, reset

ONCE = Policy(retry=False)


def state(here: World) -> str:
    return here.host.snapshot().breaker


def fails(here: World, times: int, apart: float, outcome: Outcome | None = None) -> None:
    """Calls that fail, so many seconds apart."""
    for number in range(times):
        if number:
            here.clock.advance(apart)
        here.call(answer(503) if outcome is None else outcome)


@pytest.mark.parametrize("failure", [answer(500), answer(503), reset(), refused()])
def test_five_failures_that_have_lasted_half_a_second_open_it(failure: Outcome) -> None:
    here = World(ONCE)
    fails(here, 4, 0.125, failure)
    assert state(here) == "closed"
    here.clock.advance(0.125)
    here.call(failure)
    assert here.only(BreakerOpened).rule == "consecutive"


def test_forty_failures_within_a_moment_do_not() -> None:
    """As many calls as are in flight fail at once where one of several machines restarts."""
    here = World(ONCE)
    calls = [here.begin() for _ in range(40)]
    for call in calls:
        call.reply(reset())
    here.clock.advance(0.4)
    here.call(answer(200))
    here.clock.advance(0.2)
    fails(here, 4, 0.0)
    assert state(here) == "closed"


def test_the_failures_of_a_moment_count_if_they_go_on() -> None:
    here = World(ONCE)
    fails(here, 20, 0.0)
    here.clock.advance(0.5)
    here.call(answer(503))
    assert state(here) == "open"


@pytest.mark.parametrize(("ill", "run"), [(1, 5), (20, 8), (30, 10), (50, 16)])
def test_the_more_failed_before_the_longer_a_run_must_be(ill: int, run: int) -> None:
    """Of 100 attempts `ill` failed, one here and one there: a run that chance gives now and then says nothing."""
    here = World(Policy(retry=False, breaker={"min_calls": 1000}))
    for number in range(100):
        here.clock.advance(0.1)
        bad = (number + 1) * ill // 100 > number * ill // 100
        here.call(answer(503 if bad else 200))
    here.call(answer(200))
    fails(here, run - 1, 0.2)
    assert state(here) == "closed"
    here.clock.advance(0.2)
    here.call(answer(503))
    assert state(here) == "open"


@pytest.mark.parametrize("run", [2, 3, 10])
def test_a_run_as_long_as_the_policy_says_is_enough_where_hardly_anything_failed_before(run: int) -> None:
    here = World(Policy(retry=False, breaker={"consecutive": run}))
    for _ in range(40):
        here.call(answer(200))
    fails(here, run - 1, 0.25)
    assert state(here) == "closed"
    here.clock.advance(0.5)
    here.call(answer(503))
    assert state(here) == "open"


def test_the_attempts_of_one_call_never_open_it() -> None:
    """Eight attempts are eight attempts: the fifth does not end those of its own call."""
    here = World(Policy(retry={"attempts": 8, "wait_initial": 0.2, "jitter": "none", "wait_multiplier": 1}))
    call = here.call([*[answer(503)] * 7, answer(200)])
    assert (call.outcome.status, len(call.sends)) == (200, 8)
    assert state(here) == "closed"


def test_but_they_count_once_a_second_call_fails() -> None:
    here = World(Policy(retry={"attempts": 8, "wait_initial": 0.2, "jitter": "none", "wait_multiplier": 1}))
    here.call(answer(503))
    here.call([answer(503)])
    assert here.only(BreakerOpened).rule == "consecutive"


def test_a_retry_is_not_made_where_the_circuit_is_about_to_open() -> None:
    """A run that is no chance and has lasted half of what it must: a third attempt would be in vain."""
    here = World(Policy(retry={"jitter": "none"}))
    fails(here, 5, 0.0)
    here.clock.advance(0.25)
    call = here.begin().reply(answer(503))
    assert call.final is not None
    assert here.reasons()[-1] == "breaker"


def test_a_wait_that_is_longer_than_the_circuit_will_be_open_is_waited() -> None:
    """The server asked for 6 s, and the circuit looks after 1 s."""
    here = World(Policy(retry={"jitter": "none"}))
    fails(here, 5, 0.0)
    here.clock.advance(0.5)
    call = here.begin().reply(answer(503, "6"))
    assert state(here) == "open"
    assert call.waits == [6.0]
    here.clock.advance(6.0)
    assert call.reply(False).reply(answer(200)).outcome.status == 200


def test_an_earlier_retry_is_and_carries_a_call_over_a_blip() -> None:
    here = World(Policy(retry={"jitter": "none"}))
    calls = [here.begin().reply(reset()) for _ in range(10)]
    here.clock.advance(0.1)
    for call in calls:
        call.reply(False)
        call.reply(answer(200))
        assert call.outcome.status == 200


def test_without_a_time_the_run_alone_decides_at_once() -> None:
    here = World(Policy(breaker={"consecutive_for": 0, "consecutive": 3}, retry={"attempts": 10, "jitter": "none"}))
    here.call([answer(503)] * 3)
    assert here.only(BreakerOpened).rule == "consecutive"


def test_a_share_opens_it_where_hardly_anything_is_answered() -> None:
    here = World(Policy(retry=False, breaker={"consecutive": 10_000}))
    for number in range(100):
        here.call(answer(200 if number % 5 == 0 else 503))
    assert state(here) == "closed"  # four of five
    here = World(Policy(retry=False, breaker={"consecutive": 10_000}))
    for number in range(50):
        here.call(answer(200 if number % 10 == 0 else 503))
    assert here.only(BreakerOpened).rule == "failure_ratio"


# A host that has just come back


def back(policy: Policy = ONCE) -> World:
    here = World(policy)
    here.trip()
    here.recover()
    return here


def test_one_that_is_cold_may_fail_more() -> None:
    """It answers one of nine at first. A warm one would be down after five."""
    here = back()
    fails(here, 8, 0.1)
    here.call(answer(200))
    fails(here, 8, 0.1)
    assert len(here.all(BreakerOpened)) == 1


def test_it_is_still_cold_after_its_policy_was_read_again() -> None:
    here = back()
    here.host.reconfigure(here.policy.replace(breaker={"open_max": 90}))
    fails(here, 8, 0.1)
    assert len(here.all(BreakerOpened)) == 1


def test_one_that_answers_nothing_any_more_is_down_again() -> None:
    here = back()
    fails(here, 20, 0.03)
    assert len(here.all(BreakerOpened)) == 1
    here.clock.advance(0.03)
    here.call(answer(503))
    assert [event.open_for for event in here.all(BreakerOpened)] == [1.0, 1.0]


def test_with_few_calls_it_is_judged_as_usual_once_it_should_be_warm() -> None:
    here = back()
    fails(here, 5, 1.0)
    assert len(here.all(BreakerOpened)) == 1
    here.clock.advance(1.0)
    here.call(answer(503))
    assert len(here.all(BreakerOpened)) == 2


# A probe of a path of its own


def closed_by_probe(here: World) -> None:
    for _ in range(2):
        here.host.outcomes.probed(answer(200), here.clock.now)
    assert state(here) == "closed"


def test_a_probe_closes_the_circuit_before_its_time_and_the_first_call_that_fails_opens_it() -> None:
    """No call has seen the host well: the path that is probed may be well while the others are not."""
    here = World(ONCE)
    here.trip()
    closed_by_probe(here)
    here.call(answer(503))
    assert [(event.rule, event.open_for) for event in here.all(BreakerOpened)] == [("consecutive", 1.0), ("probe", 1.5)]


def test_a_probe_that_was_wrong_shortens_no_open_time_any_more() -> None:
    here = World(ONCE)
    here.trip()
    closed_by_probe(here)
    here.call(answer(503))
    for expected in (1.5, 2.25, 3.375):
        here.host.outcomes.probed(answer(200), here.clock.now)
        assert state(here) == "open"
        here.clock.advance(expected)
        closed_by_probe(here)
        here.call(answer(503))
    assert here.all(BreakerOpened)[-1].open_for == pytest.approx(5.0625)


def test_it_is_believed_again_once_a_call_was_answered() -> None:
    here = World(ONCE)
    here.trip()
    closed_by_probe(here)
    here.call(answer(503))
    here.clock.advance(1.5)
    closed_by_probe(here)
    here.call(answer(200))
    here.clock.advance(60.0)
    here.trip()
    closed_by_probe(here)
    assert state(here) == "closed"


def test_after_a_reset_by_hand_nothing_of_the_outage_counts() -> None:
    here = World(ONCE)
    here.trip()
    for _ in range(4):
        here.clock.advance(here.host.snapshot().retry_in or 0.0)
        here.call(reset())
    here.host.reset_circuit()
    calls = [here.begin() for _ in range(50)]
    assert {type(call.step).__name__ for call in calls} == {"Send"}
    for call in calls:
        call.reply(answer(200))
    here.trip()
    assert here.all(BreakerOpened)[-1].open_for == 1.0


def test_the_defaults_are_those_of_the_docs() -> None:
    policy = BreakerPolicy()
    assert (policy.failure_ratio, policy.min_calls, policy.consecutive, policy.consecutive_for) == (0.85, 50, 5, 0.5)
    assert (policy.open_for, policy.open_growth, policy.open_max, policy.max_wait) == (1.0, 1.5, 10.0, 0.0)


# Streams: the head of a response counts as a success, until its body breaks.


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_that_breaks_counts_as_if_it_had_failed(seed: int) -> None:
    """Whatever comes before and after it, and whether its circuit opens: at the same moment as for a plain failure."""
    dice, plain, streams = random.Random(seed), World(ONCE), World(ONCE)
    share = dice.choice([0.2, 0.5, 0.8, 0.95])
    for _ in range(300):
        broken = dice.random() < share
        for here in (plain, streams):
            here.clock.now = plain.clock.now if here is streams else here.clock.now + 0.05
            if not broken:
                here.call(answer(200))
            elif here is plain or state(here) == "open":
                here.call(failed(ReadError("broke off")))
            else:
                here.stream()()
        mine, theirs = streams.host.snapshot(), plain.host.snapshot()
        assert (mine.breaker, mine.success_ratio, mine.consecutive_failures, mine.failures) == (
            theirs.breaker,
            theirs.success_ratio,
            theirs.consecutive_failures,
            theirs.failures,
        )
        if theirs.breaker != "closed":
            break


@pytest.mark.parametrize("readers", [1, 2, 3, 30, 100])
def test_it_opens_where_all_bodies_break_however_many_are_read_at_a_time(readers: int) -> None:
    here = World(ONCE)
    for _ in range(200):
        broken = [here.stream() for _ in range(readers)]
        here.clock.advance(0.2)
        for breaks in broken:
            breaks()
        if state(here) == "open":
            break
    assert state(here) == "open"
    assert here.host.snapshot().failures <= 12 * readers


def test_streams_that_are_never_read_to_their_end_are_successes() -> None:
    here = World(ONCE)
    for _ in range(1000):
        here.stream()
        here.clock.advance(0.1)
    fails(here, 4, 1.0)
    assert state(here) == "closed"
    here.clock.advance(1.0)
    here.stream()
    fails(here, 4, 1.0)
    assert state(here) == "closed"


def test_a_long_stream_that_breaks_at_last_is_one_failure() -> None:
    """Others were answered meanwhile, and the window in which it began is over."""
    here = World(ONCE)
    breaks = here.stream()
    for _ in range(300):
        here.clock.advance(1.0)
        here.call(answer(200))
    breaks()
    fails(here, 3, 1.0)
    assert state(here) == "closed"
    health = here.host.snapshot()
    assert (health.failures, health.attempts) == (4, 304)


def test_a_probe_whose_body_breaks_opens_the_circuit_again_for_longer() -> None:
    here = World(ONCE)
    fails(here, 6, 0.125)
    here.clock.advance(2.0)
    probes = [here.stream() for _ in range(2)]
    assert state(here) == "closed"
    probes[0]()
    assert state(here) == "open"
    first, second = here.all(BreakerOpened)
    assert second.rule == "probe"
    assert second.open_for > first.open_for
    probes[1]()
    assert len(here.all(BreakerOpened)) == 2


def test_a_probe_whose_body_breaks_once_the_load_is_back_moves_nothing() -> None:
    here = World(ONCE)
    fails(here, 6, 0.125)
    here.clock.advance(2.0)
    probes = [here.stream() for _ in range(2)]
    here.clock.advance(60.0)
    for _ in range(30):
        here.call(answer(200))
    for breaks in probes:
        breaks()
    assert state(here) == "closed"


def test_a_body_that_breaks_while_its_probe_is_not_enough_opens_it_again() -> None:
    here = World(ONCE)
    fails(here, 6, 0.125)
    here.clock.advance(2.0)
    breaks = here.stream()
    assert state(here) == "half-open"
    breaks()
    assert state(here) == "open"
