"""Whom a server's "not now" holds back, and how those go on that it held back."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker.engine import DUE, CompiledPolicy, Final, Outcome, Queue, Request, Send, Wait, answered, run
from sleepwalker.engine.host.cooldown import _MOST, Cooldown, Cooldowns
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.events import (
    CooldownBegan,
    HedgeSent,
    RequestFailed,
    RequestFinished,
    RequestRejected,
    RetryScheduled,
)
from sleepwalker.exceptions import (
    CircuitOpenError,
    HostIsolatedError,
    RateLimitedError,
)
from sleepwalker.exceptions import ConnectionError as OurConnectionError
from sleepwalker.policy import Policy
from tests.unit.engine_driver import HOST, Running, World, answer

#: What a 429 says in most of these tests.
BUSY = answer(429, "10")


def policy(binds: str = "host", **retry: Any) -> Policy:
    parts: dict[str, Any] = {"breaker": False}
    return Policy(retry={"jitter": "none", "budget": False, "after_binds": binds, **retry}, **parts)


class Kept(World):
    """Holds on to its calls: one without a reference ends."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.calls: list[Running] = []

    def begin(self, *args: Any, **how: Any) -> Running:
        call = super().begin(*args, **how)
        self.calls.append(call)
        return call


def world(binds: str = "host", *, lot: float = 0.0, **retry: Any) -> World:
    """A host, and dice that show `lot`: 0 sends a held call as soon as the server allows."""
    here = Kept(policy(binds, **retry))
    here.clock.roll = lambda: lot
    return here


def told(here: World, outcome: Outcome = BUSY, **how: Any) -> Running:
    """A call that was told "not now", and waits."""
    return here.begin(**how).reply(outcome)


def waits(call: Running) -> float | None:
    """For how long a call waits now, None where it is sent."""
    assert isinstance(call.step, Wait | Send)
    return call.step.seconds if isinstance(call.step, Wait) else None


@pytest.mark.parametrize(("binds", "same", "other"), [("call", None, None), ("pair", 10.0, None), ("host", 10.0, 10.0)])
def test_a_not_now_holds_back_whom_the_policy_says(binds: str, same: float | None, other: float | None) -> None:
    here = world(binds)
    assert waits(told(here, credentials="ann")) == 10.0
    assert waits(here.begin(credentials="ann")) == same
    assert waits(here.begin(credentials="bob")) == other


@pytest.mark.parametrize("binds", ["pair", "host"])
def test_who_was_held_back_goes_when_the_server_allows_and_has_waited(binds: str) -> None:
    here = world(binds)
    told(here)
    call = here.begin()
    assert waits(call) == 10.0
    here.clock.advance(10)
    assert isinstance(call.reply(False).step, Send)
    call.reply(answer(200))
    finished = here.only(RequestFinished)
    assert (finished.waited, finished.duration, finished.attempts) == (10.0, 10.0, 1)


def test_who_has_no_time_to_wait_is_refused_at_once_and_unsent() -> None:
    here = world("pair")
    told(here, answer(429, "29"), credentials="ann")
    here.clock.advance(0.5)
    call = here.begin(credentials="ann", total=20)
    error = call.outcome.error
    assert isinstance(error, RateLimitedError)
    assert (error.host, error.retry_after, error.cause) == (HOST, 28.5, "429")
    assert (error.never_sent, error.retryable, call.sends) == (True, False, [])
    assert str(error) == (
        f"{HOST}: the server asked to wait (429), which retry.after_binds extends to all calls with these "
        "credentials; next try in 28.5 s"
    )
    rejected = here.only(RequestRejected)
    assert (rejected.by, rejected.retry_after) == ("cooldown", 28.5)
    assert here.only(RequestFailed).error == "RateLimitedError"
    health = here.host.snapshot()
    assert (health.rejections, health.cooldown, health.in_flight) == (1, 28.5, 1)
    assert here.host.counters.labelled["rejected", "cooldown"] == 1
    assert here.host.gauges().queued == 0


