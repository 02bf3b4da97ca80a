"""The circuit breaker under any order of events, beside a model that is too simple to be wrong."""

from __future__ import annotations

import math
from typing import Literal

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sleepwalker.engine import Permit, Verdict
from sleepwalker.engine.host.breaker import Breaker
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.engine.host.permits import Refusal
from sleepwalker.events import BreakerClosed, BreakerHalfOpened, BreakerOpened
from sleepwalker.policy import BreakerPolicy
from tests.ranges import some
from tests.unit.engine_driver import HOST, FakeClock, bearer

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

LIFETIME = 11.0
SLOW = 4.0
VERDICTS = st.sampled_from([Verdict.SUCCESS, Verdict.SUCCESS, Verdict.FAILURE, Verdict.FAILURE, Verdict.NEUTRAL])


class BreakerMachine(RuleBasedStateMachine):
    """Callers take permits, report late, or never; time passes; the model says what must follow."""

    @initialize(
        consecutive=st.integers(1, 4),
        min_calls=st.integers(1, 12),
        ratio=st.sampled_from([0.25, 0.5, 0.9, 1.0]),
        probes=st.integers(1, 3),
        close_after=st.integers(1, 3),
        consecutive_for=st.sampled_from([0.0, 0.0, 2.0]),
        ramp=st.sampled_from([0.0, 3.0]),
        slow_ratio=st.sampled_from([None, None, 0.25, 0.5, 1.0]),
        mode=st.sampled_from(["enforce", "observe"]),
    )
    def start(
        self,
        consecutive: int,
        min_calls: int,
        ratio: float,
        probes: int,
        close_after: int,
        consecutive_for: float,
        ramp: float,
        slow_ratio: float | None,
        mode: Literal["enforce", "observe"],
    ) -> None:
        # The window is so long that nothing leaves it: windows have tests of their own.
        self.policy = BreakerPolicy(
            consecutive=consecutive, consecutive_for=consecutive_for, min_calls=min_calls, failure_ratio=ratio,
            window=1_000_000, open_for=5, open_growth=2, open_max=40, half_open_probes=probes, close_after=close_after,
            ramp=ramp,
            slow_ratio=slow_ratio, slow_call=None if slow_ratio is None else SLOW, mode=mode,
        )  # fmt: skip
        self.clock = FakeClock()
        self.breaker = Breaker(HOST, self.policy, self.clock, HostLock())
        self.held: list[tuple[Permit, int]] = []
        """Permits that may still be reported, with the model's number of the state they were given in."""
        self.out: list[Permit] = []
        """Permits with a place that are not back, lost ones included, of the present state."""
        self.state = "closed"
        self.number = 0
        self.open_until = 0.0
        self.closed_at: float | None = None
        self.row = self.row_calls = self.good = self.bad = self.probed = 0
        self.row_since = self.open_time = self.probe_sent = 0.0
        self.past = self.past_bad = 0.0
        self.at_once: int | None = None
        """What a slow start lets in at once; None where all are let in."""
        self.round_left = 0
        self.held_back = False
        self.halved_at = 0.0
        self.began: list[tuple[float, Permit]] = []
        """Attempts of the present state that are neither over nor slow, with their start."""
        self.fast = self.slow = 0
        self.opening = ("", 0.0)
        """The rule and the moment of the next opening."""

    def catch_up(self) -> list[str]:
        """Which transitions time alone has made by now. The model looks at every attempt."""
        for began, permit in sorted(self.began, key=lambda entry: entry[0]):
            if self.policy.slow_call is None or began + self.policy.slow_call > self.clock.now:
                continue
            self.began = [entry for entry in self.began if entry[1] is not permit]
            self.slow += 1
            if self.state == "half-open" or self.slowness_opens():
                self.expect_open("slow_ratio", began + self.policy.slow_call)
                return ["breaker.opened"]
        return []

    def slowness_opens(self) -> bool:
        """Whether the share of slow attempts is reached."""
        total, ratio = self.fast + self.slow, self.policy.slow_ratio
        return ratio is not None and total >= self.policy.min_calls and self.slow >= ratio * total

    def expect_open(self, rule: str, moment: float) -> None:
        """The next opening has this rule, unless a probe failed, and this time."""
        self.opening = ("probe" if self.state == "half-open" else rule, moment)
        if rule == "slow_ratio":
            self.probe_sent = moment

    def begin_round(self) -> None:
        """What is let in at once doubles when so many have succeeded."""
        self.round_left, self.held_back = self.at_once or 0, False

    def cold(self) -> bool:
        """Whether the host has just come back."""
        return self.closed_at is not None and self.clock.now < self.closed_at + self.policy.ramp

    def row_opens(self) -> bool:
        """Whether the failures in a row open it: enough, of several calls, for long enough, and no chance."""
        policy = self.policy
        if self.row < policy.consecutive:
            return False
        if policy.consecutive_for == 0:
            return True
        least = 1e-5 ** (1 / policy.consecutive)
        before = self.good + self.bad - self.row + self.past
        share = (self.bad - self.row + self.past_bad + 5 * least) / (before + 5)
        share, chance = min(max(share, least), 0.95), 1e-5
        if self.cold():
            share, chance = max(share, 0.8), 1e-2
        lasted = self.clock.now - self.row_since >= policy.consecutive_for
        return lasted and self.row_calls >= min(2, policy.consecutive) and share**self.row <= chance * (1 + 1e-8)

    def forget_attempts(self) -> None:
        """A new state: nothing of the last one counts as slow or fast any more."""
        self.began = []
        self.fast = self.slow = 0

    def take_transitions(self) -> list[str]:
        """Take the transitions into the model; each transition must be one that the model allows now."""
        names = []
        for event in self.breaker.circuit.take_transitions():
            names.append(event.name)
            assert isinstance(event, BreakerOpened | BreakerHalfOpened | BreakerClosed)
            assert event.observed is (True if self.policy.mode == "observe" else None)
            self.number += 1
            self.out = []
            self.forget_attempts()
            if isinstance(event, BreakerOpened):
                rule, moment = self.opening
                if self.state == "half-open":
                    self.open_time = min(self.open_time * 2, 40.0) if self.probed == 0 else 5.0
                else:
                    closed_for = math.inf if self.closed_at is None else moment - self.closed_at
                    self.open_time = max(5.0, self.open_time - closed_for)
                rested = moment - self.probe_sent if self.state == "half-open" else 0.0
                least, most = (
                    max(jitter * self.open_time - rested, jitter * self.open_time / 10) for jitter in (0.9, 1.1)
                )
                assert least - 1e-9 <= event.open_for <= most + 1e-9
                assert event.rule == rule
                assert (event.rule == "probe") == (self.state == "half-open")
                self.state, self.open_until = "open", moment + event.open_for
            elif isinstance(event, BreakerHalfOpened):
                assert self.state == "open"
                assert self.clock.now >= self.open_until
                self.state, self.probed = "half-open", 0
            else:
                assert isinstance(event, BreakerClosed)
                assert self.state == "half-open"
                assert self.probed == self.policy.close_after
                self.state, self.closed_at = "closed", self.clock.now
                self.row = self.good = self.bad = 0
                self.at_once = 2 * self.policy.half_open_probes if self.policy.ramp else None
                self.begin_round()
                self.halved_at = 0.0
        return names

    @rule(seconds=st.floats(0, 8) | st.floats(8, 50), dice=st.floats(0, 1, exclude_max=True))
    def time_passes(self, seconds: float, dice: float) -> None:
        self.clock.advance(seconds)
        self.clock.roll = lambda: dice

    @precondition(lambda self: self.state == "open")
    @rule()
    def the_open_time_is_over(self) -> None:
        self.clock.now = max(self.clock.now, self.open_until)

    @rule(verdicts=st.lists(VERDICTS, min_size=1, max_size=4))
    def calls_come_and_go(self, verdicts: list[Verdict]) -> None:
        """One after the other, as most traffic does: it is what opens and closes circuits."""
        for verdict in verdicts:
            held = len(self.held)
            self.a_call_comes()
            if len(self.held) > held:
                self.report(*self.held.pop(), verdict)

    @rule()
    def a_call_comes(self) -> None:
        lapsed, now = self.catch_up(), self.clock.now
        before = "open" if lapsed else self.state
        if before == "closed" and not self.cold():
            self.at_once = None
        starting = before == "closed" and self.at_once is not None
        full = before == "half-open" and len(self._valid()) >= self.policy.half_open_probes
        admission = self.breaker.circuit.closed_permit or self.breaker.admit_locked(bearer(), now, LIFETIME)
        names = self.take_transitions()
        if before == "open":
            assert isinstance(admission, Refusal) == (now < self.open_until)
            assert names == lapsed + ([] if isinstance(admission, Refusal) else ["breaker.half_opened"])
        elif before == "half-open":
            assert isinstance(admission, Refusal) == full
            assert names == []
        else:
            assert names == []
            full = starting and self.at_once is not None and len(self._valid()) >= self.at_once
            assert isinstance(admission, Refusal) == full
            self.held_back = self.held_back or full
        if isinstance(admission, Permit):
            self.held.append((admission, self.number))
            self.began.append((now, admission))
            if self.state == "half-open" or starting:
                assert admission.expires == now + LIFETIME
                assert admission.probe == (self.state == "half-open")
                self.out.append(admission)
        else:
            assert admission.retry_after > 0 or full
            assert admission.observed == (self.policy.mode == "observe")

    @precondition(lambda self: self.held)
    @rule(data=st.data(), verdict=VERDICTS, first=st.booleans())
    def a_call_reports(self, data: st.DataObject, verdict: Verdict, first: bool) -> None:
        self.report(*self.held.pop(data.draw(st.integers(0, len(self.held) - 1))), verdict, first=first)

    def report(self, permit: Permit, number: int, verdict: Verdict, *, first: bool = True) -> None:
        lapsed = self.catch_up()
        if lapsed or number != self.number:
            before = self._visible()
            self.breaker.report_locked(permit, verdict, self.clock.now, "late", first=first)
            assert self.take_transitions() == lapsed
            assert lapsed or self._visible() == before
            return
        under_way = len(self.began)
        self.began = [entry for entry in self.began if entry[1] is not permit]
        if len(self.began) < under_way and verdict is not Verdict.NEUTRAL:
            self.fast += 1
        self.out = [probe for probe in self.out if probe is not permit]
        opens = closes = False
        if verdict is Verdict.SUCCESS:
            if self.state == "closed" and (self.row or self.past_bad):
                self.past = math.floor(0.9 * 16 * self.past + 1e-9) / 16 + self.row + 1
                self.past_bad = math.floor(0.9 * 16 * self.past_bad + 1e-9) / 16 + self.row
            self.good, self.row = self.good + 1, 0
            if self.state == "half-open":
                self.probed += 1
                closes = self.probed >= self.policy.close_after
            elif self.at_once is not None:
                self.at_once, self.round_left = self.at_once + 1, self.round_left - 1
                if self.round_left == 0:
                    if not self.held_back:
                        self.at_once = None
                    self.begin_round()
        elif verdict is Verdict.FAILURE:
            if self.row == 0:
                self.row_since, self.row_calls = self.clock.now, 0
            self.bad, self.row, self.row_calls = self.bad + 1, self.row + 1, self.row_calls + first
            self.probe_sent = permit.issued
            if self.state == "closed" and self.at_once is not None and permit.issued >= self.halved_at:
                self.at_once, self.halved_at = max(1, self.at_once // 2), self.clock.now
                self.begin_round()
            total = self.good + self.bad
            in_a_row = self.row_opens()
            enough = total >= self.policy.min_calls and self.bad >= self.policy.failure_ratio * total
            share = enough and not self.cold()
            opens = self.state == "half-open" or in_a_row or share
            self.expect_open("consecutive" if in_a_row else "failure_ratio", self.clock.now)
        if self.state == "closed" and not opens and self.slowness_opens():
            opens = True
            self.expect_open("slow_ratio", self.clock.now)
        self.breaker.report_locked(permit, verdict, self.clock.now, "503", first=first)
        assert self.take_transitions() == ["breaker.opened"] * opens + ["breaker.closed"] * closes

    @rule()
    def a_reader_looks(self) -> None:
        lapsed = self.catch_up()
        self.breaker.circuit.catch_up(self.clock.now)
        assert self.take_transitions() == lapsed

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def a_call_is_never_heard_of_again(self, data: st.DataObject) -> None:
        self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))

    @invariant()
    def no_more_probes_are_out_than_the_policy_lets(self) -> None:
        if hasattr(self, "state") and self.state == "half-open":
            assert len(self._valid()) <= self.policy.half_open_probes
        if hasattr(self, "state") and self.state != "half-open":
            assert all(not permit.probe for permit in self._valid())

    @invariant()
    def what_is_read_agrees_with_the_model(self) -> None:
        if not hasattr(self, "state"):
            return
        now = self.clock.now
        waiting = self.state == "open" and now < self.open_until
        expected = "half-open" if self.state == "open" and not waiting else self.state
        assert self.breaker.circuit.state(now) == expected
        enforced = self.policy.mode == "enforce"
        assert (self.breaker.circuit.opens_in(now) > 0) == (waiting and enforced)
        assert self.breaker.circuit.opens_in(now) == (self.open_until - now if waiting and enforced else 0.0)
        assert self.breaker.circuit.tripped == (self.state != "closed" and enforced)
        assert self.breaker.circuit.closed_permit is None or (self.state == "closed" and self.policy.slow_ratio is None)

    def teardown(self) -> None:
        """Whatever happened: once time has passed, a call is let through."""
        if hasattr(self, "state"):
            self.clock.advance(1000.0)
            assert isinstance(self.breaker.admit_locked(bearer(), self.clock.now, LIFETIME), Permit)

    def _valid(self) -> list[Permit]:
        return [probe for probe in self.out if probe.expires is not None and probe.expires > self.clock.now]

    def _visible(self) -> tuple[object, ...]:
        now = self.clock.now
        return (
            self.breaker.circuit.state(now),
            self.breaker.circuit.opens_in(now),
            self.breaker.circuit.cause,
            self.breaker.circuit.closed_permit,
        )


BreakerMachine.TestCase.settings = settings(max_examples=some(30, 80), stateful_step_count=40, deadline=None)
TestBreaker = BreakerMachine.TestCase
