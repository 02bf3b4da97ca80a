"""Name look-ups with a timeout."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import threading
from collections.abc import Callable
from functools import partial

from sleepwalker.drivers.threads import workers
from sleepwalker.fork import renew_after_fork
from sleepwalker.latch import Latch
from sleepwalker.transport.addresses import AddressInfo


class NoThreadLeft(OSError):
    """No thread could be started on this machine."""


class LookUp:
    """One look-up of a name, which runs in its own thread."""

    __slots__ = ("_callbacks", "_error", "_found", "done")

    def __init__(self) -> None:
        self.done: Latch = Latch()
        self._found: list[AddressInfo] = []
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []

    def result(self) -> list[AddressInfo]:
        """The addresses, once it is done. OSError if there are none."""
        if self._error is not None:
            raise self._error
        return self._found

    def when_done(self, act: Callable[[], None]) -> None:
        """Call `act` once it is done, in its thread, or at once if it is. It must be quick, and not raise."""
        self._callbacks.append(act)
        if self.done.is_set():
            act()

    def forget(self, act: Callable[[], None]) -> None:
        """Do not call `act` any more."""
        with contextlib.suppress(ValueError):
            self._callbacks.remove(act)

    def run(self, host: str, port: int, flags: int = 0) -> None:
        """Ask the system."""
        try:
            self._found = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
        except BaseException as error:  # noqa: BLE001 - raised by those who wait
            self._error = error
        self.done.set()
        for act in tuple(self._callbacks):
            act()


_lookups: dict[tuple[str, int], LookUp] = {}
_lookups_lock = threading.Lock()


def resolve(host: str, port: int, timeout: float) -> list[AddressInfo]:
    """`socket.getaddrinfo` that gives up after `timeout` seconds with TimeoutError."""
    lookup = begin(host, port)
    if not lookup.done.wait(timeout):
        raise TimeoutError("timed out")
    return lookup.result()


def begin(host: str, port: int) -> LookUp:
    """Look a name up. For an address that is done at once.

    The system's resolver cannot be interrupted, so it runs in a thread. All callers of one name share one: a name
    server that hangs costs one thread, however many callers wait.
    """
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        numeric = LookUp()
        numeric.run(host, port, socket.AI_NUMERICHOST)
        return numeric
    with _lookups_lock:
        lookup = _lookups.get((host, port))
        if lookup is None or lookup.done.is_set():
            lookup = LookUp()
            try:
                workers.start(partial(_look_up, host, port, lookup), f"resolve {host}")
            except workers.NoThread:
                raise NoThreadLeft(errno.EAGAIN, "no thread left to look the name up") from None
            # Registered only now: a look-up whose thread did not start would never end.
            _lookups[host, port] = lookup
    return lookup


def _look_up(host: str, port: int, lookup: LookUp) -> None:
    lookup.run(host, port)
    with _lookups_lock:
        if _lookups.get((host, port)) is lookup:
            del _lookups[host, port]


def _renew_after_fork() -> None:
    # The look-up threads, and a thread that holds the lock, exist only in the parent.
    global _lookups_lock
    _lookups_lock = threading.Lock()
    _lookups.clear()


renew_after_fork("lookups", _renew_after_fork)
