"""Sockets that keep the deadline of the attempt that uses them.

The timeouts of httpcore limit each step separately, so a server that sends one byte at a time never reaches them. Here
the remaining time of the attempt limits each read and write. httpx has no public way to choose what opens its sockets,
so this replaces a private attribute of its pool. If a release no longer has that attribute, the library's own timeouts
are shortened to the remaining time; then only a dripping server is not cut off in time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from sleepwalker.transport.blocking.deadline import current_deadline
from sleepwalker.transport.resolver import resolve

_BACKEND = ("connect_tcp", "connect_unix_socket", "sleep")
_STREAM = ("read", "write", "close", "start_tls", "get_extra_info")


def keep_deadlines(transport: Any) -> bool:
    """Make new sockets of a transport keep deadlines. Returns whether that is possible."""
    pool = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    if isinstance(backend, _Backend):
        return True
    if not all(callable(getattr(backend, name, None)) for name in _BACKEND):
        return False
    with contextlib.suppress(AttributeError):
        pool._network_backend = _Backend(backend)  # type: ignore[union-attr]
        return True
    return False


class _Backend:
    """Opens sockets through another httpcore backend."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        # A caller's own backend may know names that the system does not.
        self._resolves = type(backend).__name__ == "SyncBackend"

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        """Name look-up and connect, to the first address that accepts."""
        connect = self._backend.connect_tcp
        deadline = current_deadline()
        if deadline is None or not self._resolves:
            return _stream(connect(host=host, port=port, timeout=_within(timeout), **options))
        addresses = [info[4][0] for info in resolve(host, port, deadline.remaining())]
        for address in addresses[:-1]:
            with contextlib.suppress(Exception):
                return _stream(connect(host=address, port=port, timeout=_within(timeout), **options))
        return _stream(connect(host=addresses[-1], port=port, timeout=_within(timeout), **options))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> Any:
        """The same for a socket in the file system."""
        return _stream(self._backend.connect_unix_socket(path=path, timeout=_within(timeout), **options))

    def sleep(self, seconds: float) -> None:
        """The pause between two tries to connect, if the transport was told to make them."""
        self._backend.sleep(_within(seconds))


class _Stream:
    """An open socket."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.get_extra_info: Callable[[str], Any] = stream.get_extra_info
        self.close: Callable[[], None] = stream.close

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._stream.read(max_bytes, _within(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _within(timeout))

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        return _stream(self._stream.start_tls(ssl_context, server_hostname, _within(timeout)))


def _stream(stream: Any) -> Any:
    known = all(callable(getattr(stream, name, None)) for name in _STREAM)
    return _Stream(stream) if known else stream


def _within(timeout: float | None) -> float:
    """The shorter of a timeout and the attempt's remaining time. TimeoutError if no time is left."""
    deadline = current_deadline()
    if deadline is None:
        return timeout  # type: ignore[return-value]  # None is no limit, as in httpcore
    left = deadline.remaining()
    return left if timeout is None else min(timeout, left)
