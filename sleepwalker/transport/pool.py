"""Sockets: connections, pools and the requests adapter that keep to an attempt's limits.

Used without limits (somebody sends through the session by hand) they behave as urllib3's and requests' own.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import queue
import socket
import ssl
import sys
from typing import Any, Self

import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
from urllib3.util.request import SKIP_HEADER
from urllib3.util.url import parse_url

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport import straight
from sleepwalker.transport.deadline import AddressInfo, Limits, current_limits, resolve
from sleepwalker.transport.grip import Grip
from sleepwalker.transport.head import Response
from sleepwalker.transport.tls import shared_context

_now = SYSTEM_CLOCK.monotonic
#: What no grip can end is waited for in slices of so many seconds, where an attempt may be cancelled.
_SLICE = 0.02


class _Target(str):
    """A request target that shows only its path to whoever logs it; `full` goes on the wire."""

    full: str

    def __new__(cls, full: str) -> Self:
        target = super().__new__(cls, full.partition("?")[0])
        target.full = full
        return target


class _Limited(urllib3.connection.HTTPConnection):
    """A connection whose every wait is bounded by the attempt under way."""

    response_class = Response
    idle_since = 0.0
    """When it last came back to its pool, on the monotonic clock."""
    grip: Grip | None = None
    """The last one that took hold of its socket."""
    has_left_over = False
    """Whether the server has sent more than it was asked for, where looking at the socket does not tell."""

    def connect(self) -> None:
        limits = current_limits()
        if limits is not None:
            limits.begin_connect()
        super().connect()
        if limits is not None:
            limits.phase = "send"

    def _new_conn(self) -> socket.socket:
        limits = current_limits()
        if limits is None:
            return super()._new_conn()
        try:
            sock = self._open(limits)
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        sys.audit("http.client.connect", self, self.host, self.port)
        if isinstance(self, urllib3.connection.HTTPSConnection):
            limits.phase = "tls"
        return sock

    def _open(self, limits: Limits) -> socket.socket:
        addresses = self._resolve(limits)
        failure: OSError | None = None
        for left_over, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            left = limits.left()
            try:
                # An address that never answers must leave time for the ones behind it.
                return self._open_address(address, left / 2 if left_over else left, limits)
            except OSError as error:
                failure = error
        raise failure if failure is not None else OSError("the name has no address")

    def _resolve(self, limits: Limits) -> list[AddressInfo]:
        host = self._dns_host.strip("[]")
        while limits.grip is not None:
            with contextlib.suppress(TimeoutError):
                return resolve(host, self.port, min(_SLICE, limits.left()))
            limits.left()
        return resolve(host, self.port, limits.left())

    def _hold(self, grip: Grip, sock: socket.socket) -> None:
        self.grip = grip
        grip.take(self, sock)

    def _open_address(self, address: AddressInfo, timeout: float, limits: Limits) -> socket.socket:
        family, kind, protocol, _, target = address
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            if self.source_address:
                sock.bind(self.source_address)
            if limits.grip is not None:
                self._hold(limits.grip, sock)
                limits.left()  # looked at once it is held: whoever cancels us shuts it down, or we see it
            sock.settimeout(timeout)
            sock.connect(target)
            sock.settimeout(limits.left())
        except BaseException:
            sock.close()
            raise
        return sock

    def begin_to_send(self, limits: Limits) -> None:
        """From here on an attempt sends, on a socket that is there or on the one that it opens."""
        limits.phase = "send"
        if limits.grip is not None and limits.grip is not self.grip and self.sock is not None:
            self._hold(limits.grip, self.sock)

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        limits = current_limits()
        if limits is not None:
            self.begin_to_send(limits)
        target = url.full if isinstance(url, _Target) else url
        super().putrequest(method, target, skip_host=skip_host, skip_accept_encoding=skip_accept_encoding)

    def putheader(self, header: str, *values: str) -> None:  # type: ignore[override]
        if len(values) == 1 and values[0] != SKIP_HEADER:
            # Past urllib3's look for its mark among the values; http.client still checks name and value.
            http.client.HTTPConnection.putheader(self, header, values[0])
        else:
            super().putheader(header, *values)

    def send(self, data: Any) -> None:
        limits = current_limits()
        if limits is None or self.debuglevel or not isinstance(data, bytes | bytearray | memoryview):
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        sys.audit("http.client.send", self, data)
        left = memoryview(data).cast("B")
        while left:
            self.sock.settimeout(limits.left())
            left = left[self.sock.send(left) :]

    def getresponse(self) -> Any:
        limits = current_limits()
        if limits is not None:
            limits.phase = "head"
        return super().getresponse()


class _LimitedTLS(_Limited, urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    @property
    def has_left_over(self) -> bool:  # type: ignore[override]
        pending = getattr(self.sock, "pending", None)  # TLS within the TLS of a proxy has none
        return pending is not None and pending() > 0


class _OpenOnesFirst(queue.LifoQueue[Any]):
    """The free places of a pool: those with an open socket first, the one used last before all.

    urllib3 would hand out the place of a socket that was just closed, and open another one beside those that wait.
    What needs no wait takes no more than the lock: nobody waits to give a place back, and nobody joins this queue.
    """

    _waiting = 0

    def take_open(self) -> Any:
        """The open connection that was used last; None where there is none."""
        with self.mutex:
            return self.queue.pop() if self.queue and getattr(self.queue[-1], "sock", None) is not None else None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self.mutex:
            if self.queue:
                return self.queue.pop()
            self._waiting += 1
        try:
            return super().get(block, timeout)
        finally:
            with self.mutex:
                self._waiting -= 1

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        with self.mutex:
            if not self._waiting and len(self.queue) < self.maxsize:
                self._put(item)
                return
        super().put(item, block, timeout)

    def _put(self, item: Any) -> None:
        if getattr(item, "sock", None) is None:
            self.queue.insert(0, item)
        else:
            self.queue.append(item)


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    """A pool that waits no longer than the attempt and does not reuse sockets idle for more than `max_idle` seconds."""

    ConnectionCls = _Limited
    QueueCls = _OpenOnesFirst
    max_idle = float("inf")

    @functools.cached_property
    def host_field(self) -> str:
        """The value of the Host header, as http.client writes it."""
        host = f"[{self.host.strip('[]')}]" if ":" in self.host else self.host.rstrip(".")
        return host if self.port in (None, self.ConnectionCls.default_port) else f"{host}:{self.port}"

    def _get_conn(self, timeout: float | None = None) -> Any:
        limits = current_limits()
        if limits is not None:
            limits.phase = "queue"
            timeout = self._left(limits)
        free = self.pool
        try:
            if limits is not None and limits.grip is not None and self.block:
                conn = self._get_conn_in_slices(limits)
            else:
                conn = super()._get_conn(timeout)
        except urllib3.exceptions.ClosedPoolError:
            conn = self._new_conn()  # closed since this request began: it finishes on a socket of its own
        if self.pool is None and self.block:
            self._wake(free)
        if isinstance(conn, _Limited) and conn.sock is not None and self._is_stale(conn):
            conn.close()  # opened anew on use
        return conn

    def take_open(self) -> Any:
        """An open connection, fit for a request sent as it is; None where that takes more than a look."""
        free: Any = self.pool
        conn = None if free is None else free.take_open()
        if conn is None:
            return None
        if isinstance(conn, _Limited):
            if not conn.is_connected or self._is_stale(conn):
                conn.close()
            elif not conn.debuglevel and conn.proxy is None:
                return conn
        self._put_conn(conn)
        return None

    def _is_stale(self, conn: _Limited) -> bool:
        """Whether an open connection is better opened anew: the server is likely to close an old one while we send."""
        return _now() - conn.idle_since > self.max_idle or conn.has_left_over

    def _get_conn_in_slices(self, limits: Limits) -> Any:
        while True:
            with contextlib.suppress(urllib3.exceptions.EmptyPoolError, TimeoutError):
                return super()._get_conn(min(_SLICE, limits.left()))
            self._left(limits)

    def _left(self, limits: Limits) -> float:
        """Seconds to wait for a place. At any other error than this urllib3 gives one back that it never had."""
        try:
            return limits.left()
        except TimeoutError as error:
            raise urllib3.exceptions.EmptyPoolError(self, "no time left to wait for a connection") from error

    def _put_conn(self, conn: Any) -> None:
        if isinstance(conn, _Limited):
            conn.idle_since = _now()
            if conn.grip is not None:
                grip, conn.grip = conn.grip, None
                if grip.release(conn):
                    conn.close()  # opened anew on use
        super()._put_conn(conn)

    def close(self) -> None:
        free = self.pool
        super().close()
        if self.block:
            self._wake(free)

    def _wake(self, free: Any) -> None:
        """Let one request go on that waits for a connection of a pool now closed; it wakes the next one."""
        with contextlib.suppress(AttributeError, queue.Full):
            free.put(None, block=False)

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super()._make_request(conn, method, _Target(url), *args, **kwargs)


class _PoolTLS(_Pool, urllib3.connectionpool.HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _LimitedTLS


@functools.lru_cache(maxsize=256)
def _pool_classes(max_idle: float) -> dict[str, type[_Pool]]:
    attributes = {"max_idle": max_idle}
    return {"http": type("Pool", (_Pool,), attributes), "https": type("PoolTLS", (_PoolTLS,), attributes)}


class Adapter(requests.adapters.HTTPAdapter):
    """The way from a requests session to the sockets of one host, with TLS settings made once.

    `send` is requests' own, so what patches or wraps an adapter sees every request. `verify` and `cert` are the
    settings that `context` was made of. A session's owner, or another connection through the same session, may send
    with others: then those hold.
    """

    def __init__(self, pool: PoolPolicy, context: ssl.SSLContext | None, verify: Any = True, cert: Any = None) -> None:
        self._max_idle = pool.idle
        self._context = context
        self._made_of = (verify, cert)
        super().__init__(pool_connections=4, pool_maxsize=pool.size, pool_block=pool.block)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self._pools: dict[str, Any] = {}
        pool_kwargs.update(_tls_options(self._context))
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = _pool_classes(self._max_idle)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not known and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _pool_classes(self._max_idle)
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        limits, url = current_limits(), request.url or ""
        if limits is not None and not proxies and (verify, cert) == self._made_of:
            path = url.find("/", 8)
            pool = self._pools.get(url[:path])
            if pool is not None:
                response = straight.send(self, pool, request, url[path:], limits)
                if response is not None:
                    return response
        return super().send(request, stream, timeout, verify, cert, proxies)

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        url = request.url or ""
        if (verify, cert) != self._made_of:
            return self._find_pool(url, proxies, shared_context(verify, cert))
        origin = url[: url.find("/", 8)]
        pool = self._pools.get(origin) if not proxies else None
        if pool is None or pool.pool is None:
            pool = self._find_pool(url, proxies, self._context)
            if not proxies:
                self._pools = {origin: pool}
        return pool

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        if "Set-Cookie" in resp.headers:
            return super().build_response(req, resp)
        # requests looks for cookies in the original answer, at some length, unless there is none.
        original, resp._original_response = resp._original_response, None
        try:
            return super().build_response(req, resp)
        finally:
            resp._original_response = original

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to do here: the context has it all."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    def close(self) -> None:
        """Close idle sockets now: a pool that is only let go of lives as long as any answer that came through it."""
        self._pools = {}
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - it is no mapping: this takes its lock
                with contextlib.suppress(KeyError):
                    manager.pools[key].close()
        super().close()

    def renew(self) -> None:
        """Start over with empty pools, leaving the sockets of the old ones alone: they are a parent process's."""
        self.proxy_manager = {}
        self.init_poolmanager(self._pool_connections, self._pool_maxsize, self._pool_block)

    def _find_pool(self, url: str, proxies: Any, context: ssl.SSLContext | None) -> Any:
        proxy = requests.utils.select_proxy(url, proxies)
        manager: Any = self.poolmanager
        if proxy:
            manager = self.proxy_manager_for(requests.utils.prepend_scheme_if_needed(proxy, "http"))
        parsed = parse_url(url)
        extra = _tls_options(context) if parsed.scheme == "https" else {}
        return manager.connection_from_host(parsed.host, parsed.port, parsed.scheme, pool_kwargs=extra)


def _tls_options(context: ssl.SSLContext | None) -> dict[str, Any]:
    """What a pool is told of TLS. Where a context does not check the host's name, urllib3 would do so itself."""
    if context is None:
        return {}
    unnamed = context.verify_mode != ssl.CERT_NONE and not context.check_hostname
    return {"ssl_context": context, "assert_hostname": False} if unnamed else {"ssl_context": context}
