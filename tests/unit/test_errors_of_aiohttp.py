"""Every exception of aiohttp comes out as the one error that the table here says."""

from __future__ import annotations

import errno
import inspect
import socket
import ssl
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions as cex
from aiohttp import http_exceptions as hex_
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from sleepwalker import exceptions as ours
from sleepwalker.engine import Verdict, failed
from sleepwalker.transport.aio.errors import AIOHTTP, translate
from sleepwalker.transport.error_context import ErrorContext

SECRET_URL = "http://user:canary@host.test/path?token=canary"
CONTEXT = ErrorContext("http://host.test", "head", False, "attempt", 10.0, 3.05, 10.0)
PHASES: tuple[Any, ...] = (None, "queue", "connect", "tls", "send", "head", "body")
UNSENT = ("queue", "connect", "tls")
SENT = ("send", "head", "body")

#: Not translated: what foreign code raised by itself.
PASSES = None

#: What each class becomes when it is raised while an answer is waited for.
TABLE: dict[type[BaseException], type[ours.ConnectionError] | None] = {
    cex.ClientConnectionError: ours.ReadError,
    cex.ClientConnectionResetError: ours.ReadError,
    cex.ClientConnectorCertificateError: ours.TLSError,
    cex.ClientConnectorDNSError: ours.ConnectError,
    cex.ClientConnectorError: ours.ConnectError,
    cex.ClientConnectorSSLError: ours.TLSError,
    cex.ClientError: ours.ReadError,
    cex.ClientHttpProxyError: ours.ProxyError,
    cex.ClientOSError: ours.ReadError,
    cex.ClientPayloadError: ours.ReadError,
    cex.ClientProxyConnectionError: ours.ProxyError,
    cex.ClientResponseError: ours.ReadError,
    cex.ClientSSLError: ours.TLSError,
    cex.ConnectionTimeoutError: ours.ConnectTimeout,
    cex.ContentTypeError: ours.ReadError,
    cex.InvalidURL: ours.URLError,
    cex.InvalidUrlClientError: ours.URLError,
    cex.InvalidUrlRedirectClientError: ours.RedirectError,
    cex.NonHttpUrlClientError: ours.URLError,
    cex.NonHttpUrlRedirectClientError: ours.RedirectError,
    cex.RedirectClientError: ours.RedirectError,
    cex.ServerConnectionError: ours.ReadError,
    cex.ServerDisconnectedError: ours.ReadError,
    cex.ServerFingerprintMismatch: ours.TLSError,
    cex.ServerTimeoutError: ours.ReadTimeout,
    cex.SocketTimeoutError: ours.ReadTimeout,
    cex.TooManyRedirects: ours.RedirectError,
    cex.UnixClientConnectorError: ours.ConnectError,
    cex.UploadAbortedError: ours.ReadError,
    cex.WSMessageTypeError: PASSES,  # of web sockets
    cex.WSServerHandshakeError: ours.ReadError,
    hex_.BadHttpMessage: ours.ReadError,
    hex_.BadHttpMethod: ours.ReadError,
    hex_.BadStatusLine: ours.ReadError,
    hex_.ContentEncodingError: ours.DecodeError,
    hex_.ContentLengthError: ours.ReadError,
    hex_.DecompressSizeError: ours.DecodeError,
    hex_.HttpBadRequest: ours.ReadError,
    hex_.HttpProcessingError: ours.ReadError,
    hex_.InvalidHeader: ours.ReadError,
    hex_.InvalidURLError: ours.ReadError,
    hex_.LineTooLong: ours.ReadError,
    hex_.PayloadEncodingError: ours.ReadError,
    hex_.TransferEncodingError: ours.ReadError,
}
#: Sending the same request again could not end otherwise.
POINTLESS = (cex.ClientConnectorCertificateError, cex.ServerFingerprintMismatch, cex.ClientHttpProxyError)
POINTLESS_ERRORS = (ours.URLError, ours.RedirectError, ours.DecodeError)
#: Raised where a socket was to be opened: before anything was sent, however far the attempt says that it was.
CONNECTING = (cex.ClientConnectorError, cex.ConnectionTimeoutError, cex.ClientHttpProxyError)

KEY = ConnectionKey("host.test", 80, False, True, None, None, None)
REFUSED = OSError(errno.ECONNREFUSED, SECRET_URL)
REQUEST = aiohttp.RequestInfo(URL(SECRET_URL), "GET", aiohttp.client_reqrep.CIMultiDictProxy(
    aiohttp.client_reqrep.CIMultiDict()
), URL(SECRET_URL))  # fmt: skip


