"""`breaker.max_wait`: calls wait for a circuit that does not let them through, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sleepwalker.engine import Send, Wait
from sleepwalker.engine.host.admission import Admission
from sleepwalker.engine.host.breaker import Breaker
from sleepwalker.events import RequestFailed, RequestFinished, RequestRejected, RequestWouldReject
from sleepwalker.exceptions import CircuitOpenError, ConnectionError, HostIsolatedError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import HOST, Running, World, answer

OK, BAD = answer(200), answer(500)
#: What is retried, which BAD is not.
SICK = answer(503)
BREAKER: dict[str, Any] = {
    "consecutive_for": 0,
    "consecutive": 2,
    "open_for": 5,
    "open_growth": 2,
    "open_max": 60,
    "close_after": 1,
    "ramp": 0,
    "max_wait": 60,
}


def world(*, retry: Any = False, total: float = 100.0, **breaker: Any) -> World:
    """A host whose circuit has just opened, for 5 s."""
    here = World(Policy(retry=retry, timeout={"total": total}, breaker={**BREAKER, **breaker}))
    here.trip()
    here.announced.clear()
    return here


def seconds(call: Running) -> float:
    """For how long it waits for its circuit, unless woken before."""
    assert isinstance(call.step, Wait)
    assert call.step.waiter is not None
    return call.step.seconds


def waits(call: Running) -> bool:
    return isinstance(call.step, Wait)


def woken(calls: list[Running]) -> list[int]:
    """Which of the calls have been woken, and notified of it."""
    found = []
    for number, call in enumerate(calls):
        if isinstance(call.step, Wait) and call.step.waiter is not None:
            assert call.step.waiter.woken is call.notified
            if call.notified:
                found.append(number)
    return found


def look(calls: list[Running]) -> list[int]:
    """Have the calls that were woken look, for as long as any is; which are sent."""
    while ringing := woken(calls):
        for number in ringing:
            calls[number].reply(False)
    return [number for number, call in enumerate(calls) if isinstance(call.step, Send)]


def queue(here: World) -> int:
    assert here.host.breaker is not None
    return len(here.host.breaker.queue.waiters)


def nothing_left(here: World) -> bool:
    """Whether no call has left a turn, a place or a call in flight behind."""
    breaker = here.host.breaker
    health = here.host.snapshot()
    return health.in_flight == 0 and (
        breaker is None or (breaker.queue.waiters, breaker.circuit.places.out) == ((), ())
    )


# That it waits


def test_a_call_waits_until_the_circuit_lets_it_through() -> None:
    here = world()
    call = here.begin()
    assert seconds(call) == 5.0
    here.clock.advance(5.0)
    call.reply(False).reply(OK)
    assert call.outcome is OK
    assert here.only(RequestFinished).waited == 5.0
    assert here.all(RequestRejected) == []
    assert here.host.snapshot().rejections == 0
    assert nothing_left(here)


def test_without_a_time_it_is_rejected_at_once() -> None:
    here = world(max_wait=0)
    assert isinstance(here.begin().outcome.error, CircuitOpenError)
    assert here.host.snapshot().rejections == 1


@pytest.mark.parametrize(("max_wait", "total"), [(4.9, 100.0), (60.0, 5.0)])
def test_no_call_waits_in_vain(max_wait: float, total: float) -> None:
    """The circuit is open for 5 s: longer than the policy has the call wait, or than its time."""
    here = world(max_wait=max_wait, total=30.0)
    call = here.begin(total=total)
    assert isinstance(call.outcome.error, CircuitOpenError)
    assert call.outcome.error.retry_after == 5.0
    assert (len(here.all(RequestRejected)), here.host.snapshot().rejections) == (1, 1)
    assert nothing_left(here)


def test_who_waits_is_woken_as_soon_as_it_waits_in_vain() -> None:
    """The probe failed, and the circuit is open for longer than one has time who is not the next."""
    here = world()
    calls = [here.begin(), here.begin(), here.begin(total=14), here.begin()]
    here.clock.advance(5.0)
    calls[0].reply(False).reply(BAD)  # open until 15 s
    assert woken(calls) == [1, 2]
    look(calls)
    assert isinstance(calls[2].outcome.error, CircuitOpenError)
    assert seconds(calls[1]) == 10.0
    assert here.host.snapshot().rejections == 1


@pytest.mark.parametrize(("max_wait", "total", "until"), [(7.0, 100.0, 7.0), (60.0, 7.0, 6.95)])
def test_its_patience_ends_with_its_time_too(max_wait: float, total: float, until: float) -> None:
    """A probe is under way for long: the call looks now and then, and gives up in the end."""
    here = world(max_wait=max_wait)
    probe = here.begin()
    call = here.begin(total=total)
    here.clock.advance(5.0)
    probe.reply(False)
    while waits(call):
        here.clock.advance(seconds(call) - (5.0 if len(call.waits) == 1 else 0.0))
        call.reply(False)
    assert here.clock.now - 5000.0 == pytest.approx(until)
    assert isinstance(call.outcome.error, CircuitOpenError)
    assert "is half-open" in str(call.outcome.error)
    assert here.only(RequestFailed).waited == pytest.approx(until)
    assert here.host.snapshot().rejections == 1
    probe.reply(OK)
    assert nothing_left(here)


def test_a_call_of_a_machine_that_slept_is_not_sent_after_its_time() -> None:
    here = world()
    call = here.begin(total=20)
    here.clock.advance(3600)
    call.reply(False)
    assert call.sends == []
    assert call.outcome.error is not None
    assert nothing_left(here)
    assert waits(here.begin()) is False  # it took no probe's place with it


# The order


def test_those_who_came_first_go_first() -> None:
    here = world()
    calls = [here.begin() for _ in range(4)]
    here.clock.advance(5.0)
    for call in reversed(calls):  # in any order of waking
        call.reply(False)
    assert [isinstance(call.step, Send) for call in calls] == [True, False, False, False]
    calls[0].reply(OK)
    assert woken(calls) == [1, 2, 3]


def test_who_has_no_time_left_for_a_whole_attempt_goes_behind_those_who_have() -> None:
    """It may take 10 s. One that is cut short would say that a host is down which only needs its time."""
    here = world()
    short, first, second = here.begin(total=12), here.begin(), here.begin()
    assert [seconds(call) for call in (short, first, second)] == [5.0, 5.0, 6.0]
    here.clock.advance(5.0)
    assert waits(short.reply(False))
    assert isinstance(first.reply(False).step, Send)
    first.reply(BAD)
    assert woken([short, second]) == [0, 1]  # who has no time for the next 10 s is told at once
    assert isinstance(short.reply(False).outcome.error, CircuitOpenError)
    assert seconds(second.reply(False)) == 10.0


def test_of_those_who_have_none_the_one_with_the_most_goes_first() -> None:
    here = world(ramp=5)
    calls = [here.begin(total=6.0 + number / 10) for number in range(4)]
    here.clock.advance(5.0)
    calls[0].reply(False)
    assert [isinstance(call.step, Send) for call in calls] == [False, False, False, False]
    calls[3].reply(False)
    assert isinstance(calls[3].step, Send)
    calls[3].reply(OK)
    assert woken(calls) == [1, 2]


def test_whose_turn_it_is_changes_with_time() -> None:
    """The one that was woken comes late, and has no time for a whole attempt by then: the next one is woken."""
    here = world()
    probe, first, second = here.begin(), here.begin(total=16.0), here.begin()
    here.clock.advance(5.0)
    assert isinstance(probe.reply(False).step, Send)
    probe.reply(answer(429))
    assert woken([first, second]) == [0]
    here.clock.advance(1.5)
    assert waits(first.reply(False))
    assert woken([second]) == [0]
    assert isinstance(second.reply(False).step, Send)


def test_with_a_slow_start_they_go_one_after_the_other() -> None:
    here = world(ramp=30)
    calls = [here.begin() for _ in range(10)]
    order = []
    here.clock.advance(5.0)
    calls[0].reply(False)
    for _ in range(len(calls)):
        going = look(calls)
        order += [number for number in going if number not in order]
        calls[going[0]].reply(OK)
    assert order == list(range(10))
    assert nothing_left(here)


def test_who_comes_goes_behind_those_who_wait() -> None:
    """Also where it comes at the very moment at which the circuit lets a call through."""
    here = world()
    first = here.begin()
    here.clock.advance(5.0)
    late = here.begin()
    assert waits(late)
    first.reply(False)
    assert isinstance(first.step, Send)
    first.reply(OK)
    assert look([late]) == [0]


def test_only_whose_turn_it_is_wakes_when_the_circuit_may_be_tried() -> None:
    """A hundred callers must not all look at the same moment."""
    here = world(half_open_probes=2)
    calls = [here.begin() for _ in range(5)]
    assert [seconds(call) for call in calls] == [5.0, 5.0, 6.0, 6.0, 6.0]


def test_the_next_one_probes_where_the_probe_failed() -> None:
    here = world()
    calls = [here.begin() for _ in range(3)]
    here.clock.advance(5.0)
    calls[0].reply(False).reply(BAD)
    assert calls[0].outcome is BAD
    assert look(calls) == []
    assert seconds(calls[1]) == 10.0
    here.clock.advance(10.0)
    calls[1].reply(False).reply(OK)
    assert look(calls) == [2]


def test_a_probe_that_comes_to_nothing_makes_room_for_the_next() -> None:
    here = world()
    calls = [here.begin() for _ in range(3)]
    here.clock.advance(5.0)
    with pytest.raises(KeyboardInterrupt):
        calls[0].reply(False).throw(KeyboardInterrupt())
    assert look(calls) == [1]


def test_a_place_that_came_free_before_the_call_was_known_to_wait_is_taken_at_once() -> None:
    """Between its refusal and its waiting, the one probe may have come to an answer, and it would not be woken."""
    here = world(close_after=2)
    probe, call = here.begin(), here.begin()
    here.clock.advance(5.0)
    probe.reply(False)
    queueing = Admission.wait_for_circuit

    def late(admission: Admission, *args: Any) -> float | None:
        probe.reply(OK)
        return queueing(admission, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Admission, "wait_for_circuit", late)
        call.reply(False)
    assert seconds(call) == 0.0
    assert isinstance(call.reply(False).step, Send)


# What ends it


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_exception_leaves_no_turn_behind(error: type[BaseException]) -> None:
    here = world()
    calls = [here.begin() for _ in range(3)]
    with pytest.raises(error):
        calls[0].throw(error())
    assert woken(calls) == [1]
    look(calls)
    assert [seconds(calls[1]), queue(here)] == [5.0, 2]
    for call in calls[1:]:
        call.close()  # as garbage collection does
    assert nothing_left(here)
    assert here.host.snapshot().rejections == 0


def test_an_exception_within_the_queue_itself_leaves_no_turn_behind() -> None:
    """A Ctrl-C comes at any instruction, such as when a call has just been put in the queue."""
    here = world()
    breaker = here.host.breaker
    assert breaker is not None
    queueing = Breaker.wait_locked

    def struck(*args: Any) -> float | None:
        queueing(*args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Breaker, "wait_locked", struck)
        with pytest.raises(KeyboardInterrupt):
            here.begin()
    assert nothing_left(here)


def test_one_that_strikes_before_the_next_was_woken_is_made_good() -> None:
    here = world()
    calls = [here.begin() for _ in range(2)]
    breaker = here.host.breaker
    assert breaker is not None
    strikes = iter([KeyboardInterrupt()])
    waking = Breaker.wake_locked

    def struck(breaker: Breaker, now: float) -> None:
        for strike in strikes:
            raise strike
        waking(breaker, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Breaker, "wake_locked", struck)
        with pytest.raises(KeyboardInterrupt):
            calls[0].throw(SystemExit())
    assert woken(calls) == [1]


def test_closing_the_connection_ends_it() -> None:
    here = world()
    call = here.begin()
    here.clock.advance(2.0)
    call.reply(True)
    error = call.outcome.error
    assert isinstance(error, ConnectionError)
    assert "was closed while the call was queued" in str(error)
    assert (error.never_sent, error.retryable) == (True, False)
    assert here.only(RequestFailed).waited == 2.0
    assert here.host.snapshot().rejections == 0
    assert nothing_left(here)


def test_isolating_the_host_ends_it() -> None:
    here = world()
    calls = [here.begin() for _ in range(3)]
    here.host.isolate()
    assert woken(calls) == [0, 1, 2]
    assert look(calls) == []
    assert {type(call.outcome.error) for call in calls} == {HostIsolatedError}
    here.host.tell_refused()
    assert [(event.by, event.count) for event in here.all(RequestRejected)] == [("isolation", None), ("isolation", 2)]
    assert here.host.snapshot().rejections == 3
    assert nothing_left(here)


def test_isolating_the_host_ends_it_for_its_parts() -> None:
    whole = World(Policy(retry=False, breaker=BREAKER))
    here = World(whole.policy, whole.clock)
    here.host, _, _ = whole.host.part("orders")
    here.trip()
    call = here.begin()
    whole.host.isolate()
    assert woken([call]) == [0]
    assert isinstance(call.reply(False).outcome.error, HostIsolatedError)


@pytest.mark.parametrize("ramp", [0, 5])
def test_resetting_the_circuit_lets_all_in(ramp: float) -> None:
    here = world(ramp=ramp)
    calls = [here.begin() for _ in range(20)]
    here.host.reset_circuit()
    assert look(calls) == list(range(20))
    assert queue(here) == 0


def test_a_probe_of_the_manager_that_closes_the_circuit_lets_all_in() -> None:
    here = world()
    calls = [here.begin() for _ in range(3)]
    here.host.outcomes.probed(OK, here.clock.now)
    assert look(calls) == [0, 1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: policy.replace(breaker=None),
        lambda policy: policy.replace(breaker={"mode": "observe"}),
        lambda policy: policy.replace(breaker={"open_for": 0.001, "open_max": 0.001}),
    ],
    ids=["off", "a dry run", "open for a moment"],
)
def test_a_policy_that_lets_through_who_waits_does_so_at_once(change: Callable[[Policy], Policy]) -> None:
    here = world()
    call = here.begin()
    here.host.reconfigure(change(here.policy))
    assert woken([call]) == [0]
    call.reply(False)
    if waits(call):
        assert seconds(call) < 0.002
        here.clock.advance(0.002)
        call.reply(False)
    assert isinstance(call.step, Send)
    call.reply(OK)
    assert nothing_left(here)


def test_one_that_is_switched_off_between_refusal_and_wait_lets_it_through() -> None:
    here = world()
    queueing = Admission.wait_for_circuit

    def late(admission: Admission, *args: Any) -> float | None:
        here.host.reconfigure(here.policy.replace(breaker=None))
        return queueing(admission, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Admission, "wait_for_circuit", late)
        call = here.begin()
    assert seconds(call) == 0.0
    assert isinstance(call.reply(False).step, Send)


def test_one_that_is_switched_off_and_on_again_does_not_lose_who_waits() -> None:
    here = world()
    calls = [here.begin() for _ in range(3)]
    here.host.reconfigure(here.policy.replace(breaker=None))
    here.host.reconfigure(here.policy)
    assert look(calls) == [0, 1, 2]
    for call in calls:
        call.reply(OK)
    assert nothing_left(here)


def test_a_shorter_patience_is_for_those_who_come() -> None:
    """Who waits has been promised its own, as in the queue of a bulkhead."""
    here = world()
    call = here.begin()
    here.host.reconfigure(here.policy.replace(breaker={"max_wait": 1}))
    assert look([call]) == []
    assert seconds(call) == 5.0
    assert isinstance(here.begin().outcome.error, CircuitOpenError)


def test_a_wait_that_a_forked_child_inherits_is_forgotten_there() -> None:
    here = world()
    inherited = here.begin()
    assert queue(here) == 1
    here.host._renew_after_fork()
    assert queue(here) == 0
    here.clock.advance(5.0)
    assert isinstance(here.begin().step, Send)
    inherited.close()


# Who does not wait


def test_a_dry_run_never_waits() -> None:
    here = world(mode="observe")
    call = here.begin()
    assert isinstance(call.step, Send)
    assert here.only(RequestWouldReject).by == "breaker"
    assert queue(here) == 0


def test_nor_does_a_call_whose_own_policy_leaves_the_breaker_out() -> None:
    here = world()
    assert isinstance(here.begin(policy=Policy(breaker=False)).step, Send)


def test_a_calls_own_policy_does_not_change_how_long_it_waits() -> None:
    """The circuit is the host's, and so is its queue."""
    here = world()
    assert seconds(here.begin(policy=Policy(breaker={"max_wait": 1}))) == 5.0
    impatient = world(max_wait=0)
    assert impatient.begin(policy=here.policy).sends == []


