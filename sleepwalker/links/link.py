"""`Link`: one link of a response, and how texts name links."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal
from urllib.parse import urljoin

from sleepwalker.exceptions import URLError
from sleepwalker.transport.url import origin_of, safe_path

#: Where a link stood: in the header, in a member of the JSON body, or at the top level of the "body" under its
#: relation's name. Empty if it was made by hand.
Place = Literal["Link", "_links", "links", "@odata.nextLink", "body", "_embedded", "data", "relationships", ""]

#: How many names a text lists.
_LISTED = 20


@dataclass(frozen=True, slots=True, repr=False)
class Link:
    """A link as the server wrote it; `links` finds them and `follow` takes them.

    You can make one from a URL found elsewhere: `Link("next", response.json()["paging"]["older"], response.url)`.
    TypeError if one of these three is not a string. Its `repr` shows no query.

    Example:
        ```python
        response = conn.get("/items")
        older = Link("next", response.json()["paging"]["older"], response.url)
        follow(response, older)
        ```
    """

    relation: str
    target: str
    """A URL, relative to `base` or absolute, or a template of one."""
    base: str
    """The URL of the response that it stood in."""
    place: Place = ""
    """Where it stood; empty if it was made by hand."""
    templated: bool = False
    """Whether `target` is a template with variables (RFC 6570)."""
    context: str | None = None
    """What it is a link of, None: of the response. An `anchor`, an item's own URL, or a JSON pointer to the item
    such as `#/data/0`; relative to `base` or absolute."""
    full_relation: str | None = None
    """The URL that a HAL curie such as `acme:order` is short for, if it is one."""
    name: str | None = None
    """Tells links of one relation apart (HAL)."""
    title: str | None = None
    type: str | None = None
    """The media type to expect."""
    hreflang: str | None = None
    deprecation: str | None = None
    """Set where the server will take the link away (HAL): a URL that says more, or empty."""

    def __post_init__(self) -> None:
        for name in ("relation", "target", "base"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} of a Link must be a string, not a {type(getattr(self, name)).__name__}")

    def __repr__(self) -> str:
        name = f" name={self.name!r:.50}" if self.name else ""
        return f"<Link {shown_name(self.relation)} to {shown_url(self)}{name}{' templated' * self.templated}>"


def shown_name(text: str) -> str:
    """The name of a relation or variable for a text. A relation may be a URL: its query is left out."""
    if "@" in text and "/" in text:
        return "(not shown, as it has an @)"
    bare = re.split(r"[?#]", text, maxsplit=1)[0]
    return ascii(bare if len(bare) <= 80 else f"{bare[:80]}...")


def shown_names(names: Iterable[str]) -> str:
    """Names for a text, each once, the first `_LISTED` of them."""
    distinct = iter(dict.fromkeys(names))
    text = ", ".join(map(shown_name, islice(distinct, _LISTED)))
    rest = sum(1 for _ in distinct)
    return f"{text} and {rest} more" if rest else text


def shown_link(link: Link) -> str:
    """The link for a text: its relation, and the URL of the response that it stood in."""
    return f"the link {shown_name(link.relation)} of {shown_place(link.base)}"


def shown_url(link: Link) -> str:
    """The link's target for a text, up to its query, its fragment or a template's first variable."""
    return shown_place(link.base, re.split(r"[{?#]", link.target, maxsplit=1)[0])


def shown_place(base: str, target: str = "") -> str:
    """Origin and path of a URL for a text."""
    try:
        url = urljoin(base, target)
        return f"{origin_of(url)}{safe_path(url)}"
    except (URLError, ValueError):
        return "(a URL that is not shown)"


def warn_if_deprecated(link: Link, level: int) -> None:
    """Warn of a link that HAL marks as deprecated. `level` is the stack level of the caller's line."""
    if link.deprecation is None:
        return
    more = f"; see {shown_place(link.base, link.deprecation)}" if link.deprecation else ""
    warnings.warn(f"{shown_link(link)} is deprecated{more}", DeprecationWarning, stacklevel=level)
