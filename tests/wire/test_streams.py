"""Streams: whichever way a body is read, the same bounds and errors hold, and the host's health counts it once."""

from __future__ import annotations

import gzip
import io
import json
import logging
import random
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import requests
from servers import (
    Exchange,
    FaultServer,
    Step,
    TlsMaterial,
    drip_body,
    elapsed,
    reply,
    timing_test,
    truncated,
)

from sleepwalker import (
    ANONYMOUS,
    Connection,
    DeadlineExceeded,
    DecodeError,
    Policy,
    ReadError,
    ReadTimeout,
)
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

#: Nothing but `read` is short.
POLICY = Policy(timeout={"connect": 5, "read": 5, "attempt": 10, "total": 20}, retry=False)
SHORT_READ = POLICY.replace(timeout={"read": 0.4})
#: Opens on the second of two failures in a row.
TWO = POLICY.replace(breaker={"consecutive": 2, "consecutive_for": 0})


def _copied(answer: requests.Response) -> bytes:
    file = io.BytesIO()
    shutil.copyfileobj(answer.raw, file)
    return file.getvalue()


def _unpacked(answer: requests.Response) -> bytes:
    """As many recipes for downloads do."""
    answer.raw.decode_content = True
    return _copied(answer)


def _by_readinto(answer: requests.Response) -> bytes:
    whole, buffer = bytearray(), bytearray(64)
    while size := answer.raw.readinto(buffer):
        whole += buffer[:size]
    return bytes(whole)


def _by(read: Callable[[int], bytes], size: int) -> bytes:
    return b"".join(iter(lambda: read(size), b""))


#: All ways to read a body that give its bytes.
WAYS: dict[str, Callable[[requests.Response], bytes]] = {
    "content": lambda answer: answer.content,
    "iter_content": lambda answer: b"".join(answer.iter_content(50)),
    "iter_content by bytes": lambda answer: b"".join(answer.iter_content()),
    "iter_content as it arrives": lambda answer: b"".join(answer.iter_content(None)),
    "iteration": b"".join,
    "copyfileobj": _copied,
    "copyfileobj, unpacked": _unpacked,
    "raw.read all": lambda answer: answer.raw.read(),
    "raw.read some": lambda answer: _by(answer.raw.read, 50),
    "raw.read some, unpacked": lambda answer: _by(lambda size: answer.raw.read(size, decode_content=True), 50),
    "raw.read all, unpacked": lambda answer: answer.raw.read(decode_content=True),
    "raw.read1": lambda answer: _by(answer.raw.read1, 50),
    "raw.read1 what is there": lambda answer: b"".join(iter(answer.raw.read1, b"")),
    "raw.readinto": _by_readinto,
    "raw.readline": lambda answer: b"".join(iter(answer.raw.readline, b"")),
    "raw.stream": lambda answer: b"".join(answer.raw.stream(50)),
    "raw.stream as it arrives": lambda answer: b"".join(answer.raw.stream(None)),
    "raw iteration": lambda answer: b"".join(answer.raw),
    "raw.data": lambda answer: answer.raw.data,
}
#: Those that decode a body.
UNPACKED = ["content", "iter_content", "iteration", "iter_content as it arrives", "copyfileobj, unpacked"]
WAYS["raw.read1, unpacked"] = lambda answer: _by(lambda size: answer.raw.read1(size, decode_content=True), 50)
UNPACKED += ["raw.read1, unpacked", "raw.read some, unpacked", "raw.read all, unpacked", "raw iteration"]


#: Of the blocking side, where a read returns what has arrived when its time is over.
EXACT = "a piece of an asynchronous stream has as many bytes as were asked for, and each wait has a time of its own"
#: Of the blocking side, where a stream has no block.
BLOCK = "an asynchronous stream ends with its block"


def _of_both(names: Iterable[str], ways: dict[str, Any]) -> list[Any]:
    """Parameters: the ways by their names. An asynchronous stream has no `raw`."""
    only = threads_only("response.raw, which is urllib3's")
    return [pytest.param(ways[name], id=name, marks=[only] if _is_raw(name) else []) for name in names]


def _is_raw(name: str) -> bool:
    return name.startswith(("raw", "copyfileobj"))


