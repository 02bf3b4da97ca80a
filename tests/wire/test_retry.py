"""What is sent again after which failure, how often, after what wait, and what the caller gets in the end."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
import requests
from servers import (
    Exchange,
    FaultServer,
    Nginx,
    Step,
    TlsMaterial,
    TooLate,
    elapsed,
    garbage,
    hang_up,
    in_time,
    refused_port,
    reply,
    reset,
    stall,
    timing_test,
    truncated,
    unanswered_port,
    wait_until_closed,
)

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    ConnectError,
    Connection,
    ConnectTimeout,
    HTTPServiceUnavailable,
    HTTPTooManyRequests,
    Policy,
    ProxyError,
    ReadError,
    ReadTimeout,
    SleepwalkerException,
    TLSError,
)
from sleepwalker.events import Event, RequestFailed, RequestFinished, RetryAbandoned, RetryScheduled
from tests.both_drivers import threads_only
from tests.ranges import whole

pytestmark = pytest.mark.both_drivers

#: Three sends at once one after the other, without a breaker or a budget that could come between.
AT_ONCE: dict[str, Any] = {"wait_initial": 0, "jitter": "none", "budget": False}
POLICY = Policy(
    timeout={"connect": 3, "read": 3, "attempt": 3, "total": 12},
    retry=AT_ONCE,
    breaker=False,
)


class Events(list[Event]):
    """An observer that keeps what it is told."""

    def __call__(self, event: Event, level: object = None, /) -> None:
        self.append(event)

    @property
    def abandoned(self) -> list[str]:
        return [event.reason for event in self if isinstance(event, RetryAbandoned)]

    @property
    def waits(self) -> list[tuple[float, bool]]:
        return [(event.wait, event.server_directed) for event in self if isinstance(event, RetryScheduled)]

    @property
    def ends(self) -> list[str]:
        return [event.name for event in self if isinstance(event, RequestFinished | RequestFailed)]


def connect(url: str, policy: Policy = POLICY, **kwargs: Any) -> Connection:
    return Connection(url, ANONYMOUS, policy=policy, **kwargs)


def waiting_for(error: type[SleepwalkerException]) -> Policy:
    """Short where silence is the fault; what else goes wrong is told by the server at its leisure."""
    return POLICY.replace(timeout={"read": 0.1}) if error is ReadTimeout else POLICY


def statuses(answer: requests.Response | SleepwalkerException) -> list[int | None]:
    return [attempt.status for attempt in answer.attempts]  # type: ignore[union-attr]


# -- sockets of failed attempts (2) --------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [whole(0), whole(10_000), 200_000])
def test_fifty_failing_calls_hold_at_most_one_socket(size: int, chunked: bool, stream: bool) -> None:
    with FaultServer(default=reply(503, b"x" * size, chunked=chunked)) as server, connect(server.url) as conn:
        errors = []
        for _ in range(50):
            with pytest.raises(HTTPServiceUnavailable) as caught:
                conn.get("/", stream=stream)
            errors.append(caught.value)  # holds the response, as a caller's list of errors would
            server.wait_for_at_most(1)
        assert len(server.requests) == 150
        assert server.most_open <= 5  # one, and those whose end a busy server has not seen yet
        assert {len(error.response.content) for error in errors} == {min(size, 65536) if stream else size}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("size", [10, 200_000])
def test_the_only_slot_of_a_blocking_pool_is_free_again_after_a_failed_call(
    server: FaultServer, size: int, stream: bool
) -> None:
    policy = POLICY.replace(pool={"size": 1, "block": True})
    server.script(*[reply(503, b"x" * size)] * 3)
    with connect(server.url, policy) as conn:  # where it is not, the second call ends with its deadline
        with pytest.raises(HTTPServiceUnavailable):
            conn.get("/", stream=stream)
        assert conn.get("/").content == b"ok"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(hang_up(), id="closed"),
        pytest.param(reset(), id="reset"),
        pytest.param(garbage(), id="garbage"),
        pytest.param(truncated(b"x" * 100, 10), id="truncated"),
        pytest.param(truncated(b"x" * 100, 10, then="reset"), id="reset in the body"),
        pytest.param(truncated(b"x" * 100, 10, then="stall"), id="stalled in the body"),
        pytest.param(stall(), id="stalled"),
        pytest.param(reply(200, b"no gzip", {"Content-Encoding": "gzip"}), id="not gzip"),
    ],
)
def test_the_only_slot_of_a_blocking_pool_is_free_again_after_any_fault(server: FaultServer, fault: Step) -> None:
    policy = POLICY.replace(pool={"size": 1, "block": True}, timeout={"read": 0.2}, retry=False)
    server.script(fault)
    with connect(server.url, policy) as conn:
        with pytest.raises(SleepwalkerException):
            conn.get("/")
        assert conn.get("/", timeout=3).content == b"ok"


def test_a_streamed_503_is_retried_and_its_successor_streams(server: FaultServer) -> None:
    server.script(reply(503, b"busy" * 1000), reply(200, b"streamed"))
    with connect(server.url) as conn, conn.get("/", stream=True) as answer:
        assert statuses(answer) == [503, 200]
        assert b"".join(answer.iter_content(3)) == b"streamed"


@pytest.mark.parametrize("size", [10, 200_000])
def test_an_unread_streamed_503_frees_its_slot_before_the_retry(server: FaultServer, size: int) -> None:
    policy = POLICY.replace(pool={"size": 1, "block": True})
    server.script(reply(503, b"x" * size), reply(503, b"x" * size), reply(200, b"streamed"))
    with connect(server.url, policy) as conn, conn.get("/", stream=True, raise_for_status=False) as answer:
        assert (answer.content, statuses(answer)) == (b"streamed", [503, 503, 200])


def test_a_streamed_503_that_is_not_retried_any_more_can_be_read(server: FaultServer) -> None:
    server.script(*[reply(503, b"busy")] * 3)
    with connect(server.url) as conn, conn.get("/", stream=True, raise_for_status=False) as answer:
        assert (answer.status_code, statuses(answer)) == (503, [503] * 3)
        assert answer.content == b"busy"


# -- what may be sent again (3) ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(stall("head"), ReadTimeout, id="timed out unread"),
        pytest.param(stall(), ReadTimeout, id="timed out"),
        pytest.param(hang_up(), ReadError, id="closed"),
        pytest.param(hang_up("bytes"), ReadError, id="closed unread"),
        pytest.param(reset(), ReadError, id="reset"),
        pytest.param(garbage(), ReadError, id="garbage"),
        pytest.param(truncated(b"x" * 10, 5), ReadError, id="truncated"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@timing_test
def test_only_what_may_be_processed_twice_is_sent_again_once_it_left(
    method: str, fault: Step, error: type[SleepwalkerException]
) -> None:
    if method == "HEAD" and error is ReadError and fault.when == "request":
        fault = hang_up()  # its answer has no body that could break off
    events = Events()
    with FaultServer() as server, in_time(0.19), connect(server.url, waiting_for(error), observer=events) as conn:
        server.script(fault)
        if method in ("POST", "PATCH"):
            with pytest.raises(error) as caught:
                conn.request(method, "/", data=b"x")
            assert type(caught.value) is error
            assert (caught.value.never_sent, len(caught.value.attempts)) == (False, 1)  # type: ignore[attr-defined]
            assert events.abandoned == ["not idempotent"]
            assert events.ends == ["request.failed"]
        else:
            answer = conn.request(method, "/", data=b"x" if method == "PUT" else None)
            assert statuses(answer) == [None, 200]
            assert answer.attempts[0].error.startswith(f"{error.__name__}: {server.url}: ")  # type: ignore[attr-defined]
            assert events.ends == ["request.finished"]
        assert server.accepted == (1 if method in ("POST", "PATCH") else 2)
        assert server.script_left == 0


@pytest.mark.parametrize("how", [{"idempotent": True}, {"headers": {"Idempotency-Key": "1"}}], ids=["word", "key"])
def test_a_post_is_sent_again_where_the_caller_says_that_it_may_be(server: FaultServer, how: Any) -> None:
    server.script(hang_up(), reply(503))
    with connect(server.url) as conn:
        assert statuses(conn.post("/", data=b"x", **how)) == [None, 503, 200]
    assert [request.body for request in server.requests] == [b"x"] * 3


def test_a_get_is_not_sent_again_where_the_caller_says_that_it_may_not_be(server: FaultServer) -> None:
    server.script(reply(503))
    with connect(server.url) as conn, pytest.raises(HTTPServiceUnavailable):
        conn.get("/", idempotent=False)
    assert len(server.requests) == 1


def test_a_503_to_a_post_is_not_retried(server: FaultServer) -> None:
    """It may come from a gateway whose backend did the work."""
    server.script(reply(503))
    with connect(server.url) as conn, pytest.raises(HTTPServiceUnavailable):
        conn.post("/")
    assert len(server.requests) == 1


def _refused() -> AbstractContextManager[str]:
    class Refused:
        def __enter__(self) -> str:
            self.port = refused_port()
            return f"http://127.0.0.1:{self.port.__enter__()}"

        def __exit__(self, *error: object) -> None:
            self.port.__exit__(*error)

    return Refused()


@contextmanager
def _no_such_name() -> Iterator[str]:
    """An unknown name, refused at once: a real resolver may take longer than a connect may."""
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host in ("no-such-name.invalid", b"no-such-name.invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **kwargs)

    with mock.patch.object(socket, "getaddrinfo", look_up):
        yield "http://no-such-name.invalid"


def _never_accepted() -> AbstractContextManager[str]:
    class NeverAccepted:
        def __enter__(self) -> str:
            self.port = unanswered_port()
            return f"http://127.0.0.1:{self.port.__enter__()}"

        def __exit__(self, *error: object) -> None:
            self.port.__exit__(*error)

    return NeverAccepted()


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("place", "error"),
    [
        pytest.param(_refused, ConnectError, id="refused"),
        pytest.param(_no_such_name, ConnectError, id="no such name"),
        pytest.param(_never_accepted, ConnectTimeout, id="connect timeout"),
    ],
)
def test_what_never_left_is_tried_again_for_any_method(
    method: str, place: Callable[[], AbstractContextManager[str]], error: type[SleepwalkerException]
) -> None:
    policy = POLICY.replace(timeout={"connect": 0.1 if error is ConnectTimeout else 3})
    with place() as url, connect(url, policy) as conn:
        with pytest.raises(error) as caught:
            conn.request(method, "/secret?token=canary", data=b"x")
        assert type(caught.value) is error
        assert caught.value.never_sent  # type: ignore[attr-defined]
        assert len(caught.value.attempts) == 3
        assert "canary" not in str(caught.value)
        health = conn.health
        assert (health.state, health.failures, health.consecutive_failures) == ("broken", 3, 3)


@pytest.mark.parametrize(
    "place",
    [_refused, _no_such_name, _never_accepted],
    ids=["refused", "dns", "late"],
)
def test_a_policy_may_forbid_to_repeat_what_never_left(place: Callable[[], AbstractContextManager[str]]) -> None:
    events = Events()
    policy = POLICY.replace(timeout={"connect": 0.1}, retry={**AT_ONCE, "never_sent": False})
    with place() as url, connect(url, policy, observer=events) as conn:
        with pytest.raises((ConnectError, ConnectTimeout)) as caught:
            conn.post("/")
        assert (len(caught.value.attempts), events.abandoned) == (1, ["not idempotent"])
        with pytest.raises((ConnectError, ConnectTimeout)) as caught:
            conn.get("/")
        assert len(caught.value.attempts) == 3


class Back:
    """An observer that has the server come back as soon as a retry waits."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server

    def __call__(self, event: Event, level: object = None, /) -> None:
        if event.name == "retry.scheduled":
            self.server.start()


