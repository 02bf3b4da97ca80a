"""The way from a requests session to the sockets of one host."""

from __future__ import annotations

import contextlib
import math
import ssl
from typing import Any

import requests.adapters
import requests.utils
from urllib3 import HTTPResponse
from urllib3.util.url import parse_url

from sleepwalker.policy import PoolPolicy
from sleepwalker.transport import straight
from sleepwalker.transport.codings import Packed
from sleepwalker.transport.deadline import current_limits
from sleepwalker.transport.plain_answer import usable_encoding
from sleepwalker.transport.pool import pool_classes
from sleepwalker.transport.tls import shared_context


class Adapter(requests.adapters.HTTPAdapter):
    """requests' adapter over pools of ours, with TLS settings made once.

    `send` is requests' own, so what patches or wraps an adapter sees every request. `verify` and `cert` are the
    settings that `context` was made of. A session's owner, or another connection through the same session, may send
    with others: then those hold.
    """

    def __init__(self, pool: PoolPolicy, context: ssl.SSLContext | None, verify: Any = True, cert: Any = None) -> None:
        self._times = (pool.idle, math.inf if pool.max_age is None else pool.max_age)
        self._context = context
        self._made_of = (verify, cert)
        super().__init__(pool_connections=4, pool_maxsize=pool.size, pool_block=pool.block)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self._pools: dict[str, Any] = {}
        pool_kwargs.update(_tls_options(self._context))
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = pool_classes(*self._times)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not known and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = pool_classes(*self._times)
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
        # requests looks for cookies in the original answer, at some length, unless there is none.
        original = resp._original_response
        if "Content-Encoding" in resp.headers and type(resp) is HTTPResponse:
            resp.__class__ = Packed
        if "Set-Cookie" not in resp.headers:
            resp._original_response = None
        elif "Set-Cookie2" in resp.headers:
            # http.cookiejar reads it in quadratic time, and takes no cookie from it (RFC 6265 has none).
            with contextlib.suppress(AttributeError, KeyError):
                del original.msg["Set-Cookie2"]
        try:
            response = super().build_response(req, resp)
        finally:
            resp._original_response = original
        response.encoding = usable_encoding(response.encoding)
        return response

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
