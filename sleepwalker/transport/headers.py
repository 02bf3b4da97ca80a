"""Header mappings: checked once when they are given, merged cheaply for each request."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

from requests.structures import CaseInsensitiveDict

from sleepwalker.transport.url import check_headers

Headers = CaseInsensitiveDict[Any]
Fields = dict[str, tuple[str, Any]]
"""Name and value of each header by lower-case name, as requests' own headers keep them."""


def _looks_as_known() -> bool:
    """Whether this release of requests keeps headers in `_store`, as `Fields`, and nothing else."""
    try:
        made = vars(CaseInsensitiveDict({"A-B": "c"}))
        return made.keys() == {"_store"} and made["_store"].copy() == {"a-b": ("A-B", "c")}
    except Exception:  # noqa: BLE001 - a release may differ in any way
        return False


#: If not, the mapping's own methods are used, which take longer.
_STORE_IS_KNOWN = _looks_as_known()
#: Checked fields to remember: more than a connection sends repeatedly.
_MOST_FIELDS = 64


def store_of(headers: Any) -> Fields | None:
    """The store of requests' own headers; None for other mappings.

    One access through the mapping costs as much as all that is done with its store.
    """
    return headers._store if _STORE_IS_KNOWN and headers.__class__ is CaseInsensitiveDict else None


def headers_of(store: Fields) -> Headers:
    """requests' own headers, made from a store."""
    if not _STORE_IS_KNOWN:
        return CaseInsensitiveDict(dict(store.values()))
    made: Headers = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
    made._store = store.copy()  # type: ignore[assignment]
    return made


class Checked:
    """The last check of each attempt's headers, which a session, an auth object or a cookie may have changed.

    It remembers fields that passed.
    """

    def __init__(self) -> None:
        self._fine: set[Any] = set()

    def __call__(self, headers: Any) -> None:
        """URLError that names a header that cannot be sent."""
        store = store_of(headers)
        fields: Any = headers.items() if store is None else store.values()
        try:
            if self._fine.issuperset(fields):
                return
        except TypeError:  # a value that is not hashable cannot be sent either
            pass
        check_headers(headers)
        if len(self._fine) >= _MOST_FIELDS:
            self._fine = set()
        self._fine.update(fields)


def checked_headers(headers: Mapping[Any, Any] | None) -> Headers:
    """A checked copy, with names as str; URLError that names a header that cannot be sent."""
    check_headers(headers)
    pairs = (headers or {}).items()
    return CaseInsensitiveDict({k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in pairs})


def unshared(headers: Any) -> Any:
    """A copy of a caller's mapping that shares nothing with it, and has its type where possible.

    Made by its own `copy` method if that keeps the type. Not by `copy.copy`: for requests' CaseInsensitiveDict, and any
    class that keeps its items in an attribute, that makes two mappings with one store.
    """
    own = None
    with contextlib.suppress(Exception):  # then try the next way
        own = headers.copy()
        if type(own) is type(headers) and own is not headers:
            return own
    with contextlib.suppress(Exception):  # it may hold something that cannot be copied
        return copy.deepcopy(headers)
    return dict(headers) if own is None or own is headers else own


def merged(*layers: Mapping[Any, Any] | None) -> Headers:
    """One mapping of all layers; later ones win. As in requests, None removes a header.

    Copies requests' own store: item access would cost several microseconds for the headers of every request.
    """
    if not _STORE_IS_KNOWN:
        return _merged_by_item(layers)
    result: Headers = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
    store = None
    for layer in layers:
        if layer is None:
            continue
        known = layer.__class__ is CaseInsensitiveDict or isinstance(layer, CaseInsensitiveDict)
        own = (layer if known else CaseInsensitiveDict(layer))._store  # type: ignore[union-attr]
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


def _merged_by_item(layers: tuple[Mapping[Any, Any] | None, ...]) -> Headers:
    result: Headers = CaseInsensitiveDict()
    for layer in layers:
        result.update(layer or {})
    for name in [name for name, value in result.items() if value is None]:
        del result[name]
    return result