every_way = pytest.mark.parametrize("read", _of_both(WAYS, WAYS))
unpacking = pytest.mark.parametrize("read", _of_both(UNPACKED, WAYS))
either_framing = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
LINES = b"".join(b"line %d\n" % number for number in range(200))


def chunks(*pieces: bytes, interval: float = 0.0) -> Step:
    """A chunked body; each piece is a chunk, and comes by itself where there is an interval."""

    def act(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            exchange.pause(interval)
        exchange.send(b"0\r\n\r\n")

    return Step(act)


# -- whole bodies ------------------------------------------------------------------------------------


@every_way
@either_framing
def test_every_way_to_read_gives_the_body_and_the_socket_back(
    server: FaultServer, chunked: bool, read: Callable[[requests.Response], bytes]
) -> None:
    server.default = reply(200, LINES, chunked=chunked)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        for _ in range(3):
            assert read(conn.get("/", stream=True)) == LINES
        assert conn.health.failures == 0
    assert server.accepted == 1


@unpacking
@either_framing
@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "utf-8", "deflated, utf-8", "identity"])
def test_packed_bodies_are_unpacked(
    server: FaultServer, chunked: bool, read: Callable[[requests.Response], bytes], coding: str
) -> None:
    """The last ones are no codings: servers write all kinds of things there."""
    body = LINES
    for _ in range(coding.count("gzip")):
        body = gzip.compress(body)
    server.default = reply(200, body, {"Content-Encoding": coding}, chunked=chunked)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        for _ in range(2):
            assert read(conn.get("/", stream=True)) == LINES
    assert server.accepted == 1


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 1000])
def test_pieces_are_as_long_as_was_asked_for(server: FaultServer, chunk_size: int) -> None:
    server.default = chunks(b"abcde", b"fghijklmnop", b"q")
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        pieces = list(conn.get("/", stream=True).iter_content(chunk_size))
        assert b"".join(pieces) == b"abcdefghijklmnopq"
        assert max(map(len, pieces)) <= chunk_size
        server.default = reply(200, b"abcdefghijklmnopq")
        assert list(conn.get("/", stream=True).iter_content(chunk_size)) == [
            b"abcdefghijklmnopq"[at : at + chunk_size] for at in range(0, 17, chunk_size)
        ]


@threads_only("aiohttp joins chunks that arrive together")
def test_without_a_size_each_piece_is_a_chunk_as_in_requests(server: FaultServer) -> None:
    """Some servers send each message as a chunk, and their clients count on it."""
    parts = [b"abcde", b"fghijklmnop" * 10_000, b"q"] * 5
    server.default = chunks(*parts)
    assert list(requests.get(server.url, stream=True, timeout=5).iter_content(None)) == parts
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        assert list(conn.get("/", stream=True).iter_content(None)) == parts


@threads_only("response.raw, which is urllib3's")
def test_a_read_of_so_many_bytes_goes_on_in_the_next_chunk(server: FaultServer) -> None:
    """Readers of binary formats count on it."""
    server.default = chunks(b"ab", b"cdefg", b"h", b"ij")
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/", stream=True)
        assert [answer.raw.read(3) for _ in range(5)] == [b"abc", b"def", b"ghi", b"j", b""]


@threads_only("response.raw, which is urllib3's")
def test_ways_to_read_may_be_mixed(server: FaultServer) -> None:
    server.default = reply(200, LINES, chunked=True)
    dice = random.Random(7)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        for _ in range(20):
            answer, came = conn.get("/", stream=True), b""
            while piece := dice.choice(
                [answer.raw.read, answer.raw.read1, lambda size, raw=answer.raw: next(raw.stream(size), b"")]
            )(5):
                came += piece
            assert came + answer.raw.read() == LINES


@threads_only("response.raw, which is urllib3's")
def test_a_body_of_json_may_be_loaded_from_raw(server: FaultServer) -> None:
    server.default = reply(200, b'{"a": [1, 2]}', chunked=True)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        assert json.load(conn.get("/", stream=True).raw) == {"a": [1, 2]}


# -- bodies that break -------------------------------------------------------------------------------


