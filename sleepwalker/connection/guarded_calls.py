"""The calls that a guard makes of a foreign connection object's methods, under a policy."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from sleepwalker.connection.foreign import Raised, outcome_of_error, outcome_of_value, request_of
from sleepwalker.connection.usage import Usage
from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.drivers.threads.drive import drive
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import CompiledPolicy, Final, Host, Outcome, run
from sleepwalker.events import Observer
from sleepwalker.exceptions import SleepwalkerException
from sleepwalker.frames import without_locals
from sleepwalker.transport.blocking.attempt import discard


@dataclass(slots=True, eq=False, repr=False)  # what it holds may show credentials
class GuardedCalls:
    """What a guard does, apart from it, so that no name hides one of the object's."""

    target: Any
    """The foreign object."""
    host: Host
    """The record that calls count in."""
    compiled: CompiledPolicy
    """What calls follow."""
    names: frozenset[str]
    """The methods that are guarded."""
    clock: BlockingClock
    observe: Observer
    credentials: Callable[[], str]
    """Marks the credentials that the object was found with."""
    waits: Waits = field(init=False)
    usage: Usage = field(init=False)
    _under_way: set[object] = field(init=False, default_factory=set)
    """A mark for each call, rather than a count: a mark that is taken away twice does no harm."""
    _once_idle: list[Callable[[], None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.waits = Waits(self.clock)
        self.usage = Usage(self.clock.monotonic())

    def once_idle(self, act: Callable[[], None]) -> None:
        """Call `act` once no call is under way or waits: at once, or in the thread of the last one."""
        self._once_idle.append(act)
        self._act_if_idle()

    def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` under the policy."""

        @functools.wraps(function, updated=())
        @without_locals
        def call(*args: Any, **kwargs: Any) -> Any:
            mark = object()
            try:
                self._under_way.add(mark)
                request = request_of(name, args, kwargs, self.compiled)
                request.credentials = self.credentials
                request.name = self.usage.asked_for(self.host.origin)
                steps = run(self.host, self.compiled, request, self.clock, self.observe)
                final = drive(steps, self.waits, lambda _: self._attempt(function, args, kwargs), _release)
                self._note(final.outcome)
                return _hand_over(final)
            finally:
                self._under_way.discard(mark)
                self._act_if_idle()

        return call

    def _act_if_idle(self) -> None:
        while self._once_idle and not self._under_way:
            with contextlib.suppress(IndexError):  # another thread took it
                self._once_idle.pop()()

    def _note(self, outcome: Outcome) -> None:
        """Note how a call ended, as a `Connection` does."""
        self.usage.last_used = self.clock.monotonic()
        if outcome.status == 401:
            self.usage.unauthorized = True
        elif outcome.error is None:
            self.usage.accepted = True

    def _attempt(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
        """Call the object once; what it returns or raises tells, as far as it can, how its host does."""
        handled = sys.exception()
        try:
            value = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again when the call ends
            return outcome_of_error(error, handled, self.host, self.compiled, self.clock.wall)
        return outcome_of_value(value, self.host.failures, self.clock.wall)


def _release(response: Any) -> None:
    if isinstance(response, requests.Response):
        discard(response)


def _hand_over(final: Final) -> Any:
    """What the object returned, or its own exception raised."""
    response, error = final.outcome.response, final.outcome.error
    if isinstance(response, Raised):
        error = response.error
    if error is None:
        return response
    if isinstance(error, SleepwalkerException):
        error.attempts = final.attempts
    raise error
