"""The fast reading of an answer's head gives what http.client's own reading gives."""

from __future__ import annotations

import http.client
import io
import itertools
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import HTTPError
from urllib3.util.response import assert_header_parsing

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.transport.blocking.deadline import AttemptDeadline
from sleepwalker.transport.blocking.head import BoundedResponse
from sleepwalker.transport.blocking.reader import ChunkReader
from sleepwalker.transport.framing import MalformedResponse
from tests.deadlines import attempt_deadline

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), min_size=1, max_size=12)
values = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=20)
#: Each name occurs once, for http.client looks at the first one only.
plain_lines = st.lists(
    st.builds("{}:{}\r\n".format, names, values)
    | st.sampled_from(
        [
            "Connection: close\r\n",
            "Connection: Keep-Alive\r\n",
            "Set-Cookie: a=1\r\n",
            "Set-Cookie2: b=2\n",
            "Content-Type: multipart/mixed; boundary=x\r\n",
            "X-Folded: onto\r\n  the line before\n\t and more\r\n",
        ]
    ),
    max_size=8,
    unique_by=lambda line: line.partition(":")[0].lower(),
)
framing = st.sampled_from(["", "Content-Length: 3\r\n", "content-length: 004\r\n", "Transfer-Encoding: chunked\r\n"])
heads = st.builds(lambda lines, last: "".join([*lines, last, "\r\n"]).encode("latin-1"), plain_lines, framing)


def _unfolded(headers: http.client.HTTPMessage) -> list[tuple[str, str]]:
    return [(name, _joined(value) if "\n" in value else value) for name, value in headers.items()]


def _joined(value: str) -> str:
    return " ".join(filter(None, (line.strip(" \t\r") for line in value.split("\n"))))


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
    ours, theirs = _begun(b"HTTP/1.1 204 No\r\n" + head).headers, http.client.parse_headers(io.BytesIO(head))
    theirs._headers = _unfolded(theirs)  # type: ignore[attr-defined]
    assert ours.items() == theirs.items()
    assert _checked(ours) == _checked(theirs)
    for name in {*theirs.keys(), "Content-Length", "absent"}:
        assert ours.get(name) == theirs.get(name)
        assert ours.get_all(name) == theirs.get_all(name)
        assert ours[name.upper()] == theirs[name.upper()]
        assert (name in ours) == (name in theirs)


def _begun(data: bytes, method: str = "GET") -> BoundedResponse:
    with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
        response = BoundedResponse(_Socket(data), method=method)
        response.begin()
    return response


