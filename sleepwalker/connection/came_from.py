"""Remembers the connection of each response, and the pairs that it was held for. Following links needs both."""

from __future__ import annotations

import weakref
from typing import Any

import requests

from sleepwalker.connection.usage import Usage
from sleepwalker.lookup.held import Held
from sleepwalker.transport.url import Origin

__all__ = ["CameFrom", "came_from", "note_came_from"]


class CameFrom:
    """The connection of a response, while it exists, and the pairs that it was held for.

    The note lives as long as the response, so it may outlive the connection. Copies and pickles of the response lose
    it.
    """

    __slots__ = ("_ref", "origin", "scope", "usage")

    def __init__(self, conn: object, origin: Origin | None, usage: Usage | None, scope: str | None = None) -> None:
        self._ref: weakref.ref[Any] | None
        # Weak, because a connection has its last response, and a cached response must not hold a pool of sockets.
        try:
            self._ref = weakref.ref(conn)
        except TypeError:  # of a class with slots
            self._ref = None
        self.origin: Origin | None = origin
        """Where the connection goes."""
        self.usage: Usage | None = usage
        self.scope: str | None = scope
        """The name of its scope that the request went through, if any; the scope itself is made again if it is gone."""

    @property
    def connection(self) -> Any:
        """The connection, or its scope. None if it no longer exists."""
        conn = None if self._ref is None else self._ref()
        return conn if conn is None or self.scope is None else conn._scoped(self.scope)

    @property
    def held(self) -> tuple[Held, ...]:
        """The pairs for which managers hold it, or held it."""
        return () if self.usage is None else self.usage.held


class _Note(weakref.ref[requests.Response]):
    """A `CameFrom` that is kept beside a response: an attribute would be copied, pickled and shown with it."""

    # Compared and hashed by identity: responses of a caching session may have no hash.
    __slots__ = ("came_from",)
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    came_from: CameFrom


#: Keeps each note for as long as its response lives.
_notes: set[_Note] = set()


def note_came_from(response: requests.Response, through: CameFrom) -> None:
    """Remember the connection of a response for the response's lifetime. The latest note wins. Thread-safe."""
    if response.__weakref__ is not None:  # type: ignore[attr-defined]  # a foreign object may return one again
        for ref in weakref.getweakrefs(response):
            if type(ref) is _Note:
                ref.came_from = through
                return
    # The callback is a method of C's: a signal handler cannot raise in it, which would leave the note for ever.
    note = _Note(response, _notes.discard)
    note.came_from = through
    _notes.add(note)


def came_from(response: requests.Response) -> CameFrom | None:
    """The note of this response object. None if it has none."""
    for ref in weakref.getweakrefs(response):
        if type(ref) is _Note:
            return ref.came_from
    return None
