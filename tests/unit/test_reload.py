"""Another policy while everything runs: later calls follow it, and what is known of the host stays."""

from __future__ import annotations

from typing import Any

import pytest

from sleepwalker import ANONYMOUS, Connection
from sleepwalker.engine import Queue, Send
from sleepwalker.events import BreakerOpened, HostRecovered, RequestRejected, RequestWouldReject
from sleepwalker.exceptions import CircuitOpenError, PolicyError, RateLimitedError
from sleepwalker.policy import Policy
from tests.both_drivers import threads_only
from tests.unit.engine_driver import FakeClock, World, answer
from tests.unit.manager_driver import A, Bed

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")


def follow(here: World, **parts: Any) -> None:
    here.policy = here.policy.replace(**parts)
    for event in here.host.reconfigure(here.policy):
        here.observe(event)


def test_an_open_circuit_stays_open_and_closes_by_the_new_numbers() -> None:
    here = World(Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 3, "close_after": 2, "ramp": 5}))
    here.trip()
    follow(here, breaker={"close_after": 1, "ramp": 0})
    health = here.host.snapshot()
    assert (health.breaker, health.calls, health.failures) == ("open", 3, 3)
    here.clock.advance(5.0)
    here.call(answer(200))
    assert here.host.snapshot().breaker == "closed"


def test_failures_before_count_for_the_new_rule() -> None:
    here = World(Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 10}))
    for _ in range(3):
        here.call(answer(500))
    follow(here, breaker={"consecutive_for": 0, "consecutive": 4})
    here.call(answer(500))
    assert here.only(BreakerOpened).rule == "consecutive"


def test_an_attempt_that_began_before_counts_after() -> None:
    here = World(Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 3}))
    calls = [here.begin() for _ in range(2)]
    follow(here, breaker={"consecutive_for": 0, "consecutive": 2})
    for call in calls:
        call.reply(answer(500))
    assert here.host.snapshot().breaker == "open"


def test_a_shorter_ramp_ends_the_one_under_way() -> None:
    here = World(Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 1, "close_after": 1, "ramp": 60}))
    here.trip()
    here.recover()
    under_way = [here.begin(), here.begin()]
    assert here.begin().sends == []
    assert all(call.sends for call in under_way)
    follow(here, breaker={"ramp": 0})
    assert here.begin().sends != []


def test_a_breaker_that_is_switched_off_takes_its_host_back() -> None:
    here = World(Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 1}))
    here.trip()
    follow(here, breaker=False)
    here.only(HostRecovered)
    assert isinstance(here.begin().step, Send)
    follow(here, breaker={"consecutive_for": 0, "consecutive": 2})
    here.trip()


def test_slow_calls_are_watched_from_now_on() -> None:
    here = World(Policy(retry=False, breaker={"min_calls": 2}))
    here.call(answer(200), took=3)
    follow(here, breaker={"slow_ratio": 0.5, "slow_call": 1})
    here.call(answer(200), took=3)
    here.call(answer(200), took=3)
    assert here.only(BreakerOpened).rule == "slow_ratio"


def test_more_places_let_those_in_who_queue() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1, "max_wait": 5}))
    first, second, third = here.begin(), here.begin(), here.begin()
    follow(here, bulkhead={"max_concurrent": 2})
    assert isinstance(second.step, Queue)
    assert isinstance(third.step, Queue)
    assert (second.step.waiter.granted, third.step.waiter.granted) == (True, False)
    follow(here, bulkhead=False)
    assert third.step.waiter.granted
    assert here.host.snapshot().in_flight == 3
    for call in (second, third):
        call.reply(False).reply(answer(200))
    first.reply(answer(200))
    assert here.host.snapshot().in_flight == 0


def test_a_breaker_goes_over_to_a_dry_run_and_back_while_its_circuit_is_open() -> None:
    plain = {"consecutive_for": 0, "consecutive": 3, "open_for": 20, "open_max": 60, "ramp": 0}
    here = World(Policy(retry=False, breaker=plain))
    here.trip()
    follow(here, breaker={"mode": "observe"})
    assert (here.host.snapshot().breaker, here.host.snapshot().state) == ("open", "degraded")
    here.only(HostRecovered)  # nothing is refused, so it does not count as broken
    assert here.call(answer(200)).sends
    assert [event.by for event in here.all(RequestWouldReject)] == ["breaker"]
    follow(here, breaker={"mode": "enforce"})
    assert (here.host.snapshot().breaker, here.host.snapshot().state) == ("open", "broken")
    assert isinstance(here.begin().outcome.error, CircuitOpenError)
    here.recover()


def test_a_bulkhead_that_goes_over_to_a_dry_run_lets_all_in_who_queue() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 1, "max_wait": 5}))
    calls = [here.begin() for _ in range(4)]
    follow(here, bulkhead={"mode": "observe"})
    for call in calls[1:]:
        assert isinstance(call.step, Queue)
        assert call.step.waiter.granted
        assert isinstance(call.reply(False).step, Send)
    assert isinstance(here.begin().step, Send)
    assert len(here.all(RequestWouldReject)) == 1


