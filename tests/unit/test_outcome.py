"""What an attempt came to, and what that says about its host."""

from __future__ import annotations

from typing import Any

import pytest

import sleepwalker
from sleepwalker.engine import Outcome, Verdict, answered, failed
from sleepwalker.exceptions import CircuitOpenError, ConnectError, ConnectionError, DeadlineExceeded, HTTPError
from tests.unit.engine_driver import answer, bad_certificate, refused, reset

SUCCESS, FAILURE, NEUTRAL = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NEUTRAL


@pytest.mark.parametrize("status", [*range(100, 600), 600, 999])
def test_every_status_has_the_verdict_that_the_contract_says(status: int) -> None:
    expected = NEUTRAL if status in (408, 429, 501) else FAILURE if status >= 500 else SUCCESS
    outcome = answered(status, "the response", None)
    assert (outcome.verdict, outcome.status, outcome.response) == (expected, status, "the response")
    assert (outcome.error, outcome.never_sent, outcome.retry_after) == (None, False, None)


@pytest.mark.parametrize("status", [100, 200, 302, 404, 408, 410, 429, 500, 501, 502, 503, 599, 600, 999])
def test_a_status_is_a_failure_if_the_policy_names_it_and_only_then(status: int) -> None:
    """The rest is unchanged: 408, 429 and 501 are neutral, and any other response is a success."""
    expected = FAILURE if status in (404, 429, 501, 502) else NEUTRAL if status == 408 else SUCCESS
    assert answered(status, None, None, frozenset({404, 429, 501, 502})).verdict is expected
    unnamed = NEUTRAL if status in (408, 429, 501) else SUCCESS
    assert answered(status, None, None, frozenset()).verdict is unnamed


_ERRORS = {
    "AuthenticationError": NEUTRAL,
    "BulkheadFullError": NEUTRAL,
    "ChecksumError": SUCCESS,
    "CircuitOpenError": NEUTRAL,
    "ConnectError": FAILURE,
    "ConnectTimeout": FAILURE,
    "ConnectionError": FAILURE,
    "DeadlineExceeded": FAILURE,
    "DecodeError": SUCCESS,
    "DownloadError": SUCCESS,
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
