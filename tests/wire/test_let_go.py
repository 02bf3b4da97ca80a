"""What a program lets go of without closing it frees its sockets at once: no garbage collector is needed."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth
from servers import FaultServer, redirect, reply, truncated

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, Policy, SleepwalkerException
from sleepwalker.links import follow
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

ONCE = Policy(retry=False)
HEDGED = Policy(hedge={"delay": 0.05})
RETRIED = Policy(retry={"attempts": 3, "wait_initial": 0.01, "wait_max": 0.01})


class Hook(ConnectionHook):
    def connect(self, host: str, auth: Any) -> Connection:
        return Connection(host, ANONYMOUS, policy=ONCE)


class BadAuth(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        raise KeyError("no token")


class BadHook(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", self.fail)
        return request

    def fail(self, response: requests.Response, **_: Any) -> None:
        raise KeyError("no nonce")


def connect(url: str, policy: Policy = ONCE, **options: Any) -> Connection:
    return Connection(url, options.pop("auth", ANONYMOUS), policy=policy, **options)


def managed(url: str) -> Any:
    manager = ConnectionManager()
    manager.add_conn_hook(Hook())
    return manager, manager.find(url)


def walk(url: str) -> None:
    manager, conn = managed(url)
    follow(conn.get("/ok"), "next", manager=manager)


def scope_alone(url: str) -> None:
    conn = connect(url)
    conn.scope("reports").get("/ok")


#: What is done with the server of the test; nothing is kept of it, and errors are passed over.
DONE: dict[str, Callable[[str], object]] = {
    "a call": lambda url: connect(url).get("/ok"),
    "a call with auth": lambda url: connect(url, auth=("user", "password")).get("/ok"),
    "a call with digest auth": lambda url: connect(url, auth=HTTPDigestAuth("user", "password")).get("/ok"),
    "a session": lambda url: connect(url, session=requests.Session()).get("/ok"),
    "a scope": scope_alone,
    "a retry_if": lambda url: connect(url, retry_if=lambda _: False).get("/ok"),
    "an error status": lambda url: connect(url).get("/503"),
    "an error status, retried": lambda url: connect(url, RETRIED).get("/503"),
    "a broken body": lambda url: connect(url).get("/cut"),
    "a broken body of a stream": lambda url: connect(url).get("/cut", stream=True).content,
    "no JSON": lambda url: connect(url).json_request("GET", "/ok"),
    "JSON that is too large": lambda url: connect(url, max_body=10).json_request("GET", "/long"),
    "a deadline": lambda url: connect(url).get("/slow", total=0.1),
    "a hedge": lambda url: connect(url, HEDGED).get("/slow"),
    "a hedge that fails": lambda url: connect(url, HEDGED).get("/nowhere"),
    "a redirect": lambda url: connect(url).get("/moved"),
    "a redirect that is refused": lambda url: connect(url).get("/nowhere"),
    "a redirect in a loop": lambda url: connect(url).get("/loop"),
    "a stream": lambda url: connect(url).get("/long", stream=True),
    "a stream half read": lambda url: next(connect(url).get("/long", stream=True).iter_content(10)),
    "a stream half read from raw": lambda url: connect(url).get("/long", stream=True).raw.read(10),
    "a stream half unpacked": lambda url: connect(url).get("/packed", stream=True).raw.read(10, decode_content=True),
    "an auth object that fails": lambda url: connect(url, auth=BadAuth()).get("/ok"),
    "a hook that fails": lambda url: connect(url, auth=BadHook()).get("/ok"),
    "a manager": lambda url: managed(url)[1].get("/ok"),
    "a manager, an error status": lambda url: managed(url)[1].get("/503"),
    "a manager, a stream": lambda url: managed(url)[1].get("/long", stream=True),
    "a walk": walk,
}


@pytest.fixture
def url() -> Iterator[str]:
    routes = {
        "/503": reply(503, b"busy"),
        "/cut": truncated(b"x" * 100, 10),
        "/long": reply(200, b"x" * 200_000),
        "/packed": reply(200, b"x" * 200_000, {"Content-Encoding": "deflate"}),
        "/slow": reply(200, b"late", delay=0.2),
        "/moved": redirect("/ok"),
        "/nowhere": redirect("ftp://nowhere.invalid/"),
        "/loop": redirect("/loop"),
    }
    with FaultServer(routes=routes) as server:
        connect(server.url).get("/ok")  # what is made once for the process
        server.wait_for_open(0)
        gc.collect()
        gc.disable()
        try:
            yield server.url
            server.wait_for_open(0, within=5)
        finally:
            gc.enable()


def only_of_threads(name: str) -> list[pytest.MarkDecorator]:
    if name == "a session":
        return [threads_only("a session of requests")]
    if "stream" in name and name != "a broken body of a stream":
        return [threads_only("an asynchronous stream ends with its block")]
    return []


@pytest.mark.parametrize(
    "done", [pytest.param(done, id=name, marks=only_of_threads(name)) for name, done in DONE.items()]
)
def test_sockets_are_freed_without_the_garbage_collector(url: str, done: Callable[[str], object]) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        with contextlib.suppress(SleepwalkerException, KeyError):
            done(url)
    assert [str(warning.message) for warning in seen] == []
