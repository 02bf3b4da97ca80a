"""Servers that mean harm, or are badly broken: a clear error, bounded memory, and a connection that goes on."""

from __future__ import annotations

import io
import json
import re
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from servers import (
    Exchange,
    FaultServer,
    Handler,
    Step,
    TlsMaterial,
    at,
    cookies,
    elapsed,
    endless_headers,
    endless_interim,
    garbage,
    gzip_bomb,
    huge_body,
    json_reply,
    redirect,
    reply,
)

from sleepwalker import (
    ANONYMOUS,
    Connection,
    DecodeError,
    HTTPError,
    HTTPServiceUnavailable,
    Policy,
    ReadError,
    RedirectError,
    SleepwalkerException,
)
from sleepwalker import ConnectionError as OurConnectionError
from tests.both_drivers import threads_only
from tests.ranges import whole

pytestmark = pytest.mark.both_drivers

ONCE = Policy(retry=False, breaker=False, timeout={"connect": 5, "read": 10, "attempt": 10, "total": 20})
MB = 1_000_000


@pytest.fixture
def conn(server: FaultServer) -> Iterator[Connection]:
    with Connection(server.url, ANONYMOUS, policy=ONCE, max_body=MB) as connection:
        yield connection
        # Whatever happened in the test, the connection goes on.
        server.script(json_reply({"fine": True}))
        # A socket may be closed just as it is used again, so this one call may be sent twice.
        assert connection.get("/", policy=Policy(breaker=False)).json() == {"fine": True}
        assert connection.health.in_flight == 0


def raw(data: bytes, keep: bool = False) -> Step:
    """Bytes just as they are, and then the close (or nothing more)."""

    def act(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.keep = keep

    return at("request", act)


def outcome(call: Callable[[], requests.Response]) -> requests.Response | SleepwalkerException:
    """What is returned or raised; another kind of exception is a failure."""
    try:
        return call()
    except SleepwalkerException as error:
        return error


def peak(call: Callable[[], Any]) -> int:
    """The most memory that Python held while it ran, in bytes, above what it began with."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# -- too much ------------------------------------------------------------------------------------


def test_endless_headers_end_in_an_error_soon(server: FaultServer, conn: Connection) -> None:
    server.script(endless_headers())

    def call() -> None:
        with pytest.raises(ReadError) as caught:  # and no deadline
            conn.get("/")
        assert type(caught.value) is ReadError

    assert peak(call) < 5 * MB


@pytest.mark.parametrize("line", [b"X: " + b"y" * 70_000 + b"\r\n", b"X" * 70_000 + b": y\r\n", b"x" * 1000])
def test_a_header_line_without_end_is_an_error(server: FaultServer, conn: Connection, line: bytes) -> None:
    server.script(endless_headers(line))

    def call() -> None:
        with pytest.raises(ReadError):
            conn.get("/")

    assert peak(call) < 5 * MB


def test_endless_interim_answers_end_with_the_deadline(server: FaultServer, conn: Connection, driver: str) -> None:
    """Without a pause, their number does; aiohttp does not count them."""
    if driver == "threads":
        server.script(endless_interim())
        with pytest.raises(ReadError, match="more than 1000 interim responses"):
            conn.get("/")
    server.script(endless_interim(interval=0.005))
    limits = {"connect": 0.5, "read": 0.5, "attempt": 0.5, "total": 0.5}
    with elapsed() as took, pytest.raises(OurConnectionError):
        conn.get("/", policy=ONCE.replace(timeout=limits))
    took.assert_at_most(10)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_max_body_is_refused_unread(server: FaultServer, conn: Connection, chunked: bool) -> None:
    server.script(huge_body(500 * MB, chunked=chunked, headers={"Content-Type": "application/json"}))

    def call() -> None:
        with pytest.raises(DecodeError, match="max_body") as caught:
            conn.json_request("GET", "/")
        assert str(MB) in str(caught.value)
        assert server.url in str(caught.value)
        assert caught.value.response.status_code == 200
        assert len(caught.value.attempts) == 1

    assert peak(call) < 5 * MB  # of 500 MB: so it was not read
    server.wait_for_open(0)


def test_a_body_of_just_max_body_is_fine(server: FaultServer, conn: Connection) -> None:
    text = json.dumps("x" * (MB - 2))
    server.script(reply(200, text), reply(200, text, chunked=True), reply(200, text[:-1] + 'x"'))
    assert len(conn.json_request("GET", "/")) == MB - 2
    assert len(conn.json_request("GET", "/")) == MB - 2
    with pytest.raises(DecodeError, match="max_body"):
        conn.json_request("GET", "/")


@pytest.mark.parametrize("status", [400, 500])
def test_max_body_holds_for_the_body_of_an_error_too(server: FaultServer, conn: Connection, status: int) -> None:
    body = b"x" * 100

    def flood(exchange: Exchange) -> None:
        exchange.keep = False
        exchange.send(b"HTTP/1.1 %d No\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
        for _ in range(500):
            exchange.send(b"%x\r\n" % (len(body) * 10_000) + body * 10_000 + b"\r\n")

    server.script(flood)

    def call() -> None:
        with pytest.raises((DecodeError, HTTPError)):
            conn.json_request("GET", "/")

    assert peak(call) < 10 * MB


def test_the_default_of_max_body_is_100_mb(server: FaultServer) -> None:
    server.script(reply(200, b"", {"Content-Length": "100000001"}, close=True))
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        assert conn._json_options.max_body == 100_000_000


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """300 MB of zeros, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(MB)) for _ in range(300)), packer.flush()])


