"""Deadlines hold: what a caller waits is what the policy says, whatever the server or the network does."""

from __future__ import annotations

import gzip
import itertools
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from servers import (
    FaultServer,
    Step,
    TlsMaterial,
    TooLate,
    drip,
    drip_body,
    drip_chunk_line,
    drip_handshake,
    drip_head,
    drip_header,
    elapsed,
    endless_interim,
    forward_proxy,
    huge_body,
    in_time,
    reply,
    slow_dns,
    stall,
    timing_test,
    truncated,
    unanswered_port,
)

from sleepwalker import (
    ANONYMOUS,
    Connection,
    ConnectTimeout,
    DeadlineExceeded,
    HTTPServiceUnavailable,
    Policy,
    ReadError,
    ReadTimeout,
)
from tests.ranges import whole

pytestmark = pytest.mark.both_drivers

#: One attempt of 0.3 s; each single wait on the network could be much longer.
ATTEMPT = Policy(timeout={"connect": 0.3, "read": 5, "attempt": 0.3, "total": 20}, retry=False, breaker=False)
#: For what ends otherwise than by a deadline, however long a busy machine holds it up.
PATIENT = ATTEMPT.replace(timeout={"connect": 10, "attempt": 15})
#: The same limit, but it is that of the whole call.
TOTAL = Policy(
    timeout={"connect": 0.1, "read": 5, "attempt": 0.3, "total": 0.3},
    retry={"wait_initial": 0, "wait_max": 0, "jitter": "none", "attempts": 50, "budget": False},
    breaker=False,
)


#: How far an attempt is, in this order.
PHASES = ("queue", "connect", "tls", "send", "head", "body")


def assert_phase(error: DeadlineExceeded, phase: str) -> None:
    """It ended in that phase. On a busy machine it may not have come that far when its time was up."""
    if PHASES.index(error.phase) < PHASES.index(phase):
        raise TooLate(f"only in phase {error.phase!r} when the deadline came, not {phase!r} yet")
    assert error.phase == phase


def gzipped_drip(interval: float) -> Step:
    """A gzip body byte by byte, of which nothing can be unpacked for long."""
    packed = gzip.compress(bytes(range(256)) * 40)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    return drip((packed[at : at + 1] for at in range(len(packed))), interval, first=head)


#: Some kilobytes that come at once, and unpack to three gigabytes.
SMALL_BOMB = gzip.compress(gzip.compress(bytes(1 << 20)) * 3000)

DOING = {"head": "waiting for the response", "body": "reading the body"}
DRIPS = [
    pytest.param(stall, "head", id="silence"),
    pytest.param(lambda: drip_head(interval=0.02), "head", id="head"),
    pytest.param(lambda: drip_header(0.02), "head", id="header line"),
    pytest.param(lambda: endless_interim(100, 0.02), "head", id="100 now and then"),
    pytest.param(lambda: endless_interim(102, 0.02), "head", id="102 now and then"),
    pytest.param(lambda: endless_interim(103, 0.02), "head", id="103 now and then"),
    pytest.param(lambda: drip_body(b"x" * 1000, interval=0.02), "body", id="body"),
    pytest.param(lambda: drip_body(b"x" * 1000, interval=0.02, chunked=True), "body", id="chunked body"),
    pytest.param(lambda: drip_body(None, interval=0.02), "body", id="endless body"),
    pytest.param(lambda: drip_chunk_line(0.02), "body", id="chunk line"),
    pytest.param(lambda: gzipped_drip(0.02), "body", id="gzip body"),
    pytest.param(lambda: huge_body(1 << 40), "body", id="huge body"),
    pytest.param(lambda: reply(200, SMALL_BOMB, {"Content-Encoding": "gzip, gzip"}, close=True), "body", id="bomb"),
    pytest.param(lambda: truncated(b"x" * 1000, 10, then="stall"), "body", id="silence in the body"),
]


