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
from concurrent.futures import Future
from typing import Any, Literal

from sleepwalker.clock import Clock
from sleepwalker.fork import renew_after_fork
from sleepwalker.transport.grip import Grip

Phase = Literal["queue", "connect", "tls", "send", "head", "body", "wait"]


class Limits:
    """What one attempt may take, and how far it has come."""

    __slots__ = (
        "_clock",
        "_connect",
        "_connect_by",
        "_deadline",
        "_read",
        "answer",
        "cut",
        "grip",
        "phase",
        "since_answer",
    )

    def __init__(self, clock: Clock, *, connect: float, read: float, deadline: float, grip: Grip | None = None) -> None:
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

    def cancel(self) -> None:
        """Leave no time from now on, and end what is waited for. For an attempt with a grip, from any thread."""
        self._deadline = -math.inf
        if self.grip is not None:
            self.grip.cancel()

    def end(self) -> None:
        """The attempt is over: from here on it cannot be cancelled."""
        if self.grip is not None:
            self.grip.release()

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


class attempt_limits:  # noqa: N801 - used as a statement; a generator would cost microseconds on every attempt
    """Put `limits` over what this thread sends. An auth object may make requests of its own, so they nest.

    If anything is raised the latest answer is closed: a response hook raises before anybody else has it.
    """

    __slots__ = ("_limits", "_outer")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._outer: Limits | None = None

    def __enter__(self) -> None:
        self._outer, _current.limits = _current.limits, self._limits

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            # Let go of it in any case: the answer holds its reader, which holds the limits.
            answer, self._limits.answer = self._limits.answer, None
            if kind is not None and answer is not None:
                with contextlib.suppress(Exception):
                    answer.close()
                    if hasattr(answer, "release_conn"):  # urllib3's, of which requests had not made its own yet
                        answer.release_conn()
        finally:
            _current.limits = self._outer


AddressInfo = tuple[Any, ...]

_lookups: dict[tuple[str, int], Future[list[AddressInfo]]] = {}
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
        future = _lookups.get((host, port))
        starts = future is None
        if future is None:
            future = _lookups[host, port] = Future()
    if starts:
        try:
            threading.Thread(target=_look_up, args=(host, port, future), daemon=True, name=f"resolve {host}").start()
        except RuntimeError:
            _forget(host, port, future)
            future.set_exception(OSError(errno.EAGAIN, "no thread left to look the name up"))
    return future.result(timeout)


def _look_up(host: str, port: int, future: Future[list[AddressInfo]]) -> None:
    try:
        result = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except BaseException as error:  # noqa: BLE001 - it is raised by whoever waits
        _forget(host, port, future)
        future.set_exception(error)
    else:
        _forget(host, port, future)
        future.set_result(result)


def _forget(host: str, port: int, future: Future[list[AddressInfo]]) -> None:
    with _lookups_lock:
        if _lookups.get((host, port)) is future:
            del _lookups[host, port]


def _renew_after_fork() -> None:
    # The threads that look names up are the parent's; so may be whoever holds the lock.
    global _lookups_lock
    _lookups_lock = threading.Lock()
    _lookups.clear()


renew_after_fork("lookups", _renew_after_fork)
