"""The route to one origin: its aiohttp session, made for the first calling loop, and its settings."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests

from sleepwalker.clock import Clock
from sleepwalker.events import TLSFilesNotLoaded
from sleepwalker.exceptions import RedirectError, URLError
from sleepwalker.policy import PoolPolicy
from sleepwalker.telemetry.log import emit
from sleepwalker.transport.aio import fast_path
from sleepwalker.transport.aio.attempt import Sender
from sleepwalker.transport.aio.deadline import present
from sleepwalker.transport.aio.fast_path import FastPath
from sleepwalker.transport.aio.session import Client
from sleepwalker.transport.aio.sockets import Connector, count_send
from sleepwalker.transport.cookies import BoundedCookieJar
from sleepwalker.transport.framing import LONGEST_LINE
from sleepwalker.transport.headers import Checked
from sleepwalker.transport.proxies import Proxies, check_proxies
from sleepwalker.transport.route import dress
from sleepwalker.transport.tls import environment_ca, renewed_context, shared_context
from sleepwalker.transport.url import Origin, origin_of

#: Headers that aiohttp must not add: the headers of a request are decided where it is made.
_NO_HEADERS_OF_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
#: Bytes of certificates that are read in a millisecond or so.
_QUICK = 20_000
#: Seconds between two checks whether the files of certificates were replaced.
_LOOK_AGAIN = 1.0


class Route:
    """Owns the session and settings of a connection. The environment is read here, once."""

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
        self.session: requests.Session = requests.Session()
        """Never sends: it has the common headers, parameters and cookies, as that of a blocking connection."""
        dress(self.session)
        if session is not None:
            self.session.headers.update(session.headers)
        ways = Proxies(check_proxies(proxies), trust_env=True)
        if verify is True:
            verify = environment_ca(os.environ) or True
        proxy = _proxy_of(ways, origin)
        self.proxied: bool = proxy is not None
        clients = _Clients(origin, session, pool, clock, (verify, cert), ways, proxy)
        self.clients: _Clients = clients
        self.sender: Sender = Sender(origin, clients, self.session.cookies, clock, Checked())

    def make_ready(self, prepared: requests.PreparedRequest) -> None:
        """A request needs nothing more."""

    @property
    def client_session(self) -> aiohttp.ClientSession | None:
        """The session for requests; None before the first."""
        return self.clients.session

    def close(self) -> None:
        """Close idle sockets and keep none from now on."""
        self.clients.retire()

    def end(self) -> None:
        """Close all sockets; call it when none is in use. A caller's session stays open."""
        self.clients.end()

    def renew(self) -> None:
        """In a forked child: start without a session, and leave the parent's sockets alone."""
        self.clients.leave_to_parent()
        if isinstance(self.session.cookies, BoundedCookieJar):
            self.session.cookies.renew_lock()


