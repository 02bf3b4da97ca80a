"""The encoding of a text by its Content-Type."""

from __future__ import annotations

import functools

from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers


@functools.lru_cache(maxsize=256)
def encoding_of(content_type: str) -> str | None:
    """The encoding that requests finds in a Content-Type, if it is usable."""
    return usable_encoding(get_encoding_from_headers(CaseInsensitiveDict({"content-type": content_type})))


def usable_encoding(name: str | None) -> str | None:
    """The encoding; None for punycode, whose decoder takes quadratic time on a server's bytes."""
    return None if name is not None and "punycode" in name.lower() else name
