"""The origin of a URL, and checks of URLs and headers before they are sent."""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from sleepwalker.exceptions import URLError
from sleepwalker.transport.punycode import means_a_name

__all__ = [
    "NOT_IN_VALUE",
    "Origin",
    "check_headers",
    "check_target",
    "is_loopback",
    "join",
    "origin_of",
    "parse_hostname",
    "plain_path",
    "resolve",
    "safe_path",
    "shown_number",
]

_DEFAULT_PORTS = {"http": 80, "https": 443}

# An allow-list, not a parser: urllib.parse, urllib3 and the resolver disagree about what is not allowed here (userinfo,
# backslashes, escapes, zones, `0x7f.1`). Where two of them disagree about the host, credentials go to the wrong one.
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_LABEL = r"[a-z0-9_-]{1,63}"
_AUTHORITY = re.compile(rf"(?:\[([0-9a-f:.]+)\]|({_LABEL}(?:\.{_LABEL})*\.?))(?::([0-9]{{0,5}}))?", re.I | re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Most characters of a path that are shown: a server may write links and redirects of any length.
_MOST_SHOWN = 1000
_BACKSLASH = re.compile(r"\s*/?\\")

# Paths that urljoin, urllib3 and requests all leave unchanged. A segment that starts with a dot may be `.` or `..`, an
# empty one may be half of `//`, and some of them rewrite `;` and `%`.
_SEGMENT = r"[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*"
_PLAIN = re.compile(rf"/(?:{_SEGMENT}(?:/{_SEGMENT})*/?)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]+)?")

#: A URL whose path can be shown unchanged.
_USUAL = re.compile(
    rf"https?://[A-Za-z0-9._\[\]:-]+(/[!\"$->A-~]{{0,{_MOST_SHOWN - 1}}})(?:[?#].*)?", re.ASCII | re.DOTALL
).fullmatch
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: Characters that neither a header's value nor a cookie may contain (RFC 9110, 5.5).
NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port, normalised: two URLs of one server have equal origins.

    `host` is in lower case, without the brackets of an IPv6 address, which is in its shortest form.
    """

    scheme: str
    host: str
    port: int
    netloc: str = field(init=False, repr=False, compare=False)
    """Host and port as in a URL; the scheme's default port is left out."""
    explicit: str = field(init=False, repr=False, compare=False)
    """`https://host.com:443`: always with the port."""
    text: str = field(init=False, repr=False, compare=False)
    """`https://host.com:8443`; the scheme's default port is left out."""

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        netloc = host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"
        object.__setattr__(self, "netloc", netloc)
        object.__setattr__(self, "text", f"{self.scheme}://{netloc}")
        object.__setattr__(self, "explicit", f"{self.scheme}://{host}:{self.port}")

    def __str__(self) -> str:
        return self.text


def parse_hostname(hostname: Any, port: Any = None) -> tuple[str, Origin, str]:
    """Check a connection's `hostname` and `port`.

    Returns the hostname (as given, or with the port appended), its origin, and the prefix that requests would write
    before the path: `https://host.com:443`, as given but in lower case. Prefix and `plain_path` make the URL to send.

    Raises `URLError`, whose text never holds userinfo or a query.
    """
    if not isinstance(hostname, str):
        raise URLError(f"hostname must be a str such as 'https://host.com', not {type(hostname).__name__}")
    if not hostname:
        raise URLError("hostname is empty: write https:// and the host, such as 'https://host.com'")
    if _BLANK.search(hostname):
        raise _bad(hostname, "has whitespace or control characters: remove them")
    match = _URL.fullmatch(hostname)
    if "@" in hostname:
        # Also in what looks like the path: the @ may follow a password with a slash in it.
        raise _bad(
            hostname, "may have credentials in it: pass them as auth=(user, password), and write an @ in a path as %40"
        )
    if match is None:
        scheme, separator, _ = hostname.partition("://")
        if separator and scheme.isalnum() and scheme.lower() not in _DEFAULT_PORTS:
            raise _bad(hostname, "has a scheme other than http and https: use one of these")
        raise _bad(hostname, "has no scheme: write https:// before the host, such as 'https://host.com'")
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if "?" in rest or "#" in rest:
        raise _bad(hostname, "has a query or fragment (not shown): pass it with each request (params=)")
    try:
        host, literal, own_port = _read_authority(authority)
    except ValueError as error:
        raise _bad(hostname, str(error)) from None
    if port is not None:
        number = _port_number(port)
        if own_port is None:
            end = match.end(2)
            hostname = f"{hostname[:end].removesuffix(':')}:{number}{hostname[end:]}"
        elif own_port != number:
            raise _bad(hostname, f"and port {number} name different ports: leave one of them out")
        own_port = number
    prefix = f"{scheme}://{literal}" if own_port is None else f"{scheme}://{literal}:{own_port}"
    return hostname, Origin(scheme, host, own_port or _DEFAULT_PORTS[scheme]), prefix


def _bad(hostname: str, why: str) -> URLError:
    return URLError(f"hostname {_shown(hostname)} {why}")


def join(base: str, uri: Any) -> str:
    """`uri` joined to `base` as `urllib.parse.urljoin` joins them. Whether it may be sent is not checked here."""
    if not isinstance(uri, str):
        raise URLError(f"uri must be a str such as '/items', not {type(uri).__name__}")
    try:
        return urljoin(base, uri)
    except ValueError:
        pass
    raise URLError(f"uri {_shown(uri)} is not a URI: pass a path such as '/items'")


def resolve(origin: Origin, base: str, uri: Any) -> str:
    """The URL of `uri`, checked. Raises `URLError` if this connection may not request it."""
    url = join(base, uri)
    if _CONTROL.search(uri):  # here, because urljoin silently drops some of them
        raise URLError(f"uri {_shown(uri)} has control characters: percent-encode them if they are meant")
    if _BACKSLASH.match(uri):
        # A browser reads it as another host, requests as a path.
        raise URLError(f"uri {_shown(uri)} starts with a backslash: write the path with slashes")
    check_target(origin, url)
    return url


def check_target(origin: Origin, url: str) -> None:
    """Refuse a URL of another origin, or one whose host two parsers could read differently."""
    target = origin_of(url)
    if target != origin:
        raise URLError(
            f"uri leads to {target}, but this connection is to {origin} and sends its credentials nowhere else: "
            f"get a connection with ConnectionManager.find({target.text!r})"
        )


def origin_of(url: str) -> Origin:
    """The origin of a URL. Raises `URLError` for one that may not be sent, or that parsers could read differently."""
    match = _URL.fullmatch(url)
    if match is None:
        raise URLError(f"uri {_shown(url)} is not an http or https URL: pass a path such as '/items'")
    if _CONTROL.search(url):
        raise URLError(f"uri {_shown(url)} has control characters: percent-encode them if they are meant")
    if _SURROGATE.search(url):
        raise URLError(f"uri {_shown(url)} has lone surrogates, which UTF-8 cannot encode: remove them")
    if "@" in match[2]:
        raise URLError(f"uri {_shown(url)} has credentials in it: pass them to the connection as auth=")
    try:
        host, _, port = _read_authority(match[2])
    except ValueError as error:
        raise URLError(f"uri {_shown(url)} {error}") from None
    scheme = match[1].lower()
    return Origin(scheme, host, port or _DEFAULT_PORTS[scheme])


def plain_path(uri: Any) -> bool:
    """Whether prefix + `uri` is exactly the URL that `resolve` and requests' quoting would make.

    False if that is not certain: such a URI takes the ordinary path, `resolve`.
    """
    return isinstance(uri, str) and _PLAIN.fullmatch(uri) is not None


def safe_path(url: str) -> str:
    """The path of a URL or URI for events and texts: no userinfo, query or fragment; printable ASCII; cut if long."""
    if usual := _USUAL(url):
        return usual[1]
    match = re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)", url)
    rest = url[match.end() :] if match else url
    # An @ after a malformed authority may follow a password with a slash in it.
    if match:
        hidden = "@" in rest and not _AUTHORITY.fullmatch(match[1].rpartition("@")[2])
    else:
        hidden = not rest.startswith("/") and ("@" in rest or ":" in rest)
    path = "" if hidden else re.split(r"[?#]", rest, maxsplit=1)[0]
    path = re.sub(r"[^\x21-\x7e]+", _escaped, path[: _MOST_SHOWN + 1])
    return (path if len(path) <= _MOST_SHOWN else path[:_MOST_SHOWN] + "...") or "/"


