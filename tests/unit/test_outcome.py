"""Verdicts, and what a Retry-After header asks for."""

from __future__ import annotations

import email.utils
import math
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sleepwalker
from sleepwalker.engine.outcome import Outcome, Verdict, answered, failed, parse_retry_after
from sleepwalker.exceptions import CircuitOpenError, ConnectError, ConnectionError, DeadlineExceeded, HTTPError
from tests.unit.engine_driver import WALL, answer, bad_certificate, refused, reset

SUCCESS, FAILURE, NEUTRAL = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NEUTRAL


@pytest.mark.parametrize("status", [*range(100, 600), 600, 999])
def test_every_status_has_the_verdict_that_the_contract_says(status: int) -> None:
    expected = NEUTRAL if status in (408, 429, 501) else FAILURE if status >= 500 else SUCCESS
    outcome = answered(status, "the response", None, WALL)
    assert (outcome.verdict, outcome.status, outcome.response) == (expected, status, "the response")
    assert (outcome.error, outcome.never_sent, outcome.retry_after) == (None, False, None)


@pytest.mark.parametrize("status", [100, 200, 302, 404, 408, 410, 429, 500, 501, 502, 503, 599, 600, 999])
def test_a_status_is_a_failure_if_the_policy_names_it_and_only_then(status: int) -> None:
    """The rest is as ever: 408, 429 and 501 say nothing, and whoever gave any other answer is alive."""
    expected = FAILURE if status in (404, 429, 501, 502) else NEUTRAL if status == 408 else SUCCESS
    assert answered(status, None, None, WALL, frozenset({404, 429, 501, 502})).verdict is expected
    unnamed = NEUTRAL if status in (408, 429, 501) else SUCCESS
    assert answered(status, None, None, WALL, frozenset()).verdict is unnamed


_ERRORS = {
    "AuthenticationError": NEUTRAL,
    "BulkheadFullError": NEUTRAL,
    "CircuitOpenError": NEUTRAL,
    "ConnectError": FAILURE,
    "ConnectTimeout": FAILURE,
    "ConnectionError": FAILURE,
    "DeadlineExceeded": FAILURE,
    "DecodeError": SUCCESS,
    "HostIsolatedError": NEUTRAL,
    "InsecureAuthError": NEUTRAL,
    "ProxyError": FAILURE,
    "RateLimitedError": NEUTRAL,
    "ReadError": FAILURE,
    "ReadTimeout": FAILURE,
    "RedirectError": SUCCESS,
    "TLSError": FAILURE,
    "URLError": NEUTRAL,
}


def _below(kind: type[Any]) -> set[str]:
    return {kind.__name__}.union(*(_below(sub) for sub in kind.__subclasses__()))


def test_every_connection_error_has_a_verdict_here() -> None:
    assert {name for name in _below(ConnectionError) if not name.startswith("_")} == set(_ERRORS)


@pytest.mark.parametrize("name", _ERRORS)
def test_an_error_blames_the_host_only_for_what_the_host_did(name: str) -> None:
    error = getattr(sleepwalker, name)("what happened")
    outcome = failed(error)
    assert outcome.verdict is _ERRORS[name]
    assert outcome.error is error
    assert outcome.status is None
    if outcome.verdict is not FAILURE:
        assert not outcome.retryable


@pytest.mark.parametrize(
    ("phase", "verdict"),
    [("queue", NEUTRAL), *((phase, FAILURE) for phase in ("connect", "tls", "send", "head", "body"))],
)
def test_a_deadline_blames_the_host_unless_it_ran_out_in_the_queue_for_our_own_pool(
    phase: Any, verdict: Verdict
) -> None:
    outcome = failed(DeadlineExceeded("ran out", phase=phase))
    assert (outcome.verdict, outcome.retryable) == (verdict, True)


@pytest.mark.parametrize("error", [ValueError("mine"), TimeoutError("mine"), OSError(5, "mine"), MemoryError()])
def test_a_callers_own_exception_is_neutral_and_never_retried(error: Exception) -> None:
    """A generator for the body, or an auth object, that raises says nothing about the host."""
    assert failed(error) == Outcome(NEUTRAL, error=error)


def test_what_an_error_says_of_itself_is_kept() -> None:
    assert (refused().retryable, refused().never_sent) == (True, True)
    assert (reset().retryable, reset().never_sent) == (True, False)
    assert (bad_certificate().retryable, bad_certificate().never_sent) == (False, True)


@pytest.mark.parametrize("never_sent", [True, False])
def test_an_error_from_before_sending_says_whether_something_was_sent_too(never_sent: bool) -> None:
    """That of a guarded object, say, which sent something by itself before it refused the rest."""
    error = CircuitOpenError("is open")
    error.never_sent = never_sent
    assert failed(error).never_sent is never_sent


def test_an_outcome_names_its_cause() -> None:
    assert (answer(503).cause, answer(503).describe()) == ("503", "503")
    outcome = failed(ConnectError("no such name"))
    assert (outcome.cause, outcome.describe()) == ("ConnectError", "ConnectError: no such name")


def test_no_http_error_reaches_the_engine_as_a_failure() -> None:
    """Statuses are judged as answers; an HTTPError raised inside an attempt is a response hook's own."""
    assert not issubclass(HTTPError, ConnectionError)


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
def test_a_retry_after_that_makes_no_sense_is_ignored_and_the_answer_kept(text: str) -> None:
    assert parse_retry_after(text, WALL) is None
    assert answered(503, None, text, WALL) == Outcome(FAILURE, 503)


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
