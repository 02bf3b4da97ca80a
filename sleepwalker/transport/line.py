"""The way to one origin: its session, adapter and settings, worked out once when a connection is made."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import ssl
import threading
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from sleepwalker.clock import Clock
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport.adapter import Adapter
from sleepwalker.transport.cookies import BoundedCookieJar
from sleepwalker.transport.exchange import Wire
from sleepwalker.transport.proxies import Proxies, check_proxies
from sleepwalker.transport.redirects import OwnSession
from sleepwalker.transport.tls import environment_ca, shared_context
from sleepwalker.transport.url import Origin, origin_of


class Line:
    """Owns what a connection's attempts go through. The environment is read here and never again."""

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
        self._pool = pool
        self._owned = session is None
        self.session = _new_session() if session is None else session
        trusts = self.session.trust_env
        self._proxies = Proxies({**self.session.proxies, **check_proxies(proxies)}, trust_env=trusts)
        if verify is True and isinstance(self.session.verify, str):
            verify = self.session.verify
        if verify is True and trusts:
            verify = environment_ca(os.environ) or True
        cert = cert if cert is not None else self.session.cert
        if isinstance(cert, list):
            cert = tuple(cert)
        # Made for http as well, so that a wrong argument is found here rather than after a move to https.
        context = shared_context(verify, cert)
        if isinstance(verify, os.PathLike):
            verify = os.fspath(verify)
        self._verify = verify
        self._prefixes = {origin.text + "/", origin.explicit + "/"}
        mounted = None if session is None else session.get_adapter(origin.text + "/")
        self._adapter = mounted if isinstance(mounted, Adapter) else Adapter(pool, context, verify, cert)
        theirs = mounted is not None and type(mounted) not in (HTTPAdapter, Adapter)
        self._foreign: requests.Session | None = None
        used = self._proxies.for_origin(origin)
        self.proxied = bool(used)
        if theirs and isinstance(verify, ssl.SSLContext):
            verify = True  # requests' own adapter does not take one
        settings = {"verify": verify, "cert": cert, "proxies": used}
        self.wire = Wire(origin, self.session, settings, self._elsewhere, clock)

    def mount(self) -> None:
        """Let the session send through our adapter, unless its owner mounted one of their own."""
        if self._owned:
            self.session.mount("http://", self._adapter)
            self.session.mount("https://", self._adapter)
            return
        for prefix in self._prefixes:
            if type(self.session.get_adapter(prefix)) is HTTPAdapter:
                self.session.mount(prefix, self._adapter)

    def close(self) -> None:
        """Close idle sockets; those in use are closed when they come back."""
        if self._owned:
            self.session.close()
        self._adapter.close()
        if self._foreign is not None:
            self._foreign.close()

    def renew(self) -> None:
        """In a forked child: start with empty pools and fresh locks, and leave the parent's sockets alone."""
        for adapter in {self._adapter, *self.session.adapters.values()}:
            if isinstance(adapter, Adapter):
                adapter.renew()
            elif isinstance(adapter, HTTPAdapter):
                adapter.__setstate__(adapter.__getstate__())  # what requests does to one that comes out of a pickle
        self.session.cookies._cookies_lock = threading.RLock()
        self._foreign = None

    def _elsewhere(self, url: str) -> tuple[requests.Session, dict[str, Any]]:
        """For a redirect to another origin: a session with no cookies, client certificate or credentials."""
        verify = self._verify if isinstance(self._verify, bool | str) else True  # a context may have a certificate
        if self._foreign is None:
            foreign = requests.Session()
            foreign.trust_env = False
            foreign.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            adapter = Adapter(self._pool, shared_context(verify, None), verify, None)
            foreign.mount("http://", adapter)
            foreign.mount("https://", adapter)
            self._foreign = foreign
        settings = {"verify": verify, "cert": None, "proxies": self._proxies.for_origin(origin_of(url))}
        return self._foreign, settings


def _new_session() -> requests.Session:
    session = OwnSession()
    session.cookies = BoundedCookieJar()
    session.headers["User-Agent"] = _user_agent(str(session.headers.get("User-Agent", "")))
    return session


@functools.cache
def _user_agent(of_requests: str) -> str:
    """Who it is that retries, for the operator of a server who wonders."""
    try:
        version = f"/{importlib.metadata.version('sleepwalker')}"
    except importlib.metadata.PackageNotFoundError:  # run from a folder, without being installed
        version = ""
    return f"sleepwalker{version} {of_requests}".rstrip()
