"""An asyncio driver over the engine: nothing in there blocks the loop, and no call that waits costs a thread.

Where no thread takes part, the loop's time is virtual: where nothing is ready, it goes on to what is due next.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK
from sleepwalker.drivers.threads.drive import drive as drive_in_a_thread
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import (
    DUE,
    LATE,
    CompiledPolicy,
    Completed,
    Final,
    Hold,
    Host,
    Outcome,
    Queue,
    Request,
    Send,
    Step,
    Steps,
    Wait,
    answered,
    run,
)
from sleepwalker.events import Event, Level
from sleepwalker.policy import Policy
from tests.unit.engine_driver import FakeClock

Sender = Callable[[Send], Awaitable[Outcome]]

# The driver


async def drive(steps: Steps, send: Sender) -> Final:
    """What the call comes to."""
    step: Step | Final = next(steps)
    while not isinstance(step, Final):
        try:
            if isinstance(step, Send) and step.hedge_in is not None:
                step = await race(steps, send, step)
            elif isinstance(step, Send):
                step = go_on(steps, await send(step))
            else:
                assert isinstance(step, Wait | Queue)
                step = go_on(steps, await wait(step))
        except BaseException as error:
            steps.throw(error)
            raise
    return step


def go_on(steps: Steps, reply: Any) -> Step | Final:
    try:
        return steps.send(reply)
    except StopIteration as stop:
        return stop.value


async def wait(step: Wait | Queue) -> bool:
    """Until the time is over, or the waiter is woken: by this loop, or by another thread."""
    woken, loop = asyncio.Event(), asyncio.get_running_loop()
    if step.waiter is not None:
        step.waiter.notify = lambda: loop.call_soon_threadsafe(woken.set)
        if step.waiter.woken:
            return False
    try:
        async with asyncio.timeout(step.seconds):
            await woken.wait()
    except TimeoutError:
        pass
    return False


async def race(steps: Steps, send: Sender, first: Send) -> Step | Final:
    """An attempt, and hedge attempts while it is slow; the rest is cancelled once the call goes on."""
    running = {asyncio.ensure_future(send(first)): first.number}
    hedge_in = first.hedge_in
    try:
        while True:
            left = first.deadline - asyncio.get_running_loop().time()
            due = left if hedge_in is None else min(left, hedge_in)
            done, _ = await asyncio.wait(running, timeout=due, return_when=asyncio.FIRST_COMPLETED)
            if done:
                ended = done.pop()
                step = go_on(steps, Completed(running.pop(ended), ended.result()))
            else:
                step = go_on(steps, LATE if hedge_in is None else DUE)
                hedge_in = None
                if isinstance(step, Send):
                    running[asyncio.ensure_future(send(step))] = step.number
                    hedge_in = step.hedge_in
                    continue
            if not isinstance(step, Hold):
                return step
    finally:
        for task in running:
            task.cancel()


# The bed


class VirtualSelector(selectors.DefaultSelector):
    """A loop that would wait for time to pass moves the clock on instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        assert ready or timeout is not None, "nothing will ever happen"
        if not ready and timeout is not None:
            self.clock.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__(VirtualSelector(clock))
        self.clock = clock

    def time(self) -> float:
        return self.clock.now


def go(main: Callable[[FakeClock], Coroutine[Any, Any, None]]) -> None:
    """Run it in virtual time."""
    clock = FakeClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(main(clock))


