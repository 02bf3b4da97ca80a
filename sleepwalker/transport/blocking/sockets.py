"""Connections whose waits all end with the attempt's deadline.

Without a deadline (a request sent through the session by hand) they behave as urllib3's own.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import select
import socket
import ssl
import sys
from typing import Any, Self

import urllib3.connection
import urllib3.exceptions
from urllib3.util.request import SKIP_HEADER

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.events import TLSFilesNotLoaded
from sleepwalker.telemetry.log import emit
from sleepwalker.transport.addresses import AddressInfo, FailedAddresses, Peer
from sleepwalker.transport.blocking.canceller import Canceller
from sleepwalker.transport.blocking.deadline import AttemptDeadline, current_deadline
from sleepwalker.transport.blocking.head import BoundedResponse
from sleepwalker.transport.blocking.uploading import PIECE, UNWATCHED, Early, send_watching
from sleepwalker.transport.keep_alive import AGE_JITTER
from sleepwalker.transport.resolver import resolve
from sleepwalker.transport.tls import renewed_context
from sleepwalker.transport.url import Origin

#: Seconds. A wait that a canceller cannot end (a name look-up) is split into slices of this length.
SLICE = 0.02
#: Seconds: a round trip around the world. An address that had less time than this to accept is not noted as failed.
#: One that failed the last time gets no more than this, unless it is the last one.
_PATIENCE = 0.3
_now, _random = SYSTEM_CLOCK.monotonic, SYSTEM_CLOCK.random
#: Sockets whose descriptor is their own. One of another type may wrap another socket.
_KNOWN_SOCKETS = (socket.socket, ssl.SSLSocket)
#: Whether http.client has the step that asks a proxy for a tunnel. If not, its errors are taken for the server's.
_TUNNEL_IS_KNOWN = hasattr(http.client.HTTPConnection, "_tunnel")
#: Makes an object that polls one socket repeatedly; Windows has none.
_new_poll = getattr(select, "poll", None)
#: Shared by all connections, so that one that finds a dead address spares the others the wait.
_failed = FailedAddresses()


class Target(str):
    """A request target that is only a path in logs; `full` is sent."""

    full: str

    def __new__(cls, full: str) -> Self:
        target = super().__new__(cls, full.partition("?")[0])
        target.full = full
        return target


class BoundedConnection(urllib3.connection.HTTPConnection):
    """A connection whose waits are all bounded by the current attempt."""

    holder: Any = None
    """What took it from its pool: an attempt's deadline, or the id of a thread that uses the session by hand."""
    taken_at = 0.0
    """When it was last taken from its pool, on the monotonic clock, as all times here."""
    idle_since = 0.0
    """When it last came back to its pool, so after its last response."""
    good_until = 0.0
    """Until when it may be reused."""
    opened_at = 0.0
    """When its socket was opened."""
    age_share = 1.0
    """The share of `pool.max_age` that this socket may reach (`AGE_JITTER`)."""
    peer = Peer()
    """What its socket is connected to."""
    canceller: Canceller | None = None
    """The last one that its socket was attached to."""
    current_response: Any = None
    """Its latest response, which may be unread, read or closed."""
    needs_close_notify = True
    """Whether a body that ends with the TLS connection needs TLS's close_notify."""
    early: Early | None = None
    """What arrived while the body of the present request was sent."""
    _unwatched = UNWATCHED
    """How many bytes of the present request may yet be sent without looking for a response."""
    _at_once = sys.maxsize
    """How many bytes the socket's `send` takes without waiting until all of them are sent."""
    has_unread = False
    """Whether unread bytes wait where looking at the socket does not show them (in the TLS layer)."""

    socket_class: type[socket.socket] = socket.socket
    _poll: Any = None
    """The poll object for an idle socket, and the socket's descriptor."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket without unread bytes or an end. As in urllib3, but faster."""
        sock = self.sock
        if sock is None or _new_poll is None or type(sock) not in _KNOWN_SOCKETS:
            return super().is_connected
        number, known = sock.fileno(), self._poll
        if known is None or known[1] != number:
            poll = _new_poll()
            poll.register(number, select.POLLIN)
            known = self._poll = (poll.poll, number)
        return not known[0](0)

    def is_usable(self, now: float) -> bool:
        """Whether it is open and may be reused.

        Past `good_until` the server is likely to close it while we send.
        """
        return now <= self.good_until and self.is_connected and not self.has_unread

    @property
    def is_answering(self) -> bool:
        """Whether a response is being read, and may be read to its end."""
        return self.sock is not None and self.current_response is not None and not self.current_response.isclosed()

    def response_class(self, *args: Any, **options: Any) -> BoundedResponse:  # type: ignore[override]
        """What http.client makes for each response; the latest is kept."""
        response = self.current_response = BoundedResponse(*args, **options)
        response.needs_close_notify = self.needs_close_notify
        if self.early is not None:
            response.begin_with(self.early.data, cut=self.early.cut)
            self.early = None
        return response

    def connect(self) -> None:
        deadline = current_deadline()
        self.opened_at, self.age_share = _now(), 1 - AGE_JITTER + 2 * AGE_JITTER * _random()
        self.early, self._unwatched = None, UNWATCHED
        if deadline is not None:
            deadline.begin_connect()
            deadline.at_proxy = self.proxy is not None and (_TUNNEL_IS_KNOWN or not self.proxy_is_tunneling)
        super().connect()
        if deadline is not None:
            deadline.at_proxy = False
            deadline.phase = "send"

    def _tunnel(self) -> None:
        super()._tunnel()
        if (deadline := current_deadline()) is not None:
            deadline.at_proxy = False

    def _new_conn(self) -> socket.socket:
        deadline = current_deadline()
        if deadline is None:
            self.peer = Peer()
            return super()._new_conn()
        try:
            sock = self._open(deadline)
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        sys.audit("http.client.connect", self, self.host, self.port)
        if isinstance(self, urllib3.connection.HTTPSConnection):
            deadline.phase = "tls"
        return sock

    def _open(self, deadline: AttemptDeadline) -> socket.socket:
        addresses = _failed.order(self._resolve(deadline), deadline.avoid, _now())
        several = len(addresses) > 1
        failure: OSError | None = None
        for left_over, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            # A dead address must leave time for the next ones, and gets little time when it is tried again.
            left, began = deadline.remaining() / (left_over + 1), _now()
            if left_over and left > _PATIENCE and _failed.has(address[4]):
                left = _PATIENCE
            try:
                sock = self._open_address(address, left, deadline)
            except OSError as error:
                failure = error
                hasty = isinstance(error, TimeoutError) and _now() - began < _PATIENCE
                if not hasty and (deadline.canceller is None or not deadline.canceller.cancelled):
                    _failed.note(address[4], error, _now())
            else:
                _failed.forget(address[4])
                self.peer = deadline.peer = Peer(address[4], several=several)
                return sock
        raise failure if failure is not None else OSError("the name has no address")

    def _resolve(self, deadline: AttemptDeadline) -> list[AddressInfo]:
        """The addresses that a socket may be connected to."""
        return self._look_up(getattr(self, "_dns_host", self.host), self.port, deadline)

    def _look_up(self, host: str, port: int, deadline: AttemptDeadline) -> list[AddressInfo]:
        host = host.strip("[]")
        while deadline.canceller is not None:
            with contextlib.suppress(TimeoutError):
                return resolve(host, port, min(SLICE, deadline.remaining()))
            deadline.remaining()
        return resolve(host, port, deadline.remaining())

    def _attach(self, canceller: Canceller, sock: socket.socket) -> None:
        self.canceller = canceller
        canceller.attach(self, sock)

    def _open_address(self, address: AddressInfo, timeout: float, deadline: AttemptDeadline) -> socket.socket:
        family, kind, protocol, _, target = address
        sock = self.socket_class(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            if self.source_address:
                sock.bind(self.source_address)
            if deadline.canceller is not None:
                self._attach(deadline.canceller, sock)
                deadline.remaining()  # an earlier cancel is seen here; a later one shuts the socket down
            sock.settimeout(timeout)
            self._connect_socket(sock, target, deadline)
            sock.settimeout(deadline.remaining())
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect_socket(self, sock: Any, target: Any, deadline: AttemptDeadline) -> None:
        sock.connect(target)

    def begin_to_send(self, deadline: AttemptDeadline) -> None:
        """The attempt sends from here on, on this socket or on one that it opens now."""
        deadline.phase = "send"
        self._unwatched = UNWATCHED
        if deadline.canceller is not None and deadline.canceller is not self.canceller and self.sock is not None:
            self._attach(deadline.canceller, self.sock)

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        deadline = current_deadline()
        if deadline is not None:
            self.begin_to_send(deadline)
        target = url.full if isinstance(url, Target) else url
        super().putrequest(method, target, skip_host=skip_host, skip_accept_encoding=skip_accept_encoding)

    def putheader(self, header: str, *values: str) -> None:  # type: ignore[override]
        if len(values) == 1 and values[0] != SKIP_HEADER:
            # Skips urllib3's search for SKIP_HEADER in the values; http.client still checks name and value.
            http.client.HTTPConnection.putheader(self, header, values[0])
        else:
            super().putheader(header, *values)

    def send(self, data: Any) -> None:
        deadline = current_deadline()
        if deadline is None or self.debuglevel or not isinstance(data, bytes | bytearray | memoryview):
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        sys.audit("http.client.send", self, data)
        size, sent = len(data), 0
        if self._unwatched > 0 and size <= self._at_once:
            self._unwatched -= size
            self.sock.settimeout(deadline.remaining())
            sent = self.sock.send(data)
            if sent == size and isinstance(data, bytes):
                return
        if self.early is None:
            self.early = Early()
        send_watching(self.sock, memoryview(data).cast("B")[sent:], self.early, deadline)

    def getresponse(self) -> Any:
        deadline = current_deadline()
        if deadline is not None:
            deadline.phase = "head"
        response = super().getresponse()
        if self.current_response is not None and self.current_response.in_chunks:
            response.chunked = False  # its `BoundedResponse` has taken the frames away
        return response


class BoundedTLSConnection(BoundedConnection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    _at_once = PIECE

    def connect(self) -> None:
        if self.ssl_context is not None:
            self.ssl_context = self._renewed(self.ssl_context)
        if self.proxy_config is not None and self.proxy_config.ssl_context is not None:
            self.proxy_config = self.proxy_config._replace(ssl_context=self._renewed(self.proxy_config.ssl_context))
        super().connect()

    def _renewed(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context, fault = renewed_context(context)
        if fault is not None:
            host, port = getattr(self, "_tunnel_host", None), getattr(self, "_tunnel_port", None)
            emit(TLSFilesNotLoaded(Origin("https", host or self.host, port or self.port).text, fault))
        return context

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        try:
            super().send(data)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # As without TLS: the server may have responded before it closed, and urllib3 reads that.
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error

    @property
    def has_unread(self) -> bool:  # type: ignore[override]
        pending = getattr(self.sock, "pending", None)  # TLS within the TLS of a proxy has none
        return pending is not None and pending() > 0
