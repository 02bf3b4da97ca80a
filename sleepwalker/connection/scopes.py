"""The scopes of a connection, and how one object shares all its attributes with another but for some."""

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
    """The scopes of one connection that are in use, by name. They are made and looked up by any thread."""

    __slots__ = ("_known", "_lock")

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[str, T] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()

    def get(self, name: str, make: Callable[[str], T]) -> T:
        """The one of that name, made if it is not there."""
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


class Scoped:
    """For a connection: its scopes, each of which is the same connection but for what its calls go by."""

    # What differs between a connection and its scopes stands in slots. All else is in the one dict that they share.
    __slots__ = ("_part", "_whole")

    _part: Part
    _whole: Self | None
    """Of a scope, the connection that it is a scope of."""

    if TYPE_CHECKING:
        _compiler: Compiler
        _origin: Origin
        usage: Usage

    _scopes: Scopes[Self] | None = None
    """Made with the first one: most connections have none, and a manager may have thousands of connections."""

    @without_locals
    def scope(self, name: str, policy: Policy | str | os.PathLike[str] | None = None) -> Self:
        """This connection, seen as a part of the host with a record of its own.

        For a route, a tenant or an urgency that must not fail together with the rest. Breaker, retry budget, bulkhead,
        rate limit, counts and health are the scope's, and its record is called `https://host#name`; session, sockets,
        credentials and headers are the connection's. A name gives the same object as long as that is in use. A
        manager's connections to one host share the records of its scopes, too.

        `policy` is the scope's own, for its calls as for its record; without one it goes by the connection's. The first
        that is given for a scope of a host holds. To change it, set the scope's `policy`.

        While the host is isolated, so are its scopes; and failures to connect count for the host as well, whose health
        then says that it is broken, and so does that of its scopes. Closing a scope changes nothing: close the
        connection.

        Raises ValueError for a name that is blank, not printable, longer than 100 characters or has a `#`, and where
        this is a scope itself; TypeError for what is no str.
        """
        if self._whole is not None:
            raise ValueError(
                f"this is the scope {self._part.name!r} of a connection, and a scope has no scopes: use the "
                "connection's, with a name for both, such as 'reports/eu'"
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
            scopes = self.__dict__.setdefault("_scopes", Scopes())  # in one step: another thread may be here, too
        return scopes.get(name, self._seen_as)

    def _seen_as(self, name: str) -> Self:
        scope = seen_again(self)
        scope._whole = self
        scope._part = self._part.scope(name, CameFrom(self, self._origin, self.usage, name))
        return scope


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
