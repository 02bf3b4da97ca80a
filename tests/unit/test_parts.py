"""Parts of a host: each has a record of its own, and shares with the host only what is true of the machine."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from types import FrameType

import pytest

from sleepwalker.engine import Host, HostHealth, Isolation, Outcome, Queue, Send, Wait
from sleepwalker.engine.host.parts import MOST_PARTS
from sleepwalker.events import BreakerOpened, HostBroken, HostIsolated, HostRecovered, RequestFailed
from sleepwalker.exceptions import BulkheadFullError, CircuitOpenError, HostIsolatedError, RateLimitedError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import HOST, Running, World, answer, refused, reset

NAME = f"{HOST}#reports"
#: A circuit that has opened stays so.
LASTING = Policy(breaker={"open_for": 60, "open_max": 60})


class Whole(World):
    """A host, and a world for each of its parts, with the same clock and the same record of events."""

    def __init__(self, policy: Policy = LASTING) -> None:
        super().__init__(policy)

    def part(self, name: str = "reports", policy: Policy | None = None) -> World:
        record, _, news = self.host.part(name, policy)
        world = World(policy or self.policy, self.clock)
        world.host = record
        world.announced = self.announced
        self.announced += [(event, None) for event in news]
        return world


def broken_by(outcome: Callable[[], Outcome], here: World, calls: int = 10) -> None:
    """So many failures, or as many as open the circuit."""
    for _ in range(calls):
        here.call(outcome())
        if here.host.rejects(here.clock.monotonic()):
            return
        here.clock.advance(0.2)


def test_a_part_that_fails_opens_its_own_circuit_and_not_that_of_its_host_or_of_other_parts() -> None:
    here = Whole()
    part, other = here.part(), here.part("orders")
    broken_by(lambda: answer(500), part)
    assert isinstance(part.begin().outcome.error, CircuitOpenError)
    assert [one.host.snapshot().breaker for one in (part, here, other)] == ["open", "closed", "closed"]
    assert [one.host.snapshot().state for one in (part, here, other)] == ["broken", "unknown", "unknown"]
    assert [isinstance(one.begin().step, Send) for one in (here, other)] == [True, True]
    assert {event.host for event in here.all(BreakerOpened)} == {NAME}


def test_a_host_that_fails_leaves_its_parts_alone() -> None:
    here = Whole()
    part = here.part()
    broken_by(lambda: answer(500), here)
    assert isinstance(here.begin().outcome.error, CircuitOpenError)
    assert isinstance(part.begin().step, Send)
    assert part.host.snapshot().state == "unknown"


def test_all_that_is_told_of_a_part_bears_its_name() -> None:
    here = Whole()
    part = here.part()
    broken_by(lambda: answer(500), part, 11)
    error = part.begin().outcome.error
    assert isinstance(error, CircuitOpenError)
    assert error.host == NAME
    assert str(error).startswith(f"the circuit of {NAME} is open")
    assert {event.host for event in here.events} == {NAME}
    assert part.host.snapshot().host == NAME


def test_each_part_has_its_own_counts_places_tokens_and_retries() -> None:
    policy = Policy(
        retry={"attempts": 2, "budget": {"ratio": 0.1, "min_per_second": 0.1, "window": 10}},
        breaker=False,
        bulkhead={"max_concurrent": 1},
        rate_limit={"rate": 0.001, "burst": 3},
    )
    here = Whole(policy)
    part = here.part()
    first = part.begin()
    assert first.sends
    assert isinstance(part.begin().outcome.error, BulkheadFullError)
    assert here.begin().sends
    first.reply(answer(200))
    part.call(answer(503))
    part.call(answer(503))
    assert isinstance(part.begin().outcome.error, RateLimitedError)
    assert isinstance(here.begin().step, Send)
    assert here.reasons() == ["budget"], "one of two retries was more than the part may have"
    mine, whole = part.host.snapshot(), here.host.snapshot()
    assert (mine.calls, mine.failures, mine.retries, mine.rejections) == (5, 3, 1, 2)
    assert (whole.calls, whole.failures, whole.retries, whole.rejections) == (2, 0, 0, 0)


def test_the_record_of_a_part_is_the_same_each_time_for_as_long_as_its_host_has_one() -> None:
    here = Whole()
    assert here.host.part("reports")[0] is here.host.part("reports")[0]
    kept = weakref.ref(here.host.part("reports")[0])
    gc.collect()
    assert kept() is here.host.known_part("reports")
    host = weakref.ref(here.host)
    del here
    assert host() is None, "a host and its parts do not keep each other alive"
    assert kept() is None


# Connecting is the machine's business.


def test_failures_to_connect_through_a_part_count_for_its_host() -> None:
    here = Whole(Policy(retry=False))
    part, other = here.part(), here.part("orders")
    for each in (part, other, part):
        assert here.host.broken_by(here.clock.now) is None
        each.call(refused())
    assert here.host.broken_by(here.clock.now) == "connect"
    assert (here.only(HostBroken).host, here.only(HostBroken).failures) == (HOST, 3)
    assert here.only(HostBroken).cause == "ConnectError"
    assert here.host.snapshot().last_error is not None
    assert [one.host.snapshot().state for one in (here, part, other)] == ["broken"] * 3
    assert here.host.snapshot().attempts == 0, "each is counted once"


def test_what_a_part_was_answered_or_what_broke_off_counts_for_the_part_alone() -> None:
    here = Whole(Policy(retry=False))
    part = here.part()
    for outcome in (reset(), answer(500), reset(), answer(503), reset()):
        part.call(outcome)
    assert here.host.broken_by(here.clock.now) is None
    assert here.host.snapshot().failures == 0


def test_an_answer_through_a_part_ends_a_run_of_failures_to_connect() -> None:
    here = Whole(Policy(retry=False))
    part = here.part()
    for outcome in (refused(), refused(), answer(200), refused(), refused(), answer(503), refused(), refused()):
        part.call(outcome)
    assert here.host.broken_by(here.clock.now) is None


def test_a_host_that_only_its_parts_call_is_back_with_the_first_success_of_one() -> None:
    here = Whole(Policy(retry=False))
    part = here.part()
    broken_by(refused, part, 3)
    moment = here.clock.now
    part.call(answer(503))
    assert here.host.broken_by(here.clock.now) == "connect", "as for its own calls: another failure is no recovery"
    part.call(answer(200))
    assert here.host.broken_by(here.clock.now) is None
    assert here.only(HostRecovered).host == HOST
    assert here.host.answered_since(moment - 0.1), "so that hooks which are held off may be asked"
    assert not here.host.unhealthy


def test_failures_to_connect_before_a_circuit_was_reset_by_hand_say_nothing() -> None:
    here = Whole(Policy(retry=False))
    part = here.part()
    calls = [part.begin() for _ in range(3)]
    here.clock.advance(1)
    here.host.reset_circuit()
    here.clock.advance(1)
    for call in calls:
        call.reply(refused())
    assert here.host.broken_by(here.clock.now) is None


def test_a_part_outlives_its_host_unharmed() -> None:
    """A connection may be given another record while calls of its scope are under way."""
    here = Whole()
    part = here.part()
    record = part.host
    here.host = Host(HOST, here.policy, here.clock)
    gc.collect()
    for outcome in (refused(), answer(200)):
        part.call(outcome)
    assert record.snapshot().calls == 2
    assert record.snapshot().connections == 0


# An operator's hand.


def test_while_a_host_is_isolated_so_are_its_parts() -> None:
    here = Whole()
    part = here.part()
    here.host.isolate(Isolation("maintenance"))
    error = part.begin().outcome.error
    assert isinstance(error, HostIsolatedError)
    assert (error.host, error.reason) == (HOST, "maintenance"), "what is to be restored is the host"
    assert isinstance(here.part("new").begin().outcome.error, HostIsolatedError)
    health = part.host.snapshot()
    assert (health.state, health.isolated_reason) == ("isolated", "maintenance")
    here.host.restore()
    assert isinstance(part.begin().step, Send)
    assert part.host.snapshot().state == "unknown"


def test_isolating_a_part_leaves_its_host_in_use() -> None:
    here = Whole()
    part = here.part()
    news = part.host.isolate()
    assert [event.host for event in news if isinstance(event, HostIsolated)] == [NAME]
    error = part.begin().outcome.error
    assert isinstance(error, HostIsolatedError)
    assert error.host == NAME
    assert isinstance(here.begin().step, Send)
    assert isinstance(here.part("orders").begin().step, Send)
    here.host.isolate()
    here.host.restore()
    assert isinstance(part.begin().outcome.error, HostIsolatedError)


def test_isolating_a_host_ends_the_waits_of_its_parts() -> None:
    here = Whole(Policy(bulkhead={"max_concurrent": 1, "max_wait": 5}))
    part = here.part()
    first = part.begin()
    queued = part.begin()
    assert isinstance(queued.step, Queue)
    here.host.isolate()
    assert queued.step.waiter.woken
    assert isinstance(queued.reply(False).outcome.error, HostIsolatedError)
    first.reply(answer(200))
    assert here.all(RequestFailed)[0].host == NAME


def test_isolating_a_host_wakes_those_who_wait_for_the_circuit_of_a_part() -> None:
    here = Whole(Policy(breaker={"consecutive": 1, "consecutive_for": 0, "max_wait": 5}, retry=False))
    part = here.part()
    part.call(answer(500))
    waiting = part.begin()
    assert isinstance(waiting.step, Wait)
    assert waiting.step.waiter is not None
    assert not waiting.step.waiter.woken
    here.host.isolate()
    assert waiting.step.waiter.woken
    assert isinstance(waiting.reply(False).outcome.error, HostIsolatedError)


def test_an_isolation_of_the_host_whose_time_is_over_holds_no_part_back() -> None:
    here = Whole()
    part = here.part()
    here.host.isolate(Isolation(until=here.clock.wall() + 10))
    assert isinstance(part.begin().outcome.error, HostIsolatedError)
    here.clock.advance(11)
    assert isinstance(part.begin().step, Send)


def test_resetting_the_circuit_of_a_host_closes_those_of_its_parts() -> None:
    here = Whole()
    part, other = here.part(), here.part("orders")
    for one in (part, other):
        broken_by(lambda: answer(500), one)
    part.host.reset_circuit()
    assert [one.host.snapshot().breaker for one in (part, other)] == ["closed", "open"]
    here.host.reset_circuit()
    assert other.host.snapshot().breaker == "closed"


# Whose policy.


def test_a_part_goes_by_the_policy_of_its_host_and_follows_it() -> None:
    here = Whole(Policy(bulkhead={"max_concurrent": 2}))
    part = here.part()
    assert part.host.limit == 2
    here.host.reconfigure(Policy(bulkhead={"max_concurrent": 3}))
    assert part.host.limit == 3


def test_a_part_with_a_policy_of_its_own_keeps_it() -> None:
    here = Whole(Policy(bulkhead={"max_concurrent": 2}))
    own = Policy(bulkhead={"max_concurrent": 7}, breaker=False)
    part = here.part(policy=own)
    assert (part.host.limit, part.host.breaker) == (7, None)
    here.host.reconfigure(Policy(bulkhead={"max_concurrent": 3}))
    assert part.host.limit == 7
    part.host.give(Policy(bulkhead={"max_concurrent": 8}))
    assert part.host.limit == 8


def test_the_first_policy_that_is_given_for_a_part_counts() -> None:
    """Independent of order: else the policy would depend on which code asked without one first."""
    here = Whole(Policy(bulkhead={"max_concurrent": 2}))
    first, second = (Policy(bulkhead={"max_concurrent": most}) for most in (7, 8))
    assert here.host.part("reports")[1]
    running = here.part().begin()
    record, heeded, _ = here.host.part("reports", first)
    assert (record.limit, heeded) == (7, True)
    assert record.snapshot().in_flight == 1, "it goes on with all that is known and under way"
    assert here.host.part("reports", Policy(bulkhead={"max_concurrent": 7}))[1]
    _, heeded, _ = here.host.part("reports", second)
    assert not heeded
    assert record.limit == 7
    running.reply(answer(200))


# How many, and for how long.


def test_of_more_parts_than_are_kept_those_unused_for_longest_go_first() -> None:
    here = Whole()
    first = weakref.ref(here.host.part("0")[0])
    second = weakref.ref(here.host.part("1")[0])
    for number in range(2, MOST_PARTS):
        here.host.part(str(number))
    here.host.part("0")
    here.host.part("one more")
    gc.collect()
    assert first() is not None
    assert second() is None
    assert len(here.host.parts()) == MOST_PARTS


def test_a_part_in_use_is_the_same_however_many_others_are_made() -> None:
    here = Whole()
    held = here.host.part("held")[0]
    for number in range(MOST_PARTS + 1):
        here.host.part(str(number))
    assert here.host.part("held")[0] is held
    kept = weakref.ref(held)
    del held
    gc.collect()
    assert kept() is not None, "it was used last"


def test_parts_that_are_used_while_others_have_them_are_not_kept_for_ever() -> None:
    """A service that has an object for each of 20,000 tenants, and lets go of them, kept the records of all."""
    here = Whole()
    held = [here.host.part(str(number))[0] for number in range(2 * MOST_PARTS)]
    for number in range(2 * MOST_PARTS):
        here.host.part(str(number))
    del held
    gc.collect()
    assert len(here.host.parts()) == MOST_PARTS


def test_parts_that_were_needed_together_are_let_go_once_they_are_not() -> None:
    """In an outage the circuit of each tenant is open, and none is dropped for another."""
    here = Whole()
    held = [here.host.part(str(number))[0] for number in range(2 * MOST_PARTS)]
    for record in held:
        record.isolate()
    for number in range(2 * MOST_PARTS):
        here.host.part(str(number))
    for record in held:
        record.restore()
    del held, record
    gc.collect()
    assert len(here.host.parts()) == 2 * MOST_PARTS
    for number in range(MOST_PARTS):
        here.host.part(f"later {number}")
    gc.collect()
    assert len(here.host.parts()) == MOST_PARTS


def test_parts_are_listed_while_others_come() -> None:
    """`manager.health()` raised "dictionary changed size during iteration"."""
    here = Whole()
    held = [here.host.part(str(number))[0] for number in range(10)]

    def come(frame: FrameType, event: str, _: object) -> None:
        """Another thread's turn, where threads may take turns while they are listed."""
        if event == "call" and frame.f_code.co_filename == weakref.__file__ and frame.f_code.co_name != "__init__":
            sys.setprofile(None)
            held.append(here.host.part(f"more {len(held)}")[0])
            sys.setprofile(come)

    sys.setprofile(come)
    try:
        listed = here.host.parts()
    finally:
        sys.setprofile(None)
    assert len(held) > 10
    assert {*held[:10]} <= {*listed}