@pytest.mark.parametrize(("fault", "phase"), DRIPS)
@pytest.mark.parametrize("secure", [whole(False, with_each=True), True], ids=["http", "https"])
def test_the_attempt_deadline_holds_while_the_server_drips(
    tls: TlsMaterial, secure: bool, fault: Any, phase: str
) -> None:
    if fault().when != "request":
        pytest.fail("the fault must be in the answer")

    @timing_test
    def measured() -> None:
        with (
            FaultServer(default=fault(), tls=tls.server_context() if secure else None) as server,
            Connection(server.url, ANONYMOUS, verify=tls.client_context(), policy=ATTEMPT) as conn,
        ):
            with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
                conn.get("/?token=canary")
            time.assert_within(0.3)
            error = caught.value
            assert_phase(error, phase)
            assert (error.limit, error.never_sent) == ("attempt", False)
            text = re.sub(r"0\.(2\d*|3) s", "0.3 s", str(error))  # a busy machine began it a little late
            assert text == f"{server.url}: the attempt deadline ran out after 0.3 s, {DOING[phase]}"
            server.wait_for_requests(1)
            assert (len(error.attempts), len(server.requests)) == (1, 1)
            assert 0.2 <= error.attempts[0].duration <= 0.36  # likewise
            assert (conn.health.failures, conn.health.in_flight) == (1, 0)
            server.wait_for_open(0)  # what is left of the answer is not waited for

    measured()


@pytest.mark.parametrize(("fault", "phase"), DRIPS)
def test_the_total_deadline_holds_while_the_server_drips(fault: Any, phase: str) -> None:
    @timing_test
    def measured() -> None:
        with FaultServer(default=fault()) as server, Connection(server.url, ANONYMOUS, policy=TOTAL) as conn:
            with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
                conn.get("/")
            time.assert_within(0.3)
            assert caught.value.limit == "total"
            assert_phase(caught.value, phase)

    measured()


@timing_test
def test_the_total_deadline_bounds_all_attempts_and_waits_together() -> None:
    """Three attempts of 0.25 s and the waits between them do not fit."""
    policy = Policy(
        timeout={"connect": 0.2, "read": 5, "attempt": 0.25, "total": 0.8},
        retry={"attempts": 10, "wait_initial": 0.05, "wait_max": 0.05, "jitter": "none", "budget": False},
        breaker=False,
    )
    with FaultServer(default=stall()) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.get("/")
        time.assert_within(0.8)
        assert caught.value.limit == "total"
        durations = [attempt.duration for attempt in caught.value.attempts]
        if durations != pytest.approx([0.25, 0.25, 0.2], abs=0.06):
            raise TooLate(f"the attempts took {durations} s")
        server.wait_for_requests(3)
        assert len(server.requests) == 3


# -- before the answer ---------------------------------------------------------------------------


@timing_test
def test_the_deadline_holds_while_no_connection_is_accepted() -> None:
    with unanswered_port() as port, Connection("http://127.0.0.1", ANONYMOUS, port=port, policy=ATTEMPT) as conn:
        with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.get("/")
        time.assert_within(0.3)
        assert (caught.value.phase, caught.value.never_sent) == ("connect", True)


@timing_test
def test_a_connect_that_takes_too_long_is_a_connect_timeout() -> None:
    policy = ATTEMPT.replace(timeout={"connect": 0.2, "attempt": 5})
    with unanswered_port() as port, Connection("http://127.0.0.1", ANONYMOUS, port=port, policy=policy) as conn:
        with elapsed() as time, pytest.raises(ConnectTimeout, match=r"no connection within 0.2 s") as caught:
            conn.get("/")
        time.assert_within(0.2)
        assert (type(caught.value), caught.value.never_sent) == (ConnectTimeout, True)


@timing_test
def test_the_deadline_holds_while_a_name_is_looked_up() -> None:
    with slow_dns("hangs.test") as name, Connection("http://hangs.test", ANONYMOUS, policy=ATTEMPT) as conn:
        with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.get("/")
        time.assert_within(0.3)
        assert (caught.value.phase, caught.value.never_sent) == ("connect", True)
        with pytest.raises(DeadlineExceeded):
            conn.get("/")
        assert name.asked == 1  # a name server that hangs costs one thread, not one for each attempt


@timing_test
def test_a_look_up_that_takes_too_long_is_a_connect_timeout() -> None:
    policy = ATTEMPT.replace(timeout={"connect": 0.2, "attempt": 5})
    with slow_dns("hangs.test"), Connection("http://hangs.test", ANONYMOUS, policy=policy) as conn:
        with elapsed() as time, pytest.raises(ConnectTimeout) as caught:
            conn.get("/")
        time.assert_within(0.2)
        assert type(caught.value) is ConnectTimeout


