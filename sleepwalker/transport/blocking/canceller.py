"""Lets another thread end an attempt: it shuts down the socket that the attempt waits on."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial


class Canceller:
    """Holds the socket of one attempt. The attempt's thread attaches and detaches it; any thread may cancel.

    It holds a duplicate of the descriptor: TLS moves the descriptor to another socket object, and the number of a
    closed one may belong to another thread's socket by now.
    """

    __slots__ = ("_duplicate", "_lock", "_owner", "cancelled")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._duplicate: socket.SocketType | None = None
        self._owner: object = None
        self.cancelled = False

    def attach(self, owner: object, sock: socket.socket) -> None:
        """Hold `sock` instead of the socket held before."""
        try:
            duplicate = _duplicate_of(sock)
        except OSError:  # out of descriptors: only the deadline can end the attempt then
            duplicate = None
        with self._lock:
            before, self._duplicate, self._owner = self._duplicate, duplicate, owner
        if before is not None:
            before.close()

    def detach(self, owner: object = None) -> bool:
        """Release the socket before others use it, if `owner` attached it or is None. True if it was cancelled."""
        with self._lock:
            if owner is not None and owner is not self._owner:
                return False
            duplicate, self._duplicate, self._owner = self._duplicate, None, None
        if duplicate is not None:
            duplicate.close()
        return self.cancelled

    def cancel(self) -> None:
        """Shut down the socket, which ends any wait on it."""
        with self._lock:
            self.cancelled = True
            if self._duplicate is not None:
                with contextlib.suppress(OSError):  # not connected yet, or not any more
                    self._duplicate.shutdown(socket.SHUT_RDWR)


def _duplicate_of(sock: socket.socket) -> socket.SocketType:
    """A duplicate, made within one call: a bare descriptor would stay open if a signal handler raised after `dup`."""
    make = partial(socket.SocketType, sock.family, sock.type, sock.proto)
    return next(map(make, map(socket.dup, (sock.fileno(),))))