def classes(module: types.ModuleType) -> set[type[BaseException]]:
    found = {cls for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, BaseException)}
    return {cls for cls in found if cls.__module__.partition(".")[0] == "aiohttp"}


def make(cls: type[BaseException]) -> Exception:
    """An instance that quotes the URL, as the library's own may."""
    arguments: tuple[Any, ...] = (SECRET_URL,)
    if cls is cex.UnixClientConnectorError:
        arguments = ("/run/canary.sock", KEY, REFUSED)
    elif cls is cex.ServerFingerprintMismatch:
        arguments = (b"canary", b"canary", "host.test", 80)
    elif cls is cex.ClientConnectorCertificateError:
        arguments = (KEY, ssl.SSLCertVerificationError(1, SECRET_URL))
    elif issubclass(cls, cex.ClientConnectorError):
        arguments = (KEY, socket.gaierror(socket.EAI_NONAME, SECRET_URL) if "DNS" in cls.__name__ else REFUSED)
    elif issubclass(cls, cex.ClientResponseError):
        status = 407 if cls is cex.ClientHttpProxyError else None
        error = cls(REQUEST, (), status=status, message=SECRET_URL)  # type: ignore[call-arg]
        assert isinstance(error, Exception)
        return error
    elif cls is hex_.HttpProcessingError:
        return hex_.HttpProcessingError(message=SECRET_URL)
    elif cls is cex.ClientOSError or cls is cex.ClientConnectionResetError:
        arguments = (errno.ECONNRESET, SECRET_URL)
    error = cls(*arguments)
    assert isinstance(error, Exception)
    return error


def came_from(error: Exception) -> Iterator[Exception]:
    """The same as aiohttp hands it on: bare, and as the cause or context of its own."""
    yield error
    within: Exception = cex.ClientPayloadError(SECRET_URL)
    within.__cause__ = error
    yield within
    within = cex.ServerDisconnectedError(SECRET_URL)
    within.__context__ = error
    yield within


def check(error: Exception, context: ErrorContext, expected: type[ours.ConnectionError]) -> ours.ConnectionError:
    """Translate it; say what came of it, which quotes nothing and drags nothing along."""
    try:
        raise error
    except Exception as caught:
        translated = translate(caught, replace(context))
    assert type(translated) is expected
    text = f"{translated} {translated!r} {translated.args}"
    assert text.count("http://host.test") == 3
    for secret in ("canary", "token", "/path", "user:"):
        assert secret not in text
    assert (translated.__cause__, translated.__context__, translated.__traceback__) == (None, None, None)
    assert (translated.request, translated.response) == (None, None)
    assert not any(isinstance(argument, BaseException) for argument in translated.args)
    return translated


def expected_in(cls: type[BaseException], phase: Any) -> type[ours.ConnectionError]:
    """What it becomes at a moment: what broke before anything was sent is a matter of connecting."""
    expected = TABLE[cls]
    assert expected is not None
    if phase == "tls" and cls in (cex.ClientConnectorError, cex.UnixClientConnectorError):
        return ours.TLSError
    if phase not in UNSENT or issubclass(cls, CONNECTING):
        return expected
    if expected is ours.ReadError:
        return ours.TLSError if phase == "tls" else ours.ConnectError
    return ours.ConnectTimeout if expected is ours.ReadTimeout else expected


translated_classes = pytest.mark.parametrize(
    "cls", [cls for cls, expected in TABLE.items() if expected], ids=lambda cls: cls.__name__
)


def test_the_table_knows_every_exception_of_aiohttp() -> None:
    """A new one must be judged: is it retried, does it count against the host, was anything sent?"""
    assert classes(cex) | classes(hex_) == set(TABLE)


def test_the_rules_name_no_class_in_vain() -> None:
    """Each class of a rule is translated by it, not by one before it."""
    for kinds, maker in AIOHTTP.rules:
        for kind in kinds:
            first = next(make for others, make in AIOHTTP.rules if issubclass(kind, others))
            assert first is maker, kind


@translated_classes
@pytest.mark.parametrize("phase", PHASES)
def test_every_exception_becomes_the_error_of_the_table(cls: type[BaseException], phase: Any) -> None:
    error = check(make(cls), replace(CONTEXT, phase=phase), expected_in(cls, phase))
    assert error.retryable is not (isinstance(error, POINTLESS_ERRORS) or issubclass(cls, POINTLESS))


