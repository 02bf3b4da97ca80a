"""The deadline of the attempt that runs in a thread.

A socket's own timeout bounds one read. A server that sends a byte at a time never reaches it, so the remaining time of
the attempt is set as the timeout before each read, write and connect.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.policy import SERVER_FAILURES
from sleepwalker.transport.addresses import Peer
from sleepwalker.transport.blocking.canceller import Canceller
from sleepwalker.transport.error_context import Phase

T = TypeVar("T")
#: The fewest seconds that a read of a stream waits, so that it finds bytes that have arrived.
_GLANCE = 0.001


class AttemptDeadline:
    """The deadline of one attempt, its phase, and the sockets it uses."""

    __slots__ = (
        "_clock",
        "_connect",
        "_connect_by",
        "_ends_at",
        "_heard_at",
        "_read",
        "_read_by",
        "_silent",
        "at_proxy",
        "avoid",
        "broke",
        "canceller",
        "deadline_hit",
        "failures",
        "fast",
        "hook_phase",
        "hook_taken_at",
        "peer",
        "phase",
        "proven_since",
        "proxy",
        "queues",
        "response",
        "reused",
        "taken_at",
    )

    def __init__(
        self,
        clock: Clock,
        *,
        connect: float,
        read: float,
        ends_at: float,
        canceller: Canceller | None = None,
        proven_since: float = -math.inf,
    ) -> None:
        self._clock = clock
        self._connect = connect
        self._read = read
        self._ends_at: float | None = ends_at
        self._connect_by = ends_at
        # Of a stream: when the present read must end, when bytes arrived last, and how long nothing had arrived when
        # the read before ran out of time.
        self._read_by: float | None = None
        self._heard_at = self._silent = 0.0
        self.phase: Phase | None = None
        """None until one of our pools is asked for a connection, which a mock or another adapter never does."""
        self.response: Any = None
        """The latest response, from its head on, so that it can always be closed."""
        self.hook_phase: Phase | Literal["over"] | None = "over"
        """The phase in which the response hooks began; "over" where none runs."""
        self.hook_taken_at = 0.0
        """`taken_at` as the response hooks began: hooks may send again, as Digest does."""
        self.deadline_hit = False
        """Whether the attempt's deadline was the shortest limit, rather than `connect` or `read`."""
        self.canceller = canceller
        """Set if another thread may cancel the attempt."""
        self.proven_since = proven_since
        """An idle socket is used only if it has responded since then; with infinity, idle ones are closed."""
        self.queues: tuple[Any, ...] = ()
        """The queues of the pools that sockets were taken from."""
        self.reused: Any = None
        """The queue of the latest socket, if that was reused; None for a new one."""
        self.taken_at = 0.0
        """When the latest socket was taken."""
        self.peer: Peer | None = None
        """The other end of the latest socket."""
        self.proxy: str | None = None
        """Host and port of the proxy that the latest request goes through."""
        self.at_proxy = False
        """Whether that proxy is being connected to, or asked for a tunnel."""
        self.avoid: tuple[Peer, ...] = ()
        """The other ends of the earlier attempts' sockets, which this attempt avoids."""
        self.broke = False
        """Whether a body ended (well or not) or could not be read since the response hooks began."""
        self.fast = False
        """Whether requests may take the fast path."""
        self.failures = SERVER_FAILURES
        """The statuses that count as failures of the host: a socket that brought one is not reused."""

    def cancel(self) -> None:
        """Leave no time from now on and, with a canceller, end the current wait. Any thread may call it."""
        if self.reused is not None and self.phase in ("send", "head"):
            self.reused.note_hedge_loss(self.taken_at)
        self._ends_at = -math.inf
        if self.canceller is not None:
            self.canceller.cancel()

    def end(self) -> None:
        """The attempt is over: from here on it cannot be cancelled."""
        if self.canceller is not None:
            self.canceller.detach()

    def release(self) -> None:
        """Close the latest response and all sockets that were not given back. Calling it twice does no harm."""
        response = self.response
        if response is not None:
            with contextlib.suppress(Exception):
                response.close()
                if hasattr(response, "release_conn"):  # urllib3's response, before requests wraps it
                    response.release_conn()
        for queue in self.queues:
            queue.drop_taken(self)

    def close_older_idle(self) -> None:
        """The latest socket broke. If it was reused, close the sockets that were idle when it was taken, too."""
        if self.reused is None or self.phase not in ("send", "head", "body"):
            return
        if self.canceller is not None and self.canceller.cancelled:
            return
        try:
            self.reused.close_idle_before(self.taken_at, self)
        except BaseException:
            self.release()
            raise

    def begin_connect(self) -> None:
        """Name look-up, connect and TLS handshake share `connect` seconds from now on."""
        self.phase = "connect"
        self._connect_by = self._clock.monotonic() + self._connect

    def end_with_head(self, body_ends_at: float | None) -> None:
        """The deadline is met: from now on `read` bounds each read, and `body_ends_at`, if it is given, all of them."""
        self.phase = "body"
        self._ends_at = body_ends_at

    def begin_read(self, in_time: bool) -> None:
        """A read of a stream begins. With `in_time` it may take `read` seconds at most until `end_read`.

        TimeoutError if the time for the whole body is over.
        """
        self.remaining()
        if in_time:
            now = self._clock.monotonic()
            self._read_by = now + self._read
            self._heard_at = now - min(self._silent, self._read - _GLANCE)

    def end_read(self) -> None:
        """The read is over. If it ran out of time, the next one waits at most `timeout.read`."""
        self._silent = self._clock.monotonic() - self._heard_at if self.read_is_over else 0.0
        self._read_by = None

    def heard(self) -> None:
        """Bytes of a stream arrived."""
        self._heard_at = self._clock.monotonic()

    @property
    def in_read(self) -> bool:
        """Whether a read of a stream is under way that ends after `read` seconds with what has arrived."""
        return self._read_by is not None

    @property
    def read_is_over(self) -> bool:
        """Whether the time for the present read of a stream is over."""
        return self._read_by is not None and self._clock.monotonic() >= self._read_by

    @property
    def in_hook(self) -> bool:
        """Whether the caller's response hooks are running, and none of our sockets caused what they raise."""
        return self.hook_phase == self.phase and self.hook_taken_at == self.taken_at and not self.broke

    def remaining(self) -> float:
        """Seconds left for the next step; TimeoutError if there are none."""
        now = self._clock.monotonic()
        overall = None if self._ends_at is None else self._ends_at - now
        if self.phase in ("connect", "tls"):
            step: float | None = self._connect_by - now
        elif self.phase in ("head", "body"):
            step = self._read if self._read_by is None else min(self._read_by, self._heard_at + self._read) - now
        else:
            step = None
        if overall is not None and (step is None or overall <= step):
            self.deadline_hit = True
            step = overall
        else:
            self.deadline_hit = False
        if step is None or step <= 0:
            raise TimeoutError("timed out")
        return step


class _Current(threading.local):
    deadline: AttemptDeadline | None = None


_current = _Current()


def current_deadline() -> AttemptDeadline | None:
    """The deadline of this thread's attempt; None if the session is used by hand."""
    return _current.deadline


def run_with_deadline(deadline: AttemptDeadline, act: Callable[..., T], *args: Any) -> T:
    """Call `act(*args)` with `deadline` in force for what it sends. Deadlines nest: an auth object may send, too.

    If anything is raised, the response and the sockets of the attempt are released: a response hook may raise before
    the caller has the response. If a signal handler interrupts that, it is done again.
    """
    outer = _current.deadline
    try:
        _current.deadline = deadline
        return act(*args)
    except BaseException:
        try:
            deadline.release()
        except BaseException:
            deadline.release()
            raise
        raise
    finally:
        _current.deadline = outer
        deadline.response = None  # a cycle: the response refers to its reader, which refers to the deadline
