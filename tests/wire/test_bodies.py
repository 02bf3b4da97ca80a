"""A body reaches the server whole with every attempt, or the call is not attempted again."""

from __future__ import annotations

import copy
import email
import email.policy
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import (
    Exchange,
    FaultServer,
    Request,
    Step,
    TlsMaterial,
    elapsed,
    hang_up,
    refused_port,
    reply,
    reset,
    stall,
)

from sleepwalker import ANONYMOUS, ConnectError, Connection, HTTPServiceUnavailable, Policy, ReadError
from sleepwalker.events import Event, RetryAbandoned
from tests.both_drivers import threads_only
from tests.naming import steady

pytestmark = pytest.mark.both_drivers

#: Three sends, at once and whatever happened before.
POLICY = Policy(
    timeout={"connect": 2, "read": 5, "attempt": 5, "total": 15},
    retry={"wait_initial": 0, "jitter": "none", "budget": False},
    breaker=False,
)
#: More than one read of urllib3 or one write of the kernel takes, and no two parts of it are alike.
LARGE = b"".join(b"%07d\n" % number for number in range(40_000))


class Events(list[Event]):
    """An observer that keeps what it is told."""

    def __call__(self, event: Event, level: object = None, /) -> None:
        self.append(event)

    @property
    def abandoned(self) -> list[str]:
        return [event.reason for event in self if isinstance(event, RetryAbandoned)]


def connect(server: FaultServer, events: Events | None = None) -> Connection:
    return Connection(server.url, ANONYMOUS, policy=POLICY, observer=events)


def put_three_times(server: FaultServer, data: Any, **kwargs: Any) -> list[Request]:
    """The requests of one PUT that is answered 503, broken off, and answered 200."""
    server.script(reply(503), hang_up(), reply(200))
    with connect(server) as conn:
        answer = conn.put("/", data=data, **kwargs)
    assert [(a.number, a.status) for a in answer.attempts] == [(1, 503), (2, None), (3, 200)]  # type: ignore[attr-defined]
    assert len(server.requests) == 3
    return server.requests


def framing(request: Request) -> tuple[str | None, str | None]:
    return request.header("Content-Length"), request.header("Transfer-Encoding")


@pytest.mark.parametrize(
    "claim", [{"Transfer-Encoding": "chunked"}, {"transfer-encoding": "gzip"}, {"content-length": "99"}]
)
@pytest.mark.parametrize("where", ["call", "session"])
@pytest.mark.parametrize(
    ("body", "length", "coding"),
    [
        ({"data": b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"}, "31", None),
        ({"data": {"a": "b"}}, "3", None),
        ({"json": {"a": 1}}, "8", None),
        ({"data": io.BytesIO(b"file")}, "4", None),
        ({"data": lambda: [b"in", b"pieces"]}, None, "chunked"),
        ({}, "0", None),
        ({"data": b""}, "0", None),
        ({"data": bytearray()}, "0", None),
    ],
)
def test_where_a_body_ends_is_said_once_whatever_the_callers_headers_say(
    body: dict[str, Any], length: str | None, coding: str | None, where: str, claim: dict[str, str]
) -> None:
    """With two lengths each server on the way believes another one, and takes the rest for a request of its own."""
    with FaultServer() as server, connect(server) as conn:
        if where == "session":
            conn.conn.headers.update(claim)
        for _ in range(2):  # on a new socket and on one that is open
            conn.post("/", headers=claim if where == "call" else None, **copy.deepcopy(body))
        assert [framing(request) for request in server.requests] == [(length, coding)] * 2


# -- what can be sent again ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        pytest.param(b"\x00\xff bytes", b"\x00\xff bytes", id="bytes"),
        pytest.param(bytearray(b"array"), b"array", id="bytearray"),
        pytest.param(memoryview(b"view"), b"view", id="memoryview"),
        pytest.param("żółw ☃", "żółw ☃".encode(), id="str"),
        pytest.param({"a": "1 2", "b": ["x", "y"]}, b"a=1+2&b=x&b=y", id="form"),
        pytest.param([("a", "ä"), ("a", "2")], b"a=%C3%A4&a=2", id="pairs"),
        pytest.param(LARGE, LARGE, id="large"),
        pytest.param(b"", b"", id="empty"),
        pytest.param(None, b"", id="none"),
    ],
)
def test_bodies_in_memory_are_sent_whole_each_time(server: FaultServer, data: Any, sent: bytes) -> None:
    requests = put_three_times(server, data)
    assert [request.body for request in requests] == [sent] * 3
    assert [framing(request) for request in requests] == [(str(len(sent)), None)] * 3
    form = isinstance(data, dict | list)
    assert {request.header("Content-Type") for request in requests} == {
        "application/x-www-form-urlencoded" if form else None
    }


