"""Header mappings: checked once where they come in, put together cheaply for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from requests.structures import CaseInsensitiveDict

from sleepwalker.transport.url import check_headers

Headers = CaseInsensitiveDict[Any]
#: As many fields as a connection sends again and again, and more: those beyond it are looked at anew.
_MOST_FIELDS = 64


class Checked:
    """The last look at what goes out, whoever put it there: a session's owner, an auth object, a server's cookie.

    Each attempt comes here, so fields that were found fine are remembered.
    """

    def __init__(self) -> None:
        self._fine: set[Any] = set()

    def __call__(self, headers: Any) -> None:
        """URLError that names a header that cannot be sent."""
        fields = headers._store.values() if isinstance(headers, CaseInsensitiveDict) else headers.items()
        try:
            if self._fine.issuperset(fields):
                return
        except TypeError:  # a value that cannot be hashed, nor be sent
            pass
        check_headers(headers)
        if len(self._fine) >= _MOST_FIELDS:
            self._fine = set()
        self._fine.update(fields)


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
