"""The word of the other workers of a fleet: what it does to the record of one host, and what this worker tells them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepwalker.engine import Fellows, Isolation, Outcome, Permit, Send, Standing, Wait, fleet, host
from sleepwalker.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    ConnectionEvicted,
    Event,
    HostBroken,
    HostIsolated,
    HostRecovered,
    HostRestored,
    Level,
)
from sleepwalker.events.base import Transition
from sleepwalker.exceptions import CircuitOpenError, HostIsolatedError
from sleepwalker.policy import Policy
from tests.interrupts import strike
from tests.ranges import some
from tests.unit.engine_driver import HOST, Running, World, answer, bearer, refused
from tests.unit.manager_driver import A, Bed

OK, BAD = answer(200), answer(500)
BREAKER: dict[str, Any] = {
    "consecutive": 3,
    "consecutive_for": 0,
    "open_for": 5,
    "open_growth": 2,
    "open_max": 60,
    "close_after": 2,
    "ramp": 10,
}
HOST_FILES = tuple(f"sleepwalker/engine/host/{path.name}" for path in Path(host.__path__[0]).glob("*.py"))
#: Without one that refuses calls: the word is a source of its own.
BARE = [None, {**BREAKER, "mode": "observe"}]


class Worker(World):
    """One worker's record of a host, and the fleet's thread beside its calls."""

    def __init__(self, breaker: Any = None, **fields: Any) -> None:
        super().__init__(Policy(retry=False, breaker=breaker, timeout={"total": 100}, **fields))

    def observe(self, event: Event, level: Level | None = None, /) -> None:
        """Which call it is of does not matter here."""
        super().observe(replace(event, call=None) if isinstance(event, Transition) else event, level)

    @property
    def now(self) -> float:
        return self.clock.now

    def hear(self, events: tuple[Event, ...]) -> list[Event]:
        """Announce what came of it."""
        for event in events:
            self.observe(event)
        return list(events)

    def told(self, seconds: float = 10.0, cause: str | None = "503") -> list[Event]:
        return self.hear(fleet.told_broken(self.host, cause, self.now + seconds, self.now))

    def hold(self, seconds: float) -> list[Event]:
        return self.hear(fleet.hold(self.host, self.now + seconds, self.now))

    def look(self) -> list[Event]:
        return self.hear(fleet.let_look(self.host, self.now))

    def back(self) -> list[Event]:
        return self.hear(fleet.came_back(self.host, self.now))

    def withdrawn(self) -> list[Event]:
        return self.hear(fleet.withdrawn(self.host, self.now))

    @property
    def standing(self) -> Standing:
        return fleet.standing(self.host, self.now)

    @property
    def until(self) -> float:
        """For how many seconds its circuit is open still."""
        return self.host.snapshot().retry_in or 0.0


def worker(**breaker: Any) -> Worker:
    return Worker({**BREAKER, **breaker})


def is_refused(call: Running) -> bool:
    return isinstance(call.outcome.error, CircuitOpenError)


# --- it is broken for all


def test_a_closed_circuit_opens_by_the_word_of_others() -> None:
    here = worker()
    assert here.told(10) == [
        BreakerOpened(HOST, rule="fleet", open_for=10, cause="503", by="fleet"),
        HostBroken(HOST, reason="fleet", failures=0, cause="503", by="fleet"),
    ]
    health = here.host.snapshot()
    assert (health.state, health.breaker, health.opened_by, health.retry_in) == ("broken", "open", "fleet", 10)
    assert here.host.broken_by(here.now) == "fleet"
    assert is_refused(here.call(OK))


def test_a_refused_call_says_that_others_found_the_host_broken_until_this_worker_has_looked() -> None:
    """Else its developer looks for failures here, and finds none."""
    here = worker()
    here.told(10)
    others = f"the circuit of {HOST} is open after 503: other workers found it broken; next try in 10 s"
    assert str(here.call(OK).outcome.error) == others
    here.look()
    probe = here.begin()
    assert str(here.call(OK).outcome.error) == (
        f"the circuit of {HOST} is half-open after 503: a probe is under way; other workers found it broken"
    )
    probe.reply(BAD)
    assert "other workers" not in str(here.call(OK).outcome.error)
    alone = worker()
    alone.trip()
    assert "other workers" not in str(alone.call(OK).outcome.error)


def test_the_word_is_no_knowledge_of_this_worker() -> None:
    """Else a rumour would keep itself alive: each worker would repeat it as its own."""
    here = worker()
    here.told()
    assert here.standing == Standing(
        broken=False, told=True, healthy=False, failing=False, run=0, lasted=0, cause=None, failed_looks=0,
        answered_at=None, demand=0, waiting=False,
    )  # fmt: skip


def test_told_once_more_it_announces_nothing() -> None:
    here = worker()
    here.told(10)
    assert here.told(20) == []
    assert here.until == 10


def test_an_open_circuit_stays_as_it_is() -> None:
    here = worker()
    here.trip()
    before = here.until
    assert here.told(30) == []
    assert here.until == before
    assert (here.host.snapshot().opened_by, here.host.broken_by(here.now)) == ("consecutive", "breaker")
    assert (here.standing.broken, here.standing.told) == (True, True)


def test_a_half_open_circuit_stays_as_it_is() -> None:
    here = worker()
    here.trip()
    here.clock.advance(here.until)
    look = here.begin()
    assert here.told(30) == []
    look.reply(OK)
    here.call(OK)
    assert here.host.snapshot().breaker == "closed"


def test_what_was_under_way_when_the_word_came_neither_opens_nor_closes_anything() -> None:
    here = worker()
    late = [here.begin() for _ in range(5)]
    here.told(10)
    late.pop().reply(OK)
    for call in late:
        call.reply(BAD)
    assert here.until == 10
    assert here.all(BreakerOpened) == [BreakerOpened(HOST, rule="fleet", open_for=10, cause="503", by="fleet")]


def test_after_the_word_its_own_time_to_stay_open_is_what_it_was() -> None:
    """A circuit opens for longer where it failed its own looks: what others say is none of these."""
    here = worker()
    here.trip()
    assert here.until == 5
    here.recover()
    here.clock.advance(100)
    for _ in range(3):
        here.told(30)
        here.clock.advance(30)
        here.back()
        here.call(OK)
    here.trip()
    assert here.until == 5


def test_what_the_open_time_had_grown_to_is_used_up_while_others_speak_too() -> None:
    here = worker()
    here.trip()
    for grown in (10, 20, 40):
        here.clock.advance(here.until)
        here.call(BAD)
        assert here.until == grown
    here.recover()
    here.clock.advance(30)
    here.told(1)
    here.clock.advance(1)
    here.back()
    here.call(OK)
    here.trip()
    assert here.until == pytest.approx(10, abs=2)


# --- looks


def test_when_its_time_is_over_this_worker_looks_and_its_failure_is_evidence_of_its_own() -> None:
    here = worker()
    here.told(10)
    here.clock.advance(10)
    assert here.host.broken_by(here.now) is None
    here.call(BAD)
    assert here.all(BreakerOpened)[-1] == BreakerOpened(HOST, rule="probe", open_for=5, cause="500")
    assert here.standing.broken
    assert (here.standing.cause, here.standing.failed_looks, here.standing.failing) == ("500", 1, True)


def test_two_looks_that_are_answered_close_it_and_the_word_is_over() -> None:
    here = worker()
    here.told(10)
    here.clock.advance(10)
    here.call(OK)
    assert (here.standing.told, here.standing.healthy) == (True, False)
    here.call(OK)
    assert here.only(BreakerClosed) == BreakerClosed(HOST, ramp=10)
    assert here.only(HostRecovered) == HostRecovered(HOST, broken_for=10)
    assert (here.standing.told, here.standing.healthy, here.standing.broken) == (False, True, False)
    assert here.standing.answered_at == here.now


def test_leave_to_look_lets_the_next_call_through_at_once() -> None:
    here = worker()
    here.told(10)
    here.look()
    assert here.host.broken_by(here.now) is None, "find may lead to it"
    assert not is_refused(here.call(BAD))
    assert is_refused(here.call(OK))


def test_leave_to_look_ends_where_no_call_came() -> None:
    here = worker()
    here.told(10)
    here.look()
    here.hold(3)
    assert (here.until, is_refused(here.call(OK))) == (3, True)


def test_a_hold_prolongs_and_never_shortens() -> None:
    here = worker()
    here.told(10)
    here.hold(4)
    assert here.until == 10
    here.hold(14)
    assert here.until == 14
    here.clock.advance(14)
    assert not is_refused(here.call(BAD)), "once others look no more, this worker looks"


def test_a_hold_holds_a_circuit_that_opened_by_itself_and_its_time_grows_as_ever() -> None:
    here = worker()
    here.trip()
    here.hold(30)
    assert here.until == 30
    here.clock.advance(30)
    here.call(BAD)
    assert here.until == 10


def test_a_look_that_is_under_way_is_not_held() -> None:
    here = worker()
    here.told(10)
    here.look()
    look = here.begin()
    here.hold(20)
    assert here.host.snapshot().breaker == "half-open"
    look.reply(OK)
    here.call(OK)
    assert here.host.snapshot().breaker == "closed"


def test_without_trouble_neither_a_hold_nor_leave_to_look_does_anything() -> None:
    for here in (worker(), Worker(), Worker(BARE[1])):
        assert [here.hold(30), here.look(), here.back(), here.withdrawn()] == [[], [], [], []]
        assert not is_refused(here.call(OK))
        assert here.standing.healthy


def test_each_look_that_fails_counts_one() -> None:
    here = worker()
    here.trip()
    assert here.standing.failed_looks == 0
    for count in (1, 2, 3):
        here.clock.advance(here.until)
        here.call(BAD)
        assert here.standing.failed_looks == count


def test_in_a_dry_run_the_looks_of_the_circuit_do_not_count() -> None:
    here = Worker(BARE[1])
    for _ in range(3):
        here.call(BAD)
    here.clock.advance(5)
    here.call(BAD)
    assert here.host.snapshot().breaker == "open"
    assert (here.standing.broken, here.standing.failed_looks, here.standing.healthy) == (False, 0, True)


def test_a_dry_run_is_not_moved_by_holds_or_looks() -> None:
    here = Worker(BARE[1])
    for _ in range(3):
        here.call(BAD)
    here.hold(30)
    here.look()
    assert here.host.snapshot().breaker == "open"
    here.clock.advance(5)
    assert here.host.snapshot().breaker == "half-open"


# --- calls that wait


def test_calls_that_wait_are_woken_by_leave_to_look_and_wait_on_through_a_hold() -> None:
    here = worker(max_wait=60)
    here.told(10)
    calls = [here.begin(), here.begin()]
    assert here.standing.waiting
    here.hold(30)
    assert not any(call.notified for call in calls)
    here.look()
    assert [call.notified for call in calls] == [True, False]
    assert isinstance(calls[0].reply(False).step, Send)
    assert isinstance(calls[1].step, Wait)
    assert here.standing.waiting


def test_a_call_that_asks_while_others_hold_waits_on() -> None:
    here = worker(max_wait=60)
    here.told(10)
    call = here.begin()
    here.hold(30)
    here.clock.advance(10)
    call.reply(False)
    assert isinstance(call.step, Wait)
    assert call.step.seconds == 20


def test_calls_that_wait_are_let_through_when_the_host_is_back() -> None:
    here = worker(max_wait=60)
    here.told(30)
    calls = [here.begin() for _ in range(3)]
    here.back()
    assert any(call.notified for call in calls)
    for call in calls:
        assert isinstance(call.reply(False).step, Send)
        call.reply(OK)
    assert not here.standing.waiting


def test_a_call_that_a_slow_start_holds_back_and_that_cannot_wait_for_so_long_is_refused_at_once() -> None:
    here = worker(max_wait=8, half_open_probes=1)
    here.trip()
    here.recover()
    calls = [here.begin() for _ in range(5)]
    waiting = [call for call in calls if isinstance(call.step, Wait)]
    assert waiting
    here.told(30)
    for call in waiting:
        assert call.notified
        assert is_refused(call.reply(False))


def test_demand_grows_with_each_call_that_the_circuit_refuses() -> None:
    here = worker()
    here.told(10)
    for count in range(1, 4):
        here.call(OK)
        assert here.standing.demand == count


# --- it is over


def test_back_by_the_word_of_another_worker_its_load_grows_slowly() -> None:
    here = worker()
    here.told(10)
    here.clock.advance(3)
    assert here.back() == [
        BreakerHalfOpened(HOST),
        BreakerClosed(HOST, ramp=10, by="fleet"),
        HostRecovered(HOST, broken_for=3, by="fleet"),
    ]
    assert here.host.circuit is not None
    assert here.host.circuit.start is not None
    assert (here.standing.told, here.standing.healthy) == (False, True)


def test_what_another_worker_was_answered_is_no_answer_to_this_one() -> None:
    here = worker()
    here.call(OK)
    answered = here.now
    here.told(10)
    here.clock.advance(3)
    here.back()
    assert here.standing.answered_at == answered
    assert here.host.snapshot().last_success == pytest.approx(here.clock.time_of_day - 3)
    assert here.host.answered_since(answered + 1), "lookups that back off may go on"


@pytest.mark.parametrize("own", [False, True])
def test_a_circuit_that_opened_by_itself_closes_too_when_another_worker_was_answered(own: bool) -> None:
    here = worker()
    here.trip()
    if own:
        here.clock.advance(here.until)
        here.begin()  # a look is under way
    here.told(30)
    here.back()
    assert here.host.snapshot().breaker == "closed"
    assert here.only(BreakerClosed).by == "fleet"
    assert here.only(HostRecovered).by == "fleet"


def test_a_word_that_was_wrong_for_this_worker_is_not_believed_again_before_its_time() -> None:
    here = worker()
    here.told(10)
    here.back()
    here.call(BAD)
    assert here.all(BreakerOpened)[-1].rule == "probe"
    assert (here.standing.broken, here.until) == (True, 5)
    here.clock.advance(4)
    here.back()
    assert (here.until, is_refused(here.call(OK))) == (1, True)
    here.clock.advance(1)
    here.back()
    assert here.host.snapshot().breaker == "closed"


def test_connect_failures_end_when_another_worker_was_answered() -> None:
    here = Worker(health={"broken_after": 3})
    for _ in range(3):
        here.call(refused())
    assert (here.standing.broken, here.standing.cause) == (True, "ConnectError")
    assert here.back() == [HostRecovered(HOST, broken_for=0, by="fleet")]
    assert here.standing.healthy


def test_a_word_that_is_withdrawn_leaves_a_circuit_that_may_be_tried_at_once() -> None:
    here = worker()
    here.told(30)
    assert here.withdrawn() == []
    assert (here.standing.told, here.standing.broken, here.standing.healthy) == (False, False, False)
    here.call(OK)
    here.call(OK)
    assert here.standing.healthy


def test_a_word_that_is_withdrawn_changes_nothing_where_this_worker_knows_by_itself() -> None:
    here = worker()
    here.told(1)
    here.clock.advance(1)
    here.call(BAD)
    assert here.withdrawn() == []
    assert (here.until, here.standing.told, here.standing.broken) == (5, False, True)


def test_a_circuit_that_is_reset_by_the_fleet_says_so() -> None:
    here = worker()
    here.told(30)
    assert list(here.host.reset_circuit("fleet")) == [
        BreakerClosed(HOST, ramp=0, by_hand=True, by="fleet"),
        HostRecovered(HOST, broken_for=0, by_hand=True, by="fleet"),
    ]
    assert here.standing.healthy
    assert here.host.reset_circuit("fleet") == ()
    here.trip()
    assert all(event.by is None for event in here.host.reset_circuit() if isinstance(event, BreakerClosed))


# --- where no circuit carries it


@pytest.mark.parametrize("breaker", BARE)
def test_without_a_circuit_that_refuses_calls_the_word_itself_makes_the_host_broken(breaker: Any) -> None:
    here = Worker(breaker)
    assert here.told(10) == [HostBroken(HOST, reason="fleet", failures=0, cause="503", by="fleet")]
    assert (here.host.broken_by(here.now), here.host.snapshot().state) == ("fleet", "broken")
    assert (here.standing.told, here.standing.broken, here.standing.healthy) == (True, False, False)
    here.hold(12)
    here.clock.advance(11)
    assert here.host.broken_by(here.now) == "fleet"
    here.clock.advance(1)
    assert (here.host.broken_by(here.now), here.host.snapshot().state) == (None, "degraded")
    here.hold(1)
    assert here.host.broken_by(here.now) == "fleet"
    here.look()
    assert here.host.broken_by(here.now) is None


@pytest.mark.parametrize("breaker", BARE)
def test_told_once_more_such_a_word_is_what_it_was(breaker: Any) -> None:
    """As a circuit stays as it is: only a hold makes it longer."""
    here = Worker(breaker)
    here.told(10)
    here.clock.advance(2)
    begun = here.begin()
    for seconds in (1, 30):
        assert here.told(seconds) == []
    here.clock.advance(7)
    assert here.host.broken_by(here.now) == "fleet"
    here.clock.advance(1)
    assert here.host.broken_by(here.now) is None
    begun.reply(OK)
    assert here.standing.healthy, "it was sent after the word had come first"


@pytest.mark.parametrize("breaker", BARE)
@pytest.mark.parametrize("back", [False, True])
def test_such_a_word_ends_when_the_host_is_back_or_the_others_take_it_back(breaker: Any, back: bool) -> None:
    here = Worker(breaker)
    here.told(10)
    here.clock.advance(2)
    events = here.back() if back else here.withdrawn()
    assert events == [HostRecovered(HOST, broken_for=2, by="fleet")]
    assert here.standing.healthy
    assert here.host.answered_since(here.now - 1) is back


@pytest.mark.parametrize("breaker", BARE)
def test_such_a_word_ends_when_this_worker_is_answered_itself(breaker: Any) -> None:
    here = Worker(breaker)
    late = here.begin()
    here.clock.advance(1)
    here.told(10)
    late.reply(OK)
    assert here.standing.told, "what was under way before says nothing"
    here.call(BAD)
    assert (here.standing.told, here.standing.failed_looks) == (True, 1)
    here.call(OK)
    assert here.standing.healthy
    assert here.only(HostRecovered) == HostRecovered(HOST, broken_for=0)


def test_a_circuit_that_a_probe_was_wrong_for_keeps_the_word_through_the_next_one() -> None:
    here = worker()
    here.told(10)
    here.back()
    here.call(BAD)
    here.told(10)
    here.hear(here.host.outcomes.probed(OK, here.now))
    assert here.host.snapshot().breaker == "open"
    assert here.standing.told


def test_an_operator_ends_such_a_word_by_a_reset() -> None:
    here = Worker()
    here.told(10)
    assert list(here.host.reset_circuit()) == [HostRecovered(HOST, broken_for=0, by_hand=True)]
    assert here.standing.healthy


def test_a_dry_run_that_closes_by_what_was_sent_before_the_word_does_not_end_it() -> None:
    here = Worker({**BREAKER, "mode": "observe", "close_after": 1})
    for _ in range(3):
        here.call(BAD)
    here.clock.advance(5)
    late = here.begin()
    here.clock.advance(1)
    here.told(10)
    late.reply(OK)
    assert here.host.snapshot().breaker == "closed"
    assert here.standing.told


def test_such_a_word_is_never_shortened_by_a_hold() -> None:
    here = Worker()
    here.told(10)
    here.hold(3)
    here.clock.advance(9)
    assert here.host.broken_by(here.now) == "fleet"


def test_such_a_word_ends_by_a_probe_of_a_path_of_its_own() -> None:
    here = Worker()
    here.told(10)
    here.hear(here.host.outcomes.probed(OK, here.now))
    assert here.standing.healthy
    assert here.standing.answered_at is None


def test_a_word_outlives_a_change_of_the_policy() -> None:
    here = worker()
    here.told(10)
    assert here.host.reconfigure(Policy(breaker=None)) == ()
    assert (here.host.broken_by(here.now), here.standing.told) == ("fleet", True)
    assert here.host.reconfigure(here.policy) == ()
    assert here.host.broken_by(here.now) == "fleet"
    here.told(10)
    assert here.host.snapshot().breaker == "open"


def test_a_manager_gives_connections_to_the_host_up_and_asks_its_hooks() -> None:
    bed = Bed(policy=Policy(breaker=None))
    bed.manager.find(A)
    bed.clock.advance(60)
    for event in fleet.told_broken(bed.record(A), "503", bed.clock.now + 10, bed.clock.now):
        bed.observe(event)
    bed.manager.find(A)
    assert bed.reasons() == ["fleet"]
    assert len(bed.hook.asked) == 2


def test_a_manager_gives_connections_up_where_the_circuit_carries_the_word_too() -> None:
    bed = Bed()
    bed.manager.find(A)
    bed.clock.advance(60)
    fleet.told_broken(bed.record(A), "503", bed.clock.now + 10, bed.clock.now)
    bed.manager.find(A)
    assert [event.reason for event in bed.all(ConnectionEvicted)] == ["fleet"]


# --- what this worker knows


def test_what_it_knows_of_a_run_of_failures() -> None:
    here = worker()
    here.call(OK)
    here.clock.advance(5)
    here.call(BAD)
    here.clock.advance(2)
    here.call(BAD)
    now = here.standing
    assert (now.broken, now.failing, now.lasted, now.cause, now.answered_at) == (False, True, 2, "500", here.now - 7)
    here.call(BAD)
    assert (here.standing.broken, here.standing.lasted) == (True, 2)
    here.clock.advance(3)
    assert here.standing.lasted == 5


def test_what_it_knows_of_a_host_that_failed_in_part() -> None:
    here = worker(consecutive=100, failure_ratio=0.5, min_calls=4)
    for outcome in (BAD, OK, BAD, OK):
        here.call(outcome)
        here.clock.advance(1)
    here.call(BAD)
    assert here.standing.broken
    here.clock.advance(2)
    assert here.standing.lasted == 2


def test_after_the_word_only_its_own_failures_lasted() -> None:
    here = worker()
    here.told(10)
    here.clock.advance(10)
    assert here.standing.lasted == 0
    here.call(BAD)
    here.clock.advance(1)
    assert here.standing.lasted == 1


def test_a_host_that_cannot_be_connected_to_after_the_word_has_failed_here_since_then() -> None:
    here = Worker(health={"broken_after": 3})
    here.told(10)
    here.clock.advance(5)
    for _ in range(3):
        here.call(refused())
    assert (here.standing.broken, here.standing.lasted) == (True, 0)
    here.clock.advance(1)
    assert here.standing.lasted == 1


def test_no_text_of_an_error_leaves_the_worker() -> None:
    """It may hold a path, and that a secret."""
    here = Worker()
    here.call(refused())
    assert here.standing.cause == "ConnectError"


def test_without_a_breaker_each_failed_attempt_at_a_broken_host_is_a_look() -> None:
    here = Worker(health={"broken_after": 2})
    late = here.begin()
    here.clock.advance(1)
    here.call(refused())
    here.call(refused())
    assert here.standing.failed_looks == 0
    late.reply(BAD)
    assert here.standing.failed_looks == 0, "it was sent before the host broke"
    here.call(BAD)
    here.call(refused())
    assert here.standing.failed_looks == 2


def test_what_a_scope_cannot_connect_to_is_a_look_that_failed_at_its_host_too() -> None:
    here = Worker(health={"broken_after": 1})
    scope, _, _ = here.host.part("reports")
    here.call(refused())
    permit, _ = scope.admission.admit(bearer(), here.now, 100.0)
    assert isinstance(permit, Permit)
    scope.outcomes.settle(permit, refused(), here.now, 0.0, first=True)
    assert here.standing.failed_looks == 1


# --- operators


def test_an_isolation_that_came_through_the_fleet_says_so() -> None:
    bed = Bed()
    hosts = bed.manager.hosts
    key = (A, bed.manager.find(A).origin)
    by_fleet = Isolation("deployment", bed.clock.wall() + 60, bed.clock.now + 60, by="fleet")
    until = bed.clock.wall() + 60
    assert hosts.isolate(*key, by_fleet) == [HostIsolated(A, reason="deployment", until=until, by="fleet")]
    again = replace(by_fleet, until=by_fleet.until + 0.3, ends=by_fleet.ends + 0.3)  # type: ignore[operator]
    with pytest.raises(
        HostIsolatedError, match=r"restore\(\) ends that, and so does the command sleepwalker fleet restore$"
    ):
        bed.manager.find(A)
    assert hosts.isolate(*key, again) == [], "the store tells how long it lasts: by then a moment has gone by"
    longer = replace(by_fleet, until=by_fleet.until + 30, ends=by_fleet.ends + 30)  # type: ignore[operator]
    assert [event.name for event in hosts.isolate(*key, longer)] == ["host.isolated"]
    assert hosts.restore(*key, by="fleet") == [
        HostRestored(A, by="fleet", reason="deployment", until=until + 30),
    ]


def test_an_operators_isolation_that_comes_back_through_the_fleet_is_no_news() -> None:
    bed = Bed()
    origin = bed.manager.find(A).origin
    bed.manager.isolate(A, reason="deployment", until=60)
    told = Isolation("deployment", bed.clock.wall() + 60.2, bed.clock.now + 60.2, by="fleet")
    assert bed.manager.hosts.isolate(A, origin, told) == []
    assert Isolation("a", by="fleet") == Isolation("a")


# --- signal handlers that raise


@pytest.mark.parametrize("breaker", [BREAKER, *BARE])
@pytest.mark.parametrize("outcome", [OK, BAD])
def test_a_call_that_is_struck_while_the_word_is_in_force_leaves_a_host_that_recovers(
    breaker: Any, outcome: Outcome
) -> None:
    for act in (Worker.look, Worker.back, Worker.withdrawn):
        at = 0 if outcome is OK else 1  # every second place for the one outcome, the others for the other
        while True:
            here = Worker(breaker)
            here.told(10)
            act(here)
            if breaker is BREAKER and act is not Worker.back:
                here.call(OK)  # the next one closes the circuit
            call = here.begin()
            if not strike(lambda call=call: call.reply(replace(outcome)), files=HOST_FILES, at=at):
                break
            call.close()
            recovers(here)
            at += some(4, 2)
        assert at > 10


@pytest.mark.parametrize("breaker", [BREAKER, None])
@pytest.mark.parametrize("act", [Worker.told, Worker.look, Worker.back, Worker.withdrawn])
def test_a_word_that_is_struck_where_it_is_brought_has_come_or_has_not(
    breaker: Any, act: Callable[[Worker], object]
) -> None:
    """A thread of its own brings words, and no signal handler raises there. Nothing here relies on that."""
    at = 0
    while True:
        here = Worker(breaker)
        if act is not Worker.told:
            here.told(10)
        before = here.host.snapshot().breaker
        if not strike(lambda here=here: act(here), files=HOST_FILES, at=at):
            break
        assert here.host.snapshot().breaker in (before, "open" if act is Worker.told else "closed", "half-open")
        act(here)
        recovers(here)
        at += some(2, 1)
    assert at > 5


def recovers(here: Worker) -> None:
    """Its lock is free, the word can come and go, and a host that answers is well again."""
    assert repr(here.host.lock.mutex).startswith("<unlocked ")
    here.clock.advance(100)
    for _ in range(2):
        here.call(OK)
    assert here.standing.healthy
    assert here.host.snapshot().in_flight == 0
    here.told(10)
    assert here.host.broken_by(here.now) == "fleet"
    here.back()
    assert here.standing.healthy


# --- what is shown


def test_what_the_workers_say_is_shown() -> None:
    here = worker()
    assert here.host.snapshot().fleet is None
    here.host.fellows = Fellows(broken=7, fine=1, workers=12, verdict=True)
    shown = here.host.snapshot().to_dict()["fleet"]
    assert shown == {"broken": 7, "fine": 1, "workers": 12, "verdict": True, "since": None, "cause": None}
