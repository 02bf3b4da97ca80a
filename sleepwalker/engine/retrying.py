"""Whether and when a call is sent again: RetryPolicy and budget as tenacity strategies.

tenacity's own order is kept: whether to retry, how long to wait, whether to stop. All times come from the call's clock,
never from tenacity's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tenacity
from tenacity.stop import stop_base

from sleepwalker.clock import Clock
from sleepwalker.engine.outcome import Outcome
from sleepwalker.policy import RetryPolicy

#: Seconds of the total deadline that a retry needs at least to finish.
MINIMAL_ATTEMPT = 0.05

Reason = Literal["breaker", "budget", "deadline", "not idempotent", "not replayable", "retry after"]


@dataclass(slots=True)
class Stop:
    """No further attempt. `reason` is None if none was due or none was left."""

    reason: Reason | None


@dataclass(slots=True)
class RetryContext:
    """One call's input for the decision."""

    idempotent: bool
    replayable: bool
    time_left: Callable[[], float]
    """Seconds left of the total deadline."""
    rejected_for: Callable[[], float]
    """Seconds for which the breaker rejects all calls."""
    spend: Callable[[], bool]
    """Takes one retry from the host's budget; False if it is empty."""
    held_for: Callable[[], float] = float
    """Seconds for which a cooldown holds this call back; 0 by default."""


class RetryState(tenacity.RetryCallState):
    """tenacity's record of a call, with the call's own context."""

    def __init__(self, retrying: tenacity.Retrying, context: RetryContext) -> None:
        super().__init__(retrying, None, (), {})
        self.context = context
        self.last_wait: float = 0.0
        self.asked_for = False
        """Whether the caller wants the latest outcome retried though the policy does not."""
        self.reason: Reason | None = None
        self.server_directed = False
        """Whether the server set the wait."""

    @property
    def result(self) -> Outcome:
        if self.outcome is None:
            raise AssertionError("asked before the first outcome")  # pragma: no cover
        outcome = self.outcome.result()
        if not isinstance(outcome, Outcome):
            raise AssertionError(f"not an outcome: {outcome!r}")  # pragma: no cover
        return outcome


class _StopIf(stop_base):
    """A stop strategy from a function."""

    def __init__(self, forbidden: Callable[[tenacity.RetryCallState], bool]) -> None:
        self._forbidden = forbidden

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return self._forbidden(retry_state)


class Retries:
    """The decision, created once per policy and shared by all its calls."""

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._statuses = policy.statuses
        self._ceilings = _ceilings(policy)
        self._retrying = tenacity.Retrying(
            retry=self._worth_it,
            wait=self._wait,
            stop=tenacity.stop_after_attempt(policy.attempts) | _StopIf(self._forbidden),
            retry_error_callback=lambda state: None,
        )

    def begin(self, context: RetryContext) -> RetryState:
        """The record of one call, to pass to `after` with each outcome."""
        return RetryState(self._retrying, context)

    def worth_it(self, outcome: Outcome) -> bool:
        """Whether an outcome of this kind is retried at all, apart from limits."""
        if outcome.error is None:
            return outcome.status in self._statuses
        return outcome.retryable

    def after(self, state: RetryState, outcome: Outcome, *, asked_for: bool = False) -> float | Stop:
        """The seconds to wait before the next attempt, or that there is none.

        `asked_for`: the caller wants this outcome retried. All limits apply all the same.
        """
        state.set_result(outcome)
        state.asked_for = asked_for
        self._retrying.begin()  # its statistics are per thread, and any thread of a hedge may come here
        action = self._retrying.iter(state)
        if isinstance(action, tenacity.DoSleep):
            state.prepare_for_next_attempt()
            state.last_wait = float(action)
            return state.last_wait
        return Stop(state.reason)

    def _worth_it(self, state: tenacity.RetryCallState) -> bool:
        ours = _ours(state)
        return ours.asked_for or self.worth_it(ours.result)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        ours = _ours(state)
        ceiling = self._ceilings[min(ours.attempt_number, len(self._ceilings)) - 1]
        random = self._clock.random()
        match self._policy.jitter:
            case "full":
                wait = ceiling * random
            case "equal":
                wait = ceiling / 2 + ceiling / 2 * random
            case "decorrelated":
                low = self._policy.wait_initial
                high = 3 * (ours.last_wait or low)
                wait = min(self._policy.wait_max, low + (high - low) * random)
            case _:
                wait = ceiling
        asked, held = ours.result.retry_after, ours.context.held_for()
        at_least = max(asked or 0.0, held)
        ours.server_directed = wait <= at_least and (asked is not None or held > 0)
        return max(wait, at_least)

    def _forbidden(self, state: tenacity.RetryCallState) -> bool:
        ours = _ours(state)
        ours.reason = self._reason(ours, ours.upcoming_sleep)
        return ours.reason is not None

    def _reason(self, state: RetryState, wait: float) -> Reason | None:
        context, outcome = state.context, state.result
        if not context.replayable:
            return "not replayable"
        if not (context.idempotent or (outcome.never_sent and self._policy.never_sent)):
            return "not idempotent"
        if (outcome.retry_after or 0.0) > self._policy.retry_after_max:
            return "retry after"
        if wait + MINIMAL_ATTEMPT > context.time_left():
            return "deadline"
        if wait < context.rejected_for():
            return "breaker"
        if not context.spend():  # last: it is the one that costs something
            return "budget"
        return None


def _ours(state: tenacity.RetryCallState) -> RetryState:
    if not isinstance(state, RetryState):
        raise TypeError(f"not a record of ours: {state!r}")  # pragma: no cover
    return state


def _ceilings(policy: RetryPolicy) -> tuple[float, ...]:
    """The longest wait before each retry, worked out step by step so that no power can overflow."""
    ceilings = [min(policy.wait_initial, policy.wait_max)]
    while len(ceilings) < policy.attempts - 1 and ceilings[-1] < policy.wait_max and policy.wait_multiplier > 1:
        ceilings.append(min(ceilings[-1] * policy.wait_multiplier, policy.wait_max))
    return tuple(ceilings)
