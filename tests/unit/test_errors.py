"""Every exception of requests and urllib3 comes out as the one error that the table here says."""

from __future__ import annotations

import _ssl  # type: ignore[import-not-found]
import errno
import http.client
import inspect
import socket
import ssl
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests.exceptions as rex
import urllib3.exceptions as uex

from sleepwalker import exceptions as ours
from sleepwalker.engine import Verdict, failed
from sleepwalker.transport.error_context import ErrorContext
from sleepwalker.transport.errors import RULES, translate
from sleepwalker.transport.framing import MalformedResponse
from sleepwalker.transport.tls_reasons import _CLIENT_CERTIFICATE, _WORDS

URL = "http://user:canary@host.test/path?token=canary"
CONTEXT = ErrorContext("http://host.test", "head", False, "attempt", 10.0, 3.05, 10.0)
PHASES: tuple[Any, ...] = (None, "queue", "connect", "tls", "send", "head", "body")
UNSENT = ("queue", "connect", "tls")

#: Not translated: a warning, or what foreign code raised by itself.
PASSES = None

#: What each class becomes when it is raised while an answer is waited for.
TABLE: dict[type[BaseException], type[ours.ConnectionError] | None] = {
    rex.ChunkedEncodingError: ours.ReadError,
    rex.ConnectTimeout: ours.ConnectTimeout,
    rex.ConnectionError: ours.ConnectionError,
    rex.ContentDecodingError: ours.DecodeError,
    rex.FileModeWarning: PASSES,
    rex.HTTPError: PASSES,  # a hook's raise_for_status()
    rex.InvalidHeader: ours.ReadError,
    rex.InvalidJSONError: PASSES,  # a hook's json()
    rex.InvalidProxyURL: ours.URLError,
    rex.InvalidSchema: ours.URLError,
    rex.InvalidURL: ours.URLError,
    rex.JSONDecodeError: PASSES,
    rex.MissingSchema: ours.URLError,
    rex.ProxyError: ours.ProxyError,
    rex.ReadTimeout: ours.ReadTimeout,
    rex.RequestException: ours.ConnectionError,
    rex.RequestsDependencyWarning: PASSES,
    rex.RequestsWarning: PASSES,
    rex.RetryError: ours.ReadError,
    rex.SSLError: ours.ReadError,
    rex.StreamConsumedError: PASSES,  # the caller read a stream twice
    rex.Timeout: ours.ReadTimeout,
    rex.TooManyRedirects: ours.RedirectError,
    rex.URLRequired: ours.URLError,
    rex.UnrewindableBodyError: ours.RedirectError,
    uex.BodyNotHttplibCompatible: ours.ConnectionError,
    uex.ClosedPoolError: ours.ConnectionError,
    uex.ConnectTimeoutError: ours.ConnectTimeout,
    uex.DecodeError: ours.DecodeError,
    uex.DependencyWarning: PASSES,
    uex.EmptyPoolError: ours.DeadlineExceeded,
    uex.FullPoolError: ours.ConnectionError,
    uex.HTTPError: ours.ConnectionError,
    uex.HTTPWarning: PASSES,
    uex.HeaderParsingError: ours.ConnectionError,
    uex.HostChangedError: ours.ConnectionError,
    uex.IncompleteRead: ours.ReadError,
    uex.InsecurePlatformWarning: PASSES,
    uex.InsecureRequestWarning: PASSES,
    uex.InvalidChunkLength: ours.ReadError,
    uex.InvalidHeader: ours.ReadError,
    uex.LocationParseError: ours.URLError,
    uex.LocationValueError: ours.URLError,
    uex.MaxRetryError: ours.ConnectionError,
    uex.NameResolutionError: ours.ConnectError,
    uex.NewConnectionError: ours.ConnectError,
    uex.NotOpenSSLWarning: PASSES,
    uex.PoolError: ours.ConnectionError,
    uex.ProtocolError: ours.ReadError,
    uex.ProxyError: ours.ProxyError,
    uex.ProxySchemeUnknown: ours.ProxyError,
    uex.ProxySchemeUnsupported: ours.ProxyError,
    uex.ReadTimeoutError: ours.ReadTimeout,
    uex.RequestError: ours.ConnectionError,
    uex.ResponseError: ours.ReadError,
    uex.ResponseNotChunked: ours.ReadError,
    uex.SSLError: ours.ReadError,
    uex.SecurityWarning: PASSES,
    uex.SystemTimeWarning: PASSES,
    uex.TimeoutError: ours.ReadTimeout,
    uex.TimeoutStateError: ours.ConnectionError,
    uex.URLSchemeUnknown: ours.URLError,
    uex.UnrewindableBodyError: ours.RedirectError,
}