@pytest.mark.parametrize("where", ["json", "redirect", "error"])
def test_a_gzip_bomb_does_not_fill_the_memory(server: FaultServer, conn: Connection, bomb: bytes, where: str) -> None:
    status = {"json": 200, "redirect": 302, "error": 500}[where]
    server.script(reply(status, bomb, {"Location": "/there", "Content-Encoding": "gzip"}))

    def call() -> None:
        if where == "redirect":
            assert conn.get("/").text == "ok"
        elif where == "json":
            with pytest.raises(DecodeError, match="max_body"):
                conn.json_request("GET", "/")
        else:
            with pytest.raises(HTTPError):
                conn.get("/", stream=True)

    assert peak(call) < 30 * MB


def test_a_streaming_gzip_bomb_is_cut_at_max_body(server: FaultServer, conn: Connection) -> None:
    server.script(gzip_bomb(200 * MB))

    def call() -> None:
        with pytest.raises(DecodeError, match="max_body"):
            conn.json_request("GET", "/")

    assert peak(call) < 30 * MB


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_without_end_is_a_decode_error(server: FaultServer, conn: Connection, opening: str) -> None:
    server.script(reply(200, opening * 100_000))
    with pytest.raises(DecodeError):
        conn.json_request("GET", "/")


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("status", [404, 503])
def test_json_nested_without_end_in_an_error_is_still_that_error(
    server: FaultServer, conn: Connection, status: int
) -> None:
    server.script(reply(status, "[" * 100_000))
    with pytest.raises(HTTPError) as caught:
        conn.json_request("GET", "/")
    assert caught.value.http_code == status


def test_a_number_of_a_million_digits_is_a_decode_error(server: FaultServer, conn: Connection) -> None:
    """Python refuses to convert it, with a ValueError of its own."""
    server.script(reply(200, "9" * 900_000))
    with pytest.raises(DecodeError):
        conn.json_request("GET", "/")


def test_a_flood_of_cookies_fills_a_bounded_jar_only(server: FaultServer, conn: Connection) -> None:
    server.script(cookies(90, 100), cookies(90, 4000), cookies(90, 100))
    for _ in range(3):
        conn.get("/")
    assert len(conn.conn.cookies) <= 50
    assert conn.get("/").ok
    cookie = server.requests[-1].header("Cookie") or ""
    assert len(cookie) < 50 * 4100


