"""When two credentials are the same, and the keys of a manager's slots."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Mapping
from typing import Any

from requests.auth import HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth

from sleepwalker.hosts.names import host_key, mark_of
from sleepwalker.transport.url import Origin

#: requests' own credentials: user and password make them equal. They cannot be hashed, and claim to equal other types.
_BY_WORDS = frozenset({HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth})
_MUTABLE = (list, dict, set, bytearray)
#: Modules of classes whose `__eq__` does not see what a subclass adds.
_FOREIGN = frozenset({"builtins", "requests.auth"})
#: Credentials of these types are their own key.
_PLAIN = frozenset({type(None), tuple, str, bytes, int})


class _Itself:
    """An object as a key, equal to nothing but itself. It keeps the object alive, since its id may be used again."""

    __slots__ = ("_thing",)

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return type(other) is _Itself and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


class AuthKey:
    """Credentials as a key: equal ones of one type are equal, even if the object cannot be hashed.

    A pair of strings and requests' own classes are compared by user and password, other objects as their class says. If
    a class inherits an `__eq__` that does not see what it adds, its objects equal only themselves: those of a token
    class derived from `HTTPBasicAuth` have no user or password, and would equal each other.

    The key has the present value of the credentials: if they are changed in place, they are other credentials. Creating
    and comparing a key may run code of the credentials' class; hashing it does not.
    """

    __slots__ = ("_hash", "_id", "_value")

    def __init__(self, auth: Any) -> None:
        self._value = _value_of(auth)
        self._id: int | None = None
        """The id of an object that has no hash; `_value` may hold a copy of it."""
        try:
            self._hash = hash(self._value)
        except TypeError:
            self._id = id(auth)
            self._hash = hash(self._value[0])  # the same for all of a type: a host has few, so comparing is cheap

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AuthKey) and self._value == other._value

    def __repr__(self) -> str:
        return f"<AuthKey of {self._value[0].__name__}>"

    def mark(self) -> str:
        """A text that is the same for equal credentials, in this process, and reveals nothing of them.

        For tables that outlive the credentials. An object without user and password and without a hash has its own
        mark.
        """
        kind, *parts = self._value
        words = repr(parts if kind in _BY_WORDS else self._hash if self._id is None else self._id)
        return mark_of(f"{kind.__module__}.{kind.__qualname__} {words}", 16)


class _AnyAuth:
    def __repr__(self) -> str:
        return "ANY_AUTH"


#: Stands for all credentials. None does not: it is a value of `auth` like others.
ANY_AUTH: Any = _AnyAuth()


class Asked:
    """A request to a manager: in the caller's words, and as keys of the tables. Created without a lock."""

    __slots__ = ("auth", "fast", "host", "key", "name", "origin", "place")

    host: str
    auth: Any
    name: str
    origin: Origin | None
    fast: tuple[Any, ...] | None

    def __init__(self, host: str, auth: Any, key: AuthKey | None = None, fast: tuple[Any, ...] | None = None) -> None:
        self.host = host
        self.auth = auth
        self.name, self.origin = host_key(host)
        self.key: AuthKey = AuthKey(auth) if key is None else key
        self.fast = fast
        """The `fast_key` of host and auth, if known. It has the `AuthKey` if the credentials cannot be hashed."""
        self.place: tuple[str, int] = (self.name, hash(self.key))
        """The key of the tables. Slots at the same place are told apart by comparing credentials."""


def sent_mark(auth: Any, headers: Mapping[str, Any]) -> str:
    """A mark of the credentials that a request is sent with, as from `AuthKey.mark`; "" for none.

    `auth` is the object that each attempt applies, if any. Without one, the header `Authorization` counts.
    """
    if auth is not None:
        try:
            return AuthKey(auth).mark()
        except Exception:  # noqa: BLE001 - an object that cannot be hashed or copied still signs requests
            return mark_of(f"object {id(auth)}", 16)
    header = headers.get("Authorization")
    if header is None:
        return ""
    return mark_of(header.decode("latin-1") if isinstance(header, bytes) else str(header), 16)


def fast_key(host: Any, auth: Any) -> tuple[Any, ...]:
    """The arguments of `find` as a fast key. It distinguishes more than `host_key` and `AuthKey` do.

    Hashing and comparing it runs no code of ours, also for requests' own credentials, which cannot be hashed. Other
    kinds may make a key that cannot be hashed either.
    """
    kind: Any = type(auth)
    if kind in _PLAIN:
        return (host, kind, auth)
    if kind is HTTPBasicAuth:
        return (host, kind, auth.username, auth.password)
    return (host, kind, _Itself(auth)) if _only_itself(kind) else (host, kind, auth)


def _value_of(auth: Any) -> tuple[Any, ...]:
    kind: Any = type(auth)
    if kind in (tuple, list) and len(auth) == 2 and all(isinstance(part, str | bytes) for part in auth):
        return HTTPBasicAuth, *auth  # a pair is a shortcut for it
    if kind in _BY_WORDS:
        return kind, getattr(auth, "username", None), getattr(auth, "password", None)
    if _only_itself(kind):
        return kind, _Itself(auth)
    if isinstance(auth, _MUTABLE):
        with contextlib.suppress(Exception):  # what cannot be copied is compared as it is
            return kind, copy.deepcopy(auth)
    return kind, auth


@functools.lru_cache(maxsize=1024)
def _only_itself(kind: type) -> bool:
    """Whether a class inherits an `__eq__` that does not see what it adds, so that its objects equal only themselves.

    False for a class that can add nothing, such as a named tuple with empty `__slots__`.
    """
    if kind in _BY_WORDS or kind.__module__ == "builtins":
        return False
    place, giver = next((place, base) for place, base in enumerate(kind.__mro__) if "__eq__" in vars(base))
    if giver is object or giver.__module__ not in _FOREIGN:
        return False
    # Objects of requests' own classes hold any attribute, whatever a subclass says.
    return giver.__module__ != "builtins" or any(vars(base).get("__slots__") != () for base in kind.__mro__[:place])
