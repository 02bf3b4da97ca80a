"""One accepted connection of a test server: reading, writing and breaking it at an exact moment."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading

#: Told by the kernel when the peer has closed or reset, also while bytes of it are still unread (Linux).
_HANG_UP = getattr(select, "POLLRDHUP", 0)
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Gone(Exception):
    """The client has left, or the server is being stopped: the ordinary end of a conversation."""


class Link:
    """A connection with a read buffer. Only its own thread uses it, except for `shutdown`.

    A client that closes the half it writes to counts as gone: HTTP clients never do that to a
    connection they still want an answer on, and it lets a silent server notice who has left.
    """

    def __init__(self, sock: socket.socket, number: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.number = number
        self.closed = False
        self._secured = False
        self._buffer = b""
        self._swap = threading.Lock()
        self._ended = False

    def secure(self, context: ssl.SSLContext) -> None:
        """Do the server's part of the TLS handshake; ssl.SSLError or OSError if it fails."""
        with self._swap:
            if self._ended:
                raise Gone
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._secured = True
        self.socket.do_handshake()

    def wait_for_bytes(self, seconds: float | None = None) -> bool:
        """Wait until the client has spoken, leaving what it said unread; False if it left or `seconds` are over."""
        if self._buffer:
            return True
        if not (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            if not poll.poll(None if seconds is None else seconds * 1000):
                return False
        try:
            if self._secured:  # encrypted bytes may be no words of the client's, only its good-bye
                self._buffer = self.socket.recv(65536)
                return bool(self._buffer)
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def read_until(self, mark: bytes, limit: int = 1 << 20) -> bytes:
        """The bytes up to and including `mark`; Gone if they never come, ValueError past `limit` bytes."""
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > limit:
                raise ValueError(f"no {mark!r} in the first {limit} bytes of a request")
            self._fill()
        end = at + len(mark)
        found, self._buffer = self._buffer[:end], self._buffer[end:]
        return found

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or Gone."""
        parts = [self._buffer[:size]]
        self._buffer = self._buffer[size:]
        missing = size - len(parts[0])
        while missing:
            self._fill()
            parts.append(self._buffer[:missing])
            self._buffer = self._buffer[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _fill(self) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self._buffer += data

    def send(self, data: bytes) -> None:
        """Send all of it, or raise Gone."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def pause(self, seconds: float | None) -> None:
        """Say nothing for so long, None for as long as the client stays; Gone as soon as it leaves."""
        poll = select.poll()
        poll.register(self.socket, _HANG_UP)
        if poll.poll(None if seconds is None else seconds * 1000):
            raise Gone

    def linger(self, *, farewell: bool = True) -> None:
        """Close, but take what the client still has to say: unread bytes would turn the close into a reset.

        With `farewell`, TLS says good-bye (close_notify) first, and does not wait for the client's.
        """
        with contextlib.suppress(OSError, Gone):
            if farewell and isinstance(self.socket, ssl.SSLSocket):
                self.socket.settimeout(0)
                with contextlib.suppress(ssl.SSLWantReadError):
                    self.socket.unwrap()
                self.socket.settimeout(None)
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
            while True:
                self._fill()
                self._buffer = b""
        self.close()

    def reset(self) -> None:
        """Close with a TCP reset instead of a good-bye."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.close()

    def close(self) -> None:
        """Close the socket; TLS gets no farewell either, as when a process dies."""
        with self._swap:
            self.closed = self._ended = True
            self.socket.close()

    def shutdown(self) -> None:
        """Wake the thread that talks here, whatever it waits for. For other threads."""
        with self._swap, contextlib.suppress(OSError):
            self._ended = True
            # Not SSLSocket.shutdown: that one drops the TLS state under the feet of the talking thread.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
