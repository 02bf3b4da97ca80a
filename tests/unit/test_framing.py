"""Where a response ends: what is read of its head and chunks, what is left out, and what is refused."""

from __future__ import annotations

import ast
import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker.transport.framing import (
    MalformedResponse,
    chunk_size,
    content_length,
    parse_fields,
    parse_status_line,
    times_chunked,
)

LONGEST = 2**63 - 1
names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), min_size=1, max_size=12)
values = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=20).map(
    lambda text: text.strip(" \t")
)
fields = st.tuples(names, values)
#: No header, and no beginning of one that frames a body.
NO_HEADERS = [
    "garbage",
    "HTTP/1.1 200 OK",
    "My Param: None",
    "X-\xc3\xbc: 1",
    ": 1",
    ":",
    " X-Folded: onto nothing",
    "\tX: 1",
    "X\0Y: 1",
    "X\rY: 1",
    "\x0bX: 1",
    "X\x7f: 1",
    "\r",
]


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(MalformedResponse) as caught:
        call()
    return str(caught.value)


# -- header lines ----------------------------------------------------------------------------------


@given(st.lists(fields, max_size=8))
def test_plain_lines_are_what_they_say(pairs: list[tuple[str, str]]) -> None:
    lines = [f"{name}: {value}" for name, value in pairs]
    assert parse_fields(lines) == (pairs, True)


@given(st.lists(fields, max_size=4), st.sampled_from(NO_HEADERS), st.lists(fields, max_size=4))
def test_a_line_that_is_no_header_takes_no_other_with_it(
    before: list[tuple[str, str]], line: str, after: list[tuple[str, str]]
) -> None:
    lines = [f"{name}:{value}" for name, value in before]
    if before and line.startswith((" ", "\t")):
        lines.append("no colon")  # or it would be folded onto a header
    lines += [line, *(f"{name}: {value}" for name, value in after)]
    assert parse_fields(lines) == (before + after, False)


@given(st.lists(st.text(st.characters(max_codepoint=0xFF, exclude_characters="\n"), min_size=1), max_size=8))
def test_any_lines_give_headers_that_can_be_passed_on_or_are_refused(lines: list[str]) -> None:
    try:
        pairs, _ = parse_fields(lines)
    except MalformedResponse:
        return
    for name, value in pairs:
        assert re.fullmatch(r"[!-9;-~]+", name)
        assert not re.search(r"[\r\n\0]", value)


@pytest.mark.parametrize("space", [" ", "\t", "  \t "])
def test_whitespace_before_the_colon_is_dropped(space: str) -> None:
    """RFC 9112, section 5.1: a proxy does that, so what follows must not read it otherwise."""
    lines = [f"X-A{space}: 1", f"Content-Length{space}: 2"]
    assert parse_fields(lines) == ([("X-A", "1"), ("Content-Length", "2")], False)


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (["X: one,", "\t two", " three "], "one, two three"),
        (["X:", " one"], "one"),
        (["X: one", " ", "  two"], "one two"),
        (["X: a", " Transfer-Encoding: chunked"], "a Transfer-Encoding: chunked"),
    ],
)
def test_a_folded_value_is_one_value(lines: list[str], value: str) -> None:
    assert parse_fields([*lines, "Y: 1"]) == ([("X", value), ("Y", "1")], True)


@pytest.mark.parametrize("bad", ["\r", "\0", "\r\0"])
def test_what_some_take_for_a_lines_end_becomes_a_space(bad: str) -> None:
    pairs, well_formed = parse_fields([f"X: a{bad}Transfer-Encoding: chunked", "Y: 1"])
    assert pairs == [("X", f"a{' ' * len(bad)}Transfer-Encoding: chunked"), ("Y", "1")]
    assert not well_formed


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "TRANSFER-ENCODING"])
@pytest.mark.parametrize(
    "line", ["{} 5", "{}", " {}: 5", "\xff{}: 5", "{}\x0b: 5", "{}\0: 5", "\r{}: 5", "{}\xa0: 5", "{} x: 5"]
)
def test_a_malformed_line_that_may_frame_the_body_is_refused(name: str, line: str) -> None:
    """Left out, it would have the body end elsewhere than for those who understand it."""
    assert "malformed" in refused(lambda: parse_fields(["no colon", line.format(name), "X: 1"]))


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
@pytest.mark.parametrize("value", ["5\0", "\r5", "chunked\r"])
def test_a_control_character_where_a_body_is_framed_is_refused(name: str, value: str) -> None:
    assert name in refused(lambda: parse_fields([f"{name}: {value}"]))