# Retries

FLAT: dict[str, Any] = {"attempts": 3, "jitter": "none", "wait_initial": 1, "budget": False}


def test_a_retry_waits_as_well() -> None:
    here = World(Policy(retry=FLAT, breaker=BREAKER))
    call = here.begin().reply(SICK)
    here.call(BAD)
    assert call.waits == [1.0]
    here.clock.advance(1.0)
    call.reply(False)
    assert seconds(call) == 4.0
    here.clock.advance(4.0)
    call.reply(False).reply(OK)
    assert call.final is not None
    assert [attempt.wait for attempt in call.final.attempts] == [0.0, 5.0]
    assert here.only(RequestFinished).waited == 5.0


@pytest.mark.parametrize("how", ["in vain", "closed", "isolated"])
def test_one_that_is_not_let_through_gives_the_outcome_in_hand(how: str) -> None:
    here = World(Policy(retry=FLAT, breaker={**BREAKER, "max_wait": 9}))
    call = here.begin().reply(SICK)
    here.call(BAD)
    before = here.begin()
    here.clock.advance(1.0)
    call.reply(False)
    assert seconds(call) == 5.0
    if how == "in vain":
        here.clock.advance(5.0)
        before.reply(False).reply(BAD)  # open for ten seconds more
        assert woken([call]) == [0]
        call.reply(False)
    elif how == "closed":
        call.reply(True)
    else:
        here.host.isolate()
        call.reply(False)
    assert call.outcome is SICK
    assert here.reasons() == ["closed" if how == "closed" else "breaker"]
    assert here.all(RequestRejected) == []
    before.close()
    assert nothing_left(here)


