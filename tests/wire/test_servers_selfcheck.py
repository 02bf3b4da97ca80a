"""Each fault that the wire tests rely on is really produced, seen by plain clients."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import servers
from servers import (
    FILES,
    SHORT_KEEPALIVE,
    Exchange,
    FaultServer,
    Nginx,
    Step,
    TlsMaterial,
    elapsed,
    in_time,
    reply,
    timing_test,
)

pytestmark = pytest.mark.left_to_ci

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    for thread in left:  # those of a server that the session shares end when they notice that the client has left
        thread.join(2)
    assert not [thread for thread in left if thread.is_alive()]


@contextlib.contextmanager
def connect(server: FaultServer) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), 5) as sock:
        yield sock


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def read_for(sock: socket.socket, seconds: float) -> bytes:
    """What comes within so many seconds on a connection that stays open."""
    end, said = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data = sock.recv(65536)
        except TimeoutError:
            break
        assert data, f"closed after {said!r}"
        said += data
    return said


def talk(step: Step, request: bytes = GET) -> bytes:
    """All that one request on a connection of its own is answered, up to the close."""
    with FaultServer(default=step) as server, connect(server) as sock:
        sock.sendall(request)
        return read_all(sock)


# -- scripts, records, life ----------------------------------------------------------------------


def test_requests_take_the_steps_of_the_script_in_order_then_the_default(server: FaultServer) -> None:
    server.script(reply(503, headers={"Retry-After": "1"}), reply(201, b"made"))
    assert server.script_left == 2
    answers = [requests.get(server.url, timeout=30) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 201, 200]
    assert answers[0].headers["Retry-After"] == "1"
    assert [answer.content for answer in answers] == [b"", b"made", b"ok"]
    assert server.script_left == 0


def test_a_script_of_one_connection_is_kept_for_it(server: FaultServer) -> None:
    server.script(reply(202))
    server.script(reply(500), reply(501), connection=2)
    with requests.Session() as first, requests.Session() as second:
        seen = [session.get(server.url, timeout=30).status_code for session in (first, second, second, second)]
    assert seen == [202, 500, 501, 200]


def test_routes_answer_by_path_and_a_handler_may_return_the_step() -> None:
    def greet(exchange: Exchange) -> Step:
        assert exchange.request is not None
        return reply(200, exchange.request.query)

    with FaultServer(routes={"/greet": greet}, default=reply(404)) as server:
        assert requests.get(server.url + "/greet?a=1", timeout=30).text == "a=1"
        assert requests.get(server.url + "/other", timeout=30).status_code == 404


def test_requests_are_recorded_as_they_were_on_the_wire(server: FaultServer) -> None:
    with connect(server) as sock:
        before = time.monotonic()
        sock.sendall(b"POST /a%20b?q=1 HTTP/1.1\r\nhOST: x\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: 3\r\n\r\nabc")
        sock.sendall(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        sock.sendall(b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n")
        read_all(sock)
    first, second = server.requests
    assert (first.method, first.target, first.version) == ("POST", "/a%20b?q=1", "HTTP/1.1")
    assert first.headers == [("hOST", "x"), ("X-Two", "1"), ("X-Two", "2"), ("Content-Length", "3")]
    assert first.body == second.body == b"abc"
    assert first.connection == second.connection == 1
    assert before <= first.time <= second.time <= time.monotonic()
    assert first.complete


def test_half_a_body_is_recorded_as_incomplete(server: FaultServer) -> None:
    with connect(server) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    server.wait_for_requests(1)
    assert not server.requests[0].complete


def test_connections_are_counted_when_they_open_and_close(server: FaultServer) -> None:
    with connect(server), connect(server):
        server.wait_for_open(2)
    server.wait_for_open(0)
    assert server.accepted == server.most_open == 2
    with pytest.raises(AssertionError, match="expected 1 open, but 0 are"):
        server.wait_for_open(1, within=0.01)


def test_a_kept_connection_serves_many_requests(server: FaultServer) -> None:
    with requests.Session() as session:
        for _ in range(5):
            session.get(server.url, timeout=30)
    assert (server.accepted, len(server.requests)) == (1, 5)


def test_a_stopped_server_refuses_and_starts_again_on_its_port(server: FaultServer) -> None:
    with connect(server) as kept:
        kept.sendall(GET)
        assert kept.recv(65536)
        server.stop()
        assert kept.recv(1) == b""
        with pytest.raises(ConnectionRefusedError), connect(server):
            pass
        server.start()
    assert requests.get(server.url, timeout=30).text == "ok"


def test_a_stopped_server_keeps_its_port_from_others(server: FaultServer) -> None:
    server.stop()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((server.host, server.port))


@timing_test
def test_a_server_ends_at_once_whatever_its_connections_do() -> None:
    dripping, stalled = servers.drip_body(None, interval=0.01), servers.stall()
    flooding, asleep = servers.huge_body(1 << 40), reply(200, delay=60)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(FaultServer())
        server.script(dripping, stalled, flooding, asleep)
        for number in range(1, 5):
            stack.enter_context(connect(server)).sendall(GET)
            server.wait_for_requests(number)
        stack.enter_context(connect(server))
        server.wait_for_open(5)
        with elapsed() as t:
            server.close()
    t.assert_at_most(0.05)


def test_a_handler_that_raises_fails_the_test() -> None:
    def broken(exchange: Exchange) -> None:
        raise LookupError("a mistake in the test")

    with pytest.raises(AssertionError, match="handler") as caught:
        talk(Step(broken))
    assert isinstance(caught.value.__cause__, LookupError)


# -- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("close", [False, True])
def test_answers_are_framed_properly(server: FaultServer, chunked: bool, close: bool) -> None:
    server.script(*[reply(200, b"body", chunked=chunked, close=close)] * 2)
    with requests.Session() as session:
        for _ in range(2):
            answer = session.get(server.url, timeout=30)
            assert answer.content == b"body"
            assert answer.headers.get("Transfer-Encoding") == ("chunked" if chunked else None)
            assert answer.headers.get("Connection") == ("close" if close else None)
    assert server.accepted == (2 if close else 1)


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_answers_without_a_body_leave_the_connection_in_step(method: bytes, status: int, server: FaultServer) -> None:
    server.script(reply(status, b"body"), reply(200, b"next", close=True))
    with connect(server) as sock:
        sock.sendall(GET.replace(b"GET", method) + GET)
        first, second, last = read_all(sock).split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert second.startswith(b"HTTP/1.1 200 ")
    assert last == b"next"


def test_an_interim_answer_goes_before_the_answer() -> None:
    assert talk(reply(200, b"x", interim=[100], close=True)).startswith(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
    )


def test_a_false_content_length_of_the_test_is_sent_as_it_is() -> None:
    assert talk(reply(200, b"abc", {"content-length": "99"}, close=True)).count(b"ength: ") == 1


@timing_test
def test_a_delayed_answer_comes_after_the_delay() -> None:
    with FaultServer(default=reply(delay=0.1)) as server, elapsed() as t:
        requests.get(server.url, timeout=30)
    t.assert_within(0.1)


def test_an_early_answer_comes_before_the_body(server: FaultServer) -> None:
    server.script(reply(413, b"no", when="head"))
    with connect(server) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
        sock.sendall(b"late" + GET)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert [request.body for request in server.requests] == [b"late", b""]


@timing_test
def test_an_idle_connection_is_closed_after_its_time_without_a_word() -> None:
    with FaultServer(default=reply(200, b"ok", close_after=0.1)) as server, connect(server) as sock, elapsed() as t:
        sock.sendall(GET)
        answer = sock.recv(65536)
        assert sock.recv(1) == b""
    assert b"Connection" not in answer
    t.assert_within(0.1)


def test_a_connection_is_closed_at_once_after_an_answer_that_did_not_say_so() -> None:
    assert talk(reply(200, b"ok", close_after=0), GET + GET) == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_redirects_point_where_the_test_says(server: FaultServer) -> None:
    server.script(servers.redirect("/there", 307))
    assert requests.get(server.url, timeout=30).url == server.url + "/there"
    server.script(*[servers.redirect("/")] * 5)
    with requests.Session() as session:
        session.max_redirects = 3
        with pytest.raises(requests.TooManyRedirects):
            session.get(server.url, timeout=30)


def test_json_and_cookies(server: FaultServer) -> None:
    server.script(servers.json_reply({"a": [1]}, 201), servers.cookies(500, size=20))
    assert requests.get(server.url, timeout=30).json() == {"a": [1]}
    assert (
        talk(servers.cookies(500, size=20), GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).count(
            b"Set-Cookie: c"
        )
        == 500
    )


# -- no answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["accept", "bytes", "head", "request"])
def test_a_stalled_server_says_nothing(server: FaultServer, when: servers.Moment) -> None:
    server.script(servers.stall(when))
    with connect(server) as sock:
        sock.sendall(GET)
        if when in ("head", "request"):
            server.wait_for_requests(1)
        assert read_for(sock, 0.1) == b""
        assert len(server.requests) == (when in ("head", "request"))
    server.wait_for_open(0)


@pytest.mark.parametrize("when", ["bytes", "head", "request"])
def test_a_reset_is_a_reset_at_every_moment(server: FaultServer, when: servers.Moment) -> None:
    server.script(servers.reset(when))
    with connect(server) as sock:
        sock.sendall(GET)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert len(server.requests) == (when in ("head", "request"))


def test_a_connection_is_reset_before_the_client_has_spoken(server: FaultServer) -> None:
    def listen() -> None:  # the reset may come before the client has noticed that it is connected
        with connect(server) as sock:
            sock.recv(1)

    server.script(servers.reset("accept"))
    with pytest.raises(ConnectionResetError):
        listen()
    assert (server.accepted, server.requests) == (1, [])


def test_a_hung_up_request_was_read_and_gets_a_clean_close(server: FaultServer) -> None:
    server.script(servers.hang_up())
    client = http.client.HTTPConnection(server.host, server.port, timeout=30)
    with contextlib.closing(client):
        client.request("POST", "/", b"charge the card")
        with pytest.raises(http.client.RemoteDisconnected):
            client.getresponse()
    assert server.requests[0].body == b"charge the card"


def test_a_kept_connection_can_be_reset_at_its_second_request(server: FaultServer) -> None:
    server.script(reply(200, b"ok"), servers.reset("bytes"))
    with connect(server) as sock:
        sock.sendall(GET)
        assert sock.recv(65536)
        sock.sendall(GET)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert len(server.requests) == 1


def test_a_handler_may_strike_before_the_request_and_let_it_go_on(server: FaultServer) -> None:
    server.script(servers.at("accept", lambda exchange: exchange.pause(0.1)), reply(202))
    with elapsed() as t:
        assert requests.get(server.url, timeout=30).status_code == 202
    assert t.seconds >= 0.1


def test_garbage_is_no_http(server: FaultServer) -> None:
    server.script(servers.garbage(), servers.garbage(when="bytes"))
    with pytest.raises(requests.ConnectionError, match="BadStatusLine"):
        requests.get(server.url, timeout=30)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(server.url.replace("http:", "https:"), timeout=30)


def test_what_is_no_http_gets_400(server: FaultServer) -> None:
    with connect(server) as sock:
        sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


# -- answers that break off ----------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_a_truncated_body_ends_early(chunked: bool) -> None:
    said = talk(servers.truncated(b"0123456789", 4, chunked=chunked))
    head, body = said.split(b"\r\n\r\n")
    assert (b"chunked" if chunked else b"Content-Length: 10") in head
    assert body == (b"a\r\n0123" if chunked else b"0123")


def test_a_body_is_reset_in_the_middle(server: FaultServer) -> None:
    server.script(servers.truncated(b"0123456789", 4, then="reset"))
    with connect(server) as sock:
        sock.sendall(GET)
        with pytest.raises(ConnectionResetError):
            read_all(sock)


def test_a_body_hangs_in_the_middle(server: FaultServer) -> None:
    server.script(servers.truncated(b"0123456789", 4, then="stall"))
    with connect(server) as sock:
        sock.sendall(GET)
        said = sock.recv(65536)  # head and body leave together
        assert (said + read_for(sock, 0.3)).endswith(b"\r\n\r\n0123")


# -- answers that take their time ----------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@timing_test
def test_a_dripped_body_comes_one_byte_at_a_time_and_whole(chunked: bool) -> None:
    with (
        FaultServer(default=servers.drip_body(b"12345", interval=0.02, chunked=chunked)) as server,
        elapsed() as t,
        requests.get(server.url, stream=True, timeout=30) as answer,
    ):
        arrivals = [t.seconds for _ in answer.iter_content(1)]
    assert len(arrivals) == 5
    assert arrivals[-1] >= 0.1
    if arrivals[-1] - arrivals[0] < 0.06:
        raise servers.TooLate(f"the first byte was read after {arrivals[0]:.3f} s, when others had come")


def test_a_dripped_head_is_a_whole_answer_in_the_end(server: FaultServer) -> None:
    server.script(servers.drip_head(b"done", interval=0.001, headers={"X-A": "b"}))
    with elapsed() as t:
        answer = requests.get(server.url, timeout=30)
    assert (answer.content, answer.headers["X-A"]) == (b"done", "b")
    assert t.seconds >= 0.05


@pytest.mark.parametrize(
    ("step", "begun", "piece"),
    [
        (servers.drip_header(0.01), b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x"),
        (
            servers.drip_chunk_line(0.01),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n5;x=",
            b"x",
        ),
        (servers.drip_handshake(0.01), struct.pack("!BHH", 22, 0x0303, 0x3FFF), b"\0"),
        (servers.drip(itertools.repeat(b"ab"), 0.01, first=b"-"), b"-", b"ab"),
        (
            servers.drip_body(None, interval=0.01),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            b"1\r\nx\r\n",
        ),
    ],
)
def test_an_endless_drip_goes_on_until_the_client_leaves(
    server: FaultServer, step: Step, begun: bytes, piece: bytes
) -> None:
    server.script(step)
    with connect(server) as sock, elapsed() as took:
        sock.sendall(GET)
        said = read_for(sock, 0.15)
        while len(said) < len(begun) + 2 * len(piece) and took.seconds < 10:
            said += read_for(sock, 0.05)
    assert said.startswith(begun)
    dripped = said.removeprefix(begun)
    assert dripped == piece * (len(dripped) // len(piece))
    assert 2 <= len(dripped) / len(piece) <= 1 + took.seconds / 0.01
    server.wait_for_open(0)


# -- answers that are too much -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (servers.endless_headers(), b"X-More: " + b"y" * 1000 + b"\r\n"),
        (servers.endless_interim(), b"HTTP/1.1 100 Continue\r\n\r\n"),
        (servers.huge_body(1 << 40), b"x" * 1000),
    ],
)
def test_a_flood_goes_on_until_the_client_leaves(server: FaultServer, step: Step, line: bytes) -> None:
    server.script(step)
    with connect(server) as sock:
        sock.sendall(GET)
        with sock.makefile("rb") as stream:
            said = stream.read(1 << 20)
    assert said.count(line) > 900
    server.wait_for_open(0)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_has_its_whole_size(server: FaultServer, chunked: bool) -> None:
    size = 3 * 65536 + 5
    server.script(servers.huge_body(size, chunked=chunked))
    assert requests.get(server.url, timeout=30).content == b"x" * size


def test_a_gzip_bomb_is_small_on_the_wire_and_big_in_the_end(server: FaultServer) -> None:
    size = 5_000_000
    server.script(servers.gzip_bomb(size))
    assert requests.get(server.url, timeout=30).content == bytes(size)
    assert len(talk(servers.gzip_bomb(size))) < size / 500


# -- ports, names, time --------------------------------------------------------------------------


def test_a_refused_port_refuses() -> None:
    with servers.refused_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


@timing_test
def test_a_connect_to_an_unanswered_port_ends_at_its_own_timeout() -> None:
    with servers.unanswered_port() as port, elapsed() as t, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), 0.15)
    t.assert_within(0.15)


def test_a_name_hangs_until_the_test_ends_and_others_do_not() -> None:
    caught: list[BaseException] = []

    def look_up() -> None:
        try:
            socket.create_connection(("hangs.example", 80))
        except OSError as error:
            caught.append(error)

    thread = threading.Thread(target=look_up)
    with servers.slow_dns("hangs.example") as name:
        thread.start()
        assert socket.getaddrinfo("127.0.0.1", 80)
        end = time.monotonic() + 10
        while not name.waiting and time.monotonic() < end:
            time.sleep(0.01)
        assert thread.is_alive()
        assert (name.asked, name.waiting) == (1, 1)
    thread.join(10)
    assert name.waiting == 0
    assert isinstance(caught[0], socket.gaierror)


def test_a_slow_name_is_found_after_its_delay(server: FaultServer) -> None:
    real = socket.getaddrinfo
    with servers.slow_dns("slow.example", delay=0.1), elapsed() as t:
        assert requests.get(f"http://slow.example:{server.port}", timeout=30).text == "ok"
    assert t.seconds >= 0.1
    assert socket.getaddrinfo is real


def test_only_lateness_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    tries: list[int] = []

    @timing_test
    def late_twice() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise servers.TooLate
        return "in time"

    assert late_twice() == "in time"

    @timing_test
    def always_late() -> None:
        tries.append(1)
        raise servers.TooLate

    tries.clear()
    with pytest.raises(servers.TooLate):
        always_late()
    assert len(tries) == 6
    assert pauses[-5:] == sorted(pauses[-5:]), "what holds a machine up comes in bursts"

    @timing_test
    def too_early() -> None:
        tries.append(1)
        with elapsed() as t:
            pass
        t.assert_within(0.5)

    tries.clear()
    with pytest.raises(AssertionError, match=r"before the 0\.5 s expected"):
        too_early()
    assert len(tries) == 1


def test_a_failure_is_lateness_only_once_the_time_it_was_promised_for_is_over() -> None:
    def fail(after: float, error: BaseException) -> None:
        time.sleep(after)
        raise error

    with pytest.raises(AssertionError, match="soon") as caught, in_time(30):
        fail(0, AssertionError("soon"))
    assert type(caught.value) is AssertionError
    for error in (AssertionError("late"), LookupError("late")):
        with pytest.raises(servers.TooLate, match="late"), in_time(0.01):
            fail(0.02, error)
    with pytest.raises(servers.TooLate, match="DID NOT RAISE"), in_time(0.01), pytest.raises(LookupError):
        time.sleep(0.02)
    with in_time(0.01):
        time.sleep(0.02)  # nothing failed


# -- TLS -----------------------------------------------------------------------------------------


def test_a_tls_server_is_trusted_by_those_who_know_its_authority(tls: TlsMaterial, tls_server: FaultServer) -> None:
    assert requests.get(tls_server.url, verify=str(tls.ca), timeout=30).text == "ok"
    assert requests.get(f"https://localhost:{tls_server.port}", verify=str(tls.ca), timeout=30).text == "ok"
    with pytest.raises(requests.exceptions.SSLError, match="unable to get local issuer"):
        requests.get(tls_server.url, timeout=30)


@pytest.mark.parametrize(("which", "why"), [("expired", "expired"), ("wrong_host", "not valid for")])
def test_a_bad_certificate_is_bad(tls: TlsMaterial, which: str, why: str) -> None:
    with (
        FaultServer(tls=tls.server_context(getattr(tls, which))) as server,
        pytest.raises(requests.exceptions.SSLError, match=why),
    ):
        requests.get(server.url, verify=str(tls.ca), timeout=30)
    assert len(server.handshake_errors) == 1
    assert server.requests == []


def test_a_client_certificate_is_demanded(tls: TlsMaterial) -> None:
    cert = (str(tls.client.cert), str(tls.client.key))
    with FaultServer(tls=tls.server_context(client_ca=True)) as server:
        assert requests.get(server.url, verify=str(tls.ca), cert=cert, timeout=30).text == "ok"
        with pytest.raises(requests.ConnectionError):
            requests.get(server.url, verify=str(tls.ca), timeout=30)


@pytest.mark.parametrize("step", [servers.stall("bytes"), servers.drip_handshake(0.01)])
def test_a_tls_server_can_fail_before_the_handshake(tls: TlsMaterial, step: Step) -> None:
    with FaultServer(tls=tls.server_context()) as server:
        server.script(step)
        with socket.create_connection((server.host, server.port), 5) as sock:
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                tls.client_context().wrap_socket(sock, server_hostname="localhost")
        assert requests.get(server.url, verify=str(tls.ca), timeout=30).text == "ok"


@pytest.mark.parametrize(
    ("step", "error"),
    [(servers.reset(), ConnectionError), (servers.hang_up(), ConnectionError), (servers.stall(), TimeoutError)],
)
def test_faults_work_inside_tls(tls: TlsMaterial, step: Step, error: type[Exception]) -> None:
    with FaultServer(tls=tls.server_context()) as server:
        server.script(reply(200, b"ok"), step)
        client = http.client.HTTPSConnection(server.host, server.port, timeout=30, context=tls.client_context())
        with contextlib.closing(client):
            client.request("GET", "/")
            assert client.getresponse().read() == b"ok"
            client.request("GET", "/")
            if error is TimeoutError:
                client.sock.settimeout(0.2)
            with pytest.raises(error):
                client.getresponse()
    assert (server.accepted, len(server.requests)) == (1, 2)


# -- a proxy -------------------------------------------------------------------------------------


def test_the_proxy_forwards_plain_requests_and_records_them(proxy: FaultServer, server: FaultServer) -> None:
    server.script(reply(201, b"made"))
    answer = requests.post(server.url + "/a?b=1", data=b"body", proxies={"http": proxy.url}, timeout=30)
    assert (answer.status_code, answer.content) == (201, b"made")
    assert proxy.requests[0].target == server.url + "/a?b=1"
    assert (server.requests[0].target, server.requests[0].body) == ("/a?b=1", b"body")


def test_the_proxy_tunnels_tls(proxy: FaultServer, tls: TlsMaterial, tls_server: FaultServer) -> None:
    with requests.Session() as session:
        session.proxies = {"https": proxy.url}
        for _ in range(2):
            assert session.get(tls_server.url, verify=str(tls.ca), timeout=30).text == "ok"
    assert [(r.method, r.target) for r in proxy.requests] == [("CONNECT", f"127.0.0.1:{tls_server.port}")]


def test_the_proxy_demands_its_credentials(server: FaultServer) -> None:
    with servers.forward_proxy(auth=("u", "p")) as proxy:
        assert requests.get(server.url, proxies={"http": proxy.url}, timeout=30).status_code == 407
        url = proxy.url.replace("//", "//u:p@")
        assert requests.get(server.url, proxies={"http": url}, timeout=30).status_code == 200
    assert len(server.requests) == 1
    assert server.requests[0].header("Proxy-Authorization") is None


def test_the_proxy_answers_502_for_a_server_that_refuses(proxy: FaultServer) -> None:
    with servers.refused_port() as port:
        answer = requests.get(f"http://127.0.0.1:{port}", proxies={"http": proxy.url}, timeout=30)
    assert answer.status_code == 502


# -- foreign servers -------------------------------------------------------------------


def test_httpbin_answers(httpbin: str) -> None:
    assert requests.get(httpbin + "/get?a=1", timeout=30).json()["args"] == {"a": "1"}
    assert len(requests.get(httpbin + "/stream/3", timeout=30).text.splitlines()) == 3
    assert requests.get(httpbin + "/gzip", timeout=30).json()["gzipped"] is True


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.httpbin_server, "_PROGRAM", "raise SystemExit('no such thing here')")
    with pytest.raises(RuntimeError, match="no such thing here"), servers.run_httpbin(tmp_path):
        pass


def test_nginx_serves_the_files_and_keeps_connections(nginx: Nginx) -> None:
    with requests.Session() as session:
        answers = {name: session.get(f"{nginx.http}/{name}", timeout=30) for name in FILES}
    assert {name: len(answer.content) for name, answer in answers.items()} == FILES
    assert {json.loads(answer.content)["name"] for answer in answers.values()} == set(FILES)
    assert answers["10kb.json"].headers["Content-Encoding"] == "gzip"
    assert len({answer.headers["X-Connection"] for answer in answers.values()}) == 1


def test_nginx_drops_a_connection_that_idles_under_short(nginx: Nginx) -> None:
    host, port = nginx.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as sock, elapsed() as t:
        sock.sendall(b"GET /short/100b.json HTTP/1.1\r\nHost: h\r\n\r\n")
        said = read_all(sock)
    assert b"keep-alive" in said
    assert SHORT_KEEPALIVE - 0.02 <= t.seconds < 5


def test_nginx_has_real_errors(nginx: Nginx) -> None:
    def status(method: str, path: str, **more: bytes) -> int:
        return requests.request(method, nginx.http + path, timeout=30, **more).status_code  # type: ignore[arg-type]

    assert status("GET", "/bad-gateway") == 502
    assert status("GET", "/status/503") == 503
    assert status("POST", "/100b.json") == 405
    assert status("POST", "/100b.json", data=bytes(2_000_000)) == 413
    assert status("GET", "/empty") == 204
    assert requests.get(nginx.http + "/none", timeout=30).json() == {"error": "no such file"}
    assert "502" in nginx.access_log.read_text()


def test_nginx_speaks_tls_with_and_without_client_certificates(nginx: Nginx) -> None:
    assert requests.get(nginx.https + "/100b.json", verify=nginx.ca, timeout=30).status_code == 200
    assert requests.get(nginx.mtls + "/100b.json", verify=nginx.ca, timeout=30).status_code == 400
    known = requests.get(nginx.mtls + "/100b.json", verify=nginx.ca, cert=nginx.cert, timeout=30)
    assert (known.status_code, known.headers["X-Client-Name"]) == (200, "CN=client")


@pytest.mark.parametrize(("which", "why"), [("expired", "expired"), ("wrong_host", "not valid for")])
def test_nginx_has_bad_certificates_too(nginx: Nginx, which: str, why: str) -> None:
    with pytest.raises(requests.exceptions.SSLError, match=why):
        requests.get(getattr(nginx, which), verify=nginx.ca, timeout=30)


def test_nginx_refuses_old_tls(nginx: Nginx) -> None:
    """Raw bytes, since a modern OpenSSL will not even offer TLSv1.1 to see it refused."""
    suites = b"\xc0\x0a\xc0\x14\x00\x2f\x00\x35"
    hello = b"\x03\x02" + bytes(32) + b"\0" + struct.pack("!H", len(suites)) + suites + b"\x01\0"
    record = b"\x16\x03\x01" + struct.pack("!H", len(hello) + 4) + b"\x01" + len(hello).to_bytes(3, "big") + hello
    host, port = nginx.https.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), 5) as sock:
        sock.sendall(record)
        answer = read_all(sock)
    level, description = answer[5:7]
    assert (answer[0], level, description) == (21, 2, ssl.AlertDescription.ALERT_DESCRIPTION_PROTOCOL_VERSION)
