"""Connections whose every wait keeps to an attempt's limits.

Used without limits (somebody sends through the session by hand) they behave as urllib3's own.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
import ssl
import sys
from typing import Any, Self

import urllib3.connection
import urllib3.exceptions
from urllib3.util.request import SKIP_HEADER

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.transport.addresses import AddressInfo, Failed, Route
from sleepwalker.transport.deadline import Limits, current_limits, resolve
from sleepwalker.transport.grip import Grip
from sleepwalker.transport.head import Response

#: What no grip can end is waited for in slices of so many seconds, where an attempt may be cancelled.
SLICE = 0.02
#: By so much, as a share, a socket lives longer or shorter than `pool.max_age`: those of a fleet do not end at once.
AGE_JITTER = 0.1
#: An address that did not answer within less time than this, the way around the world, may be well all the same. One
#: that did not answer when it was tried last gets no more, as long as there are others.
_PATIENCE = 0.3
_now, _random = SYSTEM_CLOCK.monotonic, SYSTEM_CLOCK.random
#: Of all connections: who finds an address dead warns the others.
_failed = Failed()


class Target(str):
    """A request target that shows only its path to whoever logs it; `full` goes on the wire."""

    full: str

    def __new__(cls, full: str) -> Self:
        target = super().__new__(cls, full.partition("?")[0])
        target.full = full
        return target


class Limited(urllib3.connection.HTTPConnection):
    """A connection whose every wait is bounded by the attempt under way."""

    response_class = Response
    holder: Any = None
    """Who has taken it from its pool: an attempt's limits, or the number of a thread that sends by hand."""
    taken_at = 0.0
    """When it was last taken from its pool, on the monotonic clock."""
    idle_since = 0.0
    """When it last came back to its pool, and so had answered, on the same clock."""
    good_until = 0.0
    """How long it may lie idle and be used again, on the same clock."""
    opened_at = 0.0
    """When its socket was opened, on the same clock."""
    share = 1.0
    """Of the longest age of a socket, what this one may reach: a fleet's are not to end together."""
    route = Route()
    """Where its socket leads."""
    grip: Grip | None = None
    """The last one that took hold of its socket."""
    under_way: Any = None
    """The latest answer that it brought; over once its body was read, or it was closed."""
    has_left_over = False
    """Whether the server has sent more than it was asked for, where looking at the socket does not tell."""

    def is_fit(self, now: float) -> bool:
        """Whether it is open and may be used again.

        One past its time is better opened anew: the server is likely to hang up while we send.
        """
        return now <= self.good_until and self.is_connected and not self.has_left_over

    @property
    def brings_answer(self) -> bool:
        """Whether an answer is under way that may be read to its end."""
        return self.sock is not None and self.under_way is not None and not self.under_way.isclosed()

    def connect(self) -> None:
        limits = current_limits()
        if limits is not None:
            limits.begin_connect()
        super().connect()
        if limits is not None:
            limits.phase = "send"

    def _new_conn(self) -> socket.socket:
        limits = current_limits()
        self.opened_at, self.share = _now(), 1 - AGE_JITTER + 2 * AGE_JITTER * _random()
        if limits is None:
            self.route = Route()
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
        addresses = _failed.order(self._resolve(limits), limits.avoid, _now())
        several = len(addresses) > 1
        failure: OSError | None = None
        for left_over, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            # An address that never answers must leave time for the ones behind it, and is not waited for again.
            left, began = limits.left() / (left_over + 1), _now()
            if left_over and left > _PATIENCE and _failed.has(address[4]):
                left = _PATIENCE
            try:
                sock = self._open_address(address, left, limits)
            except OSError as error:
                failure = error
                hasty = isinstance(error, TimeoutError) and _now() - began < _PATIENCE
                if not hasty and (limits.grip is None or not limits.grip.cancelled):
                    _failed.note(address[4], error, _now())
            else:
                _failed.forget(address[4])
                self.route = limits.route = Route(address[4], several=several)
                return sock
        raise failure if failure is not None else OSError("the name has no address")

    def _resolve(self, limits: Limits) -> list[AddressInfo]:
        host = self._dns_host.strip("[]")
        while limits.grip is not None:
            with contextlib.suppress(TimeoutError):
                return resolve(host, self.port, min(SLICE, limits.left()))
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
        target = url.full if isinstance(url, Target) else url
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
        answer = super().getresponse()
        self.under_way = getattr(answer, "_original_response", None)
        return answer


class LimitedTLS(Limited, urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        try:
            super().send(data)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # As without TLS: a server may have answered before it hung up, and urllib3 looks for that.
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error

    @property
    def has_left_over(self) -> bool:  # type: ignore[override]
        pending = getattr(self.sock, "pending", None)  # TLS within the TLS of a proxy has none
        return pending is not None and pending() > 0
