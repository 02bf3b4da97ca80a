"""Everything that sleepwalker raises.

```
SleepwalkerException
├─ ConnectionError                 also requests.ConnectionError
│  ├─ URLError                     also requests InvalidURL (a ValueError)
│  │  └─ InsecureAuthError
│  ├─ AuthenticationError
│  ├─ CircuitOpenError · BulkheadFullError · RateLimitedError · HostIsolatedError
│  ├─ DeadlineExceeded             also requests Timeout and the builtin TimeoutError
│  ├─ ConnectError
│  ├─ ConnectTimeout               also requests ConnectTimeout
│  ├─ TLSError                     also requests SSLError
│  ├─ ReadError                    also requests ChunkedEncodingError
│  ├─ ReadTimeout                  also requests ReadTimeout
│  ├─ ProxyError                   also requests ProxyError
│  ├─ RedirectError                also requests TooManyRedirects
│  └─ DecodeError                  also requests JSONDecodeError (a ValueError)
├─ HTTPError                       also requests.HTTPError
│  ├─ ClientHTTPError              one class per status, 400 to 431
│  └─ ServerHTTPError              one class per status, 500 to 511
├─ PolicyError                     also ValueError
├─ ServiceException
│  └─ MissingServiceDef · ResourceException · TypeException
└─ MissingVariable · InvalidParameter · RelationError · LinkError · DataPullError ·
   DataNotSetError · FragmentError
```

No text of an exception holds a credential, a header, a query string or a body, with one exception:
the text of an `HTTPError` is the server's own `error_text`. All of them can be pickled and copied: a copy has the
answer's status, headers and body, and of what was sent the method and the URL without its query, nothing else.
"""

from __future__ import annotations

from functools import cached_property as _cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

import requests.exceptions as _requests
from requests import PreparedRequest as _PreparedRequest
from requests import Response as _Response
from requests.structures import CaseInsensitiveDict as _CaseInsensitiveDict
from requests.utils import guess_json_utf as _guess_json_utf

if TYPE_CHECKING:
    from datetime import datetime as _datetime

    from sleepwalker.attempt import Attempt as _Attempt

__all__ = [
    "AuthenticationError",
    "BulkheadFullError",
    "CircuitOpenError",
    "ClientHTTPError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
    "DataNotSetError",
    "DataPullError",
    "DeadlineExceeded",
    "DecodeError",
    "FragmentError",
    "HTTPBadGateway",
    "HTTPBadRequest",
    "HTTPConflict",
    "HTTPError",
    "HTTPExpectationFailed",
    "HTTPForbidden",
    "HTTPGatewayTimeout",
    "HTTPGone",
    "HTTPImATeapot",
    "HTTPInternalServerError",
    "HTTPLengthRequired",
    "HTTPMethodNotAllowed",
    "HTTPNetworkAuthenticationRequired",
    "HTTPNotAcceptable",
    "HTTPNotExtended",
    "HTTPNotFound",
    "HTTPNotImplemented",
    "HTTPPaymentRequired",
    "HTTPPreconditionFailed",
    "HTTPPreconditionRequired",
    "HTTPProxyAuthenticationRequired",
    "HTTPRequestEntityTooLarge",
    "HTTPRequestHeaderFieldsTooLarge",
    "HTTPRequestTimeout",
    "HTTPRequestURITooLong",
    "HTTPRequestedRangeNotSatisfiable",
    "HTTPServiceUnavailable",
    "HTTPTooManyRequests",
    "HTTPUnauthorized",
    "HTTPUnsupportedMediaType",
    "HTTPUpgradeRequired",
    "HTTPVariantAlsoNegotiates",
    "HTTPVersionNotSupported",
    "HostIsolatedError",
    "InsecureAuthError",
    "InvalidParameter",
    "LinkError",
    "MissingServiceDef",
    "MissingVariable",
    "PolicyError",
    "ProxyError",
    "RateLimitedError",
    "ReadError",
    "ReadTimeout",
    "RedirectError",
    "RelationError",
    "ResourceException",
    "ServerHTTPError",
    "ServiceException",
    "SleepwalkerException",
    "TLSError",
    "TypeException",
    "URLError",
]

#: Bytes of a longer body of unknown encoding that are not Unicode are no JSON (RFC 8259, section 8.1).
_GUESSED = 16_384

#: Of an answer's headers, those that are credentials or made from them.
_SECRET = frozenset(
    {"set-cookie", "set-cookie2", "www-authenticate", "authentication-info"}
    | {"proxy-authenticate", "proxy-authentication-info"}
)
#: Characters of what a server says that an error shows.
_MOST_WORDS = 1000
_Phase = Literal["queue", "connect", "tls", "send", "head", "body", "wait"]


