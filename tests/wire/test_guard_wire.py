"""`guard=True` around connection objects that know nothing of sleepwalker, on real sockets."""

from __future__ import annotations

import http.client
import io
import json
import logging
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from servers import Exchange, FaultServer, Step, elapsed, hang_up, json_reply, reply, reset, stall, timing_test

from sleepwalker import CircuitOpenError, ConnectionManager, HostIsolatedError, Policy
from sleepwalker.connection.hook import ConnectionHook
from sleepwalker.events import Event, RequestFailed, RequestFinished

POLICY = Policy(
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 8},
    retry={"attempts": 3, "wait_initial": 0.01, "wait_max": 0.02, "budget": False},
    breaker={"consecutive_for": 0, "open_for": 60, "open_max": 60, "ramp": 0},
    health={"rehook_initial": 100, "rehook_max": 100},
)
ONCE = POLICY.replace(retry=False)


class RequestsClient:
    """As people write them: a session inside, a base URL, no close."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=30, **kwargs)

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        answer = self.session.request(method, self.url + path, timeout=30, **kwargs)
        answer.raise_for_status()
        return answer

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        return self.request("POST", path, **kwargs)

    def fetch_report(self, number: int) -> str:
        return self.get(f"/reports/{number}").text

    def close(self) -> None:
        self.session.close()


class HttpClient:
    """On the standard library alone; a connection that stays open, and has to be opened again when it broke."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.conn = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def request(self, method: str, path: str, body: bytes | None = None, headers: Any = None) -> tuple[int, bytes]:
        try:
            self.conn.request(method, path, body, headers or {})
            response = self.conn.getresponse()
            return response.status, response.read()
        except BaseException:
            self.conn.close()
            raise

    def get(self, path: str) -> bytes:
        return self.request("GET", path)[1]

    def __del__(self) -> None:
        self.conn.close()


