"""Pools of sockets: who waits for a place keeps to the attempt's limits; what is old or was idle long is not used."""

from __future__ import annotations

import functools
import math
from typing import Any

import urllib3.connectionpool
import urllib3.exceptions

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.policy import SERVER_FAILURES
from sleepwalker.transport.deadline import Limits, current_limits
from sleepwalker.transport.head import PlainHeaders
from sleepwalker.transport.keep_alive import kept_for
from sleepwalker.transport.places import Places
from sleepwalker.transport.sockets import Limited, LimitedTLS, Target

_now = SYSTEM_CLOCK.monotonic


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    """A pool that waits no longer than the attempt, and reuses no sockets past `max_idle` and `max_age` seconds."""

    ConnectionCls = Limited
    QueueCls = Places  # type: ignore[assignment]
    pool: Places | None  # type: ignore[assignment]
    """None once it is closed."""
    max_idle = max_age = float("inf")

    @functools.cached_property
    def host_field(self) -> str:
        """The value of the Host header, as http.client writes it."""
        host = f"[{self.host.strip('[]')}]" if ":" in self.host else self.host.rstrip(".")
        return host if self.port in (None, self.ConnectionCls.default_port) else f"{host}:{self.port}"

    def _get_conn(self, timeout: float | None = None) -> Any:
        limits, places = current_limits(), self.pool
        if limits is not None:
            limits.phase = "queue"
            self._left(limits)
            if places is not None and limits.proven_since == math.inf:
                places.doubt(math.inf, limits)
        try:
            conn = super()._get_conn(timeout)
        except urllib3.exceptions.ClosedPoolError:
            conn = self._new_conn()  # closed since this request began: it finishes on a socket of its own
        now = _now()
        if isinstance(conn, Limited) and conn.sock is not None and not conn.is_fit(now):
            conn.close()  # opened anew on use
        if limits is not None:
            limits.reused = limits.route = None
            limits.taken_at = now
            if getattr(conn, "sock", None) is not None:
                limits.reused, limits.route = places, getattr(conn, "route", None)
        return conn

    def _new_conn(self) -> Any:
        """One for which there was no idle one; a pool that blocks waits for room here, or for one to come back."""
        limits, places = current_limits(), self.pool
        if places is None:
            return super()._new_conn()
        if not self.block:
            return places.admit(super()._new_conn(), limits)
        conn = places.wait(super()._new_conn, limits, functools.partial(self._left, limits))
        return super()._new_conn() if conn is None else conn

    def take_open(self, limits: Limits) -> Any:
        """An open connection, fit for a request sent as it is; None where that takes more than a look."""
        places, now = self.pool, _now()
        if places is None or (conn := places.take(limits, now)) is None:
            return None
        if not conn.is_fit(now):
            places.drop(conn)
            return None  # the long way looks for another one
        if conn.debuglevel or conn.proxy is not None:
            self._return(conn)
            return None
        limits.reused = places
        limits.taken_at = now
        limits.route = conn.route
        return conn

    def drop(self, conn: Any) -> None:
        """Close a connection that was taken, and give its place back."""
        if (places := self.pool) is None:
            conn.close()
        else:
            places.drop(conn)

    def _left(self, limits: Limits | None) -> float:
        """Seconds to wait for a place. Of any other error than this urllib3 says that a connection broke."""
        if limits is None:
            return math.inf
        try:
            return limits.left()
        except TimeoutError as error:
            raise urllib3.exceptions.EmptyPoolError(self, "no time left to wait for a connection") from error

    def _put_conn(self, conn: Any) -> None:
        if conn is None:
            # urllib3 does not say which one it closed, nor whether it had one.
            if (places := self.pool) is not None:
                places.drop_taken(current_limits(), unanswered=True)
            return
        try:
            if isinstance(conn, Limited):
                self._look_at(conn)
            self._return(conn)
        except BaseException:
            self.drop(conn)
            raise

    def _look_at(self, conn: Limited) -> None:
        """Close a connection that must not be used again; the others are known to be good for now."""
        now = _now()
        idle_until, old_at = now + self.max_idle, conn.opened_at + self.max_age * conn.share
        good_until = idle_until if idle_until < old_at else old_at
        answer, conn.under_way = conn.under_way, None
        if answer is not None:
            # Who sends by hand, or through another's session, has no policy that says what a failure is.
            holder = conn.holder
            failures = holder.failures if holder.__class__ is Limits else SERVER_FAILURES
            if not answer.isclosed() or answer.status in failures:
                # Given back too early: what is left of its answer would be the next one's. Or the machine behind it
                # fails: what fails at once comes back first, and would be taken first.
                conn.close()
            else:
                headers = answer.headers
                plain = headers.__class__ is PlainHeaders and headers.store is not None
                if not plain or "keep-alive" in headers.store:
                    good_until = min(good_until, now + kept_for(headers))
        conn.idle_since, conn.good_until = now, good_until
        if good_until <= now:
            conn.close()
        if conn.grip is not None:
            grip, conn.grip = conn.grip, None
            if grip.release(conn):
                conn.close()

    def _return(self, conn: Any) -> None:
        if conn.sock is None or (places := self.pool) is None:
            self.drop(conn)
        else:
            places.put(conn)

    def close(self) -> None:
        if (places := self.pool) is not None:
            places.close()
        super().close()

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super()._make_request(conn, method, Target(url), *args, **kwargs)


class _PoolTLS(_Pool, urllib3.connectionpool.HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = LimitedTLS


@functools.lru_cache(maxsize=256)
def pool_classes(max_idle: float, max_age: float) -> dict[str, type[_Pool]]:
    attributes = {"max_idle": max_idle, "max_age": max_age}
    return {"http": type("Pool", (_Pool,), attributes), "https": type("PoolTLS", (_PoolTLS,), attributes)}