class _Socket:
    """Enough of a socket for http.client to read an answer from. No read returns more than one of its pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.stalls = False
        """Whether it waits at the end of its pieces, rather than to be closed."""

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def makefile(self, mode: str, buffering: int = -1) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(b"".join(self._pieces)))  # type: ignore[arg-type]

    def recv(self, size: int) -> bytes:
        if self.stalls and not self._pieces:
            raise TimeoutError
        piece = self._pieces.pop(0) if self._pieces else b""
        if piece[size:]:
            self._pieces.insert(0, piece[size:])
        return piece[:size]

    def recv_into(self, buffer: memoryview) -> int:
        piece = self.recv(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

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
        chunked = response.chunked or getattr(response, "in_chunks", False)
        return (*seen, chunked, _unfolded(response.headers), response.read())
    except (http.client.HTTPException, ValueError) as error:
        return (type(error).__name__,)


STATUS_LINES = """\
HTTP/1.1 200 OK
HTTP/1.0 200 OK
HTTP/1.1 204 No Content
HTTP/1.1 304 Not Modified
HTTP/1.1 503
HTTP/0.9 200 old"""
statuses = st.sampled_from(STATUS_LINES.splitlines())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@given(statuses, heads)
def test_where_the_answer_ends_is_what_http_client_says(method: str, status: str, head: bytes) -> None:
    data = f"{status}\r\n".encode() + head + b"3\r\nabc\r\n0\r\n\r\n" + b"tail"
    with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
        ours = _read(BoundedResponse, data, method)
    theirs = _read(http.client.HTTPResponse, data, method)
    if method == "GET" and ours[0] in (204, 304):  # http.client reads chunks that are said to come
        assert (*ours[4:6], ours[7]) == (0, False, b"")
        assert len(theirs) == 1 or (*ours[:4], ours[6]) == (*theirs[:4], theirs[6])
    elif ours[1] == 10 and b"transfer-encoding" in head.lower():  # RFC 9112, section 6.1: the framing is doubtful
        assert ours[3]
        assert (*ours[:3], *ours[4:]) == (*theirs[:3], *theirs[4:])
    else:
        assert ours == theirs


@pytest.mark.parametrize(
    ("version", "lines", "closes"),
    [
        ("1.1", [], False),
        ("1.1", ["Connection: close"], True),
        ("1.1", ["Connection: Keep-Alive, Close"], True),
        ("1.1", ["Connection: keep-alive", "Connection: close"], True),
        ("1.1", ["Set-Cookie: a", "Set-Cookie: b"], False),
        ("1.0", [], True),
        ("1.0", ["Connection: keep-alive"], False),
        ("1.0", ["Keep-Alive: timeout=5"], False),
        ("1.0", ["Proxy-Connection: Keep-Alive"], False),
        ("1.0", ["Keep-Alive: timeout=5", "Connection: close"], True),
        ("1.0", ["Connection: keep-alive", "connection: CLOSE"], True),
    ],
)
def test_a_connection_is_kept_where_the_server_says_so(version: str, lines: list[str], closes: bool) -> None:
    head = "\r\n".join([f"HTTP/{version} 200 OK", *lines, "Content-Length: 0", "", ""])
    assert _begun(head.encode()).will_close == closes


@given(heads, st.data())
def test_a_head_in_pieces_is_the_same_head(head: bytes, drawn: st.DataObject) -> None:
    """At once it is taken apart by one expression, in pieces it is read line by line."""
    data = b"HTTP/1.1 200 OK\r\n" + head + b"3\r\nabc\r\n0\r\n\r\n"
    cut = drawn.draw(st.integers(1, len(data) - len(b"3\r\nabc\r\n0\r\n\r\n") - 1))
    seen = []
    for pieces in ([data], [data[:cut], data[cut:]]):
        with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
            response = BoundedResponse(_Socket(*pieces), method="GET")
            response.begin()
            seen.append((response.headers.items(), response.length, response.will_close, response.read()))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_ends_with_its_head_whatever_it_says(status: bytes) -> None:
    """RFC 9112, section 6.3, rule 1. Some servers announce chunks all the same, and never send them."""
    data = b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
        response = BoundedResponse(_Socket(data), method="GET")
        response.begin()
        assert not response.will_close
        assert response.isclosed()
        assert response.read() == b""


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
def test_an_interim_answer_is_not_the_answer(interim: bytes) -> None:
    data = interim * 3 + b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
        assert _read(BoundedResponse, data, "GET")[0] == 201


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"A: " + b"x" * 70_000 + b"\r\n\r\n", "a header line .* longer than 65536 bytes"),
        (b"x" * 200_000, "a header line .* longer than 65536 bytes"),
        (b"A: b\r\n" * 101 + b"\r\n", "more than 100 header lines"),
        ((b"A: " + b"x" * 60_000 + b"\r\n") * 20 + b"\r\n", "longer than 1048576 bytes"),
        (b"A: b\r\n", "ended within the response's head"),
        (b"A: ", "ended within the response's head"),
    ],
)
def test_a_head_that_is_too_long_or_has_no_end_is_refused_by_name(head: bytes, words: str) -> None:
    with pytest.raises(MalformedResponse, match=words):
        _begun(b"HTTP/1.1 200 OK\r\n" + head)


def test_a_hundred_headers_are_fine() -> None:
    assert len(_begun(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100 + b"\r\n").headers) == 100


def test_interim_answers_are_bounded() -> None:
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert _begun(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000 + final).status == 200
    with pytest.raises(MalformedResponse, match="more than 1000 interim responses"):
        _begun(b"HTTP/1.1 102 Processing\r\n\r\n" * 1001 + final)
    with pytest.raises(MalformedResponse, match="longer than 1048576 bytes"):
        _begun((b"HTTP/1.1 103 Early Hints\r\n" + (b"Link: " + b"x" * 60_000 + b"\r\n") * 10 + b"\r\n") * 2 + final)


def test_nothing_at_all_is_no_answer() -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        _begun(b"")


def test_without_limits_it_is_http_clients_own_reading() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        response = BoundedResponse(ours, method="GET")
        response.begin()
        assert type(response.headers) is http.client.HTTPMessage
        assert response.read() == b"ok"
        response.close()


def test_an_answer_has_all_that_http_clients_own_has_before_its_head_is_read() -> None:
    theirs = http.client.HTTPResponse(_Socket(b""))  # type: ignore[arg-type]
    with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
        ours = BoundedResponse(_Socket(b""))
    for name in vars(theirs).keys() - {"fp"}:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert isinstance(ours.fp, io.BufferedReader)


# -- anything at all -------------------------------------------------------------------------------

WHOLE = [
    b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 12\r\n\r\nhello, world",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nX: 1\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.0 200 OK\r\nX: a\r\n b\r\n\r\nhello, world",
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
        b"1\r\nh\r\n00b\r\nello, world\r\n0\r\n\r\n"
    ),
]
ODDMENTS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b":",
    b" ",
    b"\t",
    b",",
    b";",
    b"-",
    b"_",
    b"0",
    b"5",
    b"f",
    b"\xff",
]
ODDMENTS += [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n", b"9" * 30]
changes = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(ODDMENTS) | st.binary(max_size=3)), max_size=3
)


def _changed(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for where, drop, put in changes:
        at = int(where * len(data))
        data = data[:at] + put + data[at + drop :]
    return data


def _outcome(pieces: list[bytes], read: Callable[[BoundedResponse], bytes]) -> tuple[Any, ...]:
    with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
        try:
            response = BoundedResponse(_Socket(*pieces), method="GET")
            response.begin()
            return response.status, response.headers.items(), response.will_close, read(response)
        except (http.client.HTTPException, HTTPError):
            return ("refused",)


def _by_urllib3(response: BoundedResponse) -> bytes:
    headers = HTTPHeaderDict(response.headers.items())
    made = HTTPResponse(response, headers, preload_content=False)  # type: ignore[arg-type]
    made.chunked = made.chunked and not response.in_chunks  # as the connection does
    return b"".join(made.stream(4))


@settings(deadline=None)
@given(st.sampled_from(WHOLE), changes, st.lists(st.integers(1, 150), max_size=4))
def test_whatever_comes_is_read_alike_by_all_or_refused(
    whole: bytes, changes: list[tuple[float, int, bytes]], cuts: list[int]
) -> None:
    """However it arrives, and whoever reads it; and no error is of another kind, such as ValueError."""
    data = _changed(whole, changes)
    edges = [0, *sorted(cuts), len(data)]
    pieces = [piece for begin, end in itertools.pairwise(edges) if (piece := data[begin:end])]
    at_once = _outcome([data], BoundedResponse.read)
    assert _outcome(pieces, BoundedResponse.read) == at_once
    for arrived in ([data], pieces):
        assert _outcome(arrived, _by_urllib3) == at_once


@pytest.mark.parametrize("whole", WHOLE)
def test_those_are_whole(whole: bytes) -> None:
    for read in (BoundedResponse.read, _by_urllib3):
        assert _outcome([whole], read)[-1] == b"hello, world"
        assert _outcome([bytes([byte]) for byte in whole], read)[-1] == b"hello, world"


def _take(raw: ChunkReader, came: bytearray) -> None:
    while piece := raw.read(3):
        came += piece


def test_a_read_that_timed_out_can_be_done_again() -> None:
    """A stream that paused goes on where it was, between any two bytes of its framing."""
    data = WHOLE[1]
    for cut in range(data.index(b"5\r\n"), len(data)):
        with attempt_deadline(AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9)):
            sock = _Socket(data[:cut])
            response = BoundedResponse(sock, method="GET")
            response.begin()
            raw, came = ChunkReader(response._reader), bytearray()
            sock.stalls = True
            with pytest.raises(TimeoutError):
                _take(raw, came)
            sock.stalls = False
            sock.add(data[cut:])
            assert bytes(came) + raw.readall() == b"hello, world"
            assert raw.is_over
