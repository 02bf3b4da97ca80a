"""`ConnectionManager.conns`: what a manager holds, as a mapping that is always of now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any

from sleepwalker.connection.keys import Asked, AuthKey
from sleepwalker.connection.pair import NOTHING, Pair
from sleepwalker.exceptions import URLError
from sleepwalker.frames import without_locals

_Key = tuple[Any, Any]


class Conns(Mapping[_Key, Any]):
    """A live, read-only view of connections by (host as first given, auth).

    Credentials that cannot be hashed are represented by a key object that can; so are those that equal others of
    another type, as 1 equals True. Iteration is over what there was when it began.
    """

    __slots__ = ("_count", "_look", "_ready")

    def __init__(
        self,
        ready: Callable[[], list[tuple[Pair, Any]]],
        look: Callable[[Asked], tuple[Pair | None, Any]],
        count: Callable[[], int],
    ) -> None:
        self._ready, self._look, self._count = ready, look, count

    @without_locals
    def __getitem__(self, key: Any) -> Any:
        host, auth = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        with contextlib.suppress(URLError):
            pair, conn = self._look(Asked(host, auth, auth if type(auth) is AuthKey else None))
            if pair is not None and conn is not NOTHING and isinstance(key, tuple) and pair.host == host:
                return conn
        raise KeyError("no such host, or none with these credentials")

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._shown())

    def __len__(self) -> int:
        return self._count()

    def items(self) -> ItemsView[_Key, Any]:
        """The pairs of key and connection, as of now."""
        return self._shown().items()

    def values(self) -> ValuesView[Any]:
        """The connections, as of now."""
        return self._shown().values()

    def __repr__(self) -> str:
        return f"<conns: {len(self)}>"

    def _shown(self) -> dict[_Key, Any]:
        shown: dict[_Key, Any] = {}
        for pair, conn in self._ready():
            key = _public_key(pair)
            shown[(pair.host, pair.key) if key in shown else key] = conn
        return shown


def _public_key(pair: Pair) -> _Key:
    try:
        hash(pair.auth)
    except TypeError:
        return pair.host, pair.key
    return pair.host, pair.auth