def test_what_is_folded_onto_a_line_that_is_left_out_is_left_out() -> None:
    assert parse_fields(["no colon", " X: 1", "Y: 2"]) == ([("Y", "2")], False)
    refused(lambda: parse_fields(["no colon", " Content-Length: 1"]))


# -- the first line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("HTTP/1.1 200 OK", (11, 200, "OK")),
        ("HTTP/1.0 404", (10, 404, "")),
        ("HTTP/1.1 404 ", (11, 404, "")),
        ("HTTP/1.7  299 \t Some  thing ", (11, 299, "Some  thing")),
        ("HTTP/0.9 200 old", (10, 200, "old")),
        ("HTTP/1.1 503 Gr\xc3\xb6\xc3\x9fe", (11, 503, "Gr\xf6\xdfe")),
        ("HTTP/1.1 503 Gr\xf6\xdfe", (11, 503, "Gr\xf6\xdfe")),
        ("HTTP/1.1 503 a\0b\rc", (11, 503, "a b c")),
    ],
)
def test_a_status_line_is_read(line: str, parsed: tuple[int, int, str]) -> None:
    assert parse_status_line(line) == parsed


@pytest.mark.parametrize(
    "line",
    [
        *("", "garbage", "200 OK", "HTTP/2 200", "HTTP/1.1", "HTTP/1.1 2_0 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 20 OK"),
        *("HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 \xb2\xb2\xb2", "HTTP/1.1 200OK", "http/1.1 200 OK"),
        *("HTTP/1.x 200 OK", "HTTP/1.12 200 OK", " HTTP/1.1 200 OK", "ICY 200 OK"),
    ],
)
def test_another_first_line_is_not_http(line: str) -> None:
    assert "not HTTP" in refused(lambda: parse_status_line(line))


# -- lengths ---------------------------------------------------------------------------------------


@given(st.integers(0, LONGEST), st.integers(0, 30), st.integers(1, 4), st.sampled_from([",", ", ", "\t,  "]))
def test_a_length_may_be_padded_and_repeated(number: int, zeros: int, times: int, comma: str) -> None:
    text = "0" * zeros + str(number)
    assert content_length([f" {comma.join([text] * times)} "]) == number
    assert content_length([text] * times) == number


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "+5", "-5", "1_0", "0x5", "5.0", "1e3", "abc", "5 5", "5;5", "5,", ",5", ",", "5,x", "five"),
        *("\xb2", "\u0665", "5\xa0", "5\x0b", "5\x85", '"5"', "\uff15"),
    ],
)
def test_a_length_that_is_no_number_is_refused(value: str) -> None:
    assert "not a number" in refused(lambda: content_length([value]))
    assert "not a number" in refused(lambda: content_length(["5", value]))


@pytest.mark.parametrize("values", [["5, 6"], ["5", "6"], ["0, 00, 1"], ["5", "5, 7"]])
def test_lengths_that_differ_are_refused(values: list[str]) -> None:
    assert "differ" in refused(lambda: content_length(values))


@pytest.mark.parametrize("value", [str(2**63), str(2**64 + 5), "9" * 5000])
def test_a_length_of_more_than_any_file_is_refused(value: str) -> None:
    assert str(LONGEST) in refused(lambda: content_length([value]))


@given(st.text("0123456789 \t,+-_x.e\xb2\u0665\xa0\x0b", max_size=10))
def test_only_decimal_digits_are_a_length(text: str) -> None:
    try:
        assert content_length([text]) <= LONGEST
    except MalformedResponse:
        return
    assert re.fullmatch(r"[ \t]*[0-9]+[ \t]*(,[ \t]*[0-9]+[ \t]*)*", text)


# -- codings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "times"),
    [
        *((["chunked"], 1), (["Chunked "], 1), (["\tCHUNKED"], 1), ([",chunked,"], 1), (["", "chunked"], 1)),
        *((["chunked"] * 2, 2), (["chunked, Chunked"], 2)),
    ],
)
def test_chunked_is_read(values: list[str], times: int) -> None:
    assert times_chunked(values) == times


