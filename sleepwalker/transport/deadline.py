"""The limits of the attempt under way in a thread, and a name look-up that keeps to them.

A socket's own timeout bounds one read. A server that drips a byte at a time never meets it, so what is
left of the attempt's deadline is worked out anew before each read, write and connect.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import math
import socket
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.fork import renew_after_fork
from sleepwalker.latch import Latch
from sleepwalker.policy import SERVER_FAILURES
from sleepwalker.transport.addresses import AddressInfo, Route
from sleepwalker.transport.grip import Grip

T = TypeVar("T")
Phase = Literal["queue", "connect", "tls", "send", "head", "body", "wait"]


class NoThread(OSError):
    """This machine has no thread left; the words are ours."""


class Limits:
    """What one attempt may take, and how far it has come."""

    __slots__ = (
        "_clock",
        "_connect",
        "_connect_by",
        "_deadline",
        "_read",
        "answer",
        "avoid",
        "cut",
        "failures",
        "grip",
        "phase",
        "places",
        "proven_since",
        "reused",
        "route",
        "since_answer",
        "taken_at",
    )

    def __init__(
        self,
        clock: Clock,
        *,
        connect: float,
        read: float,
        deadline: float,
        grip: Grip | None = None,
        proven_since: float = -math.inf,
    ) -> None:
        self._clock = clock
        self._connect = connect
        self._read = read
        self._deadline: float | None = deadline
        self._connect_by = deadline
        self.phase: Phase | None = None
        """None until a pool of ours is asked for a connection: a mock or a session of its own kind never does."""
        self.answer: Any = None
        """The latest answer, from its head on: so that it can be closed whatever becomes of it."""
        self.since_answer: Phase | Literal["over"] | None = "over"
        """The phase in which `answer` was handed to response hooks; "over" where none is at work."""
        self.cut = False
        """True once the attempt's deadline, rather than `connect` or `read`, was the limit that mattered."""
        self.grip = grip
        """For an attempt that another thread may cancel."""
        self.proven_since = proven_since
        """A socket that lay idle is used only if it has answered since then; where this is infinity, it is closed."""
        self.places: tuple[Any, ...] = ()
        """Of each pool that a socket was taken from."""
        self.reused: Any = None
        """The places of the latest socket, if it had lain idle; None for a new one."""
        self.taken_at = 0.0
        """When the latest socket was taken."""
        self.route: Route | None = None
        """Where the latest socket leads."""
        self.avoid: tuple[Route, ...] = ()
        """Where those of the call's earlier attempts led: this one goes elsewhere."""
        self.failures = SERVER_FAILURES
        """The statuses that are failures of the host: a socket that brought one is not used again."""

    def cancel(self) -> None:
        """Leave no time from now on, and end what is waited for. For an attempt with a grip, from any thread."""
        if self.reused is not None and self.phase in ("send", "head"):
            self.reused.lost(self.taken_at)
        self._deadline = -math.inf
        if self.grip is not None:
            self.grip.cancel()

    def end(self) -> None:
        """The attempt is over: from here on it cannot be cancelled."""
        if self.grip is not None:
            self.grip.release()

    def let_go(self) -> None:
        """Close the latest answer and all sockets that were taken and not given back. Done twice, it does no harm."""
        answer = self.answer
        if answer is not None:
            with contextlib.suppress(Exception):
                answer.close()
                if hasattr(answer, "release_conn"):  # urllib3's, of which requests had not made its own yet
                    answer.release_conn()
        for places in self.places:
            places.drop_taken(self)

    def doubt_others(self) -> None:
        """The latest socket broke. If it had lain idle, those that have lain idle since before it was taken go, too."""
        if self.reused is None or self.phase not in ("send", "head", "body"):
            return
        if self.grip is not None and self.grip.cancelled:
            return
        try:
            self.reused.doubt(self.taken_at, self)
        except BaseException:
            self.let_go()
            raise

    def begin_connect(self) -> None:
        """Name look-up, connect and TLS handshake share `connect` seconds from here."""
        self.phase = "connect"
        self._connect_by = self._clock.monotonic() + self._connect

    def end_with_head(self) -> None:
        """The deadline is met: what is read from here on, each time, is bounded by `read` alone."""
        self.phase = "body"
        self._deadline = None

    @property
    def in_a_hook(self) -> bool:
        """Whether code of the caller's is at work on an answer, and has not used a socket of ours since."""
        return self.since_answer != "over" and self.since_answer == self.phase

    def left(self) -> float:
        """Seconds that the next step may take; TimeoutError where there are none."""
        now = self._clock.monotonic()
        overall = None if self._deadline is None else self._deadline - now
        if self.phase in ("connect", "tls"):
            step: float | None = self._connect_by - now
        elif self.phase in ("head", "body"):
            step = self._read
        else:
            step = None
        if overall is not None and (step is None or overall <= step):
            self.cut = True
            step = overall
        else:
            self.cut = False
        if step is None or step <= 0:
            raise TimeoutError("timed out")
        return step