class Bed:
    """A host, and calls to it that nothing but this loop's tasks performs."""

    def __init__(self, clock: Clock, **parts: Any) -> None:
        self.clock = clock
        self.policy = Policy(**{"log": {"finished": "off"}, **parts})
        self.host = Host("https://h.test", self.policy, clock)
        self.compiled = CompiledPolicy(self.policy, clock)
        self.events: list[Event] = []
        self.threads = threading.active_count()
        self.most_at_once = self.at_once = 0

    def observe(self, event: Event, level: Level | None = None, /) -> None:
        self.events.append(event)

    def steps(self, *, concurrent: bool = False) -> Steps:
        request = Request("GET", "/", idempotent=True, replayable=True, concurrent=concurrent)
        return run(self.host, self.compiled, request, self.clock, self.observe)

    def call(self, send: Sender, *, concurrent: bool = False) -> asyncio.Task[Final]:
        return asyncio.create_task(drive(self.steps(concurrent=concurrent), send))

    def send(self, seconds: float, status: int = 200) -> Sender:
        async def send(step: Send) -> Outcome:
            self.begin()
            try:
                await asyncio.sleep(seconds)
            finally:
                self.at_once -= 1
            return answered(status, None, None)

        return send

    def begin(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)

    def assert_nothing_is_left(self) -> None:
        """No thread, no place, no permit, nothing in a queue, and nothing that is to be woken."""
        assert threading.active_count() <= self.threads
        gauges = self.host.gauges()
        assert (gauges.in_flight, gauges.queued) == (0, 0)
        assert self.host.lock.woken == ()
        assert self.host.breaker is None or self.host.breaker.circuit.places.out == ()


def scripted(*statuses: int) -> Sender:
    script = iter(statuses)

    async def send(step: Send) -> Outcome:
        return answered(next(script), None, None)

    return send


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what it waits for is the engine's, which knows no event
            await asyncio.sleep(0.001)


# What it shows


def test_a_call_is_retried_after_a_wait() -> None:
    async def main(clock: FakeClock) -> None:
        bed = Bed(clock, retry={"wait_initial": 0.002, "wait_max": 0.004})
        final = await bed.call(scripted(503, 502, 200))
        assert [attempt.status for attempt in final.attempts] == [503, 502, 200]
        assert final.outcome.status == 200
        bed.assert_nothing_is_left()

    go(main)


def test_calls_queue_for_one_place_without_a_thread_each() -> None:
    async def main(clock: FakeClock) -> None:
        bed = Bed(clock, bulkhead={"max_concurrent": 1, "max_wait": 5})
        calls = [bed.call(bed.send(0.002)) for _ in range(6)]
        await until(lambda: bed.host.gauges().queued == 5)
        assert threading.active_count() <= bed.threads
        finals = await asyncio.gather(*calls)
        assert [final.outcome.status for final in finals] == [200] * 6
        assert bed.most_at_once == 1
        bed.assert_nothing_is_left()

    go(main)


def test_calls_that_are_cancelled_in_the_queue_or_under_way_leave_nothing_and_the_next_one_gets_the_place() -> None:
    async def main(clock: FakeClock) -> None:
        bed = Bed(clock, bulkhead={"max_concurrent": 1, "max_wait": 5})
        first = bed.call(bed.send(60))
        queue = [bed.call(bed.send(0.001)) for _ in range(5)]
        await until(lambda: bed.host.gauges().queued == 5)
        for call in (queue[0], queue[2], first):
            call.cancel()
        finals = await asyncio.gather(first, *queue, return_exceptions=True)
        assert [isinstance(final, asyncio.CancelledError) for final in finals] == [
            True,
            True,
            False,
            True,
            False,
            False,
        ]
        bed.assert_nothing_is_left()

    go(main)


def test_a_call_that_is_cancelled_once_it_was_granted_a_place_gives_it_to_the_next() -> None:
    async def main(clock: FakeClock) -> None:
        bed = Bed(clock, bulkhead={"max_concurrent": 1, "max_wait": 5})
        first, granted, following = (bed.call(bed.send(0.01)) for _ in range(3))
        queued: list[int] = []

        def cancel(_: object) -> None:
            queued.append(bed.host.gauges().queued)
            granted.cancel()

        first.add_done_callback(cancel)  # the place is there by then, and the task that waits for it has not run since
        await asyncio.gather(first, granted, following, return_exceptions=True)
        assert queued == [1]
        assert granted.cancelled()
        assert following.result().outcome.status == 200
        bed.assert_nothing_is_left()

    go(main)


BREAKER = {
    "consecutive": 2,
    "consecutive_for": 0,
    "open_for": 2,
    "open_max": 2,
    "max_wait": 20,
    "half_open_probes": 1,
    "close_after": 1,
    "ramp": 0,
}