class _Clients:
    """The aiohttp sessions of one connection, made for the loop that asks for them.

    It does not refer to the route: a dropped connection is freed at once, with its sockets, only if it has no reference
    cycle. Its methods are called in the thread of the loop.
    """

    def __init__(
        self,
        origin: Origin,
        given: aiohttp.ClientSession | None,
        pool: PoolPolicy,
        clock: Clock,
        trust: tuple[Any, Any],
        ways: Proxies,
        proxy: str | None,
    ) -> None:
        """`given` is the caller's own session; `trust` are `verify` and `cert`."""
        self._origin = origin
        self._secure = origin.scheme == "https" or (proxy or "").lower().startswith("https:")
        self._given = given
        self._pool = pool
        self._clock = clock
        self._verify, self._cert = trust
        # Most contexts are made from a large file of certificates. It is read when it is needed, in a thread: here a
        # loop may be running.
        self._context = None if _takes_long(*trust) else shared_context(*trust)
        self._looked_at = -math.inf
        self._ways = ways
        self._proxy = proxy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._here: Client | None = None
        self._elsewhere: aiohttp.ClientSession | None = None
        self._retired = False

    @property
    def session(self) -> aiohttp.ClientSession | None:
        """The session for requests; None before the first."""
        return self._given if self._given is not None or self._here is None else self._here.session

    def at_hand(self, loop: asyncio.AbstractEventLoop) -> Client | None:
        """The client of the connection's own origin in a loop, if it exists and is up to date."""
        if loop is not self._loop or (self._secure and self._clock.monotonic() - self._looked_at >= _LOOK_AGAIN):
            return None
        return self._here

    async def here(self) -> Client:
        """The client of the connection's own origin, created for the running loop."""
        loop, client = asyncio.get_running_loop(), self._here
        if client is None or loop is not self._loop:
            client = await self._begun(loop)
        if self._secure and client.ours is not None:
            self._looked_at = self._clock.monotonic()
            context = await self._tls()
            if context is not client.settings.get("ssl"):
                client.settings["ssl"], client.ours.template = context, None
                client.ours.close_idle()  # aiohttp would not use them again
        return client

    async def elsewhere(self, url: str) -> Client:
        """A client for a redirect to another origin, without cookies, client certificate and credentials.

        RedirectError if that origin could not be verified as strictly as our own.
        """
        if isinstance(self._verify, ssl.SSLContext) and url.lower().startswith("https:"):
            raise RedirectError(
                f"{self._origin}: a redirect to another origin ({origin_of(url)}) is not followed, because verify is "
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
                f"{self._origin}: this connection is in use in another event loop that is still open: make one "
                "connection per loop"
            )
        context = await self._tls() if self._secure and self._given is None else True
        if self._here is not None and self._loop is loop:
            return self._here  # another task was quicker
        self.end()
        session = self._session(context) if self._given is None else self._given
        ours = session.connector if self._given is None and isinstance(session.connector, Connector) else None
        settings: dict[str, Any] = {} if self._proxy is None else {"proxy": self._proxy}
        if self._given is not None:
            settings["skip_auto_headers"] = _NO_HEADERS_OF_AIOHTTP
            middlewares = getattr(session, "_middlewares", None)  # those of a request stand instead of the session's
            if isinstance(middlewares, list | tuple):
                settings["middlewares"] = (_once, *middlewares)
            if self._context is not None:
                settings["ssl"] = self._context
        client = Client(session, settings, ours, _shown(self._proxy))
        if ours is not None and self._proxy is None and fast_path.is_open(session, self._origin.text):
            client.fast = FastPath(ours, session, settings, self._origin.text, self._origin.netloc)
        self._loop, self._here = loop, client
        return client

    async def _tls(self) -> ssl.SSLContext:
        """The context for new sockets. A bundle of certificates takes a while to load, so a thread does that."""
        context = self._context
        if context is None:
            context = await asyncio.to_thread(shared_context, self._verify, self._cert)
            self._context = context
        context, fault = renewed_context(context)
        if fault is not None:
            emit(TLSFilesNotLoaded(self._origin.text, fault))
        return context

    def _session(self, context: ssl.SSLContext | bool) -> aiohttp.ClientSession:
        connector = Connector(self._pool, context, self._clock)
        connector.retired = self._retired
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NO_HEADERS_OF_AIOHTTP,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        # Only the policy decides what is sent again. If this is renamed, the connector refuses (`count_send`).
        if getattr(session, "_retry_connection", None) is True:
            session._retry_connection = False
        return session

    def retire(self) -> None:
        """Close idle sockets and keep none from now on."""
        self._retired = True
        if self._loop is not None and self._loop.is_closed():
            self.end()
        for session in self._sessions():
            if isinstance(session.connector, Connector):
                session.connector.retire()

    def end(self) -> None:
        """Close all sockets; call it when none is in use."""
        connectors, loop = _detached(self._sessions()), self._loop
        self._forget()
        if loop is not None:
            _end(connectors, loop)

    def __del__(self) -> None:
        # The connection was dropped without being closed: close its sockets, as for a blocking one.
        loop = getattr(self, "_loop", None)
        if loop is None:
            return
        connectors = _detached(self._sessions())
        try:
            loop.call_soon_threadsafe(_end, connectors, loop)
        except RuntimeError:  # it is closed
            _end(connectors, loop)

    def leave_to_parent(self) -> None:
        """In a forked child: start without a session."""
        _of_parents.extend(self._sessions())
        self._forget()

    def _forget(self) -> None:
        self._here = self._elsewhere = self._loop = None

    def _sessions(self) -> list[aiohttp.ClientSession]:
        """The sessions that are ours to close."""
        here = None if self._here is None or self._given is not None else self._here.session
        return [session for session in (here, self._elsewhere) if session is not None]


#: Sessions of the processes that this one was forked from. Closing one could end its connections there.
_of_parents: list[aiohttp.ClientSession] = []


def _detached(sessions: list[aiohttp.ClientSession]) -> list[aiohttp.BaseConnector]:
    """The connectors of sessions, which are closed without them."""
    connectors = [session.connector for session in sessions]
    for session in sessions:
        session.detach()
    return [connector for connector in connectors if connector is not None]


def _end(connectors: list[aiohttp.BaseConnector], loop: asyncio.AbstractEventLoop) -> None:
    """Close their sockets without waiting for TLS's close_notify. In a closed loop they go with its transports."""
    for connector in connectors:
        if isinstance(connector, Connector):
            if not loop.is_closed():
                connector.retire()
            if connector.closed_here():
                continue
        closing = connector.close().__await__()
        with contextlib.suppress(StopIteration):
            next(closing)


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """The first middleware for a caller's session, which would send an idempotent request again by itself."""
    deadline = present()
    if deadline is not None:
        count_send(deadline)
    return await handler(request)


def _takes_long(verify: Any, cert: Any) -> bool:
    """Whether a context is made from a bundle of many certificates, and from nothing else that may be wrong."""
    if cert is not None or not (verify is True or isinstance(verify, str | os.PathLike)):
        return False
    with contextlib.suppress(OSError, ValueError):  # what is wrong with it is said where it is read
        return verify is True or Path(verify).stat().st_size > _QUICK
    return False


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