@every_way
@either_framing
@pytest.mark.parametrize("then", ["close", "reset"])
def test_every_way_to_read_says_that_a_body_broke(
    server: FaultServer, then: Any, chunked: bool, read: Callable[[requests.Response], bytes]
) -> None:
    server.default = truncated(LINES, 100, chunked=chunked, then=then)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/?token=canary", stream=True)
        with pytest.raises(ReadError) as caught:
            read(answer)
        assert type(caught.value) is ReadError
        assert "canary" not in str(caught.value)
        health = conn.health
        assert (health.failures, health.attempts, health.success_ratio) == (1, 1, 0.0)
        assert (health.consecutive_failures, health.last_error) == (1, f"ReadError: {caught.value}")
        server.wait_for_open(0)


@every_way
@either_framing
def test_every_way_to_read_ends_with_a_silence(chunked: bool, read: Callable[[requests.Response], bytes]) -> None:
    @timing_test
    def measured() -> None:
        stalls = truncated(LINES, 100, chunked=chunked, then="stall")
        with FaultServer(default=stalls) as server, Connection(server.url, ANONYMOUS, policy=SHORT_READ) as conn:
            answer = conn.get("/", stream=True)
            with elapsed() as time, pytest.raises(ReadTimeout) as caught:
                read(answer)
            time.assert_within(0.4)
            assert type(caught.value) is ReadTimeout
            assert conn.health.failures == 1

    measured()