def test_json_is_sent_whole_each_time(server: FaultServer) -> None:
    server.script(reply(503), reply(200), reset(), reply(200, '{"done": true}'))
    with connect(server) as conn:
        conn.put("/", json={"a": [1, "ä"]})
        assert conn.json_request("PUT", "/", {"a": [1, "ä"]}) == {"done": True}
    assert [json.loads(request.body) for request in server.requests] == [{"a": [1, "ä"]}] * 4
    assert {request.header("Content-Type") for request in server.requests} == {"application/json"}
    assert [framing(request) for request in server.requests] == [(str(len(server.requests[0].body)), None)] * 4


def test_a_file_is_sent_each_time_from_where_it_stood(server: FaultServer, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"a header that was read before" + LARGE)
    with path.open("rb") as file:
        file.seek(len(b"a header that was read before"))
        requests = put_three_times(server, file)
    assert [request.body == LARGE for request in requests] == [True] * 3
    assert [framing(request) for request in requests] == [(str(len(LARGE)), None)] * 3


def test_a_bytesio_is_sent_each_time_from_where_it_stood(server: FaultServer) -> None:
    file = io.BytesIO(b"seen" + LARGE)
    file.seek(4)
    requests = put_three_times(server, file)
    assert [request.body == LARGE for request in requests] == [True] * 3
    assert [framing(request) for request in requests] == [(str(len(LARGE)), None)] * 3


def test_a_gzip_file_is_sent_unpacked_and_whole(server: FaultServer, tmp_path: Path) -> None:
    """The size of the file on disk says nothing about the bytes that reading it gives."""
    path = tmp_path / "packed.gz"
    path.write_bytes(gzip.compress(LARGE))
    with gzip.open(path) as file:
        requests = put_three_times(server, file)
    assert [request.body == LARGE for request in requests] == [True] * 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_text_file_is_sent_as_utf_8_each_time_from_where_it_stood(
    server: FaultServer, tmp_path: Path, encoding: str
) -> None:
    """Its size on disk is not the number of bytes that are sent."""
    path = tmp_path / "text"
    path.write_text("first line\n" + "żółw ☃\n" * 20_000, encoding=encoding)
    with path.open(encoding=encoding) as file:
        file.readline()
        requests = put_three_times(server, file)
    assert [request.body.decode() == "żółw ☃\n" * 20_000 for request in requests] == [True] * 3


def test_a_stringio_is_sent_whole_each_time(server: FaultServer) -> None:
    requests = put_three_times(server, io.StringIO("żółw ☃" * 30_000))
    assert [request.body.decode() == "żółw ☃" * 30_000 for request in requests] == [True] * 3


