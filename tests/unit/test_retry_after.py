"""How long a server asks to be left alone, by the headers of its answer."""

from __future__ import annotations

import email.utils
import math
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from sleepwalker.engine import asked_wait
from sleepwalker.engine.retry_after import parse_rate_limit, parse_reset, parse_retry_after
from tests.unit.engine_driver import WALL


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5, 10", 10.0),  # two lines in one answer arrive so
        ("10,5", 10.0),
        ("soon, 5", 5.0),
        (email.utils.formatdate(WALL + 7, usegmt=True) + ", 5", 7.0),
        ("5, " + email.utils.formatdate(WALL + 7, usegmt=True), 7.0),
        (", ".join(email.utils.formatdate(WALL + wait, usegmt=True) for wait in (3, 9, 6)), 9.0),
        ("0", 0.0),
        ("120", 120.0),
        ("1.5", 1.5),
        ("0.25", 0.25),
        (" 7\t", 7.0),
        ("007", 7.0),
        ("100000", 100_000.0),
        ("9" * 400, math.inf),
        # The three forms that RFC 9110 section 5.6.7 has every recipient accept.
        ("Sat, 01 Jun 2024 12:01:30 GMT", 90.0),
        ("Saturday, 01-Jun-24 12:01:30 GMT", 90.0),
        ("Sat Jun  1 12:01:30 2024", 90.0),
        ("Sat, 01 Jun 2024 12:01:30 -0000", 90.0),
        ("Sat, 01 Jun 2024 12:01:30", 90.0),
        ("Sat, 01 Jun 2024 14:01:30 +0200", 90.0),
        ("Sat, 01 Jun 2024 12:00:00 GMT", 0.0),
        ("Sat, 01 Jun 2024 11:59:59 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 2_416_737_599.0),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_retry_after_is_read(text: str, seconds: float, zone: str, local_zone: Any) -> None:
    local_zone(zone)
    assert parse_retry_after(text, WALL) == seconds


@pytest.fixture
def local_zone() -> Iterator[Any]:
    """Sets the machine's time zone for one test: a date without a zone means GMT wherever it is read."""
    before = os.environ.get("TZ")

    def use(zone: str) -> None:
        os.environ["TZ"] = zone
        time.tzset()

    yield use
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "-0.5", "+5", "soon", "1e3", "1.", ".5", "0x10", "nan", "inf", "-inf", "5 s", "soon, now", "١", "²",
     "Sat, 99 Jun 2024 12:00:00 GMT", "Sat, 01 Jun 2024 25:00:00 GMT", "Sat, 01 Jun 2024 12:00:00 +9999", "12:00:00",
     "Sat, 01 Jun 99999 12:00:00 GMT", "Sat,", "GMT", "\x00", "5\n6"],
)  # fmt: skip
def test_a_retry_after_that_makes_no_sense_is_ignored(text: str) -> None:
    assert parse_retry_after(text, WALL) is None
    assert asked(503, {"Retry-After": text}) is None


@given(st.text() | st.text("0123456789 :,+-.JunGMTSat", max_size=40))
@example("Mon, 0 Jan 0000 00:00:00 GMT")
def test_no_header_value_whatever_breaks_the_reading(text: str) -> None:
    seconds = parse_retry_after(text, WALL)
    assert seconds is None or seconds >= 0.0


@given(st.integers(0, 4_000_000_000))
def test_a_date_is_waited_for_to_the_second(when: int) -> None:
    assert parse_retry_after(email.utils.formatdate(when, usegmt=True), WALL) == max(0.0, when - WALL)


@given(st.decimals(0, 10**9, places=3))
def test_seconds_are_never_read_as_fewer_than_the_server_wrote(seconds: Any) -> None:
    assert parse_retry_after(f"{seconds:f}", WALL) == float(seconds)


def http_date(when: float) -> str:
    return email.utils.formatdate(when, usegmt=True)


def asked(status: int, headers: Mapping[str, str], wall: float = WALL) -> float | None:
    """What an answer asks for, on a machine whose clock shows `wall`."""
    return asked_wait(status, CaseInsensitiveDict(headers).get, lambda: wall)


@pytest.mark.parametrize("skew", [-3600, -1, 0, 1, 3600, 10**8])
def test_dates_count_from_the_answers_own_date(skew: int) -> None:
    """The clock of a server, or of this machine, may be an hour off: the two of them must not be mixed."""
    there = WALL + skew
    dates = {"Date": http_date(there), "Retry-After": http_date(there + 7)}
    assert asked(503, dates) == 7.0
    assert asked(429, {"Date": dates["Date"], "X-RateLimit-Reset": f"{there + 7:.0f}"}) == 7.0
    assert asked(503, {"Date": dates["Date"], "Retry-After": "7"}) == 7.0


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sat, 99 Jun 2024 12:00:00 GMT", "5"])
def test_without_a_date_that_can_be_read_they_count_from_the_time_of_day_here(date: str | None) -> None:
    headers = {"Retry-After": http_date(WALL + 7)} | ({} if date is None else {"Date": date})
    assert asked(503, headers) == 7.0


