"""The places of a pool: the sockets that lie idle in it, those in use, and who waits for one.

An exception from a signal handler (Ctrl-C, a time limit) may strike a thread at the end of any call, at the beginning
of any function of Python's and at each turn of a loop, and nowhere else. What must not be torn apart, here, is done
without any of these between. A connection has its place from the moment that it is admitted until it is closed, and
knows who has taken it: whoever ends an attempt gives back what the attempt still has. Nobody waits on a lock that
others need afterwards; each waiter has one of its own.
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
from sleepwalker.transport.deadline import Limits, current_limits

#: A waiter looks up this often, in seconds: the thread that gives a place back may be struck before it wakes one.
_SLICE = 0.5
#: Where its attempt may be cancelled.
_SHORT_SLICE = 0.02
#: Connections that were used within so many seconds take turns. Common servers hang up after five seconds and more, so
#: none of them is in danger; and those that traffic no longer needs are left to grow old.
_RECENT = 1.0
_now = SYSTEM_CLOCK.monotonic
_taken_at = attrgetter("taken_at")


class Places:
    """What urllib3 calls the queue of a pool.

    Sockets that traffic needs are taken in turn, by when each was taken last: a machine that is quick to give its
    socket back, since it fails or does less, would otherwise be asked more than the others. Of those that lay idle for
    longer, the one that was taken last is taken again.

    It may be entered again by its own thread: the garbage collector comes by where it likes, and may give back the
    connection of an answer that it finds.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        """The most that lie idle; of a pool that blocks, the most there are."""
        self.doubtful_before = -math.inf
        """Connections whose last answer came before then are taken after the others: some of them brought nothing."""
        self.closed = False
        self._lock = threading.RLock()
        self._idle: list[Any] = []  # by when they were taken last
        self._old = 0  # so many of its first were seen to lie idle for longer than `_RECENT`; too few does no harm
        self._lost_at = -math.inf  # when the latest one was taken that a copy was quicker than
        self._members: set[weakref.ref[Any]] = set()
        self._line: list[Any] = []

    def qsize(self) -> int:
        """How many places are not in use."""
        return max(0, self.maxsize - len(self._members) + len(self._idle))

    def take(self, limits: Limits | None, now: float) -> Any:
        """An idle connection for this attempt; None where there is none to be had. It may be past its time.

        Those who wait for a place come first.
        """
        holder: object
        if limits is None:
            holder, proven_since = threading.get_ident(), -math.inf
        else:
            holder, proven_since = limits, limits.proven_since
            if self not in limits.places:
                limits.places += (self,)
        with self._lock:
            if not self._idle or (self._line and not self.closed):
                return None
            conn = self._idle[0]
            idle_since = conn.idle_since
            own = None if limits is None else limits.route
            if own is not None and (mine := next((one for one in self._idle if one.route is own), None)) is not None:
                conn = mine  # of this attempt's request before: what was agreed there, as by NTLM, is the socket's
            # One that is past its time is taken as well: whoever took it closes it.
            elif conn.good_until >= now and (
                idle_since < now - _RECENT
                or idle_since < proven_since
                or idle_since < self.doubtful_before
                or (limits is not None and limits.avoid)
            ):
                conn = self._find_locked(limits, proven_since, now)
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

    def admit(self, conn: Any, limits: Limits | None) -> Any:
        """Give a new connection a place, whether there is room or not."""
        conn.holder, _ = self._terms(limits)
        conn.taken_at = _now()
        self._members.add(weakref.ref(conn, self._members.discard))
        return conn

    def wait(self, make: Callable[[], Any], limits: Limits | None, left: Callable[[], float]) -> Any:
        """In a pool that blocks: an idle connection, or a new one once there is room; first come, first served.

        None where the pool is closed meanwhile. `left` gives the seconds that are left, or raises what is to be raised.
        """
        own = threading.Lock()
        own.acquire()
        try:
            return self._wait_in_line(own, make, limits, left)
        finally:
            if own in self._line:
                self._line.remove(own)
            self._wake()  # the next one: this one may have been woken, and not know

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As urllib3 asks: an idle connection that is fit. Where one may wait: None, as for a place that is free.

        (urllib3 makes a connection then, and that is where a place is waited for.)
        """
        limits = None if self.closed else current_limits()  # whoever closes it takes all
        while (conn := self.take(limits, now := _now())) is not None and not conn.is_fit(now):
            self.drop(conn)
        if conn is None and not block:
            raise queue.Empty
        return conn

    def put(self, conn: Any, block: bool = True, timeout: float | None = None) -> None:
        """Give back an open connection; where that is one too many, the one not taken for longest is closed.

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
        elif self._line:
            self._wake()

    def drop(self, conn: Any) -> None:
        """Close a connection, which has its place no longer."""
        conn.close()
        self._members.discard(weakref.ref(conn))
        if self._line:
            self._wake()

    def drop_taken(self, limits: Limits | None, *, unanswered: bool = False) -> None:
        """Close what this attempt has taken and not given back; or only that of it that brings no answer just now."""
        holder = limits or threading.get_ident()
        for member in tuple(self._members):
            conn = member()
            if conn is not None and conn.holder == holder and not (unanswered and conn.brings_answer):
                self.drop(conn)

    def doubt(self, before: float, limits: Limits | None) -> None:
        """Close the idle connections whose last answer came before then. They are the attempt's meanwhile."""
        holder, _ = self._terms(limits)
        while (conn := self._take_first(before, holder)) is not None:
            self.drop(conn)

    def lost(self, taken_at: float) -> None:
        """A connection that had lain idle was taken then, and a copy of its request was answered before it was.

        That may be chance, or one machine of several. But after a failover all are dead: where it happens again, and
        none that is as old has answered since the time before, those that lie idle since then are in doubt.
        """
        earlier = self._lost_at
        if taken_at == earlier:
            return  # whoever cuts an attempt may do so more than once
        self._lost_at = taken_at
        for member in tuple(self._members):
            conn = member()
            if conn is not None and conn.opened_at < earlier <= conn.idle_since:
                return
        self.doubtful_before = earlier

    def close(self) -> None:
        """Have everyone who waits go on without a place, and take nothing back any more."""
        self.closed = True
        for own in tuple(self._line):
            _release(own)

    def _wait_in_line(self, own: Any, make: Callable[[], Any], limits: Limits | None, left: Callable[[], float]) -> Any:
        # Not within the `try` of `wait`: since Python 3.12 a loop's jump back stands outside of the `try` around it,
        # and a signal handler may raise there.
        longest = _SLICE if limits is None or limits.grip is None else _SHORT_SLICE
        self._line.append(own)
        while not self.closed:
            if self._line[0] is own:
                conn = self._claim(make, limits)
                if conn is not None:
                    return conn
            own.acquire(timeout=min(left(), longest))
        return None

    def _terms(self, limits: Limits | None) -> tuple[object, float]:
        """Who takes, and since when a connection must have answered to be taken."""
        if limits is None:
            return threading.get_ident(), -math.inf
        if self not in limits.places:
            limits.places += (self,)
        return limits, limits.proven_since

    def _claim(self, make: Callable[[], Any], limits: Limits | None) -> Any:
        """A connection for the first in the line; None where there is none to be had yet."""
        holder, proven_since = self._terms(limits)
        now = _now()
        with self._lock:
            conn = self._find_locked(limits, proven_since, now)
            if conn is not None:
                conn.holder = holder
                self._remove_locked(conn)
                conn.taken_at = now
                return conn
        if len(self._members) >= self.maxsize:
            self.doubt(proven_since, limits)
            if len(self._members) >= self.maxsize:
                conn = self._take_first(math.inf, holder)
                if conn is None:
                    return None
                self.drop(conn)  # the new one takes its place
        return self.admit(make(), limits)

    def _find_locked(self, limits: Limits | None, proven_since: float, now: float) -> Any:
        """The idle connection to take, None where none is fit: of those in use the first, else the one taken last."""
        avoid = () if limits is None else limits.avoid
        recent, doubtful_before = now - _RECENT, self.doubtful_before
        all_old = True
        for conn in self._idle[self._old :]:
            idle_since = conn.idle_since
            if idle_since < recent:
                self._old += all_old
                continue
            all_old = False
            if (
                idle_since >= doubtful_before
                and idle_since >= proven_since
                and (not avoid or conn.route.leads_past(avoid))
            ):
                return conn
        doubtful = None
        for conn in reversed(self._idle):
            if conn.idle_since >= proven_since and (not avoid or conn.route.leads_past(avoid)):
                if conn.idle_since >= doubtful_before:
                    return conn
                if doubtful is None:
                    doubtful = conn
        return doubtful

    def _remove_locked(self, conn: Any) -> None:
        """Take one out of those that lie idle, before the time is noted by which they are sorted."""
        position = bisect_left(self._idle, conn.taken_at, key=_taken_at)
        if position < len(self._idle) and self._idle[position] is conn:
            del self._idle[position]
            self._old -= self._old > position
        else:  # others were taken at the same moment
            with contextlib.suppress(ValueError):  # the garbage collector came by, and closed it as one too many
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
        """Have the first in the line look."""
        with contextlib.suppress(IndexError):
            _release(self._line[0])


def _release(lock: Any) -> None:
    with contextlib.suppress(RuntimeError, ValueError):  # it is free already: woken twice
        lock.release()