def test_an_empty_file_is_an_empty_body_each_time(server: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        requests = put_three_times(server, file)
    assert [(request.body, request.complete) for request in requests] == [(b"", True)] * 3


def test_an_iterable_that_is_no_iterator_is_gone_through_anew_each_time(server: FaultServer) -> None:
    class Rows:
        def __iter__(self) -> Iterator[bytes | str]:
            return iter([b"one,", "zwö,", b"", bytearray(b"three")])

    requests = put_three_times(server, Rows())
    assert [request.body for request in requests] == ["one,zwö,three".encode()] * 3
    assert [framing(request) for request in requests] == [(None, "chunked")] * 3


def rows() -> Iterator[bytes]:
    yield b"made "
    yield b"anew"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: b"made anew", id="bytes"),
        pytest.param(lambda: "made anew", id="str"),
        pytest.param(lambda: io.BytesIO(b"made anew"), id="file"),
        pytest.param(lambda: io.StringIO("made anew"), id="text file"),
        pytest.param(rows, id="generator"),
    ],
)
def test_a_callable_makes_the_body_of_each_attempt(server: FaultServer, make: Callable[[], Any]) -> None:
    calls = []

    def data() -> Any:
        calls.append(1)
        return make()

    requests = put_three_times(server, data)
    assert [(request.body, request.complete) for request in requests] == [(b"made anew", True)] * 3
    assert len(calls) == 3


def test_files_are_whole_in_every_attempt(server: FaultServer, tmp_path: Path) -> None:
    path = tmp_path / "photo.bin"
    path.write_bytes(LARGE)
    with path.open("rb") as file:
        requests = put_three_times(server, {"note": "hi"}, files={"photo": ("p.bin", file, "image/x"), "raw": b"\x00"})
    assert len({request.body for request in requests}) == 1
    for request in requests:
        head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode()
        parts = list(email.message_from_bytes(head + request.body, policy=email.policy.HTTP).iter_parts())
        content = {
            part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True) for part in parts
        }
        assert content == {"note": b"hi", "photo": LARGE, "raw": b"\x00"}
        assert framing(request) == (str(len(request.body)), None)


# -- what can be sent only once ------------------------------------------------------------------


class Unseekable(io.RawIOBase):
    """A file that can only be read on."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)


class Plain:
    """A file that can nothing but read."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


ONCE = [
    pytest.param(rows, b"made anew", id="generator"),
    pytest.param(lambda: iter([b"a", b"b"]), b"ab", id="iterator"),
    pytest.param(lambda: Unseekable(LARGE), LARGE, id="pipe"),
    pytest.param(lambda: Plain(LARGE), LARGE, id="read only"),
]


@pytest.mark.parametrize(("make", "sent"), ONCE)
def test_an_iterator_is_sent_once_and_whole_and_never_again(
    server: FaultServer, make: Callable[[], Any], sent: bytes
) -> None:
    """Sent again it would be empty, and the server would answer 200 to that."""
    events = Events()
    server.script(reply(503, b"busy"))
    with connect(server, events) as conn, pytest.raises(HTTPServiceUnavailable) as caught:
        conn.put("/", data=make())
    assert [(request.body == sent, request.complete) for request in server.requests] == [(True, True)]
    assert framing(server.requests[0]) == (None, "chunked")
    assert caught.value.response.content == b"busy"
    assert [a.status for a in caught.value.attempts] == [503]
    assert events.abandoned == ["not replayable"]


@pytest.mark.parametrize(("make", "sent"), ONCE)
def test_an_iterator_is_not_sent_again_after_a_lost_answer(
    server: FaultServer, make: Callable[[], Any], sent: bytes
) -> None:
    events = Events()
    server.script(hang_up())
    with connect(server, events) as conn, pytest.raises(ReadError) as caught:
        conn.put("/", data=make(), idempotent=True)
    assert [request.body == sent for request in server.requests] == [True]
    assert len(caught.value.attempts) == 1
    assert events.abandoned == ["not replayable"]