def test_cookies_of_ever_new_names_do_not_pile_up(server: FaultServer, conn: Connection) -> None:
    for number in range(30):
        pairs = [("Set-Cookie", f"c{number}-{index}=v; Path=/p{index}") for index in range(20)]
        server.script(reply(200, b"", pairs))
        conn.get("/")
    assert len(conn.conn.cookies) <= 50


@pytest.mark.parametrize(
    "cookie", ["a=b; Domain=example.com", "a=b; Domain=.com", "a=b; Domain=localhost", "", "=", ";;;", "a" * 9000]
)
def test_strange_cookies_do_no_harm(server: FaultServer, conn: Connection, cookie: str) -> None:
    server.script(reply(200, b"", {"Set-Cookie": cookie}))
    assert conn.get("/").ok
    assert conn.get("/").ok


def test_a_redirect_that_never_ends_is_an_error(server: FaultServer, conn: Connection) -> None:
    server.routes = {"/loop": redirect("/loop")}
    with pytest.raises(RedirectError):
        conn.get("/loop")
    assert len(server.requests) == 31


# -- not HTTP ------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 1000 High\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"<html>not http</html>\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"x" * 70_000,
        HEAD + b"Content-Length: -1\r\n\r\nok",
    ],
    ids=lambda data: ascii(data[:30]),
)
def test_what_is_no_answer_is_an_error_and_the_socket_is_dropped(
    server: FaultServer, conn: Connection, data: bytes
) -> None:
    server.script(raw(data))
    with pytest.raises(ReadError, match=re.escape(server.url)):
        conn.get("/")
    server.wait_for_open(0)


def test_garbage_is_a_read_error(server: FaultServer, conn: Connection) -> None:
    server.script(garbage())
    with pytest.raises(ReadError, match="HTTP"):
        conn.get("/")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nContent-Length: 5\r\n",
        b"Content-Length: 2, 5\r\n",
    ],
)
def test_lengths_that_contradict_each_other_are_an_error(server: FaultServer, conn: Connection, head: bytes) -> None:
    server.script(raw(HEAD + head + b"\r\nok"))
    with pytest.raises(OurConnectionError):
        conn.get("/")
    server.wait_for_open(0)


@threads_only("aiohttp refuses a response with both")
def test_length_and_chunks_at_once_are_read_as_chunks_and_the_socket_is_not_trusted(
    server: FaultServer, conn: Connection
) -> None:
    """RFC 9112, 6.3: chunks win; who believes the length would read the second answer wrongly."""
    both = HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    server.script(raw(both, keep=True))
    assert conn.get("/").content == b"ok"
    server.script(reply(200, b"next"))
    assert conn.get("/").content == b"next"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_body_that_is_not_what_its_encoding_says_is_a_decode_error(
    server: FaultServer, conn: Connection, encoding: str
) -> None:
    server.script(reply(200, b"not packed", {"Content-Encoding": encoding}))
    with pytest.raises(DecodeError, match="Content-Encoding"):
        conn.get("/")


def test_an_answer_before_it_was_asked_for_is_not_taken_for_the_next_one(server: FaultServer, conn: Connection) -> None:
    """What waits on an idle socket was not sent for the request to come."""
    extra = HEAD + b"Content-Length: 6\r\n\r\nforged"
    server.script(raw(HEAD + b"Content-Length: 2\r\n\r\nok" + extra, keep=True))
    assert conn.get("/").content == b"ok"
    time.sleep(0.05)
    server.script(reply(200, b"true"))
    assert conn.get("/").content == b"true"


@threads_only("aiohttp refuses a response that more bytes came with")
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("method", "framed"),
    [
        ("GET", b"Content-Length: 2\r\n\r\nok"),
        ("GET", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("HEAD", b"Content-Length: 6\r\n\r\n"),
    ],
)
def test_a_socket_that_brought_more_than_the_answer_is_not_used_again(
    server: FaultServer, conn: Connection, method: str, framed: bytes, warm: bool
) -> None:
    """What was read with the answer is gone, but what follows it would be taken for the next one."""
    if warm:
        conn.get("/warm")
    server.script(raw(HEAD + framed + b"forged", keep=True), reply(200, b"true"))
    conn.request(method, "/")
    assert conn.get("/").content == b"true"
    assert server.accepted == 2


