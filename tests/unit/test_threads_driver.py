"""The driver of threads over the engine, with attempts that are functions: no transport, no connection, no server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, Wake
from sleepwalker.drivers.threads.drive import drive
from sleepwalker.drivers.threads.hedge import PendingEvents, hedge
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import CompiledPolicy, Final, Host, Outcome, Request, Send, answered, run
from sleepwalker.events import Event, HedgeFinished, HedgeSent, Level, RequestFinished
from sleepwalker.policy import Policy
from tests.unit.engine_driver import FakeClock, answer


class MovingClock(FakeClock):
    """A wait takes no time: the clock goes on by it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        self.waits.append(seconds)
        self.advance(seconds)
        return wake is not None and wake.is_set()


class Bed:
    """A host, its clock, and what one call told."""

    def __init__(self, clock: Any, **parts: Any) -> None:
        self.clock = clock
        policy = Policy(**{"breaker": False, **parts})
        self.host = Host("https://h.test", policy, clock)
        self.compiled = CompiledPolicy(policy, clock)
        self.waits = Waits(clock)
        self.events: list[Event] = []
        self.released: list[Any] = []

    def observe(self, event: Event, level: Level | None = None, /) -> None:
        self.events.append(event)

    def drive(self, send: Callable[[Send], Outcome], retry_if: Callable[[Outcome], bool] | None = None) -> Final:
        request = Request("GET", "/", idempotent=True, replayable=True, retry_if=retry_if)
        steps = run(self.host, self.compiled, request, self.clock, self.observe)
        return drive(steps, self.waits, send, self.released.append)

    def drive_hedged(self, begin: Callable[[Send, bool], Any]) -> Final:
        request = Request("GET", "/", idempotent=True, replayable=True, concurrent=True)
        events = PendingEvents(self.observe)
        steps = run(self.host, self.compiled, request, self.clock, events)

        def hedged(steps: Any, step: Send) -> Any:
            return hedge(
                steps,
                step,
                events=events,
                begin=begin,
                release=self.released.append,
                waits=self.waits,
                clock=self.clock,
            )

        return drive(steps, self.waits, lambda step: answer(500), self.released.append, hedged)

    def assert_whole(self) -> None:
        gauges = self.host.gauges()
        assert (gauges.in_flight, gauges.queued) == (0, 0)


def scripted(*outcomes: Outcome | BaseException) -> Callable[[Send], Outcome]:
    script = iter(outcomes)

    def send(step: Send) -> Outcome:
        outcome = next(script)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return send


def test_a_call_is_sent_again_after_its_wait_and_what_it_had_is_released_before_that() -> None:
    bed = Bed(MovingClock(), retry={"wait_initial": 2, "jitter": "none"})
    first, second = answered(503, "first", None), answered(200, "second", None)
    final = bed.drive(scripted(first, second))
    assert final.outcome is second
    assert [attempt.status for attempt in final.attempts] == [503, 200]
    assert bed.clock.waits == [2.0]
    assert bed.released == ["first"]
    assert [type(event) for event in bed.events][-1] is RequestFinished
    bed.assert_whole()


def test_what_a_send_raises_ends_the_call_with_all_given_back() -> None:
    """As a Ctrl-C does: it is no outcome."""
    bed = Bed(MovingClock())
    with pytest.raises(KeyboardInterrupt):
        bed.drive(scripted(answer(503), KeyboardInterrupt()))
    bed.assert_whole()
    assert bed.host.counters.cancelled == 1


def test_a_wait_that_is_ended_hands_over_what_the_call_has() -> None:
    bed = Bed(MovingClock(), retry={"wait_initial": 2, "jitter": "none"})
    bed.waits.end()
    final = bed.drive(scripted(answer(503), answer(200)))
    assert final.outcome.status == 503
    bed.assert_whole()


def test_the_callers_function_is_asked_and_what_it_raises_releases_the_response() -> None:
    bed = Bed(MovingClock(), retry={"jitter": "none"})
    assert bed.drive(scripted(answer(200), answer(204)), lambda outcome: outcome.status == 200).outcome.status == 204

    class Held:
        attempts: Any = None

    held = Held()

    def fail(outcome: Outcome) -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        bed.drive(scripted(answered(200, held, None)), fail)
    assert bed.released[-1] is held
    assert [attempt.status for attempt in held.attempts] == [200]
    bed.assert_whole()


def test_a_hedge_attempt_wins_and_the_first_one_is_cancelled() -> None:
    bed = Bed(BLOCKING_CLOCK, hedge={"delay": 0.001})
    cancelled = threading.Event()

    class Attempt:
        on_the_wire = True

        def __init__(self, step: Send, extra: bool) -> None:
            self.extra = extra

        def send(self) -> Outcome:
            if self.extra:
                return answered(200, "hedge", None)
            assert cancelled.wait(60)
            return answered(200, "late", None)

        def cancel(self) -> None:
            assert not self.extra
            cancelled.set()

        def end(self) -> None:
            pass

    final = bed.drive_hedged(Attempt)
    assert final.outcome.response == "hedge"
    assert "late" in bed.released
    told = [event for event in bed.events if isinstance(event, HedgeSent | HedgeFinished)]
    assert [type(event) for event in told] == [HedgeSent, HedgeFinished]
    assert isinstance(told[1], HedgeFinished)
    assert told[1].won
    bed.assert_whole()


def test_an_attempt_that_is_not_on_the_wire_is_not_hedged() -> None:
    bed = Bed(BLOCKING_CLOCK, hedge={"delay": 0.001})
    begun: list[bool] = []

    class Attempt:
        def __init__(self, step: Send, extra: bool) -> None:
            begun.append(extra)
            self.asked = threading.Event()

        @property
        def on_the_wire(self) -> bool:
            self.asked.set()
            return False

        def send(self) -> Outcome:
            assert self.asked.wait(60)
            return answer(200)

        def cancel(self) -> None:
            raise AssertionError("there is nothing to cancel")

        def end(self) -> None:
            pass

    assert bed.drive_hedged(Attempt).outcome.status == 200
    assert begun == [False]
    bed.assert_whole()
