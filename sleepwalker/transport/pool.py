"""Pools of sockets: whoever waits for a place keeps to the attempt's limits; what was idle for too long is not used."""

from __future__ import annotations

import contextlib
import functools
import queue
from typing import Any

import urllib3.connectionpool
import urllib3.exceptions

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.transport.deadline import Limits, current_limits
from sleepwalker.transport.sockets import SLICE, Limited, LimitedTLS, Target

_now = SYSTEM_CLOCK.monotonic


class _OpenOnesFirst(queue.LifoQueue[Any]):
    """The free places of a pool: those with an open socket first, the one used last before all.

    urllib3 would hand out the place of a socket that was just closed, and open another one beside those that wait.
    What needs no wait takes no more than the lock. `put` wakes whoever waits: either it sees that they are counted, or
    they are counted later and, looking once more, see what was put. Nobody waits to put, and nobody joins this queue.
    """

    _waiting = 0

    def pop_open(self) -> Any:
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

    ConnectionCls = Limited
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
        if isinstance(conn, Limited) and conn.sock is not None and self._is_stale(conn):
            conn.close()  # opened anew on use
        return conn

    def take_open(self) -> Any:
        """An open connection, fit for a request sent as it is; None where that takes more than a look."""
        free: Any = self.pool
        conn = None if free is None else free.pop_open()
        if conn is None:
            return None
        try:
            if isinstance(conn, Limited):
                if not conn.is_connected or self._is_stale(conn):
                    conn.close()
                elif not conn.debuglevel and conn.proxy is None:
                    return conn
        except BaseException:
            self._put_conn(conn)
            raise
        self._put_conn(conn)
        return None

    def _is_stale(self, conn: Limited) -> bool:
        """Whether an open connection is better opened anew: the server is likely to close an old one while we send."""
        return _now() - conn.idle_since > self.max_idle or conn.has_left_over

    def _get_conn_in_slices(self, limits: Limits) -> Any:
        while True:
            with contextlib.suppress(urllib3.exceptions.EmptyPoolError, TimeoutError):
                return super()._get_conn(min(SLICE, limits.left()))
            self._left(limits)

    def _left(self, limits: Limits) -> float:
        """Seconds to wait for a place. At any other error than this urllib3 gives one back that it never had."""
        try:
            return limits.left()
        except TimeoutError as error:
            raise urllib3.exceptions.EmptyPoolError(self, "no time left to wait for a connection") from error

    def _put_conn(self, conn: Any) -> None:
        if isinstance(conn, Limited):
            conn.idle_since = _now()
            answer, conn.under_way = conn.under_way, None
            if answer is not None and not answer.isclosed():
                conn.close()  # given back too early: what is left of its answer would be the next one's
            if conn.grip is not None:
                grip, conn.grip = conn.grip, None
                if grip.release(conn):
                    conn.close()  # opened anew on use
        try:  # noqa: SIM105 - each call comes by
            super()._put_conn(conn)
        except urllib3.exceptions.FullPoolError:
            # A Ctrl-C met somebody who waited for a place, and urllib3 gave one back that they never had. The
            # connection without a place is closed, and all is as it was.
            pass

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
        return super()._make_request(conn, method, Target(url), *args, **kwargs)


class _PoolTLS(_Pool, urllib3.connectionpool.HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = LimitedTLS


@functools.lru_cache(maxsize=256)
def pool_classes(max_idle: float) -> dict[str, type[_Pool]]:
    attributes = {"max_idle": max_idle}
    return {"http": type("Pool", (_Pool,), attributes), "https": type("PoolTLS", (_PoolTLS,), attributes)}
