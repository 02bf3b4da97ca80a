"""Sends a long body while watching for a response: a server that refuses an upload need not read the rest of it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

from sleepwalker.transport.blocking.deadline import AttemptDeadline

#: Bytes of a request that are sent without looking for a response, since the system has room for them.
UNWATCHED = 16384
#: Bytes read at once, and written at once over TLS, which sends in records of this size. Given more, Python waits until
#: all of it is sent.
PIECE = 16384
#: Bytes of an interim response; a longer one is left to the parser, as if it were the final one.
_LONGEST_INTERIM = 16384
#: Bytes that tell the status: `HTTP/1.1 200`.
_STATUS_END = 12
#: There is nothing to read, or no room to write, at the moment. (urllib3's own TLS sockets say it with a TimeoutError.)
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError, TimeoutError)
#: Sockets that can be written to without waiting. What wraps a socket (TLS within the TLS of a proxy) may lose a part.
_KNOWN_SOCKETS = (socket.socket, ssl.SSLSocket)
#: SO_LINGER of 0 s: `close` discards what was not sent. Else the system would keep it for as long as the server does
#: not read.
_AT_ONCE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_new_poll: Callable[[], Any] | None = getattr(select, "poll", None)


class Early:
    """What arrived while the body of a request was sent."""

    __slots__ = ("cut", "data", "watching")

    def __init__(self) -> None:
        self.data = b""
        """The beginning of the response, to be read before the rest."""
        self.cut = False
        """Whether the body was not sent to its end."""
        self.watching = True
        """False once the final response has begun, and does not refuse the body."""

    def take(self, data: bytes) -> bool:
        """Keep `data`. True if the response has begun, and the rest of the body is not wanted.

        That is so for any status from 300 on. At one below, the server may still read: if the body were not sent to its
        end, a success would be reported for a part of it. Interim responses are dropped.
        """
        data = self.data + data
        while len(data) >= _STATUS_END and data[8:10] == b" 1" and data[9:12] != b"101":
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _LONGEST_INTERIM:
                    break
                self.data = data
                return False
            data = data[end + 4 :]
        self.data = data
        if len(data) >= _STATUS_END:
            self.watching = False
            self.cut = data[8:10] not in (b" 1", b" 2")
        return self.cut


def send_watching(sock: Any, left: memoryview, early: Early, deadline: AttemptDeadline) -> None:
    """Send all of `left`.

    BrokenPipeError if the server has refused it by its response, or has closed the connection: urllib3 and the fast
    path then read the response.
    """
    ready, waits = _waiter(sock), type(sock) not in _KNOWN_SOCKETS
    size = None if type(sock) is socket.socket else PIECE
    while left:
        seconds = deadline.remaining()
        if early.watching:
            readable, writable = ready(seconds)
            if readable and _refused(sock, early, deadline):
                with contextlib.suppress(AttributeError, OSError):  # TLS within TLS has no options
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            if not writable:
                continue
        sock.settimeout(seconds if waits or not early.watching else 0)
        try:
            left = left[sock.send(left[:size]) :]
        except _NOT_NOW:
            if not early.watching:
                raise


def _refused(sock: Any, early: Early, deadline: AttemptDeadline) -> bool:
    """Read what has arrived. True if the server refuses the rest of the body, or has closed its side."""
    sock.settimeout(0)
    while early.watching:
        deadline.remaining()  # interim responses may arrive without end
        try:
            data = sock.recv(PIECE)
        except _NOT_NOW:
            return False
        if not data or early.take(data):
            return True
    return False


def _waiter(sock: Any) -> Callable[[float], tuple[bool, bool]]:
    """Return a function that waits some seconds for the socket, and returns whether it can be read and written.

    That function raises TimeoutError if neither is possible in time.
    """

    def by_poll(seconds: float) -> tuple[bool, bool]:
        found = poll.poll(seconds * 1000)
        if not found:
            raise TimeoutError("timed out")
        events = found[0][1]
        return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)

    def by_select(seconds: float) -> tuple[bool, bool]:
        readable, writable, _ = select.select([sock], [sock], [], seconds)
        if not readable and not writable:
            raise TimeoutError("timed out")
        return bool(readable), bool(writable)

    if _new_poll is None:  # on Windows, and with eventlet
        return by_select
    poll = _new_poll()
    poll.register(sock.fileno(), select.POLLIN | select.POLLOUT)
    return by_poll
