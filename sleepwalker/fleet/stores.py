"""Opens the store that a URL names: a file for the workers of one machine, Redis or Valkey for those of several."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sleepwalker.fleet.store import Store

#: The default service. Workers of the same service hear from each other.
DEFAULT_SERVICE = "default"
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,60}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):")
_REDIS = frozenset({"unix", *(f"redis{tls}{kind}" for tls in ("", "s") for kind in ("", "+sentinel", "+cluster"))})
_ALLOWED = "beginning with redis://, rediss:// (or either with +sentinel or +cluster), unix:// or file:///"
_FILE = "write file:/// and the absolute path, such as file:///run/billing.fleet, without host and query"


def open_store(url: str, service: str = DEFAULT_SERVICE, timeout: float = 1.0) -> Store:
    """The store for that URL, not connected yet.

    `service` separates the workers of several services in one store. `timeout` limits one request, in seconds.
    ValueError for an invalid URL or service; its text shows only the URL's scheme, because a password may be anywhere
    in it. ImportError, which says what to install, for Redis without its client.
    """
    check_service(service)
    scheme = scheme_of(url)
    if scheme == "file":
        from sleepwalker.fleet.local import FileStore  # noqa: PLC0415 - SQLite is for those who use it

        return FileStore(file_path(url), service, timeout=timeout)
    from sleepwalker.fleet.redis import RedisStore  # noqa: PLC0415 - needs an extra

    return RedisStore(url, service, timeout=timeout)


def scheme_of(url: object) -> str:
    """The scheme of a store's URL; TypeError or ValueError for anything else."""
    if not isinstance(url, str):
        raise TypeError(f"the store must be a URL {_ALLOWED}, not {type(url).__name__}")
    if not url.isprintable():
        raise ValueError("the store's URL (not shown) has a line break or another character that cannot be printed")
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if scheme == "file" or (scheme in _REDIS and url.startswith("//", len(scheme) + 1)):
        return scheme
    # Before the colon there may also be a user, with the password behind it: only known schemes are repeated.
    said = f"of {scheme}: lacks its //" if scheme in _REDIS else "(not shown) has another scheme"
    raise ValueError(f"the store's URL {said}: use one {_ALLOWED}")


def file_path(url: str) -> Path:
    """The file that a `file:///` URL names. ValueError for a URL without an absolute path."""
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or not url.startswith("///", len("file:")):
        raise ValueError(f"the store's URL does not name a file: {_FILE}")
    try:
        path = unquote(parts.path, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the store's URL has a %XX in its path that is not UTF-8") from None
    if "\0" in path or path.endswith("/"):
        raise ValueError(f"the store's URL names a folder or an impossible path: {_FILE}")
    return Path(path)


def check_service(service: object) -> str:
    """The checked name of a service, which becomes part of the store's keys."""
    if not isinstance(service, str):
        raise TypeError(f"service must be a str, not {type(service).__name__}")
    if not _SERVICE.fullmatch(service):
        shown = f"{service[:40]!r}{' ...' if len(service) > 40 else ''}"
        raise ValueError(f"service must be 1 to 60 characters of letters, digits, '-', '_' and '.', not {shown}")
    return service
