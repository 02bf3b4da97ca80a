"""What an attempt came to, and what that says about the host and about trying again."""

from __future__ import annotations

import email.utils
import re
from datetime import UTC
from enum import Enum
from typing import Any

from sleepwalker.exceptions import (
    AuthenticationError,
    BulkheadFullError,
    CircuitOpenError,
    ConnectionError,
    DeadlineExceeded,
    DecodeError,
    HostIsolatedError,
    RateLimitedError,
    RedirectError,
    URLError,
)
from sleepwalker.frozen import slotted
from sleepwalker.policy import SERVER_FAILURES


class Verdict(Enum):
    """What an outcome says about the host's health. Neutral says nothing and moves nothing."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


#: The same, for code that each call runs: before Python 3.12 `Verdict.SUCCESS` takes longer than a function call.
SUCCESS, FAILURE, NEUTRAL = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NEUTRAL

#: 408 and 429 blame the caller's pace, 501 its choice of method: neither proves the host ill, nor well. Unless the
#: policy says that they are failures.
_NEUTRAL_STATUSES = frozenset({408, 429, 501})
#: Raised before anything was sent.
_LOCAL = (
    AuthenticationError,
    BulkheadFullError,
    CircuitOpenError,
    HostIsolatedError,
    RateLimitedError,
    URLError,
)
#: Raised over an answer that did arrive.
_ANSWERED = (DecodeError, RedirectError)

_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
#: What follows after so many is not read.
_MOST_VALUES = 100
#: The commas that do not stand inside a date.
_BETWEEN_VALUES = re.compile(r",(?!\s*\d{1,2}[ -])")


@slotted
class Outcome:
    """One attempt's result: an answer with a status, or an error. `response` is opaque here."""

    verdict: Verdict
    status: int | None = None
    error: Exception | None = None
    response: Any = None
    retryable: bool = False
    """For an error: whether another try could end differently. A status is judged by the policy's list."""
    never_sent: bool = False
    """True where this attempt's request provably did not reach the server."""
    retry_after: float | None = None
    """Seconds that the server asked to be left alone for."""

    @property
    def succeeded(self) -> bool:
        """Whether it proves the host alive."""
        return self.verdict is SUCCESS

    @property
    def cause(self) -> str:
        """The status, or the name of the error's type."""
        return str(self.status) if self.error is None else type(self.error).__name__

    def describe(self) -> str:
        """The status, or the error's type and text."""
        return str(self.status) if self.error is None else f"{type(self.error).__name__}: {self.error}"


def answered(
    status: int, response: Any, retry_after: str | None, wall: float, failures: frozenset[int] = SERVER_FAILURES
) -> Outcome:
    """The outcome of an answer, and the one place that says what a status means for its host.

    Args:
        status: One of `failures` is a failure. Of the others 408, 429 and 501 are neutral, and all else is a success.
        response: Kept in the outcome.
        retry_after: That header's text.
        wall: The time of day in seconds.
        failures: The host's `breaker.statuses`.
    """
    wait = None if retry_after is None else parse_retry_after(retry_after, wall)
    # No function of its own: each attempt would pay for it.
    verdict = FAILURE if status in failures else NEUTRAL if status in _NEUTRAL_STATUSES else SUCCESS
    return Outcome(verdict, status, response=response, retry_after=wait)


def failed(error: Exception) -> Outcome:
    """The outcome of an attempt that ended in an exception; one that is not ours is the caller's own, so neutral."""
    if not isinstance(error, ConnectionError):
        return Outcome(NEUTRAL, error=error)
    if isinstance(error, _LOCAL):
        return Outcome(NEUTRAL, error=error, never_sent=error.never_sent)
    verdict = SUCCESS if isinstance(error, _ANSWERED) else FAILURE
    if error.local or (isinstance(error, DeadlineExceeded) and error.phase == "queue"):  # not the host's doing
        verdict = NEUTRAL
    return Outcome(verdict, error=error, retryable=error.retryable, never_sent=error.never_sent)


def parse_retry_after(text: str, wall: float) -> float | None:
    """Seconds to wait by a `Retry-After` value (RFC 9110, section 10.2.3); None where it makes no sense.

    Takes fractions as well, which servers send although the RFC has none. A date in the past is 0. Of several values,
    as where a proxy adds a line of its own, the longest counts.
    """
    waits = [_one_wait(value.strip(), wall) for value in _BETWEEN_VALUES.split(text.strip(), maxsplit=_MOST_VALUES)]
    return max((wait for wait in waits if wait is not None), default=None)


def _one_wait(text: str, wall: float) -> float | None:
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:  # asctime's form, which RFC 9110 allows, names no zone; Python would take ours
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - wall)
    except (ValueError, OverflowError, OSError):
        return None
