"""The arguments of `follow` and `pages`: their checks, and which of them may go to another host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sleepwalker.connection.allowed import allows
from sleepwalker.connection.foreign import read_once
from sleepwalker.connection.options import RequestOptions
from sleepwalker.exceptions import URLError
from sleepwalker.links.link import Link, shown_link, shown_names
from sleepwalker.transport.headers import unshared
from sleepwalker.transport.url import Origin

#: Keywords that are options of the request. Every other keyword is the value of a template variable.
OPTIONS = frozenset(RequestOptions.__annotations__)
#: Options that may be mappings, which their owner may change later.
MAPPINGS = ("headers", "params")
#: Options that go to another host only if `allow` permits it.
BELONGS = ("params", "data", "json", "files")
#: Headers that may go to any host, as they hold no credentials.
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "content-language", "content-type"}
    | {"idempotency-key", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "prefer", "range"}
    | {"traceparent", "tracestate", "user-agent"}
)


class Finder(Protocol):
    """A `ConnectionManager`, or another object with its `find`."""

    def find(self, host: str, auth: Any, /) -> Any:
        """The connection to a host."""
        ...


@dataclass(frozen=True)
class Way:
    """The checked arguments of `follow` or `pages`."""

    allow: tuple[str, ...]
    """Other origins that may get what the caller passes."""
    manager: Finder | None
    # Not in the repr, which a traceback with locals would show.
    auth: Any = field(repr=False)
    method: str
    variables: Mapping[str, Any] = field(repr=False)
    options: dict[str, Any] = field(repr=False)

    def allows(self, target: Origin) -> bool:
        """Whether `allow` permits this origin to get what the caller passes for the walk's first host."""
        return allows(self.allow, target.text, target)


def way_of(
    allow: tuple[str, ...],
    manager: Finder | None,
    auth: object,
    method: str,
    variables: Mapping[str, Any] | None,
    more: dict[str, Any],
) -> Way:
    """Check the arguments of `follow` and `pages`. TypeError for one of the wrong type."""
    if isinstance(manager, type):
        raise TypeError(f"manager is the class {manager.__name__}: pass an instance of it")
    if isinstance(manager, str) or (manager is not None and not callable(getattr(manager, "find", None))):
        raise TypeError(f"manager must be a ConnectionManager, not a {type(manager).__name__}")
    if variables is not None and not isinstance(variables, Mapping):
        raise TypeError(f"variables must be a mapping of names to values, not a {type(variables).__name__}")
    options = {name: value for name, value in more.items() if name in OPTIONS}
    words = {name: value for name, value in more.items() if name not in OPTIONS}
    # Copied: each step sends them, and the caller may change them in between.
    options |= {name: unshared(options[name]) for name in MAPPINGS if isinstance(options.get(name), Mapping)}
    return Way(allow, manager, auth, method, {**words, **(variables or {})}, options)


def check_options(link: Link, target: Origin, way: Way) -> None:
    """URLError if an option must not go to `target`: it may be a secret, and no server may choose who gets it."""
    headers = way.options.get("headers")
    if headers is not None and not isinstance(headers, Mapping):
        raise URLError(f"headers must be a mapping of names to values, not {type(headers).__name__}")
    if way.allows(target):
        return
    kept = [f"{name}=" for name in BELONGS if way.options.get(name) is not None]
    names = [str(name) for name in headers or () if str(name).lower() not in _HARMLESS]
    if names:
        kept.append(f"headers that may be credentials ({shown_names(names)})")
    if kept:
        raise URLError(
            f"{shown_link(link)} leads to {target}, a host named by a server's link, so these are not sent there: "
            f"{', '.join(kept)}; pass allow=['{target}'] if that host may get them, or let the manager's hook set "
            f"headers= on its connection"
        )


def check_again_and_again(way: Way) -> None:
    """Refuse options that can be read only once, since each step sends them."""
    once = [f"{name}=" for name in BELONGS if read_once(way.options.get(name))]
    if once:
        raise TypeError(
            f"{', '.join(once)} can be read only once, but must be sent for each page: pass a value that can be read "
            f"again, "
            "such as bytes or a list; data= may also be a function that makes a new body"
        )