@pytest.mark.parametrize("values", [["identity"], [""], [" , "], ["Identity", ""]])
def test_no_coding_is_none(values: list[str]) -> None:
    assert not times_chunked(values)


@pytest.mark.parametrize(
    "value",
    [
        *("gzip", "gzip, chunked", "chunked, gzip", "chunked, x", "xchunked", "chunked;q=1", "chunked chunked"),
        *("identity, chunked", "chunked, identity", "chunked\x0b", "\xa0chunked", "x"),
    ],
)
def test_a_coding_that_was_not_asked_for_is_refused(value: str) -> None:
    assert "Transfer-Encoding" in refused(lambda: times_chunked([value]))
    assert "Transfer-Encoding" in refused(lambda: times_chunked(["chunked", value]))


# -- sizes of chunks -------------------------------------------------------------------------------


@given(
    st.integers(0, LONGEST),
    st.booleans(),
    st.integers(0, 30),
    st.sampled_from([b"", b" ", b"\t "]),
    st.sampled_from([b"", b";", b";a=b", b'; a="x;y"', b";\xff\0"]),
)
def test_a_size_is_hexadecimal(size: int, upper: bool, zeros: int, space: bytes, extension: bytes) -> None:
    digits = "0" * zeros + (f"{size:X}" if upper else f"{size:x}")
    assert chunk_size(digits.encode() + space + extension + b"\r\n") == size


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"-2\r\n",
            b"+2\r\n",
            b"0x2\r\n",
            b"1_0\r\n",
            b" 2\r\n",
            b"\r\n",
            b";a\r\n",
            b"2\n",
            b"2",
            b"2 2\r\n",
            b"g\r\n",
        ),
        *(b"2;a\rb\r\n", b"2\r\r\n", b"2\0\r\n", b"2,\r\n", b"\xb2\r\n", b"2\x0b\r\n", b"2;a\n\r\n"),
    ],
)
def test_a_size_that_is_none_is_refused(line: bytes) -> None:
    assert "hexadecimal" in refused(lambda: chunk_size(line))


@pytest.mark.parametrize("size", [b"8000000000000000", b"1" + b"0" * 20, b"f" * 3000])
def test_a_size_of_more_than_any_file_is_refused(size: bytes) -> None:
    assert str(LONGEST) in refused(lambda: chunk_size(size + b"\r\n"))


def test_the_line_of_a_size_is_bounded() -> None:
    assert chunk_size(b"5;" + b"x" * 4092 + b"\r\n") == 5
    assert "4096 bytes" in refused(lambda: chunk_size(b"5;" + b"x" * 4093 + b"\r\n"))


# -- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["x" * 65_000, "X:" + " " * 65_000, "X" + " " * 65_000 + "y:", "a:" * 32_000, "\r" * 65_000, " " * 65_000]
)
def test_a_hundred_long_lines_take_no_time(line: str) -> None:
    began = time.process_time()
    for lines in ([line] * 100, ["X: 1", *[" " + line] * 99]):
        parse_fields(lines)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "value", ["5," * 32_000 + "5", "0" * 65_000, "9" * 65_000, " " * 65_000 + "5", "chunked," * 8000]
)
def test_a_long_length_or_coding_takes_no_time(value: str) -> None:
    began = time.process_time()
    for read in (content_length, times_chunked):
        for _ in range(10):
            with contextlib.suppress(MalformedResponse):
                read([value] * 10)
    assert time.process_time() - began < 5


# -- words -----------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "responses.md"
#: All of what may refuse a response, both ways of sending it.
FILES = [
    file
    for file in sorted((ROOT / "sleepwalker" / "transport").rglob("*.py"))
    if "MalformedResponse(" in file.read_text(encoding="utf-8")
]


def _texts() -> set[str]:
    """The constant parts of the texts of all refusals."""
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MalformedResponse":
                strings = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                found |= {text.strip() for text in strings if isinstance(text, str)}
    return found


def test_the_page_has_what_each_refusal_says() -> None:
    page, texts = PAGE.read_text(encoding="utf-8"), _texts()
    assert len(texts) > 12
    missing = [text for text in texts if text.removesuffix(" (pool.require_close_notify)") not in page]
    assert missing == []
