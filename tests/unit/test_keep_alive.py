"""What a server says of how long it keeps a socket is understood, and nonsense says nothing."""

from __future__ import annotations

import http.client
import math

import pytest

from sleepwalker.transport.keep_alive import keep_alive_seconds


def headers(*values: str) -> list[str] | None:
    return list(values) or None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("timeout=5", 4.0),
        ("timeout=5, max=100", 4.0),
        ("max=100, timeout=5", 4.0),
        (" TimeOut = 72 ,MAX=1", 71.0),
        ("timeout=1", 0.5),
        ("timeout=0", 0.0),
        ("timeout=60, timeout=5", 4.0),
        ("timeout=5, max=0", 0.0),
        ("max=0", 0.0),
        ("timeout=5, x=y; q, 7, =, ,", 4.0),
    ],
)
def test_the_time_is_the_servers_less_one_second(value: str, seconds: float) -> None:
    assert keep_alive_seconds(headers(value)) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "timeout",
        "timeout=",
        "timeout=-5",
        "timeout=+5",
        "timeout=5.5",
        "timeout=5s",
        "timeout=1_0",
        "timeout=0x5",
        "timeout=\xb2",
        "timeout=1234567890",
        "timeout=5" + "0" * 5000,
        "timeout=5" + " " * 300,
        "max=100",
        "max=-1",
        "x-timeout=5",
        "300",
    ],
)
def test_what_is_of_no_known_form_says_nothing(value: str) -> None:
    assert keep_alive_seconds(headers(value)) == math.inf


def test_an_answer_without_the_header_says_nothing() -> None:
    assert keep_alive_seconds(headers()) == keep_alive_seconds(http.client.HTTPMessage()) == math.inf


def test_a_header_in_several_lines_is_read_as_one() -> None:
    assert (
        keep_alive_seconds(headers("timeout=9", "max=100"))
        == keep_alive_seconds(headers("max=100", "timeout=9"))
        == 8.0
    )
    assert keep_alive_seconds(headers("timeout=9", "x" * 300)) == math.inf