#: Where the moment changes what it means: class, phases, error.
ELSEWHERE: list[tuple[type[BaseException], tuple[Any, ...], type[ours.ConnectionError]]] = [
    (rex.InvalidHeader, (None, "queue", "connect", "tls", "send"), ours.URLError),
    (uex.InvalidHeader, (None, "queue", "connect", "tls", "send"), ours.URLError),
    (rex.SSLError, (None, "queue", "connect", "tls"), ours.TLSError),
    (uex.SSLError, (None, "queue", "connect", "tls"), ours.TLSError),
    (rex.Timeout, UNSENT, ours.ConnectTimeout),
    (rex.ReadTimeout, UNSENT, ours.ConnectTimeout),
    (uex.TimeoutError, UNSENT, ours.ConnectTimeout),
    (uex.ReadTimeoutError, UNSENT, ours.ConnectTimeout),
    (rex.ChunkedEncodingError, ("queue", "connect"), ours.ConnectError),
    (rex.ChunkedEncodingError, ("tls",), ours.TLSError),
    (uex.ProtocolError, ("queue", "connect"), ours.ConnectError),
    (uex.ProtocolError, ("tls",), ours.TLSError),
    (uex.IncompleteRead, ("queue", "connect"), ours.ConnectError),
    (uex.IncompleteRead, ("tls",), ours.TLSError),
    (uex.InvalidChunkLength, ("queue", "connect"), ours.ConnectError),
    (uex.InvalidChunkLength, ("tls",), ours.TLSError),
    (uex.ResponseError, ("queue", "connect"), ours.ConnectError),
    (uex.ResponseError, ("tls",), ours.TLSError),
    (uex.ResponseNotChunked, ("queue", "connect"), ours.ConnectError),
    (uex.ResponseNotChunked, ("tls",), ours.TLSError),
]
#: Sending the same request again could not end otherwise.
POINTLESS = (ours.URLError, ours.RedirectError, ours.DecodeError)
#: They say by themselves that nothing was sent, where nothing else is known of the moment.
UNSENT_BY_KIND = (ours.ConnectError, ours.ConnectTimeout, ours.URLError, ours.DeadlineExceeded)


def classes(module: types.ModuleType) -> set[type[BaseException]]:
    """The exceptions that a library defines, not those that it only imports from elsewhere."""
    found = {cls for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, BaseException)}
    return {cls for cls in found if cls.__module__.partition(".")[0] in ("requests", "urllib3")}