def test_one_whose_circuit_is_open_for_longer_than_it_would_wait_is_not_made() -> None:
    here = world(retry=FLAT, max_wait=3.9)
    here.clock.advance(5.0)
    call = here.begin().reply(SICK)
    assert call.outcome is SICK
    assert call.waits == []
    assert here.reasons() == ["breaker"]


def test_one_that_waits_for_its_circuit_takes_nothing_out_of_the_budget() -> None:
    """The circuit lets no more through than the host can do with."""
    budget = {"ratio": 0.001, "min_per_second": 0.1}
    here = world(retry={**FLAT, "budget": budget}, half_open_probes=5)
    here.clock.advance(5.0)
    calls = [here.begin() for _ in range(5)]
    for call in calls:
        call.reply(SICK)
    assert [call.final for call in calls] == [None] * 5
    assert here.host.admission.budget is not None
    assert here.host.admission.budget.left(here.clock.now) == pytest.approx(1.0, abs=0.01)


# Beside the other policies


def test_it_waits_inside_its_place_of_the_bulkhead() -> None:
    """The bulkhead comes first: those who wait are in flight, and no more of them than it allows."""
    here = World(Policy(retry=False, breaker=BREAKER, bulkhead={"max_concurrent": 2}))
    here.trip()
    calls = [here.begin() for _ in range(3)]
    assert [waits(call) for call in calls] == [True, True, False]
    assert [event.by for event in here.all(RequestRejected)] == ["bulkhead"]
    gauges = here.host.gauges()
    assert (gauges.in_flight, gauges.queued) == (2, 2)
    assert here.host.busy