def test_the_text_says_where_it_is_for_all() -> None:
    here = world("host")
    told(here, answer(503, "29"))
    text = str(here.begin(total=20).outcome.error)
    assert text.startswith(f"{HOST}: the server asked to wait (503), which retry.after_binds extends to all ")
    assert "all calls to it; next try in 29 s" in text


def test_the_rate_of_the_policy_itself_has_no_cause() -> None:
    here = World(Policy(rate_limit={"rate": 1, "burst": 1}))
    here.call(answer(200))
    error = here.begin().outcome.error
    assert isinstance(error, RateLimitedError)
    assert error.cause is None


def test_that_a_host_is_left_alone_is_told_once() -> None:
    here = world("pair")
    calls = [here.begin(credentials="ann") for _ in range(3)]
    for call in calls:
        here.clock.advance(0.01)
        call.reply(BUSY)
    (first,) = here.all(CooldownBegan)
    assert first == CooldownBegan(HOST, cause="429", binds="pair", wait=10.0, call=first.call)
    told(here, answer(503, "2"), credentials="bob")
    (second,) = here.all(CooldownBegan)[1:]
    assert second == CooldownBegan(HOST, cause="503", binds="pair", wait=2.0, call=second.call)
    here.clock.advance(12)
    told(here, credentials="ann")
    assert len(here.all(CooldownBegan)) == 3
    alone = world("call")
    told(alone)
    assert alone.all(CooldownBegan) == []


# -- which answers, and for how long -------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "statuses", "held"),
    [
        (429, None, True),
        (503, None, True),
        (502, None, True),
        (408, None, True),
        (429, [500], True),
        (503, [500], True),
        (502, [500], False),
        (423, [423], True),
        (404, None, False),
        (500, None, False),
        (202, [202], False),  # "not ready yet", of one job
        (301, [301], False),
    ],
)
def test_an_answer_holds_others_back_if_it_refuses(status: int, statuses: list[int] | None, held: bool) -> None:
    here = world(**({} if statuses is None else {"statuses": statuses}))
    told(here, answer(status, "5"))
    assert (waits(here.begin()) == 5.0) is held


def test_an_answer_without_a_wait_holds_no_call_back() -> None:
    here = world()
    for wait in (None, "0", "soon"):
        told(here, answer(503, wait))
    assert here.host.admission.cooldowns is None


def test_another_hosts_answer_holds_no_call_back() -> None:
    """A redirect led there."""
    here = world()
    outcome = answered(429, None, 10.0)
    outcome.elsewhere = True
    assert waits(told(here, outcome)) == 10.0
    assert waits(here.begin()) is None


def test_others_wait_no_longer_than_retry_after_max() -> None:
    """So a server's slip of an hour is found out within a minute, by one call rather than by none."""
    here = world(retry_after_max=8)
    assert told(here, answer(429, "3600")).outcome.status == 429
    assert here.reasons() == ["retry after"]
    assert waits(here.begin()) == 8.0
    none = world(retry_after_max=0)
    told(none, answer(429, "3600"))
    assert waits(none.begin()) is None


def test_of_two_answers_the_later_moment_counts() -> None:
    here = world()
    first, second, third = (here.begin() for _ in range(3))
    first.reply(BUSY)
    assert waits(second.reply(answer(503, "3"))) == 10.0
    third.reply(answer(503, "20"))
    assert waits(here.begin()) == 20.0
    assert here.host.snapshot().cooldown == 20.0


def test_of_the_credentials_own_wait_and_that_of_all_the_longer_counts() -> None:
    here = world("pair")
    told(here, answer(429, "10"), credentials="ann")
    told(here, answer(503, "4"), policy=policy("host"))
    assert waits(here.begin(credentials="ann")) == 10.0
    assert waits(here.begin(credentials="bob")) == 4.0


def test_a_hold_that_grows_while_a_call_waits_is_waited_for_to_its_end() -> None:
    here = world()
    busy = here.begin()
    told(here)
    call = here.begin()
    here.clock.advance(9)
    busy.reply(BUSY)
    here.clock.advance(1)
    assert waits(call.reply(False)) == pytest.approx(9.0)
    here.clock.advance(9)
    assert isinstance(call.reply(False).step, Send)