#: How to make those that are not made from a text.
ARGUMENTS: dict[type[BaseException], tuple[Any, ...]] = {
    rex.JSONDecodeError: ("canary", URL, 0),
    uex.HeaderParsingError: ([], URL),
    uex.HostChangedError: (None, URL),
    uex.IncompleteRead: (3, 5),
    uex.InvalidChunkLength: (types.SimpleNamespace(tell=lambda: 3, length_remaining=0), b"zz"),
    uex.MaxRetryError: (None, URL, None),
    uex.NameResolutionError: ("host.test", None, socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    uex.NewConnectionError: (None, URL),
    uex.ProxyError: (URL, Exception(URL)),
    uex.ReadTimeoutError: (None, URL, URL),
    uex.RequestError: (None, URL, URL),
}
POOL_ERRORS = (uex.PoolError, uex.ClosedPoolError, uex.EmptyPoolError, uex.FullPoolError)


def make(cls: type[BaseException]) -> Exception:
    """An instance that quotes the URL, as those of the libraries do."""
    arguments = ARGUMENTS.get(cls, (None, URL) if cls in POOL_ERRORS else (URL,))
    error = cls(*arguments)
    assert isinstance(error, Exception)
    return error


def wrapped(error: Exception) -> Iterator[Exception]:
    """The same as requests and urllib3 hand it on: bare, and within their own."""
    yield error
    yield rex.ConnectionError(error)
    yield rex.ConnectionError(uex.MaxRetryError(None, URL, error))  # type: ignore[arg-type]
    yield rex.ConnectionError(uex.ProtocolError("Connection aborted.", error))
    within = rex.ConnectionError(URL)
    within.__context__ = error
    yield within
    within = rex.ConnectionError(URL)
    within.__cause__ = error
    yield within


def check(error: Exception, context: ErrorContext, expected: type[ours.ConnectionError]) -> ours.ConnectionError:
    """Translate it; say what came of it, which quotes nothing and drags nothing along."""
    try:
        raise error
    except Exception as caught:
        translated = translate(caught, context)
    assert type(translated) is expected
    assert isinstance(translated, ours.ConnectionError)
    text = f"{translated} {translated!r} {translated.args}"
    assert text.count("http://host.test") == 3
    for secret in ("canary", "token", "/path", "user"):
        assert secret not in text
    assert (translated.__cause__, translated.__context__, translated.__traceback__) == (None, None, None)
    assert (translated.request, translated.response) == (None, None)
    assert not any(isinstance(argument, BaseException) for argument in translated.args)
    return translated


def test_the_table_knows_every_exception_of_both_libraries() -> None:
    """A new one must be judged: is it retried, does it count against the host, was anything sent?"""
    assert classes(rex) | classes(uex) == set(TABLE)


def test_the_rules_name_no_class_in_vain() -> None:
    """Each class of a rule is translated by it, not by one before it."""
    for kinds, maker in RULES:
        for kind in kinds:
            first = next(make for others, make in RULES if issubclass(kind, others))
            assert first is maker, kind


@pytest.mark.parametrize("cls", [cls for cls, expected in TABLE.items() if expected], ids=lambda cls: cls.__name__)
def test_every_exception_becomes_the_error_of_the_table(cls: type[BaseException]) -> None:
    expected = TABLE[cls]
    assert expected is not None
    error = check(make(cls), CONTEXT, expected)
    assert error.never_sent is issubclass(expected, ours.URLError)  # ours are found before anything is sent
    mocked = translate(make(cls), replace(CONTEXT, phase=None))
    assert isinstance(mocked, ours.ConnectionError)
    assert mocked.never_sent is isinstance(mocked, UNSENT_BY_KIND)
    assert error.retryable is not issubclass(expected, POINTLESS)
    verdict = failed(error).verdict
    if expected is ours.URLError or cls is uex.EmptyPoolError:
        assert verdict is Verdict.NEUTRAL  # ours to answer for, not the host's
    elif expected in (ours.RedirectError, ours.DecodeError):
        assert verdict is Verdict.SUCCESS  # the host did answer
    else:
        assert verdict is Verdict.FAILURE


@pytest.mark.parametrize("cls", [cls for cls, expected in TABLE.items() if not expected], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("phase", PHASES)
def test_what_is_not_about_the_exchange_passes_through(cls: type[BaseException], phase: Any) -> None:
    error = make(cls)
    assert translate(error, replace(CONTEXT, phase=phase)) is error
    assert failed(error).verdict is Verdict.NEUTRAL


@pytest.mark.parametrize(("cls", "phases", "expected"), ELSEWHERE)
def test_the_moment_decides_where_it_matters(
    cls: type[BaseException], phases: tuple[Any, ...], expected: type[ours.ConnectionError]
) -> None:
    for phase in phases:
        check(make(cls), replace(CONTEXT, phase=phase), expected)


@pytest.mark.parametrize("cls", [cls for cls, expected in TABLE.items() if expected], ids=lambda cls: cls.__name__)
def test_the_moment_does_not_matter_otherwise(cls: type[BaseException]) -> None:
    listed = {phase for other, phases, _ in ELSEWHERE if other is cls for phase in phases}
    for phase in PHASES:
        if phase not in listed:
            expected = TABLE[cls]
            assert expected is not None
            check(make(cls), replace(CONTEXT, phase=phase), expected)


@pytest.mark.parametrize("cls", [cls for cls, expected in TABLE.items() if expected], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("phase", ["send", "head", "body"])
def test_what_may_have_been_sent_is_never_called_unsent(cls: type[BaseException], phase: Any) -> None:
    """Otherwise a POST would be sent twice."""
    error = translate(make(cls), replace(CONTEXT, phase=phase))
    assert isinstance(error, ours.ConnectionError)
    assert not (error.never_sent and error.retryable)


SYSTEM = [
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connect", ours.ConnectError, True),
    (OSError(errno.EHOSTUNREACH, "No route to host"), "connect", ours.ConnectError, True),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "connect", ours.ConnectError, True),
    (OSError(errno.EMFILE, "Too many open files"), "connect", ours.ConnectError, True),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "connect", ours.ConnectError, True),
    (TimeoutError("timed out"), "connect", ours.ConnectTimeout, True),
    (TimeoutError("timed out"), "tls", ours.ConnectTimeout, True),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "tls", ours.TLSError, True),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "tls", ours.TLSError, True),
    (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "tls", ours.TLSError, True),
    (TimeoutError("timed out"), "head", ours.ReadTimeout, False),
    (TimeoutError("timed out"), "body", ours.ReadTimeout, False),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "send", ours.ReadError, False),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "head", ours.ReadError, False),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "body", ours.ReadError, False),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), "send", ours.ReadError, False),
    (ssl.SSLError(1, "[SSL: DECRYPTION_FAILED] canary"), "body", ours.ReadError, False),
    (http.client.RemoteDisconnected("Remote end closed connection"), "head", ours.ReadError, False),
    (http.client.BadStatusLine("canary"), "head", ours.ReadError, False),
    (http.client.LineTooLong("header line"), "head", ours.ReadError, False),
    (http.client.IncompleteRead(b"canary", 10), "body", ours.ReadError, False),
    (MalformedResponse("a chunk's size is above 9"), "body", ours.ReadError, False),
    (MalformedResponse("not HTTP/1"), "head", ours.ReadError, False),
]


