"""Answers as careful clients read them: odd lines cost nothing but themselves, and a doubtful end is refused."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from servers import Exchange, FaultServer, Step, at, reply
from urllib3.exceptions import HTTPError

from sleepwalker import ANONYMOUS, Connection, DecodeError, HTTPNotFound, HTTPServiceUnavailable, Policy, ReadError

POLICY = Policy(retry=False, breaker=False, timeout={"connect": 5, "read": 5, "attempt": 5, "total": 10})
TEXT = b'{"a": 1}'
MB = 1_000_000
#: The first call takes the ordinary path, a later one the fast path.
WAYS = pytest.mark.parametrize("warm", [False, True], ids=["ordinary", "fast"])


@pytest.fixture
def conn(server: FaultServer, warm: bool) -> Iterator[Connection]:
    with Connection(server.url, ANONYMOUS, policy=POLICY, max_body=MB) as connection:
        if warm:
            connection.get("/warm")
            server.wait_for_requests(1)
        yield connection
        server.script(reply(200, b"next"))
        # A socket may be closed just as it is used again, so this one call may be sent twice.
        answer = connection.get("/", policy=Policy(breaker=False))
        assert answer.content == b"next", "whatever came, the next answer is that of the next call"


def raw(data: bytes, keep: bool = False) -> Step:
    """Bytes just as they are, and then the end of the connection (or nothing more)."""

    def act(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.keep = keep

    return at("request", act)


def head(*lines: bytes, status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"HTTP/" + version + b" " + status, *lines, b"", b""])


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def refusal(conn: Connection, call: Callable[[], Any] | None = None) -> str:
    """The text of the ReadError, which counts as a failure of the host, and shows nothing of the response."""
    failures = conn.health.failures
    with pytest.raises(ReadError) as caught:
        (call or (lambda: conn.get("/")))()
    assert type(caught.value) is ReadError
    assert conn.health.failures == failures + 1
    return str(caught.value)


# -- header lines ----------------------------------------------------------------------------------

LINES = {
    "no colon": b"garbage line",
    "a status line": b"HTTP/1.1 200 OK",
    "no name": b": value",
    "a name with a space": b"My Param: None",
    "a name that is not ASCII": "X-\u00fc: 1".encode(),
    "a NUL in a name": b"X\0Y: 1",
    "a CR in a name": b"X\rY: 1",
    "a CR alone": b"\r",
}
FRAMED = {
    "length": (b"Content-Length: 8", TEXT),
    "chunked": (b"Transfer-Encoding: chunked", chunked(TEXT)),
    "gzip until close": (b"Content-Encoding: gzip", gzip.compress(TEXT)),
}


@WAYS
@pytest.mark.parametrize("framed", FRAMED)
@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_no_header_is_left_out_alone(
    server: FaultServer, conn: Connection, line: str, framed: str
) -> None:
    """It used to take with it all lines after it, framing and coding included."""
    framing, body = FRAMED[framed]
    server.script(raw(head(b"X-First: 1", LINES[line], framing, b"X-Last: 2") + body))
    answer = conn.get("/")
    assert answer.content == TEXT
    assert list(answer.headers) == ["X-First", framing.partition(b":")[0].decode(), "X-Last"]


@WAYS
def test_a_leading_line_that_is_folded_onto_nothing_is_left_out(server: FaultServer, conn: Connection) -> None:
    """RFC 9112, section 2.2."""
    server.script(raw(head(b" X-Folded: 1", b"\tmore", b"X-A: 1", b"Content-Length: 2") + b"ok"))
    answer = conn.get("/")
    assert (answer.content, list(answer.headers)) == (b"ok", ["X-A", "Content-Length"])


def assert_used_once(server: FaultServer, conn: Connection, body: bytes) -> None:
    """A response with this body comes, and the next request goes over another socket."""
    accepted = server.accepted + (not conn.health.attempts)
    assert conn.get("/").content == body
    server.script(reply(200, b"next"))
    conn.get("/")
    assert server.accepted == accepted + 1


@WAYS
def test_a_connection_with_a_malformed_line_is_not_used_again(server: FaultServer, conn: Connection) -> None:
    server.script(raw(head(b"garbage", b"Content-Length: 2") + b"ok", keep=True))
    assert_used_once(server, conn, b"ok")


@WAYS
@pytest.mark.parametrize("space", [b" ", b"\t "])
def test_whitespace_before_a_colon_does_not_count(server: FaultServer, conn: Connection, space: bytes) -> None:
    server.script(raw(head(b"X-A" + space + b": 1", b"Content-Length" + space + b": 2") + b"okay"))
    answer = conn.get("/")
    assert (answer.content, answer.headers["X-A"]) == (b"ok", "1")


@WAYS
@pytest.mark.parametrize("control", [b"\r", b"\0"])
def test_a_control_character_in_a_value_is_a_space(server: FaultServer, conn: Connection, control: bytes) -> None:
    """Read as the end of a line, it would let the value add a header."""
    server.script(raw(head(b"X-A: a" + control + b"Content-Length: 1", b"Content-Length: 2") + b"ok"))
    answer = conn.get("/")
    assert (answer.content, answer.headers["X-A"]) == (b"ok", "a Content-Length: 1")


@WAYS
def test_a_folded_value_and_bare_line_feeds_are_read(server: FaultServer, conn: Connection) -> None:
    server.script(raw(b"HTTP/1.1 200 OK\nX-A: one,\n  two\r\n\t three\nContent-Length: 2\n\nok"))
    answer = conn.get("/")
    assert (answer.content, answer.headers["X-A"]) == (b"ok", "one, two three")


@WAYS
@pytest.mark.parametrize(
    "line",
    [b"Content-Length 5", b"Transfer-Encoding\xa0: chunked", b"\rContent-Length: 5", b" Transfer-Encoding: chunked"],
)
def test_a_malformed_line_that_may_frame_the_body_is_refused(
    server: FaultServer, conn: Connection, line: bytes
) -> None:
    server.script(raw(head(line, b"Content-Length: 2") + b"ok"))
    text = refusal(conn)
    assert text == f"{server.url}: a malformed header line that may be Content-Length or Transfer-Encoding"


@WAYS
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([b"X: 1"] * 101, "the response has more than 100 header lines"),
        ([b"X: " + b"y" * 65_536], "a header line of the response is longer than 65536 bytes"),
        ([b"X: " + b"y" * 60_000] * 20, "the header lines of the response are longer than 1048576 bytes"),
    ],
)
def test_the_limit_that_was_exceeded_is_named(
    server: FaultServer, conn: Connection, lines: list[bytes], words: str
) -> None:
    server.script(raw(head(*lines, b"Content-Length: 0")))
    assert refusal(conn) == f"{server.url}: {words}"


@WAYS
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "closed without a response"),
        (b"220 mail.example ESMTP\r\n\r\n", "not HTTP/1: the first line of the response is not a status line"),
        (b"HTTP/1.1 2_0 OK\r\n\r\n", "not HTTP/1: the first line of the response is not a status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the connection ended within the response's head"),
        (b"HTTP/1.1 20", "the connection ended within the response's head"),
        (b"HT", "the connection ended within the response's head"),
    ],
)
def test_what_is_no_head_is_said(server: FaultServer, conn: Connection, data: bytes, words: str) -> None:
    server.script(raw(data))
    assert refusal(conn) == f"{server.url}: {words}"


# -- lengths ---------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("lines", [[b"5, 5"], [b"5", b"5"], [b"  5\t"], [b"005"], [b"5", b"05,5"]])
def test_a_length_that_is_told_twice_is_that_length(server: FaultServer, conn: Connection, lines: list[bytes]) -> None:
    server.script(raw(head(*[b"Content-Length: " + line for line in lines]) + b"hello, world"))
    answer = conn.get("/")
    assert answer.content == b"hello"
    assert int(answer.headers["Content-Length"]) == 5


NO_LENGTHS = [b"", b"+5", b"-5", b"1_0", b"0x5", b"5.0", b"abc", b"5 5", b"5,", b"\xb2", b"5\xa0", b"5;", b"-0"]


@WAYS
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("length", NO_LENGTHS, ids=ascii)
def test_a_length_that_is_no_number_is_refused(
    server: FaultServer, conn: Connection, length: bytes, streamed: bool
) -> None:
    """Read as "until the end of the connection", a body that was cut would pass for a whole one."""
    server.script(raw(head(b"Content-Length: " + length) + b"hello"))
    text = refusal(conn, lambda: conn.get("/", stream=streamed))
    assert text == f"{server.url}: the response's Content-Length is not a number"


@WAYS
@pytest.mark.parametrize("lines", [[b"2, 5"], [b"2", b"5"], [b"5", b"5", b"2"]])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_lengths_that_differ_are_refused(
    server: FaultServer, conn: Connection, lines: list[bytes], method: str
) -> None:
    server.script(raw(head(*[b"Content-Length: " + line for line in lines]) + b"hello"))
    text = refusal(conn, lambda: conn.request(method, "/"))
    assert text == f"{server.url}: the response has several Content-Lengths, which differ"


@WAYS
@pytest.mark.parametrize("length", [b"9" * 5000, b"%d" % 2**63, b"%d" % 2**80])
def test_a_length_that_no_file_has_is_refused(server: FaultServer, conn: Connection, length: bytes) -> None:
    server.script(raw(head(b"Content-Length: " + length) + b"hello"))
    assert refusal(conn) == f"{server.url}: the response's Content-Length is above {2**63 - 1}"


# -- codings of the transfer -------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("coding", [b"chunked", b" Chunked\t", b",chunked"])
def test_chunks_are_read_whatever_the_version_says(
    server: FaultServer, conn: Connection, coding: bytes, version: bytes
) -> None:
    server.script(raw(head(b"Transfer-Encoding: " + coding, version=version) + chunked(b"he", b"llo"), keep=True))
    accepted = server.accepted + (not conn.health.attempts)
    assert conn.get("/").content == b"hello"
    server.script(reply(200, b"next"))
    assert conn.get("/").content == b"next"
    assert server.accepted == accepted + (version == b"1.0")


@WAYS
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("length", [b"3", b"abc", b"3, 4"])
def test_chunks_win_over_a_length_and_the_connection_is_given_up(
    server: FaultServer, conn: Connection, length: bytes, order: int
) -> None:
    """RFC 9112, section 6.3: it may be an attempt to have two readers see two ends."""
    lines = [b"Content-Length: " + length, b"Transfer-Encoding: chunked"][::order]
    server.script(raw(head(*lines) + chunked(b"hello"), keep=True))
    assert_used_once(server, conn, b"hello")


@WAYS
@pytest.mark.parametrize("twice", [[b"chunked"] * 2, [b"chunked, chunked"]])
def test_chunks_that_are_announced_twice_are_there_once(
    server: FaultServer, conn: Connection, twice: list[bytes]
) -> None:
    """As in curl, since such servers are about; what is before them may read it otherwise."""
    server.script(raw(head(*[b"Transfer-Encoding: " + coding for coding in twice]) + chunked(b"hello"), keep=True))
    assert_used_once(server, conn, b"hello")


@WAYS
@pytest.mark.parametrize("coding", [b"identity", b""])
@pytest.mark.parametrize("length", [[], [b"Content-Length: 5"]])
def test_no_coding_is_none(server: FaultServer, conn: Connection, coding: bytes, length: list[bytes]) -> None:
    server.script(raw(head(b"Transfer-Encoding: " + coding, *length) + b"hello"))
    assert conn.get("/").content == b"hello"


@WAYS
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "codings",
    [[b"gzip"], [b"gzip, chunked"], [b"chunked", b"gzip"], [b"xchunked"], [b"chunked, gzip"]],
)
def test_a_coding_that_was_not_asked_for_is_refused(
    server: FaultServer, conn: Connection, codings: list[bytes], streamed: bool
) -> None:
    server.script(raw(head(*[b"Transfer-Encoding: " + coding for coding in codings]) + chunked(b"hello")))
    text = refusal(conn, lambda: conn.get("/", stream=streamed))
    said = "the response's Transfer-Encoding is not `chunked`, the only supported one"
    assert text == f"{server.url}: {said}"


# -- chunks ----------------------------------------------------------------------------------------


def _filled(raw: Any) -> bytes:
    buffer, parts = bytearray(1000), []
    while size := raw.readinto(buffer):
        parts.append(bytes(buffer[:size]))
    return b"".join(parts)


READS: dict[str, Callable[[requests.Response], bytes]] = {
    "content": lambda answer: answer.content,
    "iter_content(None)": lambda answer: b"".join(answer.iter_content(None)),
    "iter_content(3)": lambda answer: b"".join(answer.iter_content(3)),
    "iter_lines": lambda answer: b"\n".join(answer.iter_lines()),
}
RAW_READS: dict[str, Callable[[Any], bytes]] = {
    "read()": lambda raw: raw.read(),
    "read(3)": lambda raw: b"".join(iter(lambda: raw.read(3), b"")),
    "read1()": lambda raw: b"".join(iter(raw.read1, b"")),
    "stream(3)": lambda raw: b"".join(raw.stream(3)),
    "read_chunked()": lambda raw: b"".join(raw.read_chunked()),
    "readinto": _filled,
}
CHUNKS = head(b"Transfer-Encoding: chunked")


#: Odd, but whole.
FINE = {
    "capitals and zeros": b"0A\r\nhello, you\r\n0000\r\n\r\n",
    "extensions": b'5;a;b=c; d="e;f"\r\nhello\r\n5 ;x\r\n, you\r\n0;last\r\n\r\n',
    "spaces after the size": b"5  \r\nhello\r\n5\t\r\n, you\r\n0 \r\n\r\n",
    "a trailer": b"a\r\nhello, you\r\n0\r\nX-Sum: 1\r\nno colon\r\nTransfer-Encoding: gzip\n\r\n",
    "no end of the trailer": b"a\r\nhello, you\r\n0\r\n",
    "one byte each": chunked(*[b"%c" % byte for byte in b"hello, you"]),
}
#: What is wrong, and how that is said.
BROKEN = {
    "negative": (b"-5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "signed": (b"+5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "0x": (b"0x5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "underscore": (b"0_5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "space before": (b" 5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "none": (b"\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "only an extension": (b";a\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "bare line feed": (b"5\nhello\r\n0\r\n\r\n", "hexadecimal"),
    "2**63": (b"8000000000000000\r\nhello\r\n", "above 9223372036854775807"),
    "2**80": (b"100000000000000000000\r\nhello\r\n", "above 9223372036854775807"),
    "thousands of digits": (b"f" * 4000 + b"\r\nhello\r\n", "above 9223372036854775807"),
    "2**63 - 1": (b"7fffffffffffffff\r\nhello\r\n", "broke off"),
    "2**50": (b"4000000000000\r\nhello", "broke off"),
    "longer than it says": (b"4\r\nhello\r\n0\r\n\r\n", "longer than its size"),
    "line feed after it": (b"5\r\nhello\n0\r\n\r\n", "longer than its size"),
    "no last chunk": (b"5\r\nhello\r\n", "broke off"),
    "a cut size": (b"5\r\nhello\r\n1", "broke off"),
    "endless extension": (b"5;" + b"x" * 5000 + b"\r\nhello\r\n0\r\n\r\n", "longer than 4096 bytes"),
    "endless trailer": (b"5\r\nhello\r\n0\r\n" + b"X: 1\r\n" * 101 + b"\r\n", "more than 100 trailer lines"),
    "long trailer": (b"5\r\nhello\r\n0\r\nX: " + b"y" * 70_000, "a trailer line .* longer than 65536 bytes"),
}


@WAYS
@pytest.mark.parametrize("way", ["unstreamed", *READS, *RAW_READS])
@pytest.mark.parametrize("body", FINE)
def test_odd_chunks_are_read(server: FaultServer, conn: Connection, body: str, way: str) -> None:
    server.script(raw(CHUNKS + FINE[body], keep="no end" not in body))
    answer = conn.get("/", stream=way != "unstreamed")
    if way in RAW_READS:
        assert RAW_READS[way](answer.raw) == b"hello, you"
    else:
        assert READS.get(way, READS["content"])(answer) == b"hello, you"


@WAYS
@pytest.mark.parametrize("way", ["unstreamed", *READS])
@pytest.mark.parametrize("body", BROKEN)
def test_broken_chunks_are_a_read_error_however_they_are_read(
    server: FaultServer, conn: Connection, body: str, way: str
) -> None:
    """Some came out as OverflowError, MemoryError or a bare ValueError, and were no failure of the host."""
    data, words = BROKEN[body]
    server.script(raw(CHUNKS + data))

    def call() -> None:
        answer = conn.get("/", stream=way != "unstreamed")
        READS.get(way, READS["content"])(answer)

    tracemalloc.start()
    try:
        text = refusal(conn, call)
        assert tracemalloc.get_traced_memory()[1] < 10 * MB
    finally:
        tracemalloc.stop()
    assert text.startswith(f"{server.url}: ")
    assert re.search(words, text)


@WAYS
@pytest.mark.parametrize("streamed", [False, True])
def test_the_chunks_of_a_stream_are_the_servers(server: FaultServer, conn: Connection, streamed: bool) -> None:
    """Long ones come in parts: each would be held in memory as a whole."""
    parts = [b"a" * 5, b"b" * 70_000, b"c" * (1 << 20), b"d" * 2_500_000, b"e"]
    server.script(raw(CHUNKS + chunked(*parts)))
    if not streamed:
        assert conn.get("/").content == b"".join(parts)
        return
    pieces = list(conn.get("/", stream=True).iter_content(None))
    assert pieces[:3] == parts[:3]
    assert [len(piece) for piece in pieces[3:]] == [1 << 20, 1 << 20, 2_500_000 - (2 << 20), 1]
    assert b"".join(pieces) == b"".join(parts)


@WAYS
@pytest.mark.parametrize("way", ["content", *(way for way in RAW_READS if "chunked" not in way)])
@pytest.mark.parametrize("length", [2**50, 2**63 - 1])
def test_no_memory_is_taken_on_the_servers_word(server: FaultServer, conn: Connection, length: int, way: str) -> None:
    server.script(raw(head(b"Content-Length: %d" % length) + b"hello"))
    answer = conn.get("/", stream=True)
    tracemalloc.start()
    try:
        with pytest.raises((ReadError, HTTPError)):  # urllib3's own error where its response is read by hand
            _ = answer.content if way == "content" else RAW_READS[way](answer.raw)
        assert tracemalloc.get_traced_memory()[1] < 10 * MB
    finally:
        tracemalloc.stop()


@WAYS
def test_a_redirect_with_broken_chunks_is_no_untyped_error(server: FaultServer, conn: Connection) -> None:
    lines = [b"Location: /there", b"Transfer-Encoding: chunked"]
    server.script(raw(head(*lines, status=b"302 Found") + b"f" * 30 + b"\r\n"))
    server.routes = {"/there": reply(200, b"here")}
    assert conn.get("/").content == b"here"


# -- codings of the body ---------------------------------------------------------------------------

PACKED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "GZIP, identity": gzip.compress(TEXT),
    "identity, gzip": gzip.compress(TEXT),
    "gzip,": gzip.compress(TEXT),
    ", gzip ,,": gzip.compress(TEXT),
    "gzip, gzip": gzip.compress(gzip.compress(TEXT)),
    "identity": TEXT,
    "": TEXT,
    ",": TEXT,
    "identity, identity": TEXT,
    "unknown": TEXT,
    "utf-8": TEXT,
    "gzip, unknown": TEXT,
    "unknown, gzip": TEXT,
    "gzip;q=1": TEXT,
}


@WAYS
@pytest.mark.parametrize("framed", ["length", "chunked", "close"])
@pytest.mark.parametrize("coding", PACKED)
def test_codings_are_undone_or_left_alone(server: FaultServer, conn: Connection, coding: str, framed: str) -> None:
    """A body in an unknown coding is given as it came, as requests does; `identity` is none."""
    framing: dict[str, Any] = {"length": {}, "chunked": {"chunked": True}, "close": {"close": True}}[framed]
    step = reply(200, PACKED[coding], {"Content-Encoding": coding}, **framing)
    server.script(step, step, step)
    assert conn.get("/").content == TEXT
    assert b"".join(conn.get("/", stream=True).iter_content(3)) == TEXT
    assert conn.json_request("GET", "/") == {"a": 1}


@WAYS
def test_two_lines_of_codings_are_one_list(server: FaultServer, conn: Connection) -> None:
    body = gzip.compress(gzip.compress(TEXT))
    lines = [b"Content-Encoding: gzip", b"Content-Encoding: gzip", b"Content-Length: %d" % len(body)]
    server.script(raw(head(*lines) + body))
    assert conn.get("/").content == TEXT


@WAYS
def test_more_than_five_codings_are_refused(server: FaultServer, conn: Connection) -> None:
    server.script(reply(200, TEXT, {"Content-Encoding": ", ".join(["gzip"] * 6)}))
    with pytest.raises(DecodeError, match="Content-Encoding"):
        conn.get("/")


# -- announced sizes -------------------------------------------------------------------------------


@WAYS
def test_a_body_announced_above_max_body_is_refused_before_it_is_read(server: FaultServer, conn: Connection) -> None:
    """None of it ever comes, so who waited for it would end with the deadline."""
    server.script(raw(head(b"Content-Length: 1000001"), keep=True))
    with pytest.raises(DecodeError) as caught:
        conn.json_request("GET", "/")
    assert str(caught.value) == f"{server.url}/: 200 with a body of 1000001 bytes, more than {MB} (max_body)"
    server.wait_for_open(0)


@WAYS
def test_a_head_and_a_304_may_announce_what_they_do_not_bring(server: FaultServer, conn: Connection) -> None:
    server.script(
        raw(head(b"Content-Length: 1000001"), keep=True),
        raw(head(b"Content-Length: 1000001", status=b"304 Not Modified"), keep=True),
    )
    assert conn.json_request("HEAD", "/") is None
    assert conn.json_request("GET", "/") is None


@WAYS
def test_an_error_announced_above_max_body_is_truncated(server: FaultServer, conn: Connection) -> None:
    server.script(raw(head(b"Content-Length: 3000000", status=b"404 No") + b"x" * 3_000_000))
    with pytest.raises(HTTPNotFound) as caught:
        conn.json_request("GET", "/")
    assert caught.value.response is not None
    assert len(caught.value.response.content) == MB


@WAYS
def test_an_encoded_body_counts_as_what_it_decodes_to(server: FaultServer, conn: Connection) -> None:
    """A short one is longer encoded, so what is announced says nothing yet."""
    body = gzip.compress(b'"' + b"x" * 10 + b'"')
    with Connection(server.url, ANONYMOUS, policy=POLICY, max_body=12) as small:
        server.script(reply(200, body, {"Content-Encoding": "gzip"}))
        assert len(body) > 12
        assert small.json_request("GET", "/") == "x" * 10


# -- reasons and interim answers -------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_reason_can_be_read_in_either_encoding(server: FaultServer, conn: Connection, encoding: str) -> None:
    status = "503 Gr\u00f6\u00dfe fehlt".encode(encoding)
    server.script(raw(head(b"Content-Length: 0", status=status)))
    with pytest.raises(HTTPServiceUnavailable, match="Gr\u00f6\u00dfe fehlt") as caught:
        conn.get("/")
    assert caught.value.response is not None
    assert caught.value.response.reason == "Gr\u00f6\u00dfe fehlt"


@WAYS
@pytest.mark.parametrize("framed", FRAMED)
def test_interim_answers_are_skipped(server: FaultServer, conn: Connection, framed: str) -> None:
    interim = head(status=b"100 Continue") + head(b"garbage", status=b"102 Processing")
    interim += head(b"Link: </a>; rel=preload", b"Content-Length: 7", status=b"103 Early Hints")
    framing, body = FRAMED[framed]
    server.script(raw(interim + head(framing) + body))
    answer = conn.get("/")
    assert (answer.status_code, answer.content, "Link" in answer.headers) == (200, TEXT, False)


@WAYS
def test_too_many_interim_answers_are_refused(server: FaultServer, conn: Connection) -> None:
    server.script(raw(head(status=b"102 Processing") * 1001 + head(b"Content-Length: 0")))
    assert refusal(conn) == f"{server.url}: more than 1000 interim responses (1xx), and no final one"


@WAYS
def test_a_switch_of_protocols_ends_the_connection(server: FaultServer, conn: Connection) -> None:
    """What follows on it is another protocol, not the answer to the next call."""
    server.script(raw(head(b"Upgrade: websocket", status=b"101 Switching Protocols"), keep=True))
    accepted = server.accepted + (not conn.health.attempts)
    answer = conn.get("/")
    assert (answer.status_code, answer.content) == (101, b"")
    server.script(reply(200, b"next"))
    assert conn.get("/").content == b"next"
    assert server.accepted == accepted + 1
