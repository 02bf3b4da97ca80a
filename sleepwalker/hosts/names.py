"""When two names mean the same host or scope: the keys of records."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from sleepwalker.exceptions import URLError
from sleepwalker.transport.url import Origin, parse_hostname

_WEB = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:b?['\"])?[a-z][a-z0-9+.-]*:/{1,2}", re.IGNORECASE)
#: A name is not shown from the first of these on: a query or fragment, or control characters of a terminal.
_UNSHOWN = re.compile("[?#\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_LONGEST_NAME = 255
#: Comes, in a name, before the mark that replaces the part that is not shown.
_MARKED = "…"
_LONGEST_SCOPE = 100
_ALLOWED_SCOPE = f"a name for a part of the host, 1 to {_LONGEST_SCOPE} printable characters without '#'"
#: A key, or short secrets could be guessed from their hashes. Made at import, as two threads might make two.
_SALT = os.urandom(16)


def host_key(host: object) -> tuple[str, Origin | None]:
    """A host's name in the tables, and its origin if it is a URL.

    Letter case, a default port and a trailing slash make no difference. Anything that is not an http(s) URL is a name
    that only a hook understands. The name is written to logs and metrics, so a mark replaces parts that could be a
    secret or are too long. The mark distinguishes such names within this process. Raises `URLError` for an unusable
    URL, and for a name with a password in it.
    """
    kind: Any = type(host)  # an object may say that it is a str
    if not issubclass(kind, str):
        host = repr(host)
    host = str.__str__(host)  # of a subclass, the text alone: names are hashed and compared under locks
    if not _WEB.match(host):
        if ":" in _SCHEME.sub("", host).rpartition("@")[0]:  # names are written to the log
            raise URLError("host (not shown) has credentials in it: pass them as auth=(user, password)")
        name = host.lower().rstrip("/")
        unshown = _UNSHOWN.search(name)
        if unshown is None and len(name) <= _LONGEST_NAME:
            return name, None
        shown = name[: min(_LONGEST_NAME, len(name) if unshown is None else unshown.start())]
        return f"{shown}{_MARKED}{mark_of(name)}", None
    if "#" in host:
        raise URLError(
            "host has a '#' (the rest is not shown): get a scope from a connection with find(host).scope(name); the "
            "manager only reports the scope's health"
        )
    _, origin, _ = parse_hostname(host)
    path = host.partition("://")[2].partition("/")[2].rstrip("/")
    return (f"{origin.text}/{path}" if path else origin.text), origin


def is_marked(key: str) -> bool:
    """Whether a mark stands for a part of it. Each process has its own marks, so they cannot exchange such names."""
    return _MARKED in key


def check_host(host: object) -> None:
    """Refuse anything but a host's name: TypeError if it is not a str, `URLError` if it has only blanks and slashes."""
    allowed = "pass a URL such as 'https://host.com', or a name that a hook knows"
    kind: Any = type(host)
    if not issubclass(kind, str):
        raise TypeError(f"host must be a str, not {kind.__name__}: {allowed}")
    if not str.strip(str.__str__(host)).strip("/"):
        raise URLError(f"host is {'a blank' if len(str.__str__(host)) else 'an empty'} {kind.__name__}: {allowed}")


def checked_host_key(host: object) -> tuple[str, Origin | None]:
    """The `host_key` of a host that passed `check_host`."""
    check_host(host)
    return host_key(host)


def checked_record_key(host: object) -> tuple[str, Origin | None, str | None]:
    """The same for a name that may have a scope, `https://host#name`. The scope comes last; None for a whole host."""
    check_host(host)
    text = str.__str__(host)
    if not _WEB.match(text) or "#" not in text:
        return (*host_key(host), None)
    text, _, scope = text.partition("#")
    return (*host_key(text), check_scope(scope, "the scope in host"))


def check_scope(name: object, called: str = "name") -> str:
    """The checked name of a scope. It is shown as a part of the record's name, `https://host#name`."""
    kind: Any = type(name)
    if not issubclass(kind, str):
        raise TypeError(f"{called} must be a str, {_ALLOWED_SCOPE}, not {kind.__name__}")
    text = str.__str__(name)  # of a subclass, the text alone
    if not text.strip():
        raise ValueError(f"{called} is {'blank' if text else 'empty'}: pass {_ALLOWED_SCOPE}, such as 'reports'")
    shown = f"{text[:40]!r}{' ...' if len(text) > 40 else ''}"
    if len(text) > _LONGEST_SCOPE:
        raise ValueError(
            f"{called} has {len(text)} characters ({shown}): pass {_ALLOWED_SCOPE}, or a hash of a longer one"
        )
    if "#" in text:
        raise ValueError(
            f"{called} {shown} has a '#', which separates host and scope in events and metrics: leave it out"
        )
    if not text.isprintable():
        raise ValueError(f"{called} {shown} has characters that cannot be printed: pass {_ALLOWED_SCOPE}")
    if text != text.strip():
        raise ValueError(f"{called} {shown} starts or ends with blanks, which are invisible in a log: strip them")
    return text


def mark_of(text: str, size: int = 6) -> str:
    """A keyed hash, which identifies a text in this process without showing it."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size, key=_SALT).hexdigest()


def check_count(value: object, name: str) -> None:
    """ValueError for anything but a positive whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive number, not {value!r}")
