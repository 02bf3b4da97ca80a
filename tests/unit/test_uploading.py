"""What arrives while a body is sent: which responses end the sending, and that short requests are not slowed by it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.transport.blocking.deadline import AttemptDeadline
from sleepwalker.transport.blocking.sockets import BoundedConnection, BoundedTLSConnection
from sleepwalker.transport.blocking.uploading import PIECE, Early
from tests.deadlines import attempt_deadline

INTERIM = ["HTTP/1.1 100 Continue", "HTTP/1.1 102 X", "HTTP/1.1 103 Early Hints\r\nLink: </a>", "HTTP/1.0 100"]
FINAL = ["HTTP/1.1 200 OK", "HTTP/1.1 101 Switching Protocols", "HTTP/1.1 201", "HTTP/1.0 204 No Content"]
REFUSALS = [
    "HTTP/1.1 413 Too Large",
    "HTTP/1.1 401",
    "HTTP/1.1 503 X",
    "HTTP/1.1 307 X",
    "HTTP/1.1 abc",
    "SSH-2.0-x   ",
]


def heads(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n\r\n" for line in lines).encode()


@given(st.lists(st.sampled_from(INTERIM), max_size=4), st.sampled_from(FINAL + REFUSALS), st.data())
def test_only_a_final_response_that_is_no_success_ends_the_sending(
    interim: list[str], final: str, data: st.DataObject
) -> None:
    """In whatever pieces it comes; interim responses are dropped, and nothing of the final one is lost."""
    expected = heads([final]) + b"body"
    arriving = heads(interim) + expected
    early = Early()
    while arriving and early.watching:
        size = data.draw(st.integers(1, len(arriving)))
        cut = early.take(arriving[:size])
        arriving = arriving[size:]
        assert cut is early.cut is (not early.watching and final in REFUSALS)
    assert not early.watching
    assert early.data + arriving == expected


@given(st.lists(st.sampled_from(INTERIM), max_size=4), st.integers(0, 12), st.data())
def test_while_it_is_not_known_what_comes_the_sending_goes_on(
    interim: list[str], size: int, data: st.DataObject
) -> None:
    unfinished = heads([*interim, data.draw(st.sampled_from(INTERIM))])[:-1]
    for arrived in (unfinished, heads(interim) + b"HTTP/1.1 413"[: min(size, 11)]):
        early = Early()
        assert not early.take(arrived)
        assert (early.watching, early.cut) == (True, False)


def test_an_interim_response_without_an_end_takes_bounded_memory_and_linear_time() -> None:
    early, began = Early(), time.perf_counter()
    early.take(b"HTTP/1.1 103 Early Hints\r\n")
    while early.watching:
        assert len(early.data) < 20_000
        assert not early.take(b"x")
    assert not early.cut, "the parser says what is wrong with it"
    assert time.perf_counter() - began < 1


class _Socket:
    """Writes down what is asked of it. Takes all but large pieces at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def asked(*_: Any) -> Any:
            self.asked.append(name)

        return asked

    def send(self, data: Any) -> int:
        self.asked.append("send")
        return len(data)


@pytest.mark.parametrize("kind", [BoundedConnection, BoundedTLSConnection])
@pytest.mark.parametrize("pieces", [[100], [PIECE], [100, 1000], [10] * 100])
def test_a_short_request_is_sent_without_a_look(kind: type[BoundedConnection], pieces: list[int]) -> None:
    conn, deadline = (
        kind("host.test"),
        AttemptDeadline(SYSTEM_CLOCK, connect=9, read=9, ends_at=SYSTEM_CLOCK.monotonic() + 9),
    )
    sock: Any = _Socket()
    conn.sock = sock
    with attempt_deadline(deadline):
        for _ in range(2):
            sock.asked.clear()
            conn.begin_to_send(deadline)
            for size in pieces:
                conn.send(bytes(size))
            assert sock.asked == ["settimeout", "send"] * len(pieces)
            assert conn.early is None
