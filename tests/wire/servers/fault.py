"""A real HTTP/1.1 server on loopback that does exactly what a test's script says, however rude."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self, TypeAlias

from .link import Gone, Link
from .request import Request, read_body, read_head

#: When a step strikes: as soon as the connection is there (a kept one: at its next bytes); when the
#: client has spoken, unread; when the head was read; when the whole request was read. On a TLS server
#: the first two come before the handshake of a new connection.
Moment: TypeAlias = Literal["accept", "bytes", "head", "request"]
_EARLY = ("accept", "bytes")


@dataclass
class Exchange:
    """What a step or a test's own handler works with: one moment of one connection."""

    server: FaultServer
    link: Link
    request: Request | None = None
    """None at the moments `accept` and `bytes`."""
    keep: bool = True
    """Whether the connection stays after this answer."""
    idle: float | None = None
    """Seconds after which the connection, when it stays, is closed without a word; None for never."""

    def send(self, data: bytes) -> None:
        """Put bytes on the wire."""
        self.link.send(data)

    def pause(self, seconds: float | None) -> None:
        """Wait (None: for ever); ends at once when the client leaves or the server stops."""
        self.link.pause(seconds)


Handler: TypeAlias = "Callable[[Exchange], Step | None]"


@dataclass(frozen=True)
class Step:
    """What to do with one request or connection. `act` may return another step to go on with."""

    act: Handler
    when: Moment = "request"