def test_each_part_of_a_host_has_a_queue_of_its_own() -> None:
    whole = World(Policy(retry=False, breaker=BREAKER))
    parts = []
    for name in ("orders", "stock"):
        part = World(whole.policy, whole.clock)
        part.host, _, _ = whole.host.part(name)
        parts.append(part)
    orders, stock = parts
    orders.trip()
    call = orders.begin()
    assert seconds(call) == 5.0
    assert isinstance(stock.begin().step, Send)
    whole.host.reset_circuit()  # that of its parts as well
    assert look([call]) == [0]


def test_one_that_a_cooldown_met_meanwhile_waits_for_its_end() -> None:
    here = world(retry={**FLAT, "after_binds": "host"})
    first, second = here.begin(), here.begin()
    here.clock.advance(5.0)
    first.reply(False).reply(answer(429, "7"))  # it proves the host alive, and asks to be left alone
    assert look([second]) == []
    assert isinstance(second.step, Wait)
    assert second.step.waiter is None
    assert second.step.seconds == pytest.approx(7.0)
    here.clock.advance(7.0)
    second.reply(False)
    while waits(second):  # its turn after the cooldown
        assert isinstance(second.step, Wait)
        here.clock.advance(second.step.seconds)
        second.reply(False)
    second.reply(OK)
    assert second.outcome is OK