def test_an_iterator_whose_server_refuses_is_neither_read_nor_retried() -> None:
    events = Events()
    read = []

    def body() -> Iterator[bytes]:
        read.append(1)
        yield b"x"

    with refused_port() as port:
        conn = Connection("http://127.0.0.1", ANONYMOUS, port=port, policy=POLICY, observer=events)
        with conn, pytest.raises(ConnectError) as caught:
            conn.post("/", data=body())
    assert len(caught.value.attempts) == 1
    assert events.abandoned == ["not replayable"]
    assert read == []


# -- bodies that fail ----------------------------------------------------------------------------


class Mine(Exception):
    """An exception of the caller's."""


@pytest.mark.parametrize(
    "raised",
    [
        (Mine, "mine"),
        (ValueError, "mine"),
        (OSError, "mine"),
        (BrokenPipeError, 32, "mine"),
        (ConnectionResetError, 104, "mine"),
        (TimeoutError, "mine"),
        pytest.param((KeyboardInterrupt,), marks=threads_only("in a task it ends the loop")),
        pytest.param((SystemExit, 3), marks=threads_only("in a task it ends the loop")),
    ],
    ids=lambda raised: raised[0].__name__,
)
@pytest.mark.parametrize("first", [b"", b"some of it"], ids=["at once", "in the middle"])
@pytest.mark.parametrize("kind", ["generator", "callable", "file"])
def test_what_a_body_raises_reaches_the_caller_as_it_is(
    server: FaultServer, raised: tuple[Any, ...], first: bytes, kind: str
) -> None:
    """Also what looks like the fault of a socket. No attempt waits for a response to half a request."""
    error = raised[0](*raised[1:])

    def body() -> Iterator[bytes]:
        if first:
            yield first
        raise error

    class File:
        def __init__(self) -> None:
            self.parts = [first] if first else []

        def read(self, size: int = -1) -> bytes:
            if self.parts:
                return self.parts.pop()
            raise error

    events = Events()
    data = {"generator": body(), "callable": body, "file": File()}[kind]
    with connect(server, events) as conn:
        conn.get("/")
        before = conn.health
        with elapsed() as time, pytest.raises(type(error)) as caught:
            conn.put("/", data=data)
        time.assert_at_most(4.0)
        assert caught.value is error
        health = conn.health
        assert (health.failures, health.success_ratio, health.last_error) == (0, 1.0, None)
        assert (health.attempts, health.in_flight) == (before.attempts + 1, 0)
        assert conn.get("/").status_code == 200
    assert [(request.method, request.connection) for request in server.requests if request.complete] == [
        ("GET", 1),
        ("GET", 2),
    ]
    assert [event.name for event in events].count("request.failed") == 1
    assert "mine" not in repr(list(events))


def test_a_callable_that_raises_reaches_the_caller_before_anything_is_sent(server: FaultServer) -> None:
    error = OSError("mine")

    def data() -> bytes:
        raise error

    with connect(server) as conn, pytest.raises(OSError, match="mine") as caught:
        conn.put("/", data=data)
    assert caught.value is error
    assert (server.requests, conn.health.failures) == ([], 0)


def test_a_body_that_fails_in_its_second_attempt_ends_the_call(server: FaultServer) -> None:
    calls = []

    def data() -> Iterator[bytes]:
        calls.append(1)
        yield b"part"
        if len(calls) == 2:
            raise Mine

    server.script(reply(503))
    with connect(server) as conn, pytest.raises(Mine):
        conn.put("/", data=data)
    assert len(calls) == 2
    assert conn.health.failures == 1  # the 503


@pytest.mark.parametrize("chunk", [3, None, ["a"], object()], ids=steady)
def test_a_chunk_that_is_no_bytes_is_refused_rather_than_made_up(server: FaultServer, chunk: Any) -> None:
    """`bytes(3)` is three zeros."""
    with connect(server) as conn, pytest.raises(TypeError, match=f"bytes.*{type(chunk).__name__}"):
        conn.put("/", data=iter([b"first", chunk]))
    server.wait_for_requests(1)
    assert [request.complete for request in server.requests] == [False]
    assert conn.health.failures == 0


