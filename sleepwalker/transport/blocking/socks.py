"""Connections through a SOCKS proxy. Importing this needs PySocks, which comes with `requests[socks]`."""

from __future__ import annotations

import functools
import socket
from typing import Any

import socks  # type: ignore[import-untyped]
from urllib3.contrib.socks import SOCKSConnection

from sleepwalker.transport.addresses import AddressInfo, Peer
from sleepwalker.transport.blocking.deadline import AttemptDeadline, current_deadline
from sleepwalker.transport.blocking.pool import Pool, pool_classes
from sleepwalker.transport.blocking.sockets import BoundedConnection, BoundedTLSConnection


class _Socket(socks.socksocket):  # type: ignore[misc]
    """PySocks' socket. However slowly the proxy's replies come, they are read within the deadline of the attempt."""

    deadline: AttemptDeadline | None = None
    """Set while the proxy is asked to connect to the server."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        if self.deadline is not None:
            socket.socket.settimeout(self, self.deadline.remaining())
        return super().recv_into(*args, **options)  # type: ignore[no-any-return]


class BoundedSOCKSConnection(BoundedConnection, SOCKSConnection):
    """A bounded connection through a SOCKS proxy, to which PySocks speaks."""

    socket_class = _Socket
    _asked_for = ""
    """The name or address that the proxy is asked for."""

    def _new_conn(self) -> socket.socket:
        deadline = current_deadline()
        if deadline is None:
            self.peer = Peer()
            return SOCKSConnection._new_conn(self)  # type: ignore[no-any-return]
        sock = super()._new_conn()
        deadline.at_proxy = False
        return sock

    def _resolve(self, deadline: AttemptDeadline) -> list[AddressInfo]:
        """The addresses of the proxy."""
        options: Any = self._socks_options
        self._asked_for = self.host.strip("[]")
        if not options["rdns"]:
            known = (socket.AF_INET,) if options["socks_version"] == socks.SOCKS4 else (socket.AF_INET, socket.AF_INET6)
            found = [info[4][0] for info in super()._resolve(deadline) if info[0] in known]
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "no address of version 4, as SOCKS4 needs it")
            self._asked_for = found[0]
        deadline.at_proxy = True
        return self._look_up(options["proxy_host"], options["proxy_port"] or 1080, deadline)

    def _connect_socket(self, sock: Any, target: Any, deadline: AttemptDeadline) -> None:
        options = self._socks_options
        sock.set_proxy(options["socks_version"], *target[:2], options["rdns"], options["username"], options["password"])
        sock.deadline = deadline
        try:
            sock.connect((self._asked_for, self.port))
        except socks.ProxyError as error:
            if isinstance(error.socket_err, OSError):
                raise error.socket_err from None
            raise
        finally:
            sock.deadline = None


class BoundedSOCKSTLSConnection(BoundedSOCKSConnection, BoundedTLSConnection):
    """The same over TLS."""


@functools.lru_cache(maxsize=256)
def socks_pool_classes(*settings: Any) -> dict[str, type[Pool]]:
    """The classes of `pool_classes`, which takes the same arguments, with connections through a SOCKS proxy."""
    plain, secure = pool_classes(*settings).values()
    return {
        "http": type("Pool", (plain,), {"ConnectionCls": BoundedSOCKSConnection}),
        "https": type("PoolTLS", (secure,), {"ConnectionCls": BoundedSOCKSTLSConnection}),
    }
