"""Corners that a hostile review found: odd servers, this machine's own limits, pickles, exits."""

from __future__ import annotations

import errno
import gc
import gzip
import pickle
import resource
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import FaultServer, elapsed, forward_proxy, refused_port, reply

from sleepwalker import (
    ANONYMOUS,
    ConnectError,
    Connection,
    DecodeError,
    HTTPNotFound,
    HTTPServiceUnavailable,
    Policy,
    ProxyError,
    SleepwalkerException,
)
from sleepwalker.drivers.threads import workers
from sleepwalker.transport.resolver import resolve
from tests.interrupts import strike
from tests.unit.manager_driver import count_threads, until

ONCE = Policy(retry=False, breaker=False)


def test_a_length_next_to_chunks_does_not_lift_the_limit_on_bodies(server: FaultServer) -> None:
    """The chunks count (RFC 9112, section 6.3), so a small length must not be taken for their size."""
    server.default = reply(200, b"x" * 500_000, {"Content-Length": "5"}, chunked=True)
    with Connection(server.url, ANONYMOUS, max_body=1000, policy=ONCE) as conn, pytest.raises(DecodeError) as caught:
        conn.json_request("GET", "/")
    assert "max_body" in str(caught.value)


@pytest.mark.parametrize("charset", ["idna", "undefined", "punycode", "no-such", "unicode_escape"])
def test_an_error_page_in_an_encoding_that_is_none_is_still_its_status(server: FaultServer, charset: str) -> None:
    server.default = reply(404, b"\\xzz\xff<", {"Content-Type": f"text/html; charset={charset}"})
    with Connection(server.url, ANONYMOUS) as conn, pytest.raises(HTTPNotFound) as caught:
        conn.get("/")
    assert isinstance(caught.value.text, str)


def test_a_503_that_is_no_gzip_though_it_says_so_is_retried_as_a_503(server: FaultServer) -> None:
    server.default = reply(503, b"sorry!", {"Content-Encoding": "gzip"})
    with Connection(server.url, ANONYMOUS) as conn:
        with pytest.raises(HTTPServiceUnavailable) as caught:
            conn.get("/")
        assert len(caught.value.attempts) == 3
        assert conn.health.failures == 3


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_an_error_with_a_body_above_the_limit_is_still_its_status(server: FaultServer, headers: dict[str, str]) -> None:
    body = b"x" * 50_000
    server.default = reply(503, gzip.compress(body) if headers else body, headers)
    conn = Connection(server.url, ANONYMOUS, max_body=1000, policy=ONCE)
    with conn, pytest.raises(HTTPServiceUnavailable) as caught:
        conn.json_request("GET", "/")
    assert caught.value.text == "x" * 1000


def test_the_iterator_of_a_stream_holds_the_answer_that_it_reads(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 200)
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        pieces = conn.get("/", stream=True).iter_content(50)
        conn.get("/")
        assert b"".join(pieces) == b"x" * 200


def test_errors_can_be_pickled_whatever_their_request_carried(server: FaultServer, tmp_path: Path) -> None:
    server.default = reply(404, b'{"error_text": "gone"}')
    (tmp_path / "body").write_bytes(b"abc")
    with (tmp_path / "body").open("rb") as file, Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        for data in (None, b"abc", file, iter([b"abc"]), lambda: b"abc"):
            with pytest.raises(HTTPNotFound) as caught:
                conn.post("/x", data=data)
            twin = pickle.loads(pickle.dumps(caught.value))
            assert type(twin) is HTTPNotFound
            assert (str(twin), twin.http_code, twin.attempts) == ("gone", 404, caught.value.attempts)
            assert caught.value.response is not None
            assert caught.value.response.request.hooks["response"], "the original is left as it was"


def test_running_out_of_sockets_here_is_not_blamed_on_the_host(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=Policy(retry=False)) as conn:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            for _ in range(8):
                with pytest.raises(ConnectError) as caught:
                    conn.get("/")
                assert caught.value.local
                assert f"errno {errno.EMFILE}" in str(caught.value)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (conn.health.breaker, conn.health.failures) == ("closed", 0)
        assert conn.get("/").status_code == 200


def test_a_name_can_be_looked_up_after_a_moment_without_threads(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: Any) -> None:
        raise workers.NoThread("can't start new thread")

    with Connection(f"http://localhost:{server.port}", ANONYMOUS, policy=ONCE) as conn:
        with monkeypatch.context() as patch:
            patch.setattr(workers, "start", no_thread)
            with pytest.raises(ConnectError, match="no thread left"):
                conn.get("/")
        assert conn.get("/").status_code == 200


def test_a_jars_lock_may_be_taken_in_the_other_way_too(server: FaultServer) -> None:
    """http.cookiejar takes it by `acquire`; another release of Python may take it by `with`."""
    server.default = reply(200, b"", {"Set-Cookie": "sid=1"})
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        jar: Any = conn.conn.cookies
        with jar._cookies_lock:
            conn.get("/")
        copy = pickle.loads(pickle.dumps(jar))
        with copy._cookies_lock:
            assert (copy["sid"], repr(jar._cookies_lock.mutex)[:9]) == ("1", "<unlocked")


