"""The store in a file: opens it, retries, closes it and opens it again."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.fleet.local.file import (
    BUSY_FOR,
    BeingMade,
    Opened,
    close_file,
    fault,
    identity,
    is_busy,
    look,
    open_file,
    renew_after_fork,
)
from sleepwalker.fleet.local.tables import Service
from sleepwalker.fleet.store import Heard, Order, Overview, Said, StoreError

__all__ = ["FileStore"]

T = TypeVar("T")

#: The errors of reading a file with data that is not ours.
_GARBAGE = (ValueError, TypeError, OverflowError, LookupError)
Begin = Literal["", "BEGIN", "BEGIN IMMEDIATE"]


class FileStore:
    """A store in one file, for the workers of one machine. `Store` describes the methods.

    The first sync creates the file, readable by its owner only; its folder must exist. Several services may share it.
    The last worker leaves it in place. If it is deleted, the next sync creates it again, like a flushed store.

    The store's clock is set from the machine's wall clock once, when the file is created or the machine has started.
    After that it follows the monotonic clock, so setting the wall clock changes nothing.

    Thread-safe: threads wait for each other. A fork waits for a running call, and both processes open the file again.

    `timeout` is in seconds. Raises `ValueError` for a path that is not absolute.
    """

    def __init__(self, path: str | Path, service: str, *, timeout: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self.path: Path = Path(path)
        if not self.path.is_absolute() or "\x00" in str(path):
            raise ValueError(f"path {str(path)!r} is not absolute: workers may have different working folders")
        if not service:
            raise ValueError("service is empty: give the name that all workers of the service share, such as 'billing'")
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout {timeout!r} is not allowed: it must be a number of seconds above 0")
        self.shown: str = self.path.as_uri()
        self._service = service
        self._timeout = timeout
        self._tries = math.ceil(timeout / BUSY_FOR)
        self._clock = clock
        # Held during a call, because threads share the store, and because a fork must not happen within a call.
        self._lock = threading.Lock()
        self._opened: Opened | None = None
        self._never = threading.Event()
        self._is_closing = False
        _stores.add(self)

    def __repr__(self) -> str:
        return f"FileStore({self.shown!r}, {self._service!r})"

    def version(self) -> tuple[str, int] | None:
        def ask(opened: Opened) -> tuple[str, int] | None:
            row = opened.connection.execute(
                "SELECT store, version FROM services WHERE name = ?", (self._service,)
            ).fetchone()
            return None if row is None else (str(row[0]), int(row[1]))

        return self._use(ask, "", lambda: None)

    def sync(self, said: Said) -> Heard:
        return self._use(lambda opened: self._in(opened).sync(said), "BEGIN IMMEDIATE")

    def order(self, name: str, order: Order) -> int:
        return self._use(lambda opened: self._in(opened).order(name, order), "BEGIN IMMEDIATE")

    def leave(self, worker: str) -> None:
        self._use(lambda opened: self._in(opened).leave(worker), "BEGIN IMMEDIATE", lambda: None)

    def overview(self) -> Overview:
        return self._use(lambda opened: self._in(opened).overview(), "BEGIN", lambda: Overview(self._clock.wall()))

    def close(self) -> None:
        self._is_closing = True  # a call that is running in another thread reads this, and closes at its end
        if self._lock.acquire(blocking=False):
            try:
                self._close_if_wanted_locked()
            finally:
                self._lock.release()

    def abandon(self) -> None:
        """Does not take the lock, which a thread of the parent may hold."""
        if self._opened is not None:
            # In this process, SQLite takes the locks of the parent's connection for its own, also for any new
            # connection to that file. So the file cannot be used until this process ends.
            _abandoned.append(self._opened.connection)
            _torn.add(self.path)
            self._opened = None

    def _in(self, opened: Opened) -> Service:
        return Service(opened.connection, self._service, opened.zero + self._clock.monotonic())

    def _use(self, act: Callable[[Opened], T], begin: Begin, absent: Callable[[], T] | None = None) -> T:
        """The result of `act`; with `absent`, a missing file is not created, and its result is returned instead."""
        for _ in range(self._tries):
            done = self._try(act, begin, absent)
            if not isinstance(done, _Busy):
                return done
            if not done.has_waited:
                self._never.wait(BUSY_FOR)
        raise StoreError(f"{self.path} has been locked by another process for {self._timeout:g} s")

    def _try(self, act: Callable[[Opened], T], begin: Begin, absent: Callable[[], T] | None) -> T | _Busy:
        with self._lock:
            try:
                return self._once_locked(act, begin, absent)
            except BeingMade:
                return _Busy(has_waited=False)
            except sqlite3.Error as error:
                if is_busy(error) and not self._is_closing:
                    return _Busy(has_waited=True)
                self._drop_locked()
                raise fault(self.path, error, self._timeout) from error
            except (OSError, *_GARBAGE) as error:
                self._drop_locked()
                raise fault(self.path, error, self._timeout) from error
            finally:
                self._close_if_wanted_locked()

    def _once_locked(self, act: Callable[[Opened], T], begin: Begin, absent: Callable[[], T] | None) -> T:
        opened = self._current_locked()
        if opened is None:
            if absent is not None and look(self.path) is None:
                return absent()
            opened = self._opened = open_file(self.path, self._clock)
        if not begin:
            return act(opened)
        run = opened.connection.execute
        run(begin)
        try:
            result = act(opened)
            run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # after some errors SQLite has rolled back already
                run("ROLLBACK")
            raise
        return result

    def _current_locked(self) -> Opened | None:
        """The open file, if it is still the one at the path."""
        opened = self._opened
        if opened is not None and opened.pid != os.getpid():
            self.abandon()
        if self.path in _torn:
            raise StoreError(
                f"{self.path} was open when this process was forked, so it cannot be used here: fork before the first "
                f"call"
            )
        if opened is None:
            return None
        status = look(self.path)
        if status is None or identity(status) != opened.identity or opened.is_off(self._clock):
            self._drop_locked()
        return self._opened

    def _close_if_wanted_locked(self) -> None:
        if self._is_closing:
            self._is_closing = False
            self._drop_locked()

    def _drop_locked(self) -> None:
        if self._opened is not None and self._opened.pid != os.getpid():
            self.abandon()
        opened, self._opened = self._opened, None
        if opened is None:
            return
        close_file(opened)

    def part_for_fork(self) -> bool:
        """Wait for a running call and close, before a fork. Returns whether the fork is safe."""
        if not self._lock.acquire(timeout=_FORK_WAITS):
            return False
        self._drop_locked()
        return True

    def part_after_fork(self, in_child: bool, was_parted: bool) -> None:
        if in_child:
            self._lock = threading.Lock()
            self._never = threading.Event()
            self.abandon()
        elif was_parted:
            self._lock.release()


@dataclass(frozen=True, slots=True)
class _Busy:
    """Another process or thread had the file locked, or was creating it."""

    has_waited: bool
    """Whether SQLite has waited for it already."""


#: Seconds that a fork waits for a running call. If it is still running then, the child cannot use the file.
_FORK_WAITS = 1.0
_stores: weakref.WeakSet[FileStore] = weakref.WeakSet()
_parted: list[tuple[FileStore, bool]] = []
#: Connections of a parent, which must not even be closed, and the files that they still have open in this process.
_abandoned: list[sqlite3.Connection] = []
_torn: set[Path] = set()


def _before_fork() -> None:
    _parted[:] = [(store, store.part_for_fork()) for store in list(_stores)]


def _after_fork(in_child: bool) -> None:
    parted = _parted[:]
    _parted.clear()
    if in_child:
        renew_after_fork()
    for store, was_parted in parted:
        store.part_after_fork(in_child, was_parted)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(in_child=False),
        after_in_child=lambda: _after_fork(in_child=True),
    )