@translated_classes
@pytest.mark.parametrize("phase", UNSENT)
def test_what_broke_while_a_socket_was_opened_was_never_sent(cls: type[BaseException], phase: Any) -> None:
    """Then a POST may be sent again."""
    error = translate(make(cls), replace(CONTEXT, phase=phase))
    assert isinstance(error, ours.ConnectionError)
    # A redirect and a body were the answer to something.
    assert error.never_sent is not isinstance(error, ours.RedirectError | ours.DecodeError)


@translated_classes
@pytest.mark.parametrize("phase", SENT)
def test_what_may_have_been_sent_is_never_called_unsent(cls: type[BaseException], phase: Any) -> None:
    """Otherwise a POST would be sent twice."""
    error = translate(make(cls), replace(CONTEXT, phase=phase))
    assert isinstance(error, ours.ConnectionError)
    connecting = issubclass(cls, (*CONNECTING, cex.ServerFingerprintMismatch))
    assert error.never_sent is (connecting or isinstance(error, ours.URLError))


@translated_classes
def test_each_counts_against_the_host_as_that_of_requests_does(cls: type[BaseException]) -> None:
    error = translate(make(cls), replace(CONTEXT))
    verdict = failed(error).verdict
    if isinstance(error, ours.URLError):
        assert verdict is Verdict.NEUTRAL  # ours to answer for, not the host's
    elif isinstance(error, ours.RedirectError | ours.DecodeError):
        assert verdict is Verdict.SUCCESS  # the host did answer
    else:
        assert verdict is Verdict.FAILURE


@pytest.mark.parametrize("cls", [cls for cls, expected in TABLE.items() if not expected], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("phase", PHASES)
def test_what_is_not_about_the_exchange_passes_through(cls: type[BaseException], phase: Any) -> None:
    error = make(cls)
    assert translate(error, replace(CONTEXT, phase=phase)) is error
    assert failed(error).verdict is Verdict.NEUTRAL


@pytest.mark.parametrize(
    ("cause", "phase", "expected", "unsent"),
    [
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "head", ours.ReadError, False),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "tls", ours.TLSError, True),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "send", ours.ReadError, False),
        (OSError(errno.EMFILE, "Too many open files"), "connect", ours.ConnectError, True),
        (hex_.TransferEncodingError("canary"), "body", ours.ReadError, False),
        (TimeoutError("timed out"), "body", ours.ReadTimeout, False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_the_system_says_comes_through_every_wrapping(
    cause: Exception, phase: Any, expected: type[ours.ConnectionError], unsent: bool
) -> None:
    for error in came_from(cause):
        translated = check(error, replace(CONTEXT, phase=phase), expected)
        assert (translated.never_sent, translated.retryable) == (unsent, True)
        if type(cause) in (ConnectionResetError, BrokenPipeError, OSError) and expected is not ours.TLSError:
            assert (cause.strerror or "") in str(translated)  # type: ignore[attr-defined]


def test_a_proxys_answer_to_connect_is_told() -> None:
    for status, retryable in ((407, False), (503, True)):
        error = cex.ClientHttpProxyError(REQUEST, (), status=status, message="canary")
        translated = check(error, replace(CONTEXT, phase="connect", proxy="proxy.test:3128"), ours.ProxyError)
        assert f"the proxy proxy.test:3128 answered {status} to CONNECT" in str(translated)
        assert (translated.never_sent, translated.retryable) == (True, retryable)


def test_a_machine_that_is_out_of_sockets_blames_no_host() -> None:
    error = cex.ClientConnectorError(KEY, OSError(errno.EMFILE, "Too many open files"))
    translated = check(error, replace(CONTEXT, phase="connect"), ours.ConnectError)
    assert translated.local
    assert failed(translated).verdict is Verdict.NEUTRAL


def test_a_timeout_that_the_deadline_cut_is_the_deadlines() -> None:
    for phase in PHASES[1:]:
        cut = replace(CONTEXT, phase=phase, deadline_hit=True)
        for error in came_from(TimeoutError("timed out")):
            translated = check(error, cut, ours.DeadlineExceeded)
            assert (translated.limit, translated.phase) == ("attempt", phase)  # type: ignore[attr-defined]
            assert translated.never_sent is (phase in UNSENT)