def test_a_server_that_comes_back_meanwhile_gets_the_post_once(server: FaultServer) -> None:
    server.stop()
    policy = POLICY.replace(retry={"wait_initial": 0.3, "wait_max": 0.3, "jitter": "none", "budget": False})
    with connect(server.url, policy, observer=Back(server)) as conn:
        assert statuses(conn.post("/", data=b"x")) == [None, 200]
    assert [request.body for request in server.requests] == [b"x"]


@pytest.mark.parametrize("fault", [hang_up("accept"), hang_up("bytes"), reset("bytes"), garbage(when="bytes")])
def test_a_broken_tls_handshake_is_tried_again_for_any_method(tls: TlsMaterial, fault: Step) -> None:
    with FaultServer(tls=tls.server_context()) as server, connect(server.url, verify=str(tls.ca)) as conn:
        server.script(fault)
        answer = conn.post("/", data=b"x")
        assert statuses(answer) == [None, 200]
        assert answer.attempts[0].error.startswith("TLSError: ")  # type: ignore[attr-defined]
        assert [request.body for request in server.requests] == [b"x"]
        server.script(*[fault] * 3)
        with connect(server.url, verify=str(tls.ca)) as other, pytest.raises(TLSError) as caught:
            other.post("/", data=b"x")
        assert (len(caught.value.attempts), caught.value.never_sent) == (3, True)


