"""A transparent wrapper that puts a manager's policy around somebody else's connection object."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import requests

from sleepwalker.clock import Clock
from sleepwalker.connection.drive import drive
from sleepwalker.connection.usage import Usage
from sleepwalker.connection.waits import Waits
from sleepwalker.engine.call import Final, Request, run
from sleepwalker.engine.host import Host
from sleepwalker.engine.not_now import asked_wait
from sleepwalker.engine.outcome import Outcome, Verdict, answered, failed
from sleepwalker.engine.rules import Rules
from sleepwalker.events import Observer
from sleepwalker.exceptions import SleepwalkerException
from sleepwalker.frames import without_locals
from sleepwalker.transport.deadline import Phase
from sleepwalker.transport.errors import Scene, translate
from sleepwalker.transport.exchange import discard
from sleepwalker.transport.url import safe_path

_VERBS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})
#: The methods that are guarded unless the manager is told more names.
REQUEST_METHODS = _VERBS | {"request", "json_request"}

#: What a guard has of its own. The other special methods are looked up on the type, so it needs those of the object.
_OWN = frozenset(
    {"__class__", "__class_getitem__", "__del__", "__delattr__", "__delete__", "__dir__", "__enter__", "__eq__"}
    | {"__get__", "__getattr__", "__getattribute__", "__init__", "__init_subclass__", "__new__", "__repr__"}
    | {"__set__", "__set_name__", "__setattr__", "__subclasshook__"}
)
#: How deep values are searched for what cannot be read twice.
_DEPTH = 4
#: How many exceptions, each the cause of the one before, are asked for a status.
_MOST_CAUSES = 4

#: What answers call their status: those of requests and httpx, and those of http.client, urllib3 and aiohttp.
_OF_AN_ANSWER = ("status_code", "status")
#: What exceptions call it besides: version 2.0's, OpenStack's and Stripe's, and those of urllib and Tornado.
_OF_AN_ERROR = (*_OF_AN_ANSWER, "http_code", "http_status", "code")


class Guard:
    """Looks and behaves as the object that it wraps, but its request-like methods go through the policy.

    Retries, breaker, bulkhead, budget, events and health apply as for a `Connection`, and a 401 has the manager ask its
    hooks anew. Deadlines do as far as possible: a call under way cannot be cut, but no attempt begins after
    `timeout.total`. Coroutine functions are passed through.
    """

    # One attribute, and no methods but Python's own: whatever else is asked for is the object's. An answer that links
    # are followed from has a weak reference.
    __slots__ = ("__calls", "__weakref__")

    def __init__(self, calls: _Calls) -> None:
        object.__setattr__(self, "_Guard__calls", calls)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """So that `isinstance` sees what is wrapped."""
        return type(_calls(self).target)

    def __getattr__(self, name: str) -> Any:
        calls = _calls(self)
        value = getattr(calls.target, name)
        if name == "close" and callable(value):
            return functools.partial(_close, self, value)
        if name in calls.names and callable(value) and not inspect.iscoroutinefunction(value):
            return calls.guarded(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_calls(self).target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_calls(self).target, name)

    def __dir__(self) -> list[str]:
        return dir(_calls(self).target)

    def __repr__(self) -> str:
        calls = _calls(self)
        return f"<guarded {type(calls.target).__name__} of {calls.host.origin}>"

    def __eq__(self, other: object) -> Any:
        return _calls(self).target == unguarded(other)

    __hash__ = None  # type: ignore[assignment]  # made anew for each type, below


def guard(
    target: Any,
    host: Host,
    rules: Rules,
    names: frozenset[str],
    clock: Clock,
    observe: Observer,
    credentials: Callable[[], str],
) -> Any:
    """`target`, its methods called `names` under `rules` and with `host`'s record. `credentials` marks those it has."""
    kind: Any = type(target)
    return _guard_type(kind)(_Calls(target, host, rules, names, clock, observe, credentials))


def guarded_names(guard: Any) -> frozenset[str]:
    """The methods to guard, none where guarding is off; TypeError for what says neither."""
    if isinstance(guard, bool):
        return REQUEST_METHODS if guard else frozenset()
    if isinstance(guard, str) or not isinstance(guard, Collection) or not all(isinstance(name, str) for name in guard):
        raise TypeError(f"guard must be True, False or names of methods, not {guard!r:.80}")
    return REQUEST_METHODS | frozenset(guard)


def is_guard(thing: Any) -> bool:
    """Whether it is a guard, which `isinstance` cannot say."""
    return issubclass(type(thing), Guard)


def unguarded(thing: Any) -> Any:
    """What a guard wraps; anything else is returned as it is."""
    return _calls(thing).target if is_guard(thing) else thing


def usage_of(thing: Any) -> Usage | None:
    """What a guard's calls came to; None for anything else, of whose calls nothing is known."""
    return _calls(thing).usage if is_guard(thing) else None