def test_who_waits_for_a_cooldown_to_end_does_not_wait_where_the_circuit_is_open_for_longer() -> None:
    """It queues for its circuit at once: else those who come later would be before it."""
    here = World(Policy(retry={**FLAT, "after_binds": "host", "attempts": 1}, breaker={**BREAKER, "consecutive": 1}))
    here.begin().reply(answer(503, "2"))
    call = here.begin()
    assert seconds(call) == 5.0


def test_a_rate_limit_is_passed_before() -> None:
    """So a token is not lost by waiting: nothing was sent."""
    here = World(Policy(retry=False, breaker=BREAKER, rate_limit={"rate": 1, "burst": 3, "max_wait": 0}))
    for _ in range(2):
        here.call(BAD)
    call = here.begin()
    assert seconds(call) == 5.0
    call.close()
    assert seconds(here.begin()) == 5.0


def test_a_hedged_call_waits_before_its_first_send_alone() -> None:
    here = World(Policy(retry=False, breaker=BREAKER, hedge={"delay": 1}))
    here.trip()
    call = here.begin(concurrent=True)
    assert seconds(call) == 5.0
    here.clock.advance(5.0)
    call.reply(False)
    assert isinstance(call.step, Send)


def test_the_hosts_health_says_what_is_so() -> None:
    here = world()
    call = here.begin()
    health = here.host.snapshot()
    assert (health.breaker, health.state, health.in_flight, health.retry_in) == ("open", "broken", 1, 5.0)
    call.close()


def test_a_call_without_time_for_any_wait_is_rejected() -> None:
    here = world(ramp=5)
    call = here.begin(total=0.04)
    assert isinstance(call.outcome.error, CircuitOpenError)


def test_a_host_that_others_share_is_named() -> None:
    here = world(max_wait=1)
    assert str(here.begin().outcome.error).startswith(f"the circuit of {HOST} is open after ")
