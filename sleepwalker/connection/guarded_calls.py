"""Calls a foreign connection object's methods under a policy."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import requests

from sleepwalker.clock import Clock
from sleepwalker.connection.foreign import Raised, Translate, outcome_of_error, outcome_of_value, request_of
from sleepwalker.connection.usage import Usage
from sleepwalker.drivers.threads.clock import BlockingClock
from sleepwalker.drivers.threads.drive import drive
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import CompiledPolicy, Final, Host, Outcome, Steps, run
from sleepwalker.events import Observer
from sleepwalker.exceptions import SleepwalkerException
from sleepwalker.frames import without_locals
from sleepwalker.transport.blocking.attempt import discard
from sleepwalker.transport.errors import translate as of_requests


class Waiting(Protocol):
    """The waits of calls."""

    def end(self) -> None:
        """End all waits, present and future."""


@dataclass(slots=True, eq=False, repr=False)  # what it holds may show credentials
class GuardedCallsBase:
    """The work of a guard, in a separate class so that none of its names hides one of the object's."""

    target: Any
    """The foreign object."""
    host: Host
    """The record that calls count in."""
    compiled: CompiledPolicy
    """The policy that calls follow."""
    names: frozenset[str]
    """The methods that are guarded."""
    clock: Clock
    observe: Observer
    credentials: Callable[[], str]
    """Returns a mark of the credentials that the object was found with."""
    waits: Waiting = field(init=False)
    """Where calls wait."""
    usage: Usage = field(init=False)
    _under_way: set[object] = field(init=False, default_factory=set)
    """A mark for each call, rather than a count: a mark that is taken away twice does no harm."""
    _once_idle: list[Callable[[], None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.usage = Usage(self.clock.monotonic())

    def once_idle(self, act: Callable[[], None]) -> None:
        """Call `act` once no call runs or waits: at once, or in the thread or task of the last call."""
        self._once_idle.append(act)
        self._act_if_idle()

    def takes(self, function: Callable[..., Any]) -> bool:
        """Whether a method of this kind can go through the policy."""
        raise NotImplementedError

    def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` under the policy."""
        raise NotImplementedError

    def _steps(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps:
        """The steps of a call."""
        request = request_of(name, args, kwargs, self.compiled)
        request.credentials = self.credentials
        request.name = self.usage.asked_for(self.host.origin)
        return run(self.host, self.compiled, request, self.clock, self.observe)

    def _begin(self, mark: object) -> None:
        self._under_way.add(mark)

    def _end(self, mark: object) -> None:
        self._under_way.discard(mark)
        self._act_if_idle()

    def _act_if_idle(self) -> None:
        while self._once_idle and not self._under_way:
            with contextlib.suppress(IndexError):  # another thread took it
                self._once_idle.pop()()

    def _hand_over(self, final: Final) -> Any:
        """Return what the object returned, or raise its own exception, and note how the call ended."""
        outcome = final.outcome
        self.usage.last_used = self.clock.monotonic()
        if outcome.status == 401:
            self.usage.unauthorized = True
        elif outcome.error is None:
            self.usage.accepted = True
        return _handed_over(final)

    def _returned(self, value: Any) -> Outcome:
        """The outcome for a value that the object returned."""
        return outcome_of_value(value, self.host.failures, self.clock.wall)

    def _raised(self, error: Exception, handled: BaseException | None, translate: Translate = of_requests) -> Outcome:
        """The outcome for an exception of the object, which is raised again when the call ends."""
        return outcome_of_error(error, handled, self.host, self.compiled, self.clock.wall, translate)


class GuardedCalls(GuardedCallsBase):
    """The work of a guard, with threads."""

    __slots__ = ()

    clock: BlockingClock
    waits: Waits

    def __post_init__(self) -> None:
        GuardedCallsBase.__post_init__(self)
        self.waits = Waits(self.clock)

    def takes(self, function: Callable[..., Any]) -> bool:
        """Whether it is a plain function, not a coroutine function."""
        return not inspect.iscoroutinefunction(function)

    def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` under the policy."""

        @functools.wraps(function, updated=())
        @without_locals
        def call(*args: Any, **kwargs: Any) -> Any:
            mark = object()
            try:
                self._begin(mark)
                steps = self._steps(name, args, kwargs)
                final = drive(steps, self.waits, lambda _: self._attempt(function, args, kwargs), release)
                return self._hand_over(final)
            finally:
                self._end(mark)

        return call

    def _attempt(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
        """Call the object once."""
        handled = sys.exception()
        try:
            value = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again when the call ends
            return self._raised(error, handled)
        return self._returned(value)


def release(response: Any) -> None:
    """Release the result of an attempt that is not used."""
    if isinstance(response, requests.Response):
        discard(response)


def _handed_over(final: Final) -> Any:
    response, error = final.outcome.response, final.outcome.error
    if isinstance(response, Raised):
        error = response.error
    if error is None:
        return response
    if isinstance(error, SleepwalkerException):
        error.attempts = final.attempts
    raise error
