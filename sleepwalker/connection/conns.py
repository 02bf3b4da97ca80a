"""`ConnectionManager.conns`: the connections of a manager as a live mapping."""

from __future__ import annotations

import contextlib
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any

from sleepwalker.exceptions import URLError
from sleepwalker.frames import without_locals
from sleepwalker.lookup.foreign import EMPTY
from sleepwalker.lookup.keys import Asked, AuthKey
from sleepwalker.lookup.slot import Slot
from sleepwalker.lookup.table import SlotTable

_Key = tuple[str, Any]


class Conns(Mapping[_Key, Any]):
    """A live, read-only view of connections by (host as first given, auth).

    Credentials that cannot be hashed are represented by a hashable key object. So are credentials that equal others of
    another type, as 1 equals True. Iteration uses a snapshot taken when it begins.
    """

    __slots__ = ("_table",)

    def __init__(self, table: SlotTable) -> None:
        self._table = table

    @without_locals
    def __getitem__(self, key: Any) -> Any:
        host, auth = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        with contextlib.suppress(URLError):
            seen = self._table.look(Asked(host, auth, auth if type(auth) is AuthKey else None))
            if seen.slot is not None and seen.conn is not EMPTY and isinstance(key, tuple) and seen.slot.host == host:
                return seen.conn
        raise KeyError("no connection to this host with these credentials")

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._shown())

    def __len__(self) -> int:
        return len(self._table)

    def items(self) -> ItemsView[_Key, Any]:
        """The pairs of key and connection, as a snapshot."""
        return self._shown().items()

    def values(self) -> ValuesView[Any]:
        """The connections, as a snapshot."""
        return self._shown().values()

    def __repr__(self) -> str:
        return f"<conns: {len(self)}>"

    def _shown(self) -> dict[_Key, Any]:
        shown: dict[_Key, Any] = {}
        for slot, conn in self._table.held():
            key = _public_key(slot)
            shown[(slot.host, slot.key) if key in shown else key] = conn
        return shown


def _public_key(slot: Slot) -> _Key:
    try:
        hash(slot.auth)
    except TypeError:
        return slot.host, slot.key
    return slot.host, slot.auth
