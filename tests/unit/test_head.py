"""The fast reading of an answer's head gives what http.client's own reading gives."""

from __future__ import annotations

import http.client
import io
import re
import socket
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util.response import assert_header_parsing

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.transport.deadline import Limits
from sleepwalker.transport.head import PlainHeaders, Response, _read_headers
from tests.limits import attempt_limits

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), min_size=1, max_size=12)
values = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n"), max_size=20)
plain_lines = st.builds("{}:{}\r\n".format, names, values)
any_lines = st.one_of(
    plain_lines,
    st.sampled_from(
        [
            "Content-Length: 3\r\n",
            "content-length: 4\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n",
            "Connection: Keep-Alive\r\n",
            "Set-Cookie: a=1\r\n",
            "Set-Cookie: b=2\n",
            "Content-Type: multipart/mixed; boundary=x\r\n",
            " folded onto the line before\r\n",
            "no colon at all\r\n",
            "From somebody\r\n",
            "Broken\rline: x\r\n",
            ": no name\r\n",
        ]
    ),
)
heads = st.lists(any_lines, max_size=8).map(lambda lines: ("".join(lines) + "\r\n").encode("latin-1"))


def _unfolded(headers: http.client.HTTPMessage) -> list[tuple[str, str]]:
    return [(name, re.sub(r"[ \t]*\r?\n[ \t]+", " ", value)) for name, value in headers.items()]


def _checked(headers: http.client.HTTPMessage) -> str:
    try:
        assert_header_parsing(headers)
    except Exception as error:
        return type(error).__name__
    return "fine"


@given(heads)
@example(b"A: b\r\n\r\n")
@example(b"\r\n")
def test_headers_are_those_of_http_client(head: bytes) -> None:
    ours, theirs = _read_headers(io.BytesIO(head)), http.client.parse_headers(io.BytesIO(head))
    theirs._headers = _unfolded(theirs)  # type: ignore[attr-defined]
    assert ours.items() == theirs.items()
    assert _checked(ours) == _checked(theirs)
    for name in {*theirs.keys(), "Content-Length", "absent"}:
        assert ours.get(name) == theirs.get(name)
        assert ours.get_all(name) == theirs.get_all(name)
        assert ours[name.upper()] == theirs[name.upper()]
        assert (name in ours) == (name in theirs)


def test_usual_headers_take_the_short_way() -> None:
    assert isinstance(_read_headers(io.BytesIO(b"Server: nginx\r\nX: \xe4 b \r\n\r\n")), PlainHeaders)


class _Socket:
    """Enough of a socket for http.client to read an answer from."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def makefile(self, mode: str, buffering: int = -1) -> io.BufferedReader:
        return io.BufferedReader(self._data)  # type: ignore[arg-type]

    def recv(self, size: int) -> bytes:
        return self._data.read(size)

    def recv_into(self, buffer: memoryview) -> int:
        return self._data.readinto(buffer)

    def settimeout(self, seconds: float) -> None:
        pass

    def shutdown(self, how: int) -> None:
        pass


def _read(kind: type[http.client.HTTPResponse], data: bytes, method: str) -> tuple[Any, ...]:
    sock: Any = _Socket(data)
    response = kind(sock, method=method)
    try:
        response.begin()
        seen = (response.status, response.version, response.reason, response.will_close, response.length)
        return (*seen, response.chunked, _unfolded(response.headers), response.read())
    except (http.client.HTTPException, ValueError) as error:
        return (type(error).__name__,)


STATUS_LINES = """\
HTTP/1.1 200 OK
HTTP/1.0 200 OK
HTTP/1.1 204 No Content
HTTP/1.1 304 Not Modified
HTTP/1.1 101 Up
HTTP/1.1 503
HTTP/2 200
HTTP/0.9 200 old
200 OK
HTTP/1.1 abc
garbage"""
statuses = st.sampled_from(STATUS_LINES.splitlines())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@given(statuses, heads)
def test_where_the_answer_ends_is_what_http_client_says(method: str, status: str, head: bytes) -> None:
    data = f"{status}\r\n".encode() + head + b"3\r\nabc\r\n0\r\n\r\n" + b"tail"
    with attempt_limits(Limits(SYSTEM_CLOCK, connect=9, read=9, deadline=SYSTEM_CLOCK.monotonic() + 9)):
        ours = _read(Response, data, method)
    theirs = _read(http.client.HTTPResponse, data, method)
    if method == "GET" and ours[0] in (101, 204, 304):  # http.client reads chunks that are said to come
        assert (*ours[4:6], ours[7]) == (0, False, b"")
        assert len(theirs) == 1 or (*ours[:4], ours[6]) == (*theirs[:4], theirs[6])
    else:
        assert ours == theirs


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_ends_with_its_head_whatever_it_says(status: bytes) -> None:
    """RFC 9112, section 6.3, rule 1. Some servers announce chunks all the same, and never send them."""
    data = b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    with attempt_limits(Limits(SYSTEM_CLOCK, connect=9, read=9, deadline=SYSTEM_CLOCK.monotonic() + 9)):
        response = Response(_Socket(data), method="GET")
        response.begin()
        assert not response.will_close
        assert response.isclosed()
        assert response.read() == b""


def test_no_value_has_a_line_break() -> None:
    """RFC 9112, section 5.2: a folded value is one of several words. Whoever hands it on would send two headers."""
    data = b"HTTP/1.1 200 OK\r\nX: one,\r\n\t two\n three\r\nContent-Length: 0\r\n\r\n"
    with attempt_limits(Limits(SYSTEM_CLOCK, connect=9, read=9, deadline=SYSTEM_CLOCK.monotonic() + 9)):
        response = Response(_Socket(data), method="GET")
        response.begin()
        assert response.headers.items() == [("X", "one, two three"), ("Content-Length", "0")]
        assert response.headers.get("x") == "one, two three"


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
def test_an_interim_answer_is_not_the_answer(interim: bytes) -> None:
    data = interim * 3 + b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    with attempt_limits(Limits(SYSTEM_CLOCK, connect=9, read=9, deadline=SYSTEM_CLOCK.monotonic() + 9)):
        assert _read(Response, data, "GET")[0] == 201


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"A: " + b"x" * 70_000 + b"\r\n\r\n", http.client.LineTooLong),
        (b"A: b\r\n" * 101 + b"\r\n", http.client.HTTPException),
    ],
)
def test_a_head_without_end_is_refused(head: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        _read_headers(io.BytesIO(head))


def test_without_limits_it_is_http_clients_own_reading() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        response = Response(ours, method="GET")
        response.begin()
        assert type(response.headers) is http.client.HTTPMessage
        assert response.read() == b"ok"
        response.close()


def test_an_answer_has_all_that_http_clients_own_has_before_its_head_is_read() -> None:
    theirs = http.client.HTTPResponse(_Socket(b""))  # type: ignore[arg-type]
    with attempt_limits(Limits(SYSTEM_CLOCK, connect=9, read=9, deadline=SYSTEM_CLOCK.monotonic() + 9)):
        ours = Response(_Socket(b""))
    for name in vars(theirs).keys() - {"fp"}:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert isinstance(ours.fp, io.BufferedReader)


def test_a_head_of_many_long_lines_is_refused() -> None:
    with pytest.raises(http.client.HTTPException, match="more than 1048576 bytes"):
        _read_headers(io.BytesIO((b"A: " + b"x" * 60_000 + b"\r\n") * 20 + b"\r\n"))
