"""The route to one origin: its aiohttp session, made for the loop that first calls, and settings, made once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests

from sleepwalker.clock import Clock
from sleepwalker.exceptions import RedirectError, URLError
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport.aio.attempt import Sender
from sleepwalker.transport.aio.sockets import Connector
from sleepwalker.transport.cookies import BoundedCookieJar
from sleepwalker.transport.headers import Checked
from sleepwalker.transport.proxies import Proxies, check_proxies
from sleepwalker.transport.route import dress
from sleepwalker.transport.tls import environment_ca, renewed_context, shared_context
from sleepwalker.transport.url import Origin, origin_of

#: aiohttp adds none of its own: what a request carries is decided where it is made.
_NO_HEADERS_OF_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
#: Seconds between two looks whether the files of certificates were replaced.
_LOOK_AGAIN = 1.0


@dataclass(slots=True)
class Client:
    """Where a request goes through."""

    session: aiohttp.ClientSession
    settings: dict[str, Any]
    """Further arguments of `ClientSession.request`."""
    ours: Connector | None
    """The session's connector, if that is ours."""
    proxy: str | None
    """Host and port of its proxy."""


class Route:
    """Owns the session and settings of a connection. The environment is read here and never again.

    All of its methods are called in the thread of the loop, but for the constructor and `renew`.
    """

    awaits = True

    def __init__(
        self,
        origin: Origin,
        session: aiohttp.ClientSession | None,
        pool: PoolPolicy,
        clock: Clock,
        *,
        verify: Any,
        cert: Any,
        proxies: Mapping[str, str] | None,
    ) -> None:
        self._origin = origin
        self._pool = pool
        self._clock = clock
        self._given = session
        self.session = requests.Session()
        """Never sends: it has the common headers, parameters and cookies, as that of a blocking connection."""
        dress(self.session)
        if session is not None:
            self.session.headers.update(session.headers)
        ways = Proxies(check_proxies(proxies), trust_env=True)
        if verify is True:
            verify = environment_ca(os.environ) or True
        self._verify, self._cert = verify, cert
        # That of most connections takes a file of certificates, which is read when it is needed: a loop may be running.
        self._context = None if verify is True and cert is None else shared_context(verify, cert)
        self._looked_at = -math.inf
        self._ways = ways
        self._proxy = _proxy_of(ways, origin)
        self.proxied: bool = self._proxy is not None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._here: Client | None = None
        self._elsewhere: aiohttp.ClientSession | None = None
        self._foreign_context: ssl.SSLContext | bool = True
        self._retired = False
        self.sender = Sender(origin, self, self.session.cookies, clock, Checked())

    def make_ready(self, prepared: requests.PreparedRequest) -> None:
        """A request needs nothing more."""

    # -- for attempts

    async def here(self) -> Client:
        """The client of the connection's own origin, made for the running loop."""
        loop, client = asyncio.get_running_loop(), self._here
        if client is None or loop is not self._loop:
            client = await self._begun(loop)
        if self._origin.scheme == "https" and client.ours is not None:
            now = self._clock.monotonic()
            if now - self._looked_at >= _LOOK_AGAIN:
                self._looked_at = now
                client.settings["ssl"] = await self._tls()
        return client

    async def elsewhere(self, url: str) -> Client:
        """A client for the URL of a redirect to another origin, without cookies, client certificate and credentials.

        RedirectError where that origin could not be verified as strictly as our own.
        """
        if isinstance(self._verify, ssl.SSLContext) and url.lower().startswith("https:"):
            raise RedirectError(
                f"{self._origin}: a redirect to another origin ({origin_of(url)}) is not followed, for verify is "
                "an SSLContext, which may hold a client certificate. Make a connection to that origin, or pass the "
                "path of a CA bundle as verify"
            )
        if self._elsewhere is None:
            verify = True if isinstance(self._verify, ssl.SSLContext) else self._verify
            context = await asyncio.to_thread(shared_context, verify, None)
            if self._elsewhere is None:
                self._elsewhere = self._session(context)
        session = self._elsewhere
        proxy = _proxy_of(self._ways, origin_of(url))
        settings = {} if proxy is None else {"proxy": proxy}
        ours = session.connector if isinstance(session.connector, Connector) else None
        return Client(session, settings, ours, _shown(proxy))

    async def _begun(self, loop: asyncio.AbstractEventLoop) -> Client:
        if self._loop is not None and self._loop is not loop and not self._loop.is_closed():
            raise RuntimeError(
                f"{self._origin}: this connection is used in another event loop, which has not ended: "
                "make a connection for each loop"
            )
        context = await self._tls() if self._origin.scheme == "https" and self._given is None else True
        if self._here is not None and self._loop is loop:
            return self._here  # another task was quicker
        self._forget()
        session = self._session(context) if self._given is None else self._given
        ours = session.connector if self._given is None and isinstance(session.connector, Connector) else None
        settings: dict[str, Any] = {} if self._proxy is None else {"proxy": self._proxy}
        if self._given is not None and (self._context is not None):
            settings["ssl"] = self._context
        self._loop, self._here = loop, Client(session, settings, ours, _shown(self._proxy))
        return self._here

    async def _tls(self) -> ssl.SSLContext:
        """The context for new sockets. A bundle of certificates takes a while to load, so a thread does that."""
        context = self._context
        if context is None:
            context = await asyncio.to_thread(shared_context, self._verify, self._cert)
            self._context = context
        return renewed_context(context)[0]

    def _session(self, context: ssl.SSLContext | bool) -> aiohttp.ClientSession:
        connector = Connector(self._pool, context, self._clock)
        connector.retired = self._retired
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NO_HEADERS_OF_AIOHTTP,
            auto_decompress=False,
        )
        # What is sent again is for the policy to say. The connector sees to it where this has another name.
        if getattr(session, "_retry_connection", None) is True:
            session._retry_connection = False
        return session

    # -- the end

    @property
    def client_session(self) -> aiohttp.ClientSession | None:
        """The one that requests go through; None before the first."""
        return self._given if self._given is not None or self._here is None else self._here.session

    def close(self) -> None:
        """Close idle sockets, and keep none from now on."""
        self._retired = True
        for session in self._sessions():
            if isinstance(session.connector, Connector):
                session.connector.retire()

    def end(self) -> None:
        """Close all sockets; to be called when none is in use. A session of the caller's stays open."""
        connectors = _detached(self._sessions())
        self._forget()
        _end(connectors)

    def __del__(self) -> None:
        # Of a connection that was dropped without being closed: its sockets go, as those of a blocking one do.
        loop = getattr(self, "_loop", None)
        if loop is None or loop.is_closed():
            return
        connectors = _detached(self._sessions())
        with contextlib.suppress(RuntimeError):  # the loop was closed just now
            loop.call_soon_threadsafe(_end, connectors)

    def renew(self) -> None:
        """In a forked child: begin with no session, and leave the parent's sockets alone."""
        _of_parents.extend(self._sessions())
        self._forget()
        if isinstance(self.session.cookies, BoundedCookieJar):
            self.session.cookies.renew_lock()

    def _forget(self) -> None:
        self._here = self._elsewhere = self._loop = None

    def _sessions(self) -> list[aiohttp.ClientSession]:
        """Those that are ours to close."""
        here = None if self._here is None or self._given is not None else self._here.session
        return [session for session in (here, self._elsewhere) if session is not None]


