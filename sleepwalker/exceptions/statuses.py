"""Errors of a call whose response has a status of 400 or above: one class for each status."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, NoReturn

import requests.exceptions
from requests import Response
from requests.structures import CaseInsensitiveDict
from requests.utils import guess_json_utf

from sleepwalker.exceptions.base import SleepwalkerException, portable

__all__ = [
    "ClientHTTPError",
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
    "ServerHTTPError",
]

#: Bytes of a longer body of unknown encoding that are not Unicode are no JSON (RFC 8259, section 8.1).
_GUESSED = 16_384

#: The codings of the registry of RFC 9110 that are in use.
_CODINGS = frozenset({"br", "compress", "deflate", "gzip", "x-gzip", "zstd"})
#: Characters of what a server says that an error shows.
_MOST_WORDS = 1000


class HTTPError(SleepwalkerException, requests.exceptions.HTTPError):
    """A response with a status of 400 or more. The text is the body's `error_text`, or else the reason.

    Example:
        ```python
        try:
            conn.get("/items/7")
        except HTTPNotFound:
            print("no such item")
        except HTTPError as error:
            print(error.http_code, error.json_data or error.text)
        ```
    """

    code_map: ClassVar[dict[int, type[HTTPError]]] = {}

    http_code: int
    """The status, such as 404."""
    json_data: Any
    """The body's value where it is JSON, else None."""

    def __init__(self, response: Any) -> None:
        self.http_code = response.status_code
        self._response = response
        self._is_json = True
        undecoded = getattr(response, "undecoded", False)
        try:
            self.json_data = None if undecoded else _json(response)
        except (ValueError, RecursionError):  # the latter of a hostile server's thousand brackets
            self.json_data = None
            self._is_json = False
        self.datarep: Any = None
        try:
            message = self.json_data["error_text"]
        except (KeyError, TypeError):
            message = response.reason
        if undecoded:
            self._is_json = False
            message = f"{message} (its body could not be decoded: it is incomplete or not {_codings(response)})"
        super().__init__(message, response=response)

    @cached_property
    def text(self) -> str | None:
        """The body as text. None if it is JSON; empty if it is not what its Content-Encoding says.

        Decoded on first use, because guessing an encoding takes time.
        """
        if getattr(self._response, "undecoded", False):
            return ""
        return None if self._is_json else _text(self._response)

    @property
    def headers(self) -> CaseInsensitiveDict[str]:
        """The response's headers."""  # not kept beside it: they may set cookies, and what an error holds gets printed
        headers: CaseInsensitiveDict[str] = self._response.headers
        return headers

    def __str__(self) -> str:
        return _line(super().__str__())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_line(', '.join(map(repr, self.args)))})"

    @classmethod
    def raise_by_status(cls, response: object) -> NoReturn:
        """Raise the class of the response's status, also of one below 400."""
        raise cls.of(response)

    @classmethod
    def of(cls, response: Any) -> HTTPError:
        """The error of the status: its own class, else ClientHTTPError (4xx), ServerHTTPError (5xx) or HTTPError."""
        code = response.status_code
        hundred = {4: ClientHTTPError, 5: ServerHTTPError}.get(code // 100, HTTPError)
        return cls.code_map.get(code, hundred)(response)

    def __reduce__(self) -> tuple[Any, ...]:
        state: dict[str, Any] = {"attempts": self.attempts, "retry_after": self.retry_after}
        if notes := getattr(self, "__notes__", None):
            state["__notes__"] = list(notes)
        return type(self), (portable(self._response),), state


def _json(response: Any) -> Any:
    """The body's value; ValueError where it is no JSON, or could be some only in an encoding that had to be guessed."""
    if isinstance(response, Response) and response.encoding is None and len(response.content or b"") > _GUESSED:
        response.content.decode(guess_json_utf(response.content) or "ascii")
    return response.json()


def _codings(response: Any) -> str:
    """What a Content-Encoding says, as far as these are codings; the rest may be anything."""
    names = [name.strip() for name in str(response.headers.get("Content-Encoding", "")).lower().split(",")]
    return ", ".join(name for name in names if name in _CODINGS) or "what its Content-Encoding says"


def _text(response: Any) -> str:
    """The body as text; as UTF-8 where the server names an encoding that is none."""
    text: str
    try:
        text = response.text
    except ValueError:
        text = response.content.decode("utf-8", "replace")
    return text


def _line(text: str) -> str:
    """A server's words as one line of a bounded length, which cannot steer a terminal or forge a line of a log."""
    if len(text) > _MOST_WORDS:
        text = text[:_MOST_WORDS] + "..."
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


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
    """502: A gateway got an invalid response from the server behind it."""


class HTTPServiceUnavailable(ServerHTTPError):
    """503: The server is overloaded or down for maintenance."""


class HTTPGatewayTimeout(ServerHTTPError):
    """504: A gateway got no response in time from the server behind it."""


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
