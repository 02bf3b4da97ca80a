"""The word of a fleet amid calls, failures, holds, looks and withdrawals in any order: no circuit is ever stuck."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sleepwalker.engine import Send, Wait, fleet
from sleepwalker.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event, HostBroken, HostRecovered, Level
from sleepwalker.policy import Policy
from tests.ranges import some
from tests.unit.engine_driver import Running, World, answer, refused, reset

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

OPEN_MAX = 40.0
OUTCOMES = st.sampled_from([200, 200, 200, 500, 503, 429]).map(answer) | st.sampled_from([refused(), reset()])
SECONDS = st.floats(0, 3) | st.floats(3, 50)


class Heard(World):
    """What is announced, with when: the circuit's transitions and the host's must each follow from the one before."""

    circuit_was = "closed"
    broken = False
    transitions = 0
    latest = 0.0
    """Until when the circuit may be open by its own opening."""

    def observe(self, event: Event, level: Level | None = None, /) -> None:
        super().observe(event, level)
        if isinstance(event, BreakerOpened):
            assert self.circuit_was != "open"
            assert (event.rule == "fleet") is (event.by == "fleet")
            assert (event.rule in ("fleet", "consecutive", "failure_ratio", "slow_ratio")) or self.circuit_was != "open"
            self.circuit_was, self.latest = "open", self.clock.now + event.open_for
        elif isinstance(event, BreakerHalfOpened):
            assert self.circuit_was == "open"
            self.circuit_was = "half-open"
        elif isinstance(event, BreakerClosed):
            assert self.circuit_was == "half-open" or event.by_hand
            self.circuit_was = "closed"
        elif isinstance(event, HostBroken | HostRecovered):
            assert self.broken is isinstance(event, HostRecovered)
            self.broken = isinstance(event, HostBroken)
        self.transitions += isinstance(event, BreakerOpened | BreakerHalfOpened | BreakerClosed)


class FleetMachine(RuleBasedStateMachine):
    """One worker: its calls, the fleet's thread, and time."""

    @initialize(
        mode=st.sampled_from(["enforce", "enforce", "enforce", "observe", None]),
        probes=st.integers(1, 3),
        close_after=st.integers(1, 3),
        ramp=st.sampled_from([0.0, 10.0]),
        max_wait=st.sampled_from([0.0, 30.0]),
        slow=st.sampled_from([{}, {}, {"slow_ratio": 0.5, "slow_call": 2}]),
    )
    def start(
        self, mode: Any, probes: int, close_after: int, ramp: float, max_wait: float, slow: dict[str, Any]
    ) -> None:
        breaker = {
            "consecutive": 3, "consecutive_for": 0, "min_calls": 4, "open_for": 5, "open_growth": 2,
            "open_max": OPEN_MAX, "half_open_probes": probes, "close_after": close_after, "ramp": ramp,
            "max_wait": max_wait, "mode": mode, **slow,
        }  # fmt: skip
        health = {"broken_after": 3}
        timeout = {"attempt": 9, "total": 60}
        self.off = Policy(breaker=None, retry=False, health=health, timeout=timeout)
        self.policy = self.off if mode is None else self.off.replace(breaker=breaker)
        self.here = Heard(self.policy)
        self.running: list[Running] = []
        self.held = 0.0
        """Until when the latest words and holds last."""
        self.resets = 0
        self.rebuilt = False

    @property
    def now(self) -> float:
        return self.here.clock.now

    def hear(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self.here.observe(event)

    # Calls

    @rule()
    def a_call_begins(self) -> None:
        call = self.here.begin()
        if call.final is None:
            self.running.append(call)

    @rule(outcomes=st.lists(OUTCOMES, min_size=1, max_size=5))
    def calls_come_and_go(self, outcomes: list[Any]) -> None:
        for outcome in outcomes:
            call = self.here.begin()
            if isinstance(call.step, Send):
                call.reply(replace(outcome))
            elif call.final is None:
                self.running.append(call)

    @precondition(lambda self: getattr(self, "running", None))
    @rule(data=st.data(), outcome=OUTCOMES)
    def a_call_goes_on(self, data: st.DataObject, outcome: Any) -> None:
        call = data.draw(st.sampled_from(self.running))
        self.go_on(call, outcome)

    def go_on(self, call: Running, outcome: Any) -> None:
        call.reply(replace(outcome) if isinstance(call.step, Send) else False)
        if call.final is not None:
            self.running.remove(call)

    @rule()
    def those_who_were_woken_look(self) -> None:
        for call in [call for call in self.running if isinstance(call.step, Wait) and call.notified]:
            call.reply(False)
        self.running = [call for call in self.running if call.final is None]

    @precondition(lambda self: getattr(self, "running", None))
    @rule(data=st.data())
    def a_call_is_abandoned(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.running))
        self.running.remove(call)
        call.close()

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.here.clock.advance(seconds)

    # The fleet

    @rule(seconds=SECONDS)
    def told(self, seconds: float) -> None:
        self.held = max(self.held, self.now + seconds)
        self.hear(fleet.told_broken(self.here.host, "503", self.now + seconds, self.now))
        standing = fleet.standing(self.here.host, self.now)
        assert standing.told
        assert not standing.healthy

    @rule(seconds=SECONDS)
    def held_on(self, seconds: float) -> None:
        before = self.here.host.snapshot().retry_in or 0.0
        self.held = max(self.held, self.now + seconds)
        self.hear(fleet.hold(self.here.host, self.now + seconds, self.now))
        assert (self.here.host.snapshot().retry_in or 0.0) >= before

    @rule()
    def leave_to_look(self) -> None:
        self.hear(fleet.let_look(self.here.host, self.now))
        assert self.here.host.snapshot().retry_in is None
        assert self.here.host.broken_by(self.now) in (None, "connect")

    @rule()
    def back(self) -> None:
        circuit = self.here.host.circuit
        doubted = circuit is not None and circuit.open.probe_doubted and not circuit.observes
        self.hear(fleet.came_back(self.here.host, self.now))
        standing = fleet.standing(self.here.host, self.now)
        assert not standing.told
        assert standing.healthy or doubted

    @rule()
    def withdrawn(self) -> None:
        self.hear(fleet.withdrawn(self.here.host, self.now))
        standing = fleet.standing(self.here.host, self.now)
        assert not standing.told
        assert standing.broken or self.here.host.broken_by(self.now) is None

    @rule(off=st.booleans())
    def another_policy(self, off: bool) -> None:
        circuit = self.here.host.circuit
        self.hear(self.here.host.reconfigure(self.off if off else self.policy))
        if circuit is not None and self.here.host.circuit is not circuit:
            self.here.circuit_was = "closed"
            self.rebuilt = True

    @rule()
    def reset_by_hand(self) -> None:
        self.hear(self.here.host.reset_circuit("fleet"))
        assert fleet.standing(self.here.host, self.now).healthy
        self.rebuilt = True

    # What always holds

    @invariant()
    def nobody_waits_for_longer_than_the_latest_hold_or_its_own_open_time(self) -> None:
        circuit = None if not hasattr(self, "here") else self.here.host.circuit
        if circuit is not None and circuit.trip.state == "open":
            pending = [event for event in circuit.transitions if isinstance(event, BreakerOpened)]
            assert pending == []
            assert circuit.open.until <= max(self.held, self.here.latest, self.now + 1.1 * OPEN_MAX)
            if circuit.open.until > self.now + 1.1 * OPEN_MAX:
                assert circuit.open.until <= self.held

    @invariant()
    def no_transition_is_lost(self) -> None:
        circuit = None if not hasattr(self, "here") else self.here.host.circuit
        if circuit is None:
            return
        waiting = [*circuit.transitions, *self.here.host.verdict._pending]
        if not waiting:
            assert self.here.circuit_was == circuit.trip.state
        if not (waiting or self.rebuilt):
            assert self.here.transitions == circuit.generation
        if not waiting:
            assert self.here.broken is self.here.host.unhealthy

    @invariant()
    def a_word_that_is_in_force_is_seen(self) -> None:
        if hasattr(self, "here"):
            standing = fleet.standing(self.here.host, self.now)
            assert standing.healthy is not self.here.host.unhealthy or self.here.host.verdict._pending
            assert not (standing.told and standing.healthy)
            assert not (standing.broken and standing.healthy)
            assert standing.lasted >= 0
            circuit = self.here.host.circuit
            assert circuit is None or not (circuit.told and circuit.trip.state == "closed")

    def teardown(self) -> None:
        """Whatever happened: once no hold is fresh, the host answers and its calls end, all are let through again."""
        if not hasattr(self, "here"):
            return
        here = self.here
        while self.running:
            here.clock.advance(1.0)
            for call in list(self.running):
                self.go_on(call, answer(200))
        here.clock.now = max(here.clock.now, self.held) + 1.1 * OPEN_MAX
        breaker = here.host.policy.breaker
        for _ in range(breaker.close_after if breaker else 1):
            here.call(answer(200))
        health = here.host.snapshot()
        assert (health.breaker, health.in_flight) == ("closed", 0)
        assert fleet.standing(here.host, self.now).healthy
        here.clock.advance(11.0)
        calls = [here.begin() for _ in range(20)]
        assert all(isinstance(call.step, Send) for call in calls), "all permits are back"
        if here.host.breaker is not None:
            assert here.host.breaker.queue.waiters == ()


FleetMachine.TestCase.settings = settings(max_examples=some(40, 120), stateful_step_count=40, deadline=None)
TestFleet = FleetMachine.TestCase