@timing_test
def test_a_slow_look_up_that_fits_is_waited_for() -> None:
    with (
        FaultServer() as server,
        slow_dns("slow.test", 0.1),
        Connection("http://slow.test", ANONYMOUS, port=server.port, policy=ATTEMPT) as conn,
    ):
        with elapsed() as time, in_time(0.25):
            assert conn.get("/").content == b"ok"
        time.assert_within(0.1)


@pytest.mark.parametrize("fault", [stall("accept"), stall("bytes"), drip_handshake(0.02)], ids=["mute", "deaf", "drip"])
def test_the_deadline_holds_in_a_tls_handshake(fault: Step) -> None:
    @timing_test
    def measured() -> None:
        with FaultServer(default=fault) as server:
            url = server.url.replace("http:", "https:")
            with Connection(url, ANONYMOUS, verify=False, policy=ATTEMPT) as conn:
                with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
                    conn.get("/")
                time.assert_within(0.3)
                assert_phase(caught.value, "tls")
                assert caught.value.never_sent
                patient = ATTEMPT.replace(timeout={"connect": 0.2, "attempt": 5})
                with elapsed() as time, pytest.raises(ConnectTimeout) as late:
                    conn.get("/", policy=patient)
                time.assert_within(0.2)
                assert (type(late.value), late.value.never_sent) == (ConnectTimeout, True)

    measured()


@timing_test
def test_look_up_connect_and_tls_share_one_limit() -> None:
    """Each of them would fit into 0.3 s by itself."""
    policy = ATTEMPT.replace(timeout={"connect": 0.3, "attempt": 5})
    with (
        FaultServer(default=drip_handshake(0.02)) as server,
        slow_dns("slow.test", 0.2),
        Connection("https://slow.test", ANONYMOUS, port=server.port, verify=False, policy=policy) as conn,
    ):
        with elapsed() as time, pytest.raises(ConnectTimeout):
            conn.get("/")
        time.assert_within(0.3)


def addresses(monkeypatch: pytest.MonkeyPatch, name: str, *ports: int) -> None:
    """Let a name have several addresses: loopback at these ports."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != name:
            return real(host, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_an_address_that_never_answers_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    @timing_test
    def measured() -> None:
        policy = ATTEMPT.replace(timeout={"connect": 0.8, "attempt": 5})
        with unanswered_port() as dead, FaultServer() as server:
            addresses(monkeypatch, "two.test", dead, server.port)
            with Connection("http://two.test", ANONYMOUS, policy=policy) as conn, in_time(0.75):
                answer = conn.post("/")
        assert (answer.content, len(answer.attempts)) == (b"ok", 1)  # type: ignore[attr-defined]

    measured()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_addresses_that_never_answer_share_one_limit(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    @timing_test
    def measured() -> None:
        policy = ATTEMPT.replace(timeout={"connect": 0.3, "attempt": 5})
        with unanswered_port() as dead:
            addresses(monkeypatch, "dead.test", *[dead] * count)
            with Connection("http://dead.test", ANONYMOUS, policy=policy) as conn:
                with elapsed() as time, pytest.raises(ConnectTimeout):
                    conn.get("/")
                time.assert_within(0.3)

    measured()


@pytest.mark.parametrize("kind", ["bytes", "file", "generator"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_deadline_holds_while_the_server_reads_no_upload(tls: TlsMaterial, secure: bool, kind: str) -> None:
    size = 64_000_000

    def body() -> Any:
        if kind == "generator":
            return itertools.repeat(b"x" * 65536, size // 65536)
        return Zeros(size) if kind == "file" else bytes(size)

    @timing_test
    def measured() -> None:
        deaf = FaultServer(default=stall("head"), tls=tls.server_context() if secure else None)
        data = body()
        with deaf as server, Connection(server.url, ANONYMOUS, verify=tls.client_context(), policy=ATTEMPT) as conn:
            with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
                conn.put("/", data=data)
            time.assert_within(0.3)
            assert_phase(caught.value, "send")
            assert not caught.value.never_sent
            server.wait_for_requests(1)
            assert (conn.health.failures, len(server.requests)) == (1, 1)

    measured()


class Zeros:
    """A large file that needs no memory."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


