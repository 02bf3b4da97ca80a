"""The way to one origin: its session, adapter and settings, worked out once when a connection is made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.request import getproxies

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy, should_bypass_proxies

from sleepwalker.clock import Clock
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport.cookies import BoundedCookieJar
from sleepwalker.transport.exchange import Wire
from sleepwalker.transport.pool import Adapter
from sleepwalker.transport.tls import environment_ca, shared_context
from sleepwalker.transport.url import Origin


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
        self._no_proxy = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "") if trusts else ""
        self._environment_proxies = getproxies() if trusts else {}
        self._proxies = {**self.session.proxies, **(proxies or {})}
        if verify is True and isinstance(self.session.verify, str):
            verify = self.session.verify
        if verify is True and trusts:
            verify = environment_ca(os.environ) or True
        self._verify = verify
        cert = cert if cert is not None else self.session.cert
        # Made for http as well, so that a wrong argument is found here rather than after a move to https.
        context = shared_context(verify, cert)
        self._adapter = Adapter(pool, context if origin.scheme == "https" else None)
        self._mount()
        self._foreign: requests.Session | None = None
        used = self._proxies_for(origin.text + "/")
        self.proxied = bool(used)
        settings = {"verify": verify if isinstance(verify, bool | str) else True, "cert": cert, "proxies": used}
        self.wire = Wire(origin, self.session, settings, self._elsewhere, clock)

    def close(self) -> None:
        """Close idle sockets; those in use are closed when they come back."""
        if self._owned:
            self.session.close()
        self._adapter.close()
        if self._foreign is not None:
            self._foreign.close()

    def renew(self) -> None:
        """In a forked child: start with empty pools and fresh locks, and leave the parent's sockets alone."""
        self._adapter.renew()
        if isinstance(self.session.cookies, BoundedCookieJar):
            self.session.cookies.renew_lock()
        self._foreign = None

    def _mount(self) -> None:
        """Send through our adapter, unless the session's owner mounted one of their own."""
        if self._owned:
            self.session.mount("http://", self._adapter)
            self.session.mount("https://", self._adapter)
            return
        for prefix in {self._origin.text + "/", self._origin.explicit + "/"}:
            if type(self.session.get_adapter(prefix)) is HTTPAdapter:
                self.session.mount(prefix, self._adapter)

    def _elsewhere(self, url: str) -> tuple[requests.Session, dict[str, Any]]:
        """For a redirect to another origin: a session with no cookies, client certificate or credentials."""
        if self._foreign is None:
            verify = self._verify if isinstance(self._verify, bool | str | os.PathLike) else True
            foreign = requests.Session()
            foreign.trust_env = False
            foreign.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            adapter = Adapter(self._pool, shared_context(verify, None))
            foreign.mount("http://", adapter)
            foreign.mount("https://", adapter)
            self._foreign = foreign
        settings = {"verify": self.wire.settings["verify"], "cert": None, "proxies": self._proxies_for(url)}
        return self._foreign, settings

    def _proxies_for(self, url: str) -> dict[str, str]:
        """The proxies for `url`, empty where none of them applies."""
        merged = {scheme: proxy for scheme, proxy in self._proxies.items() if proxy}
        if not should_bypass_proxies(url, no_proxy=self._no_proxy):
            merged = {**self._environment_proxies, **merged}
        return merged if select_proxy(url, merged) else {}


def _new_session() -> requests.Session:
    session = requests.Session()
    session.cookies = BoundedCookieJar()
    return session
