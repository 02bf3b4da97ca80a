"""Patterns that say which hosts a policy is for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_PORTS = {"http": "80", "https": "443"}
_LONGEST = 255
_WILD = re.compile(r"[*?[]")
#: `https://host:8443` and what comes after it; a host in brackets is an IPv6 address.
_URL = re.compile(r"(https?)://((?:\[[^\]/]*\])?[^/:]*)(?::([0-9]+))?(/.*)?", re.DOTALL)
_ADDRESS = re.compile(r"://\[(?=[^\]]*:|[*?]+\])")
_ALLOWED = (
    'must be a pattern for a host\'s URL, such as "https://*.example.com", or for a name passed to `find`, '
    'such as "billing"'
)


def fault_of(pattern: object) -> str | None:
    """What is wrong with a pattern, if anything."""
    if not isinstance(pattern, str):
        return f"a {type(pattern).__name__} is not allowed; {_ALLOWED}"
    before, at, _ = pattern.rpartition("@")
    if at and ":" in before:  # not shown: it may be a password
        return f"a pattern with credentials is not allowed, hosts are matched without them; {_ALLOWED}"
    if "#" in pattern:
        return (
            f"{pattern[:99]!r} is not allowed, a scope has the policy that `scope(name, policy=)` gives it; {_ALLOWED}"
        )
    if not pattern.strip("/ "):
        return f"{pattern[:9]!r} matches no host; {_ALLOWED}"
    if len(pattern) > _LONGEST or not pattern.isprintable():
        return f"a text of {len(pattern)} characters, or not all of them printable, is not allowed; {_ALLOWED}"
    return None


def spellings(host: str) -> tuple[str, ...]:
    """The spellings of a host for patterns: a name in lower case; a URL's origin, with and without a default port.

    A URL with a base path also has these spellings with the path.
    """
    text = host.lower().rstrip("/")
    match = _URL.fullmatch(text)
    if match is None:
        return (text,)
    scheme, name, port, path = match.groups()
    known = _PORTS[scheme]
    origins = [f"{scheme}://{name}:{port or known}"]
    if port in (None, known):
        origins.append(f"{scheme}://{name}")
    return (*origins, *(f"{origin}{path}" for origin in origins if path))


class Patterns:
    """Patterns in their order."""

    __slots__ = ("_exact", "_wild")

    def __init__(self, patterns: Iterable[tuple[str, int]]) -> None:
        """Each pattern comes with a number for what it stands for. The numbers ascend."""
        self._exact: dict[str, int] = {}
        self._wild: list[tuple[int, str]] = []
        for pattern, number in patterns:
            text = pattern.lower().rstrip("/")
            # Even one with brackets, which may be those of an IPv6 address.
            self._exact.setdefault(text, number)
            if _WILD.search(text):
                self._wild.append((number, _literal_address(text)))

    def first(self, hosts: Iterable[str]) -> int | None:
        """The number of the first pattern that fits one of these hosts, URLs or names; None if none does."""
        found = {spelling for host in hosts for spelling in spellings(host)}
        first = min((self._exact[text] for text in found if text in self._exact), default=None)
        for number, pattern in self._wild:
            if first is not None and number >= first:
                break
            if any(fnmatchcase(text, pattern) for text in found):
                return number
        return first


def _literal_address(pattern: str) -> str:
    """The pattern with the bracket of an IPv6 address escaped, so that it does not begin a set of characters.

    In `https://[ab].example.com` it does: an address has colons, or nothing but wildcards.
    """
    return _ADDRESS.sub("://[[]", pattern)
