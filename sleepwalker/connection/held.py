"""For which pairs managers hold a connection, or held it."""

from __future__ import annotations

import weakref
from typing import Any

from sleepwalker.connection.keys import AuthKey

#: With more pairs than these for one connection it is told apart no better.
_MOST = 16


class Held:
    """A pair that a manager holds a connection for, or held it for, in the words in which it was asked for first."""

    __slots__ = ("auth", "holder", "host", "key", "name")

    def __init__(self, holder: weakref.ref[Any], name: str, host: Any, auth: Any, key: AuthKey) -> None:
        self.holder = holder
        """The manager."""
        self.name = name
        self.host = host
        self.auth = auth
        self.key = key

    def __repr__(self) -> str:
        return f"<held for {self.name}>"


class Holding:
    """What a manager takes note of when it holds a connection, worked out while no lock is held."""

    __slots__ = ("after", "before", "mine")

    def __init__(self, before: tuple[Held, ...], mine: Held) -> None:
        self.before = before
        self.mine = mine
        known = any(one.holder is mine.holder and one.name == mine.name and one.key == mine.key for one in before)
        self.after = before if known else (*before, mine)[-_MOST:]
