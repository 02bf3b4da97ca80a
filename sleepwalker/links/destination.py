"""Where a link leads: its target as an absolute URL that may be requested."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urldefrag

from sleepwalker.exceptions import InvalidParameter, LinkError, MissingVariable, URLError
from sleepwalker.links.link import Link, shown_link, shown_names
from sleepwalker.links.template import expand, variables_of
from sleepwalker.links.way import OPTIONS, Way
from sleepwalker.transport.url import Origin, join, origin_of

#: Keywords of `follow` and `pages`. Template variables with these names must be passed in `variables`.
_RESERVED = OPTIONS | {"allow", "auth", "manager", "max_pages", "method", "missing", "variables"}

_MAX_URL = 65_536
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"\A[^:/?#]+://[^/?#]*")


@dataclass(frozen=True, slots=True)
class Destination:
    """An absolute URL without fragment, split after its origin."""

    origin: Origin
    # Not in the repr, which a traceback with locals would show.
    rest: str = field(repr=False)
    """Path and query."""

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.origin}{self.rest}"

    def at(self, origin: Origin) -> Destination:
        """The same path and query at another origin, such as a failover target that a hook chose."""
        return Destination(origin, self.rest)


def destination_of(link: Link, way: Way, answered: str) -> Destination:
    """Expand the link's template, join it with its base, and return where it leads.

    `answered` is the URL of the response that the link is followed from. A link made by hand may have another base.
    """
    try:
        reference = _reference(link, way)
        if _CONTROL.search(reference):  # here, because joining silently drops some of them
            raise URLError("it has control characters")
        url = urldefrag(join(link.base, reference)).url
        if len(url) > _MAX_URL:
            raise URLError(f"its URL has {len(url)} characters; at most {_MAX_URL} are sent")
        scheme = _SCHEME.match(url)
        if scheme is not None and scheme[1].lower() not in ("http", "https"):
            raise URLError(f"it has the scheme {scheme[1].lower()[:20]!r}; only http and https can be followed")
        origin = origin_of(url)
        if origin.scheme == "http" and any(base.lower().startswith("https:") for base in (link.base, answered)):
            raise URLError(
                f"it leads from https to {origin}, which is never followed, because the request would be "
                f"readable on the network"
            )
    except (URLError, LinkError, InvalidParameter, MissingVariable) as error:
        told = type(error)(f"{shown_link(link)}: {error}")
    else:
        return Destination(origin, _rest_of(url))
    raise told


def normal(url: str) -> str:
    """The URL of a response in the form of `Destination.url`."""
    try:
        return Destination(origin_of(url), _rest_of(url)).url
    except URLError:  # of a response that did not come over the network
        return url


def _rest_of(url: str) -> str:
    return _AUTHORITY.sub("", url, count=1)


def _reference(link: Link, way: Way) -> str:
    if not link.templated:
        if way.variables:
            raise InvalidParameter(
                f"it is not a template, so it has no variable {shown_names(way.variables)}{_meant(way)}"
            )
        return link.target
    twice = [name for name in variables_of(link.target) if name in way.options and name not in way.variables]
    if twice:
        raise InvalidParameter(
            f"{shown_names(twice)} is both a variable of its template and a request option: pass the variable in "
            f"variables={{{twice[0]!r}: ...}}; None there leaves it out"
        )
    return expand(link.target, way.variables, _RESERVED)


def _meant(way: Way) -> str:
    """A hint at the option that the caller may have misspelt; empty if no name is close."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    options = sorted(_RESERVED)
    close = next((found for name in way.variables for found in get_close_matches(name, options, n=1)), None)
    return "" if close is None else f"; did you mean {close}=?"