@pytest.mark.parametrize(("cause", "phase", "expected", "unsent"), SYSTEM, ids=lambda value: str(value)[:30])
def test_what_the_system_says_comes_through_every_wrapping(
    cause: Exception, phase: Any, expected: type[ours.ConnectionError], unsent: bool
) -> None:
    context = replace(CONTEXT, phase=phase)
    for error in wrapped(cause):
        translated = check(error, context, expected)
        assert (translated.never_sent, translated.retryable) == (unsent, True)
        if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError | http.client.RemoteDisconnected):
            words = None if expected is ours.TLSError else cause.strerror
            assert (words or "") in str(translated)


@pytest.mark.parametrize("phase", ["connect", "tls"])
def test_a_certificate_is_told_from_a_broken_handshake(phase: Any) -> None:
    cause = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    cause.verify_message = "self-signed certificate"
    for error in (*wrapped(cause), rex.SSLError(uex.MaxRetryError(None, URL, uex.SSLError(cause)))):  # type: ignore[arg-type]
        translated = check(error, replace(CONTEXT, phase=phase), ours.TLSError)
        assert (translated.retryable, translated.never_sent) == (False, True)
        assert str(translated).endswith("was not accepted: self-signed certificate")


def of_openssl(code: str) -> ssl.SSLError:
    """As the ssl module makes it, with a text that nobody quotes."""
    error = ssl.SSLError(1, f"[SSL: {code}] canary (_ssl.c:1)")
    error.reason = code
    return error


@pytest.mark.skipif(not hasattr(_ssl, "err_codes_to_names"), reason="Python 3.12 and later hide the table of codes")
def test_the_codes_that_have_words_here_are_openssls() -> None:
    """One that is misspelt would never be found."""
    known = set(_ssl.err_codes_to_names.values())
    assert {*_WORDS, *_CLIENT_CERTIFICATE} <= known


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("WRONG_VERSION_NUMBER", "the server does not speak TLS on this port (http?) (WRONG_VERSION_NUMBER)"),
        ("TLSV1_ALERT_DECODE_ERROR", "the server sent the alert 'decode error' (TLSV1_ALERT_DECODE_ERROR)"),
        ("BAD_ECPOINT", "bad ecpoint (BAD_ECPOINT)"),
        ("canary http://user:canary@host/", "broken off"),
        ("", "broken off"),
        (None, "broken off"),
    ],
)
def test_a_handshake_says_why_it_failed_through_every_wrapping(code: Any, words: str) -> None:
    cause = of_openssl(code)
    for error in (*wrapped(cause), rex.SSLError(uex.MaxRetryError(None, URL, uex.SSLError(cause)))):  # type: ignore[arg-type]
        translated = check(error, replace(CONTEXT, phase="tls"), ours.TLSError)
        assert str(translated) == f"http://host.test: the TLS handshake failed: {words}"
        assert (translated.never_sent, translated.retryable) == (True, True)
        broken = check(error, replace(CONTEXT, phase="body"), ours.ReadError)
        assert str(broken).endswith("the response broke off" if words == "broken off" else f"TLS broke off: {words}")


@pytest.mark.parametrize("code", _CLIENT_CERTIFICATE)
def test_an_alert_about_the_client_certificate_is_a_tls_error_also_in_place_of_a_response(code: str) -> None:
    """What is sent on a new socket is not read before the certificate is accepted; on an older one it may be."""
    for phase, first, unsent in (
        ("tls", True, True),
        ("send", True, True),
        ("head", True, True),
        ("head", False, False),
    ):
        for error in wrapped(of_openssl(code)):
            translated = check(error, replace(CONTEXT, phase=phase, first=first), ours.TLSError)
            assert "the server did not accept the client certificate (cert=): " in str(translated)
            assert (translated.never_sent, translated.retryable) == (unsent, False)
    check(of_openssl(code), replace(CONTEXT, phase="body", first=True), ours.ReadError)


