"""The route to one origin: its session, adapter and settings, made once per connection."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from sleepwalker.clock import Clock
from sleepwalker.exceptions import RedirectError
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport.blocking.adapter import Adapter
from sleepwalker.transport.blocking.attempt import Sender
from sleepwalker.transport.blocking.redirects import OwnSession, guard_redirects
from sleepwalker.transport.cookies import BoundedCookieJar
from sleepwalker.transport.headers import Checked
from sleepwalker.transport.proxies import Proxies, check_proxies
from sleepwalker.transport.route import dress
from sleepwalker.transport.tls import environment_ca, shared_context
from sleepwalker.transport.url import Origin, origin_of


class Route:
    """Owns the session, adapter and settings of a connection. The environment is read here and never again."""

    awaits = False

    def __init__(
        self,
        origin: Origin,
        session: requests.Session | None,
        pool: PoolPolicy,
        clock: Clock,
        *,
        verify: Any,
        cert: Any,
        proxies: Mapping[str, str] | None,
    ) -> None:
        self._origin = origin
        self._owned = session is None
        self.session = _new_session() if session is None else session
        trusts = self.session.trust_env
        ways = Proxies({**self.session.proxies, **check_proxies(proxies)}, trust_env=trusts)
        if verify is True and not isinstance(self.session.verify, bool | None):
            verify = self.session.verify
        if verify is True and trusts:
            verify = environment_ca(os.environ) or True
        cert = cert if cert is not None else self.session.cert
        # For http as well, so that a wrong argument raises here rather than after a move to https.
        context = shared_context(verify, cert)
        # As requests' own adapters take them: True, False or str, and str or a tuple of str.
        if isinstance(verify, os.PathLike):
            verify = os.fspath(verify)
        cert = tuple(map(_as_text, cert)) if isinstance(cert, list | tuple) else _as_text(cert)
        self._prefixes = {origin.text + "/", origin.explicit + "/"}
        mounted = None if session is None else session.get_adapter(origin.text + "/")
        self._adapter = mounted if isinstance(mounted, Adapter) else Adapter(pool, context, verify, cert)
        if session is not None and isinstance(verify, ssl.SSLContext):
            self._check_context_arrives(session)
        self._elsewhere = _Elsewhere(origin, pool, verify, ways)
        used = ways.for_origin(origin)
        self.proxied = bool(used)
        settings = {"verify": verify, "cert": cert, "proxies": used}
        self.sender = Sender(origin, self.session, settings, self._elsewhere, clock, Checked())

    def mount(self) -> None:
        """Mount our adapter on the session, unless its owner mounted another one."""
        if self._owned:
            self.session.mount("http://", self._adapter)
            self.session.mount("https://", self._adapter)
            return
        for prefix in self._prefixes:
            if type(self.session.get_adapter(prefix)) is HTTPAdapter:
                self.session.mount(prefix, self._adapter)

    def make_ready(self, prepared: requests.PreparedRequest) -> None:
        """Add the hooks that handle redirects before requests does."""
        guard_redirects(prepared, self._origin)

    def close(self) -> None:
        """Close idle sockets; those in use are closed when they come back."""
        if self._owned:
            self.session.close()
        self._adapter.close()
        if self._elsewhere.session is not None:
            self._elsewhere.session.close()

    def renew(self) -> None:
        """In a forked child: start with empty pools and fresh locks, and leave the parent's sockets alone."""
        for adapter in {self._adapter, *self.session.adapters.values()}:
            if isinstance(adapter, Adapter):
                adapter.renew()
            elif isinstance(adapter, HTTPAdapter):
                adapter.__setstate__(adapter.__getstate__())  # new pools, as after unpickling
        jar = self.session.cookies
        if isinstance(jar, BoundedCookieJar):
            jar.renew_lock()
        else:
            jar._cookies_lock = threading.RLock()
        self._elsewhere.session = None

    def _check_context_arrives(self, session: requests.Session) -> None:
        """ValueError if the session has an adapter derived from requests' own, which takes no SSLContext.

        It takes True, False or a path, so the context would be lost, and with it a pinned CA or a client certificate.
        Any other adapter (a mock, another library's) is given the context.
        """
        # Ours replaces a plain adapter for the whole host, but not one for some of its paths.
        whole = [session.get_adapter(prefix) for prefix in self._prefixes]
        adapters = [adapter for adapter in whole if type(adapter) is not HTTPAdapter]
        deeper = tuple(self._prefixes)
        adapters += [
            adapter
            for prefix, adapter in session.adapters.items()
            if prefix.lower().startswith(deeper) and prefix.lower() not in deeper
        ]
        for adapter in adapters:
            kind = type(adapter)
            if isinstance(adapter, HTTPAdapter) and kind is not Adapter:
                raise ValueError(
                    f"verify: the session's adapter for {self._origin} ({kind.__name__}) cannot take an SSLContext: "
                    "it takes True, False or a path. Pass the path of a CA bundle (and cert=), "
                    "mount a plain requests.adapters.HTTPAdapter for all of this host, or give the adapter the "
                    "context itself and leave verify out"
                )


class _Elsewhere:
    """Finds the session for a redirect to another origin. It does not refer to the route: a dropped connection is freed
    at once, with its sockets, only if it has no reference cycle."""

    def __init__(self, origin: Origin, pool: PoolPolicy, verify: Any, proxies: Proxies) -> None:
        self._origin = origin
        self._pool = pool
        self._verify = verify
        self._proxies = proxies
        self.session: requests.Session | None = None

    def __call__(self, url: str) -> tuple[requests.Session, dict[str, Any]]:
        """A session without cookies, client certificate and credentials, and its settings.

        RedirectError if that origin could not be verified as strictly as our own.
        """
        verify = self._verify
        if isinstance(verify, ssl.SSLContext):
            if url.lower().startswith("https:"):
                raise RedirectError(
                    f"{self._origin}: a redirect to another origin ({origin_of(url)}) is not followed, because verify "
                    "is an SSLContext, which may hold a client certificate. Make a connection to that origin, or pass "
                    "the "
                    "path of a CA bundle as verify"
                )
            verify = True  # unused over http
        if self.session is None:
            foreign = requests.Session()
            foreign.trust_env = False
            foreign.cookies = BoundedCookieJar(DefaultCookiePolicy(allowed_domains=[]))
            adapter = Adapter(self._pool, shared_context(verify, None), verify, None)
            foreign.mount("http://", adapter)
            foreign.mount("https://", adapter)
            self.session = foreign
        settings = {"verify": verify, "cert": None, "proxies": self._proxies.for_origin(origin_of(url))}
        return self.session, settings


def _as_text(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _new_session() -> requests.Session:
    session = OwnSession()
    dress(session)
    return session
