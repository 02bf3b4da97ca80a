"""Which proxy requests to an origin use: the caller's, the environment's, or none."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from urllib3.util.url import parse_url

from sleepwalker.exceptions import URLError
from sleepwalker.transport.url import Origin

_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_ALLOWED = f"must be a URL with a host and one of the schemes {', '.join(_SCHEMES)}, such as 'http://proxy:3128'"


class Proxies:
    """The known proxies. The environment is read here and never again.

    As in requests, a proxy is looked up for scheme and host, then for the scheme, then for `all`. For each key a given
    proxy wins over the environment's. NO_PROXY applies only to the environment's.
    """

    def __init__(self, given: Mapping[str, str | None], *, trust_env: bool) -> None:
        self._given = dict(given)
        no_proxy = self._given.pop("no_proxy", None)
        self._environment: dict[str, str] = {}
        self._of_system = False
        if trust_env:
            self._environment = getproxies_environment()
            self._of_system = not self._environment
            if self._of_system:
                self._environment = getproxies()
            no_proxy = no_proxy or os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        self._no_proxy = no_proxy or ""

    def for_origin(self, origin: Origin) -> dict[str, str]:
        """The proxy of the origin under its scheme, as requests takes it; empty if there is none.

        Only its own entries are checked, since the environment has variables of other programs as well. URLError for a
        malformed proxy; the text does not show it, as it may hold a password.
        """
        environment = {} if self._bypassed(origin) else self._environment
        scheme, host = origin.scheme, origin.host
        for key in (f"{scheme}://{host}", scheme, f"all://{host}", "all"):
            proxy = self._given[key] if key in self._given else environment.get(key)
            if not proxy:  # None switches the environment's off
                continue
            if (url := _proxy_url(proxy)) is not None:
                return {scheme: url}
            if key in self._given:
                raise URLError(f"proxies: the proxy for {key!r} {_ALLOWED}: correct it or leave it out")
            where = "the system's proxy settings" if self._of_system else _variable(key)
            raise URLError(f"{where}: the proxy for {origin} {_ALLOWED}: correct it, or add {host} to NO_PROXY")
        return {}

    def _bypassed(self, origin: Origin) -> bool:
        if not self._environment:
            return False
        if bypassed(self._no_proxy, origin):
            return True
        if self._of_system:  # it has its own list of exceptions
            with suppress(OSError, TypeError):  # Windows may look the name up
                return bool(proxy_bypass(origin.host))
        return False


def check_proxies(proxies: Any) -> dict[str, str | None]:
    """A copy of `proxies`. A TypeError names the entry but never shows it: it may hold a password."""
    if proxies is None:
        return {}
    if not isinstance(proxies, Mapping):
        raise TypeError(f"proxies must be a mapping of schemes to proxy URLs, not {type(proxies).__name__}")
    for scheme, proxy in proxies.items():
        if not isinstance(scheme, str):
            raise TypeError(f"proxies: a scheme is of type {type(scheme).__name__}, not str")
        if proxy is not None and not isinstance(proxy, str):
            raise TypeError(f"proxies: the proxy for {scheme!r} is of type {type(proxy).__name__}, not str")
    return dict(proxies)


def bypassed(no_proxy: str, origin: Origin) -> bool:
    """Whether NO_PROXY has an entry for the origin, by curl's rules.

    Entries are separated by commas or blanks. A name matches itself and all its subdomains, with or without a dot at
    either end. An address may be written in any form, and may have a network size after a slash; an IPv6 address may
    have brackets. `:port` after a host limits the entry to that port (as in requests; curl ignores it). `*` matches
    everything if it is the only entry. Any other entry matches nothing.
    """
    entries = no_proxy.replace(",", " ").split()
    if entries == ["*"]:
        return True
    port, address = str(origin.port), _address(origin.host)
    name = f".{origin.host.removesuffix('.')}"
    for entry in entries:
        host, its_port = _split(entry)
        if its_port and its_port.lstrip("0") != port:
            continue
        if _covers(host, address) if address else _names(host, name):
            return True
    return False


def _split(entry: str) -> tuple[str, str]:
    """Host (or network) and port of an entry; the port is empty if there is none."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        if ":" not in host:
            return "", ""
        return (host, rest[1:]) if rest.startswith(":") else (host + rest, "")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""


def _covers(network: str, address: _Address) -> bool:
    text, slash, bits = network.partition("/")
    # Most entries are names, and an exception for each would take long.
    base = _address(text) if text[:1].isdecimal() or ":" in text else None
    if base is None or base.version != address.version:
        return False
    size = address.max_prefixlen
    if slash and not (bits.isascii() and bits.isdecimal() and len(bits) <= 3 and int(bits) <= size):
        return False
    # For curl, 0 bits mean all of them.
    free = size - (int(bits or 0) or size)
    return int(base) >> free == int(address) >> free


def _names(entry: str, name: str) -> bool:
    """Whether `name`, which starts with a dot, is the entry or a subdomain of it."""
    entry = entry.lower().removesuffix(".").removeprefix(".")
    return entry != "" and name.endswith(f".{entry}")


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _proxy_url(proxy: Any) -> str | None:
    """A proxy as URL; None if it is malformed. (requests would take the host of `proxy:3128` for a scheme.)"""
    try:
        url = proxy if "://" in proxy else f"http://{proxy.removeprefix('//')}"
        parsed = parse_url(url)
    except (ValueError, TypeError, AttributeError):  # urllib3 raises ValueErrors, and by mistake the others
        return None
    return url if parsed.scheme in _SCHEMES and parsed.host else None


def _variable(key: str) -> str:
    """The environment variable of the proxy for `key`: the lower-case one if there are two."""
    name = f"{key}_proxy"
    return name if os.environ.get(name) else next((one for one in os.environ if one.lower() == name), name)