def check_headers(headers: Any) -> None:
    """Refuse headers that cannot be sent as one header each (RFC 9110, 5.1 and 5.5).

    A value of None is allowed: as in requests, it removes a common header. Raises `URLError` that names the header and
    never shows its value.
    """
    if headers is None:
        return
    if not isinstance(headers, Mapping):
        raise URLError(f"headers must be a mapping of names to values, not {type(headers).__name__}")
    faults = [fault for name, value in headers.items() if (fault := _header_fault(name, value))]
    if faults:
        raise URLError(f"headers: {'; '.join(faults)}")


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address; a name that merely resolves to one is not."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _read_authority(authority: str) -> tuple[str, str, int | None]:
    """Normalised host, host as requests would write it, port. `ValueError` says what is wrong and quotes nothing."""
    if not authority or authority.startswith(":"):
        raise ValueError("has no host: write it after the scheme, such as 'https://host.com'")
    if not authority.isascii():
        raise ValueError("has a host with non-ASCII characters: write it in its ASCII form (xn--…)")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        if authority.startswith("[") and "%" in authority:
            raise ValueError("has an IPv6 zone, which requests cannot use: leave it out")
        raise ValueError("does not name a host and port as 'host', 'host:8443' or '[::1]:8443' do")
    number = int(match[3]) if match[3] else None
    if number is not None and not 1 <= number <= 65535:
        raise ValueError("has a port outside 1 to 65535")
    if match[1]:
        return _ipv6(match[1]), f"[{match[1].lower()}]", number
    host = match[2].lower()
    if len(host) > 254 or (len(host) == 254 and not host.endswith(".")):
        raise ValueError("has a host of more than 253 characters (RFC 1035, 2.3.4)")
    if "xn--" in host and not all(means_a_name(label) for label in host.split(".") if label.startswith("xn--")):
        raise ValueError("has a part that begins with xn-- and means no name in other letters: correct it")
    if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError("has a number as host: write an IPv4 address as four decimals, '127.0.0.1'") from None
    return host, host, number


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("has brackets around a host that is not an IPv6 address") from None
    # Spelled out because str() of these differs between versions of Python.
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address)


