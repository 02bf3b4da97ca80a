"""A long body while the server responds early: a refusal ends the sending, and is what the call returns."""

from __future__ import annotations

import io
import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import Exchange, FaultServer, Step, TlsMaterial, elapsed, forward_proxy, reply, timing_test

from sleepwalker import ANONYMOUS, Connection, DeadlineExceeded, HTTPRequestEntityTooLarge, Policy, ReadError
from tests.both_drivers import threads_only
from tests.ranges import whole

pytestmark = pytest.mark.both_drivers

POLICY = Policy(
    timeout={"connect": 5, "read": 10, "attempt": 10, "total": 30},
    retry={"wait_initial": 0, "jitter": "none", "budget": False},
    breaker=False,
)
#: More than the buffers of both sides take, and no two parts of it are alike.
LARGE = random.Random(1).randbytes(12_000_000)
PIECES = [LARGE[start : start + 100_000] for start in range(0, len(LARGE), 100_000)]
BODIES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: LARGE,
    "file": lambda: io.BytesIO(LARGE),
    "iterator": lambda: iter(PIECES),
}
#: Of the blocking side, which reads what a server said before it hung up.
LOST = "asyncio drops what it has not read when it cannot write"
every_body = pytest.mark.parametrize("kind", BODIES)
both_ways = pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])


@pytest.fixture
def running(tls: TlsMaterial, secure: bool) -> Iterator[FaultServer]:
    with FaultServer(tls=tls.server_context() if secure else None) as server:
        yield server


def connect(server: FaultServer, tls: TlsMaterial, **options: Any) -> Connection:
    return Connection(server.url, ANONYMOUS, verify=str(tls.ca), policy=POLICY, **options)


def answer(status: int, then: str, body: bytes = b"why") -> Step:
    """An answer after the head, with the body unread: then silence, or a close, which is a reset."""

    def act(exchange: Exchange) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nX-Number: {exchange.link.number}\r\n\r\n"
        exchange.send(head.encode() + body)
        if then == "silence":
            exchange.pause(None)
        exchange.link.close()

    return Step(act, "head")


@every_body
@both_ways
@pytest.mark.parametrize(
    "then",
    ["silence", pytest.param("close", marks=threads_only("asyncio drops what it has not read when it cannot write"))],
)
@pytest.mark.parametrize("warm", [False, True], ids=["first", "second"])
def test_a_server_that_refuses_a_body_and_reads_no_further_is_heard(
    running: FaultServer, tls: TlsMaterial, kind: str, then: str, warm: bool
) -> None:
    with connect(running, tls) as conn:
        if warm:
            conn.get("/")
        for _ in range(5):  # with the close it is a matter of luck how much was sent before
            running.script(answer(413, then))
            response = conn.put("/", data=BODIES[kind](), raise_for_status=False)
            assert (response.status_code, response.content) == (413, b"why")
            assert len(response.attempts) == 1  # type: ignore[attr-defined]
        assert conn.health.failures == 0
        assert running.script_left == 0
        assert conn.get("/").text == "ok"
    assert not any(request.complete for request in running.requests if request.method == "PUT")


@both_ways
def test_a_refusal_is_raised_as_its_own_error(running: FaultServer, tls: TlsMaterial) -> None:
    running.script(answer(413, "silence"))
    with connect(running, tls) as conn, pytest.raises(HTTPRequestEntityTooLarge) as caught:
        conn.put("/", data=LARGE)
    assert (caught.value.text, len(caught.value.attempts), running.accepted) == ("why", 1, 1)


@both_ways
@pytest.mark.parametrize("status", [307, 400, 401, 403, 501])
def test_any_status_that_is_no_success_ends_the_sending(running: FaultServer, tls: TlsMaterial, status: int) -> None:
    running.script(answer(status, "silence"))
    with connect(running, tls) as conn:
        assert conn.post("/", data=LARGE, raise_for_status=False).status_code == status
    assert running.accepted == 1


@both_ways
@every_body
def test_an_early_503_is_tried_again_where_the_body_can_be_sent_again(
    running: FaultServer, tls: TlsMaterial, kind: str
) -> None:
    running.script(answer(503, "silence"))
    with connect(running, tls) as conn:
        response = conn.put("/", data=BODIES[kind](), raise_for_status=False)
    if kind == "iterator":
        assert (response.status_code, running.accepted) == (503, 1)
    else:
        assert (response.status_code, running.accepted) == (200, 2)
        assert running.requests[1].body == LARGE


