"""The headers of a response as http.client has them, without the checks that `email` makes at each access."""

from __future__ import annotations

import http.client
from typing import Any


class PlainHeaders(http.client.HTTPMessage):
    """Headers in the usual form, which need none of the checks that `email` makes at each access."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self._headers = pairs
        store = {name.lower(): (name, value) for name, value in pairs}
        self.store = store if len(store) == len(pairs) else None
        """Name and value by lower-case name, as requests keeps them; None where a name occurs twice."""

    def items(self) -> list[tuple[str, str]]:
        return list(self._headers)

    def get(self, name: str, failobj: Any = None) -> Any:
        name = name.lower()
        if self.store is not None:
            pair = self.store.get(name)
            return failobj if pair is None else pair[1]
        for key, value in self._headers:
            if key.lower() == name:
                return value
        return failobj

    def with_length(self, length: int) -> PlainHeaders:
        """A copy with this length as its only Content-Length."""
        others = [pair for pair in self._headers if pair[0].lower() != "content-length"]
        return PlainHeaders([*others, ("Content-Length", str(length))])

    def is_multipart(self) -> bool:
        return False

    def get_payload(self, i: Any = None, decode: bool = False) -> Any:
        return None
