"""What requests, urllib3, ssl and the socket raise, as one clear error each.

The texts are made here, from the origin and the system's own words for an error number: requests' and
urllib3's quote the URL with its query. For the same reason nothing raised from here has a cause or context.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import requests.exceptions as rex
import urllib3.exceptions as uex
from urllib3.util.ssl_match_hostname import CertificateError

from sleepwalker import exceptions as ours
from sleepwalker.frozen import frozen
from sleepwalker.transport.deadline import NoThread, Phase

#: This machine is out of descriptors, ports, buffers, memory or threads.
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})
_BEFORE_SENDING = ("queue", "connect", "tls")
_ONCE_SENDING = ("send", "head", "body")


@frozen
class Scene:
    """Where and when it happened."""

    origin: str
    phase: Phase | None
    """None where the request went through an adapter that is not ours."""
    cut: bool
    limit: Any
    """Which deadline the attempt had: attempt or total."""
    seconds: float
    """How long that deadline is."""
    connect: float
    read: float
    handled: BaseException | None = None
    """What the caller was handling when it began, as a fallback does. Python makes that the context of all that goes
    wrong meanwhile, and it is no part of it."""

    @property
    def unsent(self) -> bool:
        """Whether the request provably did not leave."""
        return self.phase in _BEFORE_SENDING


#: How http.client says what a proxy answered to CONNECT.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b").match

Maker = Callable[[BaseException, Scene], ours.ConnectionError]


def translate(error: Exception, scene: Scene) -> Exception:
    """The error to raise for what was raised; one that is not about the exchange is returned as it is."""
    chain = list(_chain(error, scene))
    translated = _translated(error, chain, scene)
    if translated is not error:
        for link in chain:
            # Nobody will see these again, but urllib3's hold themselves, and by their frames all that we hold.
            link.__traceback__ = None
    return translated


def _translated(error: Exception, chain: list[BaseException], scene: Scene) -> Exception:
    for link in chain:
        if isinstance(link, ours.SleepwalkerException):
            return link
    if scene.cut and scene.phase is not None and any(_is_timeout(link) for link in chain):
        return _deadline(error, scene)
    if scene.phase == "body" and type(error) is ValueError:
        return _read(error, scene)  # of urllib3, over a chunk of a negative size
    if isinstance(error, _FOREIGN) or not isinstance(error, _EXCHANGE):
        return error
    for kinds, make in RULES:
        for link in chain:
            if isinstance(link, kinds):
                made = make(link, scene)
                if made.retryable and scene.phase in _ONCE_SENDING:
                    made.never_sent = False  # a hook's own request was refused, say; ours had left
                return made
    return _broken(error, scene)


def _chain(error: BaseException, scene: Scene) -> Iterator[BaseException]:
    """The error and all that it wraps: as its cause, its context, its reason or an argument."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        link = todo.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        todo += [getattr(link, "reason", None), *link.args, link.__cause__]
        if link.__context__ is not scene.handled:
            todo.append(link.__context__)


def _is_timeout(error: BaseException) -> bool:
    """Whether time ran out; urllib3 derives a refused connection and an unknown name from its timeout."""
    return isinstance(error, _TIMEOUTS) and not isinstance(error, uex.NewConnectionError)


def _made(error: ours.ConnectionError, *, never_sent: bool, retryable: bool = True) -> ours.ConnectionError:
    error.never_sent = never_sent
    error.retryable = retryable
    return error


def _deadline(_: BaseException, scene: Scene) -> ours.ConnectionError:
    phase = scene.phase or "head"
    text = f"{scene.origin}: the {scene.limit} deadline ran out after {scene.seconds:.3g} s, during {phase}"
    return _made(ours.DeadlineExceeded(text, limit=scene.limit, phase=phase), never_sent=scene.unsent)


def _certificate(error: BaseException, scene: Scene) -> ours.ConnectionError:
    why = getattr(error, "verify_message", None) or "it does not fit the host"
    text = f"{scene.origin}: the server's certificate was not accepted: {why}"
    return _made(ours.TLSError(text), never_sent=True, retryable=False)


def _proxy(error: BaseException, scene: Scene) -> ours.ConnectionError:
    chain = list(_chain(error, scene))
    status = next((match[1] for link in chain if (match := _TUNNEL(str(link)))), None)
    if status is not None:
        advice = ": put user and password into its URL in proxies=" if status == "407" else ""
        text = f"{scene.origin}: the proxy answered {status} to CONNECT{advice}"
        return _made(ours.ProxyError(text), never_sent=scene.unsent, retryable=not status.startswith("4"))
    why = next((words for link in chain if (words := _system_words(link))), "it refused or broke off")
    return _made(ours.ProxyError(f"{scene.origin}: the proxy failed: {why}"), never_sent=scene.unsent)


def _name(error: BaseException, scene: Scene) -> ours.ConnectionError:
    why = next((words for link in _chain(error, scene) if (words := _system_words(link))), "unknown")
    return _made(ours.ConnectError(f"{scene.origin}: the name does not resolve: {why}"), never_sent=True)


def _connect(error: BaseException, scene: Scene) -> ours.ConnectionError:
    why = next((words for link in _chain(error, scene) if (words := _system_words(link))), "no connection")
    made = _made(ours.ConnectError(f"{scene.origin}: {why}"), never_sent=True)
    made.local = any(isinstance(link, OSError) and link.errno in _LOCAL for link in _chain(error, scene))
    return made


def _connect_timeout(_: BaseException, scene: Scene) -> ours.ConnectionError:
    text = f"{scene.origin}: no connection within {scene.connect:.3g} s (timeout.connect)"
    return _made(ours.ConnectTimeout(text), never_sent=True)


