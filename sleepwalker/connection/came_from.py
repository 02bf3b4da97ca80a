"""Where an answer came from and as whom its connection was found, for whoever follows its links."""

from __future__ import annotations

import weakref
from typing import Any

from sleepwalker.connection.held import Held
from sleepwalker.connection.usage import Usage
from sleepwalker.transport.url import Origin


class CameFrom:
    """The connection that an answer came through, as far as it is still there, and what it was held for.

    The answer has it, and so it outlives the connection. A copy or a pickle of the answer is without it.
    """

    __slots__ = ("_ref", "origin", "scope", "usage")

    def __init__(self, conn: Any, origin: Origin | None, usage: Usage | None, scope: str | None = None) -> None:
        self._ref: weakref.ref[Any] | None
        # Weak, for a connection has its last answer, and an answer in a cache must not hold a pool of sockets.
        try:
            self._ref = weakref.ref(conn)
        except TypeError:  # of a class with slots
            self._ref = None
        self.origin = origin
        """Where the connection goes."""
        self.usage = usage
        self.scope = scope
        """Which of its scopes it was, if any. Nobody else need have that: it is made anew."""

    @property
    def connection(self) -> Any:
        """The connection, or its scope; None once it is gone."""
        conn = None if self._ref is None else self._ref()
        return conn if conn is None or self.scope is None else conn._scoped(self.scope)

    @property
    def held(self) -> tuple[Held, ...]:
        """The pairs that it is held for, or was."""
        return () if self.usage is None else self.usage.held
