"""The adapter that connects a requests session to our pools of sockets."""

from __future__ import annotations

import contextlib
import functools
import math
import ssl
from http.client import HTTPMessage
from typing import Any

import requests.adapters
import requests.utils
from urllib3 import HTTPResponse, Timeout, proxy_from_url
from urllib3.exceptions import LocationValueError, ProtocolError, ReadTimeoutError
from urllib3.util.url import parse_url

from sleepwalker.exceptions import URLError
from sleepwalker.policy import PoolPolicy
from sleepwalker.transport.blocking import fast_path
from sleepwalker.transport.blocking.deadline import AttemptDeadline, current_deadline
from sleepwalker.transport.blocking.pool import pool_classes
from sleepwalker.transport.blocking.response_headers import LazyHeaders
from sleepwalker.transport.codings import EncodedResponse
from sleepwalker.transport.content_types import encoding_of, usable_encoding
from sleepwalker.transport.cookies import without_odd_attributes
from sleepwalker.transport.headers import headers_of
from sleepwalker.transport.tls import shared_context

#: The most pools: there is one for each origin and TLS setting, and usually only one in all.
_POOLS = 4
_NO_SOCKS = (
    "proxies (or ALL_PROXY, HTTPS_PROXY, HTTP_PROXY): a SOCKS proxy needs a package that is not installed: "
    'pip install "requests[socks]"'
)


class Adapter(requests.adapters.HTTPAdapter):
    """requests' adapter over our own pools, with one TLS context made beforehand.

    If a tool has patched a step of requests' `send`, or of urllib3's, no request takes the fast path, so the tool sees
    all of them. `context` was made from `verify` and `cert`. A request sent with other values, by the session's owner
    or by another connection, uses a context made from those.
    """

    #: The attributes that a copy or pickle is made from.
    __attrs__ = [*requests.adapters.HTTPAdapter.__attrs__, "_times", "_made_of", "_size"]  # noqa: RUF012

    def __init__(
        self,
        pool: PoolPolicy,
        context: ssl.SSLContext | None,
        verify: Any = True,
        cert: Any = None,
        *,
        pools: int = _POOLS,
    ) -> None:
        oldest = math.inf if pool.max_age is None else pool.max_age
        self._times = (pool.idle, oldest, pool.require_close_notify)
        self._context = context
        self._made_of = (verify, cert)
        self._size: dict[str, Any] = {"connections": pools, "maxsize": pool.size, "block": pool.block}
        super().__init__(pool_connections=pools, pool_maxsize=pool.size, pool_block=pool.block)

    def __getstate__(self) -> dict[str, Any]:
        """For a copy or a pickle of its session, which gets pools of its own."""
        if isinstance(self._made_of[0], ssl.SSLContext):
            raise TypeError(
                "this session cannot be copied or pickled: the connection's verify is an ssl.SSLContext, which cannot "
                "be copied; pass the path of a CA bundle as verify (and cert=)"
            )
        return super().__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._context = shared_context(*state["_made_of"])
        super().__setstate__(state)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self._pools: dict[str, Any] = {}
        pool_kwargs.update(_tls_options(self._context))
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = pool_classes(*self._times)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """As in requests, with the same errors; on the fast path if attempt and request allow it."""
        deadline = current_deadline()
        if deadline is not None and deadline.fast and stream and not proxies:
            raw = self._send_fast(request, verify, cert, deadline)
            if raw is not None:
                return self._response(request, raw)
        return super().send(request, stream, timeout, verify, cert, proxies)

    def _send_fast(
        self, request: requests.PreparedRequest, verify: Any, cert: Any, deadline: AttemptDeadline
    ) -> HTTPResponse | None:
        try:
            pool = self.get_connection_with_tls_context(request, verify, None, cert)
        except LocationValueError:  # the ordinary path says what is wrong with the URL
            return None
        method, target, retries = request.method or "", self.request_url(request, None), self.max_retries
        try:
            return fast_path.send(pool, method, target, request.body, request.headers, retries, deadline)
        except (ProtocolError, OSError) as error:
            raise requests.ConnectionError(error, request=request) from error
        except ReadTimeoutError as error:
            raise requests.ReadTimeout(error, request=request) from error

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        url = request.url or ""
        own = (verify, cert) == self._made_of
        context = self._context if own else shared_context(verify, cert)
        if proxies and (proxy := requests.utils.select_proxy(url, proxies)):
            # The client certificate is only for the server.
            for_proxy = self._context_for_proxies if own else shared_context(verify)
            return self._proxied_pool(url, proxy, context, for_proxy)
        end = url.find("/", 8)
        if not own or end < 0:  # an auth object may have set a URL without a path
            return self._find_pool(self.poolmanager, url, context)
        origin = url[:end]
        pool = self._pools.get(origin)
        if pool is None or pool.pool is None:
            pool = self._find_pool(self.poolmanager, url, context)
            self._pools = {origin: pool}
        return pool

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        headers = resp.headers
        original = getattr(resp, "_original_response", None)  # a mock has none; a release may rename it
        if "content-encoding" in headers and type(resp) is HTTPResponse:
            resp.__class__ = EncodedResponse
        if "set-cookie2" in headers:
            # http.cookiejar parses it in quadratic time, and takes no cookie from it (RFC 6265 dropped it).
            with contextlib.suppress(AttributeError, KeyError):
                del original.msg["Set-Cookie2"]  # type: ignore[union-attr]
        if original is not None and "set-cookie" not in headers:
            resp._original_response = None  # else requests would search it for cookies
        elif isinstance(message := getattr(original, "msg", None), HTTPMessage):
            original.msg = without_odd_attributes(message, req)  # type: ignore[union-attr]
        try:
            response = super().build_response(req, resp)
        finally:
            if original is not None:
                resp._original_response = original
        response.encoding = usable_encoding(response.encoding)
        return response

    def _response(self, request: requests.PreparedRequest, raw: HTTPResponse) -> requests.Response:
        """As `build_response`, for a response of the fast path, without its copy of each header."""
        headers = raw.headers
        store = headers.store if headers.__class__ is LazyHeaders else None
        if store is None or "set-cookie" in store or "set-cookie2" in store:
            return self.build_response(request, raw)
        if "content-encoding" in store:
            raw.__class__ = EncodedResponse
        response = requests.Response()
        response.status_code = raw.status
        response.headers = headers_of(store)
        if "content-type" in store:
            response.encoding = encoding_of(store["content-type"][1])
        response.raw = raw
        response.reason = raw.reason or ""
        response.url = request.url or ""
        response.request = request
        response.connection = self
        return response

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to do: the context has all TLS settings."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        if proxies:
            return super().request_url(request, proxies)
        url = request.url or ""
        path = url.find("/", 8)
        # The same as `path_url`, which parses the whole URL.
        return url[path:] if path > 0 and "#" not in url and url.find("?", 8, path) < 0 else request.path_url

    def close(self) -> None:
        """Close idle sockets now. A pool that is only dropped lives as long as any response that came through it."""
        self._pools = {}
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - not a mapping; `keys()` takes its lock
                with contextlib.suppress(KeyError):
                    manager.pools[key].close()
        super().close()

    def renew(self) -> None:
        """Start with empty pools. The old sockets stay open: they belong to the parent process."""
        self.proxy_manager = {}
        self.init_poolmanager(**self._size)

    def _find_pool(self, manager: Any, url: str, context: ssl.SSLContext | None) -> Any:
        parsed = parse_url(url)
        extra = _tls_options(context) if parsed.scheme == "https" else {}
        return manager.connection_from_host(parsed.host, parsed.port, parsed.scheme, pool_kwargs=extra)

    @functools.cached_property
    def _context_for_proxies(self) -> ssl.SSLContext:
        return shared_context(self._made_of[0])

    def _proxied_pool(self, url: str, proxy: str, context: ssl.SSLContext | None, for_proxy: ssl.SSLContext) -> Any:
        """The pool for a URL through a proxy, whose own TLS is done with `for_proxy`."""
        proxy = requests.utils.prepend_scheme_if_needed(proxy, "http")
        if (deadline := current_deadline()) is not None:
            deadline.proxy = _host_and_port(proxy)
        if proxy.lower().startswith("socks"):
            try:
                from sleepwalker.transport.blocking.socks import socks_pool_classes  # noqa: PLC0415 - needs PySocks
            except ImportError:
                raise URLError(_NO_SOCKS) from None
            manager = self.proxy_manager_for(proxy)
            manager.pool_classes_by_scheme = socks_pool_classes(*self._times)
            return self._find_pool(manager, url, context)
        managers: dict[Any, Any] = self.proxy_manager
        if (manager := managers.get((proxy, for_proxy))) is None:
            size = self._size
            manager = managers[proxy, for_proxy] = proxy_from_url(
                proxy,
                num_pools=size["connections"],
                maxsize=size["maxsize"],
                block=size["block"],
                proxy_headers=self.proxy_headers(proxy),
                **{f"proxy_{name}": value for name, value in _tls_options(for_proxy).items()},
            )
            manager.pool_classes_by_scheme = pool_classes(*self._times)
        return self._find_pool(manager, url, context)


