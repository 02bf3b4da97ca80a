"""The status page as a service on loopback would show it, and calls for it to show."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from servers import FaultServer

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy, SleepwalkerException, status
from sleepwalker.clock import SystemClock

#: Hosts stay in the state they are in for as long as a test takes.
STEADY = Policy(
    timeout={"connect": 10, "read": 10, "attempt": 10, "total": 20},
    retry=False,
    breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 60, "open_max": 60, "close_after": 1, "ramp": 0},
    health={"window": 30},
)
#: The page asks again every 0.2 s in place of 2, and what it is shown is as old as 0.1 s in place of 1.
TIMES = 10
HEADLINE = "document.querySelector('h1').innerText"
TAB = "[document.title, document.querySelector('link[rel=icon]').href]"


class Hasty(SystemClock):
    """Its seconds pass faster."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() * TIMES


def called(server: FaultServer) -> str:
    """What the page calls a host that was found by its URL."""
    return server.url.partition("://")[2]


def page(*sources: Any, title: str = "Hosts", **options: Any) -> Any:
    """The page with a clock that keeps up with the hurried browser."""
    return status.app(*sources, title=title, clock=Hasty(), **options)


class Site:
    """A service that can go away and come back."""

    def __init__(self, app: Any) -> None:
        self.asked: list[str] = []
        self._app = app
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.asked.append(environ["PATH_INFO"])
        return self._app(environ, start_response)

    def start(self) -> None:
        class Server(socketserver.ThreadingMixIn, WSGIServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The browser may hang up first."""

        class Handler(WSGIRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = make_server("127.0.0.1", self._port, self, server_class=Server, handler_class=Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def go(manager: ConnectionManager, url: str, times: int = 1, policy: Policy = STEADY) -> None:
    """So many calls, whatever becomes of them."""
    conn = dict(iter(manager)).get(url) or Connection(url, ANONYMOUS, policy=policy)
    manager.add(url, ANONYMOUS, conn)
    for _ in range(times):
        with contextlib.suppress(SleepwalkerException):
            conn.get("/")