def test_calls_of_a_dry_run_fill_the_bulkhead_that_is_enforced_from_now_on() -> None:
    here = World(Policy(bulkhead={"max_concurrent": 2, "max_wait": 5, "mode": "observe"}))
    calls = [here.begin() for _ in range(4)]
    follow(here, bulkhead={"mode": "enforce"})
    late = here.begin()
    assert isinstance(late.step, Queue)
    for call in calls[:2]:
        call.reply(answer(200))
    assert not late.step.waiter.granted  # two are in flight still, whatever they were let in by
    calls[2].reply(answer(200))
    assert late.step.waiter.granted
    late.reply(False).reply(answer(200))
    calls[3].reply(answer(200))
    assert here.host.snapshot().in_flight == here.host.admission.bulkhead._over_limit == 0


def test_who_waits_for_a_token_goes_when_it_wakes_up_in_a_dry_run() -> None:
    here = World(Policy(rate_limit={"rate": 0.1, "burst": 1, "max_wait": 25}))
    here.call(answer(200))
    first, second = here.begin(), here.begin()
    follow(here, rate_limit={"mode": "observe"})
    assert isinstance(first.reply(False).step, Send)
    assert isinstance(second.reply(False).step, Send)
    assert here.call(answer(200)).sends
    assert here.all(RequestRejected) == []


def test_what_a_dry_run_let_through_is_owed_once_the_rate_is_enforced() -> None:
    here = World(Policy(rate_limit={"rate": 1, "burst": 1, "max_wait": 2, "mode": "observe"}))
    for _ in range(3):
        here.call(answer(200))  # the last two would have waited for a second, and for two
    follow(here, rate_limit={"mode": "enforce", "max_wait": 0})
    error = here.begin().outcome.error
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 3.0
    here.clock.advance(3.0)
    assert here.call(answer(200)).sends


def test_tokens_that_were_spent_stay_spent() -> None:
    here = World(Policy(rate_limit={"rate": 0.001, "burst": 5}))
    for _ in range(5):
        here.call(answer(200))
    follow(here, rate_limit={"rate": 1, "burst": 50})
    assert isinstance(here.begin().outcome.error, RateLimitedError)
    here.clock.advance(1.0)
    assert here.call(answer(200)).sends
    follow(here, rate_limit=False)
    assert here.call(answer(200)).sends


def test_retries_that_were_spent_stay_spent() -> None:
    here = World(Policy(retry={"attempts": 2, "budget": {"min_per_second": 0.1, "ratio": 0.001}}, breaker=False))
    here.call(answer(503))
    follow(here, retry={"budget": {"min_per_second": 0.2}})
    assert [len(here.call(answer(503)).sends) for _ in range(2)] == [2, 1]


def test_a_call_under_way_ends_by_the_rules_that_it_began_with() -> None:
    here = World(Policy(retry={"attempts": 2, "jitter": "none"}))
    call = here.begin()
    follow(here, retry=False)
    assert call.reply(answer(503)).final is None
    assert here.begin().reply(answer(503)).final is not None


def test_a_connections_policy_can_be_set_by_value_and_by_name() -> None:
    conn = Connection(A, ANONYMOUS, timeout=7, clock=FakeClock())
    conn.policy = "batch"
    assert conn.policy == Policy.load("batch")
    conn.policy = Policy(bulkhead={"max_concurrent": 3})
    assert conn._record.limit == 3
    assert (conn._part.compiled.connect, conn._part.compiled.read) == (7, 7)  # the constructor's word still counts


@pytest.mark.parametrize(("bad", "error"), [("nonsense", PolicyError), (3, TypeError), (None, TypeError)])
def test_a_bad_policy_leaves_the_old_one_in_force(bad: Any, error: type[Exception]) -> None:
    conn = Connection(A, ANONYMOUS, policy="careful", clock=FakeClock())
    with pytest.raises(error):
        conn.policy = bad
    assert conn.policy == conn._part.compiled.policy == Policy.load("careful")
    bed = Bed(policy=Policy.load("careful"))
    with pytest.raises(error):
        bed.manager.reload(bad)
    assert bed.manager.hosts.policy == Policy.load("careful")


def test_a_manager_reloads_what_its_hosts_share_and_new_hosts_have_it_too() -> None:
    bed = Bed()
    conn = bed.manager.find(A, ANONYMOUS)
    record = bed.record(A)
    bed.manager.reload(Policy(bulkhead={"max_concurrent": 7}, health={"broken_after": 1}))
    assert bed.manager.find(A, ANONYMOUS) is conn
    assert conn._record is record
    assert record.limit == 7
    bed.manager.find("https://new.test", ANONYMOUS)
    assert bed.record("https://new.test").limit == 7
    conn.policy = Policy(bulkhead={"max_concurrent": 1})
    assert record.limit == 7  # shared, so it is the manager's to say


@threads_only("a blocking client behind a guard")
def test_a_guarded_objects_later_calls_follow_the_new_policy() -> None:
    class Api:
        calls = 0

        def get(self, uri: str) -> int:
            self.calls += 1
            raise ConnectionRefusedError

    bed = Bed(hooked=False, guard=True, policy=Policy(retry={"attempts": 1}))
    api = Api()
    bed.manager.add(A, None, api)
    found = bed.manager.find(A)
    bed.manager.reload(Policy(retry={"attempts": 3, "wait_initial": 0, "wait_max": 0}))
    bed.clock.sleep = lambda seconds, wake=None: False  # type: ignore[method-assign]
    with pytest.raises(ConnectionRefusedError):
        found.get("/")
    assert api.calls == 3


def test_a_closed_manager_is_not_reloaded() -> None:
    bed = Bed()
    bed.manager.close()
    with pytest.raises(Exception, match="closed"):
        bed.manager.reload(Policy())