@functools.lru_cache(maxsize=64)
def _host_and_port(proxy: str) -> str:
    """A proxy as errors name it, without user and password."""
    parsed = parse_url(proxy)
    port = parsed.port or {"http": 80, "https": 443}.get(parsed.scheme or "", 1080)
    return f"{parsed.host}:{port}"


def _tls_options(context: ssl.SSLContext | None) -> dict[str, Any]:
    """TLS options of a pool. `assert_hostname`: urllib3 would check the name itself where the context does not."""
    if context is None:
        return {}
    unnamed = context.verify_mode != ssl.CERT_NONE and not context.check_hostname
    return {"ssl_context": context, "assert_hostname": False} if unnamed else {"ssl_context": context}


def limits_of(timeout: Any) -> tuple[float, float]:
    """A request's `timeout` as seconds to connect and to wait for each next byte; infinity for no limit.

    A tuple is such a pair; a `urllib3.Timeout` is understood as by requests. ValueError for anything else that is no
    positive number.
    """
    connect = read = timeout
    if isinstance(timeout, tuple):
        if len(timeout) != 2:
            raise ValueError(f"timeout must be a number of seconds, or a pair (connect, read), not {timeout!r:.80}")
        connect, read = timeout
    elif isinstance(timeout, Timeout):
        begun = timeout.clone()
        begun.start_connect()  # before that it does not say what `total` leaves to `read`
        connect, read = begun.connect_timeout, begun.read_timeout
    return _limit(connect), _limit(read)


def _limit(seconds: Any) -> float:
    if seconds is None or seconds is Timeout.DEFAULT_TIMEOUT:
        return math.inf
    try:
        limit = 0.0 if isinstance(seconds, bool | str | bytes) else float(seconds)
    except OverflowError:
        limit = math.inf
    except (TypeError, ValueError):
        limit = 0.0
    if not limit > 0:
        raise ValueError(f"timeout must be a positive number of seconds, or None for no limit, not {seconds!r:.80}")
    return limit
