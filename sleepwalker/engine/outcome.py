"""The outcome of an attempt, and its meaning for the host and for retries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sleepwalker.exceptions import (
    AuthenticationError,
    BulkheadFullError,
    CircuitOpenError,
    ConnectionError,
    DeadlineExceeded,
    DecodeError,
    DownloadError,
    HostIsolatedError,
    RateLimitedError,
    RedirectError,
    SleepwalkerException,
    URLError,
)
from sleepwalker.policy import SERVER_FAILURES, Policy


class Verdict(Enum):
    """What an outcome means for the host's health. Neutral changes nothing."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


#: The same, for code that each call runs: before Python 3.12 `Verdict.SUCCESS` takes longer than a function call.
SUCCESS, FAILURE, NEUTRAL = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NEUTRAL

#: 408 and 429 blame the caller's pace, 501 its choice of method: neither proves the host broken, nor healthy. Unless
#: the policy says that they are failures.
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
#: Raised because of a response that arrived.
_ANSWERED = (DecodeError, DownloadError, RedirectError)


class Head:
    """The head of a response whose body is streamed.

    It counts as a success at once, because a stream may last for hours. If the body breaks, the success is taken back.
    """

    __slots__ = ("counted_at", "failures_before")

    def __init__(self) -> None:
        self.counted_at: float | None = None
        """When it was counted as a success, on the host's clock; None if it was not."""
        self.failures_before: int = 0
        """How many attempts had failed in a row before it."""


@dataclass(slots=True)
class Outcome:
    """One attempt's result: a response with a status, or an error. `response` is opaque here."""

    verdict: Verdict
    status: int | None = None
    error: Exception | None = None
    response: Any = None
    retryable: bool = False
    """For an error: whether another try could end differently. A status is judged by the policy's list."""
    never_sent: bool = False
    """True if this attempt's request provably did not reach the server."""
    retry_after: float | None = None
    """Seconds that the server asked to be left alone for."""
    elsewhere: bool = False
    """Whether the response is of another host, to which a redirect had led."""
    head: Head | None = None
    """Set if the body is streamed: the outcome is that of the head or, if the body failed, that of the body."""

    @property
    def succeeded(self) -> bool:
        """Whether it proves the host alive."""
        return self.verdict is SUCCESS

    @property
    def cause(self) -> str:
        """The status, or the name of the error's type."""
        return str(self.status) if self.error is None else type(self.error).__name__

    @property
    def detail(self) -> str | None:
        """The text of an error of ours. Other errors are a caller's own, and their text is not trusted."""
        return str(self.error) if isinstance(self.error, SleepwalkerException) else None

    def describe(self) -> str:
        """The status, or the error's type and text."""
        return str(self.status) if self.error is None else f"{type(self.error).__name__}: {self.error}"


def failures_of(policy: Policy) -> frozenset[int]:
    """The statuses that count as failures of a host under this policy."""
    return policy.breaker.statuses if policy.breaker else SERVER_FAILURES


def answered(
    status: int, response: Any, retry_after: float | None, failures: frozenset[int] = SERVER_FAILURES
) -> Outcome:
    """The outcome of a response. Only here is it decided what a status means for its host.

    Args:
        status: One of `failures` is a failure. Of the others, 408, 429 and 501 are neutral, and the rest are successes.
        response: Kept in the outcome.
        retry_after: Seconds that the response asks its client to wait, if it does.
        failures: The host's `breaker.statuses`.
    """
    # Not a separate function: each attempt would pay for it.
    verdict = FAILURE if status in failures else NEUTRAL if status in _NEUTRAL_STATUSES else SUCCESS
    return Outcome(verdict, status, response=response, retry_after=retry_after)


def failed(error: Exception) -> Outcome:
    """The outcome of an attempt that ended in an exception. If it is not ours, it is the caller's: neutral."""
    if not isinstance(error, ConnectionError):
        return Outcome(NEUTRAL, error=error)
    if isinstance(error, _LOCAL):
        return Outcome(NEUTRAL, error=error, never_sent=error.never_sent)
    verdict = SUCCESS if isinstance(error, _ANSWERED) else FAILURE
    if error.local or (isinstance(error, DeadlineExceeded) and error.phase == "queue"):  # not the host's doing
        verdict = NEUTRAL
    return Outcome(verdict, error=error, retryable=error.retryable, never_sent=error.never_sent)
