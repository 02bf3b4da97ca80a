"""The state machine of a circuit: pybreaker's, over our own counts.

pybreaker imports a Redis client if one is installed, which takes as long as a third of this package. So this module is
loaded separately, with the first connection: a program that sends nothing need not wait for it.
"""

from __future__ import annotations

import contextlib
from datetime import datetime

import pybreaker

from sleepwalker.engine.host.permits import CLOSED, HALF_OPEN, OPEN, State
from sleepwalker.engine.host.trip import Listener, Step, Trip

#: pybreaker's names of its states, of which a checker knows only that they are text.
_STATES: dict[str, State] = {state: state for state in (CLOSED, HALF_OPEN, OPEN)}


def take(trip: Trip, close_after: int, step: Step, listener: Listener) -> None:
    """Take a step of the state machine; `listener` is told of the changes.

    The machine is created for the step: all its state is in `trip`, and it would take most of a kilobyte per host.
    """
    machine = pybreaker.CircuitBreaker(
        fail_max=1,
        success_threshold=close_after,
        listeners=[_Listener(listener)],
        state_storage=_Counts(trip),
    )
    with contextlib.suppress(pybreaker.CircuitBreakerError):
        step(machine)


class _Counts(pybreaker.CircuitBreakerStorage):
    """pybreaker opens the circuit as soon as `counter` says 1."""

    def __init__(self, trip: Trip) -> None:
        super().__init__("sleepwalker")
        self._trip = trip

    @property
    def state(self) -> str:
        return self._trip.state

    @state.setter
    def state(self, state: str) -> None:
        self._trip.state = _STATES[state]

    @property
    def counter(self) -> int:
        return 0 if self._trip.broken_rule() is None else 1

    def reset_counter(self) -> None:
        self._trip.reset_counter()

    @property
    def success_counter(self) -> int:
        return self._trip.successes

    def increment_success_counter(self) -> None:
        self._trip.successes += 1

    def reset_success_counter(self) -> None:
        self._trip.successes = 0

    @property
    def opened_at(self) -> datetime | None:
        """Not kept: the wall clock can be set back, so `Breaker` holds monotonic times."""
        return None

    @opened_at.setter
    def opened_at(self, when: datetime) -> None:
        pass


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._listener(_STATES["closed" if old_state is None else old_state.name], _STATES[new_state.name])
