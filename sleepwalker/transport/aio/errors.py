"""Translates aiohttp's errors into ours, with the rules and texts used for requests."""

from __future__ import annotations

import aiohttp
from aiohttp import http_exceptions

from sleepwalker.transport import errors
from sleepwalker.transport.error_context import ErrorContext, Table

__all__ = ["ErrorContext", "translate"]

#: Raised where a socket was to be opened, so before anything was sent.
_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)

AIOHTTP = Table(
    (aiohttp.ClientError, http_exceptions.HttpProcessingError, *errors.OF_REQUESTS.exchange),
    (
        (
            (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
            errors.of_proxy,
        ),
        ((aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch), errors.of_certificate),
        ((aiohttp.ClientConnectorDNSError,), errors.of_name),
        ((aiohttp.ClientSSLError,), errors.of_tls),
        ((aiohttp.ConnectionTimeoutError,), errors.of_connect_timeout),
        ((aiohttp.TooManyRedirects, aiohttp.RedirectClientError), errors.of_redirect),
        ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), errors.of_url),
        ((http_exceptions.ContentEncodingError, http_exceptions.DecompressSizeError), errors.of_decode),
        *errors.OF_REQUESTS.rules,
        # After those of the system's errors that they were raised from, which say more.
        ((aiohttp.ClientError, http_exceptions.HttpProcessingError), errors.of_os_error),
    ),
)


def translate(error: Exception, context: ErrorContext) -> Exception:
    """The error to raise for `error`; one that is not about the exchange is returned unchanged."""
    if isinstance(error, _CONNECTING):
        if context.phase not in ("queue", "connect", "tls"):  # of a session with a connector that is not ours
            context.phase = "tls" if isinstance(error, aiohttp.ClientSSLError) else "connect"
        if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
            context.at_proxy = True
    return errors.translate(error, context, AIOHTTP)