@timing_test
def test_the_deadline_holds_while_a_proxy_says_nothing() -> None:
    with forward_proxy() as proxy:
        proxy.script(stall(), stall())
        for url in ("http://origin.test", "https://origin.test"):
            with Connection(url, ANONYMOUS, policy=ATTEMPT, proxies={"http": proxy.url, "https": proxy.url}) as conn:
                with elapsed() as time, pytest.raises(DeadlineExceeded):
                    conn.get("/")
                time.assert_within(0.3)


# -- read: between two bytes ---------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_read_bounds_the_time_between_two_bytes_only(chunked: bool) -> None:
    """The whole answer takes longer than `read`, which leaves room for a server that stands still for a second."""
    policy = ATTEMPT.replace(timeout={"connect": 5, "read": 1.5, "attempt": 20})
    drip = drip_body(b"0123456789", interval=0.25, chunked=chunked)
    with FaultServer(default=drip) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        with elapsed() as time:
            assert conn.get("/").content == b"0123456789"
        assert time.seconds > 2.4


@pytest.mark.parametrize("fault", [stall(), truncated(b"x" * 100, 10, then="stall")], ids=["head", "body"])
def test_a_longer_silence_than_read_is_a_read_timeout(fault: Step) -> None:
    @timing_test
    def measured() -> None:
        policy = ATTEMPT.replace(timeout={"connect": 5, "read": 0.2, "attempt": 10})
        with FaultServer(default=fault) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
            with elapsed() as time, pytest.raises(ReadTimeout, match=r"nothing arrived for 0.2 s") as caught:
                conn.get("/")
            time.assert_within(0.2)
            assert (type(caught.value), caught.value.never_sent) == (ReadTimeout, False)
            assert conn.health.failures == 1
            server.wait_for_open(0)

    measured()


def test_read_does_not_bound_a_slow_upload() -> None:
    def body() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.4)
            yield b"x"

    policy = ATTEMPT.replace(timeout={"connect": 5, "read": 1.3, "attempt": 10})
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        assert conn.put("/", data=body()).content == b"ok"
        assert server.requests[0].body == b"xxxx"


