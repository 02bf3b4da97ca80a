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
from sleepwalker.exceptions import RedirectError
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport.adapter import Adapter
from sleepwalker.transport.cookies import BoundedCookieJar
from sleepwalker.transport.exchange import Wire
from sleepwalker.transport.headers import Checked
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
        if verify is True and not isinstance(self.session.verify, bool | None):
            verify = self.session.verify
        if verify is True and trusts:
            verify = environment_ca(os.environ) or True
        cert = cert if cert is not None else self.session.cert
        # Made for http as well, so that a wrong argument is found here rather than after a move to https.
        context = shared_context(verify, cert)
        # As requests' own adapters know them: True, False or text, and text or a tuple of it.
        if isinstance(verify, os.PathLike):
            verify = os.fspath(verify)
        cert = tuple(map(_as_text, cert)) if isinstance(cert, list | tuple) else _as_text(cert)
        self._verify = verify
        self._prefixes = {origin.text + "/", origin.explicit + "/"}
        mounted = None if session is None else session.get_adapter(origin.text + "/")
        self._adapter = mounted if isinstance(mounted, Adapter) else Adapter(pool, context, verify, cert)
        if session is not None and isinstance(verify, ssl.SSLContext):
            self._check_context_arrives(session)
        self._foreign: requests.Session | None = None
        used = self._proxies.for_origin(origin)
        self.proxied = bool(used)
        settings = {"verify": verify, "cert": cert, "proxies": used}
        self.wire = Wire(origin, self.session, settings, self._elsewhere, clock, Checked())

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

    def _check_context_arrives(self, session: requests.Session) -> None:
        """ValueError where the owner of the session mounted an adapter of requests' kind, which takes no context.

        It is to be told True, False or a path, so the context would be left out, and with it the CA that the caller
        pinned or a client certificate. An adapter of another kind (a mock, another library's) is handed the context.
        """
        # A plain one for the host as a whole is replaced by ours; one for a part of its paths is not.
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
                    "requests tells its adapters True, False or a path. Pass the path of a CA bundle (and cert=), "
                    "mount a plain requests.adapters.HTTPAdapter for all of this host, or let the adapter bring the "
                    "context itself and leave verify out"
                )

    def _elsewhere(self, url: str) -> tuple[requests.Session, dict[str, Any]]:
        """For a redirect to another origin: a session with no cookies, client certificate or credentials.

        RedirectError where it would be trusted by other certificates than our own origin is.
        """
        verify = self._verify
        if isinstance(verify, ssl.SSLContext):
            if url.lower().startswith("https:"):
                raise RedirectError(
                    f"{self._origin}: a redirect to another origin ({origin_of(url)}) is not followed, for verify is "
                    "an SSLContext: it may hold a client certificate, and no other says whom to trust there. Ask that "
                    "origin through a connection of its own, or pass the path of a CA bundle as verify"
                )
            verify = True  # of no use over http
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


def _as_text(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


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