def _pool_empty(_: BaseException, scene: Scene) -> ours.ConnectionError:
    text = f"{scene.origin}: no connection became free (pool.size, pool.block)"
    return _made(ours.DeadlineExceeded(text, limit=scene.limit, phase="queue"), never_sent=True)


def _tls(error: BaseException, scene: Scene) -> ours.ConnectionError:
    if scene.phase in ("send", "head", "body"):
        return _read(error, scene)
    why = (getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None) or "broken off"
    return _made(ours.TLSError(f"{scene.origin}: the TLS handshake failed: {why}"), never_sent=scene.unsent)


def _read_timeout(error: BaseException, scene: Scene) -> ours.ConnectionError:
    if scene.unsent:
        return _connect_timeout(error, scene)
    text = f"{scene.origin}: nothing arrived for {scene.read:.3g} s (timeout.read)"
    return _made(ours.ReadTimeout(text), never_sent=False)


def _decode(_: BaseException, scene: Scene) -> ours.ConnectionError:
    text = f"{scene.origin}: the body is not what its Content-Encoding says"
    return _made(ours.DecodeError(text), never_sent=False, retryable=False)


def _header(error: BaseException, scene: Scene) -> ours.ConnectionError:
    return _read(error, scene) if scene.phase in ("head", "body") else _url(error, scene)  # the server's, or ours


def _url(_: BaseException, scene: Scene) -> ours.ConnectionError:
    text = f"{scene.origin}: requests does not take this URL, header or proxy setting"
    return _made(ours.URLError(text), never_sent=True, retryable=False)


def _redirect(_: BaseException, scene: Scene) -> ours.ConnectionError:
    text = f"{scene.origin}: a redirect that cannot be followed"
    return _made(ours.RedirectError(text), never_sent=False, retryable=False)


def _read(error: BaseException, scene: Scene) -> ours.ConnectionError:
    why = next((words for link in _chain(error, scene) if (words := _system_words(link))), None)
    if why is None:
        why = "the answer broke off" if scene.phase == "body" else "closed without a whole answer, or it was not HTTP"
    return _made(ours.ReadError(f"{scene.origin}: {why}"), never_sent=False)


def _broken(error: BaseException, scene: Scene) -> ours.ConnectionError:
    if any(_system_words(link) for link in _chain(error, scene)):
        return _os_error(error, scene)
    return _made(ours.ConnectionError(f"{scene.origin}: the exchange failed"), never_sent=False)


def _os_error(error: BaseException, scene: Scene) -> ours.ConnectionError:
    if scene.phase == "tls":
        return _tls(error, scene)
    return _connect(error, scene) if scene.unsent else _read(error, scene)


def _system_words(error: BaseException) -> str | None:
    """The system's text for an error number: not the error's own, in which a library may quote anything."""
    if isinstance(error, rex.RequestException | ssl.SSLError) or not isinstance(error, OSError):
        return None
    if isinstance(error, socket.gaierror):
        return error.strerror if error.strerror and _PLAIN_WORDS(error.strerror) else None
    if isinstance(error.errno, int) and error.strerror:
        with contextlib.suppress(OverflowError, ValueError):
            words = error.strerror if isinstance(error, NoThread) else os.strerror(error.errno)
            return f"{words} (errno {error.errno})"
    return None


#: How a resolver's library words its errors.
_PLAIN_WORDS = re.compile(r"[A-Za-z ,'.-]{1,100}").fullmatch
_TIMEOUTS = (TimeoutError, uex.TimeoutError, uex.EmptyPoolError)
#: What a response hook, or the reader of a stream, did by itself, and warnings: not ours to translate.
_FOREIGN = (rex.HTTPError, rex.InvalidJSONError, rex.StreamConsumedError, Warning)
_EXCHANGE = (rex.RequestException, uex.HTTPError, uex.ProxySchemeUnsupported, OSError, http.client.HTTPException)

#: The first rule that fits any link of the chain makes the error; so what says most comes first.
RULES: tuple[tuple[tuple[type[BaseException], ...], Maker], ...] = (
    ((ssl.SSLCertVerificationError, ssl.CertificateError, CertificateError), _certificate),
    ((uex.ProxyError, rex.ProxyError, uex.ProxySchemeUnknown, uex.ProxySchemeUnsupported), _proxy),
    ((uex.NameResolutionError, socket.gaierror), _name),
    ((uex.NewConnectionError,), _connect),
    ((uex.ConnectTimeoutError, rex.ConnectTimeout), _connect_timeout),
    ((uex.EmptyPoolError,), _pool_empty),
    ((uex.ReadTimeoutError, rex.ReadTimeout, uex.TimeoutError, rex.Timeout, TimeoutError), _read_timeout),
    ((ssl.SSLError, uex.SSLError, rex.SSLError), _tls),
    ((rex.ContentDecodingError, uex.DecodeError), _decode),
    ((rex.TooManyRedirects, rex.UnrewindableBodyError, uex.UnrewindableBodyError), _redirect),
    (
        (
            rex.InvalidURL,
            rex.InvalidProxyURL,
            rex.InvalidSchema,
            rex.MissingSchema,
            rex.URLRequired,
            uex.LocationValueError,
        ),
        _url,
    ),
    ((rex.InvalidHeader, uex.InvalidHeader), _header),
    ((uex.ProtocolError, uex.ResponseError, rex.ChunkedEncodingError, http.client.HTTPException), _os_error),
    ((rex.RetryError,), _read),
    ((rex.ConnectionError, uex.HTTPError, rex.RequestException), _broken),
    ((OSError,), _os_error),
)
