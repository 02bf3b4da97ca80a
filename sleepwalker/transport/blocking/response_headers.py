"""urllib3's headers of a response, made from a plain head when they are needed."""

from __future__ import annotations

from typing import Any

from urllib3 import HTTPHeaderDict

from sleepwalker.transport.headers import Fields


class LazyHeaders(HTTPHeaderDict):
    """urllib3's headers of a response, filled when more than `get` is needed, which is rare: requests has its own."""

    def __init__(self, store: Fields | None = None) -> None:
        self.store = store
        """Name and value by lower-case name; None once the headers are filled, and may be changed."""
        if store is None:
            super().__init__()

    def __getattr__(self, name: str) -> Any:
        # An attribute that urllib3's constructor sets is used for the first time.
        store = vars(self).get("store")
        if store is None:
            raise AttributeError(name)
        self.store = None
        HTTPHeaderDict.__init__(self, store.values())
        return getattr(self, name)

    def get(self, key: str, default: Any = None) -> Any:
        if self.store is None:
            return super().get(key, default)
        pair = self.store.get(key.lower())
        return default if pair is None else pair[1]

    def __repr__(self) -> str:
        return repr(HTTPHeaderDict(self))

    def __reduce__(self) -> Any:
        return HTTPHeaderDict, (list(self.iteritems()),)  # a pickle needs only urllib3
