"""A server that answers each path with the bytes that were laid down for it, and keeps the bytes that came."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from functools import partial
from types import TracebackType
from typing import Self

#: Asked for after each exchange: its response says which path was asked for on this connection before it.
PROBE = "/probe"
#: The reply for a path that nothing was laid down for.
NOWHERE = (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False)


class ScriptedServer:
    """Speaks from `replies`, by path: bytes, and whether the connection is closed after them.

    A close goes out with the last bytes, in one segment. So it has arrived when a client has read them, and whether
    the client uses the connection again does not depend on luck.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        default: tuple[bytes, bool] = NOWHERE,
        seen: queue.SimpleQueue[bytes] | None = None,
    ) -> None:
        self.replies: dict[str, tuple[bytes, bool]] = {}
        self.default = default
        """The reply for any other path."""
        self.seen: queue.SimpleQueue[bytes] = seen or queue.SimpleQueue()
        """Requests with their bodies, but for probes. One after which the connection is closed comes when it is: then
        all that the client sent is there, whatever the request said of its length."""
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                with self._tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True) as secure:
                    self._talk(secure)
            else:
                self._talk(sock)
        except OSError:  # the client closed, or broke off its handshake
            pass
        finally:
            self._open.discard(sock)
            sock.close()

    def _talk(self, sock: socket.socket) -> None:
        before, ahead = "", b""
        while head := _read_head(sock, ahead):
            path = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
            if path == PROBE:
                ahead = head.partition(b"\r\n\r\n")[2]
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(before) + before.encode())
                continue
            before = path
            data, closes = self.replies.get(path, self.default)
            if closes:
                self._say_the_last(sock, data)
                # The socket's own method: TLS reads nothing any more, and nobody needs to know what came.
                self.seen.put(head + b"".join(iter(partial(socket.socket.recv, sock, 65536), b"")))
                return
            request, ahead = _with_body(sock, head)
            self.seen.put(request)
            sock.sendall(data)

    def _say_the_last(self, sock: socket.socket, data: bytes) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        if data:
            sock.sendall(data)
        if isinstance(sock, ssl.SSLSocket):
            sock.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):
                sock.unwrap()  # says that it closes; and would wait for the client to say so, too
            sock.setblocking(True)
        sock.shutdown(socket.SHUT_WR)


def _read_head(sock: socket.socket, data: bytes) -> bytes:
    """A request's head, and what came with it; nothing where the client closed."""
    while b"\r\n\r\n" not in data:
        if not (more := sock.recv(65536)):
            return b""
        data += more
    return data


def _with_body(sock: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """A request with its body, as it came, and what came after it."""
    end = data.index(b"\r\n\r\n") + 4
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    size = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    while True:
        last = _end_of_chunks(data, end) if b"\r\ntransfer-encoding: chunked" in head else end + size
        if last is not None and len(data) >= last:
            return data[:last], data[last:]
        if not (more := sock.recv(65536)):
            return data, b""
        data += more


def _end_of_chunks(data: bytes, at: int) -> int | None:
    """Where the chunks that begin here end; None where more must be read."""
    size = None
    while size != 0:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(data[at:line].split(b";")[0], 16)
        at = line + 2 + size + 2
    return at
