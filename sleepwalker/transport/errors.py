"""Translates the errors of requests, urllib3, ssl and sockets, each into one clear error.

The texts are made here, from the origin and the system's text for an error number: those of requests and urllib3 quote
the URL with its query. For the same reason the errors made here have no cause or context.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator

import requests.exceptions as rex
import urllib3.exceptions as uex
from urllib3.util.ssl_match_hostname import CertificateError

from sleepwalker import exceptions as ours
from sleepwalker.transport.error_context import DOING, ErrorContext, Maker, Phase, Table
from sleepwalker.transport.framing import MalformedResponse
from sleepwalker.transport.resolver import NoThreadLeft
from sleepwalker.transport.tls_reasons import client_certificate_words, tls_code, tls_words

#: This machine is out of descriptors, ports, buffers, memory or threads.
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})
_ONCE_SENDING = ("send", "head", "body")


#: http.client's text for a proxy's response to CONNECT.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b").match
#: PySocks' text for a proxy's refusal; its words are from a table of its own.
_SOCKS_REPLY = re.compile(r"0x[0-9A-Fa-f]{2}: ([A-Za-z ]{1,60})$").match


def translate(error: Exception, context: ErrorContext, table: Table | None = None) -> Exception:
    """The error to raise instead of `error`; one that is not about the exchange is returned unchanged.

    `table` is that of requests by default.
    """
    chain = list(_chain(error, context))
    translated = _translated(error, chain, context, OF_REQUESTS if table is None else table)
    if isinstance(translated, ours.SleepwalkerException):
        for link in chain:
            # Their frames refer to our objects, which refer to the error; urllib3's errors refer to themselves. All of
            # it, with the sockets, would stay until the garbage collector runs.
            link.__traceback__ = None
    return translated


def casts_doubt(error: Exception | None, phase: Phase | None) -> bool:
    """Whether an error on a reused socket casts doubt on sockets that had been idle as long.

    A timeout in the body means a slow server: the socket was not dead when it was taken, as its head arrived.
    """
    slow = isinstance(error, ours.ReadTimeout | ours.DeadlineExceeded)
    return isinstance(error, ours.ReadError) or (slow and phase != "body")


def _translated(error: Exception, chain: list[BaseException], context: ErrorContext, table: Table) -> Exception:
    for link in chain:
        if isinstance(link, ours.SleepwalkerException):
            return link
    if context.deadline_hit and context.phase is not None and any(_is_timeout(link) for link in chain):
        return _deadline(error, context)
    if isinstance(error, _FOREIGN) or not isinstance(error, table.exchange):
        return error
    if context.at_proxy:
        return of_proxy(error, context)
    for kinds, make in table.rules:
        if make is of_proxy and context.proxy is not None:
            continue  # urllib3 takes any broken connection for one that the proxy refused
        for link in chain:
            if isinstance(link, kinds):
                made = make(link, context)
                if made.retryable and context.phase in _ONCE_SENDING:
                    made.never_sent = False  # our request was sent; the error may be of a hook's own request
                return made
    return _broken(error, context)


def _chain(error: BaseException, context: ErrorContext) -> Iterator[BaseException]:
    """The error and all that it wraps, as cause, context, reason or argument."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        link = todo.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        todo += [getattr(link, "reason", None), *link.args, link.__cause__]
        if link.__context__ is not context.handled:
            todo.append(link.__context__)


def _is_timeout(error: BaseException) -> bool:
    """Whether time ran out. (urllib3 derives its errors for refused connections and unknown names from a timeout.)"""
    return isinstance(error, _TIMEOUTS) and not isinstance(error, uex.NewConnectionError)


def _made(error: ours.ConnectionError, *, never_sent: bool, retryable: bool = True) -> ours.ConnectionError:
    error.never_sent = never_sent
    error.retryable = retryable
    return error


def _deadline(_: BaseException, context: ErrorContext) -> ours.ConnectionError:
    phase: Phase = context.phase or "head"
    text = f"{context.origin}: the {context.limit} deadline ran out after {context.seconds:.3g} s, {DOING[phase]}"
    text += f", at {_name_of_proxy(context)}" if context.at_proxy else _way(context)
    return _made(ours.DeadlineExceeded(text, limit=context.limit, phase=phase), never_sent=context.unsent)