@dataclass(eq=False)
class FaultServer:
    """`with FaultServer() as s: s.script(reply(503), stall()); requests.get(s.url)`.

    Requests take the steps of their own connection's script, then of the common one, in the order in
    which their first bytes come; when those are over, the route of their path; then `default` (200 "ok").
    With routes, a default or route cannot strike before the head. A handler that raises fails the `with` block.
    Handlers wait with `exchange.pause`, never with `time.sleep`, or the server cannot stop at once.
    """

    default: Step | Handler | None = None
    routes: Mapping[str, Step | Handler] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    """0 until the first start; the same one from then on."""
    accepted: int = 0
    """Connections taken so far."""
    most_open: int = 0
    """The most connections that were open at one time."""
    handshake_errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._script: deque[Step] = deque()
        self._scripts: dict[int, deque[Step]] = {}
        self._requests: list[Request] = []
        self._links: dict[Link, threading.Thread] = {}
        self._failures: list[BaseException] = []
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    # -- what a test says ------------------------------------------------------------------------

    def script(self, *steps: Step | Handler, connection: int | None = None) -> None:
        """Add steps for the next requests, or for those of one connection (numbered from 1)."""
        with self._changed:
            queue = self._script if connection is None else self._scripts.setdefault(connection, deque())
            queue.extend(_step(step) for step in steps)

    def script_clear(self) -> None:
        """Forget the steps that no request has taken yet."""
        with self._changed:
            self._script.clear()
            self._scripts.clear()

    # -- what a test asks ------------------------------------------------------------------------

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """The requests whose head (and body, unless the step strikes before it) was read, in order."""
        with self._changed:
            return list(self._requests)

    @property
    def open(self) -> int:
        """Connections not closed yet by either side."""
        with self._changed:
            return len(self._links)

    @property
    def script_left(self) -> int:
        """Steps that no request has taken yet."""
        with self._changed:
            return len(self._script) + sum(map(len, self._scripts.values()))

    def wait_for_open(self, count: int, within: float = 10.0) -> None:
        """Wait until so many connections are open: a close takes a moment to arrive."""
        self._wait(lambda: len(self._links) == count, within, lambda: f"{count} open, but {len(self._links)} are")

    def wait_for_at_most(self, count: int, within: float = 20.0) -> None:
        """Wait until no more connections than these are open."""
        self._wait(lambda: len(self._links) <= count, within, lambda: f"{count} open, but {len(self._links)} are")

    def wait_for_requests(self, count: int, within: float = 10.0) -> None:
        """Wait until at least so many requests were read."""
        self._wait(
            lambda: len(self._requests) >= count, within, lambda: f"{count} requests, but {len(self._requests)} came"
        )

    def _wait(self, fact: Callable[[], bool], within: float, say: Callable[[], str]) -> None:
        with self._changed:
            if not self._changed.wait_for(fact, within):
                raise AssertionError(f"after {within} s: expected {say()}")

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen: on a free port the first time, on the same one later."""
        listener = self._listener or self._bind()
        self._wake, self._woken = socket.socketpair()
        listener.listen(128)
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), name="fault-accept", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Refuse new connections and drop all others; the port stays reserved for `start`."""
        self._end()
        self._listener = self._bind()

    def close(self) -> None:
        """Stop for good."""
        self._end()

    def _bind(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        return listener

    def _end(self) -> None:
        if self._acceptor is not None:
            self._wake.close()
            self._acceptor.join()
            self._woken.close()
            self._acceptor = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        with self._changed:
            talking = dict(self._links)
        for link in talking:
            link.shutdown()
        for thread in talking.values():
            thread.join(30)
            if thread.is_alive():
                raise RuntimeError("a handler of the fault server does not end: it must wait with exchange.pause")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if error is None and self._failures:
            raise AssertionError("a handler of the fault server failed") from self._failures[0]

    # -- the conversation ------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while self._woken.fileno() not in {fd for fd, _ in poll.poll()}:
            try:
                sock = listener.accept()[0]
            except OSError:  # it was reset while it waited in the queue
                continue
            with self._changed:
                self.accepted += 1
                link = Link(sock, self.accepted)
                thread = threading.Thread(target=self._serve, args=(link,), name="fault-serve", daemon=True)
                self._links[link] = thread
                self.most_open = max(self.most_open, len(self._links))
                self._changed.notify_all()
            thread.start()

    def _serve(self, link: Link) -> None:
        try:
            self._converse(link)
        except Gone:
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            link.close()
            with self._changed:
                del self._links[link]
                self._changed.notify_all()

    def _converse(self, link: Link) -> None:
        if not self._strike_early(link, ("accept",)):
            return
        if self.tls is not None:
            if not link.wait_for_bytes() or not self._strike_early(link, _EARLY):
                return
            try:
                link.secure(self.tls)
            except OSError as error:  # ssl.SSLError is one
                self.handshake_errors.append(str(error))
                return
        idle: float | None = None
        while link.wait_for_bytes(idle):
            if not self._strike_early(link, _EARLY):
                return
            exchange = self._answer(link)
            if exchange is None or link.closed:
                return
            if not exchange.keep:
                link.linger()
                return
            idle = exchange.idle
            if idle == 0:
                return

    def _strike_early(self, link: Link, moments: tuple[str, ...]) -> bool:
        """Run the steps that strike now, before anything is read; whether the conversation goes on."""
        while True:
            with self._changed:
                queue = self._scripts.get(link.number) or self._script
                scripted = bool(queue)
                step = queue[0] if queue else None if self.routes else _step(self.default)
                if step is None or step.when not in moments:
                    return True
                if scripted:
                    queue.popleft()
            _run(step, Exchange(self, link))
            if not scripted or link.closed:  # a default would strike again and again
                return False

    def _answer(self, link: Link) -> Exchange | None:
        with self._changed:
            queue = self._scripts.get(link.number) or self._script
            step = queue.popleft() if queue else None
        try:
            request = read_head(link)
        except ValueError:
            link.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            link.linger()
            return None
        if step is None:
            step = _step(self.routes.get(request.path, self.default))
        exchange = Exchange(self, link, request, keep=request.keeps)
        try:
            if step.when == "request":
                read_body(link, request)
        finally:  # half a request is worth recording too
            with self._changed:
                self._requests.append(request)
                self._changed.notify_all()
        _run(step, exchange)
        if step.when != "request" and exchange.keep and not link.closed:
            read_body(link, request)
        return exchange


def _step(step: Step | Handler | None) -> Step:
    if step is None:
        from .steps import reply  # the steps are made of this module's parts

        return reply(200, b"ok")
    return step if isinstance(step, Step) else Step(step)


def _run(step: Step, exchange: Exchange) -> None:
    following: Step | None = step
    while following is not None:
        following = following.act(exchange)
