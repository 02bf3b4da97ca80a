"""The queue before a full bulkhead: who waits, for how long, who is next, and that no place is ever lost."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, Wake
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import CompiledPolicy, Host, Queue, Request, Send, Waiter, run
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.events import RequestFailed, RequestFinished, RequestRejected
from sleepwalker.exceptions import BulkheadFullError, DeadlineExceeded, HostIsolatedError
from sleepwalker.exceptions import ConnectionError as OurConnectionError
from sleepwalker.policy import Policy
from tests.interrupts import strike
from tests.unit.engine_driver import HOST, Running, World, answer


def world(places: int = 1, max_wait: float = 2.0, **parts: Any) -> World:
    return World(Policy(bulkhead={"max_concurrent": places, "max_wait": max_wait}, **{"breaker": False, **parts}))


def granted(call: Running) -> bool:
    if not isinstance(call.step, Queue):
        return False
    assert call.step.waiter.woken is call.notified
    return call.step.waiter.granted and call.notified


def test_a_call_that_finds_no_place_queues_for_max_wait_at_most() -> None:
    here = world()
    _first = here.begin()
    call = here.begin()
    assert isinstance(call.step, Queue)
    assert call.step.seconds == 2.0
    here.clock.advance(2.0)
    error = call.reply(False).outcome.error
    assert isinstance(error, BulkheadFullError)
    assert error.host == HOST
    assert error.never_sent
    limit = "1 calls in flight, which is the limit (bulkhead.max_concurrent)"
    assert str(error) == f"{HOST}: {limit}; no slot became free within 2 s"
    assert call.sends == []
    assert here.only(RequestRejected).by == "bulkhead"
    failed = here.only(RequestFailed)
    assert (failed.waited, failed.duration, failed.attempts) == (2.0, 2.0, 0)
    health = here.host.snapshot()
    assert (health.calls, health.rejections, health.in_flight) == (2, 1, 1)


def test_a_place_goes_to_the_one_that_has_queued_for_longest() -> None:
    here = world(places=2)
    first, second = here.begin(), here.begin()
    queue = [here.begin() for _ in range(3)]
    assert [granted(call) for call in queue] == [False, False, False]
    first.reply(answer(200))
    assert [granted(call) for call in queue] == [True, False, False]
    assert here.host.snapshot().in_flight == 2
    second.close()
    assert [granted(call) for call in queue] == [True, True, False]
    assert isinstance(queue[1].reply(False).step, Send)
    queue[1].reply(answer(200))
    assert [granted(call) for call in queue] == [True, False, True]


def test_who_comes_while_others_queue_goes_behind_them() -> None:
    here = world()
    first = here.begin()
    waiting = here.begin()
    late = here.begin()
    first.reply(answer(200))
    assert not isinstance(here.begin().step, Send)
    assert granted(waiting)
    assert not granted(late)


def test_the_time_in_the_queue_counts_towards_the_total() -> None:
    here = world(max_wait=8, timeout={"connect": 1, "attempt": 9, "total": 10})
    first = here.begin()
    call = here.begin()
    here.clock.advance(5)
    first.reply(answer(200))
    call.reply(False)
    assert isinstance(call.step, Send)
    assert (call.step.limit, call.step.deadline) == ("total", here.clock.now + 5)
    call.reply(answer(200))
    assert here.all(RequestFinished)[-1].waited == 5.0


def test_a_total_that_ends_before_max_wait_is_a_deadline() -> None:
    here = world(max_wait=8)
    _first = here.begin()
    short = Policy(timeout={"connect": 1, "attempt": 3, "total": 3}, retry=False)
    call = here.begin(policy=short)
    assert isinstance(call.step, Queue)
    assert call.step.seconds == 3.0
    here.clock.advance(3.0)
    error = call.reply(False).outcome.error
    assert isinstance(error, DeadlineExceeded)
    assert (error.limit, error.phase, error.never_sent) == ("total", "queue", True)
    assert here.all(RequestRejected) == []
    assert here.host.snapshot().failures == 0


def test_a_place_that_comes_when_the_total_is_over_goes_on_to_the_next() -> None:
    here = world(max_wait=8)
    first = here.begin()
    call, following = here.begin(), here.begin()
    first.reply(answer(200))
    here.clock.advance(30)
    assert isinstance(call.reply(False).outcome.error, DeadlineExceeded)
    assert granted(following)


def test_a_place_that_comes_at_the_moment_of_giving_up_is_taken() -> None:
    here = world()
    first = here.begin()
    call = here.begin()
    here.clock.advance(2.0)
    first.reply(answer(200))
    assert isinstance(call.reply(False).step, Send)


@pytest.mark.parametrize("early", [True, False], ids=["before a place came", "after"])
@pytest.mark.parametrize("end", ["Ctrl-C", "dropped"])
def test_a_call_that_is_cancelled_in_the_queue_leaves_no_trace(end: str, early: bool) -> None:
    here = world()
    first = here.begin()
    call, following = here.begin(), here.begin()
    if not early:
        first.reply(answer(200))
    if end == "dropped":
        call.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            call.throw(KeyboardInterrupt())
    if early:
        first.reply(answer(200))
    assert granted(following)
    following.reply(False).reply(answer(200))
    assert here.host.snapshot().in_flight == 0
    assert not here.host.busy


def test_closing_the_connection_ends_the_wait() -> None:
    here = world()
    _first = here.begin()
    error = here.begin().reply(True).outcome.error
    assert type(error) is OurConnectionError
    assert (error.never_sent, error.retryable) == (True, False)
    assert here.host.snapshot().rejections == 0


def test_isolating_the_host_wakes_and_rejects_those_who_queue() -> None:
    here = world()
    first = here.begin()
    call, already = here.begin(), here.begin()
    first.reply(answer(200))
    here.host.isolate()
    for waiting in (call, already):
        assert isinstance(waiting.step, Queue)
        assert waiting.step.waiter.woken
        assert isinstance(waiting.reply(False).outcome.error, HostIsolatedError)
    assert here.host.snapshot().in_flight == 0
    here.host.restore()
    assert isinstance(here.begin().step, Send)


def test_a_call_without_the_bulkhead_does_not_queue_and_leaves_no_place() -> None:
    here = world()
    first = here.begin()
    urgent = here.begin(policy=Policy(bulkhead=False))
    assert isinstance(urgent.step, Send)
    call = here.begin()
    urgent.reply(answer(200))
    assert not granted(call)
    first.reply(answer(200))
    assert granted(call)


def test_a_host_that_calls_queue_for_is_busy() -> None:
    here = world()
    first = here.begin()
    call = here.begin()
    here.host.isolate()
    first.close()
    call.close()
    assert not here.host.busy


@pytest.mark.parametrize("end", ["answered", "isolated"])
def test_no_wake_up_is_lost_wherever_a_signal_handler_raises(end: str) -> None:
    """Those who were woken and not notified are notified by the next one who comes."""
    files = (
        "engine/host/host.py",
        "engine/host/lock.py",
        "engine/host/admission.py",
        "engine/host/bulkhead.py",
        "engine/call.py",
    )
    at, struck = 0, True
    while struck:
        here = world()
        first = here.begin()
        queue = [here.begin() for _ in range(2)]

        def act(here: World = here, first: Running = first) -> None:
            if end == "isolated":
                here.host.isolate()
            else:
                first.reply(answer(200))

        struck = strike(act, files=files, at=at) is not None
        if end == "isolated":
            here.host.isolate()
            assert [call.notified for call in queue] == [True, True]
        else:
            here.begin()
            assert [granted(call) for call in queue] == [True, False]
        assert here.host.lock.woken == ()
        at += 1
    assert at > 20


def test_a_driver_that_raises_when_it_is_notified_leaves_the_others_to_the_next_one_who_comes() -> None:
    here = world()
    first = here.begin()
    queue = [here.begin() for _ in range(2)]
    for call in queue:
        call.notified = False
    step = queue[0].step
    assert isinstance(step, Queue)
    notify, step.waiter.notify = step.waiter.notify, _interrupt
    with pytest.raises(KeyboardInterrupt):
        here.host.isolate()
    assert [call.notified for call in queue] == [False, False]
    step.waiter.notify = notify
    first.reply(answer(200))
    assert [call.notified for call in queue] == [True, True]


def _interrupt() -> None:
    raise KeyboardInterrupt


# Waits


def test_a_wait_in_the_queue_ends_with_the_waiter_and_with_the_connection() -> None:
    waits = Waits(BLOCKING_CLOCK)
    waiter = Waiter(Holdings(), 5.0)
    waiter.woken = True
    assert waits.queue(waiter, 5.0) is False
    waits.end()
    assert waiter.notify is None
    assert waits.queue(Waiter(Holdings(), 5.0), 5.0) is True
    assert waits.pause(5.0) is True


class LeavingClock:
    """A clock whose interpreter is on its way out: every wait is cut short, and no event was set."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    random = staticmethod(random.random)

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        return True


