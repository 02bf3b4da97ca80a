"""When two hosts, or two credentials, are the same: what the manager's tables are keyed by."""

from __future__ import annotations

from typing import Any

from requests.auth import HTTPBasicAuth

from sleepwalker.transport.url import Origin, parse_hostname


class AuthKey:
    """Credentials as a key: equal ones are equal, also where the object itself cannot be hashed."""

    __slots__ = ("_auth", "_hash")

    def __init__(self, auth: Any) -> None:
        if isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(part, str | bytes) for part in auth):
            auth = HTTPBasicAuth(*auth)  # the contract calls the pair a shortcut for it
        self._auth = auth
        try:
            self._hash = hash(auth)
        except TypeError:
            self._hash = hash(type(auth))  # few of them per host: a comparison each is no burden

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        # The type counts: requests' digest credentials say that they equal basic ones.
        if not isinstance(other, AuthKey) or type(self._auth) is not type(other._auth):
            return False
        return self._auth is other._auth or bool(self._auth == other._auth)

    def __repr__(self) -> str:
        return f"<AuthKey of {type(self._auth).__name__}>"


def host_key(host: Any) -> tuple[str, Origin | None]:
    """A host's name in the tables, and its origin where it is a URL.

    Letter case, a default port and a trailing slash make no difference. Anything that is no URL is a name
    that only a hook understands. Raises `URLError` for a URL that cannot be connected to.
    """
    if not isinstance(host, str):
        return repr(host), None
    if "://" not in host:
        return host.lower().rstrip("/"), None
    _, origin, _ = parse_hostname(host)
    path = host.partition("://")[2].partition("/")[2].rstrip("/")
    return (f"{origin.text}/{path}" if path else origin.text), origin
