"""Why TLS failed, in words made here: OpenSSL's code is quoted, its text is not."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable

#: OpenSSL's code, and what it means for the client.
_WORDS = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port (http?)",
    "UNEXPECTED_EOF_WHILE_READING": "the server hung up",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server speaks no TLS version that is allowed here",
    "UNSUPPORTED_PROTOCOL": "the server speaks no TLS version that is allowed here",
    "NO_PROTOCOLS_AVAILABLE": "the SSLContext allows no TLS version",
    "NO_CIPHERS_AVAILABLE": "the SSLContext allows no cipher",
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know this host name",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server accepts none of the ciphers, or asks for a client certificate (cert=)",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "the server asks for stronger ciphers",
    "TLSV1_ALERT_INTERNAL_ERROR": "the server reports an error of its own",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "the server needs an unsafe form of TLS renegotiation",
    "DH_KEY_TOO_SMALL": "the server's key exchange is too weak",
    "EE_KEY_TOO_SMALL": "the key of the server's certificate is too weak",
}
#: Alerts about the certificate that the client showed, or did not show.
_CLIENT_CERTIFICATE = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires one, and none was sent",
    "SSLV3_ALERT_NO_CERTIFICATE": "it requires one, and none was sent",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority that signed it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it was revoked",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is of a kind that the server does not support",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is not valid",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it gives no reason",
    "TLSV1_ALERT_ACCESS_DENIED": "its owner has no access",
}
_is_code = re.compile(r"[A-Z][A-Z0-9_]{2,60}").fullmatch


def tls_code(chain: Iterable[BaseException]) -> str | None:
    """OpenSSL's code for what went wrong, from the first error that has one."""
    for link in chain:
        code = getattr(link, "reason", None) if isinstance(link, ssl.SSLError) else None
        if isinstance(code, str) and _is_code(code):
            return code
    return None


def tls_words(code: str, peer: str = "the server") -> str:
    """What a code means, with the code in brackets; `peer` is the other side."""
    if code in _WORDS:
        words = _WORDS[code].replace("the server", peer)
    elif "_ALERT_" in code:
        words = f"{peer} sent the alert {_spelled(code.partition('_ALERT_')[2])!r}"
    else:
        words = _spelled(code)
    return f"{words} ({code})"


def client_certificate_words(code: str | None) -> str | None:
    """Why a server did not accept the client's certificate; None if the code is about something else."""
    if code not in _CLIENT_CERTIFICATE:
        return None
    return f"the server did not accept the client certificate (cert=): {_CLIENT_CERTIFICATE[code]} ({code})"


def _spelled(code: str) -> str:
    return code.replace("_", " ").lower()
