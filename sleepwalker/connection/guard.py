"""A transparent wrapper that puts a manager's policy around a foreign connection object."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from sleepwalker.connection.foreign import REQUEST_METHODS
from sleepwalker.connection.guarded_calls import GuardedCallsBase
from sleepwalker.connection.usage import Usage
from sleepwalker.engine import CompiledPolicy, Host

#: The guard's own special methods. Python looks the others up on the type, so the guard needs those of the object.
_OWN = frozenset(
    {"__aenter__", "__class__", "__class_getitem__", "__del__", "__delattr__", "__delete__", "__dir__", "__enter__"}
    | {"__eq__", "__get__", "__getattr__", "__getattribute__", "__init__", "__init_subclass__", "__new__"}
    | {"__repr__", "__set__", "__set_name__", "__setattr__", "__subclasshook__"}
)

#: Methods that close a foreign object; the first existing one is used.
CLOSING = ("aclose", "close")


class Guard:
    """Looks and behaves like the object it wraps, but its request methods go through the policy.

    Retries, breaker, bulkhead, budget, events and health work as for a `Connection`, and a 401 makes the manager call
    its hooks again. Deadlines work in part: a running call cannot be cancelled, but no attempt begins after
    `timeout.total`. Coroutine functions are passed through. An `AsyncConnectionManager` guards only those, and cancels
    an attempt that runs out of time.
    """

    # One attribute, and no methods except Python's own: all others are the object's. A response for links has a weak
    # reference.
    __slots__ = ("__calls", "__weakref__")

    def __init__(self, calls: GuardedCallsBase) -> None:
        object.__setattr__(self, "_Guard__calls", calls)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """So that `isinstance` sees what is wrapped."""
        return type(_calls(self).target)

    def __getattr__(self, name: str) -> Any:
        calls = _calls(self)
        value = getattr(calls.target, name)
        if name in CLOSING and callable(value):
            return functools.partial(_close, self, value)
        if name in calls.names and callable(value) and calls.takes(value):
            return calls.guarded(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
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

    __hash__ = None  # type: ignore[assignment]  # each guarded type has its own, below


def guard(calls: GuardedCallsBase) -> Any:
    """Wrap the foreign object of these calls in a guard."""
    kind: Any = type(calls.target)
    return _guard_type(kind)(calls)


def guarded_names(guard: object) -> frozenset[str]:
    """The methods to guard; empty if guarding is off. TypeError for an invalid value."""
    if isinstance(guard, bool):
        return REQUEST_METHODS if guard else frozenset()
    if isinstance(guard, str) or not isinstance(guard, Collection) or not all(isinstance(name, str) for name in guard):
        raise TypeError(f"guard must be True, False or names of methods, not {guard!r:.80}")
    return REQUEST_METHODS | frozenset(guard)


def is_guard(thing: object) -> bool:
    """Whether it is a guard. `isinstance` cannot tell."""
    return issubclass(type(thing), Guard)


def unguarded(thing: object) -> Any:
    """The object that a guard wraps; any other object is returned unchanged."""
    return _calls(thing).target if is_guard(thing) else thing


def usage_of(thing: object) -> Usage | None:
    """How a guard's calls ended; None for any other object, whose calls are unknown."""
    return _calls(thing).usage if is_guard(thing) else None


def end_waits(thing: object) -> None:
    """End the waits of a guard's calls, as closing a connection does. Does nothing for any other object."""
    if is_guard(thing):
        _calls(thing).waits.end()


def once_idle(thing: object, act: Callable[[], None]) -> None:
    """Call `act` once a guard has no running or waiting call: at once, or in the thread of the last call.

    For any other object it is called at once.
    """
    if is_guard(thing):
        _calls(thing).once_idle(act)
    else:
        act()


def rehost(thing: object, host: Host) -> None:
    """Make a guard's later calls count in `host`. Does nothing for any other object."""
    if is_guard(thing):
        _calls(thing).host = host


def follow(thing: object, compiled: CompiledPolicy) -> None:
    """Make a guard's later calls use a compiled policy. Does nothing for any other object."""
    if is_guard(thing):
        _calls(thing).compiled = compiled


def _calls(guarded: object) -> GuardedCallsBase:
    return object.__getattribute__(guarded, "_Guard__calls")  # type: ignore[no-any-return]


def _close(guarded: Guard, close: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    end_waits(guarded)
    return close(*args, **kwargs)


@functools.lru_cache(maxsize=256)
def _guard_type(kind: object) -> type[Guard]:
    """A guard type with the special methods of `kind`, so that it is callable, iterable and so on if `kind` is."""
    special = [name for name in dir(kind) if name.startswith("__") and name.endswith("__") and name not in _OWN]
    members: dict[str, Any] = {name: _forward(name) for name in special if callable(getattr(kind, name, None))}
    if hasattr(kind, "__enter__"):
        members["__enter__"] = _enter
    if hasattr(kind, "__aenter__"):
        members["__aenter__"] = _aenter
    return type("Guard", (Guard,), {"__slots__": (), "__hash__": None, "__doc__": kind.__doc__} | members)


def _forward(name: str) -> Callable[..., Any]:
    def forward(self: object, *args: Any, **kwargs: Any) -> Any:
        target = _calls(self).target
        return getattr(type(target), name)(target, *map(unguarded, args), **kwargs)

    return forward


def _enter(self: object) -> Any:
    target = _calls(self).target
    entered = type(target).__enter__(target)
    return self if entered is target else entered


async def _aenter(self: object) -> Any:
    target = _calls(self).target
    entered = await type(target).__aenter__(target)
    return self if entered is target else entered
