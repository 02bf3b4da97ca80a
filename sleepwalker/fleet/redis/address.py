"""The URL of a Redis: one server, the servers that a Sentinel monitors, or a cluster.

It is read strictly. Errors do not quote it, because any part of it can be a piece of a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

Kind = Literal["one", "sentinel", "cluster"]
Node = tuple[str, int]

#: The schemes of a URL, each with the kind of address, and whether it uses TLS.
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("one", False),
    "rediss": ("one", True),
    "unix": ("one", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_PORTS: dict[Kind, int] = {"one": 6379, "sentinel": 26379, "cluster": 6379}
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_CERT_REQS = ("none", "optional", "required")
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to, and how."""

    kind: Kind
    shown: str
    """The URL for people: without user, password and query."""
    nodes: tuple[Node, ...] = ()
    """The server, the Sentinels, or some nodes of a cluster."""
    path: str | None = None
    """The path of a socket, instead of nodes."""
    db: int = 0
    master: str = ""
    """The name under which Sentinel monitors the servers."""
    tls: bool = False
    tls_options: Mapping[str, str | bool] = field(default_factory=dict)
    """By the names of redis-py."""
    login: tuple[str | None, str | None] = field(default=(None, None), repr=False)
    """User and password."""
    sentinel_login: tuple[str | None, str | None] = field(default=(None, None), repr=False)


def read(url: str) -> Address:
    """The address in a URL. Raises ValueError, whose one line says what is wrong and what is right without quoting."""
    parts, fault = _split(url)
    if parts is None:
        raise ValueError(fault)
    kind, tls = _SCHEMES[parts.scheme]
    if parts.scheme == "unix":
        return _of_socket(parts)
    login, places = _login(parts.netloc)
    nodes = tuple([_node(place, _PORTS[kind]) for place in places.split(",")])  # a generator would keep its locals
    if kind == "one" and len(nodes) > 1:
        raise ValueError(
            "the URL of the fleet's store names several servers: write redis+cluster:// for nodes of a cluster, or "
            "redis+sentinel:// for Sentinels"
        )
    master, db = _path(kind, parts.path)
    options = _options(parts.query, _TLS_OPTIONS * tls + _SENTINEL_OPTIONS * (kind == "sentinel") + ("db",))
    db = _db(options["db"]) if "db" in options else db
    if kind == "cluster" and db:
        raise ValueError(
            "the URL of the fleet's store names a database, but a cluster has only database 0: leave it out"
        )
    where = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in nodes)
    end = {"one": f"/{db}", "sentinel": f"/{master}/{db}", "cluster": ""}[kind]
    return Address(
        kind=kind,
        shown=f"{parts.scheme}://{where}{end}",
        nodes=nodes,
        db=db,
        master=master,
        tls=tls,
        tls_options=_tls_options(options),
        login=login,
        sentinel_login=(options.get("sentinel_username"), options.get("sentinel_password")),
    )


def _split(url: str) -> tuple[SplitResult | None, str]:
    """The parts of the URL; or None, and what is wrong. It raises nothing: urllib's own error quotes the URL."""
    known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
    try:
        parts = urlsplit(url)
    except ValueError:
        return None, "the URL of the fleet's store cannot be read: write an IPv6 address as redis://[::1]:6379"
    if parts.scheme not in _SCHEMES or not url[len(parts.scheme) :].startswith("://"):
        return None, f"the URL of a fleet's Redis begins with one of {known}"
    if "@" in parts.path + parts.query + parts.fragment or "#" in url:
        return None, (
            "the URL of the fleet's store has a character in its user, password or path that must be escaped there: "
            "write / as %2F, ? as %3F, # as %23 and @ as %40"
        )
    if any(ord(character) <= 32 for character in url):
        return None, "the URL of the fleet's store has a space or a control character: write a space as %20"
    return parts, ""


def _login(netloc: str) -> tuple[tuple[str | None, str | None], str]:
    """User and password, and the rest."""
    given, _, places = netloc.rpartition("@")
    user, _, password = given.partition(":")
    return (unquote(user) or None, unquote(password) or None), places


def _node(place: str, default: int) -> Node:
    host, colon, port = place, "", ""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    elif ":" in place:
        host, colon, port = place.partition(":")
    if not host:
        raise ValueError("the URL of the fleet's store names no host: write redis://HOST:PORT/DATABASE")
    if colon not in ("", ":") or (colon and not (port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65536)):
        raise ValueError(
            "the URL of the fleet's store has a port that is not a number from 1 to 65535; in a user or password, "
            "write : as %3A, / as %2F and @ as %40"
        )
    return unquote(host), int(port) if port else default


def _path(kind: Kind, path: str) -> tuple[str, int]:
    """The name of the servers that Sentinel monitors, and the number of the database."""
    steps = [unquote(step) for step in path.strip("/").split("/") if step]
    master = ""
    if kind == "sentinel":
        if not steps:
            raise ValueError(
                "the URL of the fleet's store lacks the name of the master that Sentinel monitors: write "
                "redis+sentinel://HOST1:26379,HOST2:26379/NAME/DATABASE"
            )
        master = steps.pop(0)
    if len(steps) > 1:
        raise ValueError("the URL of the fleet's store has something after the database number: leave it out")
    return master, _db(steps[0]) if steps else 0


def _db(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 6):
        raise ValueError("the URL of the fleet's store has a database that is not a number: write redis://HOST:PORT/0")
    return int(given)


def _of_socket(parts: SplitResult) -> Address:
    path = unquote(parts.path)
    login, host = _login(parts.netloc)
    if host or not path:
        raise ValueError("the URL of the fleet's store names no socket: write unix:///PATH, with three slashes")
    options = _options(parts.query, ("db", "username", "password"))
    db = _db(options.get("db", "0"))
    user, password = login
    login = (options.get("username", user), options.get("password", password))
    return Address("one", shown=f"unix://{path}", path=path, db=db, login=login)


def _options(query: str, allowed: tuple[str, ...]) -> dict[str, str]:
    given = parse_qsl(query, keep_blank_values=True)
    for at, (name, _) in enumerate(given, 1):
        if name not in allowed:
            # After an unescaped question mark, this may be the end of a password.
            shown = name if name in (*_TLS_OPTIONS, *_SENTINEL_OPTIONS, "username", "password") else f"number {at}"
            raise ValueError(
                f"the URL of the fleet's store has an option that its scheme does not allow ({shown}); allowed are: "
                f"{', '.join(sorted(allowed))}"
            )
    return dict(given)


def _tls_options(options: Mapping[str, str]) -> dict[str, str | bool]:
    given: dict[str, str | bool] = {name: options[name] for name in _TLS_OPTIONS if name in options}
    if given.get("ssl_cert_reqs", "none") not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs, in the URL of the fleet's store, is one of: {', '.join(_CERT_REQS)}")
    if "ssl_check_hostname" in given:
        flag = options["ssl_check_hostname"].lower()
        if flag not in _FLAGS:
            raise ValueError(f"ssl_check_hostname, in the URL of the fleet's store, is one of: {', '.join(_FLAGS)}")
        given["ssl_check_hostname"] = _FLAGS[flag]
    if given.get("ssl_cert_reqs") == "none":
        given["ssl_check_hostname"] = False  # redis-py 6.0 does not do that by itself
    return given