def test_the_end_of_the_interpreter_ends_the_queue() -> None:
    assert Waits(LeavingClock()).queue(Waiter(Holdings(), 5.0), 5.0) is True


def test_threads_that_queue_time_out_and_give_up_never_exceed_or_lose_a_place() -> None:
    """Grants race with time-outs: every wait here is about as long as a call."""
    policy = Policy(
        bulkhead={"max_concurrent": 3, "max_wait": 0.002}, breaker=False, retry=False, log={"finished": "off"}
    )
    host, compiled = Host(HOST, policy, BLOCKING_CLOCK), CompiledPolicy(policy, BLOCKING_CLOCK)
    request = Request("GET", "/", idempotent=True, replayable=True)
    under_way: list[int] = []
    most: list[int] = []
    ends: list[str] = []

    def call(dice: random.Random) -> None:
        waits = Waits(BLOCKING_CLOCK)
        steps = run(host, compiled, request, BLOCKING_CLOCK, lambda event, level=None, /: None)
        try:
            step = next(steps)
            if isinstance(step, Queue):
                if dice.random() < 0.2:
                    waits.end()
                if dice.random() < 0.2:
                    steps.close()
                    ends.append("dropped")
                    return
                step = steps.send(waits.queue(step.waiter, step.seconds))
            under_way.append(1)
            most.append(len(under_way))
            time.sleep(dice.choice([0.0, 0.001, 0.002]))
            under_way.pop()
            steps.send(answer(200))
        except StopIteration as stop:
            ends.append(type(stop.value.outcome.error).__name__)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(60):
            call(dice)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 600
    assert set(ends) == {"NoneType", "BulkheadFullError", "ConnectionError", "dropped"}
    assert max(most) == 3
    health = host.snapshot()
    assert (health.in_flight, health.calls, health.attempts) == (0, 600, ends.count("NoneType"))
    assert health.rejections == ends.count("BulkheadFullError")
    assert not host.busy