def test_of_two_dates_of_an_answer_the_first_counts() -> None:
    """A proxy added a line of its own."""
    dates = f"{http_date(WALL + 3600)}, {http_date(WALL)}"
    assert asked(503, {"Date": dates, "Retry-After": http_date(WALL + 3607)}) == 7.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("1.5", 1.5),
        ("999999999", 999_999_999.0),
        (f"{WALL + 30:.0f}", 30.0),  # GitHub, GitLab, Auth0
        (f"{WALL + 30.5}", 30.5),
        (f"{WALL - 30:.0f}", 0.0),
        (f"{(WALL + 30) * 1000:.0f}", 30.0),
        (http_date(WALL + 30), 30.0),
        ("5, 30", 30.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1m30s", None),
        ("9" * 400, math.inf),
    ],
)
def test_the_reset_of_a_rate_limit_is_read_as_seconds_or_as_a_moment_by_its_size(
    text: str, seconds: float | None
) -> None:
    assert parse_reset(text, WALL) == seconds
    assert asked(429, {"X-RateLimit-Reset": text}) == seconds
    assert asked(429, {"ratelimit-reset": text}) == seconds
    assert asked(429, {"x-rate-limit-reset": text}) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('"default";r=0;t=30', 30.0),
        ('"default"; r=0; t=30', 30.0),
        ('"default";t=30;r=0;pk=:cHsdsRa894==:', 30.0),
        ("default;r=0;t=30", 30.0),
        ('"burst";r=0;t=2, "daily";r=90;t=3600', 2.0),
        ('"burst";r=0;t=2, "daily";r=0;t=3600', 3600.0),
        ('"burst";r=5;t=2', None),
        ('"default";r=0', None),
        ('"default";t=30', 30.0),
        ('"a,b;r=9;t=1\\"";r=0;t=30', 30.0),
        ("limit=100, remaining=0, reset=30", 30.0),
        ("limit=100;w=60, remaining=0, reset=30", 30.0),
        ("LIMIT=100,REMAINING=0,RESET=30", 30.0),
        ("limit=100, remaining=4, reset=30", None),
        ("reset=30", 30.0),
        (f"limit=100, remaining=0, reset={WALL + 30:.0f}", 30.0),
        ("limit=100, remaining=-1, reset=30", 30.0),
        ("", None),
        ("30", None),
        ('"default', None),
        ('"default;r=0;t=30', None),
        (";;,=,;t=;r", None),
        ('"default";r=0;t=soon', None),
        ("a;r=1;t=9," * 100 + "b;r=0;t=5", None),  # so many are not read
    ],
)
def test_the_header_ratelimit_is_read_in_both_of_its_forms(text: str, seconds: float | None) -> None:
    assert parse_rate_limit(text, WALL) == seconds
    assert asked(429, {"RateLimit": text}) == seconds


@pytest.mark.parametrize(
    ("remaining", "seconds"),
    [("0", 30.0), ("0.5", 30.0), ("-1", 30.0), ("unknown", 30.0), ("7, 0", 30.0), ("1", None), ("4999", None)],
)
def test_a_limit_of_which_something_is_left_did_not_refuse_the_request(remaining: str, seconds: float | None) -> None:
    """GitHub's secondary limits answer 429 while the hour's requests are hardly used: they end long before the hour."""
    for prefix in ("RateLimit-", "X-RateLimit-", "X-Rate-Limit-"):
        assert asked(429, {f"{prefix}Reset": "30", f"{prefix}Remaining": remaining}) == seconds


def test_retry_after_counts_before_all_else_and_the_others_in_the_order_of_the_standards() -> None:
    headers = {
        "Retry-After": "1",
        "RateLimit": '"default";r=0;t=2',
        "RateLimit-Reset": "3",
        "X-RateLimit-Reset": "4",
        "X-Rate-Limit-Reset": "5",
    }
    for name, seconds in zip(list(headers), range(1, 6), strict=True):
        assert asked(429, headers) == seconds
        headers[name] = "no time at all"
    assert asked(429, headers) is None


@pytest.mark.parametrize("status", [200, 202, 403, 404, 500, 502, 503])
def test_only_a_429_is_asked_for_its_rate_limit(status: int) -> None:
    """Many servers write those headers on every answer."""
    limits = {"RateLimit": '"default";r=0;t=30', "RateLimit-Reset": "30", "X-RateLimit-Reset": "30"}
    assert asked(status, limits) is None
    assert asked(status, limits | {"Retry-After": "7"}) == 7.0
    assert asked(429, limits) == 30.0


def test_the_time_of_day_is_not_asked_for_unless_an_answer_wants_a_wait() -> None:
    def wall() -> float:
        raise AssertionError("asked for")

    assert asked_wait(200, {}.get, wall) is None
    assert asked_wait(503, {"RateLimit-Reset": "30"}.get, wall) is None


_WORDS = st.text() | st.text('0123456789 ,;:="\\.-rtJunSatGMTlimitremainingreset', max_size=60)


@given(_WORDS)
@example('"')
@example("r=0;t=1")
def test_no_text_breaks_the_reading_of_a_rate_limit(text: str) -> None:
    for read in (parse_rate_limit, parse_reset):
        seconds = read(text, WALL)
        assert seconds is None or seconds >= 0.0


@given(
    st.sampled_from([200, 429, 503]),
    st.dictionaries(
        st.sampled_from(
            ["Date", "Retry-After", "RateLimit", "RateLimit-Reset", "RateLimit-Remaining", "X-RateLimit-Reset"]
        ),
        _WORDS,
    ),
)
def test_no_headers_break_the_reading_of_an_answer(status: int, headers: dict[str, str]) -> None:
    seconds = asked(status, headers)
    assert seconds is None or seconds >= 0.0


_NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)


@given(st.lists(st.tuples(_NAMES, st.integers(0, 2), st.integers(0, 10**6)), min_size=1, max_size=5))
def test_of_all_limits_that_are_used_up_the_longest_is_waited_for(limits: list[tuple[str, int, int]]) -> None:
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name, _, _ in limits)
    text = ", ".join(f'"{name}";r={left};t={time}' for name, (_, left, time) in zip(quoted, limits, strict=True))
    assert parse_rate_limit(text, WALL) == max((time for _, left, time in limits if left == 0), default=None)
