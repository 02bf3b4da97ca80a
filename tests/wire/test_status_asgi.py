"""The status page under uvicorn, on a real socket: by itself, under a root path, and mounted in FastAPI."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, status

Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(app)` is the port at which uvicorn serves an app."""
    with contextlib.ExitStack() as stack:

        def run(app: Any, **options: Any) -> int:
            listener = socket.create_server(("127.0.0.1", 0))
            stack.callback(listener.close)
            config = uvicorn.Config(app, log_level="warning", **options)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(20)
                assert not thread.is_alive()

            stack.callback(stop)
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            return int(listener.getsockname()[1])

        yield run


@pytest.fixture
def manager() -> Iterator[ConnectionManager]:
    with ConnectionManager() as running:
        running.add("https://a.test", ANONYMOUS, Connection("https://a.test", ANONYMOUS))
        yield running


class Answer:
    def __init__(self, port: int, path: str, method: str = "GET", **headers: str) -> None:
        with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            response = connection.getresponse()
            self.status, self.body = response.status, response.read()
            self.headers = dict(response.getheaders())

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def lower(headers: dict[str, str]) -> dict[str, str]:
    own = ("date", "server")
    return {name.lower(): value for name, value in headers.items() if name.lower() not in own}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/hosts.json?limit=1&sort=-calls", {}),
        ("HEAD", "/", {}),
        ("HEAD", "/hosts.json", {}),
        ("GET", "/nowhere", {}),
        ("POST", "/", {}),
        ("DELETE", "/hosts.json", {}),
        ("GET", "/hosts.json?limit=x", {}),
        ("GET", "/?q=%C3%A4%22", {"Accept_Encoding": "gzip"}),
    ],
)
def test_it_answers_as_the_wsgi_application_does(
    manager: ConnectionManager, serve: Serve, method: str, path: str, headers: dict[str, str]
) -> None:
    from status_site import Site

    class Still:
        """Views are taken at the same moment."""

        @staticmethod
        def monotonic() -> float:
            return 1.0

        @staticmethod
        def wall() -> float:
            return 1_717_243_200.0

    plain = Site(status.app(manager, title="checkout", clock=Still()))  # type: ignore[arg-type]
    try:
        port = serve(status.asgi(manager, title="checkout", clock=Still()))  # type: ignore[arg-type]
        asgi, wsgi = Answer(port, path, method, **headers), Answer(plain._port, path, method, **headers)
    finally:
        plain.stop()
    assert asgi.status == wsgi.status
    assert lower(asgi.headers) == lower(wsgi.headers)
    if "gzip" in headers.values():
        asgi.body, wsgi.body = gzip.decompress(asgi.body), gzip.decompress(wsgi.body)
    # The ages in it are those of the moment at which each was looked at.
    assert asgi.body == wsgi.body
    assert (asgi.body == b"") == (method == "HEAD")


def test_a_view_that_the_client_has_is_a_304(manager: ConnectionManager, serve: Serve) -> None:
    port = serve(status.asgi(manager))
    for _ in range(20):  # a view is a second old
        tag = Answer(port, "/hosts.json").headers["etag"]
        answer = Answer(port, "/hosts.json", If_None_Match=tag)
        if answer.status == 304:
            break
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("framework", ["FastAPI", "Starlette"])
def test_mounted_it_is_found_with_and_without_a_slash_and_its_links_lead_beside_it(
    manager: ConnectionManager, serve: Serve, framework: str
) -> None:
    from fastapi import FastAPI  # here, for each process of a run reads this file
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app: Any = Starlette(routes=[Mount("/ops/status", status.asgi(manager))])
    if framework == "FastAPI":
        app = FastAPI()
        app.mount("/ops/status", status.asgi(manager))
    port = serve(app)
    assert Answer(port, "/ops/status").headers["location"].endswith("/ops/status/")
    page = Answer(port, "/ops/status/")
    assert (page.status, b'href="./hosts.json"' in page.body) == (200, True)
    assert Answer(port, "/ops/status/hosts.json").json["total"] == 1
    assert Answer(port, "/ops/status/other").status == 404
    assert Answer(port, "/ops/status/", "POST").status == 405