def end_waits(thing: Any) -> None:
    """End the waits of a guard's calls, as closing a connection does; nothing for anything else."""
    if is_guard(thing):
        _calls(thing).waits.end()


def once_idle(thing: Any, act: Callable[[], None]) -> None:
    """Call `act` once no call of a guard is under way or waits: at once, or in the thread of the last one.

    What is no guard has no calls that we know of.
    """
    if is_guard(thing):
        _calls(thing).once_idle(act)
    else:
        act()


def rehost(thing: Any, host: Host) -> None:
    """Have a guard's later calls count in `host`; nothing for anything else."""
    if is_guard(thing):
        _calls(thing).host = host


def follow(thing: Any, rules: Rules) -> None:
    """Have a guard's later calls follow `rules`; nothing for anything else."""
    if is_guard(thing):
        _calls(thing).rules = rules


def _calls(guarded: Any) -> _Calls:
    return object.__getattribute__(guarded, "_Guard__calls")  # type: ignore[no-any-return]


def _close(guarded: Guard, close: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    end_waits(guarded)
    return close(*args, **kwargs)


@functools.lru_cache(maxsize=256)
def _guard_type(kind: Any) -> type[Guard]:
    """A guard with the special methods that `kind` has, so that it is callable, iterable and so on where that is."""
    special = [name for name in dir(kind) if name.startswith("__") and name.endswith("__") and name not in _OWN]
    members: dict[str, Any] = {name: _forward(name) for name in special if callable(getattr(kind, name, None))}
    if hasattr(kind, "__enter__"):
        members["__enter__"] = _enter
    return type("Guard", (Guard,), {"__slots__": (), "__hash__": None, "__doc__": kind.__doc__} | members)


def _forward(name: str) -> Callable[..., Any]:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        target = _calls(self).target
        return getattr(type(target), name)(target, *map(unguarded, args), **kwargs)

    return forward


def _enter(self: Any) -> Any:
    target = _calls(self).target
    entered = type(target).__enter__(target)
    return self if entered is target else entered


class _Raised:
    """In place of a response: the object's own exception, whose text may say anything, kept from all records."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Calls:
    """What a guard does, apart from it, so that no name of ours hides one of the object's."""

    __slots__ = (
        "clock",
        "credentials",
        "host",
        "names",
        "observe",
        "rules",
        "target",
        "then",
        "under_way",
        "usage",
        "waits",
    )

    def __init__(
        self,
        target: Any,
        host: Host,
        rules: Rules,
        names: frozenset[str],
        clock: Clock,
        observe: Observer,
        credentials: Callable[[], str],
    ) -> None:
        self.target = target
        self.host = host
        self.rules = rules
        self.names = names
        self.clock = clock
        self.observe = observe
        self.credentials = credentials
        self.waits = Waits(clock)
        self.usage = Usage(clock.monotonic())
        self.under_way: set[object] = set()
        """A mark for each call, rather than a count: a mark that is taken away twice does no harm."""
        self.then: list[Callable[[], None]] = []
        """What is to be done once there is none."""

    def once_idle(self, act: Callable[[], None]) -> None:
        """Call `act` once no call is under way."""
        self.then.append(act)
        self._act_if_idle()

    def _act_if_idle(self) -> None:
        while self.then and not self.under_way:
            with contextlib.suppress(IndexError):  # another thread took it
                self.then.pop()()

    def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` under the policy."""

        @functools.wraps(function, updated=())
        @without_locals
        def call(*args: Any, **kwargs: Any) -> Any:
            mark = object()
            try:
                self.under_way.add(mark)
                request = _described(name, args, kwargs, self.rules)
                request.credentials = self.credentials
                steps = run(self.host, self.rules, request, self.clock, self.observe)
                final = drive(steps, self.waits, lambda _: self._attempt(function, args, kwargs), _let_go)
                self._note(final.outcome)
                return _handed_over(final)
            finally:
                self.under_way.discard(mark)
                self._act_if_idle()

        return call

    def _note(self, outcome: Outcome) -> None:
        """Take note of what a call came to, as a `Connection` does."""
        self.usage.last_used = self.clock.monotonic()
        if outcome.status == 401:
            self.usage.unauthorized = True
        elif outcome.error is None:
            self.usage.accepted = True

    def _attempt(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Outcome:
        """Call the object once; its answer or exception tells, as far as it can, how its host does."""
        handled = sys.exception()
        try:
            value = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again when the call ends
            return self._outcome_of(error, handled)
        status = _status(value)
        if status is None:
            return Outcome(Verdict.SUCCESS, response=value)
        return answered(status, value, self._asked_wait(status, value), self.host.failures)

    def _asked_wait(self, status: int, teller: Any) -> float | None:
        return asked_wait(status, functools.partial(_header, attribute_of(teller, "headers")), self.clock.wall)

    def _outcome_of(self, error: Exception, handled: BaseException | None) -> Outcome:
        status, teller = _told_by(error)
        if status is not None:  # the server did answer
            return answered(status, _Raised(error), self._asked_wait(status, teller), self.host.failures)
        if isinstance(error, OSError) and error.filename is not None:  # about a file here, not about the host
            return Outcome(Verdict.NEUTRAL, error=error)
        rules = self.rules
        phase: Phase | None = "connect" if _refused(error) else None
        scene = Scene(self.host.origin, phase, False, "attempt", rules.attempt, rules.connect, rules.read, handled)
        told = failed(translate(error, scene))
        return Outcome(
            told.verdict,
            error=told.error,
            response=_Raised(error),
            retryable=told.retryable,
            never_sent=told.never_sent,
        )


def _let_go(response: Any) -> None:
    if isinstance(response, requests.Response):
        discard(response)


def _handed_over(final: Final) -> Any:
    """The answer to return, or the object's own exception to raise."""
    response, error = final.outcome.response, final.outcome.error
    if isinstance(response, _Raised):
        error = response.error
    if error is None:
        return response
    if isinstance(error, SleepwalkerException):
        error.attempts = final.attempts
    raise error


def _described(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], rules: Rules) -> Request:
    """What the policies need to know, read from the usual shapes of such methods."""
    if name in _VERBS:
        method, uri = name.upper(), kwargs.get("uri", kwargs.get("url", args[0] if args else ""))
    elif name in REQUEST_METHODS:
        words = [*args, "", ""] if "method" not in kwargs else [kwargs["method"], *args, ""]
        method, uri = words[0], kwargs.get("uri", kwargs.get("url", words[1]))
        method = method.upper() if isinstance(method, str) else ""
    else:
        method, uri = name, ""
    # Only what is called headers is one: a body may have a member of that name.
    given = [kwargs.get("headers"), kwargs.get("extra_headers")]
    names = [word for headers in given if isinstance(headers, Mapping) for word in headers]
    keyed = any(isinstance(word, str) and word.lower() == "idempotency-key" for word in names)
    once = read_once([*args, *kwargs.values()])
    return Request(method, safe_path(uri if isinstance(uri, str) else ""), keyed or method in rules.methods, not once)


def read_once(value: Any, depth: int = _DEPTH) -> bool:
    """Whether there is something in it that a second attempt would find empty: an iterator, or an open file."""
    if value is None or isinstance(value, str | bytes | int | float):
        return False
    if isinstance(value, Mapping):
        return depth > 0 and any(read_once(item, depth - 1) for item in value.values())
    if isinstance(value, list | tuple):
        return depth > 0 and any(read_once(item, depth - 1) for item in value)
    return isinstance(value, Iterator) or hasattr(value, "read")


def _refused(error: Exception) -> bool:
    """Whether no connection was made, as the standard library says it; urllib's errors name theirs as a reason.

    What it was raised in the course of does not count: the object may have tried another server since.
    """
    return any(
        isinstance(link, ConnectionRefusedError) for link in (error, error.__cause__, attribute_of(error, "reason"))
    )


def _status(thing: Any, names: tuple[str, ...] = _OF_AN_ANSWER) -> int | None:
    """The HTTP status of an answer, by the names that the known libraries give it."""
    return next(filter(None, (_as_status(attribute_of(thing, name)) for name in names)), None)


def _as_status(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and 100 <= value <= 599 else None


def _told_by(error: BaseException) -> tuple[int | None, Any]:
    """The status that an exception, or what was named as its cause, carries; and what may have the headers with it.

    What it was raised in the course of does not count, as for a refused connection.
    """
    link: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if link is None:
            break
        response = attribute_of(link, "response")
        if isinstance(response, Mapping):  # botocore's
            with contextlib.suppress(Exception):
                if (status := _as_status(response["ResponseMetadata"]["HTTPStatusCode"])) is not None:
                    return status, None
        if (status := _status(response)) is not None:
            return status, response
        if (status := _status(link, _OF_AN_ERROR)) is not None:
            return status, link
        link = link.__cause__
    return None, None


def _header(headers: Any, name: str) -> str | None:
    """The text of a header, also of a plain dict that has its name in small letters, or a number in it."""
    value = None
    with contextlib.suppress(Exception):  # headers are whatever the object makes of them
        value = headers.get(name)
        if value is None:
            value = headers.get(name.lower())
    if type(value) in (int, float):
        return str(value)
    return value if isinstance(value, str) else None


def attribute_of(thing: Any, name: str) -> Any:
    """What a foreign object has under a name; None where it has nothing, or reading it fails.

    Its owner's trouble must not hide what is being looked at: httpx raises RuntimeError for a request that its error
    does not have.
    """
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001
        return None