@unpacking
@either_framing
def test_half_of_a_packed_body_is_no_body_whichever_way_it_is_read(
    server: FaultServer, chunked: bool, read: Callable[[requests.Response], bytes]
) -> None:
    packed = gzip.compress(LINES)
    server.default = reply(200, packed[: len(packed) // 2], {"Content-Encoding": "gzip"}, chunked=chunked)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/", stream=True)
        with pytest.raises(ReadError):
            read(answer)
        assert conn.health.failures == 1


@unpacking
def test_a_body_that_is_not_what_it_says_is_no_failure_of_the_host(
    server: FaultServer, read: Callable[[requests.Response], bytes]
) -> None:
    server.default = reply(200, b"no gzip", {"Content-Encoding": "gzip"})
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/", stream=True)
        with pytest.raises(DecodeError):
            read(answer)
        health = conn.health
        assert (health.failures, health.success_ratio) == (0, 1.0)


@threads_only("an asynchronous stream is read once, which it says")
def test_a_body_that_broke_stays_broken_and_counts_once(server: FaultServer) -> None:
    """urllib3 takes what a broken chunked body has left for its end, so a second reader would get half of it."""
    server.default = truncated(LINES, 100, chunked=True)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/", stream=True)
        for read in (*WAYS.values(), *WAYS.values()):
            with pytest.raises(ReadError):
                read(answer)
        answer.close()
        assert conn.health.failures == 1


def test_an_error_status_whose_body_breaks_counts_once(server: FaultServer) -> None:
    server.default = truncated(LINES, 100, status=500)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/", stream=True, raise_for_status=False)
        with pytest.raises(ReadError):
            _ = answer.content
        health = conn.health
        assert (answer.status_code, health.failures, health.success_ratio) == (500, 1, 0.0)


@threads_only("an asynchronous stream is read once, which it says")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_stream_that_its_reader_closes_is_no_failure_and_not_whole(server: FaultServer, chunked: bool) -> None:
    """urllib3 would take the rest of a chunked body for empty."""
    server.default = reply(200, b"x" * 1_000_000, chunked=chunked)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/", stream=True)
        next(answer.iter_content(10))
        answer.close()
        for _ in range(2):
            with pytest.raises(ReadError, match="the response was closed, or a read of it interrupted, before its end"):
                next(answer.iter_content(10))
        health = conn.health
        assert (health.failures, health.success_ratio) == (0, 1.0)


@threads_only("response.raw, which is urllib3's")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_stream_that_was_read_to_its_end_is_whole_after_its_close(server: FaultServer, chunked: bool) -> None:
    server.default = reply(200, b"x" * 1_000_000, chunked=chunked)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        answer = conn.get("/", stream=True)
        assert len(answer.raw.read()) == 1_000_000
        answer.close()
        assert answer.raw.read(10) == b""


class Interrupted(BaseException):
    """As KeyboardInterrupt, or the exception of a time limit."""


@threads_only("signal handlers strike a thread")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers with signals")
@pytest.mark.parametrize("read", [lambda raw: raw.read(100_000), lambda raw: raw.read(), lambda raw: raw.read1(10_000)])
def test_a_stream_whose_read_was_interrupted_cannot_be_read_on(
    server: FaultServer, read: Callable[[Any], bytes]
) -> None:
    """What had been read by then is lost: the rest would pass for all of the body."""

    def act(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            exchange.send(b"5\r\nhello\r\n")
            exchange.pause(0.02)
        exchange.send(b"0\r\n\r\n")

    def interrupt(*_: object) -> None:
        raise Interrupted

    server.default = Step(act)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
            answer = conn.get("/", stream=True)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                _ = [read(answer.raw) for _ in range(1000)]
            with pytest.raises(ReadError, match="a read of it interrupted"):
                answer.raw.read(10)
            assert (conn.health.failures, conn.health.success_ratio) == (0, 1.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_stream_that_another_thread_closes_is_no_failure() -> None:
    stalls = truncated(LINES, 100, then="stall")
    with FaultServer(default=stalls) as server, Connection(server.url, ANONYMOUS, policy=SHORT_READ) as conn:
        answer = conn.get("/", stream=True)
        closer = threading.Timer(0.1, answer.close)
        closer.start()
        with pytest.raises(ReadError, match="the response was closed"):
            list(answer.iter_content(65536))
        closer.join()
        assert conn.health.failures == 0


# -- reads end in time -------------------------------------------------------------------------------


@threads_only("response.raw, which is urllib3's")
@timing_test
def test_a_chunk_whose_line_end_is_late_is_read() -> None:
    """The bytes of the chunk have arrived; only the two after them have not. They, too, break the silence."""

    def act(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        exchange.pause(0.2)
        exchange.send(b"5\r\nhello")
        exchange.pause(0.3)
        exchange.send(b"\r")
        exchange.pause(0.2)
        exchange.send(b"\n5\r\nagain\r\n0\r\n\r\n")

    with FaultServer(default=Step(act)) as server, Connection(server.url, ANONYMOUS, policy=SHORT_READ) as conn:
        answer = conn.get("/", stream=True)
        with elapsed() as time:
            assert answer.raw.read(100) == b"hello"
        time.assert_within(0.4)
        assert answer.raw.read(100) == b"again"
        assert answer.raw.read(100) == b""
        assert conn.health.failures == 0


@threads_only(EXACT)
@timing_test
def test_a_read_of_a_drip_ends_in_time_with_what_arrived() -> None:
    drip = drip_body(b"0123456789", interval=0.15)
    with FaultServer(default=drip) as server, Connection(server.url, ANONYMOUS, policy=SHORT_READ) as conn:
        answer, pieces = conn.get("/", stream=True), []
        stream = answer.iter_content(65536)
        while True:
            with elapsed() as time:
                piece = next(stream, None)
            time.assert_at_most(0.45)
            if piece is None:
                break
            pieces.append(piece)
        assert b"".join(pieces) == b"0123456789"
        assert max(map(len, pieces)) > 1
        assert conn.health.failures == 0


SOME = {
    "raw.read": lambda answer: answer.raw.read(8),
    "raw.readinto": lambda answer: answer.raw.readinto(bytearray(8)),
    "raw.stream": lambda answer: next(answer.raw.stream(8)),
    "iter_content": lambda answer: next(answer.iter_content(8)),
    "iter_content as it arrives": lambda answer: next(answer.iter_content(None)),
    "raw.read1": lambda answer: answer.raw.read1(8),
}


@threads_only(EXACT)
@pytest.mark.parametrize("read", _of_both(SOME, SOME))
@pytest.mark.parametrize("kind", ["length", "chunks", "one chunk", "chunk lines"])
def test_one_read_takes_no_longer_than_read_says(read: Callable[[Any], Any], kind: str) -> None:
    def dripping(exchange: Exchange) -> None:
        chunked = b"Transfer-Encoding: chunked" if kind != "length" else b"Content-Length: 100"
        exchange.send(b"HTTP/1.1 200 OK\r\n" + chunked + b"\r\n\r\n")
        if kind == "one chunk":
            exchange.send(b"ffff\r\n")
        if kind == "chunk lines":
            exchange.send(b"1\r\nx\r\n5")
        for _ in range(30):
            exchange.send({"chunks": b"1\r\nx\r\n", "chunk lines": b";"}.get(kind, b"x"))
            exchange.pause(0.15)

    @timing_test
    def measured() -> None:
        with FaultServer(default=dripping) as server, Connection(server.url, ANONYMOUS, policy=SHORT_READ) as conn:
            answer = conn.get("/", stream=True)
            with elapsed() as time:
                assert read(answer)
            time.assert_at_most(0.45)

    measured()


@threads_only(EXACT)
@timing_test
def test_large_pieces_over_a_slow_link_that_lives_do_not_fail() -> None:
    def slow(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(10):
            exchange.send(b"x" * 10_000)
            exchange.pause(0.1)

    with FaultServer(default=slow) as server, Connection(server.url, ANONYMOUS, policy=SHORT_READ) as conn:
        pieces = list(conn.get("/", stream=True).iter_content(1_000_000))
        assert sum(map(len, pieces)) == 100_000
        assert 2 <= len(pieces) <= 5


@threads_only("response.raw, which is urllib3's")
@timing_test
def test_a_read_of_several_chunks_ends_in_time_with_what_arrived() -> None:
    slow = chunks(*[b"abc"] * 8, interval=0.15)
    with FaultServer(default=slow) as server, Connection(server.url, ANONYMOUS, policy=SHORT_READ) as conn:
        answer, pieces = conn.get("/", stream=True), []
        while True:
            with elapsed() as time:
                piece = answer.raw.read(1000)
            time.assert_at_most(0.45)
            if not piece:
                break
            pieces.append(piece)
        assert b"".join(pieces) == b"abc" * 8
        assert 3 <= len(pieces) <= 5


@threads_only(EXACT)
@pytest.mark.parametrize(
    "way", ["iter_content", pytest.param("raw", marks=threads_only("response.raw, which is urllib3's"))]
)
def test_a_packed_drip_is_unpacked_as_it_comes(way: str) -> None:
    packed = gzip.compress(bytes(random.Random(3).randrange(256) for _ in range(3000)), 0)
    first, rest = packed[:2000], packed[2000:]

    def slow(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed))
        exchange.send(first)
        for _ in range(6):
            exchange.pause(0.15)
        exchange.send(rest)

    @timing_test
    def measured() -> None:
        policy = SHORT_READ.replace(timeout={"read": 0.6})
        with FaultServer(default=slow) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
            answer = conn.get("/", stream=True)
            stream = answer.iter_content(65536)
            with elapsed() as time:
                piece = next(stream) if way == "iter_content" else answer.raw.read(65536, decode_content=True)
            time.assert_at_most(0.65)
            assert 1000 < len(piece) < 3000

    measured()


@timing_test
def test_a_reader_that_takes_its_time_loses_nothing() -> None:
    """Silence is what a read waits, not what passes between two."""
    with FaultServer(default=chunks(*[b"abc"] * 4, interval=0.1)) as server:
        policy = SHORT_READ.replace(timeout={"read": 0.3})
        with Connection(server.url, ANONYMOUS, policy=policy) as conn:
            came = b""
            for piece in conn.get("/", stream=True).iter_content(5):
                came += piece
                threading.Event().wait(0.35)
            assert came == b"abc" * 4


# -- a deadline for the whole body -------------------------------------------------------------------


@pytest.mark.parametrize(
    "read", _of_both(["content", "iter_content", "copyfileobj", "raw.read all", "raw.read1", "iteration"], WAYS)
)
@either_framing
def test_a_total_may_cover_the_body_of_a_stream(chunked: bool, read: Callable[[requests.Response], bytes]) -> None:
    @timing_test
    def measured() -> None:
        drip = drip_body(b"x" * 1000, interval=0.05, chunked=chunked)
        with FaultServer(default=drip) as server, Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
            with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
                read(conn.get("/", stream=True, total=0.5, total_covers_body=True))
            time.assert_within(0.5)
            assert (caught.value.limit, caught.value.phase) == ("total", "body")
            assert "total deadline ran out after 0.5 s, reading the body" in str(caught.value)
            assert conn.health.failures == 0  # its reader may have been slow
            server.wait_for_open(0)

    measured()


def test_a_total_that_covers_the_body_counts_what_the_reader_takes(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 300_000)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        with conn.get("/", stream=True, total=0.3, total_covers_body=True) as answer:
            pieces = answer.iter_content(1000)
            assert len(next(pieces)) == 1000
            threading.Event().wait(0.35)
            with pytest.raises(DeadlineExceeded):
                list(pieces)
            with pytest.raises((ReadError, RuntimeError)):
                _ = answer.content
            assert conn.health.failures == 0  # neither the late read nor what follows from it
        with conn.get("/", stream=True, total=0.3) as answer:
            threading.Event().wait(0.35)
            assert len(answer.content) == 300_000


def test_the_policys_total_covers_the_body_where_the_call_has_none(server: FaultServer) -> None:
    server.default = drip_body(b"x" * 1000, interval=0.05)
    policy = POLICY.replace(timeout={"connect": 0.2, "read": 0.3, "attempt": 0.4, "total": 0.4})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn, pytest.raises(DeadlineExceeded, match="body"):
        _ = conn.get("/", stream=True, total_covers_body=True).content


def test_a_total_always_covers_a_body_that_is_not_streamed(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        assert conn.get("/", total=5, total_covers_body=True).content == b"ok"
        server.default = drip_body(b"x" * 1000, interval=0.05)
        with pytest.raises(DeadlineExceeded, match="body"):
            conn.get("/", total=0.3)


# -- what breaks counts ------------------------------------------------------------------------------


def test_a_host_whose_bodies_all_break_opens_its_circuit(server: FaultServer) -> None:
    """Its heads came, each a success."""
    server.default = truncated(LINES, 100)
    with Connection(server.url, ANONYMOUS, policy=TWO) as conn:
        for expected in ("closed", "open"):
            with pytest.raises(ReadError):
                _ = conn.get("/", stream=True).content
            assert conn.health.breaker == expected


def test_readers_at_the_same_time_do_not_hide_that_all_bodies_break(server: FaultServer) -> None:
    server.default = truncated(b"x" * 100_000, 90_000)
    policy = TWO.replace(breaker={"consecutive": 6})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        for _ in range(2):
            answers = [conn.get("/", stream=True) for _ in range(3)]
            assert conn.health.breaker == "closed"
            for answer in answers:
                with pytest.raises(ReadError):
                    _ = answer.content
        assert conn.health.breaker == "open"
        assert conn.health.failures == 6


def test_a_body_that_comes_whole_ends_the_run_of_failures(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=TWO) as conn:
        for _ in range(3):
            server.script(truncated(LINES, 100))
            with pytest.raises(ReadError):
                _ = conn.get("/", stream=True).content
            assert conn.get("/", stream=True).content == b"ok"
        assert conn.health.breaker == "closed"


def test_a_probe_whose_body_breaks_does_not_close_the_circuit(server: FaultServer) -> None:
    server.default = truncated(LINES, 100)
    policy = TWO.replace(breaker={"close_after": 1, "ramp": 60, "open_for": 0.05, "open_max": 0.5})
    seen: list[Any] = []
    with Connection(server.url, ANONYMOUS, policy=policy, observer=seen.append) as conn:
        for _ in range(2):
            with pytest.raises(ReadError):
                _ = conn.get("/", stream=True).content
        threading.Event().wait(0.1)
        answer = conn.get("/", stream=True)
        assert conn.health.breaker == "closed"  # a stream may last for hours
        with pytest.raises(ReadError):
            _ = answer.content
    changes = [(event.name, getattr(event, "rule", None)) for event in seen if event.name.startswith("breaker.")]
    assert changes == [
        ("breaker.opened", "consecutive"),
        ("breaker.half_opened", None),
        ("breaker.closed", None),
        ("breaker.opened", "probe"),
    ]


def test_streams_that_are_dropped_unread_are_successes(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 200_000)
    with Connection(server.url, ANONYMOUS, policy=TWO) as conn:
        for _ in range(5):
            conn.get("/", stream=True)
        health = conn.health
        assert (health.failures, health.success_ratio, health.breaker) == (0, 1.0, "closed")


# -- streams that are let go -------------------------------------------------------------------------


@threads_only(BLOCK)
@pytest.mark.parametrize("begun", [False, True])
def test_a_dropped_stream_gives_its_place_back_at_once(server: FaultServer, begun: bool) -> None:
    server.default = reply(200, b"x" * 200_000)
    policy = POLICY.replace(pool={"size": 1, "block": True})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        for _ in range(3):
            answer = conn.get("/", stream=True)
            if begun:
                next(answer.iter_content(10))
            del answer
            assert conn.response is None
            assert len(conn.get("/", total=1).content) == 200_000
            assert conn.response is not None


@threads_only(BLOCK)
def test_a_thread_that_waits_for_a_place_gets_that_of_a_dropped_stream(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 200_000)
    policy = POLICY.replace(pool={"size": 1, "block": True})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        held = [conn.get("/", stream=True)]
        came = threading.Event()
        waiter = threading.Thread(target=lambda: conn.get("/") and came.set())
        waiter.start()
        assert not came.wait(0.2)
        with elapsed() as time:
            held.clear()
            assert came.wait(5)
        assert time.seconds < 0.4  # the waiter's own next look would be later
        waiter.join()


def test_the_last_response_is_a_stream_as_long_as_its_reader_has_it(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        with conn.get("/", stream=True) as answer:
            assert conn.response is answer
        assert conn.response is answer
        answer = conn.get("/")
        del answer
        assert conn.response is not None


def test_streams_that_are_dropped_or_broken_cause_no_warning(server: FaultServer) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
            for step in (reply(200, b"x" * 200_000), truncated(LINES, 100), truncated(LINES, 100, then="reset")):
                server.script(step, step)
                conn.get("/", stream=True)
                answer = conn.get("/", stream=True)
                next(answer.iter_content(10))
                del answer
    assert [str(warning.message) for warning in seen] == []


# -- more threads than places ------------------------------------------------------------------------


def test_more_threads_than_places_bring_no_warning_of_urllib3(caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer(default=reply(200, b"ok", delay=0.05)) as server:
        policy = POLICY.replace(pool={"size": 2})
        with Connection(server.url, ANONYMOUS, policy=policy) as conn, caplog.at_level(logging.WARNING):
            for stream in (False, True):
                threads = [
                    threading.Thread(target=lambda stream=stream: conn.get("/", stream=stream).content)
                    for _ in range(8)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("urllib3")] == []


# -- over TLS, and through sockets of others ---------------------------------------------------------


class OwnAdapter(requests.adapters.HTTPAdapter):
    """One of a caller's, which therefore keeps its own sockets."""


@threads_only("an adapter of requests")
@every_way
@either_framing
def test_through_an_adapter_of_the_callers_a_broken_body_is_the_same_error(
    server: FaultServer, chunked: bool, read: Callable[[requests.Response], bytes]
) -> None:
    session = requests.Session()
    session.mount("http://", OwnAdapter())
    server.script(reply(200, LINES, chunked=chunked), truncated(LINES, 100, chunked=chunked))
    with session, Connection(server.url, ANONYMOUS, policy=POLICY, session=session) as conn:
        assert read(conn.get("/", stream=True)) == LINES
        answer = conn.get("/", stream=True)
        with pytest.raises(ReadError):
            read(answer)
        assert conn.health.failures == 1


@threads_only(EXACT)
@pytest.mark.parametrize(
    "read", _of_both(["iter_content", "copyfileobj", "raw.read some", "raw.read all", "content"], WAYS)
)
@either_framing
def test_over_tls_reads_end_in_time_too(
    tls: TlsMaterial, chunked: bool, read: Callable[[requests.Response], bytes]
) -> None:
    @timing_test
    def measured() -> None:
        drip = drip_body(b"0123456789", interval=0.1, chunked=chunked)
        with (
            FaultServer(tls=tls.server_context(), default=drip) as server,
            Connection(server.url, ANONYMOUS, policy=SHORT_READ, verify=str(tls.ca)) as conn,
        ):
            answer = conn.get("/", stream=True)
            with elapsed() as time:
                first = next(answer.iter_content(1000))
            time.assert_at_most(0.45)
            assert (0 if chunked else 1) < len(first) < 10  # of a chunked body each chunk comes by itself
            assert first + read(answer) == b"0123456789"
            server.script(truncated(LINES, 100, chunked=chunked, then="stall"))
            with elapsed() as time, pytest.raises(ReadTimeout):
                read(conn.get("/", stream=True))
            time.assert_within(0.4, tolerance=0.1)

    measured()