class _Current(threading.local):
    limits: Limits | None = None


_current = _Current()


def current_limits() -> Limits | None:
    """The limits of this thread's attempt; None where the session is used without a connection."""
    return _current.limits


def under(limits: Limits, act: Callable[..., T], *args: Any) -> T:
    """What `act(*args)` returns, with `limits` over what it sends. They nest: an auth object may send something itself.

    If anything is raised, nothing of what the attempt took is left with it: a response hook raises before anybody else
    has the answer. An exception from a signal handler may come while that is seen to; then it is seen to again.
    """
    outer = _current.limits
    try:
        _current.limits = limits
        return act(*args)
    except BaseException:
        try:
            limits.let_go()
        except BaseException:
            limits.let_go()
            raise
        raise
    finally:
        _current.limits = outer
        limits.answer = None  # the answer holds its reader, which holds the limits


class _LookUp:
    """One look-up of a name, by a thread of its own."""

    __slots__ = ("done", "error", "found")

    def __init__(self) -> None:
        self.done = Latch()
        self.found: list[AddressInfo] = []
        self.error: BaseException | None = None


_lookups: dict[tuple[str, int], _LookUp] = {}
_lookups_lock = threading.Lock()


def resolve(host: str, port: int, timeout: float) -> list[AddressInfo]:
    """`socket.getaddrinfo` that gives up after `timeout` seconds with TimeoutError.

    The system's resolver cannot be interrupted, so it runs in a thread of its own, one for each name at a
    time: a name server that hangs costs one thread, however many callers wait.
    """
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    with _lookups_lock:
        lookup = _lookups.get((host, port))
        if lookup is None or lookup.done.is_set():
            lookup = _LookUp()
            try:
                threading.Thread(
                    target=_look_up, args=(host, port, lookup), daemon=True, name=f"resolve {host}"
                ).start()
            except RuntimeError:
                raise NoThread(errno.EAGAIN, "no thread left to look the name up") from None
            # Known only now: of a look-up whose thread was never started nobody would hear.
            _lookups[host, port] = lookup
    if not lookup.done.wait(timeout):
        raise TimeoutError("timed out")
    if lookup.error is not None:
        raise lookup.error
    return lookup.found


def _look_up(host: str, port: int, lookup: _LookUp) -> None:
    try:
        lookup.found = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except BaseException as error:  # noqa: BLE001 - it is raised by whoever waits
        lookup.error = error
    lookup.done.set()
    with _lookups_lock:
        if _lookups.get((host, port)) is lookup:
            del _lookups[host, port]


def _renew_after_fork() -> None:
    # The threads that look names up are the parent's; so may be whoever holds the lock.
    global _lookups_lock
    _lookups_lock = threading.Lock()
    _lookups.clear()


renew_after_fork("lookups", _renew_after_fork)