# -- retries ------------------------------------------------------------------------------------


def test_a_retry_waits_for_what_was_said_to_others_too() -> None:
    here = world("pair")
    call = here.begin()
    told(here)
    call.reply(answer(502))
    assert call.step == Wait(10.0)
    assert [event.server_directed for event in here.all(RetryScheduled)] == [True, True]


def test_a_retry_that_has_waited_is_held_back_by_what_was_said_meanwhile() -> None:
    here = world("pair")
    call = here.begin()
    call.reply(answer(502))
    assert call.step == Wait(0.1)
    told(here)
    here.clock.advance(0.1)
    assert waits(call.reply(False)) == pytest.approx(9.9)
    here.clock.advance(9.9)
    call.reply(False).reply(answer(200))
    assert call.final is not None
    assert [attempt.wait for attempt in call.final.attempts] == pytest.approx([0.0, 10.0])
    assert here.all(RequestFinished)[-1].waited == pytest.approx(10.0)


def test_a_retry_that_has_no_time_for_it_is_not_made() -> None:
    here = world("host")
    one, other = here.begin(total=5), here.begin(total=5)
    other.reply(answer(502))
    one.reply(BUSY)
    here.clock.advance(0.1)
    assert other.reply(False).outcome.status == 502
    assert [call.outcome.status for call in (one, other)] == [429, 502]
    assert here.reasons() == ["deadline", "deadline"]
    fresh = world("host")
    late = fresh.begin(total=20)
    told(fresh, answer(429, "25"))
    assert late.reply(answer(502)).outcome.status == 502, "known before the first wait"
    assert (fresh.reasons(), late.waits) == (["deadline"], [])


def test_a_backoff_that_is_longer_than_what_the_server_asks_for_is_not_the_servers() -> None:
    here = world("host", wait_initial=5)
    call = told(here, answer(429, "2"))
    assert call.step == Wait(5.0)
    assert not here.only(RetryScheduled).server_directed


def test_no_copy_is_sent_of_a_slow_attempt_meanwhile() -> None:
    here = World(policy("host").replace(hedge={"delay": 1}))
    slow = here.begin(concurrent=True)
    told(here)
    here.clock.advance(1)
    assert len(slow.reply(DUE).sends) == 1
    here.clock.advance(10)
    other = here.begin(concurrent=True)
    here.clock.advance(1)
    assert len(other.reply(DUE).sends) == 2
    here.only(HedgeSent)


# -- who is not held back -----------------------------------------------------------------------


def test_a_call_without_retries_is_one_plain_send_and_holds_no_call_back() -> None:
    """`attempts = 1` sends once and keeps the rest of the part."""
    here = world("host")
    off = here.policy.replace(retry=False)
    told(here, policy=off)
    assert here.host.admission.cooldowns is None
    told(here, policy=policy("host", attempts=1))
    assert waits(here.begin(policy=off)) is None
    assert waits(here.begin(policy=policy("host", attempts=1))) == 10.0


def test_a_call_whose_own_answers_bind_no_other_is_held_back_by_those_of_others() -> None:
    here = world("host")
    told(here)
    assert waits(here.begin(policy=policy("call"))) == 10.0


def test_an_isolated_host_refuses_at_once() -> None:
    here = world()
    told(here)
    held = here.begin()
    here.host.isolate()
    assert isinstance(here.begin().outcome.error, HostIsolatedError)
    here.clock.advance(10)
    assert isinstance(held.reply(False).outcome.error, HostIsolatedError)


def test_an_operator_who_resets_the_circuit_ends_it() -> None:
    here = world()
    told(here)
    here.host.reset_circuit()
    assert waits(here.begin()) is None
    assert here.host.snapshot().cooldown is None


def test_where_the_circuit_is_open_for_longer_calls_are_refused_at_once() -> None:
    here = World(
        policy("host").replace(breaker={"consecutive_for": 0, "consecutive": 1, "open_for": 20, "open_max": 60})
    )
    told(here, answer(503, "5"))
    assert isinstance(here.begin().outcome.error, CircuitOpenError)
    brief = World(policy("host").replace(breaker={"consecutive_for": 0, "consecutive": 1, "open_for": 2}))
    told(brief, answer(503, "5"))
    assert isinstance(brief.begin().step, Wait)


