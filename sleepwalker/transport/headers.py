"""Header mappings: checked once where they come in, put together cheaply for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from requests.structures import CaseInsensitiveDict

from sleepwalker.transport.url import check_headers

Headers = CaseInsensitiveDict[Any]


def checked_headers(headers: Mapping[Any, Any] | None) -> Headers:
    """A copy, names as str; URLError that names what cannot be sent."""
    check_headers(headers)
    pairs = (headers or {}).items()
    return CaseInsensitiveDict({k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in pairs})


def merged(*layers: Mapping[Any, Any] | None) -> Headers:
    """One mapping of all layers, later ones first in rank. As in requests, None takes a header away.

    Copies requests' own store rather than going through its item access, which costs several
    microseconds for each copy of the handful of headers that every request has.
    """
    result: Headers = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
    store = None
    for layer in layers:
        if layer is None:
            continue
        own = (layer if isinstance(layer, CaseInsensitiveDict) else CaseInsensitiveDict(layer))._store
        if not own:
            continue
        if store is None:
            store = own.copy()
        else:
            store.update(own)
    if store is None:
        return CaseInsensitiveDict()
    for key in [key for key, (_, value) in store.items() if value is None]:
        del store[key]
    result._store = store
    return result