def test_a_signal_handler_that_raises_while_a_look_up_starts_leaves_no_thread_behind() -> None:
    """`Thread.start` waits on an event: struck there, the new thread would hang before it has begun, for good."""
    files = ("/threading.py", "transport/resolver.py", "drivers/threads/workers.py")
    at = 0
    while strike(lambda: resolve("localhost", 80, 30), files=files, at=at) is not None:
        at += 1
    assert at > 10
    until(lambda: count_threads("resolve localhost") == 0)


def test_an_executor_whose_thread_waits_to_retry_does_not_hold_back_the_exit(server: FaultServer) -> None:
    server.default = reply(503, b"", {"Retry-After": "60"})
    script = """
        import concurrent.futures, sys, time
        from sleepwalker import ANONYMOUS, Connection, Policy
        policy = Policy(timeout={"total": 100}, retry={"retry_after_max": 60})
        connection = Connection(sys.argv[1], ANONYMOUS, policy=policy)
        def call():
            try:
                connection.get("/")
            except Exception as error:
                print(type(error).__name__, len(error.attempts))
        concurrent.futures.ThreadPoolExecutor(1).submit(call)
        while connection.health.failures == 0:
            time.sleep(0.01)
        time.sleep(0.1)
    """
    with elapsed() as time:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), server.url], capture_output=True, text=True, check=True
        )
    assert done.stdout == "HTTPServiceUnavailable 1\n"
    time.assert_at_most(40)


class _HookAuth:
    """An auth object whose response hook does `work`, as one that refreshes a token would."""

    def __init__(self, work: Callable[[requests.Response], Any]) -> None:
        self.work = work

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", lambda response, **_: self.work(response))
        return request


def _raises(error: BaseException) -> Callable[[requests.Response], Any]:
    def work(response: requests.Response) -> None:
        raise error

    return work


@pytest.mark.parametrize("error", [LookupError("own"), KeyboardInterrupt()])
def test_a_response_hook_that_raises_gives_its_place_in_the_pool_back(
    server: FaultServer, error: BaseException
) -> None:
    policy = ONCE.replace(pool={"size": 1, "block": True}, timeout={"connect": 5, "read": 5, "attempt": 5, "total": 5})
    auth = _HookAuth(_raises(error))
    server.default = reply(200, b"x" * 100_000)
    with Connection(server.url, auth, policy=policy) as conn:
        for _ in range(3):
            with pytest.raises(type(error)):
                conn.get("/")
        auth.work = lambda response: None
        assert conn.get("/").status_code == 200


def test_what_a_response_hook_fails_over_elsewhere_is_no_failure_of_the_host(server: FaultServer) -> None:
    with refused_port() as port:

        def refresh(response: requests.Response) -> None:
            with Connection(f"http://127.0.0.1:{port}", ANONYMOUS, policy=ONCE) as login:
                login.get("/token")

        def by_hand(response: requests.Response) -> None:
            requests.get(f"http://127.0.0.1:{port}/token", timeout=30)

        for work, kind in ((refresh, ConnectError), (by_hand, requests.ConnectionError)):
            with Connection(server.url, _HookAuth(work)) as conn:
                with pytest.raises(kind) as caught:
                    conn.get("/")
                assert (conn.health.failures, conn.health.attempts) == (0, 1)
            if work is refresh:
                assert caught.value.__notes__ == [f"GET http://127.0.0.1:{port}/token: after 1 attempt"]


def test_an_error_has_the_request_that_it_is_about_as_those_of_requests_have(server: FaultServer) -> None:
    server.stop()
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn, pytest.raises(requests.ConnectionError) as caught:
        conn.post("/x", data=iter([b"abc"]))
    assert caught.value.request is not None
    assert (caught.value.request.method, caught.value.request.url) == ("POST", f"{server.url}/x")
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), ConnectError)


def test_a_proxy_that_wants_a_password_says_so_once() -> None:
    with forward_proxy(auth=("user", "right")) as proxy:
        conn = Connection("https://host.test", ANONYMOUS, proxies={"https": proxy.url})
        with conn, pytest.raises(ProxyError, match=r"answered 407 to CONNECT.*proxies=") as caught:
            conn.get("/")
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize("fault", ["status", "refused", "body"])
def test_an_error_that_is_let_go_of_is_freed_at_once(server: FaultServer, fault: str) -> None:
    """It would keep its answer, and the frames that it came through, until the garbage collector comes by."""
    server.default = reply(404 if fault == "status" else 200, b"no json")
    if fault == "refused":
        server.stop()
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        gc.disable()
        try:
            try:
                conn.json_request("GET", "/")
            except SleepwalkerException as error:
                freed = weakref.ref(error)
            assert freed() is None
        finally:
            gc.enable()
