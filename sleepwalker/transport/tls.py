"""TLS as `verify=` and `cert=` ask for it, worked out once per connection; never below TLS 1.2."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from sleepwalker.files import open_regular

__all__ = ["environment_ca", "shared_context", "ssl_context"]


def ssl_context(verify: Any = True, cert: Any = None) -> ssl.SSLContext:
    """The context for a connection's sockets.

    `verify` is True (the CA bundle that requests uses), False (neither the certificate nor the host name is
    checked), the path of a CA bundle (a PEM file, or a directory as `openssl rehash` leaves it), or an
    `ssl.SSLContext`, which is used as it is. `cert` is the path of a client certificate with its key, or a
    pair of paths (certificate, key).

    Raises `ValueError` naming the parameter and the path, before anything connects.
    """
    if isinstance(verify, ssl.SSLContext):
        if cert is not None:
            raise ValueError("cert cannot be combined with verify=SSLContext: load it there (load_cert_chain)")
        return verify
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify is True:
        context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    else:
        _load_ca(context, verify)
    if cert is not None:
        _load_cert(context, cert)
    return context


def shared_context(verify: Any = True, cert: Any = None) -> ssl.SSLContext:
    """`ssl_context`, one for all connections with equal settings: each holds a whole CA bundle.

    A file that was replaced since is another setting.
    """
    if isinstance(verify, ssl.SSLContext):
        return ssl_context(verify, cert)
    certs = cert if isinstance(cert, tuple | list) else (cert,)
    try:
        stamps = tuple(
            Path(path).stat().st_mtime_ns for path in (verify, *certs) if isinstance(path, str | os.PathLike)
        )
        settings = (verify, tuple(cert) if isinstance(cert, list) else cert, stamps)
        hash(settings)
    except (OSError, TypeError, ValueError):
        return ssl_context(verify, cert)  # which says what is wrong
    return _shared(*settings)


@functools.lru_cache(maxsize=64, typed=True)
def _shared(verify: Any, cert: Any, stamps: tuple[int, ...]) -> ssl.SSLContext:
    return ssl_context(verify, cert)


def environment_ca(environ: Mapping[str, str]) -> str | None:
    """The CA bundle that the environment names, as requests reads it: it stands in for `verify=True` only."""
    return environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE") or None


def _load_ca(context: ssl.SSLContext, verify: Any) -> None:
    if not isinstance(verify, (str, os.PathLike)) or not os.fspath(verify):
        raise ValueError(
            f"verify must be True, False, the path of a CA bundle or an ssl.SSLContext, not {_kind(verify)}"
        )
    path = Path(verify)
    source = f"verify (or REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE): the CA bundle {str(path)!r}"
    if path.is_dir():
        context.load_verify_locations(capath=path)
        return
    if fault := _unreadable(path):
        raise ValueError(f"{source} {fault}")
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        raise ValueError(f"{source} holds no certificate in PEM form") from None


def _load_cert(context: ssl.SSLContext, cert: Any) -> None:
    pair = tuple(cert) if isinstance(cert, (tuple, list)) else (cert, None)
    if len(pair) != 2:
        raise ValueError(f"cert must be a path or a pair of paths (certificate, key), but has length {len(pair)}")
    faults = []
    for part, path in zip(("certificate", "key"), pair, strict=True):
        if path is None and part == "key":
            continue
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            faults.append(f"the {part}'s path is {_kind(path)}")
        elif fault := _unreadable(path):
            faults.append(f"the {part} {os.fspath(path)!r} {fault}")
    if faults:
        raise ValueError(f"cert: {'; '.join(faults)}")
    certificate, key = pair
    try:
        # OpenSSL's own answer to a locked key is to ask on the terminal, where a service has nobody.
        context.load_cert_chain(certificate, key, password=_locked)
    except _Locked:
        fault = "the key is locked with a password: unlock it, or load both into an SSLContext and pass that as verify="
    except (ssl.SSLError, OSError):
        fault = "the files are not a certificate and its key in PEM form"
    else:
        return
    raise ValueError(f"cert: {os.fspath(certificate)!r}: {fault}")


class _Locked(Exception):
    """The key's password was asked for."""


def _locked() -> str:
    raise _Locked


def _unreadable(path: str | os.PathLike[str]) -> str | None:
    try:
        open_regular(Path(path)).close()
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    return None


def _kind(value: object) -> str:
    return "empty" if value == "" else f"of type {type(value).__name__}"
