"""Pools of sockets: waits end with the attempt's deadline, and sockets that are too old or idle are not reused."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any

import urllib3.connectionpool
import urllib3.exceptions

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.policy import SERVER_FAILURES
from sleepwalker.transport.blocking.connection_queue import ConnectionQueue
from sleepwalker.transport.blocking.deadline import AttemptDeadline, current_deadline
from sleepwalker.transport.blocking.sockets import BoundedConnection, BoundedTLSConnection, Target
from sleepwalker.transport.keep_alive import keep_alive_seconds
from sleepwalker.transport.plain_headers import PlainHeaders

_now = SYSTEM_CLOCK.monotonic


class Pool(urllib3.connectionpool.HTTPConnectionPool):
    """A pool that waits no longer than the attempt, and reuses no socket past `max_idle` or `max_age` seconds."""

    ConnectionCls = BoundedConnection
    QueueCls = ConnectionQueue  # type: ignore[assignment]
    pool: ConnectionQueue | None  # type: ignore[assignment]
    """None once the pool is closed."""
    max_idle = max_age = float("inf")
    require_close_notify = True
    """Whether a body that ends with its TLS connection needs TLS's close_notify."""

    @functools.cached_property
    def host_field(self) -> str:
        """The value of the Host header, as http.client writes it."""
        host = f"[{self.host.strip('[]')}]" if ":" in self.host else self.host.rstrip(".")
        return host if self.port in (None, self.ConnectionCls.default_port) else f"{host}:{self.port}"

    def _get_conn(self, timeout: float | None = None) -> Any:
        deadline, queue = current_deadline(), self.pool
        if deadline is not None:
            deadline.phase = "queue"
            self._remaining(deadline)
            if queue is not None and deadline.proven_since == math.inf:
                queue.close_idle_before(math.inf, deadline)
        conn = self._idle_or_new(timeout)
        now = _now()
        if isinstance(conn, BoundedConnection) and conn.sock is not None and not conn.is_usable(now):
            conn.close()  # it connects again when it is used
        if deadline is not None:
            deadline.reused = deadline.peer = None
            deadline.taken_at = now
            if getattr(conn, "sock", None) is not None:
                deadline.reused, deadline.peer = queue, getattr(conn, "peer", None)
        return conn

    def _idle_or_new(self, timeout: float | None) -> Any:
        inherited = getattr(super(), "_get_conn", None)
        if inherited is not None:
            with contextlib.suppress(urllib3.exceptions.ClosedPoolError):
                return inherited(timeout)
            # The pool was closed since this request began, so the request gets a new socket.
        elif (queue := self.pool) is not None and (conn := queue.get_usable(current_deadline())) is not None:
            return conn  # for a release of urllib3 without `_get_conn`
        return self._new_conn()

    def _new_conn(self) -> Any:
        conn = self._admitted_conn()
        conn.needs_close_notify = self.require_close_notify
        return conn

    def _admitted_conn(self) -> Any:
        """A new connection. A pool with `block` waits here for room, or for a connection to come back."""
        deadline, queue = current_deadline(), self.pool
        if queue is None:
            return super()._new_conn()
        if not self.block:
            return queue.admit(super()._new_conn(), deadline)
        conn = queue.wait(super()._new_conn, deadline, functools.partial(self._remaining, deadline))
        return super()._new_conn() if conn is None else conn

    def take_open(self, deadline: AttemptDeadline) -> Any:
        """An open connection for the fast path; None if the request needs the ordinary path."""
        queue, now = self.pool, _now()
        if queue is None or (conn := queue.take(deadline, now)) is None:
            return None
        if not conn.is_usable(now):
            queue.drop(conn)
            return None  # the ordinary path finds another one
        if conn.debuglevel or conn.proxy is not None:
            self._return(conn)
            return None
        deadline.reused = queue
        deadline.taken_at = now
        deadline.peer = conn.peer
        return conn

    def drop(self, conn: Any) -> None:
        """Close a connection that was taken, and free its place."""
        if (queue := self.pool) is None:
            conn.close()
        else:
            queue.drop(conn)

    def _remaining(self, deadline: AttemptDeadline | None) -> float:
        """Seconds left to wait for a place, or EmptyPoolError.

        urllib3 takes any other error for a broken connection.
        """
        if deadline is None:
            return math.inf
        try:
            return deadline.remaining()
        except TimeoutError as error:
            raise urllib3.exceptions.EmptyPoolError(self, "no time left to wait for a connection") from error

    def _put_conn(self, conn: Any) -> None:
        if conn is None:
            # urllib3 closed a connection, but does not say which, or had none.
            if (queue := self.pool) is not None:
                queue.drop_taken(current_deadline(), unanswered=True)
            return
        try:
            if isinstance(conn, BoundedConnection):
                self._check_returned(conn)
            self._return(conn)
        except BaseException:
            self.drop(conn)
            raise

    def _check_returned(self, conn: BoundedConnection) -> None:
        """Close the connection if it must not be reused; else note until when it may be."""
        now = _now()
        idle_until, old_at = now + self.max_idle, conn.opened_at + self.max_age * conn.age_share
        good_until = idle_until if idle_until < old_at else old_at
        response, conn.current_response = conn.current_response, None
        if response is not None:
            # A request sent through the session by hand has no policy that says what a failure is.
            holder = conn.holder
            failures = holder.failures if holder.__class__ is AttemptDeadline else SERVER_FAILURES
            if not response.isclosed() or response.status in failures:
                # Given back too early: the rest of this response would be read as the next one. Or the machine behind
                # it fails: fast failures bring a socket back first, so it would be taken first.
                conn.close()
            else:
                headers = response.headers
                plain = headers.__class__ is PlainHeaders and headers.store is not None
                if not plain or "keep-alive" in headers.store:
                    good_until = min(good_until, now + keep_alive_seconds(headers.get_all("Keep-Alive")))
        conn.idle_since, conn.good_until = now, good_until
        if good_until <= now:
            conn.close()
        if conn.canceller is not None:
            canceller, conn.canceller = conn.canceller, None
            if canceller.detach(conn):
                conn.close()

    def _return(self, conn: Any) -> None:
        if conn.sock is None or (queue := self.pool) is None:
            self.drop(conn)
        else:
            queue.put(conn)

    def close(self) -> None:
        if (queue := self.pool) is not None:
            queue.close()
        super().close()

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super()._make_request(conn, method, Target(url), *args, **kwargs)


class PoolTLS(Pool, urllib3.connectionpool.HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = BoundedTLSConnection


@functools.lru_cache(maxsize=256)
def pool_classes(max_idle: float, max_age: float, require_close_notify: bool) -> dict[str, type[Pool]]:
    attributes = {"max_idle": max_idle, "max_age": max_age, "require_close_notify": require_close_notify}
    return {"http": type("Pool", (Pool,), attributes), "https": type("PoolTLS", (PoolTLS,), attributes)}