@pytest.mark.parametrize("state", ["open", "isolated", "busy"])
def test_a_part_that_would_be_missed_is_not_dropped_for_others(state: str) -> None:
    """Its open circuit would be closed again, and its host hammered."""
    here = Whole()
    part = here.part("kept")
    running: Running | None = None
    if state == "open":
        broken_by(lambda: answer(500), part)
    elif state == "isolated":
        part.host.isolate()
    else:
        running = part.begin()
    kept = weakref.ref(part.host)
    del part
    for number in range(MOST_PARTS + 5):
        here.host.part(str(number))
    gc.collect()
    assert kept() is not None
    assert here.host.part("kept")[0] is kept()
    assert len(here.host.parts()) <= MOST_PARTS + 1
    del running


def broken(part: World) -> HostHealth:
    broken_by(lambda: answer(500), part)
    health = part.host.snapshot()
    assert health.broken_since is not None
    return health


def test_a_part_that_is_out_of_use_does_not_look_broken_for_ever() -> None:
    """A tenant that has gone, or a route that was taken out: an alert on it would never end."""
    here = Whole()
    part, other = here.part(), here.part("orders")
    broken(part)
    other.call(answer(200))
    assert here.host.parts() == [other.host, part.host]
    here.clock.advance(301)
    assert here.host.parts() == [other.host]
    assert here.part().host is part.host, "nothing was forgotten"
    assert here.host.parts() == [other.host, part.host]


@pytest.mark.parametrize("state", ["isolated", "busy"])
def test_a_part_that_is_isolated_or_at_work_is_shown_however_long_ago_it_was_asked_for(state: str) -> None:
    here = Whole()
    part = here.part()
    broken(part)
    running = None
    if state == "isolated":
        part.host.isolate()
    else:
        here.clock.advance((part.host.snapshot().retry_in or 0) + 0.001)
        running = part.begin()
        assert running.sends
    here.clock.advance(301)
    assert here.host.parts() == [part.host]
    del running


def test_a_host_is_busy_while_one_of_its_parts_is() -> None:
    here = Whole()
    running = here.part().begin()
    assert here.host.busy
    running.reply(answer(200))
    assert not here.host.busy


def test_a_part_is_forgotten_unless_it_is_isolated() -> None:
    here = Whole()
    part, other = here.part(), here.part("orders")
    other.host.isolate()
    for name in ("reports", "orders", "never seen"):
        here.host.forget_part(name)
    assert here.host.parts() == [other.host]
    assert here.host.part("reports")[0] is not part.host
