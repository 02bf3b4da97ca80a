"""A transparent wrapper that puts a manager's policy around somebody else's connection object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sleepwalker.clock import Clock
from sleepwalker.engine.call import Final, Request, Send, run
from sleepwalker.engine.host import Host
from sleepwalker.engine.outcome import Outcome, Verdict, answered, failed
from sleepwalker.engine.rules import Rules
from sleepwalker.events import Observer
from sleepwalker.exceptions import SleepwalkerException
from sleepwalker.transport.errors import Scene, translate
from sleepwalker.transport.url import safe_path

_VERBS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})
#: The methods that are guarded unless the manager is told more names.
REQUEST_METHODS = _VERBS | {"request", "json_request"}

_OWN = ("_clock", "_host", "_names", "_observe", "_rules", "_target")


class Guard:
    """Looks and behaves as the object that it wraps, but its request-like methods go through the policy.

    Retries, breaker, bulkhead, budget, events and health apply as for a `Connection`. Deadlines do as far as
    possible: a call under way cannot be cut, but no attempt begins after `timeout.total`.
    """

    __slots__ = _OWN

    def __init__(
        self, target: Any, host: Host, rules: Rules, names: frozenset[str], clock: Clock, observe: Observer
    ) -> None:
        for name, value in zip(_OWN, (clock, host, names, observe, rules, target), strict=True):
            object.__setattr__(self, name, value)

    @property
    def __class__(self) -> Any:
        """So that `isinstance` sees what is wrapped."""
        return type(self._target)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of a guarded object cannot be set")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._guarded(name, value) if name in self._names and callable(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._target, name)

    def __dir__(self) -> list[str]:
        return dir(self._target)

    def __repr__(self) -> str:
        return f"<guarded {type(self._target).__name__} of {self._host.origin}>"

    def __bool__(self) -> bool:
        return bool(self._target)

    def __eq__(self, other: object) -> bool:
        return bool(self._target == (object.__getattribute__(other, "_target") if type(other) is Guard else other))

    def __hash__(self) -> int:
        return hash(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._target)

    def __getitem__(self, key: Any) -> Any:
        return self._target[key]

    def __contains__(self, item: Any) -> bool:
        return item in self._target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._target(*args, **kwargs)

    def __enter__(self) -> Any:
        self._target.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._target.__exit__(*error)

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._drive(_described(name, args, kwargs, self._rules), function, args, kwargs)

        return call

    def _drive(self, request: Request, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        steps = run(self._host, self._rules, request, self._clock, self._observe)
        reply: Outcome | bool | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as stop:
                return _handed_over(stop.value)
            try:
                if isinstance(step, Send):
                    reply = self._attempt(function, args, kwargs)
                else:
                    reply = self._clock.sleep(step.seconds)
            except BaseException as stopped:
                steps.throw(stopped)  # gives the permit back, logs the call's end, and raises it again
                raise

    def _attempt(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Outcome:
        """Call the object once; its answer or exception tells, as far as it can, how its host does."""
        try:
            value = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again when the call ends
            return self._outcome_of(error)
        status = getattr(value, "status_code", None)
        if not isinstance(status, int):
            return Outcome(Verdict.SUCCESS, response=value)
        return answered(status, value, _retry_after(value), self._clock.wall())

    def _outcome_of(self, error: Exception) -> Outcome:
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            outcome = answered(status, None, _retry_after(response), self._clock.wall())
            return replace(outcome, status=None, error=error, retryable=status in self._rules.statuses)
        rules = self._rules
        scene = Scene(self._host.origin, None, False, "attempt", rules.attempt, rules.connect, rules.read)
        return replace(failed(translate(error, scene)), error=error)


def _handed_over(final: Final) -> Any:
    """The answer to return, or the object's own exception to raise."""
    error = final.outcome.error
    if error is None:
        return final.outcome.response
    if isinstance(error, SleepwalkerException):
        error.attempts = final.attempts
    raise error


def _described(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], rules: Rules) -> Request:
    """What the policies need to know, read from the usual shapes of such methods."""
    words = [word for word in (*args, *kwargs.values()) if isinstance(word, str)]
    if name in _VERBS:
        method, uri = name.upper(), kwargs.get("uri", kwargs.get("url", args[0] if args else ""))
    elif name in REQUEST_METHODS:
        method = str(kwargs.get("method", words[0] if words else "")).upper()
        uri = kwargs.get("uri", kwargs.get("url", args[1] if len(args) > 1 else ""))
    else:
        method, uri = name, ""
    headers = next((value for value in (*args, *kwargs.values()) if isinstance(value, dict)), {})
    keyed = any(isinstance(header, str) and header.lower() == "idempotency-key" for header in headers)
    once = any(isinstance(value, Iterator) for value in (*args, *kwargs.values()))
    return Request(method, safe_path(uri if isinstance(uri, str) else ""), keyed or method in rules.methods, not once)


def _retry_after(response: Any) -> str | None:
    headers = getattr(response, "headers", None)
    value = getattr(headers, "get", lambda name: None)("Retry-After")
    return value if isinstance(value, str) else None