# -- timeout= ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [3.0, 3, (1.5, 3.0)])
@pytest.mark.parametrize("where", ["constructor", "call"])
def test_a_timeout_given_lifts_deadlines_that_are_too_short_for_it(where: str, timeout: Any) -> None:
    with FaultServer(default=reply(200, b"late", delay=0.6)) as server:
        constructor = {"timeout": timeout} if where == "constructor" else {}
        call = {"timeout": timeout} if where == "call" else {}
        with Connection(server.url, ANONYMOUS, policy=TOTAL, **constructor) as conn:
            answer = conn.get("/", **call)
            assert (answer.content, len(answer.attempts)) == (b"late", 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_a_timeout_given_is_the_time_between_two_bytes(where: str) -> None:
    @timing_test
    def measured() -> None:
        with FaultServer(default=stall()) as server:
            constructor: dict[str, Any] = {"timeout": (1.0, 0.2)} if where == "constructor" else {"timeout": 7}
            call: dict[str, Any] = {"timeout": (1.0, 0.2)} if where == "call" else {}
            policy = ATTEMPT.replace(timeout={"attempt": 5})
            with Connection(server.url, ANONYMOUS, policy=policy, **constructor) as conn:
                with elapsed() as time, pytest.raises(ReadTimeout):
                    conn.get("/", **call)
                time.assert_within(0.2)

    measured()


@timing_test
def test_a_timeout_given_is_the_time_to_connect() -> None:
    with unanswered_port() as port, Connection("http://127.0.0.1", ANONYMOUS, port, timeout=0.2, policy="off") as conn:
        with elapsed() as time, pytest.raises(ConnectTimeout):
            conn.get("/")
        time.assert_within(0.2)
        with elapsed() as time, pytest.raises(ConnectTimeout):
            conn.get("/", timeout=(0.1, 60))
        time.assert_within(0.1)


def test_a_timeout_does_not_shorten_the_deadlines() -> None:
    """They are the policy's business: many reads may fit."""
    with FaultServer(default=drip_body(b"01234567", interval=0.25)) as server:
        policy = ATTEMPT.replace(timeout={"attempt": 10})
        with Connection(server.url, ANONYMOUS, policy=policy, timeout=1.5) as conn:
            assert conn.get("/").content == b"01234567"


# -- one number for one call ---------------------------------------------------------------------


@timing_test
@pytest.mark.parametrize("more", [{}, {"timeout": 5}, {"policy": "batch"}, {"timeout": (5, 9), "policy": PATIENT}])
def test_a_total_bounds_the_call_whatever_else_was_said(more: Any) -> None:
    with FaultServer(default=stall()) as server, Connection(server.url, ANONYMOUS, timeout=20) as conn:
        with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.get("/", total=0.3, **more)
        time.assert_within(0.3)
        assert caught.value.limit == "total"


@timing_test
def test_a_total_bounds_connecting_as_well() -> None:
    with unanswered_port() as port, Connection(f"http://127.0.0.1:{port}", ANONYMOUS) as conn:
        with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.request("GET", "/", total=0.3)
        time.assert_within(0.3)
        assert (caught.value.limit, caught.value.phase) == ("total", "connect")


@timing_test
def test_a_silence_within_a_stream_is_no_longer_than_the_total() -> None:
    stalls = truncated(b"123456", 3, then="stall")
    with FaultServer(default=stalls) as server, Connection(server.url, ANONYMOUS, policy=PATIENT) as conn:
        answer = conn.get("/", stream=True, total=0.5)
        with elapsed() as time, pytest.raises(ReadTimeout):
            answer.content  # noqa: B018
        time.assert_within(0.5)


def test_a_total_is_what_the_server_is_told_and_other_calls_have_their_own(server: FaultServer) -> None:
    told = Policy(timeout={"propagate": "X-Time-Left"})
    with Connection(server.url, ANONYMOUS, policy=told) as conn:
        for total in (0.5, None, 7.5):
            conn.get("/", total=total)
    left = [float(request.header("X-Time-Left") or 0) for request in server.requests]
    assert [0.25 < left[0] <= 0.5, 8 < left[1] <= 10, 6 < left[2] <= 7.5] == [True] * 3


def test_totals_of_any_number_are_not_kept(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS) as conn:
        conn.get("/", timeout=5, total=9)
        known = dict(conn._part._others)
        for number in range(100):
            conn.get("/", timeout=5, total=5 + number / 100)
        assert conn._part._others == known


# -- streams -------------------------------------------------------------------------------------


def test_a_stream_may_take_longer_than_the_attempt() -> None:
    """The deadlines end with the head."""
    policy = TOTAL.replace(timeout={"connect": 1.5, "read": 1.5, "attempt": 1.5, "total": 1.5})
    with (
        FaultServer(default=drip_body(b"0123456789", interval=0.25)) as server,
        Connection(server.url, ANONYMOUS, policy=policy) as conn,
        elapsed() as time,
        conn.get("/", stream=True) as answer,
    ):
        assert answer.attempts[0].duration < 1.5  # type: ignore[attr-defined]
        assert answer.content == b"0123456789"
        assert time.seconds > 2.4
        assert conn.health.failures == 0


@timing_test
def test_the_head_of_a_stream_keeps_to_the_deadline() -> None:
    drip = drip_head(interval=0.02)
    with FaultServer(default=drip) as server, Connection(server.url, ANONYMOUS, policy=ATTEMPT) as conn:
        with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.get("/", stream=True)
        time.assert_within(0.3)
        assert_phase(caught.value, "head")


READERS = {
    "content": lambda answer: answer.content,
    "iter_content": lambda answer: list(answer.iter_content(7)),
    "iter_lines": lambda answer: list(answer.iter_lines()),
    "iteration": list,
    "text": lambda answer: answer.text,
    "json": lambda answer: answer.json(),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_stream_that_stalls_is_a_read_timeout_and_counts_against_the_host(chunked: bool, read: Any) -> None:
    @timing_test
    def measured() -> None:
        policy = ATTEMPT.replace(timeout={"read": 0.2})
        stalls = truncated(b"[" + b"1\n" * 100, 20, chunked=chunked, then="stall")
        with FaultServer(default=stalls) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
            with in_time(0.15):  # its head, too, has 0.2 s
                answer = conn.get("/?token=canary", stream=True)
                assert (conn.health.failures, conn.health.success_ratio) == (0, 1.0)
            with in_time(0.3), answer:
                with elapsed() as time, pytest.raises(ReadTimeout) as caught:
                    read(answer)
                time.assert_within(0.2)
            assert type(caught.value) is ReadTimeout
            assert "canary" not in str(caught.value)
            health = conn.health
            assert (health.failures, health.success_ratio, health.attempts) == (1, 0.0, 1)
            assert health.last_error == f"ReadTimeout: {caught.value}"
            server.wait_for_open(0)

    measured()


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_stream_that_breaks_is_a_read_error_and_counts_against_the_host(
    server: FaultServer, then: Any, chunked: bool, read: Any
) -> None:
    server.default = truncated(b"[" + b"1\n" * 100, 20, chunked=chunked, then=then)
    with Connection(server.url, ANONYMOUS, policy=PATIENT) as conn:
        with conn.get("/?token=canary", stream=True) as answer, pytest.raises(ReadError) as caught:
            read(answer)
        assert type(caught.value) is ReadError
        assert (caught.value.__cause__, caught.value.never_sent) == (None, False)
        assert "canary" not in str(caught.value)
        assert (conn.health.failures, conn.health.attempts) == (1, 1)
        server.wait_for_open(0)


def test_streams_that_break_open_the_circuit_by_their_share(server: FaultServer) -> None:
    """Each counts once, as a failure: a success with each head must not keep it closed."""
    server.default = truncated(b"x" * 100, 20)
    policy = PATIENT.replace(breaker={"failure_ratio": 1, "min_calls": 4, "consecutive": 100})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        for _ in range(4):
            assert conn.health.breaker == "closed"
            with conn.get("/", stream=True) as answer, pytest.raises(ReadError):
                _ = answer.content
        assert conn.health.breaker == "open"


def test_what_came_before_a_stream_broke_was_handed_over(server: FaultServer) -> None:
    server.default = truncated(b"0123456789", 6)
    seen = []
    with (
        Connection(server.url, ANONYMOUS, policy=PATIENT) as conn,
        conn.get("/", stream=True) as answer,
        pytest.raises(ReadError),
    ):
        seen.extend(answer.iter_content(2))
    assert seen == [b"01", b"23", b"45"]


def test_a_failed_stream_is_drained_within_its_deadline() -> None:
    """Its short body is read to raise an error of it; one that drips is not waited for."""

    @timing_test
    def measured() -> None:
        drip = drip_body(b"x" * 1000, interval=0.02, status=503)
        with FaultServer(default=drip) as server, Connection(server.url, ANONYMOUS, policy=ATTEMPT) as conn:
            with elapsed() as time, pytest.raises((DeadlineExceeded, HTTPServiceUnavailable)):
                conn.get("/", stream=True)
            time.assert_within(0.3)

    measured()


# -- many at a time ------------------------------------------------------------------------------


@timing_test
def test_deadlines_hold_for_many_threads_at_a_time() -> None:
    drip = drip_header(0.05)
    with FaultServer(default=drip) as server, Connection(server.url, ANONYMOUS, policy=ATTEMPT) as conn:
        ended: list[DeadlineExceeded] = []

        def call() -> None:
            with pytest.raises(DeadlineExceeded) as caught:
                conn.get("/")
            ended.append(caught.value)

        threads = [threading.Thread(target=call) for _ in range(8)]
        with elapsed() as time:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        time.assert_within(0.3, 0.1)
        assert len(ended) == 8
        for error in ended:
            assert_phase(error, "head")


def test_a_deadline_that_is_over_before_anything_was_sent_is_no_silent_server() -> None:
    """An auth object had to fetch a token first, say: the request never left, so it may be made again."""

    def slow(request: Any) -> Any:
        time.sleep(0.35)
        return request

    with FaultServer() as server, Connection(server.url, slow, policy=ATTEMPT) as conn:
        with pytest.raises(DeadlineExceeded) as caught:
            conn.post("/orders", json={"id": 7})
        assert (caught.value.phase, caught.value.never_sent) == ("queue", True)
        assert server.requests == []