@both_ways
def test_the_socket_of_a_body_that_was_not_sent_to_its_end_is_not_used_again(
    running: FaultServer, tls: TlsMaterial
) -> None:
    """Otherwise the server would read the next request as the rest of the body. It said nothing of a close."""
    running.script(answer(413, "silence"))
    with connect(running, tls) as conn:
        conn.put("/", data=LARGE, raise_for_status=False)
        running.wait_for_open(0)
        assert conn.get("/").text == "ok"
    assert [request.connection for request in running.requests] == [1, 2]


def before_the_body(status: int, header: str) -> Step:
    def act(exchange: Exchange) -> None:
        exchange.send(f"HTTP/1.1 {status} X\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode())
        exchange.pause(None)

    return Step(act, "head")


@both_ways
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_redirect_before_the_body_is_followed_with_all_of_it(
    running: FaultServer, tls: TlsMaterial, kind: str
) -> None:
    running.script(before_the_body(307, "Location: /there"))
    with connect(running, tls) as conn:
        response = conn.put("/", data=BODIES[kind]())
    assert (response.text, len(response.attempts)) == ("ok", 1)  # type: ignore[attr-defined]
    assert [(request.target, request.complete) for request in running.requests] == [("/", False), ("/there", True)]
    assert running.requests[1].body == LARGE


@both_ways
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_digest_authentication_answers_a_challenge_before_the_body(
    running: FaultServer, tls: TlsMaterial, kind: str
) -> None:
    running.script(before_the_body(401, 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'))
    auth = requests.auth.HTTPDigestAuth("user", "secret")
    with Connection(running.url, auth, verify=str(tls.ca), policy=POLICY) as conn:
        assert conn.put("/", data=BODIES[kind]()).text == "ok"
    assert [request.complete for request in running.requests] == [False, True]
    assert running.requests[1].body == LARGE
    assert (running.requests[1].header("Authorization") or "").startswith("Digest ")


@both_ways
def test_no_more_is_taken_from_an_iterator_once_the_server_has_refused(running: FaultServer, tls: TlsMaterial) -> None:
    taken = []

    def pieces() -> Iterator[bytes]:
        for number in itertools.count():
            taken.append(number)
            yield bytes(65536)

    running.script(answer(413, "silence"))
    with connect(running, tls) as conn:
        assert conn.put("/", data=pieces(), raise_for_status=False).status_code == 413
    assert len(taken) < 1000


@both_ways
def test_a_refusal_without_an_end_is_bounded_by_read(running: FaultServer, tls: TlsMaterial) -> None:
    def act(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 413 X\r\nContent-")
        exchange.pause(None)

    @timing_test
    def measured() -> None:
        running.script_clear()
        running.script(Step(act, "head"))
        policy = POLICY.replace(timeout={"read": 0.3}, retry=False)
        with Connection(running.url, ANONYMOUS, verify=str(tls.ca), policy=policy) as conn:
            with elapsed() as time, pytest.raises(requests.exceptions.ReadTimeout):
                conn.put("/", data=LARGE)
            time.assert_within(0.3, 0.3)

    measured()


@both_ways
@every_body
@pytest.mark.parametrize("piece", [whole(1, with_each=True), 7, whole(1000, with_each=True)])
def test_interim_responses_do_not_end_the_sending(
    running: FaultServer, tls: TlsMaterial, kind: str, piece: int
) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" + hints + b"HTTP/1.1 100\r\n\r\n"

    def act(exchange: Exchange) -> Step:
        for start in range(0, len(interim), piece):
            exchange.send(interim[start : start + piece])
        return reply(201, b"made")

    running.script(Step(act, "head"))
    with connect(running, tls) as conn:
        response = conn.put("/", data=BODIES[kind]())
        assert (response.status_code, response.content) == (201, b"made")
        assert conn.get("/").text == "ok"
    assert running.requests[0].complete
    assert running.requests[0].body == LARGE
    assert running.accepted == 1


@threads_only("asyncio refuses the 1001st of them")
@both_ways
@timing_test
def test_interim_responses_without_end_do_not_hold_up_the_deadline(tls: TlsMaterial, secure: bool) -> None:
    """They come faster than they are read, so there is always another one to read."""
    many = b"HTTP/1.1 100 Continue\r\n\r\n" * 2000

    def act(exchange: Exchange) -> None:
        while True:
            exchange.send(many)

    with FaultServer(default=Step(act, "head"), tls=tls.server_context() if secure else None) as server:
        with connect(server, tls) as conn, elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.put("/", data=LARGE, total=0.5)
        time.assert_within(0.5, 0.05)
    assert caught.value.phase == "send"


@both_ways
def test_a_refusal_after_an_interim_response_is_heard(running: FaultServer, tls: TlsMaterial) -> None:
    def act(exchange: Exchange) -> Step:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 X\r\nContent-Length: 3\r\n\r\nbig")
        exchange.pause(None)
        return reply()

    running.script(Step(act, "head"))
    with connect(running, tls) as conn:
        response = conn.put("/", data=LARGE, raise_for_status=False)
    assert (response.status_code, response.content) == (413, b"big")


@both_ways
@every_body
def test_a_success_before_the_end_of_the_body_does_not_cut_it(
    running: FaultServer, tls: TlsMaterial, kind: str
) -> None:
    """Some servers say 200 first and read then: were the rest not sent, a part of it would be stored as a success."""
    running.script(reply(200, b"stored", when="head"))
    with connect(running, tls) as conn:
        assert conn.put("/", data=BODIES[kind]()).content == b"stored"
        assert conn.get("/").text == "ok"
    assert running.requests[0].body == LARGE
    assert running.accepted == 1


@both_ways
def test_a_server_that_hangs_up_without_a_word_is_a_read_error(running: FaultServer, tls: TlsMaterial) -> None:
    running.default = Step(lambda exchange: exchange.link.close(), "head")
    with connect(running, tls) as conn, pytest.raises(ReadError) as caught:
        conn.post("/", data=LARGE)
    assert not caught.value.never_sent
    assert running.accepted == 1


@every_body
@pytest.mark.parametrize("proxy_secure", [False, True], ids=["http-proxy", "https-proxy"])
@pytest.mark.parametrize("refuses", [False, True], ids=["taken", "refused"])
def test_so_it_is_through_a_tunnel(tls: TlsMaterial, kind: str, proxy_secure: bool, refuses: bool) -> None:
    server = FaultServer(tls=tls.server_context())
    proxy = forward_proxy(tls=tls.server_context() if proxy_secure else None)
    with proxy, server, connect(server, tls, proxies={"https": proxy.url}) as conn:
        if refuses:
            server.script(answer(413, "silence"))
        response = conn.put("/", data=BODIES[kind](), raise_for_status=False)
        assert response.status_code == (413 if refuses else 200)
        assert refuses or server.requests[0].body == LARGE
        assert server.accepted == 1


# -- files without content -----------------------------------------------------------------------


def framing(server: FaultServer) -> tuple[str | None, str | None]:
    (request,) = server.requests
    assert request.body == b""
    return request.header("Content-Length"), request.header("Transfer-Encoding")


def at_its_end() -> io.BytesIO:
    file = io.BytesIO(b"content")
    file.seek(0, os.SEEK_END)
    return file


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("make", [io.BytesIO, at_its_end, io.StringIO], ids=["no bytes", "at its end", "no text"])
def test_a_file_without_content_has_the_length_0(server: FaultServer, method: str, make: Callable[[], Any]) -> None:
    """Some servers refuse chunks, or wait for them."""
    with make() as file, connect_plain(server) as conn:
        conn.request(method, "/", data=file)
    assert framing(server) == ("0", None)


def test_an_empty_file_has_the_length_0(server: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for mode in ("rb", "r"):
        with (tmp_path / "empty").open(mode) as file, FaultServer() as other, connect_plain(other) as conn:
            conn.put("/", data=file)
            assert framing(other) == ("0", None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
@pytest.mark.parametrize("path", ["/proc/self/cmdline", "/proc/self/status"], ids=["says 0", "says nothing"])
def test_a_file_that_claims_to_be_empty_is_sent_whole(server: FaultServer, path: str) -> None:
    with Path(path).open("rb") as file, connect_plain(server) as conn:
        conn.put("/", data=file)
    (request,) = server.requests
    assert request.body.startswith(b"Name:" if path.endswith("status") else sys.orig_argv[0].encode())
    assert request.header("Transfer-Encoding") == "chunked"


def connect_plain(server: FaultServer) -> Connection:
    return Connection(server.url, ANONYMOUS, policy=POLICY)
