"""Where an answer came from and as whom its connection was found, for whoever follows its links."""

from __future__ import annotations

import weakref
from typing import Any

from sleepwalker.connection.keys import AuthKey
from sleepwalker.connection.usage import Usage
from sleepwalker.transport.url import Origin

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


class CameFrom:
    """The connection that an answer came through, as far as it is still there, and what it was held for.

    The answer has it, and so it outlives the connection. A copy or a pickle of the answer is without it.
    """

    __slots__ = ("_ref", "origin", "usage")

    def __init__(self, conn: Any, origin: Origin | None, usage: Usage | None) -> None:
        self._ref: weakref.ref[Any] | None
        # Weak, for a connection has its last answer, and an answer in a cache must not hold a pool of sockets.
        try:
            self._ref = weakref.ref(conn)
        except TypeError:  # of a class with slots
            self._ref = None
        self.origin = origin
        """Where the connection goes."""
        self.usage = usage

    @property
    def connection(self) -> Any:
        """The connection; None once it is gone."""
        return None if self._ref is None else self._ref()

    @property
    def held(self) -> tuple[Held, ...]:
        """The pairs that it is held for, or was."""
        return () if self.usage is None else self.usage.held
