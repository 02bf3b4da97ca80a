"""Errors of a call whose request could not be sent, or whose response did not arrive whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import requests.exceptions

from sleepwalker.exceptions.base import SleepwalkerException, portable

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "AuthenticationError",
    "BulkheadFullError",
    "ChecksumError",
    "CircuitOpenError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
    "DeadlineExceeded",
    "DecodeError",
    "DownloadError",
    "HostIsolatedError",
    "InsecureAuthError",
    "ProxyError",
    "RateLimitedError",
    "ReadError",
    "ReadTimeout",
    "RedirectError",
    "TLSError",
    "URLError",
]

_Phase = Literal["queue", "connect", "tls", "send", "head", "body", "wait"]


class ConnectionError(SleepwalkerException, requests.exceptions.ConnectionError):
    """The request could not be sent, or the response did not arrive whole."""

    never_sent: bool = False
    """True where no attempt of the call can have reached the server, so that sending it again is safe."""
    retryable: bool = True
    """False where the same request would fail in the same way again."""
    local: bool = False
    """True where this machine is to blame, being out of sockets or threads: it says nothing about the host."""

    def __reduce__(self) -> tuple[Any, ...]:
        response = portable(self.response)
        state = {**self.__dict__, "response": response, "request": getattr(response, "request", None)}
        return type(self), self.args, state


class URLError(ConnectionError, requests.exceptions.InvalidURL):
    """A URL, URI or header that is invalid, or that must not be sent."""

    never_sent = True
    retryable = False


class InsecureAuthError(URLError):
    """Credentials would be sent unencrypted."""


class AuthenticationError(ConnectionError):
    """There are no credentials for the host."""

    never_sent = True
    retryable = False


class _Rejection(ConnectionError):
    """A policy of ours refused the call; nothing was sent."""

    never_sent = True
    retryable = False

    def __init__(self, message: str = "", *, host: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.host = host
        self.retry_after = retry_after


class _RejectionWithCause(_Rejection):
    """One whose `cause` is known."""

    def __init__(
        self,
        message: str = "",
        *,
        host: str | None = None,
        retry_after: float | None = None,
        cause: str | None = None,
    ) -> None:
        super().__init__(message, host=host, retry_after=retry_after)
        self.cause = cause


class CircuitOpenError(_RejectionWithCause):
    """The host's circuit is open, or admits only a part of the calls.

    `retry_after` is in seconds. `cause` is what opened the circuit: a status (`503`), the name of an exception type, or
    `slow calls`.

    Example:
        ```python
        try:
            conn.get("/items")
        except CircuitOpenError as error:
            print(f"{error.host} is down ({error.cause}), try again in {error.retry_after or 1:.0f} s")
        ```
    """


class BulkheadFullError(_Rejection):
    """The policy's limit of calls in flight to the host is reached."""


class RateLimitedError(_RejectionWithCause):
    """The policy's rate limit for the host is reached, or the server asked callers to wait.

    In the second case (see `retry.after_binds`) `cause` is the status of the server's response (`429`), else None.
    `retry_after` is in seconds.
    """


class HostIsolatedError(_Rejection):
    """An operator took the host out of use.

    `reason` is the operator's text, and `until` the time (UTC) when the isolation ends by itself. Each is None if not
    given.

    Example:
        ```python
        try:
            conn.get("/items")
        except HostIsolatedError as error:
            print(f"{error.host} is out of use: {error.reason or 'no reason given'}")
        ```
    """

    def __init__(
        self,
        message: str = "",
        *,
        host: str | None = None,
        retry_after: float | None = None,
        reason: str | None = None,
        until: datetime | None = None,
    ) -> None:
        super().__init__(message, host=host, retry_after=retry_after)
        self.reason = reason
        self.until = until


class DeadlineExceeded(ConnectionError, requests.exceptions.Timeout, TimeoutError):
    """`timeout.attempt` or `timeout.total` ran out; `phase` says in which phase of the call."""

    def __init__(
        self, message: str = "", *, limit: Literal["attempt", "total"] = "attempt", phase: _Phase = "head"
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.phase = phase


class ConnectError(ConnectionError):
    """No connection: refused, unreachable, or a name that does not resolve."""


class ConnectTimeout(ConnectionError, requests.exceptions.ConnectTimeout):
    """No connection within `timeout.connect`, name look-up and TLS handshake included."""


class TLSError(ConnectionError, requests.exceptions.SSLError):
    """The TLS handshake failed, or the server refused the client certificate after it.

    `retryable` is False if a certificate was the cause.
    """


class ReadError(ConnectionError, requests.exceptions.ChunkedEncodingError):
    """The connection was reset or closed early, or the response broke off, was malformed or was not HTTP."""


class ReadTimeout(ConnectionError, requests.exceptions.ReadTimeout):
    """`timeout.read` ran out between two bytes of the response."""


class ProxyError(ConnectionError, requests.exceptions.ProxyError):
    """The proxy could not be reached, broke off, is not trusted, or refused the tunnel."""


class RedirectError(ConnectionError, requests.exceptions.TooManyRedirects):
    """A redirect that may not be followed, or too many redirects. `response` is the last redirect."""

    retryable = False


class DecodeError(ConnectionError, requests.exceptions.JSONDecodeError):
    """The response arrived but cannot be used: not JSON, not what its Content-Encoding says, or too large.

    `response` is that response.
    """

    retryable = False

    def __init__(self, message: str = "", *, response: Any = None) -> None:
        # Not super().__init__: requests' class takes the document, which does not belong in a message.
        Exception.__init__(self, message)
        self.msg = message
        self.doc = ""
        self.pos = self.lineno = self.colno = 0
        self.response = response
        self.request: Any = getattr(response, "request", None)

    def __str__(self) -> str:
        return self.msg


class DownloadError(ConnectionError):
    """The response to a download is not a file: a 204, for example, or a range that was not asked for.

    `response` is that response.
    """

    retryable = False

    def __init__(self, message: str = "", *, response: Any = None) -> None:
        super().__init__(message, response=response)


class ChecksumError(DownloadError):
    """A download is complete, but has another checksum than the one given. The part is removed."""
