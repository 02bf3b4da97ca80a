"""Calls that overlap in any way, hedged or not, with any outcomes and times, keep what every call is promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sleepwalker.engine import DUE, LATE, Completed, Outcome, Permit, Queue, Send, Wait, failed
from sleepwalker.exceptions import CircuitOpenError, ConnectionError
from sleepwalker.policy import Policy
from tests.ranges import some
from tests.unit.engine_driver import Running, World, answer, bad_certificate, bearer, refused, reset

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

OUTCOMES = st.one_of(
    st.sampled_from([200, 404, 408, 429, 500, 501, 503, 503, 503]).map(answer),
    st.tuples(st.sampled_from([429, 503]), st.sampled_from(["0", "2", "20", "100", "soon"])).map(lambda a: answer(*a)),
    st.builds(refused),
    st.builds(reset),
    st.builds(bad_certificate),
    st.just(failed(ValueError("mine"))),
)
SLOW = {"slow_ratio": 0.9, "slow_call": 3, "min_calls": 4, "close_after": 1}
BRITTLE = {"consecutive_for": 0, "consecutive": 2, "half_open_probes": 2, "close_after": 1, "ramp": 2}
PATIENT = {**BRITTLE, "half_open_probes": 1, "max_wait": 8}
TIMES = st.sampled_from([0.0, 0.0, 0.01, 0.5, 3.0, 10.0]) | st.floats(0, 12)


@dataclass
class Caller:
    """A call and what it was asked for."""

    running: Running
    began: float
    idempotent: bool
    replayable: bool
    concurrent: bool
    processed: bool = False
    """Whether one of its sends may have reached the server."""
    settled: int = 0
    """How many of its sends came to something; the others were cut."""
    retry_waits: int = 0
    hedges: int = 0
    inside: bool = False
    """Whether it is in flight though it has sent nothing: held back after it had queued, or waiting for its circuit."""
    worst: bool = False
    """Whether one of the sends of its race has come to something."""
    charged: bool = False
    """Whether its latest retry was taken out of the budget."""

    @property
    def waits_for_circuit(self) -> bool:
        return isinstance(self.running.step, Wait) and self.running.step.waiter is not None


class CallMachine(RuleBasedStateMachine):
    """Callers of one host, each at a step of its own."""

    @initialize(
        attempts=st.integers(1, 5),
        jitter=st.sampled_from(["full", "equal", "decorrelated", "none"]),
        breaker=st.sampled_from([False, {}, BRITTLE, SLOW, PATIENT, {**PATIENT, "max_wait": 900, "open_for": 5}]),
        bulkhead=st.sampled_from([False, {"max_concurrent": 3}, {"max_concurrent": 2, "max_wait": 4}]),
        ratio=st.sampled_from([None, 0.3, 0.7]),
        rate=st.sampled_from([False, False, {"rate": 2, "burst": 2}, {"rate": 1, "burst": 2, "max_wait": 3}]),
        binds=st.sampled_from(["call", "pair", "host"]),
        hedge=st.sampled_from([False, {"delay": 1}, {"delay": 0.5, "max_extra": 3}, {"percentile": 50}]),
    )
    def start(
        self,
        attempts: int,
        jitter: str,
        breaker: Any,
        bulkhead: Any,
        ratio: float | None,
        rate: Any,
        binds: str,
        hedge: Any,
    ) -> None:
        # The budget's window is so long that nothing leaves it; two retries are there from the beginning.
        budget = ratio and {"ratio": ratio, "min_per_second": 2e-6, "window": 1_000_000}
        retry: dict[str, Any] = {
            "attempts": attempts,
            "jitter": jitter,
            "budget": budget or False,
            "after_binds": binds,
        }
        self.ratio = ratio
        shared: dict[str, Any] = {"breaker": breaker, "bulkhead": bulkhead, "rate_limit": rate}
        self.world = World(Policy(retry=retry, hedge=hedge, timeout={"attempt": 5, "total": 25}, **shared))
        for _ in range(25 if hedge and "percentile" in hedge else 0):
            self.world.host.history.latencies.add(self.world.clock.now, 0.4)
        self.callers: list[Caller] = []
        self.begun = 0
        self.charges = 0
        self.over: list[Caller] = []

    def pick(self, data: st.DataObject, kind: type[Send | Wait | Queue]) -> Caller:
        return data.draw(st.sampled_from([one for one in self.callers if isinstance(one.running.step, kind)]))

    def at(self, kind: type[Send | Wait | Queue]) -> bool:
        return any(isinstance(one.running.step, kind) for one in self.callers)

    def choose(self, data: st.DataObject, which: Callable[[Caller], bool]) -> Caller:
        return data.draw(st.sampled_from([one for one in self.callers if which(one)]))

    def look(self, caller: Caller) -> None:
        """What holds after each step of a call."""
        running, policy = caller.running, self.world.policy
        assert policy.retry is not None
        assert caller.hedges <= (policy.hedge.max_extra if policy.hedge else 0)
        assert len(running.sends) <= policy.retry.attempts + caller.hedges
        assert [step.number for _, step in running.sends] == list(range(1, len(running.sends) + 1))
        if caller.waits_for_circuit:
            caller.inside = True
            self.look_at_a_wait_for_the_circuit(caller)
        else:
            caller.retry_waits += bool(running.sends) and isinstance(running.step, Wait)
        caller.worst = caller.worst and running.racing
        if policy.retry.after_binds == "call":  # else it may be held back besides
            assert caller.retry_waits <= policy.retry.attempts - 1
        total = policy.timeout.total
        assert sum(running.waits) < total
        if isinstance(running.step, Send):
            began, step = running.sends[-1]
            assert began < caller.began + total
            assert step.deadline <= caller.began + total
            assert step.deadline <= began + policy.timeout.attempt
            if len(running.sends) > 1:
                assert caller.replayable
                assert caller.idempotent or not caller.processed
        if isinstance(running.step, Wait):
            assert running.step.seconds <= policy.retry.retry_after_max
            assert self.world.clock.now + running.step.seconds < caller.began + total
        if running.final is not None:
            assert [one.number for one in running.final.attempts] == [step.number for _, step in running.sends]
            if running.sends:
                assert not isinstance(running.outcome.error, CircuitOpenError)
            if isinstance(error := running.outcome.error, ConnectionError):
                assert error.never_sent is (not caller.processed and caller.settled == len(running.sends))
            self.finish(caller)

    def look_at_a_wait_for_the_circuit(self, caller: Caller) -> None:
        breaker, step = self.world.host.breaker, caller.running.step
        assert breaker is not None
        assert isinstance(step, Wait)
        assert step.waiter is not None
        assert breaker.circuit.opens_in(self.world.clock.now) <= step.waiter.patience <= breaker.circuit.max_wait
        assert step.seconds <= step.waiter.patience + 1e-9

    def tell(self, caller: Caller, reply: Any) -> None:
        """Go on with a call, and keep account of the budget's charges."""
        running, health = caller.running, self.world.host.snapshot()
        before = health.retries, health.hedges
        running.reply(reply)
        health = self.world.host.snapshot()
        if health.retries > before[0]:
            breaker = self.world.host.breaker
            free = (
                breaker is not None
                and breaker.circuit.max_wait > 0
                and (breaker.circuit.tripped or breaker.circuit.about_to_open)
            )
            caller.charged = not free
            self.charges += caller.charged
        self.charges += health.hedges - before[1]
        came = reply.outcome if isinstance(reply, Completed) else reply
        if isinstance(came, Outcome) and running.final is not None and caller.charged:
            given_back = came.status in {200, 404, 501}
            self.charges -= given_back

    def finish(self, caller: Caller) -> None:
        self.callers.remove(caller)
        self.over.append(caller)

    @rule(
        idempotent=st.sampled_from([True, True, False]),
        body=st.sampled_from(["bytes", "bytes", "file", "stream"]),
        who=st.sampled_from(["ann", "bob"]),
    )
    def a_call_begins(self, idempotent: bool, body: str, who: str) -> None:
        self.begun += 1
        how = {"replayable": body != "stream", "concurrent": body == "bytes"}
        running = self.world.begin("PUT", idempotent=idempotent, credentials=who, **how)
        caller = Caller(running, self.world.clock.now, idempotent, **how)
        self.callers.append(caller)
        self.look(caller)

    @precondition(lambda self: any(one.running.under_way for one in self.callers))
    @rule(data=st.data(), outcome=OUTCOMES, took=TIMES)
    def a_send_comes_to_something(self, data: st.DataObject, outcome: Outcome, took: float) -> None:
        caller = self.choose(data, lambda one: bool(one.running.under_way))
        running = caller.running
        number = data.draw(st.sampled_from(sorted(running.under_way)))
        self.world.clock.advance(took)
        caller.processed |= not outcome.never_sent
        caller.settled += 1
        caller.worst = running.racing
        self.tell(caller, Completed(number, outcome) if running.racing else outcome)
        self.look(caller)

    @precondition(lambda self: any(one.charged and one.running.under_way for one in self.callers))
    @rule(data=st.data(), status=st.sampled_from([200, 404, 500]))
    def a_retry_is_answered(self, data: st.DataObject, status: int) -> None:
        caller = self.choose(data, lambda one: one.charged and bool(one.running.under_way))
        caller.processed, caller.settled = True, caller.settled + 1
        number = max(caller.running.under_way)
        self.tell(caller, Completed(number, answer(status)) if caller.running.racing else answer(status))
        assert caller.running.final is not None
        self.look(caller)

    @precondition(lambda self: any(one.running.due for one in self.callers))
    @rule(data=st.data(), late=TIMES)
    def a_hedge_is_due(self, data: st.DataObject, late: float) -> None:
        caller = self.choose(data, lambda one: one.running.due)
        running, policy = caller.running, self.world.policy
        assert policy.hedge is not None
        assert caller.idempotent
        assert caller.concurrent
        _, step = running.sends[-1]
        assert step.hedge_in is not None
        self.world.clock.advance(step.hedge_in + late)
        state, count = self.world.host.snapshot().breaker, len(running.sends)
        self.tell(caller, DUE)
        if len(running.sends) > count:
            caller.hedges += 1
            assert state == "closed"
            assert running.sends[-1][1].deadline == step.deadline
            assert self.world.clock.now < step.deadline
        self.look(caller)

    @precondition(lambda self: any(one.worst and one.running.under_way for one in self.callers))
    @rule(data=st.data())
    def a_copy_overruns_its_deadline(self, data: st.DataObject) -> None:
        caller = self.choose(data, lambda one: one.worst and bool(one.running.under_way))
        self.tell(caller, LATE)
        assert not caller.running.racing
        self.look(caller)

    @precondition(lambda self: self.at(Wait))
    @rule(data=st.data(), late=TIMES)
    def a_wait_ends(self, data: st.DataObject, late: float) -> None:
        caller = self.pick(data, Wait)
        assert isinstance(caller.running.step, Wait)
        self.world.clock.advance(caller.running.step.seconds + late)
        self.tell(caller, False)
        self.look(caller)

    @precondition(lambda self: any(one.waits_for_circuit for one in self.callers))
    @rule(data=st.data())
    def a_call_that_waits_for_the_circuit_wakes(self, data: st.DataObject) -> None:
        """The first waiter is woken first; waking one without need does no harm."""
        caller = self.choose(data, lambda one: one.waits_for_circuit)
        caller.running.waits[-1] = 0.0
        self.tell(caller, False)
        self.look(caller)

    @rule()
    def the_circuit_is_reset(self) -> None:
        self.world.host.reset_circuit()
        for one in self.callers:
            step = one.running.step
            assert not isinstance(step, Wait) or step.waiter is None or step.waiter.woken

    @precondition(lambda self: self.at(Wait))
    @rule(data=st.data())
    def a_wait_is_cut_short(self, data: st.DataObject) -> None:
        caller = self.pick(data, Wait)
        sends = len(caller.running.sends)
        self.tell(caller, True)
        assert caller.running.final is not None
        assert len(caller.running.sends) == sends
        self.look(caller)

    @precondition(lambda self: self.at(Queue))
    @rule(data=st.data(), late=TIMES, closed=st.sampled_from([False, False, True]))
    def a_call_in_the_queue_wakes(self, data: st.DataObject, late: float, closed: bool) -> None:
        caller = self.pick(data, Queue)
        assert isinstance(caller.running.step, Queue)
        placed = caller.running.step.waiter.granted
        if not placed and not closed:
            self.world.clock.advance(caller.running.step.seconds + late)
        self.tell(caller, closed)
        assert placed or caller.running.sends == []
        assert placed or caller.running.final is not None
        caller.inside = isinstance(caller.running.step, Wait)
        self.look(caller)

    @precondition(lambda self: self.callers)
    @rule(data=st.data(), error=st.sampled_from([KeyboardInterrupt, SystemExit, ValueError]))
    def a_call_is_interrupted(self, data: st.DataObject, error: type[BaseException]) -> None:
        caller = data.draw(st.sampled_from(self.callers))
        with pytest.raises(error):
            caller.running.throw(error())
        self.finish(caller)

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def a_call_is_dropped(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.callers))
        caller.running.close()
        self.finish(caller)

    @rule(seconds=TIMES, dice=st.floats(0, 1, exclude_max=True))
    def time_passes(self, seconds: float, dice: float) -> None:
        self.world.clock.advance(seconds)
        self.world.clock.roll = lambda: dice

    @invariant()
    def the_host_knows_who_is_there(self) -> None:
        if not hasattr(self, "world"):
            return
        health = self.world.host.snapshot()
        steps = [one.running.step for one in self.callers]
        queued = sum(isinstance(step, Queue) and not step.waiter.granted for step in steps)
        waits = [one for one in self.callers if isinstance(one.running.step, Wait) and not one.running.sends]
        breaker = self.world.host.breaker
        turns = [] if breaker is None else [ticket.call for ticket in breaker.queue.waiters]
        assert len(turns) == len(set(map(id, turns))) == sum(one.waits_for_circuit for one in self.callers)
        limited = sum(not one.inside for one in waits)
        assert health.in_flight == len(self.callers) - queued - limited
        bulkhead = self.world.policy.bulkhead
        assert bulkhead is None or health.in_flight <= bulkhead.max_concurrent
        assert not queued or bulkhead is None or health.in_flight == bulkhead.max_concurrent
        assert health.calls == self.begun - limited
        counters = self.world.host.counters
        assert counters.answered + counters.failed + counters.rejected + counters.cancelled == len(self.over)
        assert sum(counters.call_seconds.counts) == len(self.over) - counters.rejected
        assert self.world.closings() == len(self.over)
        under_way = sum(len(one.running.under_way) for one in self.callers)
        assert health.attempts == sum(len(one.running.sends) for one in [*self.callers, *self.over]) - under_way
        assert health.failures <= health.attempts
        assert self.world.host.gauges().queued >= queued + len(waits)
        if self.ratio is not None:
            firsts = sum(bool(one.running.sends) for one in [*self.callers, *self.over])
            assert self.charges <= 2 + self.ratio * firsts + 1e-9
            assert self.world.host.admission.budget is not None
            left = self.world.host.admission.budget.left(self.world.clock.now)
            earned = sum(one.settled > 0 for one in [*self.callers, *self.over])
            assert left == pytest.approx(2 + self.ratio * earned - self.charges)
        assert health.hedges == sum(one.hedges for one in [*self.callers, *self.over])

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for caller in list(self.callers):
            caller.running.close()
            self.finish(caller)
        self.the_host_knows_who_is_there()
        host = self.world.host
        if host.breaker is not None:
            assert host.breaker.circuit.places.out == ()
            assert list(host.breaker.queue.waiters) == []
            assert host.breaker.circuit.slow is None or not host.breaker.circuit.slow._under_way
        assert host.gauges().queued == 0
        self.world.clock.advance(1000.0)
        assert isinstance(host.admission.admit(bearer(), self.world.clock.now, 1.0)[0], Permit)


CallMachine.TestCase.settings = settings(max_examples=some(30, 80), stateful_step_count=40, deadline=None)
TestCall = CallMachine.TestCase
