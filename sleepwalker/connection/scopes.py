"""The scopes of a connection: how they are called, and how one object is seen as another that shares its attributes."""

from __future__ import annotations

import contextlib
import functools
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_LONGEST_NAME = 100
_ALLOWED = f"a name for a part of the host, 1 to {_LONGEST_NAME} printable characters without '#'"


def check_scope(name: Any, called: str = "name") -> str:
    """A name that can be shown anywhere: it is part of that of the record, `https://host#name`."""
    kind: Any = type(name)
    if not issubclass(kind, str):
        raise TypeError(f"{called} must be a str, {_ALLOWED}, not {kind.__name__}")
    text = str.__str__(name)  # of a subclass, the text alone
    if not text.strip():
        raise ValueError(f"{called} is {'blank' if text else 'empty'}: pass {_ALLOWED}, such as 'reports'")
    shown = f"{text[:40]!r}{' ...' if len(text) > 40 else ''}"
    if len(text) > _LONGEST_NAME:
        raise ValueError(
            f"{called} has {len(text)} characters ({shown}): pass {_ALLOWED}; of a longer one a hash will do"
        )
    if "#" in text:
        raise ValueError(
            f"{called} {shown} has a '#', which parts it from the host in events and metrics: leave it out"
        )
    if not text.isprintable():
        raise ValueError(f"{called} {shown} has characters that cannot be printed: pass {_ALLOWED}")
    if text != text.strip():
        raise ValueError(f"{called} {shown} has blanks at its ends, which nobody sees in a log: take them off (strip)")
    return text


class Scopes(Generic[T]):
    """The scopes of one connection that somebody has, by name. They are made and looked up by any thread."""

    __slots__ = ("_known", "_lock")

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[str, T] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()

    def get(self, name: str, make: Callable[[str], T]) -> T:
        """The one of that name, made if nobody has it."""
        scope = self._known.get(name)
        if scope is None:
            with self._lock:
                scope = self._known.get(name)
                if scope is None:
                    scope = self._known.setdefault(name, make(name))
        return scope

    def __len__(self) -> int:
        return len(self._known)

    def renew_after_fork(self) -> None:
        """Begin with a lock that no thread of the parent's holds."""
        self._lock = threading.RLock()


def seen_again(thing: T) -> T:
    """Another object of the same class, whose attributes are the very same, also those that are set later.

    Only what stands in slots is its own, at first with the values of the first one.
    """
    kind: Any = type(thing)
    again: T = object.__new__(kind)
    again.__dict__ = thing.__dict__
    for slot in _slots_of(kind):
        with contextlib.suppress(AttributeError):  # empty
            slot.__set__(again, slot.__get__(thing))
    return again


@functools.lru_cache(maxsize=256)
def _slots_of(kind: type) -> tuple[types.MemberDescriptorType, ...]:
    members = (member for base in kind.__mro__ for member in vars(base).values())
    return tuple(member for member in members if isinstance(member, types.MemberDescriptorType))
