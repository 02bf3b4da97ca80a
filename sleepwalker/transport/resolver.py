"""Name look-ups with a timeout."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from functools import partial

from sleepwalker.drivers.threads import workers
from sleepwalker.fork import renew_after_fork
from sleepwalker.latch import Latch
from sleepwalker.transport.addresses import AddressInfo


class NoThreadLeft(OSError):
    """No thread could be started on this machine."""


class _LookUp:
    """One look-up of a name, which runs in its own thread."""

    __slots__ = ("done", "error", "found")

    def __init__(self) -> None:
        self.done = Latch()
        self.found: list[AddressInfo] = []
        self.error: BaseException | None = None


_lookups: dict[tuple[str, int], _LookUp] = {}
_lookups_lock = threading.Lock()


def resolve(host: str, port: int, timeout: float) -> list[AddressInfo]:
    """`socket.getaddrinfo` that gives up after `timeout` seconds with TimeoutError.

    The system's resolver cannot be interrupted, so it runs in a thread. All callers of one name share one: a name
    server that hangs costs one thread, however many callers wait.
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
                workers.start(partial(_look_up, host, port, lookup), f"resolve {host}")
            except workers.NoThread:
                raise NoThreadLeft(errno.EAGAIN, "no thread left to look the name up") from None
            # Registered only now: a look-up whose thread did not start would never end.
            _lookups[host, port] = lookup
    if not lookup.done.wait(timeout):
        raise TimeoutError("timed out")
    if lookup.error is not None:
        raise lookup.error
    return lookup.found


def _look_up(host: str, port: int, lookup: _LookUp) -> None:
    try:
        lookup.found = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except BaseException as error:  # noqa: BLE001 - raised by those who wait
        lookup.error = error
    lookup.done.set()
    with _lookups_lock:
        if _lookups.get((host, port)) is lookup:
            del _lookups[host, port]


def _renew_after_fork() -> None:
    # The look-up threads, and a thread that holds the lock, exist only in the parent.
    global _lookups_lock
    _lookups_lock = threading.Lock()
    _lookups.clear()


renew_after_fork("lookups", _renew_after_fork)
