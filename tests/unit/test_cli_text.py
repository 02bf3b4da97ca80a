"""What the command line shows: text that cannot steer a terminal, numbers that can be read, summaries that add up."""

from __future__ import annotations

import io

import pytest

from sleepwalker.cli.summary import Call, percentile, summarise
from sleepwalker.cli.text import count, safe_line, safe_text, say, seconds


@pytest.mark.parametrize(
    "harm",
    [
        "\x1b[2J",  # clears the screen
        "\x1b]0;title\x07",  # renames the window
        "\x9b31m",  # the same as ESC [ for terminals that know C1
        "\x08\x08",
        "\r",  # writes over what is there
        "\x7f",
        "\u202e",  # right-to-left override
        "\u2066",
    ],
)
def test_text_from_a_server_cannot_steer_the_terminal(harm: str) -> None:
    assert harm not in safe_text(f"before{harm}after")
    assert harm not in safe_line(f"before{harm}after")


def test_line_breaks_and_tabs_of_a_body_stay() -> None:
    assert safe_text("a\r\nb\n\tc é 漢") == "a\nb\n\tc é 漢"


def test_a_line_stays_one_line() -> None:
    assert "\n" not in safe_line("200 OK\nfake: line")


def test_what_the_encoding_of_the_output_cannot_express_is_replaced() -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as file:
        say("é 漢", file)
        assert raw.getvalue() == b"? ?\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0124, "12 ms"),
        (0.0996, "0.10 s"),
        (2.0, "2.00 s"),
        (9.96, "10.0 s"),
        (75.34, "75.3 s"),
    ],
)
def test_durations_are_short_and_have_a_unit(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


def test_one_is_singular() -> None:
    assert [count(1, "call"), count(2, "call"), count(0, "retry", "retries")] == ["1 call", "2 calls", "0 retries"]


def test_a_percentile_is_a_value_that_occurred() -> None:
    values = [float(number) for number in range(1, 21)]
    assert [percentile(values, 50), percentile(values, 95), percentile(values, 99)] == [10.0, 19.0, 20.0]
    assert percentile([7.0], 50) == 7.0
    assert percentile([], 50) is None


def test_every_call_counts_once() -> None:
    calls = [
        Call("answered", 0.1, "200"),
        Call("answered", 0.3, "200", sends=3),
        Call("failed", 0.2, "503", sends=2),
        Call("rejected", 0.0, "CircuitOpenError", sends=0),
        Call("unfinished", 9.0, "unfinished"),
    ]
    numbers = summarise(calls, planned=7)
    assert (numbers.calls, numbers.answered, numbers.failed, numbers.rejected) == (7, 2, 4, 1)
    assert numbers.answered + numbers.failed + numbers.rejected == numbers.calls
    assert numbers.retries == 3
    assert numbers.results == {"200": 2, "503": 1, "CircuitOpenError": 1, "unfinished": 1, "not sent": 2}


def test_rejections_do_not_make_the_rest_look_fast() -> None:
    calls = [Call("answered", 2.0, "200"), *[Call("rejected", 0.0, "CircuitOpenError", sends=0)] * 99]
    numbers = summarise(calls)
    assert (numbers.p50, numbers.p95, numbers.p99, numbers.longest) == (2.0, 2.0, 2.0, 2.0)


def test_without_a_call_there_are_no_percentiles() -> None:
    assert summarise([]).to_dict() == {
        "calls": 0, "answered": 0, "failed": 0, "rejected": 0, "retries": 0,
        "p50": None, "p95": None, "p99": None, "longest": None, "results": {},
    }  # fmt: skip
