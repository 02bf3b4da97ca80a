"""When two hosts, or two credentials, are the same: what the manager's tables are keyed by."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

from requests.auth import HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth

from sleepwalker.connection.scopes import check_scope
from sleepwalker.exceptions import URLError
from sleepwalker.transport.url import Origin, parse_hostname

#: requests' own credentials, which user and password make equal. They cannot be hashed, and say that they equal others.
_BY_WORDS = frozenset({HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth})
_MUTABLE = (list, dict, set, bytearray)
#: Where classes come from whose idea of equality knows nothing of what a subclass adds.
_FOREIGN = frozenset({"builtins", "requests.auth"})
#: Credentials of these kinds are what they compare as, and are hashed by no code but the interpreter's.
_PLAIN = frozenset({type(None), tuple, str, bytes, int})
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:b?['\"])?[a-z][a-z0-9+.-]*:/{1,2}", re.IGNORECASE)
#: What of a name may not be shown: a query or fragment, and what moves a terminal's cursor or turns its text around.
_UNSHOWN = re.compile("[?#\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_LONGEST_NAME = 255
#: Without it, short secrets could be found from their marks by trying. Made here, as two threads might make two.
_SALT = os.urandom(16)


class _Itself:
    """An object as a key, equal to nothing but itself. It keeps the object alive, whose number might be used again."""

    __slots__ = ("_thing",)

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return type(other) is _Itself and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


class AuthKey:
    """Credentials as a key: equal ones of one type are equal, also where the object itself cannot be hashed.

    A pair of strings and requests' own classes are compared by user and password, other objects as their class says.
    A subclass that takes over the equality of a class which does not know it is not asked: a token that derives from
    `HTTPBasicAuth` has neither user nor password, and would equal every other one. Its objects equal but themselves.

    What it is made of is what the credentials are now: changed in place, they are other credentials. Making and
    comparing one may run the code of the credentials' class; hashing it does not.
    """

    __slots__ = ("_hash", "_id", "_value")

    def __init__(self, auth: Any) -> None:
        self._value = _value_of(auth)
        self._id: int | None = None
        """Of what has no hash; what `_value` has may be a copy."""
        try:
            self._hash = hash(self._value)
        except TypeError:
            self._id = id(auth)
            self._hash = hash(self._value[0])  # few of them per host: a comparison each is no burden

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AuthKey) and self._value == other._value

    def __repr__(self) -> str:
        return f"<AuthKey of {self._value[0].__name__}>"

    def mark(self) -> str:
        """A text that is the same for equal credentials, in this process, and from which nothing of them can be read.

        For tables that outlive the credentials. Where neither user and password nor a hash make them equal, an object
        is its own credentials.
        """
        kind, *parts = self._value
        words = repr(parts if kind in _BY_WORDS else self._hash if self._id is None else self._id)
        return _mark(f"{kind.__module__}.{kind.__qualname__} {words}", 16)


class Asked:
    """What somebody asks a manager for, in their words and as its tables have it. To be made while no lock is held."""

    __slots__ = ("auth", "host", "key", "name", "origin", "place")

    def __init__(self, host: Any, auth: Any, key: AuthKey | None = None) -> None:
        self.host = host
        self.auth = auth
        self.name, self.origin = host_key(host)
        self.key = AuthKey(auth) if key is None else key
        self.place = (self.name, hash(self.key))
        """Where the tables have the pair, beside those that only a comparison tells apart from it."""


def host_key(host: Any) -> tuple[str, Origin | None]:
    """A host's name in the tables, and its origin where it is a URL.

    Letter case, a default port and a trailing slash make no difference. Anything that is no http(s) URL is a
    name that only a hook understands. It is written to logs and metrics: what could be a secret in it, and what does
    not fit there, is replaced by a mark that tells such names apart, in this process. Raises `URLError` for a URL that
    cannot be connected to, and for a name with a password in it.
    """
    kind: Any = type(host)  # an object may say that it is a str
    if not issubclass(kind, str):
        host = repr(host)
    host = str.__str__(host)  # of a subclass, the text alone: names are hashed and compared under locks
    if not _WEB.match(host):
        if ":" in _SCHEME.sub("", host).rpartition("@")[0]:  # names are written to the log
            raise URLError("host (not shown) has credentials in it: pass them as auth=(user, password)")
        name = host.lower().rstrip("/")
        unshown = _UNSHOWN.search(name)
        if unshown is None and len(name) <= _LONGEST_NAME:
            return name, None
        shown = name[: min(_LONGEST_NAME, len(name) if unshown is None else unshown.start())]
        return f"{shown}…{_mark(name)}", None
    if "#" in host:
        raise URLError(
            "host has a '#' (what follows is not shown): a scope of a host is had from the connection, as "
            "find(host).scope(name), and only what is known of it from the manager"
        )
    _, origin, _ = parse_hostname(host)
    path = host.partition("://")[2].partition("/")[2].rstrip("/")
    return (f"{origin.text}/{path}" if path else origin.text), origin


def check_host(host: Any) -> None:
    """Refuse what is no name of a host: TypeError for what is no str, `URLError` for one of blanks and slashes only."""
    allowed = "pass a URL such as 'https://host.com', or a name that a hook knows"
    kind: Any = type(host)
    if not issubclass(kind, str):
        raise TypeError(f"host must be a str, not {kind.__name__}: {allowed}")
    if not str.strip(str.__str__(host)).strip("/"):
        raise URLError(f"host is {'a blank' if len(str.__str__(host)) else 'an empty'} {kind.__name__}: {allowed}")


def checked_host_key(host: Any) -> tuple[str, Origin | None]:
    """The `host_key` of what `check_host` lets through."""
    check_host(host)
    return host_key(host)


def checked_record_key(host: Any) -> tuple[str, Origin | None, str | None]:
    """The same of what may be followed by a scope, `https://host#name`, which comes last; None for a whole host."""
    check_host(host)
    text = str.__str__(host)
    if not _WEB.match(text) or "#" not in text:
        return (*host_key(host), None)
    text, _, scope = text.partition("#")
    return (*host_key(text), check_scope(scope, "the scope in host"))


def sent_mark(auth: Any, headers: Mapping[str, Any]) -> str:
    """A mark of the credentials that a request goes out with, as `AuthKey.mark` makes one; "" for none.

    `auth` is the object that each attempt applies, if any: what it puts on the request may differ from one to the next.
    Without one, the header `Authorization` is what counts.
    """
    if auth is not None:
        try:
            return AuthKey(auth).mark()
        except Exception:  # noqa: BLE001 - an object that cannot be hashed or copied still signs requests
            return _mark(f"object {id(auth)}", 16)
    header = headers.get("Authorization")
    if header is None:
        return ""
    return _mark(header.decode("latin-1") if isinstance(header, bytes) else str(header), 16)


def _mark(text: str, size: int = 6) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size, key=_SALT).hexdigest()


def words_of(host: Any, auth: Any) -> tuple[Any, ...]:
    """What `find` was given, as a key that is fast: it tells more apart than `host_key` and `AuthKey` do.

    Hashing and comparing it runs no code of ours, also for requests' own credentials, which cannot be hashed. Those
    of other kinds may make a key that cannot be hashed either.
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
        return HTTPBasicAuth, *auth  # the contract calls the pair a shortcut for it
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
    """Whether objects of this class are compared by a class of others, which does not see what this one adds.

    One that can add nothing, as a named tuple by empty `__slots__`, is compared all the same.
    """
    if kind in _BY_WORDS or kind.__module__ == "builtins":
        return False
    place, giver = next((place, base) for place, base in enumerate(kind.__mro__) if "__eq__" in vars(base))
    if giver is object or giver.__module__ not in _FOREIGN:
        return False
    # Objects of requests' own classes hold any attribute, whatever a subclass says.
    return giver.__module__ != "builtins" or any(vars(base).get("__slots__") != () for base in kind.__mro__[:place])