def test_a_root_path_of_the_server_is_no_part_of_what_is_asked_for(manager: ConnectionManager, serve: Serve) -> None:
    """A proxy before it takes the prefix away."""
    port = serve(status.asgi(manager), root_path="/ops/status")
    page = Answer(port, "/")
    assert (page.status, b'href="./hosts.json"' in page.body) == (200, True)
    assert Answer(port, "/hosts.json").json["total"] == 1


def ask(app: Any, **scope: Any) -> list[Any]:
    """What the application sends for a scope."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(app({"type": "http", "method": "GET", "query_string": b"", "headers": [], **scope}, receive, send))
    return sent


@pytest.mark.parametrize(
    ("path", "root_path", "beside"),
    [
        ("/status", "/status", b"./status/hosts.json"),
        ("/status/", "/status", b"./hosts.json"),
        ("/", "", b"./hosts.json"),
        ("/", "/status", b"./hosts.json"),  # as servers had it before ASGI said that `path` has it all
        ("/statuses", "/status", b""),
        ("/a/b c", "/a/b c/", b"./b%20c/hosts.json"),
        ("/ä", "/ä", b"./%C3%A4/hosts.json"),
    ],
)
def test_the_link_to_the_json_holds_below_any_prefix(
    manager: ConnectionManager, path: str, root_path: str, beside: bytes
) -> None:
    start, body = ask(status.asgi(manager), path=path, root_path=root_path)
    assert start["status"] == (200 if beside else 404)
    assert not beside or b'<a href="' + beside + b'"' in body["body"]


def test_a_lifespan_is_completed_and_ends_its_thread(manager: ConnectionManager, serve: Serve) -> None:
    before = set(threading.enumerate())

    def threads() -> list[str]:
        names = [thread.name for thread in set(threading.enumerate()) - before]
        return [name for name in names if name.startswith("sleepwalker status")]

    app = status.asgi(manager)
    port = serve(app, lifespan="on")
    assert Answer(port, "/").status == 200
    assert threads() == ["sleepwalker status_0"]
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    deadline = time.monotonic() + 10
    while threads():
        assert time.monotonic() < deadline, "its thread goes on"
        time.sleep(0.01)
    assert Answer(port, "/").status == 200, "and is there again if it is asked all the same"


def test_a_websocket_is_refused(manager: ConnectionManager) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(status.asgi(manager)({"type": "websocket", "path": "/"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1000}]


def test_without_a_request_there_is_no_thread(manager: ConnectionManager) -> None:
    before = set(threading.enumerate())
    status.asgi(manager)
    assert set(threading.enumerate()) == before


def test_the_child_of_a_fork_answers_though_its_parent_had_answered(manager: ConnectionManager) -> None:
    """The thread that makes the responses is not in the child."""
    app = status.asgi(manager)
    assert ask(app, path="/")[0]["status"] == 200
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with contextlib.suppress(BaseException):
            os._exit(0 if ask(app, path="/")[0]["status"] == 200 else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


class Slow(ConnectionManager):
    """Looking at its hosts takes a while, as that of ten thousand does."""

    def health(self, host: str | None = None) -> Any:
        time.sleep(1.0)
        return {}


def test_the_loop_goes_on_while_a_page_is_made() -> None:
    """Also where all threads that the loop has for itself wait, as for hosts that hang."""
    app = status.asgi(Slow())

    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        ends = threading.Event()
        hogs = [loop.run_in_executor(None, ends.wait, 30) for _ in range(64)]
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request"}

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        made = asyncio.ensure_future(app(scope, receive, send))
        turns = 0
        while not made.done():
            await asyncio.sleep(0.01)
            turns += 1
        await made
        ends.set()
        await asyncio.gather(*hogs)
        return turns, sent[0]["status"]

    turns, code = asyncio.run(main())
    assert code == 200
    assert turns >= 10, "in a second"
