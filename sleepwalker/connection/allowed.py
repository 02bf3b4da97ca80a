"""`allow=`: other hosts, named by a server, that may get the credentials and parameters of one host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from sleepwalker.exceptions import AuthenticationError, ConnectionError, HTTPError, URLError
from sleepwalker.hosts.names import host_key
from sleepwalker.transport.url import Origin, parse_hostname

_WEB = re.compile(r"https?://", re.IGNORECASE)
_PATTERN = re.compile(r"(https?)://[a-z0-9._:*?\[\]-]+", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_REFUSING = (401, 403)


def checked_allow(allow: object, *, names: bool = False) -> tuple[str, ...]:
    """The entries of an `allow=` in the form that `allows` needs: origins, or patterns of origins with `*` and `?`.

    With `names`, names that only a hook understands are allowed too. TypeError and ValueError list all faults and show
    no user information.
    """
    if isinstance(allow, str | bytes) or not isinstance(allow, Iterable):
        raise TypeError(
            f"allow must be a list of origins such as ['https://b.example.com'], not of type {type(allow).__name__}"
        )
    allowed, faults = [], []
    for entry in allow:
        if not isinstance(entry, str):
            raise TypeError(f"allow must list origins as str, and contains one of type {type(entry).__name__}")
        try:
            allowed.append(_entry(entry, names))
        except (URLError, ValueError) as error:
            faults.append(str(error))
    if faults:
        raise ValueError(f"allow: {'; '.join(faults)}")
    return tuple(allowed)


def allows(allowed: tuple[str, ...], name: str, origin: Origin | None) -> bool:
    """Whether the caller allowed this host. `name` and `origin` come from `host_key`."""
    text = name if origin is None else origin.text
    # A bracket belongs to an IPv6 address. An entry that is not a URL gets no text about URLs.
    return any(
        fnmatchcase(text, entry.replace("[", "[[]")) for entry in allowed if bool(_WEB.match(entry)) == bool(origin)
    )


def shown_host(host: object) -> str:
    """A host as shown in a text: its origin, or its name if the name can contain nothing else."""
    try:
        name, origin = host_key(host)
    except URLError:
        return "a host that is not shown"
    if origin is not None:
        return origin.text
    return name if re.fullmatch(r"[a-z0-9._:/-]{1,80}", name) else "a host whose name is not shown"


def explain_withheld(error: ConnectionError | HTTPError, owner: str, other: str) -> None:
    """Add a note, once, to the error of a host that got no credentials: it says why none were sent."""
    if isinstance(error, HTTPError):
        if error.http_code not in _REFUSING:
            return
    elif type(error) is not ConnectionError and not isinstance(error, AuthenticationError):
        return  # the host got the request, or must not get it
    note = (
        f"the auth of {owner} was not sent to {other}, because a server's link named that host: add a hook with "
        f"credentials for it, or pass allow=[{other!r}]"
    )
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _shown(entry: str) -> str:
    """An entry for a text, without its query, which may hold a secret."""
    return ascii(re.split(r"[?#]", entry, maxsplit=1)[0])[:100]


def _entry(entry: str, names: bool) -> str:
    shown = "an entry (not shown, as it has an @)" if "@" in entry else _shown(entry)
    if not _WEB.match(entry):
        if names and entry and entry.isprintable():
            return host_key(entry)[0]
        raise ValueError(
            f"{shown} is not an origin such as 'https://b.example.com' or a pattern such as 'https://*.example'"
        )
    if "*" in entry or "?" in entry:
        pattern = entry.lower().rstrip("/")
        match = _PATTERN.fullmatch(pattern)
        if match is None:
            raise ValueError(f"{shown} is not a pattern of origins such as 'https://*.example.com'")
        return pattern.removesuffix(_DEFAULT_PORTS[match[1]])
    hostname, origin, _ = parse_hostname(entry)
    if hostname.partition("://")[2].partition("/")[2].strip("/"):
        raise ValueError(f"{shown} has a path: allow the whole origin, '{origin}'")
    return origin.text
