"""Header mappings: checked once where they come in, put together cheaply for each request."""

from __future__ import annotations

import contextlib
import copy
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


def unshared(headers: Any) -> Any:
    """A copy of a caller's mapping that keeps its type, where it can, and shares nothing with it.

    By its own `copy` where that keeps the type. `copy.copy` is no choice: of requests' CaseInsensitiveDict, and of
    any class that keeps its items in an attribute, it gives two mappings of one store.
    """
    own = None
    with contextlib.suppress(Exception):  # what it cannot do by itself is done below
        own = headers.copy()
        if type(own) is type(headers) and own is not headers:
            return own
    with contextlib.suppress(Exception):  # of one that holds what cannot be copied
        return copy.deepcopy(headers)
    return dict(headers) if own is None or own is headers else own


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
