"""Chooses the credentials for the requests of a connection: the given ones, or the user's netrc entry."""

from __future__ import annotations

from sleepwalker.transport.credentials import (
    Anonymous,
    Auth,
    basic_header,
    check_tls,
    missing_credentials,
    netrc_auth,
    normalise_auth,
    travels_in_the_clear,
)
from sleepwalker.transport.headers import Headers
from sleepwalker.transport.route import Route
from sleepwalker.transport.url import Origin


class Authentication:
    """The credentials of one connection. If none were given, the first request that needs them reads netrc."""

    __slots__ = ("_netrc", "_origin", "_route", "anonymous", "exposed", "given")

    def __init__(self, origin: Origin, given: object, route: Route) -> None:
        """InsecureAuthError if they would be sent unencrypted; TypeError or ValueError for an unusable auth."""
        self._origin = origin
        self._route = route
        self.given: Auth | Anonymous | None = normalise_auth(given if given is not None else route.session.auth)
        """None if netrc is to be read."""
        self.anonymous: bool = isinstance(self.given, Anonymous)
        """Whether no request carries any, so that `of` need not be called."""
        check_tls(origin, self.given, route.proxied)
        self.exposed: bool = travels_in_the_clear(origin, route.proxied)
        """Whether others may read what is sent."""
        self._netrc: Auth | None = None

    def of(self, headers: tuple[Headers | None, ...]) -> tuple[Auth | None, str | None]:
        """The credentials of a request with these headers: an auth object to apply to each attempt, or a fixed header.

        AuthenticationError if there are none; its text names the three ways out.
        """
        auth = self.given
        if auth is None:
            # Checked for each call: netrc must not replace a header from the caller.
            if any(
                layer and layer.get("Authorization") is not None for layer in (*headers, self._route.session.headers)
            ):
                return None, None
            auth = self._netrc or self._from_netrc()
        if isinstance(auth, Anonymous):
            return None, None
        header = basic_header(auth)
        return (auth, None) if header is None else (None, header)

    def describe(self) -> str:
        """The kind of the credentials, for a `repr`. It shows no part of them."""
        if self.given is None:
            return "netrc"
        return repr(self.given) if isinstance(self.given, Anonymous) else type(self.given).__name__

    def _from_netrc(self) -> Auth:
        auth = netrc_auth(self._origin) if self._route.session.trust_env else None
        if auth is None:
            raise missing_credentials(self._origin)
        check_tls(self._origin, auth, self._route.proxied)
        self._netrc = auth
        return auth