class UrllibClient:
    """`urllib.request`, whose HTTPError is an answer and an exception in one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> bytes:
        with self.opener.open(self.url + path, timeout=30) as answer:
            return bytes(answer.read())

    def json_request(self, method: str, uri: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + uri, data, {"Content-Type": "application/json"}, method=method)
        with self.opener.open(request, timeout=30) as answer:
            return json.loads(answer.read())


class Hook(ConnectionHook):
    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    def connect(self, host: str, auth: Any) -> Any:
        return self.kind(host)


class Told(list[Event]):
    def __call__(self, event: Event, level: object = None, /) -> None:
        self.append(event)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


def manager_of(kind: type[Any], policy: Policy = POLICY, guard: Any = True, **kwargs: Any) -> ConnectionManager:
    manager = ConnectionManager(policy=policy, guard=guard, **kwargs)
    manager.add_conn_hook(Hook(kind))
    return manager


CLIENTS = pytest.mark.parametrize("kind", [RequestsClient, HttpClient, UrllibClient])


def content(answer: Any) -> bytes:
    return answer.content if isinstance(answer, requests.Response) else bytes(answer)


@CLIENTS
def test_without_guard_the_very_object_is_found(server: FaultServer, kind: type[Any]) -> None:
    with manager_of(kind, guard=False) as manager:
        assert type(manager.find(server.url)) is kind
        server.script(hang_up())
        with pytest.raises((requests.RequestException, OSError)):
            manager.find(server.url).get("/")
        assert manager.health(server.url).attempts == 0


@CLIENTS
@pytest.mark.parametrize("fault", [hang_up(), reset()])
def test_what_breaks_in_transport_is_sent_again(server: FaultServer, kind: type[Any], fault: Step) -> None:
    server.script(fault, fault)
    told = Told()
    with manager_of(kind, observer=told) as manager:
        conn = manager.find(server.url)
        assert isinstance(conn, kind)
        assert content(conn.get("/path?secret=1")) == b"ok"
        assert len(server.requests) == 3
        (finished,) = [event for event in told if isinstance(event, RequestFinished)]
        assert (finished.method, finished.path, finished.attempts) == ("GET", "/path", 3)
        health = manager.health(server.url)
        assert (health.calls, health.attempts, health.failures, health.retries) == (1, 3, 2, 2)


@pytest.mark.parametrize("kind", [RequestsClient, UrllibClient])
def test_a_503_is_sent_again_whether_it_is_returned_or_raised(server: FaultServer, kind: type[Any]) -> None:
    server.script(reply(503, b"busy"), reply(503, b"busy"))
    with manager_of(kind) as manager:
        assert content(manager.find(server.url).get("/")) == b"ok"
        assert len(server.requests) == 3


@pytest.mark.parametrize("kind", [RequestsClient, UrllibClient])
def test_fifty_calls_that_end_in_503_hold_no_sockets(kind: type[Any]) -> None:
    with FaultServer(default=reply(503, b"x" * 10_000)) as server, manager_of(kind, POLICY.replace(breaker=False)) as m:
        conn = m.find(server.url)
        for _ in range(50):
            try:
                status = conn.get("/").status_code
            except urllib.error.HTTPError as error:
                status = error.code
                error.close()
            assert status == 503
            server.wait_for_at_most(1)
        assert len(server.requests) == 150
        assert server.most_open <= 4, "more than the attempts of one call"


def test_when_retries_end_the_last_answer_is_handed_over_as_the_object_gave_it(server: FaultServer) -> None:
    server.default = reply(503, b"busy")
    with manager_of(RequestsClient) as manager:
        conn = manager.find(server.url)
        assert (conn.get("/").status_code, len(server.requests)) == (503, 3)
        with pytest.raises(requests.HTTPError) as caught:
            conn.request("GET", "/")
        assert type(caught.value) is requests.HTTPError
        assert caught.value.response.content == b"busy"


def test_what_may_have_been_processed_is_not_sent_again(server: FaultServer) -> None:
    server.script(hang_up())
    with manager_of(RequestsClient) as manager:
        with pytest.raises(requests.ConnectionError):
            manager.find(server.url).post("/orders", data=b"1")
        assert len(server.requests) == 1
        server.script(hang_up())
        answer = manager.find(server.url).post("/orders", data=b"1", headers={"Idempotency-Key": "a"})
        assert answer.content == b"ok"
        assert len(server.requests) == 3


def test_a_body_that_can_be_read_once_is_not_sent_again_empty(server: FaultServer) -> None:
    """The second attempt would have sent nothing, and the server would have said that all is well."""
    with manager_of(RequestsClient) as manager:
        conn = manager.find(server.url)
        for body in (iter([b"abc"]), io.BytesIO(b"abc")):
            server.script(reply(503))
            with pytest.raises(requests.HTTPError):
                conn.request("PUT", "/file", data=body)
    assert [request.body for request in server.requests] == [b"abc", b"abc"]


@CLIENTS
def test_a_host_that_fails_is_rejected_fast_and_evicts_the_object(kind: type[Any]) -> None:
    with FaultServer(default=hang_up()) as server, manager_of(kind, ONCE) as manager:
        for _ in range(5):
            with pytest.raises((requests.RequestException, OSError, http.client.HTTPException)):
                manager.find(server.url).get("/")
        with pytest.raises(CircuitOpenError):
            manager.find(server.url).get("/")
        assert len(server.requests) == 5
        assert manager.health(server.url).state == "broken"


@CLIENTS
def test_a_host_that_refuses_connections_is_broken_after_three(kind: type[Any]) -> None:
    told = Told()
    with FaultServer() as server, manager_of(kind, ONCE, observer=told) as manager:
        old = manager.find(server.url)
        old.get("/")
        server.stop()
        for _ in range(4):  # the first may be cut off on the connection that was open
            with pytest.raises(OSError):  # noqa: PT011 - as each of the clients says it
                old.get("/")
        assert manager.health(server.url).state == "broken"
        assert manager.find(server.url) is not old
        server.start()
        assert content(manager.find(server.url).get("/")) == b"ok"
        assert manager.health(server.url).broken_since is None
        failed = [(event.error, event.path) for event in told if isinstance(event, RequestFailed)]
        assert failed[1:] == [("ConnectError", "/")] * 3


def test_two_foreign_objects_of_one_host_share_its_record(server: FaultServer) -> None:
    server.default = reply(500)
    with manager_of(RequestsClient, ONCE) as manager:
        for number in range(5):
            manager.find(server.url, ("user", str(number % 2))).get("/")
        with pytest.raises(CircuitOpenError):
            manager.find(server.url, ("user", "0")).get("/")
        with pytest.raises(CircuitOpenError):
            manager.find(server.url, ("user", "1")).get("/")
        assert len(server.requests) == 5


def test_other_methods_pass_through_unless_they_are_named(server: FaultServer) -> None:
    server.default = hang_up()
    with manager_of(RequestsClient) as manager:
        with pytest.raises(requests.ConnectionError):
            manager.find(server.url).fetch_report(1)
        assert manager.health(server.url).attempts == 0
    with manager_of(RequestsClient, guard=["fetch_report"]) as manager:
        with pytest.raises(requests.ConnectionError):
            manager.find(server.url).fetch_report(1)
        assert manager.health(server.url).attempts == 1, "it may not be sent twice: its effect is unknown"


def test_json_request_of_a_foreign_object_is_guarded(server: FaultServer) -> None:
    server.script(hang_up(), json_reply({"a": 1}))
    with manager_of(UrllibClient) as manager:
        assert manager.find(server.url).json_request("GET", "/x") == {"a": 1}
        server.script(hang_up())
        with pytest.raises(OSError):  # noqa: PT011 - RemoteDisconnected, in urllib's words
            manager.find(server.url).json_request("POST", "/x", {"b": 2})
        assert len(server.requests) == 3


def test_an_isolated_host_gets_nothing_from_a_guarded_object(server: FaultServer) -> None:
    with manager_of(RequestsClient) as manager:
        conn = manager.find(server.url)
        conn.get("/")
        manager.isolate(server.url)
        with pytest.raises(HostIsolatedError):
            conn.get("/")
        with pytest.raises(HostIsolatedError):
            manager.find(server.url)
        assert len(server.requests) == 1
        manager.restore(server.url)
        assert conn.get("/").content == b"ok"


def test_an_evicted_object_is_closed_if_it_can_be_and_its_requests_finish() -> None:
    arrived, go = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> Step:
        arrived.set()
        while not go.is_set():
            exchange.pause(0.01)
        return reply(200, b"slow")

    with (
        FaultServer(routes={"/slow": slow}) as server,
        manager_of(RequestsClient) as manager,
        ThreadPoolExecutor(1) as pool,
    ):
        conn = manager.find(server.url)
        conn.get("/")
        job = pool.submit(conn.get, "/slow")
        assert arrived.wait(10)
        assert manager.evict(server.url) == 1
        go.set()
        assert job.result(10).content == b"slow"
    with FaultServer() as server, manager_of(HttpClient) as manager:  # it has no close
        first = manager.find(server.url)
        first.get("/")
        assert manager.evict(server.url) == 1
        second = manager.find(server.url)
        assert second.conn is not first.conn
        assert second.get("/") == b"ok"


@timing_test
def test_a_reset_ends_the_wait_between_two_attempts_of_a_guarded_call() -> None:
    policy = POLICY.replace(retry={"attempts": 2, "wait_initial": 5, "wait_max": 5, "jitter": "none", "budget": False})
    with FaultServer(default=reply(503)) as server, manager_of(RequestsClient, policy) as manager:
        conn = manager.find(server.url)
        with ThreadPoolExecutor(1) as pool, elapsed() as waiting:
            job = pool.submit(conn.get, "/")
            server.wait_for_requests(1)
            manager.reset()
            assert job.result(10).status_code == 503
        assert len(server.requests) == 1
        waiting.assert_at_most(1.0)


def test_a_guarded_call_of_an_evicted_object_goes_on_with_its_retry() -> None:
    policy = POLICY.replace(
        retry={"attempts": 2, "wait_initial": 0.5, "wait_max": 0.5, "jitter": "none", "budget": False}
    )
    with FaultServer() as server, manager_of(RequestsClient, policy) as manager:
        server.script(reply(503))
        conn = manager.find(server.url)
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(conn.get, "/")
            server.wait_for_requests(1)
            manager.evict(server.url)
            assert job.result(10).content == b"ok"


@timing_test
def test_no_attempt_of_a_guarded_call_begins_after_the_total_deadline() -> None:
    """A call under way cannot be cut: it ends when the object itself gives up."""
    policy = POLICY.replace(timeout={"connect": 0.3, "read": 0.3, "attempt": 0.3, "total": 0.35})

    class Slow(RequestsClient):
        def get(self, path: str, **kwargs: Any) -> requests.Response:
            return self.session.get(self.url + path, timeout=0.4)

    with FaultServer(default=stall()) as server, manager_of(Slow, policy) as manager:
        with elapsed() as call, pytest.raises(requests.ReadTimeout):
            manager.find(server.url).get("/")
        assert len(server.requests) == 1
        call.assert_within(0.4, 0.2)


def test_sixteen_threads_use_one_guarded_object(server: FaultServer) -> None:
    with manager_of(RequestsClient) as manager, ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(lambda: manager.find(server.url).get("/").content) for _ in range(200)]
        assert {job.result() for job in jobs} == {b"ok"}
        health = manager.health(server.url)
        assert (health.calls, health.attempts, health.in_flight) == (200, 200, 0)


def test_a_mere_socket_is_an_object_like_any_other(server: FaultServer) -> None:
    """`close` is all that it has in common with a connection."""

    class SocketHook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> socket.socket:
            parts = urlsplit(host)
            return socket.create_connection((parts.hostname, parts.port), 3)

    with ConnectionManager(policy=POLICY, guard=True) as manager:
        manager.add_conn_hook(SocketHook())
        conn = manager.find(server.url)
        conn.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert conn.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.open == 1
        manager.evict(server.url)
        server.wait_for_open(0)
