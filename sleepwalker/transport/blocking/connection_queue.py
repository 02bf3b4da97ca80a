"""The places of a pool: its idle sockets, those in use, and the waiters.

A signal handler (Ctrl-C, a time limit) may raise at the end of any call, at the start of any Python function and at
each turn of a loop, and nowhere else. Steps that belong together are written here without any of these between them.
A connection has its place from `admit` until it is closed, and knows its holder, so the end of an attempt can give back
all that the attempt holds. No thread waits on a lock that others need afterwards; each waiter has its own.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import weakref
from bisect import bisect_left, insort
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.transport.blocking.deadline import AttemptDeadline, current_deadline

#: Seconds between a waiter's own checks: a thread that gives a place back may be interrupted before it wakes one.
_SLICE = 0.5
#: The same for a waiter whose attempt may be cancelled.
_SHORT_SLICE = 0.02
#: Seconds. Connections used within this time take turns. Common servers close idle ones after five seconds or more, so
#: these are safe, and those that traffic no longer needs are left to expire.
_RECENT = 1.0
_now = SYSTEM_CLOCK.monotonic
_taken_at = attrgetter("taken_at")


class ConnectionQueue:
    """What urllib3 calls the queue of a pool.

    Recently used sockets take turns: the one whose last use is the oldest is next. Otherwise a machine that fails fast,
    and so frees its socket first, would get more requests than the others. Of sockets that were idle for longer, the
    one used last is taken.

    It is reentrant: the garbage collector may run at any point and give back the connection of a response.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        """The most idle connections; in a pool with `block`, the most connections."""
        self.suspect_before = -math.inf
        """Connections that last responded before then are taken after the others: some of those were dead."""
        self.closed = False
        self._lock = threading.RLock()
        self._idle: list[Any] = []  # sorted by `taken_at`
        self._old = 0  # how many of the first are known to be idle for longer than `_RECENT`; too low does no harm
        self._hedge_lost_at = -math.inf  # `taken_at` of the latest one that lost to a hedge attempt
        self._members: set[weakref.ref[Any]] = set()
        self._waiting: list[Any] = []

    def qsize(self) -> int:
        """How many places are free."""
        return max(0, self.maxsize - len(self._members) + len(self._idle))

    def take(self, deadline: AttemptDeadline | None, now: float) -> Any:
        """Take an idle connection for this attempt. It may be expired. None if none fits, or if others wait."""
        holder: object
        if deadline is None:
            holder, proven_since = threading.get_ident(), -math.inf
        else:
            holder, proven_since = deadline, deadline.proven_since
            if self not in deadline.queues:
                deadline.queues += (self,)
        with self._lock:
            if not self._idle or (self._waiting and not self.closed):
                return None
            conn = self._idle[0]
            idle_since = conn.idle_since
            own = None if deadline is None else deadline.peer
            if own is not None and (mine := next((one for one in self._idle if one.peer is own), None)) is not None:
                conn = mine  # the one this attempt used before: NTLM, for one, authenticates the socket
            # An expired one is taken as well: the caller closes it.
            elif conn.good_until >= now and (
                idle_since < now - _RECENT
                or idle_since < proven_since
                or idle_since < self.suspect_before
                or (deadline is not None and deadline.avoid)
            ):
                conn = self._find_locked(deadline, proven_since, now)
                if conn is None:
                    return None
            conn.holder = holder
            if self._idle and self._idle[0] is conn:
                del self._idle[0]
                self._old -= self._old > 0
            else:
                self._remove_locked(conn)
            conn.taken_at = now
        return conn

    def admit(self, conn: Any, deadline: AttemptDeadline | None) -> Any:
        """Give a new connection a place, even if there is no room."""
        conn.holder, _ = self._holder_of(deadline)
        conn.taken_at = _now()
        self._members.add(weakref.ref(conn, self._members.discard))
        return conn

    def wait(self, make: Callable[[], Any], deadline: AttemptDeadline | None, remaining: Callable[[], float]) -> Any:
        """In a pool with `block`: an idle connection, or a new one once there is room; first come, first served.

        None if the pool is closed meanwhile. `remaining` returns the seconds left, or raises.
        """
        own = threading.Lock()
        own.acquire()
        try:
            return self._wait_in_line(own, make, deadline, remaining)
        finally:
            if own in self._waiting:
                self._waiting.remove(own)
            self._wake()  # the next waiter, since this one may have been woken unnoticed

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """urllib3's call: an idle connection that is usable. With `block`, None if there is none.

        (urllib3 makes a new connection then, which waits for a place.)
        """
        conn = self.get_usable(None if self.closed else current_deadline())  # urllib3 closes a pool by taking all
        if conn is None and not block:
            raise queue.Empty
        return conn

    def get_usable(self, deadline: AttemptDeadline | None) -> Any:
        """An idle connection that is usable; None if there is none."""
        while (conn := self.take(deadline, now := _now())) is not None and not conn.is_usable(now):
            self.drop(conn)
        return conn

    def put(self, conn: Any, block: bool = True, timeout: float | None = None) -> None:
        """Give back an open connection. Above `maxsize` the one unused for longest is closed.

        (urllib3 fills a new pool with None.)
        """
        if conn is None:
            return
        surplus = None
        with self._lock:
            if self.closed:
                surplus = conn
            else:
                if len(self._idle) >= self.maxsize:
                    surplus = self._idle[0]
                    surplus.holder = conn.holder
                    del self._idle[0]
                    self._old -= self._old > 0
                conn.holder = None
                insort(self._idle, conn, key=_taken_at)
                if self._old and conn.taken_at <= self._idle[self._old - 1].taken_at:
                    self._old = bisect_left(self._idle, conn.taken_at, key=_taken_at)
        if surplus is not None:
            self.drop(surplus)
        elif self._waiting:
            self._wake()

    def drop(self, conn: Any) -> None:
        """Close a connection, and free its place."""
        conn.close()
        self._members.discard(weakref.ref(conn))
        if self._waiting:
            self._wake()

    def drop_taken(self, deadline: AttemptDeadline | None, *, unanswered: bool = False) -> None:
        """Close the connections that this attempt holds; with `unanswered`, only those without a response to read."""
        holder = deadline or threading.get_ident()
        for member in tuple(self._members):
            conn = member()
            if conn is not None and conn.holder == holder and not (unanswered and conn.is_answering):
                self.drop(conn)

    def close_idle_before(self, before: float, deadline: AttemptDeadline | None) -> None:
        """Close the idle connections that last responded before then. Meanwhile the attempt holds them."""
        holder, _ = self._holder_of(deadline)
        while (conn := self._take_first(before, holder)) is not None:
            self.drop(conn)

    def note_hedge_loss(self, taken_at: float) -> None:
        """Note that a reused connection, taken at `taken_at`, lost to a hedge attempt.

        Once may be chance, or one slow machine of several. But after a failover all idle sockets are dead. So if it
        happens again, and no socket from before the first loss has responded since, those idle since then are suspect.
        """
        earlier = self._hedge_lost_at
        if taken_at == earlier:
            return  # an attempt may be cancelled more than once
        self._hedge_lost_at = taken_at
        for member in tuple(self._members):
            conn = member()
            if conn is not None and conn.opened_at < earlier <= conn.idle_since:
                return
        self.suspect_before = earlier

    def close(self) -> None:
        """Let all waiters go on without a place, and take nothing back any more."""
        self.closed = True
        for own in tuple(self._waiting):
            _release(own)

    def _wait_in_line(
        self, own: Any, make: Callable[[], Any], deadline: AttemptDeadline | None, remaining: Callable[[], float]
    ) -> Any:
        # Not inside the `try` of `wait`: since Python 3.12 the jump back of a loop is outside of the `try` around the
        # loop, and a signal handler may raise there.
        longest = _SLICE if deadline is None or deadline.canceller is None else _SHORT_SLICE
        self._waiting.append(own)
        while not self.closed:
            if self._waiting[0] is own:
                conn = self._claim(make, deadline)
                if conn is not None:
                    return conn
            own.acquire(timeout=min(remaining(), longest))
        return None

    def _holder_of(self, deadline: AttemptDeadline | None) -> tuple[object, float]:
        """The holder, and the time since when a connection must have responded to be taken."""
        if deadline is None:
            return threading.get_ident(), -math.inf
        if self not in deadline.queues:
            deadline.queues += (self,)
        return deadline, deadline.proven_since

    def _claim(self, make: Callable[[], Any], deadline: AttemptDeadline | None) -> Any:
        """A connection for the first waiter; None if there is none yet."""
        holder, proven_since = self._holder_of(deadline)
        now = _now()
        with self._lock:
            conn = self._find_locked(deadline, proven_since, now)
            if conn is not None:
                conn.holder = holder
                self._remove_locked(conn)
                conn.taken_at = now
                return conn
        if len(self._members) >= self.maxsize:
            self.close_idle_before(proven_since, deadline)
            if len(self._members) >= self.maxsize:
                conn = self._take_first(math.inf, holder)
                if conn is None:
                    return None
                self.drop(conn)  # makes room for the new one
        return self.admit(make(), deadline)

    def _find_locked(self, deadline: AttemptDeadline | None, proven_since: float, now: float) -> Any:
        """The idle connection to take: the first of the recent ones, else the one used last; None if none fits."""
        avoid = () if deadline is None else deadline.avoid
        recent, suspect_before = now - _RECENT, self.suspect_before
        all_old = True
        for conn in self._idle[self._old :]:
            idle_since = conn.idle_since
            if idle_since < recent:
                self._old += all_old
                continue
            all_old = False
            if (
                idle_since >= suspect_before
                and idle_since >= proven_since
                and (not avoid or conn.peer.differs_from(avoid))
            ):
                return conn
        doubtful = None
        for conn in reversed(self._idle):
            if conn.idle_since >= proven_since and (not avoid or conn.peer.differs_from(avoid)):
                if conn.idle_since >= suspect_before:
                    return conn
                if doubtful is None:
                    doubtful = conn
        return doubtful

    def _remove_locked(self, conn: Any) -> None:
        """Remove an idle connection, before `taken_at`, the sort key, changes."""
        position = bisect_left(self._idle, conn.taken_at, key=_taken_at)
        if position < len(self._idle) and self._idle[position] is conn:
            del self._idle[position]
            self._old -= self._old > position
        else:  # others have the same `taken_at`
            with contextlib.suppress(ValueError):  # the garbage collector ran, and `put` closed it as surplus
                self._idle.remove(conn)
                self._old = 0

    def _take_first(self, before: float, holder: object) -> Any:
        with self._lock:
            conn = next((conn for conn in self._idle if conn.idle_since < before), None)
            if conn is not None:
                conn.holder = holder
                self._remove_locked(conn)
        return conn

    def _wake(self) -> None:
        """Wake the first waiter."""
        with contextlib.suppress(IndexError):
            _release(self._waiting[0])


def _release(lock: Any) -> None:
    with contextlib.suppress(RuntimeError, ValueError):  # woken twice
        lock.release()
