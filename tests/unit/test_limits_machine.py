"""Bulkhead (fixed or adaptive) and rate limit under calls that come, wait, end and are cancelled at random times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sleepwalker.engine import Queue, Send, Wait
from sleepwalker.events import RequestRejected
from sleepwalker.policy import Policy
from tests.ranges import some
from tests.unit.engine_driver import Running, World, answer, refused, reset

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

OUTCOMES = [answer(200), answer(200), answer(503), answer(429), answer(500), refused(), reset()]
MODES = st.sampled_from(["enforce", "enforce", "observe"])
BULKHEADS = st.just(False) | st.fixed_dictionaries(
    {
        "max_concurrent": st.integers(1, 6),
        "max_wait": st.sampled_from([0.0, 2.0]),
        "adaptive": st.booleans(),
        "mode": MODES,
    }
)
RATES = st.just(False) | st.fixed_dictionaries(
    {
        "rate": st.floats(0.5, 50),
        "burst": st.integers(1, 5),
        "max_wait": st.sampled_from([0.0, 2.0]),
        "mode": MODES,
    }
)


class Limits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.here = World(Policy(retry=False, breaker=False))
        self.calls: list[Running] = []
        self.began = 0

    def _move(self, index: int, move: Any) -> None:
        """Have one call go on, and check who got in by it."""
        if self.calls:
            call = self.calls[index % len(self.calls)]
            move(call)
            self._forget_the_done()

    def _forget_the_done(self) -> None:
        self.calls = [call for call in self.calls if call.step is not None]

    @rule(bulkhead=BULKHEADS, rate=RATES)
    def reload(self, bulkhead: Any, rate: Any) -> None:
        self.here.policy = Policy(retry=False, breaker=False, bulkhead=bulkhead, rate_limit=rate)
        self.here.host.reconfigure(self.here.policy)

    @rule(past=st.sampled_from([False, False, False, True]))
    def come(self, past: bool) -> None:
        before, limit = self.here.host.snapshot().in_flight, self.here.host.limit
        rejected = len(self.here.all(RequestRejected))
        policy = Policy(retry=False, breaker=False, bulkhead=False, rate_limit=False) if past else None
        call = self.here.begin(policy=policy)
        self.began += 1
        if past:
            assert isinstance(call.step, Send)
        mine, theirs = self.here.policy.bulkhead, self.here.policy.rate_limit
        enforced = not past and mine is not None and mine.mode == "enforce" and limit is not None
        if enforced and isinstance(call.step, Send):
            assert before < (limit or 0)
        if (mine is None or mine.mode == "observe") and (theirs is None or theirs.mode == "observe"):
            assert isinstance(call.step, Send)
            assert len(self.here.all(RequestRejected)) == rejected
        self.calls.append(call)
        self._forget_the_done()

    @rule(seconds=st.floats(0, 3))
    def time(self, seconds: float) -> None:
        self.here.clock.advance(seconds)

    @rule(index=st.integers(0, 50), outcome=st.sampled_from(OUTCOMES))
    def go_on(self, index: int, outcome: Any) -> None:
        self._move(index, lambda call: call.reply(outcome if isinstance(call.step, Send) else False))

    @rule(index=st.integers(0, 50))
    def cancel(self, index: int) -> None:
        self._move(index, Running.close)

    @rule(index=st.integers(0, 50))
    def close_the_connection(self, index: int) -> None:
        self._move(index, lambda call: call.reply(True) if not isinstance(call.step, Send) else None)

    @invariant()
    def what_is_counted_is_there(self) -> None:
        granted = sum(isinstance(call.step, Queue) and call.step.waiter.granted for call in self.calls)
        sending = sum(isinstance(call.step, Send) for call in self.calls)
        queued = sum(isinstance(call.step, Queue) and not call.step.waiter.granted for call in self.calls)
        host, health = self.here.host, self.here.host.snapshot()
        assert health.in_flight == sending + granted
        assert len(host.admission.bulkhead.queue) == queued
        assert 0 <= host.admission.bulkhead._over_limit <= health.in_flight
        limit = health.limit
        bulkhead = self.here.policy.bulkhead
        if bulkhead is None:
            assert limit is None
        else:
            assert limit is not None
            assert 1 <= limit <= bulkhead.max_concurrent
            # Each waiter has a reason to wait.
            assert not queued or (bulkhead.mode == "enforce" and health.in_flight >= limit)

    @invariant()
    def no_call_that_waits_for_a_token_is_lost(self) -> None:
        waiting = sum(isinstance(call.step, Wait) for call in self.calls)
        bucket = self.here.host.admission.rate_limit
        assert bucket is None or 0 <= bucket.waiting <= max(waiting, 0)

    def teardown(self) -> None:
        for _ in range(200):
            if not self.calls:
                break
            self.here.clock.advance(3)
            for call in list(self.calls):
                call.reply(answer(200) if isinstance(call.step, Send) else False)
            self._forget_the_done()
        assert self.calls == []
        host = self.here.host
        assert (host.snapshot().in_flight, host.admission.bulkhead.queue, host.admission.bulkhead._over_limit) == (
            0,
            (),
            0,
        )
        assert not host.busy
        assert host.snapshot().calls == self.began


TestLimits = Limits.TestCase
TestLimits.settings = settings(max_examples=some(20, 60), stateful_step_count=50, deadline=None)