class SleepwalkerException(Exception):
    """The root of the tree."""

    attempts: tuple[_Attempt, ...] = ()
    """What was tried before this was raised; empty for a call that was rejected."""
    retry_after: float | None = None
    """Seconds after which another try makes sense, where that is known: the server said so, or a policy of ours."""


class ConnectionError(SleepwalkerException, _requests.ConnectionError):
    """The host could not be asked, or its answer did not arrive whole."""

    never_sent: bool = False
    """True where no attempt of the call can have reached the server, so that sending it again is safe."""
    retryable: bool = True
    """False where the same request would fail in the same way again."""
    local: bool = False
    """True where this machine is to blame, being out of sockets or threads: it says nothing about the host."""

    def __reduce__(self) -> tuple[Any, ...]:
        response = _portable(self.response)
        state = {**self.__dict__, "response": response, "request": getattr(response, "request", None)}
        return type(self), self.args, state


class URLError(ConnectionError, _requests.InvalidURL):
    """A URL, URI or header that may not or cannot be sent."""

    never_sent = True
    retryable = False


class InsecureAuthError(URLError):
    """Credentials would travel in the clear."""


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


class CircuitOpenError(_Rejection):
    """The host's circuit is open, or admits only a part of the calls.

    `retry_after` is in seconds; `cause` says what opened the circuit: a status (`503`), the name of an exception
    type, or `slow calls`.
    """

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


class BulkheadFullError(_Rejection):
    """As many calls to the host as the policy allows are in flight."""


class RateLimitedError(_Rejection):
    """The policy's own rate for the host is used up, or the server asked to be left alone.

    For the latter see `retry.after_binds`; `cause` is then the status of the server's answer (`429`), else None.
    `retry_after` is in seconds.
    """

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


