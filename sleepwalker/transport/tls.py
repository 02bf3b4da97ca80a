"""TLS contexts for `verify=` and `cert=`, made once per connection; never below TLS 1.2."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from sleepwalker.files import open_regular

__all__ = ["environment_ca", "renewed_context", "shared_context", "ssl_context"]

Fault = Literal["missing", "unusable"]
Stamps = tuple[tuple[int, ...], ...]
"""Modification time, size and inode of each file: they change when a file is replaced."""


@dataclass(slots=True)
class _Source:
    """What a context was made from, and what it was last replaced with."""

    verify: Any
    cert: Any
    stamps: Stamps
    latest: ssl.SSLContext | None = None
    """The context made from later files; None while it is the first one."""


def ssl_context(verify: Any = True, cert: Any = None) -> ssl.SSLContext:
    """The context for a connection's sockets.

    `verify` is True (the CA bundle that requests uses), False (neither certificate nor host name is checked), the path
    of a CA bundle (a PEM file, or a directory made by `openssl rehash`), or an `ssl.SSLContext`, which is used as it
    is. `cert` is the path of a client certificate with its key, or a pair of paths (certificate, key).

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
    """`ssl_context`, shared by all connections with equal settings, since each context holds a whole CA bundle.

    A file that was replaced makes a new context. New sockets of the old one's connections use it (`renewed_context`).
    """
    if isinstance(verify, ssl.SSLContext):
        return ssl_context(verify, cert)
    try:
        settings = (verify, tuple(cert) if isinstance(cert, list) else cert, _stamps(verify, cert))
        hash(settings)
    except (OSError, TypeError, ValueError):
        return ssl_context(verify, cert)  # raises, and says what is wrong
    return _shared(*settings)


def renewed_context(context: ssl.SSLContext) -> tuple[ssl.SSLContext, Fault | None]:
    """The context for a new socket: `context`, or one made anew since its files were replaced.

    Files that cannot be used, as while they are being written, change nothing; the second value says so once. A context
    of the caller's own is returned as it is.
    """
    source = _sources.get(context)
    if source is None:
        return context, None
    fault: Fault | None = None
    stamps: Stamps = ()
    try:
        stamps = _stamps(source.verify, source.cert)
        if stamps != source.stamps:
            source.latest = _shared(source.verify, source.cert, stamps)
    except (OSError, ValueError):
        if stamps != source.stamps:
            fault = "unusable" if stamps else "missing"
    source.stamps = stamps
    return source.latest or context, fault


def _stamps(verify: Any, cert: Any) -> Stamps:
    certs = cert if isinstance(cert, tuple | list) else (cert,)
    stats = [Path(path).stat() for path in (verify, *certs) if isinstance(path, str | os.PathLike)]
    # Also the size, since a file may be written in two steps within one tick of the file system's clock.
    return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


@functools.lru_cache(maxsize=64, typed=True)
def _shared(verify: Any, cert: Any, stamps: Stamps) -> ssl.SSLContext:
    context = ssl_context(verify, cert)
    if stamps:
        _sources[context] = _Source(verify, cert, stamps)
    return context


#: What each context was made from, if from files.
_sources: WeakKeyDictionary[ssl.SSLContext, _Source] = WeakKeyDictionary()


def environment_ca(environ: Mapping[str, str]) -> str | None:
    """The CA bundle that the environment names, as in requests. It replaces only `verify=True`."""
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
        # Without `password`, OpenSSL would ask on the terminal, and a service would hang.
        context.load_cert_chain(certificate, key, password=_locked)
    except _Locked:
        fault = "the key is locked with a password: unlock it, or load both into an SSLContext and pass that as verify="
    except (ssl.SSLError, OSError) as error:
        if key is None:
            fault = "it does not hold a certificate and its key in PEM form; of two files: cert=(certificate, key)"
        elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            fault = f"the key {os.fspath(key)!r} is not the one of this certificate"
        else:
            fault = f"it and {os.fspath(key)!r} are not a certificate and its key in PEM form"
    else:
        return
    raise ValueError(f"cert: {os.fspath(certificate)!r}: {fault}")


class _Locked(Exception):
    """OpenSSL asked for the key's password."""


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
