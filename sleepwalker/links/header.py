"""Reads the links of `Link` headers (RFC 8288)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

from sleepwalker.links.link import Link

try:
    import weblinking
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "sleepwalker.links needs the package weblinking: pip install 'sleepwalker[services]'", name=_error.name
    ) from None


def header_links(value: str | None, base: str) -> Iterator[Link]:
    """The links of a header. One with several relations is yielded once for each. What cannot be read is left out."""
    for found in weblinking.parse(value or ""):
        context = _context(found.anchor, base)
        for relation in dict.fromkeys(found.rels):
            yield Link(
                relation,
                found.uri,
                base,
                "Link",
                templated="{" in found.uri,  # a URL has no braces (RFC 3986), but servers send templates here
                context=context,
                title=found.title,
                type=found.type,
                hreflang=found.hreflang,
            )


def _context(anchor: str | None, base: str) -> str | None:
    """The context of a link with this anchor: the resource that it is a link of. None for the response itself."""
    if anchor is None:
        return None
    try:
        return None if urljoin(base, anchor) == base else anchor
    except ValueError:
        return anchor