class HostIsolatedError(_Rejection):
    """An operator took the host out of use.

    `reason` says why, in the operator's words, and `until` when that ends by itself, in UTC. Each is None where nothing
    was said of it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        host: str | None = None,
        retry_after: float | None = None,
        reason: str | None = None,
        until: _datetime | None = None,
    ) -> None:
        super().__init__(message, host=host, retry_after=retry_after)
        self.reason = reason
        self.until = until


class DeadlineExceeded(ConnectionError, _requests.Timeout, TimeoutError):
    """`timeout.attempt` or `timeout.total` ran out; `phase` says during what."""

    def __init__(
        self, message: str = "", *, limit: Literal["attempt", "total"] = "attempt", phase: _Phase = "head"
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.phase = phase


class ConnectError(ConnectionError):
    """No connection: refused, unreachable, or a name that does not resolve."""


class ConnectTimeout(ConnectionError, _requests.ConnectTimeout):
    """No connection within `timeout.connect`, name look-up and TLS handshake included."""


class TLSError(ConnectionError, _requests.SSLError):
    """The TLS handshake failed; `retryable` is False where it failed over a certificate."""


class ReadError(ConnectionError, _requests.ChunkedEncodingError):
    """The connection was reset or closed early, or the answer broke off or was not HTTP."""


class ReadTimeout(ConnectionError, _requests.ReadTimeout):
    """`timeout.read` ran out between two bytes of the answer."""


class ProxyError(ConnectionError, _requests.ProxyError):
    """The proxy could not be reached or refused the tunnel."""


class RedirectError(ConnectionError, _requests.TooManyRedirects):
    """A redirect that may not be followed, or too many of them."""

    retryable = False


class DecodeError(ConnectionError, _requests.JSONDecodeError):
    """The answer arrived but cannot be used: not JSON, not what its Content-Encoding says, or too large.

    `response` is the answer.
    """

    retryable = False

    def __init__(self, message: str = "", *, response: Any = None) -> None:
        # Not super().__init__: requests' class takes the document, which does not belong in a message.
        Exception.__init__(self, message)
        self.msg = message
        self.doc = ""
        self.pos = self.lineno = self.colno = 0
        self.response = response
        self.request = getattr(response, "request", None)

    def __str__(self) -> str:
        return self.msg


class PolicyError(SleepwalkerException, ValueError):
    """A policy that cannot be: `faults` lists every fault, each with its path, the value and what is allowed."""

    def __init__(self, message: str = "", *, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class HTTPError(SleepwalkerException, _requests.HTTPError):
    """A status that says no. Made from the response; the text is the body's `error_text` or else the reason."""

    code_map: ClassVar[dict[int, type[HTTPError]]] = {}

    def __init__(self, response: Any) -> None:
        self.http_code = response.status_code
        self._response = response
        self._is_json = True
        try:
            self.json_data = _json(response)
        except (ValueError, RecursionError):  # the latter of a hostile server's thousand brackets
            self.json_data = None
            self._is_json = False
        self.datarep: Any = None
        try:
            message = self.json_data["error_text"]
        except (KeyError, TypeError):
            message = response.reason
        super().__init__(message, response=response)

    @_cached_property
    def text(self) -> Any:
        """The body as text; None where it is JSON. Made when it is asked for: guessing an encoding takes time."""
        return None if self._is_json else _text(self._response)

    @property
    def headers(self) -> Any:
        """The answer's headers."""  # not kept beside it: they may set cookies, and what an error holds gets printed
        return self._response.headers

    def __str__(self) -> str:
        return _line(super().__str__())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_line(', '.join(map(repr, self.args)))})"

    @classmethod
    def raise_by_status(cls, response: Any) -> NoReturn:
        """Raise the class of the response's status, whatever that status is."""
        raise cls.of(response)

    @classmethod
    def of(cls, response: Any) -> HTTPError:
        """The error of the response's status: the status's own class, else the class of its hundred."""
        code = response.status_code
        hundred = {4: ClientHTTPError, 5: ServerHTTPError}.get(code // 100, HTTPError)
        return cls.code_map.get(code, hundred)(response)

    def __reduce__(self) -> tuple[Any, ...]:
        state: dict[str, Any] = {"attempts": self.attempts, "retry_after": self.retry_after}
        if notes := getattr(self, "__notes__", None):
            state["__notes__"] = list(notes)
        return type(self), (_portable(self._response),), state


def _json(response: Any) -> Any:
    """The body's value; ValueError where it is no JSON, or could be some only in an encoding that had to be guessed."""
    if isinstance(response, _Response) and response.encoding is None and len(response.content or b"") > _GUESSED:
        response.content.decode(_guess_json_utf(response.content) or "ascii")
    return response.json()


def _text(response: Any) -> Any:
    """The body as text; as UTF-8 where the server names an encoding that is none."""
    try:
        return response.text
    except ValueError:
        return response.content.decode("utf-8", "replace")


def _line(text: str) -> str:
    """A server's words as one line of a bounded length, which cannot steer a terminal or forge a line of a log."""
    if len(text) > _MOST_WORDS:
        text = text[:_MOST_WORDS] + "..."
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _portable(response: Any) -> Any:
    """The answer as a pickle or a copy has it: without cookies, challenges and hooks, and with a bare request.

    What was sent had credentials in it; its body may also be a file or a generator.
    """
    if not isinstance(response, _Response):
        return response
    twin = _Response()
    twin.status_code, twin.reason = response.status_code, response.reason
    twin.encoding, twin.elapsed = response.encoding, response.elapsed
    twin.url = _bare(response.url)
    kept = {name: value for name, value in response.headers.items() if name.lower() not in _SECRET}
    twin.headers = _CaseInsensitiveDict(kept)
    twin._content = response._content if isinstance(response._content, bytes) else b""
    twin._content_consumed = True
    twin.request = _PreparedRequest()
    twin.request.headers = _CaseInsensitiveDict()
    if response.request is not None:
        twin.request.method, twin.request.url = response.request.method, _bare(response.request.url)
    if hasattr(response, "attempts"):
        twin.attempts = response.attempts  # type: ignore[attr-defined]
        twin.__attrs__ = response.__attrs__
    return twin


def _bare(url: str | None) -> str:
    """A URL without userinfo, query and fragment."""
    scheme, mark, rest = (url or "").partition("?")[0].partition("#")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"


class ClientHTTPError(HTTPError):
    """A status of 400 to 499."""


class ServerHTTPError(HTTPError):
    """A status of 500 to 599."""


class HTTPBadRequest(ClientHTTPError):
    """400: The request was malformed."""


class HTTPUnauthorized(ClientHTTPError):
    """401: Credentials are missing or were not accepted."""


class HTTPPaymentRequired(ClientHTTPError):
    """402: The server asks for payment."""


class HTTPForbidden(ClientHTTPError):
    """403: The credentials do not permit this."""


class HTTPNotFound(ClientHTTPError):
    """404: There is no such resource."""


class HTTPMethodNotAllowed(ClientHTTPError):
    """405: The resource does not support this method."""


class HTTPNotAcceptable(ClientHTTPError):
    """406: No representation matches the Accept headers."""


class HTTPProxyAuthenticationRequired(ClientHTTPError):
    """407: The proxy asks for credentials."""


class HTTPRequestTimeout(ClientHTTPError):
    """408: The server gave up waiting for the request."""


class HTTPConflict(ClientHTTPError):
    """409: The request conflicts with the resource's state."""


class HTTPGone(ClientHTTPError):
    """410: The resource was removed for good."""


class HTTPLengthRequired(ClientHTTPError):
    """411: The server insists on a Content-Length."""


class HTTPPreconditionFailed(ClientHTTPError):
    """412: A precondition of the request did not hold."""


class HTTPRequestEntityTooLarge(ClientHTTPError):
    """413: The request's body is larger than the server takes."""


class HTTPRequestURITooLong(ClientHTTPError):
    """414: The URI is longer than the server takes."""


class HTTPUnsupportedMediaType(ClientHTTPError):
    """415: The server does not take this content type."""


class HTTPRequestedRangeNotSatisfiable(ClientHTTPError):
    """416: The range asked for is not within the resource."""


class HTTPExpectationFailed(ClientHTTPError):
    """417: The server cannot meet the Expect header."""


class HTTPImATeapot(ClientHTTPError):
    """418: The server declines to brew coffee (RFC 2324)."""


class HTTPUpgradeRequired(ClientHTTPError):
    """426: The server insists on another protocol."""


class HTTPPreconditionRequired(ClientHTTPError):
    """428: The server insists on a conditional request."""


class HTTPTooManyRequests(ClientHTTPError):
    """429: The caller sent too many requests."""


class HTTPRequestHeaderFieldsTooLarge(ClientHTTPError):
    """431: The request's headers are larger than the server takes."""


class HTTPInternalServerError(ServerHTTPError):
    """500: The server failed."""


class HTTPNotImplemented(ServerHTTPError):
    """501: The server does not know this method."""


class HTTPBadGateway(ServerHTTPError):
    """502: A gateway got an invalid answer from the server behind it."""


class HTTPServiceUnavailable(ServerHTTPError):
    """503: The server is overloaded or down for maintenance."""


class HTTPGatewayTimeout(ServerHTTPError):
    """504: A gateway got no answer in time from the server behind it."""


class HTTPVersionNotSupported(ServerHTTPError):
    """505: The server does not support this version of HTTP."""


class HTTPVariantAlsoNegotiates(ServerHTTPError):
    """506: The server's content negotiation is misconfigured."""


class HTTPNotExtended(ServerHTTPError):
    """510: The server asks for an extension of the request."""


class HTTPNetworkAuthenticationRequired(ServerHTTPError):
    """511: The network asks for a log-in."""


HTTPError.code_map.update(
    {
        400: HTTPBadRequest,
        401: HTTPUnauthorized,
        402: HTTPPaymentRequired,
        403: HTTPForbidden,
        404: HTTPNotFound,
        405: HTTPMethodNotAllowed,
        406: HTTPNotAcceptable,
        407: HTTPProxyAuthenticationRequired,
        408: HTTPRequestTimeout,
        409: HTTPConflict,
        410: HTTPGone,
        411: HTTPLengthRequired,
        412: HTTPPreconditionFailed,
        413: HTTPRequestEntityTooLarge,
        414: HTTPRequestURITooLong,
        415: HTTPUnsupportedMediaType,
        416: HTTPRequestedRangeNotSatisfiable,
        417: HTTPExpectationFailed,
        418: HTTPImATeapot,
        426: HTTPUpgradeRequired,
        428: HTTPPreconditionRequired,
        429: HTTPTooManyRequests,
        431: HTTPRequestHeaderFieldsTooLarge,
        500: HTTPInternalServerError,
        501: HTTPNotImplemented,
        502: HTTPBadGateway,
        503: HTTPServiceUnavailable,
        504: HTTPGatewayTimeout,
        505: HTTPVersionNotSupported,
        506: HTTPVariantAlsoNegotiates,
        510: HTTPNotExtended,
        511: HTTPNetworkAuthenticationRequired,
    }
)


class ServiceException(SleepwalkerException):
    """A service cannot be used as asked."""


class MissingServiceDef(ServiceException):
    """A service has no definition."""


class ResourceException(ServiceException):
    """A service has no such resource."""


class TypeException(ServiceException):
    """A service has no such type."""


class MissingVariable(SleepwalkerException):
    """A variable of a link is missing."""


class InvalidParameter(SleepwalkerException):
    """A link has no such parameter."""


class RelationError(SleepwalkerException):
    """There is no such relation."""


class LinkError(SleepwalkerException):
    """There is no such link, or it does not support the operation."""


class DataPullError(SleepwalkerException):
    """The data cannot be pulled in its present state."""


class DataNotSetError(SleepwalkerException):
    """There is no data to send."""


class FragmentError(SleepwalkerException):
    """A fragment cannot be made from these arguments."""