def test_a_content_length_of_the_callers_does_not_contradict_the_framing(server: FaultServer) -> None:
    """With both, a proxy and the server behind it may not agree on where the request ends."""
    with connect(server) as conn:
        conn.put("/", data=rows(), headers={"Content-Length": "4"})
        conn.put("/", data=io.BytesIO(b"a file"), headers={"Content-Length": "4"})
        conn.put("/", data=b"bytes", headers={"content-length": "4"})
    assert [(request.body, *framing(request)) for request in server.requests] == [
        (b"made anew", None, "chunked"),
        (b"a file", "6", None),
        (b"bytes", "5", None),
    ]


@pytest.mark.parametrize("made", [3, object()], ids=steady)
def test_a_callable_that_makes_no_body_is_named(server: FaultServer, made: Any) -> None:
    with connect(server) as conn, pytest.raises(TypeError, match=rf"data\(\) returned {type(made).__name__}"):
        conn.put("/", data=lambda: made)
    assert server.requests == []


# -- bodies that change --------------------------------------------------------------------------


def test_a_file_that_shrinks_is_an_error_at_once(server: FaultServer, tmp_path: Path) -> None:
    """Its length was announced: the server would wait for the rest, and the call with it."""
    path = tmp_path / "shrinks"
    path.write_bytes(LARGE)

    def shrink(exchange: Exchange) -> Step:
        os.truncate(path, 5)
        return reply(503)

    server.script(shrink, stall())
    with connect(server) as conn, path.open("rb", buffering=0) as file:
        with (
            elapsed() as time,
            pytest.raises(ValueError, match=f"ended {len(LARGE) - 5} bytes before the end of the {len(LARGE)}"),
        ):
            conn.put("/", data=file)
        time.assert_at_most(4.0)
        assert conn.health.failures == 1  # the 503
    server.wait_for_requests(2)
    assert [request.complete for request in server.requests] == [True, False]


def test_of_a_file_that_grows_only_what_was_announced_is_sent(server: FaultServer, tmp_path: Path) -> None:
    """Any more would be taken for the beginning of the next request."""
    path = tmp_path / "grows"
    path.write_bytes(b"0123456789")

    def grow(exchange: Exchange) -> Step:
        with path.open("ab") as more:
            more.write(b"GET /smuggled HTTP/1.1\r\n\r\n")
        return reply(503)

    server.script(grow, reply(200))
    with connect(server) as conn, path.open("rb") as file:
        conn.put("/", data=file)
        conn.get("/next")
    assert [(r.method, r.target, r.body, r.connection) for r in server.requests] == [
        ("PUT", "/", b"0123456789", 1),
        ("PUT", "/", b"0123456789", 2),
        ("GET", "/next", b"", 2),
    ]


@threads_only("asyncio drops what it has not read when it cannot write")
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "body",
    [lambda: LARGE * 40, lambda: io.BytesIO(LARGE * 40), lambda: iter([LARGE] * 40)],
    ids=["bytes", "file", "iter"],
)
@pytest.mark.parametrize("warm", [False, True], ids=["first", "second"])
def test_an_answer_before_the_body_is_whole_is_returned(
    tls: TlsMaterial, body: Callable[[], Any], secure: bool, warm: bool
) -> None:
    """A server that refuses an upload says so and hangs up; what it said is worth more than the broken pipe."""

    def refuse(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        exchange.keep = False

    server = FaultServer(tls=tls.server_context() if secure else None)
    with server, Connection(server.url, ANONYMOUS, verify=str(tls.ca), policy=POLICY) as conn:
        if warm:
            conn.get("/")
        server.default = Step(refuse, "head")
        answer = conn.put("/", data=body(), raise_for_status=False)
        assert (answer.status_code, answer.content) == (413, b"big")
        assert len(answer.attempts) == 1  # type: ignore[attr-defined]
        assert conn.health.failures == 0