@pytest.mark.parametrize("kind", ["unknown", "expired", "wrong host"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_certificate_that_is_not_accepted_is_never_tried_again(tls: TlsMaterial, method: str, kind: str) -> None:
    pair = {"unknown": tls.server, "expired": tls.expired, "wrong host": tls.wrong_host}[kind]
    with FaultServer(tls=tls.server_context(pair)) as server:
        events = Events()
        verify: Any = True if kind == "unknown" else str(tls.ca)
        with connect(server.url, verify=verify, observer=events) as conn:
            with pytest.raises(TLSError, match="certificate") as caught:
                conn.request(method, "/")
            assert (caught.value.retryable, len(caught.value.attempts)) == (False, 1)
            assert server.accepted == 1
            assert (events.abandoned, events.waits) == ([], [])


# -- what an error says of it (52) ---------------------------------------------------------------


class Gone:
    """An observer that has the server leave, with its port closed, before anything is sent a second time."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server

    def __call__(self, event: Event, level: object = None, /) -> None:
        if event.name == "retry.scheduled":
            self.server.stop()


KEYED: dict[str, Any] = {"data": b"order", "headers": {"Idempotency-Key": "1"}}


@pytest.mark.parametrize("fault", [hang_up(), reset(), reply(503, close=True), truncated(b"x" * 10, 5)])
@pytest.mark.parametrize(("method", "options"), [("GET", {}), ("PUT", {"data": b"order"}), ("POST", KEYED)])
def test_an_error_does_not_say_never_sent_of_a_call_whose_first_attempt_arrived(
    server: FaultServer, fault: Step, method: str, options: dict[str, Any]
) -> None:
    """A caller that believed it would order twice."""
    server.script(fault)
    with connect(server.url, observer=Gone(server)) as conn, pytest.raises(ConnectError) as caught:
        conn.request(method, "/order", **options)
    assert len(server.requests) == 1
    assert [attempt.status is None for attempt in caught.value.attempts][1:] == [True, True]
    assert not caught.value.never_sent


@pytest.mark.parametrize(("first", "unsent"), [(reply(502), True), (hang_up(), True), (None, False)])
def test_what_a_proxy_refused_to_connect_was_never_sent(
    tls: TlsMaterial, proxy: FaultServer, first: Step | None, unsent: bool
) -> None:
    """`None`: the first tunnel is made, and the server hangs up on the request that comes through it."""

    def refuse(event: Event, level: object = None, /) -> None:
        if event.name == "retry.scheduled":
            proxy.script(reply(502))

    options: dict[str, Any] = {"verify": str(tls.ca), "proxies": {"https": proxy.url}, "observer": refuse}
    with FaultServer(tls=tls.server_context()) as server, connect(server.url, **options) as conn:
        (proxy if first else server).script(first or hang_up())
        with pytest.raises(ProxyError) as caught:
            conn.put("/order", data=b"order")
        assert len(server.requests) == (0 if unsent else 1)
    assert caught.value.never_sent is unsent


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_in_an_except_block_raises_its_own_error(server: FaultServer, stream: bool) -> None:
    """Python notes on each exception what was being handled: the refused primary is not why the replica failed."""
    server.script(truncated(b"x" * 10, 5))
    with refused_port() as port, connect(f"http://127.0.0.1:{port}") as primary, connect(server.url) as replica:
        with pytest.raises(ConnectError) as first:
            primary.post("/order", data=b"order")
        try:
            raise first.value
        except ConnectError:
            with pytest.raises(ReadError) as second:
                _ = replica.post("/order", data=b"order", stream=stream).content
    assert len(server.requests) == 1
    assert (first.value.never_sent, second.value.never_sent) == (True, False)
    assert "refused" not in str(second.value)
    assert second.value.__context__ is first.value
    assert first.value.__traceback__ is not None


@pytest.mark.parametrize("failing", [1, 2])
def test_an_auth_object_that_fails_at_the_second_attempt_does_not_undo_the_first(
    server: FaultServer, failing: int
) -> None:
    """It may get its token through a connection of its own, and raise what that one did."""
    asked = []

    def auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        asked.append(prepared)
        if len(asked) == failing:
            error = ConnectError("the server of tokens")
            error.never_sent = True
            raise error
        return prepared

    server.script(reply(503))
    with Connection(server.url, auth, policy=POLICY) as conn, pytest.raises(ConnectError) as caught:
        conn.get("/")
    assert len(server.requests) == failing - 1
    assert caught.value.never_sent is (failing == 1)


# -- sockets that were used before (4) -----------------------------------------------------------


@pytest.mark.parametrize("fault", [hang_up(), reset(), hang_up("head")], ids=["closed", "reset", "closed in the body"])
def test_a_used_socket_that_breaks_does_not_prove_that_a_post_was_not_processed(
    server: FaultServer, fault: Step
) -> None:
    server.script(reply(200), fault)
    with connect(server.url) as conn:
        conn.get("/")
        with pytest.raises(ReadError) as caught:
            conn.post("/", data=b"pay")
    assert (caught.value.never_sent, len(caught.value.attempts)) == (False, 1)
    assert [(request.method, request.connection) for request in server.requests] == [("GET", 1), ("POST", 1)]


def test_a_get_on_a_used_socket_that_breaks_is_sent_again_on_a_new_one(server: FaultServer) -> None:
    server.script(reply(200), hang_up())
    with connect(server.url) as conn:
        conn.get("/1")
        assert statuses(conn.get("/2")) == [None, 200]
    assert [(request.target, request.connection) for request in server.requests] == [("/1", 1), ("/2", 1), ("/2", 2)]


@pytest.mark.parametrize("secure", [False, True])
def test_a_used_socket_that_the_server_closed_is_replaced_unnoticed(tls: TlsMaterial, secure: bool) -> None:
    with FaultServer(default=reply(200, close_after=0), tls=tls.server_context() if secure else None) as server:
        events = Events()
        with connect(server.url, verify=str(tls.ca), observer=events) as conn:
            for _ in range(5):
                answer = conn.post("/", data=b"pay")
                assert statuses(answer) == [200]
                server.wait_for_open(0)
            assert [request.connection for request in server.requests] == [1, 2, 3, 4, 5]
            assert {event.name for event in events} == {"request.finished"}
            assert (conn.health.failures, conn.health.attempts) == (0, 5)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_socket_that_a_real_server_closed_is_replaced_unnoticed(nginx: Nginx, scheme: str) -> None:
    with connect(getattr(nginx, scheme), verify=nginx.ca) as conn:
        first = conn.get("/short/100b.json")
        wait_until_closed(conn)
        second = conn.post("/status/200", raise_for_status=False)
        assert statuses(second) == [second.status_code]
        assert first.headers["X-Connection"] != second.headers["X-Connection"]
        assert conn.health.failures == 0


def test_a_used_socket_on_which_the_server_said_something_unasked_is_replaced(server: FaultServer) -> None:
    """Some servers say 408 before they hang up: taken for an answer, every later one would be one too late."""

    def late(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        exchange.pause(0.05)
        exchange.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 3\r\n\r\nbad")
        said.set()

    said = threading.Event()
    server.script(late)
    with connect(server.url) as conn:
        assert conn.get("/").content == b"ok"
        assert said.wait(10)
        answer = conn.post("/")
        assert (answer.status_code, statuses(answer)) == (200, [200])
    assert [request.connection for request in server.requests] == [1, 2]


@timing_test
def test_sockets_idle_for_longer_than_the_policy_says_are_not_used_again() -> None:
    with FaultServer() as server, connect(server.url, POLICY.replace(pool={"idle": 0.2})) as conn:
        for number in (1, 2):
            with in_time(0.2):
                conn.post("/")
                conn.post("/")
                assert [request.connection for request in server.requests[-2:]] == [number, number]
            time.sleep(0.3)
        server.wait_for_at_most(1)


def test_an_idle_time_of_zero_uses_no_socket_twice(server: FaultServer) -> None:
    with connect(server.url, POLICY.replace(pool={"idle": 0})) as conn:
        for _ in range(3):
            conn.post("/")
    assert [request.connection for request in server.requests] == [1, 2, 3]


# -- answers that break (5) ----------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = [
    pytest.param(truncated(b"x" * 1000, 10), ReadError, id="truncated"),
    pytest.param(truncated(b"x" * 1000, 0), ReadError, id="truncated at the head"),
    pytest.param(truncated(b"x" * 1000, 10, chunked=True), ReadError, id="truncated chunk"),
    pytest.param(truncated(b"x" * 1000, 10, then="reset"), ReadError, id="reset in the body"),
    pytest.param(truncated(b"x" * 1000, 10, chunked=True, then="reset"), ReadError, id="reset in a chunk"),
    pytest.param(truncated(b"x" * 1000, 10, then="stall"), ReadTimeout, id="stalled in the body"),
    pytest.param(truncated(b"x" * 1000, 10, chunked=True, then="stall"), ReadTimeout, id="stalled in a chunk"),
    pytest.param(stall(), ReadTimeout, id="stalled"),
    pytest.param(garbage(), ReadError, id="garbage"),
    pytest.param(garbage(b"HTTP/1.1 two hundred OK\r\n\r\n"), ReadError, id="a status that is no number"),
    pytest.param(garbage(b"HTTP/1.1 -200 OK\r\n\r\n"), ReadError, id="a negative status"),
    pytest.param(garbage(b"HTTP/1.1 200 OK\r\nContent-Le"), ReadError, id="half a head"),
    pytest.param(garbage(b"x" * 100_000), ReadError, id="an endless line"),
    pytest.param(garbage(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n"), ReadError, id="too many headers"),
    pytest.param(
        garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), ReadError, id="two lengths"
    ),
    pytest.param(
        garbage(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), ReadError, id="no chunk size"
    ),
    pytest.param(garbage(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"), ReadError, id="size -5"),
    pytest.param(
        garbage(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"), ReadError, id="no end"
    ),
    pytest.param(garbage(b""), ReadError, id="nothing"),
    pytest.param(reset(), ReadError, id="reset"),
]


@pytest.mark.parametrize(("fault", "error"), BROKEN)
@timing_test
def test_a_broken_answer_is_one_clear_error_and_is_retried(fault: Step, error: type[SleepwalkerException]) -> None:
    policy = waiting_for(error)
    with FaultServer() as server, in_time(0.48), connect(server.url, policy) as conn:
        server.script(fault, *[fault] * 3)
        with pytest.raises(error) as caught:
            conn.get("/p?token=canary", policy=policy.replace(retry=False))
        assert type(caught.value) is error
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert "canary" not in str(caught.value)
        health = conn.health
        assert (health.failures, health.attempts, health.success_ratio) == (1, 1, 0.0)
        assert health.last_error == f"{error.__name__}: {caught.value}"
        with pytest.raises(error) as caught:
            conn.get("/")
        assert len(caught.value.attempts) == 3
        assert conn.health.failures == 4
        assert statuses(conn.get("/")) == [200]
        assert len(server.requests) == 5


@pytest.mark.parametrize(("fault", "error"), BROKEN)
@timing_test
def test_one_broken_answer_costs_the_caller_nothing(fault: Step, error: type[SleepwalkerException]) -> None:
    with FaultServer() as server, in_time(0.19), connect(server.url, waiting_for(error)) as conn:
        server.script(fault)
        answer = conn.get("/")
        assert answer.content == b"ok"
        assert [a.error and a.error.partition(":")[0] for a in answer.attempts] == [error.__name__, None]  # type: ignore[attr-defined]
        assert [request.connection for request in server.requests] == [1, 2]


def test_early_hints_are_not_taken_for_the_answer(server: FaultServer) -> None:
    """Otherwise the true answer would wait on the socket for the next request to take it for its own."""
    server.script(reply(200, b"first", interim=[100, 103, 102, 103]), reply(200, b"second"))
    with connect(server.url) as conn:
        assert (conn.post("/").content, conn.post("/").content) == (b"first", b"second")
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("length", ["1099511627776", "99999999999999999999", "9" * 5000])
def test_the_room_for_a_body_is_not_taken_on_the_servers_word(server: FaultServer, length: str) -> None:
    server.script(garbage(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nfive.".encode()))
    with connect(server.url) as conn, pytest.raises(ReadError):
        conn.get("/", policy=POLICY.replace(retry=False))


# -- Retry-After (6, 7) --------------------------------------------------------------------------


@timing_test
def test_a_retry_after_in_seconds_is_waited_for() -> None:
    with FaultServer() as server:
        events = Events()
        server.script(reply(503, headers={"Retry-After": "1"}), reply(429, headers={"Retry-After": "0.25"}))
        with connect(server.url, observer=events) as conn, elapsed() as time:
            answer = conn.get("/")
        time.assert_within(1.25, 0.1)
        assert statuses(answer) == [503, 429, 200]
        assert [attempt.wait for attempt in answer.attempts] == [0.0, 1.0, 0.25]  # type: ignore[attr-defined]
        assert events.waits == [(1.0, True), (0.25, True)]
        first, second, third = (request.time for request in server.requests)
        assert second - first >= 1.0
        assert third - second >= 0.25


def test_a_retry_after_with_a_date_is_waited_for(server: FaultServer) -> None:
    def busy(exchange: Exchange) -> Step:
        date = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        busy.until = date.timestamp()  # type: ignore[attr-defined]
        return reply(503, headers={"Retry-After": format_datetime(date, usegmt=True)})

    server.script(busy)
    with connect(server.url) as conn:
        answer = conn.get("/")
    late = time.time() - busy.until  # type: ignore[attr-defined]
    assert statuses(answer) == [503, 200]
    assert 0 < answer.attempts[1].wait <= 2.0  # type: ignore[attr-defined]
    assert -0.05 <= late < 10


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "-5",
        "soon",
        "",
        "1 s",
        "1e9",
        "inf",
        "nan",
        "Wed, 99 Foo 2015 07:28:00 GMT",
    ],
)
def test_a_retry_after_in_the_past_or_without_sense_is_not_waited_for(server: FaultServer, value: str) -> None:
    server.script(reply(503, headers={"Retry-After": value}))
    with connect(server.url) as conn, elapsed() as time:
        answer = conn.get("/")
    assert statuses(answer) == [503, 200]
    assert answer.attempts[1].wait < 0.9  # type: ignore[attr-defined]
    time.assert_at_most(10)


@pytest.mark.parametrize("value", ["100", "3", "99999999999999999999", "Wed, 21 Oct 2999 07:28:00 GMT"])
@pytest.mark.parametrize("status", [503, 429])
def test_a_wait_that_does_not_fit_is_not_begun(server: FaultServer, status: int, value: str) -> None:
    policy = POLICY.replace(
        timeout={"connect": 1, "attempt": 2, "total": 2.9} if value == "3" else {"attempt": 10, "total": 30}
    )
    events = Events()
    server.default = reply(status, b"busy", {"Retry-After": value})
    with connect(server.url, policy, observer=events) as conn, elapsed() as time:
        answer = conn.get("/", raise_for_status=False)
        assert (answer.status_code, answer.content, statuses(answer)) == (status, b"busy", [status])
        with pytest.raises((HTTPServiceUnavailable, HTTPTooManyRequests)) as caught:
            conn.get("/")
        assert caught.value.response.content == b"busy"
        assert statuses(caught.value) == [status]
    time.assert_at_most(2.5)
    assert len(server.requests) == 2
    assert set(events.abandoned) <= {"deadline", "retry after"}
    assert (len(events.abandoned), events.waits) == (2, [])


# -- a host that is down (8) ---------------------------------------------------------------------


@pytest.mark.parametrize("statuses_or_refused", ["503", "refused"])
def test_a_host_that_is_down_gets_no_more_than_the_budget_on_top(statuses_or_refused: str) -> None:
    calls, ratio, floor = 200, 0.2, 10
    policy = Policy(
        retry={
            "wait_initial": 0,
            "jitter": "none",
            "budget": {"ratio": ratio, "min_per_second": 1, "window": floor},
        },
        breaker=False,
    )
    sends = 0
    with FaultServer(default=reply(503)) as server:
        if statuses_or_refused == "refused":
            server.stop()
        with connect(server.url, policy) as conn:
            for _ in range(calls):
                with pytest.raises(SleepwalkerException) as caught:
                    conn.get("/")
                sends += len(caught.value.attempts)
            health = conn.health
    assert (health.calls, health.attempts, health.retries) == (calls, sends, sends - calls)
    assert calls * (1 + ratio) * 0.9 <= sends <= calls * (1 + ratio) + floor
    if statuses_or_refused == "503":
        assert len(server.requests) == sends


def test_a_storm_of_threads_on_a_host_that_is_down_stays_within_the_budget() -> None:
    policy = Policy(retry={"wait_initial": 0.01, "wait_max": 0.01}, breaker=False)
    with FaultServer(default=reply(503)) as server, connect(server.url, policy) as conn:

        def work() -> None:
            for _ in range(20):
                conn.get("/", raise_for_status=False)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 160 < len(server.requests) <= 160 * 1.2 + 10


def test_the_breaker_ends_the_retries_of_a_call_and_rejects_the_next(server: FaultServer) -> None:
    """What the caller of the tripping call gets is the server's answer, not the word of the breaker."""
    policy = POLICY.replace(breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 60, "open_max": 60})
    events = Events()
    server.default = reply(503, b"busy")
    with connect(server.url, policy, observer=events) as conn:
        with pytest.raises(HTTPServiceUnavailable) as caught:
            conn.get("/")
        assert statuses(caught.value) == [503, 503]
        assert events.abandoned == ["breaker"]
        with pytest.raises(CircuitOpenError):
            conn.get("/")
    assert len(server.requests) == 2


# -- the number of attempts and the waits between them (9) ---------------------------------------


@timing_test
def test_the_waits_grow_and_none_follows_the_last_attempt() -> None:
    retry = {"attempts": 4, "wait_initial": 0.1, "wait_multiplier": 2, "wait_max": 0.3, "jitter": "none"}
    with FaultServer(default=reply(503)) as server, connect(server.url, POLICY.replace(retry=retry)) as conn:
        with elapsed() as time, pytest.raises(HTTPServiceUnavailable) as caught:
            conn.get("/")
        time.assert_within(0.6, 0.1)
        assert [attempt.wait for attempt in caught.value.attempts] == [0.0, 0.1, 0.2, 0.3]
        assert [attempt.number for attempt in caught.value.attempts] == [1, 2, 3, 4]
        times = [request.time for request in server.requests]
        gaps = [after - before for before, after in pairwise(times)]
        if gaps != pytest.approx([0.1, 0.2, 0.3], abs=0.1):
            raise TooLate(f"the server was asked after {gaps} s")


def test_one_attempt_is_one_send_without_a_wait(server: FaultServer) -> None:
    server.default = reply(503)
    policy = POLICY.replace(
        retry={"attempts": 1, "wait_initial": 30, "wait_max": 30, "jitter": "none"}, timeout={"total": 60}
    )
    with connect(server.url, policy) as conn, elapsed() as time, pytest.raises(HTTPServiceUnavailable):
        conn.get("/")
    time.assert_at_most(15)
    assert len(server.requests) == 1


# -- the end of a connection and of the interpreter (11) -----------------------------------------


@pytest.mark.parametrize("kind", ["status", "error", "returned"])
def test_closing_the_connection_ends_a_wait_with_the_outcome_in_hand(kind: str) -> None:
    policy = POLICY.replace(retry={"wait_initial": 30, "wait_max": 30, "jitter": "none"}, timeout={"total": 100})
    events = Events()
    with FaultServer(default=hang_up() if kind == "error" else reply(503, b"busy")) as server:
        conn = connect(server.url, policy, observer=events)
        closed = 0.0

        def close() -> None:
            nonlocal closed
            while not events.waits:
                time.sleep(0.01)
            closed = time.monotonic()
            conn.close()

        closer = threading.Thread(target=close)
        closer.start()
        if kind == "returned":
            answer = conn.get("/", raise_for_status=False)
            assert (answer.status_code, answer.content) == (503, b"busy")
            tried = answer.attempts  # type: ignore[attr-defined]
        else:
            with pytest.raises(ReadError if kind == "error" else HTTPServiceUnavailable) as caught:
                conn.get("/")
            tried = caught.value.attempts
        took = time.monotonic() - closed
        closer.join()
        assert took < 15
        assert len(tried) == len(server.requests) == 1
        assert events.abandoned == ["closed"]
        server.wait_for_open(0)


def test_a_request_in_flight_finishes_when_the_connection_is_closed_and_leaves_no_socket() -> None:
    with FaultServer(default=reply(200, b"late", delay=0.3)) as server:
        conn = connect(server.url)
        answers: list[bytes] = []
        thread = threading.Thread(target=lambda: answers.append(conn.get("/").content))
        thread.start()
        server.wait_for_requests(1)
        conn.close()
        thread.join()
        assert answers == [b"late"]
        server.wait_for_open(0)


def _script(server: FaultServer, daemon: bool) -> str:
    return textwrap.dedent(
        f"""
        import threading, time
        from sleepwalker import ANONYMOUS, Connection, HTTPServiceUnavailable, Policy

        conn = Connection({server.url!r}, ANONYMOUS, policy=Policy(
            timeout={{"total": 60}}, retry={{"wait_initial": 20, "wait_max": 20, "jitter": "none"}}))

        def call():
            try:
                conn.get("/")
            except HTTPServiceUnavailable as error:
                print("ended with", len(error.attempts), "attempt", flush=True)

        threading.Thread(target=call, daemon={daemon}).start()
        while conn.health.failures == 0:
            time.sleep(0.01)
        time.sleep(0.1)
        print("main ends", flush=True)
        """
    )


@threads_only("a program of its own")
@pytest.mark.parametrize("daemon", [False, True])
def test_a_thread_that_waits_to_retry_does_not_hold_back_the_interpreter(daemon: bool) -> None:
    with FaultServer(default=reply(503)) as server:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _script(server, daemon)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "main ends\n"
            assert process.stderr is not None
            with elapsed() as time:  # not `communicate`, which knows nothing of what `readline` has read ahead
                out, err = process.stdout.read(), process.stderr.read()
                code = process.wait(30)
        finally:
            process.kill()
            process.communicate()
        time.assert_at_most(15)
        assert (code, err) == (0, "")
        assert out == ("" if daemon else "ended with 1 attempt\n")