@threads_only("aiohttp refuses a response that more bytes came with")
@pytest.mark.parametrize("warm", [False, True])
def test_what_tls_has_left_over_is_not_taken_for_the_next_answer(tls: TlsMaterial, warm: bool) -> None:
    """It is decrypted already, so nothing waits on the socket: who only looks there sees none of it."""
    forged = HEAD + b"Content-Length: 6\r\n\r\nforged"

    def oversized(exchange: Exchange) -> None:
        exchange.keep = True
        exchange.send(HEAD + b"Content-Length: 2\r\n\r\no")
        exchange.send(b"k" + b"p" * (io.DEFAULT_BUFFER_SIZE - 1) + forged)

    with (
        FaultServer(tls=tls.server_context()) as server,
        Connection(server.url, ANONYMOUS, policy=ONCE, verify=tls.client_context()) as conn,
    ):
        if warm:
            conn.get("/warm")
        server.script(oversized, reply(200, b"true"))
        assert conn.get("/").content == b"ok"
        assert conn.get("/").content == b"true"


@pytest.mark.parametrize("reason", [b"\xff\xfe", b"x" * 10_000, b"", b"<script>"])
def test_a_strange_reason_is_still_that_status(server: FaultServer, conn: Connection, reason: bytes) -> None:
    server.script(raw(b"HTTP/1.1 503 " + reason + b"\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(HTTPServiceUnavailable):
        conn.get("/")


@pytest.mark.parametrize("status", [103, 199, 204, 205, 299, 300, 304, 399, 402, 451, 499, 520, 599, 600, 999])
def test_an_unexpected_status_is_a_response_or_a_clear_error(
    server: FaultServer, conn: Connection, status: int
) -> None:
    server.script(raw(b"HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n\r\n" % status))
    result = outcome(lambda: conn.get("/"))
    if isinstance(result, HTTPError):
        assert result.http_code == status >= 400
    elif isinstance(result, requests.Response):
        assert result.status_code == status < 400
    else:
        assert status < 200, "an interim answer, and no answer after it"


@pytest.mark.parametrize(
    "error_text", ["x" * 100_000, None, 7, {"a": 1}, ["a"], "\x1b[2Jgone", "line\nbreak"], ids=lambda v: ascii(v)[:20]
)
def test_an_error_text_of_any_kind_makes_an_exception_that_prints(
    server: FaultServer, conn: Connection, error_text: Any
) -> None:
    server.script(json_reply({"error_text": error_text}, 400))
    with pytest.raises(HTTPError) as caught:
        conn.json_request("GET", "/")
    assert isinstance(str(caught.value), str)


@pytest.mark.parametrize("value", ["1" * 5000, "9" * 400, "soon", "-1", "NaN", "inf", "\x00", "Thu, 99 Foo 9999"])
def test_a_strange_retry_after_is_no_wait(server: FaultServer, value: str) -> None:
    server.script(reply(503, b"", {"Retry-After": value}))
    with (
        Connection(server.url, ANONYMOUS, policy=Policy(retry={"wait_initial": 0.01})) as conn,
        elapsed() as took,
    ):
        result = outcome(lambda: conn.get("/"))
    assert isinstance(result, HTTPServiceUnavailable if value.isdigit() else requests.Response)
    took.assert_at_most(10)


# -- an error with a body without end ------------------------------------------------------------


def flood(status: int, block: bytes, *, chunked: bool) -> Handler:
    def act(exchange: Exchange) -> None:
        exchange.keep = False
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (200 * len(block))
        exchange.send(b"HTTP/1.1 %d No\r\n%s\r\n\r\n" % (status, framing))
        for _ in range(200):
            exchange.send(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)

    return act


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    "block",
    [b"x" * MB, whole(b"hello \xff" * (MB // 7)), whole(b'{"error_text": "' + b"y" * MB)],
    ids=["x", "odd", "json"],
)
@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 3)])
def test_an_error_of_200_mb_is_kept_in_part(
    server: FaultServer, status: int, attempts: int, block: bytes, chunked: bool
) -> None:
    """It used to be read, kept and guessed at as a whole, seconds past the deadline."""
    server.default = flood(status, block, chunked=chunked)
    policy = ONCE.replace(retry={"attempts": 3, "wait_initial": 0, "jitter": "none"})

    def call() -> None:
        with Connection(server.url, ANONYMOUS, policy=policy) as conn, pytest.raises(HTTPError) as caught:
            conn.get("/")
        assert len(caught.value.attempts) == attempts
        response = caught.value.response
        assert response is not None
        assert 0 < len(response.content) <= 1 << 20
        assert caught.value.text == response.text

    assert peak(call) < 20 * MB


def test_who_wants_no_exception_gets_the_whole_body_of_an_error(server: FaultServer) -> None:
    server.default = reply(404, b"x" * 3 * MB)
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        assert len(conn.get("/", raise_for_status=False).content) == 3 * MB


# -- words that are meant for a terminal or a log --------------------------------------------------

CONTROL = "\x1b[2J\x1b]0;owned\x07\x08\x7f"
WORDS = f"{CONTROL}{'x' * 60_000}"


def head(status: int, reason: str, *fields: str, body: bytes = b"") -> Callable[[Exchange], None]:
    lines = [f"HTTP/1.1 {status} {reason}", *fields, f"Content-Length: {len(body)}", "", ""]
    return lambda exchange: exchange.send("\r\n".join(lines).encode("latin-1") + body)


HOSTILE: dict[str, Callable[[Exchange], None] | Step] = {
    "reason": head(500, WORDS),
    "reason of a redirect": head(302, WORDS, f"Location: /{CONTROL}"),
    "path that a redirect leads to": redirect("/long/" + "x" * 60_000),
    "host that a redirect leads to": redirect(f"http://{CONTROL}.example/"),
    "long host that a redirect leads to": redirect(f"http://{'x' * 60_000}/"),
    "error_text": json_reply({"error_text": WORDS}, 400),
    "error_text of many lines": json_reply({"error_text": "gone\r\n2030-01-01 ERROR all is lost"}, 400),
    "header's value": head(500, "No", f"X-A: {WORDS}", f"Content-Type: application/{CONTROL}"),
    "Retry-After": head(503, "No", f"Retry-After: {CONTROL}"),
    "Content-Encoding": head(200, "OK", f"Content-Encoding: {CONTROL}", body=b"x"),
    "no HTTP": garbage(f"{CONTROL} junk\r\n\r\n".encode()),
    "no JSON": reply(200, WORDS, {"Content-Type": f"text/{CONTROL}"}),
}


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("said", HOSTILE)
def test_nothing_that_a_server_says_steers_a_terminal_or_fills_a_log(
    server: FaultServer, caplog: pytest.LogCaptureFixture, said: str, warm: bool
) -> None:
    """In no text, note, repr, event or line of a log; the answer itself keeps the words for those who look."""
    events: list[Any] = []
    with (
        caplog.at_level(1),
        Connection(server.url, ANONYMOUS, policy=ONCE, observer=lambda event, _: events.append(event)) as conn,
    ):
        if warm:
            conn.get("/")
        server.routes = {"/": HOSTILE[said]}
        server.default = reply(200, b"not json")
        with pytest.raises(SleepwalkerException) as caught:
            conn.json_request("GET", "/")
        texts = [str(caught.value), repr(caught.value), *getattr(caught.value, "__notes__", [])]
        texts += [json.dumps(attempt.to_dict(), ensure_ascii=False) for attempt in caught.value.attempts]
        texts += [repr(event) for event in events]
        texts += [json.dumps(event.fields(), ensure_ascii=False, default=str) for event in events]
        texts += [repr(conn.health)]
        texts += [record.getMessage() for record in caplog.records if record.name.startswith("sleepwalker")]
    assert len(texts) > 6
    for text in texts:
        assert text.isprintable(), text[:200]
        assert len(text) < 3000
