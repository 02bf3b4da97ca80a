"""The scopes of a connection, and how an object shares all but a few attributes with another."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from sleepwalker.connection.came_from import CameFrom
from sleepwalker.connection.part import Compiler, Part
from sleepwalker.connection.usage import Usage
from sleepwalker.frames import without_locals
from sleepwalker.hosts.names import check_scope
from sleepwalker.hosts.policies import load_policy
from sleepwalker.policy import Policy
from sleepwalker.transport.url import Origin

T = TypeVar("T")


class Scopes(Generic[T]):
    """The scopes of one connection that are in use, by name. Any thread may create and look up scopes."""

    __slots__ = ("_known", "_lock")

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[str, T] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()

    def get(self, name: str, make: Callable[[str], T]) -> T:
        """The scope with that name; created if it does not exist."""
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
        """Start with a new lock, which no thread of the parent holds."""
        self._lock = threading.RLock()


class Scoped:
    """A connection with scopes. Each scope is the same connection with its own record and policy."""

    # Slots hold what differs between a connection and its scopes. Everything else is in the dict that they share.
    __slots__ = ("_part", "_whole")

    _part: Part
    _whole: Self | None
    """The connection that this is a scope of, if it is one."""

    if TYPE_CHECKING:
        _compiler: Compiler
        _origin: Origin
        usage: Usage

    _scopes: Scopes[Self] | None = None
    """Made with the first one: most connections have none, and a manager may have thousands of connections."""

    @without_locals
    def scope(self, name: str, policy: Policy | str | os.PathLike[str] | None = None) -> Self:
        """This connection, seen as a part of the host with its own record.

        Use a scope for a route, a tenant or a priority that must not fail together with the rest. The scope has its own
        breaker, retry budget, bulkhead, rate limit, counters and health, under the name `https://host#name`. It shares
        session, sockets, credentials and headers with the connection. The same name returns the same object while that
        is in use. The connections of a manager to one host share the records of its scopes too.

        `policy` is the scope's own, for its calls and its record. Without one it follows the connection's policy. The
        first policy given for a scope of a host stays. To change it, assign the scope's `policy`.

        If the host is isolated, so are its scopes. Failures to connect in a scope count for the host too: they can make
        the host and all its scopes broken. Closing a scope does nothing: close the connection.

        Raises ValueError for a name that is blank, unprintable, longer than 100 characters or contains `#`, and on a
        scope itself. TypeError for a name that is not a str.
        """
        if self._whole is not None:
            raise ValueError(
                f"this is the scope {self._part.name!r}, and a scope cannot have scopes: call scope() on the "
                f"connection with a joint name such as 'reports/eu'"
            )
        name = check_scope(name)
        if policy is not None:
            self._part.give(name, self._compiler.for_host(load_policy(policy)))
        return self._scoped(name)

    def _scoped(self, name: str) -> Self:
        """The scope of that name; for one that is a scope itself, that of its connection."""
        if self._whole is not None:
            return self._whole._scoped(name)
        scopes = self._scopes
        if scopes is None:
            scopes = self.__dict__.setdefault("_scopes", Scopes())  # in one step: another thread may be here too
        return scopes.get(name, self._seen_as)

    def _seen_as(self, name: str) -> Self:
        scope = seen_again(self)
        scope._whole = self
        scope._part = self._part.scope(name, CameFrom(self, self._origin, self.usage, name))
        return scope


def seen_again(thing: T) -> T:
    """Another object of the same class that shares all attributes, also those set later.

    Only its slots are its own. They start with the values of the original.
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
