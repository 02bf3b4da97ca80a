"""The deadline of an attempt that runs in a task: it cuts any wait of the task.

aiohttp's own timeouts are not used. From 5 s on they round up to whole seconds, they limit each wait separately, and
they have mistaken a caller's cancellation for their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakValueDictionary

import requests

from sleepwalker.clock import Clock
from sleepwalker.transport.addresses import Peer
from sleepwalker.transport.error_context import Phase

#: Seconds after which a task that still runs is cancelled again: what it called may have swallowed the cancellation.
_AGAIN = 0.01
#: With this many entries, those that are over are removed.
_COMPACT_AT = 256


class Socket(Protocol):
    """A socket that an attempt uses."""

    peer: Peer
    """Its other end."""

    def close(self) -> None:
        """Close it at once."""
        ...

    def check_end(self, response: requests.Response) -> None:
        """MalformedResponse if the body of a response ended with the connection, without TLS announcing the end."""
        ...

    def done(self, now: float, keep_alive: float) -> None:
        """The response is complete; the server keeps the socket open for `keep_alive` seconds."""
        ...


class Pool(Protocol):
    """The source of sockets."""

    def close_idle(self, before: float) -> None:
        """Close the sockets that have been idle since `before`, on the pool's clock."""
        ...


class _Timers:
    """The deadlines of a loop's attempts. Most attempts end before theirs, and begin in the order of expiry.

    So one timer of the loop serves all that come in that order. A timer for each attempt would cost more.
    """

    __slots__ = ("__weakref__", "_compact_at", "_loop", "_queue", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._compact_at = _COMPACT_AT
        self._queue: deque[tuple[float, AttemptDeadline]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, at: float, deadline: AttemptDeadline) -> bool:
        """Have `deadline.due` called at that time, unless it is over by then. False if a later one is in the queue."""
        queue = self._queue
        while queue and queue[0][1].over:
            queue.popleft()
        if queue and at < queue[-1][0]:
            return False
        queue.append((at, deadline))
        if len(queue) >= self._compact_at:  # a long one holds up those behind it
            queue = self._queue = deque(entry for entry in queue if not entry[1].over)
            self._compact_at = max(_COMPACT_AT, 2 * len(queue))
        timer = self._timer
        if timer is not None and at < timer.when():  # it was set for one that is over
            timer.cancel()
            timer = None
        if timer is None:
            self._timer = self._loop.call_at(at, self._due)
        return True

    def _due(self) -> None:
        self._timer = None
        queue, now = self._queue, self._loop.time()
        while queue and (queue[0][1].over or queue[0][0] <= now):
            queue.popleft()[1].due()
        if queue:
            self._timer = self._loop.call_at(queue[0][0], self._due)


#: An entry stays while its timer is set. A closed loop drops its timers, so it is not kept.
_timers: WeakValueDictionary[asyncio.AbstractEventLoop, _Timers] = WeakValueDictionary()


def _timers_of(loop: asyncio.AbstractEventLoop) -> _Timers:
    found = _timers.get(loop)
    if found is None:
        found = _timers[loop] = _Timers(loop)
    return found


class AttemptDeadline:
    """The deadline of one attempt, its phase, and the socket that it uses. Times are those of its loop."""

    __slots__ = (
        "_at",
        "_cancelling",
        "_ends_at",
        "_handle",
        "_seconds",
        "_task",
        "at_proxy",
        "avoid",
        "connect",
        "connects",
        "expired",
        "failures",
        "hit",
        "in_hook",
        "loop",
        "on_release",
        "opened",
        "peer",
        "phase",
        "proven_since",
        "proxy",
        "read",
        "reused",
        "several",
        "socket",
        "taken_at",
        "taken_from",
        "uploads",
    )

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        connect: float,
        read: float,
        ends_at: float,
        proven_since: float,
        failures: frozenset[int],
    ) -> None:
        """`ends_at` and `proven_since` are on the call's clock; `connect` and `read` are in seconds."""
        self.loop: asyncio.AbstractEventLoop = loop
        self.connect: float = connect
        self.read: float = read
        self._seconds = ends_at - clock.monotonic()
        self._ends_at = loop.time() + self._seconds
        self._at = self._ends_at
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.expired: bool = False
        """Whether time ran out."""
        self.hit: bool = True
        """Whether the attempt's deadline is the next limit, rather than `connect` or `read`."""
        self.phase: Phase = "queue"
        """What is waited for."""
        self.proven_since: float = proven_since
        """An idle socket is used only if it has responded since then; with infinity, idle ones are closed."""
        self.failures: frozenset[int] = failures
        """The statuses that count as failures of the host: a socket that brought one is not used again."""
        self.avoid: tuple[Peer, ...] = ()
        """The other ends of the earlier attempts' sockets, which this attempt avoids."""
        self.peer: Peer | None = None
        """The other end of the latest socket."""
        self.socket: Socket | None = None
        """The latest socket."""
        self.reused: bool = False
        """Whether the latest socket had been used before."""
        self.taken_from: Pool | None = None
        """The pool of the latest socket."""
        self.taken_at: float = 0.0
        """When the latest socket was taken, on the pool's clock."""
        self.uploads: bool = False
        """Whether the present request has a body that is sent in pieces."""
        self.in_hook: bool = False
        """Whether a hook of the caller's runs, or raised."""
        self.several: bool = False
        """Whether the name of the server has more than one address."""
        self.connects: int = 0
        """How often the present request asked for a socket: aiohttp may try again by itself."""
        self.opened: socket.socket | None = None
        """What is being connected."""
        self.proxy: str | None = None
        """Host and port of the proxy that the latest request goes through."""
        self.at_proxy: bool = False
        """Whether that proxy is being connected to, or asked for a tunnel."""
        self.on_release: Callable[[], None] | None = None
        """Closes the latest response."""

    # -- the time that is left

    def begin(self) -> None:
        """From now on the running task is cut when time runs out."""
        self._task = task = asyncio.current_task(self.loop)
        if task is None:  # a coroutine that something else than a task drives
            raise RuntimeError("calls must be awaited in an asyncio task")
        self._cancelling = task.cancelling()
        if not _timers_of(self.loop).add(self._ends_at, self):
            self._handle = self.loop.call_at(self._ends_at, self.due)

    def end(self, error: BaseException | None) -> bool:
        """The attempt ended with this error. Returns whether that is the cancellation by its own deadline."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        task, self._task = self._task, None
        if not self.expired or task is None:
            return False
        # If the caller cancelled the task as well, that cancellation goes on.
        return task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)

    def remaining(self) -> float:
        """Seconds left for the attempt; TimeoutError if there are none."""
        left = self._ends_at - self.loop.time()
        if left <= 0:
            self.hit = True
            raise TimeoutError("timed out")
        return left

    def begin_connect(self) -> None:
        """Name look-up, connect and TLS handshake share `connect` seconds from now on."""
        if self.phase == "queue":
            self.phase = "connect"
            self._bound(self.connect)

    def connected(self, used: Socket | None = None) -> None:
        """The request is about to be sent, over this socket if it is one of ours. Short requests are sent at once."""
        self.opened, self.at_proxy = None, False
        if used is not None:
            self.socket, self.peer = used, used.peer
        if self.uploads:
            self.await_piece()
        else:
            self.await_head()

    def await_piece(self) -> None:
        """The caller's own code makes a piece of the body: only the attempt's deadline limits that."""
        self.phase = "send"
        self.hit, self._at = True, self._ends_at

    def await_room(self) -> None:
        """A piece of the body is being sent: the server must take it within `read` seconds."""
        self.phase = "send"
        self._bound(self.read)

    def await_head(self) -> None:
        """The request is sent; it now waits for the response's head."""
        self.phase = "head"
        self._bound(self.read)

    def await_bytes(self) -> None:
        """The head has arrived; it now waits for bytes of the body."""
        self._bound(self.read)

    def doubt(self) -> None:
        """The latest socket was a reused one and broke: close others that have been idle as long."""
        if self.taken_from is not None:
            self.taken_from.close_idle(self.taken_at)

    def _bound(self, seconds: float) -> None:
        """What is waited for now may take so many seconds, within the attempt's deadline."""
        if seconds >= self._seconds:  # as in the usual policies: no need to look at the clock
            self.hit, self._at = True, self._ends_at
            return
        at = self.loop.time() + seconds
        self.hit = at >= self._ends_at
        self._at = self._ends_at if self.hit else at
        # A later time needs no other timer: the present one checks the time again.
        if self._at < (self._ends_at if self._handle is None else self._handle.when()):
            self._wake_at(self._at)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to cut."""
        return self._task is None

    def due(self) -> None:
        """Called by a timer of the loop: cut the task's wait if its time is over."""
        task = self._task
        if task is None:
            return
        if not self.expired and self.loop.time() < self._at:
            self._wake_at(self._at)
            return
        if not self.expired or not task.cancelling():
            self.expired = True
            task.cancel()
        self._wake_at(self.loop.time() + _AGAIN)

    def _wake_at(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self.loop.call_at(at, self.due)

    # -- the socket

    @property
    def in_tls(self) -> bool:
        """Whether the new socket has a peer, so that it waits for the TLS handshake."""
        if self.opened is None:
            return False
        try:
            self.opened.getpeername()
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Close the latest response, and its socket unless it was returned complete. Repeating it changes nothing."""
        close, self.on_release = self.on_release, None
        if close is not None:
            with contextlib.suppress(Exception):
                close()
        used, self.socket = self.socket, None
        if used is not None:
            used.close()


#: The attempt that the running task makes.
current: ContextVar[AttemptDeadline | None] = ContextVar("sleepwalker attempt", default=None)


def present() -> AttemptDeadline | None:
    """The deadline of the running task's attempt. A task started within an attempt may outlast it."""
    deadline = current.get()
    return None if deadline is None or deadline.over else deadline
