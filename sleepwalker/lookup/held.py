"""The pairs for which managers hold a connection, or held it."""

from __future__ import annotations

import weakref
from typing import Any

from sleepwalker.lookup.keys import AuthKey

#: The most pairs that are remembered for one connection.
_MOST = 16


class Held:
    """A pair for which a manager holds or held a connection, in the words of the first request."""

    __slots__ = ("auth", "holder", "host", "key", "name", "primary")

    def __init__(
        self, holder: weakref.ref[Any], name: str, host: str, auth: Any, key: AuthKey, primary: str | None = None
    ) -> None:
        self.holder: weakref.ref[Any] = holder
        """The manager."""
        self.name: str = name
        self.host: str = host
        self.auth: Any = auth
        self.key: AuthKey = key
        self.primary: str | None = primary
        """The origin of the host that was asked for, if known. The connection may go to a failover target instead."""

    def __repr__(self) -> str:
        return f"<held for {self.name}>"


class Holding:
    """What a manager notes when it holds a connection, computed without a lock."""

    __slots__ = ("after", "before", "mine")

    def __init__(self, before: tuple[Held, ...], mine: Held) -> None:
        same = (one for one in before if one.holder is mine.holder and one.name == mine.name and one.key == mine.key)
        known = next(same, None)
        self.before: tuple[Held, ...] = before
        self.mine: Held = mine if known is None else known
        self.after: tuple[Held, ...] = (*before, mine)[-_MOST:] if known is None else before