# -- its place among the other limits -------------------------------------------------------------


def test_a_dry_run_of_the_other_limits_is_no_dry_run_of_the_servers_word() -> None:
    here = world()
    dry = {
        "breaker": {"consecutive_for": 0, "consecutive": 1, "open_for": 60, "open_max": 60},
        "rate_limit": {"rate": 0.01, "burst": 1},
    }
    here.host.reconfigure(here.policy.replace(**{name: {**part, "mode": "observe"} for name, part in dry.items()}))
    told(here, answer(503, "5"))
    assert waits(here.begin()) == 5.0
    assert isinstance(here.begin(total=4).outcome.error, RateLimitedError)


def test_a_connection_that_closes_ends_the_wait() -> None:
    here = world()
    retry, call = told(here), here.begin()
    here.clock.advance(3)
    error = call.reply(True).outcome.error
    assert type(error) is OurConnectionError
    assert error.never_sent
    assert here.all(RequestFailed)[-1].waited == 3.0
    assert retry.reply(True).outcome.status == 429
    assert here.reasons() == ["closed"]
    assert here.host.gauges().queued == 0


def test_who_is_held_back_waits_outside_the_bulkhead_and_counts_as_queued() -> None:
    here = world()
    here.host.reconfigure(here.policy.replace(bulkhead={"max_concurrent": 1}))
    told(here).close()
    calls = [here.begin() for _ in range(3)]
    assert [waits(call) for call in calls] == [10.0] * 3
    assert (here.host.snapshot().in_flight, here.host.gauges().queued, here.host.busy) == (0, 3, True)
    here.clock.advance(10)
    calls[0].reply(False)
    assert (here.host.snapshot().in_flight, here.host.gauges().queued) == (1, 2)
    for call in calls[1:]:
        call.close()
    calls[0].reply(answer(200))
    assert (here.host.gauges().queued, here.host.busy) == (0, False)


def test_who_comes_in_from_the_queue_is_held_back_by_what_was_said_meanwhile() -> None:
    here = world()
    here.host.reconfigure(here.policy.replace(bulkhead={"max_concurrent": 1, "max_wait": 5}))
    first, second = here.begin(), here.begin()
    assert isinstance(second.step, Queue)
    first.reply(BUSY).close()
    assert second.step.waiter.granted
    assert waits(second.reply(False)) == 10.0
    short = here.begin(total=8)
    assert isinstance(short.outcome.error, RateLimitedError)


def test_no_token_of_the_rate_limit_is_held_meanwhile() -> None:
    """Else all that were taken would be spent in the same moment."""
    here = world()
    here.host.reconfigure(here.policy.replace(rate_limit={"rate": 1, "burst": 2, "max_wait": 20}))
    told(here).close()
    calls = [here.begin() for _ in range(4)]
    here.clock.advance(10)
    assert [waits(call.reply(False)) for call in calls] == [None, None, 1.0, 2.0]


def test_who_waits_for_a_token_is_held_back_by_what_is_said_meanwhile() -> None:
    here = world()
    here.host.reconfigure(here.policy.replace(rate_limit={"rate": 1, "burst": 1, "max_wait": 20}))
    first, second = here.begin(), here.begin()
    assert waits(second) == 1.0
    first.reply(BUSY).close()
    here.clock.advance(1)
    assert waits(second.reply(False)) == 9.0
    here.clock.advance(9)
    assert isinstance(second.reply(False).step, Send)


def test_who_waits_for_a_token_and_has_no_time_is_refused_by_what_is_said_meanwhile() -> None:
    here = world()
    here.host.reconfigure(here.policy.replace(rate_limit={"rate": 1, "burst": 1, "max_wait": 20}))
    first, second, third = here.begin(), here.begin(total=8), here.begin(total=8)
    first.reply(BUSY).close()
    here.clock.advance(1)
    assert isinstance(second.reply(False).outcome.error, RateLimitedError)
    here.clock.advance(1)
    assert isinstance(third.reply(False).outcome.error, RateLimitedError)
    assert [event.by for event in here.all(RequestRejected)] == ["cooldown"] * 2
    assert here.host.gauges().queued == 0


