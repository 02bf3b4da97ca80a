"""Retires connections that a manager no longer holds: emits their events, lets their calls finish, closes them."""

from __future__ import annotations

import contextlib
import inspect
import threading
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sleepwalker.connection.base import ConnectionBase
from sleepwalker.connection.guard import end_waits, is_guard, once_idle
from sleepwalker.connection.kinds import as_connection, bare
from sleepwalker.events import Observer
from sleepwalker.lookup.released import Leaving, announced
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.table import Released


class Closing:
    """Closes connections in the caller's thread. It may raise any exception."""

    def close(self, conn: Any) -> None:
        """Close a connection of any kind permanently."""
        if callable(close := getattr(conn, "close", None)):
            self.leave(close())

    @staticmethod
    def leave(closing: object) -> None:
        """Drop an awaitable that a `close` returned, because nothing here can await it."""
        if inspect.iscoroutine(closing):
            closing.close()

    def retire(self, conn: ConnectionBase) -> None:
        """Make one of our connections give up its sockets."""
        conn.retire()


class Retiring:
    """No lock is held while its methods are called, because closing a connection may run a user's code."""

    def __init__(self, lookup: Lookup, observe: Observer, closing: Closing) -> None:
        self.lock: threading.RLock = threading.RLock()
        """The lookup's lock."""
        self._lookup, self._observe, self._closing = lookup, observe, closing
        self._leaving = Leaving(lookup.table)

    def release(self, released: Iterable[Released], *, cut: bool = False) -> None:
        """Emit the events of released connections and retire them. With `cut`, their waiting calls end now."""
        for each in released:
            for event in announced(each):
                self._observe(event)
            conn = each.conn
            if cut or self._lookup.closed or each.reason is None:
                end_waits(conn)
                self._close_unheld(conn)
            elif is_guard(conn):
                with self.lock:
                    self._leaving.goes_on(conn, bare(conn))
                once_idle(conn, partial(self._close_unheld, conn))
            else:
                self._close_unheld(conn, gently=True)

    def cut(self, leaving: list[Any], retired: Sequence[weakref.ref[Any]]) -> None:
        """End the calls of connections released before; see `left`."""
        for conn in leaving:
            end_waits(conn)
        for ref in retired:
            if (conn := ref()) is not None:
                self._close_unheld(conn)

    def left(self) -> tuple[list[Any], Sequence[weakref.ref[Any]]]:
        """Guards with running calls, and references to released connections that a user still holds."""
        return self._leaving.all()

    def drop(self, conn: Any) -> None:
        """Close what a hook returned after all waiters had gone; it may be None."""
        if conn is not None:
            self._close_unheld(conn)

    def _close_unheld(self, conn: Any, *, gently: bool = False) -> None:
        """Close a connection, unless something still needs it. For a scope, close its connection."""
        itself = bare(conn)
        if not is_guard(conn):
            conn = itself
        with self.lock:
            if not self._leaving.may_close(conn, itself):
                return
        with contextlib.suppress(Exception):  # a connection that fails to close is gone anyway
            ours = as_connection(conn)
            if ours is not None and gently:
                self._closing.retire(ours)
                usage = ours.usage
                with self.lock:
                    self._leaving.retired(conn, itself, usage)
            else:
                self._closing.close(conn)