def of_certificate(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a server's certificate that is not accepted."""
    text = f"{context.origin}: the server's certificate was not accepted: {_verify_words(error, context)}"
    return _made(ours.TLSError(text), never_sent=True, retryable=False)


def _verify_words(error: BaseException, context: ErrorContext) -> str:
    said = (getattr(link, "verify_message", None) for link in _chain(error, context))
    words = next(filter(None, said), "it does not match the host")
    return f"{words} (name the authority that signed it by verify=)" if "issuer" in words else words


def of_proxy(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a proxy that cannot be reached, or refuses."""
    chain = list(_chain(error, context))
    proxy, retryable = _name_of_proxy(context), True
    certificate = next((link for link in chain if isinstance(link, _CERTIFICATE)), None)
    status = next((said for link in chain if (said := _tunnel_status(link))), None)
    why = next((words for link in chain if (words := _system_words(link))), None)
    if certificate is not None:
        text, retryable = f"the certificate of {proxy} was not accepted: {_verify_words(certificate, context)}", False
    elif status is not None:
        advice = ": its URL in proxies= needs the right user and password" if status == "407" else ""
        text, retryable = f"{proxy} answered {status} to CONNECT{advice}", not status.startswith("4")
    elif (reply := next((match[1] for link in chain if (match := _SOCKS_REPLY(str(link)))), None)) is not None:
        text = f"{proxy} could not connect to the server: {reply}"
    elif any(isinstance(link, uex.NameResolutionError | socket.gaierror) for link in chain):
        text = f"the name of {proxy} does not resolve: {why or 'unknown'}"
    elif why is not None:
        text = f"{proxy} failed: {why}"
    elif (code := tls_code(chain)) is not None:
        text = f"the TLS handshake with {proxy} failed: {tls_words(code, peer='it')}"
    elif any(map(_is_timeout, chain)):
        text = f"{proxy} did not respond within {context.connect:.3g} s (timeout.connect)"
    else:
        text = f"{proxy} refused or closed the connection, or is not a proxy"
    made = _made(ours.ProxyError(f"{context.origin}: {text}"), never_sent=context.unsent, retryable=retryable)
    made.local = any(map(_is_local, chain))
    return made


def _tunnel_status(error: BaseException) -> str | None:
    """The status with which a proxy answered CONNECT, from http.client's text or aiohttp's error; else None."""
    if (match := _TUNNEL(str(error))) is not None:
        return match[1]
    status = getattr(error, "status", None)
    return str(status) if isinstance(status, int) and 100 <= status <= 999 else None


def _name_of_proxy(context: ErrorContext) -> str:
    return "the proxy" if context.proxy is None else f"the proxy {context.proxy}"


def of_name(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a name that does not resolve."""
    why = next((words for link in _chain(error, context) if (words := _system_words(link))), "unknown")
    return _made(ours.ConnectError(f"{context.origin}: the name does not resolve: {why}"), never_sent=True)


def of_connect(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a connection that cannot be made."""
    why = next((words for link in _chain(error, context) if (words := _system_words(link))), "no connection")
    made = _made(ours.ConnectError(f"{context.origin}: {why}"), never_sent=True)
    made.local = any(map(_is_local, _chain(error, context)))
    return made


def _is_local(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _LOCAL


def of_connect_timeout(_: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a connection that takes too long."""
    what = "TLS handshake" if context.phase == "tls" else "connection"
    text = f"{context.origin}: no {what} within {context.connect:.3g} s (timeout.connect){_way(context)}"
    return _made(ours.ConnectTimeout(text), never_sent=True)


def _pool_empty(_: BaseException, context: ErrorContext) -> ours.ConnectionError:
    text = f"{context.origin}: no connection became free (pool.size, pool.block)"
    return _made(ours.DeadlineExceeded(text, limit=context.limit, phase="queue"), never_sent=True)


def of_tls(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a TLS handshake that fails."""
    chain = list(_chain(error, context))
    code = tls_code(chain)
    words = client_certificate_words(code)
    late = context.phase in _ONCE_SENDING
    if words is not None and context.phase != "body":
        # With TLS 1.3 a server checks the client's certificate after the client has sent its request, but before it
        # reads that. On a reused socket it may have read the request.
        unsent = context.first if late else context.unsent
        return _made(ours.TLSError(f"{context.origin}: {words}"), never_sent=unsent, retryable=False)
    if late:
        return of_read(error, context)
    why = tls_words(code) if code is not None else next(filter(None, map(_system_words, chain)), "broken off")
    text = f"{context.origin}: the TLS handshake failed: {why}{_way(context)}"
    return _made(ours.TLSError(text), never_sent=context.unsent)


def of_read_timeout(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a response of which nothing arrives in time."""
    if context.unsent:
        return of_connect_timeout(error, context)
    text = f"{context.origin}: nothing arrived for {context.read:.3g} s (timeout.read){_way(context)}"
    return _made(ours.ReadTimeout(text), never_sent=False)


def of_decode(_: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a body that is not encoded as it says."""
    text = f"{context.origin}: the body is not what its Content-Encoding says"
    return _made(ours.DecodeError(text), never_sent=False, retryable=False)


def _header(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    return (
        of_read(error, context) if context.phase in ("head", "body") else of_url(error, context)
    )  # the server's, or ours


def of_url(_: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a request that cannot be sent."""
    text = f"{context.origin}: requests does not accept this URL, header or proxy setting"
    return _made(ours.URLError(text), never_sent=True, retryable=False)


def of_redirect(_: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a redirect that cannot be followed."""
    text = f"{context.origin}: a redirect that cannot be followed"
    return _made(ours.RedirectError(text), never_sent=False, retryable=False)


def of_read(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a response that breaks off, or cannot be read."""
    chain = list(_chain(error, context))
    why = next((words for link in chain if (words := _words_of_ours(link) or _system_words(link))), None)
    if why is None and (code := tls_code(chain)) is not None:
        why = f"TLS broke off: {tls_words(code)}"
    elif why is None:
        why = "the response broke off" if context.phase == "body" else "closed without a whole response, or not HTTP"
    return _made(ours.ReadError(f"{context.origin}: {why}{_way(context)}"), never_sent=False)


def _way(context: ErrorContext) -> str:
    return "" if context.proxy is None else f" (through the proxy {context.proxy})"


def _words_of_ours(error: BaseException) -> str | None:
    """The text of an error that our own reading of the response raised."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "closed without a response"
    return str(error) if isinstance(error, MalformedResponse) else None


def _broken(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    if any(_system_words(link) for link in _chain(error, context)):
        return of_os_error(error, context)
    return _made(ours.ConnectionError(f"{context.origin}: the exchange failed"), never_sent=False)


def of_os_error(error: BaseException, context: ErrorContext) -> ours.ConnectionError:
    """For a connection that broke: the phase decides which error that is."""
    if context.phase == "tls":
        return of_tls(error, context)
    return of_connect(error, context) if context.unsent else of_read(error, context)


def _system_words(error: BaseException) -> str | None:
    """The system's text for an error number. The error's own text may quote anything."""
    if isinstance(error, rex.RequestException | ssl.SSLError) or not isinstance(error, OSError):
        return None
    if isinstance(error, socket.gaierror):
        return error.strerror if error.strerror and _PLAIN_WORDS(error.strerror) else None
    if isinstance(error.errno, int) and error.errno > 0 and error.strerror:  # a resolver's numbers are below 0
        with contextlib.suppress(OverflowError, ValueError):
            words = error.strerror if isinstance(error, NoThreadLeft) else os.strerror(error.errno)
            return f"{words} (errno {error.errno})"
    return None


#: What a resolver's error text looks like.
_PLAIN_WORDS = re.compile(r"[A-Za-z ,'.-]{1,100}").fullmatch
_TIMEOUTS = (TimeoutError, uex.TimeoutError, uex.EmptyPoolError)
#: Raised by response hooks or readers of streams themselves, and warnings: not translated.
_FOREIGN = (rex.HTTPError, rex.InvalidJSONError, rex.StreamConsumedError, Warning)
_CERTIFICATE = (ssl.SSLCertVerificationError, ssl.CertificateError, CertificateError)
_EXCHANGE = (rex.RequestException, uex.HTTPError, uex.ProxySchemeUnsupported, OSError, http.client.HTTPException)

RULES: tuple[tuple[tuple[type[BaseException], ...], Maker], ...] = (
    (_CERTIFICATE, of_certificate),
    ((uex.ProxyError, rex.ProxyError, uex.ProxySchemeUnknown, uex.ProxySchemeUnsupported), of_proxy),
    ((uex.NameResolutionError, socket.gaierror), of_name),
    ((uex.NewConnectionError,), of_connect),
    ((uex.ConnectTimeoutError, rex.ConnectTimeout), of_connect_timeout),
    ((uex.EmptyPoolError,), _pool_empty),
    ((uex.ReadTimeoutError, rex.ReadTimeout, uex.TimeoutError, rex.Timeout, TimeoutError), of_read_timeout),
    ((ssl.SSLError, uex.SSLError, rex.SSLError), of_tls),
    ((rex.ContentDecodingError, uex.DecodeError), of_decode),
    ((rex.TooManyRedirects, rex.UnrewindableBodyError, uex.UnrewindableBodyError), of_redirect),
    (
        (
            rex.InvalidURL,
            rex.InvalidProxyURL,
            rex.InvalidSchema,
            rex.MissingSchema,
            rex.URLRequired,
            uex.LocationValueError,
        ),
        of_url,
    ),
    ((rex.InvalidHeader, uex.InvalidHeader), _header),
    ((uex.ProtocolError, uex.ResponseError, rex.ChunkedEncodingError, http.client.HTTPException), of_os_error),
    ((rex.RetryError,), of_read),
    ((rex.ConnectionError, uex.HTTPError, rex.RequestException), _broken),
    ((OSError,), of_os_error),
)

OF_REQUESTS = Table(_EXCHANGE, RULES)