def test_a_child_of_a_fork_keeps_the_cooldown_and_not_those_that_waited() -> None:
    here = world()
    told(here)
    call = here.begin()
    here.host._renew_after_fork()
    assert here.host.gauges().queued == 0
    assert waits(here.begin()) == 10.0
    call.close()
    assert here.host.gauges().queued == 1, "the child's own"


def test_a_call_whose_thread_forked_while_it_waited_goes_on_in_the_child() -> None:
    """As where a signal handler forks."""
    here = world()
    told(here)
    call = here.begin()
    here.host._renew_after_fork()
    here.clock.advance(10)
    call.reply(False)
    assert waits(call) in (None, pytest.approx(0.5, abs=0.5))


def test_nothing_is_kept_once_all_is_over() -> None:
    here = world("pair")
    for who in ("ann", "bob"):
        told(here, credentials=who).close()
    here.clock.advance(11.1)
    assert waits(here.begin(credentials="zoe")) is None
    assert here.host.admission.cooldowns is None


def test_a_host_that_never_refused_is_not_asked_whose_call_it_is() -> None:
    """Else each call would pay for it."""

    def whose() -> str:
        raise AssertionError("asked")

    here = world("pair")
    request = Request("GET", "/things", idempotent=True, replayable=True, credentials=whose)
    call = Running(here, run(here.host, CompiledPolicy(here.policy, here.clock), request, here.clock, here.observe))
    call.reply(None).reply(answer(503)).reply(False).reply(answer(200))
    assert call.outcome.status == 200


# -- how they go on ----------------------------------------------------------------------------


def test_those_that_were_held_back_go_one_after_the_other_as_they_came() -> None:
    here = world(lot=0.5)
    calls = []
    for _ in range(4):
        calls.append(here.begin())
        here.clock.advance(0.001)
    calls[0].reply(BUSY)
    for _ in range(4):
        calls.append(here.begin())
        here.clock.advance(0.001)
    calls[1].reply(answer(502))
    assert isinstance(calls[2].reply(answer(200)).final, Final)
    here.clock.advance(10.004 - 0.008)
    held = [calls[0], calls[1], *calls[4:]]
    turns = [waits(call.reply(False)) or 0.0 for call in held]
    assert min(turns) > 0.05
    assert max(turns) < 1
    assert min(later - sooner for sooner, later in pairwise(turns)) > 0.1


def test_where_chance_puts_one_call_it_does_not_put_its_like_in_other_processes() -> None:
    """All of a fleet were told the same moment."""
    for lot in (0.0, 0.25, 0.999):
        here = world(lot=lot)
        call = told(here)
        assert waits(call) == 10.0
        here.clock.advance(10)
        assert waits(call.reply(False)) == (pytest.approx(lot) if lot else None)


def test_who_has_just_the_time_that_was_asked_for_goes_at_its_end() -> None:
    here = world(lot=0.999)
    told(here)
    call = here.begin(total=10.06)
    assert waits(call) == 10.0
    here.clock.advance(10.0)
    assert waits(call.reply(False)) == pytest.approx(0.01)
    assert isinstance(here.begin(total=0.03).step, Send), "it is no longer held back, and has no time to go last"
    here.clock.advance(0.01)
    assert isinstance(call.reply(False).step, Send)


def test_who_comes_when_it_is_over_does_not_overtake_those_that_wait() -> None:
    here = world(lot=0.5)
    told(here).close()
    call = here.begin()
    here.clock.advance(10)
    assert waits(call.reply(False)) == pytest.approx(0.5)
    here.clock.advance(0.2)
    assert waits(here.begin()) == pytest.approx(0.55)
    here.clock.advance(0.3)
    assert isinstance(call.reply(False).step, Send)


def test_a_call_after_its_end_goes_at_once_if_none_waits() -> None:
    here = world(lot=0.5)
    told(here).close()
    here.clock.advance(10.1)
    assert waits(here.begin()) is None


