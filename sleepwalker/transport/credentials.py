"""Which credentials a connection sends, and checks that they are never sent unencrypted."""

from __future__ import annotations

import inspect
import netrc
import os
import re
import stat
import warnings
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import requests
from requests.auth import HTTPBasicAuth

from sleepwalker.exceptions import AuthenticationError, InsecureAuthError
from sleepwalker.files import open_regular, owned_here
from sleepwalker.transport.url import Origin, is_loopback

__all__ = [
    "ANONYMOUS",
    "Anonymous",
    "Auth",
    "basic_header",
    "check_authorization",
    "check_tls",
    "missing_credentials",
    "netrc_auth",
    "normalise_auth",
    "travels_in_the_clear",
]

_BASIC = re.compile(r"\s*basic(?:\s|$)", re.IGNORECASE).match
#: Most bytes of a netrc file; an entry takes about 50.
_MOST = 1_000_000

#: An auth object of requests: it gets the prepared request, changes it and returns it.
Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


class Anonymous(Enum):
    """The type of `ANONYMOUS`; an enum, so that a copied or unpickled member is the same object."""

    ANONYMOUS = "anonymous"

    def __repr__(self) -> str:
        return "ANONYMOUS"

    __str__ = __repr__


#: For `auth=`: send no credentials, and do not look for any in netrc files. None, in contrast, looks.
ANONYMOUS = Anonymous.ANONYMOUS


def normalise_auth(auth: Any) -> Auth | Anonymous | None:
    """`auth` as requests takes it: a pair becomes an `HTTPBasicAuth`; None, `ANONYMOUS` and callables stay.

    Raises `TypeError` or `ValueError`. Their texts say what is wrong and never quote it.
    """
    if auth is None or isinstance(auth, Anonymous):
        return auth
    if isinstance(auth, (tuple, list)):
        if len(auth) != 2:
            raise ValueError(f"auth must be (user, password), but has length {len(auth)}")
        auth = HTTPBasicAuth(auth[0], auth[1])
    if type(auth) is HTTPBasicAuth:
        if fault := _fault(auth):
            raise fault
        return auth
    if isinstance(auth, type):
        raise TypeError(f"auth is the class {auth.__name__}: pass an instance of it")
    if not callable(auth):
        raise TypeError(
            f"auth is of type {type(auth).__name__}: pass (user, password), a requests auth object or another "
            "callable, ANONYMOUS, or None to use netrc"
        )
    if inspect.iscoroutinefunction(auth) or inspect.iscoroutinefunction(type(auth).__call__):
        raise TypeError(
            "auth is a coroutine function, which is never awaited: fetch the token in a hook of an "
            "AsyncConnectionManager that returns a connection with the token in its headers"
        )
    return auth  # type: ignore[no-any-return]


def check_tls(origin: Origin, auth: object, proxied: bool = False) -> None:
    """Refuse Basic credentials over plain http, unless they stay on this machine.

    `proxied`: requests to `origin` go through a proxy, so they leave the machine even for a loopback address.
    """
    if isinstance(auth, HTTPBasicAuth) and travels_in_the_clear(origin, proxied):
        raise _insecure("auth", origin, proxied)


def travels_in_the_clear(origin: Origin, proxied: bool) -> bool:
    """Whether others could read what is sent: over plain http, unless it stays on this machine."""
    return origin.scheme != "https" and (proxied or not is_loopback(origin.host))


def check_authorization(origin: Origin, headers: Mapping[Any, Any] | None, proxied: bool = False) -> None:
    """`check_tls` for Basic credentials given as a header. Other schemes are not checked."""
    for name, value in (headers or {}).items():
        if _text(name).lower() == "authorization" and _BASIC(_text(value)) and travels_in_the_clear(origin, proxied):
            raise _insecure("the header Authorization", origin, proxied)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _insecure(what: str, origin: Origin, proxied: bool) -> InsecureAuthError:
    text = f"{what} for {origin}: a user's name and password would be sent unencrypted"
    if proxied and is_loopback(origin.host):
        return InsecureAuthError(f"{text} to a proxy. Use https, or exempt the host from the proxy (NO_PROXY)")
    return InsecureAuthError(
        f"{text}. Use https, or an auth object that does not send them as they are (such as HTTPDigestAuth); only "
        "loopback addresses are exempt"
    )