async def opened(clock: FakeClock) -> Bed:
    """A host whose circuit is open."""
    bed = Bed(clock, breaker=BREAKER, retry=False)
    for _ in range(2):
        await bed.call(scripted(503))
    assert bed.host.gauges().breaker == "open"
    return bed


def test_calls_wait_for_an_open_circuit_and_each_goes_when_it_lets_them_through() -> None:
    async def main(clock: FakeClock) -> None:
        bed = await opened(clock)
        calls = [bed.call(bed.send(0.002)) for _ in range(4)]
        await until(lambda: bed.host.gauges().queued == 4)
        assert threading.active_count() <= bed.threads
        finals = await asyncio.gather(*calls)
        assert [final.outcome.status for final in finals] == [200] * 4
        assert bed.host.gauges().breaker == "closed"
        bed.assert_nothing_is_left()

    go(main)


def test_a_call_that_is_cancelled_while_it_waits_for_the_circuit_or_probes_leaves_its_turn_to_the_next() -> None:
    async def main(clock: FakeClock) -> None:
        bed = await opened(clock)
        probes, waits, following = bed.call(bed.send(60)), bed.call(bed.send(60)), bed.call(bed.send(0.001))
        await until(lambda: bed.at_once == 1)
        assert bed.host.gauges().queued == 2
        waits.cancel()
        probes.cancel()
        await asyncio.gather(probes, waits, following, return_exceptions=True)
        assert (probes.cancelled(), waits.cancelled()) == (True, True)
        assert following.result().outcome.status == 200
        bed.assert_nothing_is_left()

    go(main)


def test_a_slow_attempt_is_hedged_and_the_one_that_loses_is_cancelled() -> None:
    async def main(clock: FakeClock) -> None:
        bed = Bed(clock, hedge={"delay": 0.005})
        lost: list[int] = []

        async def send(step: Send) -> Outcome:
            try:
                await asyncio.sleep(60 if step.number == 1 else 0.001)
            except asyncio.CancelledError:
                lost.append(step.number)
                raise
            return answered(200, None, None)

        final = await bed.call(send, concurrent=True)
        assert [(attempt.number, attempt.status) for attempt in final.attempts] == [(1, None), (2, 200)]
        await until(lambda: lost == [1])
        bed.assert_nothing_is_left()

    go(main)


def test_a_call_that_is_cancelled_in_a_hedge_leaves_nothing() -> None:
    async def main(clock: FakeClock) -> None:
        bed = Bed(clock, hedge={"delay": 0.002})
        call = bed.call(bed.send(60), concurrent=True)
        await until(lambda: bed.at_once == 2)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        await until(lambda: bed.at_once == 0)
        bed.assert_nothing_is_left()

    go(main)


def test_threads_and_tasks_queue_for_the_places_of_one_host() -> None:
    """Each wakes the others: a thread the tasks of the loop, a task the threads."""
    bed = Bed(SYSTEM_CLOCK, bulkhead={"max_concurrent": 1, "max_wait": 60}, timeout={"total": 120})
    order: list[str] = []
    lock = threading.Lock()

    def block(step: Send) -> Outcome:
        with lock:
            bed.begin()
        time.sleep(0.001)
        with lock:
            order.append("thread")
            bed.at_once -= 1
        return answered(200, None, None)

    async def send(step: Send) -> Outcome:
        with lock:
            bed.begin()
        await asyncio.sleep(0.001)
        with lock:
            order.append("task")
            bed.at_once -= 1
        return answered(200, None, None)

    def work() -> None:
        for _ in range(20):
            final = drive_in_a_thread(bed.steps(), Waits(BLOCKING_CLOCK), block, lambda response: None)
            assert final.outcome.status == 200

    async def call() -> None:
        for _ in range(20):
            assert (await bed.call(send)).outcome.status == 200

    async def main() -> None:
        await asyncio.gather(*(call() for _ in range(3)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join(60)
    assert (order.count("thread"), order.count("task")) == (60, 60)
    turns = sum(one != another for one, another in itertools.pairwise(order))
    assert turns > 10  # they had to wake each other
    assert bed.most_at_once == 1
    bed.assert_nothing_is_left()