AT_PROXY = replace(CONTEXT, phase="tls", proxy="proxy.test:3128", at_proxy=True)


@pytest.mark.parametrize("cls", [cls for cls, expected in TABLE.items() if expected], ids=lambda cls: cls.__name__)
def test_whatever_happens_at_the_proxy_is_a_proxy_error_that_names_it(cls: type[BaseException]) -> None:
    for phase in ("connect", "tls"):
        error = check(make(cls), replace(AT_PROXY, phase=phase), ours.ProxyError)
        assert "the proxy proxy.test:3128" in str(error)
        assert error.never_sent


def test_a_machine_that_is_out_of_sockets_blames_no_proxy() -> None:
    for error in wrapped(OSError(errno.EMFILE, "Too many open files")):
        translated = check(error, replace(AT_PROXY, phase="connect"), ours.ProxyError)
        assert translated.local
        assert failed(translated).verdict is Verdict.NEUTRAL


def test_the_deadline_says_where_it_ran_out() -> None:
    error = check(TimeoutError("timed out"), replace(AT_PROXY, deadline_hit=True), ours.DeadlineExceeded)
    assert str(error).endswith("during the TLS handshake, at the proxy proxy.test:3128")


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase is not None])
@pytest.mark.parametrize("limit", ["attempt", "total"])
def test_a_timeout_that_the_deadline_cut_is_the_deadlines(phase: Any, limit: Any) -> None:
    context = replace(CONTEXT, deadline_hit=True, phase=phase, limit=limit)
    for cause in (TimeoutError("timed out"), make(uex.ReadTimeoutError), make(uex.EmptyPoolError)):
        for error in wrapped(cause):
            translated = check(error, context, ours.DeadlineExceeded)
            assert isinstance(translated, ours.DeadlineExceeded)
            assert (translated.limit, translated.phase) == (limit, phase)
            assert translated.never_sent is (phase in UNSENT)
    assert type(translate(make(uex.ProtocolError), replace(context, phase="head"))) is ours.ReadError


@pytest.mark.parametrize("cls", [uex.NewConnectionError, uex.NameResolutionError])
def test_a_refused_connection_and_an_unknown_name_are_no_timeout_where_the_deadline_is_the_limit(cls: Any) -> None:
    """urllib3 derives both from its timeout; `connect` equal to `attempt` made a DeadlineExceeded of them."""
    for error in wrapped(make(cls)):
        check(error, replace(CONTEXT, deadline_hit=True, phase="connect"), ours.ConnectError)


def test_a_timeout_that_a_mock_raises_is_no_deadline_of_ours() -> None:
    """It never came to a pool of ours, so it says nothing about how far the request got: a POST is not sent again."""
    for cut in (True, False):
        translated = check(rex.ReadTimeout("mocked"), replace(CONTEXT, deadline_hit=cut, phase=None), ours.ReadTimeout)
        assert not translated.never_sent


@pytest.mark.parametrize("error", [KeyError("canary"), ZeroDivisionError(), RuntimeError("x"), ValueError("x")])
def test_an_exception_of_the_callers_own_passes_through(error: Exception) -> None:
    assert translate(error, CONTEXT) is error
    assert failed(error).verdict is Verdict.NEUTRAL


def test_an_error_of_ours_is_found_under_the_wrapping() -> None:
    error = ours.RedirectError("no")
    for outer in wrapped(error):
        assert translate(outer, CONTEXT) is error


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = rex.ConnectionError(URL), rex.ConnectionError(URL)
    first.__context__, second.__context__ = second, first
    check(first, CONTEXT, ours.ConnectionError)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ECONNRESET, "canary http://user:canary@host/?token=canary"),
        OSError(errno.ECONNRESET, "\x1b[2J" + "canary" * 20_000),
        OSError("canary", "canary"),
        OSError(2**80, "canary"),
        OSError(-1, "canary"),
        socket.gaierror(socket.EAI_NONAME, "canary http://user:canary@host/"),
        socket.gaierror(socket.EAI_NONAME, "\x1b[2J canary"),
    ],
    ids=lambda error: ascii(error)[:40],
)
@pytest.mark.parametrize("phase", ["connect", "tls", "send", "head", "body"])
def test_only_the_systems_own_words_are_quoted(error: OSError, phase: Any) -> None:
    """A library may put anything into `strerror`, such as the URL with its query."""
    for one in wrapped(error):
        text = str(translate(one, replace(CONTEXT, phase=phase)))
        assert "canary" not in text
        assert text.isprintable()
        if error.errno == errno.ECONNRESET and phase != "tls":
            assert f"Connection reset by peer (errno {errno.ECONNRESET})" in text