def served(binds: str, *, calls: int = 200, quota: int = 20, every: float = 2.0) -> tuple[int, list[int]]:
    """In virtual time, at a server that answers so many requests every so many seconds, and 429 to the others.

    200 calls come within a second. How many requests it got, and which calls were answered, in that order.
    """
    here = world(binds, attempts=8, wait_max=3)
    chance = random.Random(7)
    here.clock.roll = chance.random
    start, sent, answers = here.clock.now, Counter[int](), list[int]()
    begin = partial(here.begin, policy=here.policy.replace(timeout={"total": 60}))
    agenda: list[tuple[float, int, Running | None]] = [(start + n / calls, n, None) for n in range(calls)]
    heapq.heapify(agenda)
    while agenda:
        here.clock.now, number, call = heapq.heappop(agenda)
        if call is None:
            call = begin()
        elif isinstance(call.step, Send):
            window, into = divmod(here.clock.now - start, every)
            sent[int(window)] += 1
            call.reply(answer(200 if sent[int(window)] <= quota else 429, f"{every - into:.6f}"))
            if call.final is not None and call.outcome.status == 200:
                answers.append(number)
        else:
            call.reply(False)
        if call.step is not None:
            assert isinstance(call.step, Send | Wait)
            takes = 0.01 if isinstance(call.step, Send) else call.step.seconds
            heapq.heappush(agenda, (here.clock.now + takes, number, call))
    return sent.total(), answers


def test_a_quota_is_used_by_those_that_wait_in_the_order_in_which_they_came() -> None:
    """With each for itself most requests are wasted, and some calls run out of attempts."""
    sends, answers = served("pair")
    assert len(answers) == 200
    assert sends <= 1.35 * 200
    assert sum(answers[:100]) / 100 < 60, "49.5 in perfect order, 99.5 by chance"
    wasteful, fewer = served("call")
    assert wasteful > 3 * sends
    assert len(fewer) < 200


@given(came=st.lists(st.floats(0, 100), min_size=1, max_size=20), lot=st.floats(0, 1, exclude_max=True), data=st.data())
def test_everyone_has_a_part_of_the_time_of_his_own(came: list[float], lot: float, data: st.DataObject) -> None:
    """Whether or not it has joined those that wait already."""
    table = Cooldowns()
    calls = [Holdings() for _ in came]
    for call, when in zip(calls, came, strict=True):
        table.wait(call, when)
        table.wait(call, when)
    out = data.draw(st.integers(0, len(came) - 1))
    order = sorted(range(len(came)), key=lambda number: (came[number], number))
    places = [table.place(calls[number], came[number], lot) for number in order]
    assert places == [pytest.approx((rank + lot) / len(came)) for rank in range(len(came))]
    table.stop_waiting(calls[out])
    table.stop_waiting(calls[out])
    assert table.waiting == len(came) - 1
    back = table.place(calls[out], came[out], lot)
    assert back >= places[order.index(out)] - 1e-9, "of those that came together it is the last"
    for call in calls:
        table.stop_waiting(call)
    assert table.waiting == 0


@given(asked=st.floats(0.001, 2000), place=st.floats(0, 1))
def test_no_call_goes_sooner_than_asked_or_a_tenth_later(asked: float, place: float) -> None:
    release = Cooldown(0.0, asked, "429", None).release(place)
    assert asked <= release <= 1.1 * asked * (1 + 1e-12)


def test_the_table_of_credentials_is_bounded() -> None:
    table = Cooldowns()
    table.begin(Cooldown(0.0, 1000.0, "503", None))
    for number in range(2 * _MOST):
        table.begin(Cooldown(0.0, 1000.0, "429", f"who {number}"))
    assert len(table._by) == _MOST
    assert len(table.on("nobody", 1.0)) == 1, "that of all is kept"
    assert len(table.on(f"who {2 * _MOST - 1}", 1.0)) == 2
    for number in range(_MOST):
        table.begin(Cooldown(2000.0, 2001.0, "429", f"new {number}"))
    assert len(table._by) == _MOST
    assert table.longest(2000.5) == 0.5
