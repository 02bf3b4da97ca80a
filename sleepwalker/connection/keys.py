"""When two hosts, or two credentials, are the same: what the manager's tables are keyed by."""

from __future__ import annotations

import contextlib
import copy
import re
from typing import Any

from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from sleepwalker.exceptions import URLError
from sleepwalker.transport.url import Origin, parse_hostname

#: What makes requests' own credentials equal. They cannot be hashed, and digest ones say that they equal basic ones.
_EQUAL_BY_WORDS = (HTTPBasicAuth.__eq__, HTTPDigestAuth.__eq__)
_MUTABLE = (list, dict, set, bytearray)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:b?['\"])?[a-z][a-z0-9+.-]*:/{1,2}", re.IGNORECASE)


class AuthKey:
    """Credentials as a key: equal ones of one type are equal, also where the object itself cannot be hashed.

    What it is made of is what the credentials are now: changed in place, they are other credentials. Making and
    comparing one may run the code of the credentials' class; hashing it does not.
    """

    __slots__ = ("_hash", "_value")

    def __init__(self, auth: Any) -> None:
        self._value = _value_of(auth)
        try:
            self._hash = hash(self._value)
        except TypeError:
            self._hash = hash(self._value[0])  # few of them per host: a comparison each is no burden

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AuthKey) and self._value == other._value

    def __repr__(self) -> str:
        return f"<AuthKey of {self._value[0].__name__}>"


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
    name that only a hook understands. Raises `URLError` for a URL that cannot be connected to, and for a name
    with a password in it.
    """
    if not isinstance(host, str):
        host = repr(host)
    host = str.__str__(host)  # of a subclass, the text alone: names are hashed and compared under locks
    if not _WEB.match(host):
        if ":" in _SCHEME.sub("", host).rpartition("@")[0]:  # names are written to the log
            raise URLError("host (not shown) has credentials in it: pass them as auth=(user, password)")
        return host.lower().rstrip("/"), None
    _, origin, _ = parse_hostname(host)
    path = host.partition("://")[2].partition("/")[2].rstrip("/")
    return (f"{origin.text}/{path}" if path else origin.text), origin


def words_of(host: Any, auth: Any) -> tuple[Any, ...]:
    """What `find` was given, as a key that is fast: it tells more apart than `host_key` and `AuthKey` do.

    Hashing and comparing it runs no code of ours, also for requests' own credentials, which cannot be hashed. Those
    of other kinds make a key that cannot be hashed either.
    """
    kind = type(auth)
    return (host, kind, auth.username, auth.password) if kind is HTTPBasicAuth else (host, kind, auth)


def _value_of(auth: Any) -> tuple[Any, ...]:
    kind: Any = type(auth)
    if isinstance(auth, tuple | list) and len(auth) == 2 and all(isinstance(part, str | bytes) for part in auth):
        return HTTPBasicAuth, *auth  # the contract calls the pair a shortcut for it
    if getattr(kind, "__eq__", None) in _EQUAL_BY_WORDS:
        return kind, getattr(auth, "username", None), getattr(auth, "password", None)
    if isinstance(auth, _MUTABLE):
        with contextlib.suppress(Exception):  # what cannot be copied is compared as it is
            return kind, copy.deepcopy(auth)
    return kind, auth
