"""aiohttp's connector, with sockets that close in time.

It overrides or calls documented parts of aiohttp: `connect`, and `close` of its connections. Where a private name is
used, there is another way for releases without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import aiohttp
import requests
from aiohttp.connector import Connection

from sleepwalker.clock import Clock
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport.addresses import Peer
from sleepwalker.transport.aio.deadline import AttemptDeadline, present
from sleepwalker.transport.aio.goodbye import Goodbye, goodbye_of
from sleepwalker.transport.aio.resolver import Resolver
from sleepwalker.transport.aio.seen import has_unread, is_off, weak
from sleepwalker.transport.keep_alive import AGE_JITTER

#: Seconds between two checks of idle sockets.
_SWEEP_EVERY = 1.0
#: Seconds. A socket that has been idle for no longer is not checked for unread bytes.
_JUST_NOW = 0.001


class Socket:
    """One connection to a server. Times are on the clock of its pool."""

    __slots__ = (
        "_pool",
        "_protocol",
        "_transport",
        "answered_at",
        "good_until",
        "goodbye",
        "idle_since",
        "kept",
        "old_at",
        "peer",
    )

    def __init__(self, pool: Connector, protocol: Any, peer: Peer, old_at: float) -> None:
        self._pool = pool
        self._protocol = weakref.ref(protocol)  # the pool knows this socket for as long as its protocol lives
        self._transport: Any = weak(protocol.transport)
        self.goodbye: Goodbye | None = goodbye_of(protocol) if pool.requires_goodbye else None
        """Notes how the connection ends, over TLS."""
        self.peer: Peer = peer
        self.old_at: float = old_at
        """When it is too old to be used again (`pool.max_age`)."""
        self.good_until: float = old_at
        """Until when it may be used again."""
        self.answered_at: float = -math.inf
        """When it brought its last response."""
        self.idle_since: float = math.inf
        """Since when it has been idle; infinity while it is in use."""
        self.kept: Connection | None = None
        """aiohttp's object for it, if it is not returned to aiohttp's pool but kept in ours."""

    def is_off(self) -> bool:
        """Whether it is closed, or unexpected bytes arrived."""
        protocol = self._protocol()
        ended = protocol is None or not protocol.is_connected() or (self.goodbye is not None and self.goodbye.ended)
        return ended or is_off(protocol)

    def close(self) -> None:
        """Close it at once."""
        protocol = self._protocol()
        if protocol is None:
            return
        self._pool.forget(protocol)
        kept, self.kept = self.kept, None
        # Aborted first: a close would wait for TLS's close_notify, for half a minute.
        transport = protocol.transport or self._transport()
        if transport is not None:
            transport.abort()
        if kept is not None:
            kept.close()
        protocol.close()

    def check_end(self, response: requests.Response) -> None:
        """MalformedResponse if the body of a response ended with the connection, without TLS announcing the end."""
        if self.goodbye is not None:
            self.goodbye.check(response)

    def done(self, now: float, keep_alive: float) -> None:
        """The response is complete; the server keeps the socket open for `keep_alive` seconds."""
        self.answered_at = now
        self.good_until = min(now + self._pool.max_idle, self.old_at, now + keep_alive)
        self.idle_since = now
        protocol = self._protocol()
        if protocol is not None:
            self._pool.rest(protocol, self, now)


class Connector(aiohttp.TCPConnector):
    """A pool of the sockets of one connection. It waits no longer than the requesting attempt."""

    def __init__(self, pool: PoolPolicy, context: ssl.SSLContext | bool, clock: Clock) -> None:
        super().__init__(
            ssl=context,
            limit=pool.size if pool.block else 0,
            keepalive_timeout=pool.idle,
            use_dns_cache=False,
            resolver=Resolver(),
            socket_factory=_open,
        )
        self._clock = clock
        self._size = pool.size
        self.max_idle: float = pool.idle
        self.requires_goodbye: bool = pool.require_close_notify
        self._max_age = math.inf if pool.max_age is None else pool.max_age
        self._known: weakref.WeakKeyDictionary[Any, Socket] = weakref.WeakKeyDictionary()
        self._resting: dict[Any, Socket] = {}
        self._kept: deque[Socket] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self.template: Any = None
        """An aiohttp request to the connection's own origin: a socket connected for it serves any other one there."""
        self.retired: bool = False
        """Whether no socket is kept any more."""

    async def connect(self, req: Any, *args: Any, **kwargs: Any) -> Connection:
        """A connection for a request: a reusable idle one, or a new one."""
        deadline = present()
        if deadline is None:
            return await super().connect(req, *args, **kwargs)
        count_send(deadline)
        deadline.phase = "queue"
        if deadline.proven_since == math.inf:
            self.close_idle()
        aside: list[Connection] = []
        try:
            while True:
                kept = self._next_kept()
                conn = await super().connect(req, *args, **kwargs) if kept is None else kept
                used = self._taken(conn, deadline)
                if used is not None:
                    break
                if conn.protocol is not None and conn.protocol.is_connected():
                    aside.append(conn)  # good, but for another attempt
        finally:
            for other in aside:
                self._put_back(other)
        if self.template is None and not req.proxy:
            self.template = req
        deadline.connected(used)
        return conn

    def at_hand(self, deadline: AttemptDeadline) -> Connection | None:
        """What `connect` would return from this pool at once. It serves the first attempt of most calls."""
        if deadline.avoid or deadline.proven_since != -math.inf:
            return None
        conn = self._next_kept()
        used = None if conn is None else self._taken(conn, deadline)
        if used is None:
            return None
        deadline.connects = 1
        deadline.connected(used)
        return conn

    def keep(self, conn: Connection, used: Any) -> bool:
        """Make a connection return to this pool, not to aiohttp's, which takes more steps. Returns whether it will.

        If the number of sockets is limited, aiohttp must know which are idle.
        """
        if self.limit or not isinstance(used, Socket):
            return False
        used.kept = conn
        return True

    def _next_kept(self) -> Connection | None:
        """The socket that has been idle longest, so that no machine behind an address is favoured.

        None while aiohttp's own pool has idle sockets: each of those is used once, and then comes here.
        """
        self._forget_closed()
        if self._resting:
            return None
        while self._kept:
            known = self._kept.popleft()
            conn, known.kept = known.kept, None
            if conn is not None and conn.protocol is not None and conn.protocol.is_connected():
                return conn
            if conn is not None:
                conn.close()
        return None

    def _taken(self, conn: Connection, deadline: AttemptDeadline) -> Socket | None:
        """The socket of a connection; None if this attempt must not use it. It is closed if no other may, either."""
        protocol, now = conn.protocol, self._clock.monotonic()
        deadline.taken_from, deadline.taken_at = self, now
        known = self._known.get(protocol)
        if known is None:
            share = 1 - AGE_JITTER + 2 * AGE_JITTER * self._clock.random()
            known = self._known[protocol] = Socket(self, protocol, _peer_of(conn), now + self._max_age * share)
            deadline.reused = False
            return known
        self._resting.pop(protocol, None)
        idle_since, known.idle_since = known.idle_since, math.inf
        if now >= known.good_until or known.answered_at < deadline.proven_since or known.is_off():
            conn.close()
            return None
        if now - idle_since > _JUST_NOW and has_unread(conn):
            conn.close()
            return None
        if deadline.avoid and not known.peer.differs_from(deadline.avoid):
            if self.limit:
                conn.close()  # while it is held, no other may be opened
            else:
                known.idle_since = idle_since
            return None
        deadline.reused = True
        return known

    def _put_back(self, conn: Connection) -> None:
        known = self._known.get(conn.protocol)
        if known is not None:
            self._resting[conn.protocol] = known
        conn.release()

    def rest(self, protocol: Any, known: Socket, now: float) -> None:
        """Keep a socket for reuse. It is closed instead if it is old, or if enough are kept."""
        conn = known.kept
        if not protocol.is_connected() or now >= known.good_until or self.retired or self._is_full():
            known.close()
        elif conn is None:
            self._resting[protocol] = known
        elif is_off(protocol):
            known.close()
        else:
            self._kept.append(known)
        if self._sweeper is None and (self._kept or self._resting):
            self._sweep_later()

    def _sweep_later(self) -> None:
        # By a weak reference: a pool that is dropped is gone at once, with its sockets.
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_EVERY, _sweep, weakref.ref(self))

    def sweep(self) -> None:
        """Close idle sockets that are too old, or that receive data, which would fill the memory."""
        self._sweeper, now = None, self._clock.monotonic()
        self._close_where(lambda known: now >= known.good_until or known.is_off())
        if self._kept or self._resting:
            self._sweep_later()

    def _is_full(self) -> bool:
        """Whether the most sockets allowed are idle."""
        if len(self._resting) + len(self._kept) < self._size:
            return False
        self._forget_closed()
        return len(self._resting) + len(self._kept) >= self._size

    def _forget_closed(self) -> None:
        """Forget sockets of aiohttp's pool that were closed meanwhile."""
        for protocol in [protocol for protocol in self._resting if not protocol.is_connected()]:
            del self._resting[protocol]

    def forget(self, protocol: Any) -> None:
        """Note that a socket is closed."""
        self._resting.pop(protocol, None)

    def close_idle(self, before: float = math.inf) -> None:
        """Close the sockets that have been idle since `before`."""
        self._close_where(lambda known: known.idle_since < before)

    def _close_where(self, wrong: Callable[[Socket], bool]) -> None:
        for known in [*self._resting.values(), *self._kept]:
            if wrong(known):
                known.close()
        self._kept = deque(known for known in self._kept if known.kept is not None)

    def retire(self) -> None:
        """Close idle sockets and keep none from now on."""
        self.retired = True
        self.close_idle()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def closed_here(self) -> bool:
        """Close it at once. Returns False, and does nothing, if this aiohttp release cannot.

        Its `close` leaves a task that waits for the sockets. If the loop ends next, it would report a destroyed task.
        """
        with contextlib.suppress(AttributeError, TypeError):
            self._close(abort_ssl=True)
        return self.closed


def count_send(deadline: AttemptDeadline) -> None:
    """A request is about to be sent. ServerDisconnectedError if it was sent already.

    aiohttp would send an idempotent request again if its socket broke. Here the policy decides that.
    """
    deadline.connects += 1
    if deadline.connects > 1:
        raise aiohttp.ServerDisconnectedError


def _sweep(ref: weakref.ref[Connector]) -> None:
    if (pool := ref()) is not None:
        pool.sweep()


def _open(info: tuple[Any, ...]) -> socket.socket:
    """A new socket for an address, which the attempt's deadline notes."""
    family, kind, protocol, _, _ = info
    sock = socket.socket(family, kind, protocol)
    deadline = present()
    if deadline is not None:
        deadline.begin_connect()
        deadline.opened = sock
    return sock


def _peer_of(conn: Connection) -> Peer:
    transport = conn.transport
    address = None if transport is None else transport.get_extra_info("peername")
    deadline = present()
    return Peer(address, several=deadline is not None and deadline.several)
