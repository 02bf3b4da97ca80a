"""A hand on the socket that an attempt uses, so that another thread can end the attempt."""

from __future__ import annotations

import contextlib
import socket
import threading


class Grip:
    """Holds what one attempt waits on. Its own thread takes and releases; any thread may cancel.

    What is held is a duplicate of the socket's descriptor: TLS takes the descriptor away from the socket that
    connected, and the number of a closed one may by now be another thread's socket.
    """

    __slots__ = ("_lock", "_owner", "_twin", "cancelled")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._twin: socket.socket | None = None
        self._owner: object = None
        self.cancelled = False

    def take(self, owner: object, sock: socket.socket) -> None:
        """Hold `sock`, in place of what was held before."""
        try:
            twin = socket.socket(sock.family, sock.type, sock.proto, fileno=socket.dup(sock.fileno()))
        except OSError:  # out of descriptors: then nothing is held, and only a deadline ends the attempt
            twin = None
        with self._lock:
            before, self._twin, self._owner = self._twin, twin, owner
        if before is not None:
            before.close()

    def release(self, owner: object = None) -> bool:
        """Let go of what `owner` took (of anything, for None), before others use it; True if it was shut down."""
        with self._lock:
            if owner is not None and owner is not self._owner:
                return False
            twin, self._twin, self._owner = self._twin, None, None
        if twin is not None:
            twin.close()
        return self.cancelled

    def cancel(self) -> None:
        """Shut down what is held, which ends any wait on it."""
        with self._lock:
            self.cancelled = True
            if self._twin is not None:
                with contextlib.suppress(OSError):  # not connected yet, or not any more
                    self._twin.shutdown(socket.SHUT_RDWR)