#: Of processes that this one was forked from. Closing one would end what its sockets carry there.
_of_parents: list[aiohttp.ClientSession] = []


def _detached(sessions: list[aiohttp.ClientSession]) -> list[aiohttp.BaseConnector]:
    """The connectors of sessions, which are closed without them."""
    connectors = [session.connector for session in sessions]
    for session in sessions:
        session.detach()
    return [connector for connector in connectors if connector is not None]


def _end(connectors: list[aiohttp.BaseConnector]) -> None:
    """Close their sockets without waiting for the goodbyes of TLS."""
    for connector in connectors:
        closing = connector.close().__await__()
        with contextlib.suppress(StopIteration):
            next(closing)


def _proxy_of(ways: Proxies, origin: Origin) -> str | None:
    proxy = ways.for_origin(origin).get(origin.scheme)
    if proxy is not None and proxy.lower().startswith("socks"):
        raise URLError(
            f"{origin}: its proxy is a SOCKS proxy, which asyncio's connections cannot use: pass an http proxy in "
            "proxies=, or use the blocking Connection"
        )
    return proxy


def _shown(proxy: str | None) -> str | None:
    """Host and port of a proxy's URL, without the credentials in it."""
    return None if proxy is None else urlsplit(proxy).netloc.rpartition("@")[2]