def netrc_auth(origin: Origin, environ: Mapping[str, str] | None = None) -> HTTPBasicAuth | None:
    """The credentials of the user's netrc file for exactly this host and port; None if it has none.

    An entry `machine host:8443` counts for that port. `machine host` counts only for the scheme's default port, as
    another port may be another user's server; on loopback addresses, for every port that no entry names. `default`
    entries do not count, because they match every host.

    The file is the one that `NETRC` names, or else `~/.netrc`, or else `~/_netrc`. As in requests, a `NETRC` that names
    no existing file switches netrc off. Warns of a file that others may read. Raises `AuthenticationError` for a file
    that cannot be read, is too large or is not a regular file.
    """
    path = _netrc_path(os.environ if environ is None else environ)
    if path is None:
        return None
    entries, fault = _netrc_entries(path)
    if fault:
        # Raised here, outside of `except`: the parser's own error quotes the file.
        raise AuthenticationError(f"netrc file {str(path)!r} {fault}: correct it, or pass auth=")
    entry = next((entries[name] for name in _machines(origin) if name in entries), None)
    if entry is None:
        return None
    login, account, password = entry
    user = login or account
    if not user and not password:
        return None
    auth = HTTPBasicAuth(user, password)
    if error := _fault(auth):
        raise AuthenticationError(f"netrc file {str(path)!r}, entry for {origin.host}: {error}")
    return auth


def missing_credentials(origin: Origin) -> AuthenticationError:
    """The error for a host without credentials; it names the three solutions."""
    machine = _machines(origin)[-1]
    ports = "" if machine == origin.host else f"; an entry for {origin.host} counts for the default port only"
    return AuthenticationError(
        f"no credentials for {origin}: pass auth=(user, password) or another auth object, add an entry "
        f"'machine {machine} login USER password PASSWORD' to a netrc file (the one that NETRC names, ~/.netrc or "
        f"~/_netrc{ports}), or pass auth=ANONYMOUS to send none"
    )


def basic_header(auth: object) -> str | None:
    """The `Authorization` value that requests would send for `auth`; None for anything but `HTTPBasicAuth` itself.

    A subclass may do anything. requests makes the value, so that the encoding is its own (Latin-1 for str).
    """
    if type(auth) is not HTTPBasicAuth or _fault(auth):
        return None
    request = requests.PreparedRequest()
    request.prepare_headers(None)
    value = auth(request).headers["Authorization"]
    return value if isinstance(value, str) else value.decode("latin-1")


def _fault(auth: HTTPBasicAuth) -> TypeError | ValueError | None:
    """The error for a pair of credentials that cannot be sent; its text quotes nothing of them."""
    faults: list[str] = []
    kinds: list[str] = []
    for part, value in (("user", auth.username), ("password", auth.password)):
        if not isinstance(value, (str, bytes)):
            kinds.append(f"the {part} is of type {type(value).__name__}, not str or bytes")
            continue
        points = value if isinstance(value, bytes) else [ord(character) for character in value]
        if any(point < 0x20 or point == 0x7F for point in points):
            faults.append(f"the {part} has a line break or another control character (RFC 7617, 2): strip it")
        elif any(point > 0xFF for point in points):
            faults.append(f"the {part} has characters outside Latin-1: encode it to bytes as the server expects")
    if kinds:
        return TypeError(f"auth: {'; '.join(kinds + faults)}")
    return ValueError(f"auth: {'; '.join(faults)}") if faults else None


def _machines(origin: Origin) -> tuple[str, ...]:
    """The names of netrc entries that count for the origin, the one with the port first."""
    with_port = origin.explicit.removeprefix(f"{origin.scheme}://")
    return (with_port, origin.host) if with_port != origin.netloc or is_loopback(origin.host) else (with_port,)


def _netrc_path(environ: Mapping[str, str]) -> Path | None:
    named = environ.get("NETRC")
    for name in ("~/.netrc", "~/_netrc") if named is None else (named,):
        path = _expanded(name, environ)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        except OSError:
            if named is None:  # the home directory of another user, as some services have it
                continue
        if name:
            return path
    return None


def _expanded(name: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    if home and name.startswith("~/"):
        return Path(home, name[2:])
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no home directory
        return Path(name)


def _netrc_entries(path: Path) -> tuple[dict[str, tuple[str, str, str]], str | None]:
    """The entries (login, account, password) by host name in lower case, and what is wrong with the file."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
        if status.st_size > _MOST:
            return {}, f"has more than {_MOST:,} bytes"
        hosts = netrc.netrc(path).hosts
    except netrc.NetrcParseError as error:
        return {}, f"cannot be understood, line {error.lineno}"
    except OSError as error:
        return {}, f"cannot be read ({error.strerror or type(error).__name__})"
    except ValueError:
        return {}, "is not text"
    _warn_of_others(path, status)
    hosts.pop("default", None)
    return {
        host.lower(): (login or "", account or "", password or "") for host, (login, account, password) in hosts.items()
    }, None


def _warn_of_others(path: Path, status: os.stat_result) -> None:
    """Warn of a file that others own or may read. Python's warning filters show it once."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):  # /dev/null
        return
    if not owned_here(status):
        warnings.warn(f"netrc file {str(path)!r} belongs to another user (uid {status.st_uid})", stacklevel=2)
    if mode & 0o077:  # the rule of Python's netrc and of ssh
        warnings.warn(
            f"netrc file {str(path)!r} has the mode {mode:04o}, so others may read or change it: chmod 0600",
            stacklevel=2,
        )