def _port_number(port: Any) -> int:
    number = -1
    if isinstance(port, str):
        if re.fullmatch(r"[0-9]{1,5}", port):
            number = int(port)
    elif not isinstance(port, bool):
        with suppress(TypeError):
            number = operator.index(port)
    if not 1 <= number <= 65535:
        raise URLError(f"port must be a number from 1 to 65535, as int or str, not {shown_number(port)}")
    return number


def shown_number(value: Any) -> str:
    """A value that was given as a number, for an error's text. Other text is not shown: it may be a password."""
    if isinstance(value, str):
        return repr(value) if re.fullmatch(r"[ 0-9.+-]{0,20}", value) else "other text"
    if not isinstance(value, int | float):
        return f"of type {type(value).__name__}"
    try:
        return _cut(repr(value))
    except ValueError:  # Python does not print an int of thousands of digits
        return "a much larger one"


def _header_fault(name: Any, value: Any) -> str | None:
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    if not isinstance(name, str):
        return f"a name is of type {type(name).__name__}, not str"
    token = _TOKEN.match(name)
    label = _cut(token[0]) if token else ""
    if not token or token.end() != len(name):
        # Not shown after the token: it may be a value that was passed as a part of the name.
        start = f"the name that starts with {label!r}" if token else "a name"
        return f"{start} is empty or has characters other than letters, digits and !#$%&'*+-.^_`|~"
    if value is None:
        return None
    if isinstance(value, bytes):
        leading = value[:1].isspace()
        value = value.decode("latin-1")
    elif isinstance(value, str):
        leading = value[:1].isspace()
    else:
        return f"the value of {label} is of type {type(value).__name__}, not str or bytes"
    if leading:
        return f"the value of {label} starts with whitespace"
    if NOT_IN_VALUE.search(value):
        return f"the value of {label} has a line break or another control character"
    if any(character > "\xff" for character in value):
        return f"the value of {label} has characters outside Latin-1: encode it to bytes"
    return None


def _shown(url: str) -> str:
    """`url` for an error's text, without query and fragment; not shown at all if it may contain userinfo."""
    if "@" in url:
        return "(not shown, as it has an @)"
    return _cut(ascii(re.split(r"[?#]", url, maxsplit=1)[0]))


def _cut(text: str, length: int = 100) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
