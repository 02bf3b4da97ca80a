"""Writes events as JSON lines to a file or to stderr."""

from __future__ import annotations

import functools
import json
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

from sleepwalker import files
from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.events import Event, Level, RequestFinished, logged_names, reader
from sleepwalker.process import THIS_PROCESS

__all__ = ["JsonLines", "text"]


class JsonLines:
    """One JSON object per line, each written in one piece.

    The file is opened for appending and written without a buffer or a lock, so lines of several threads
    and processes do not mix, and a forked child goes on writing. It is closed when nothing refers to this
    object any more: closed earlier, its descriptor might already be another file's at a late write.
    """

    __slots__ = ("__weakref__", "_clock", "_fd", "_latest", "level")

    def __init__(self, path: str | os.PathLike[str] | None, level: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """Open `path`. If it is None, each line goes to what `sys.stderr` is then.

        `level` is the lowest number written, as in the standard library's `logging`. Raises `OSError` or
        `ValueError` for a path that `files.open_to_write` refuses.
        """
        self.level: int = level
        self._clock = clock
        self._latest: tuple[float | None, str] = (None, "")
        """The second of the latest line, and its text: one tuple, because several threads may write."""
        self._fd = None
        if path is not None:
            self._fd = _open(path)
            # Not at exit: the end of the process closes the file, after the last thread has written.
            weakref.finalize(self, os.close, self._fd).atexit = False

    def write(self, level: Level, event: Event, bound: Mapping[str, Any]) -> None:
        """Append one event with what the application bound to its context. The event's own fields win.

        A value that JSON does not know is written as its text.
        """
        wall = self._clock.wall()
        second = wall // 1.0
        latest, date_and_time = self._latest
        if second != latest:  # most events of a busy process share their second with the one before
            date_and_time = datetime.fromtimestamp(second, UTC).isoformat()[:19]
            self._latest = second, date_and_time
        stamp = f"{date_and_time}.{int((wall - second) * 1000):03d}Z"
        rest = _plainly_finished(event) if type(event) is RequestFinished else None
        if rest is None:
            kind: Any = type(event)
            rest, names, values = _plan(kind)
            for name, value in zip(names, values(event)):  # noqa: B905 - as many by their making, and a check takes time
                if value is not None:
                    kind = type(value)
                    if kind is str:
                        rest = f"{rest}{name}{encode_basestring_ascii(value)}"
                    elif kind is int or (kind is float and value - value == 0.0):  # neither infinite nor NaN
                        rest = f"{rest}{name}{value!r}"
                    else:
                        rest = f"{rest}{name}{_json(value)}"
        more = _more(event, bound) if bound else ""
        line = f'{{"timestamp":"{stamp}","level":"{level}","pid":{THIS_PROCESS.pid},"event":{rest}{more}}}\n'
        if self._fd is None:
            if sys.stderr is not None:
                sys.stderr.write(line)
            return
        data = line.encode()
        while data:
            data = data[os.write(self._fd, data) :]


def text(value: object) -> str:
    """The text of any value, even of one whose `__str__` raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - it is the application's code
        return f"<{type(value).__name__}>"


# Between two lines a caller does something else, so each line meets cold code, and takes several times as long as in a
# loop that writes nothing but lines. Hence few steps, few functions, and one for what nearly every call writes.


def _plainly_finished(event: RequestFinished) -> str | None:
    """Name and fields of a finished call whose values are as usual, in half the time; else None."""
    status, attempts, duration, waited = event.status, event.attempts, event.duration, event.waited
    usual = type(status) is type(attempts) is int and type(duration) is type(waited) is float
    if not usual or event.sample is not None or (both := duration + waited) - both != 0.0:  # infinite or NaN
        return None
    called = "" if (call := event.call) is None else f',"call":{encode_basestring_ascii(call)}'
    if (name := event.asked_for) is not None:
        called = f'{called},"name":{encode_basestring_ascii(name)}'
    return (
        f'"request.finished","host":{encode_basestring_ascii(event.host)}{called}'
        f',"method":{encode_basestring_ascii(event.method)},"path":{encode_basestring_ascii(event.path)}'
        f',"status":{status},"attempts":{attempts},"duration":{duration!r},"waited":{waited!r}'
    )


@functools.cache
def _plan(cls: type[Any]) -> tuple[str, tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """What the lines of one type of event share: its name and the names of its fields as text, and their reader."""
    values = reader(tuple(field.name for field in fields(cls)))
    return _json(cls.name), tuple(f",{_json(name)}:" for name in logged_names(cls)), values


def _more(event: Event, bound: Mapping[str, Any]) -> str:
    """The other values that are bound, by name."""
    own = event.fields().keys() | {"timestamp", "level", "event"}
    more = ""
    for name, value in sorted(bound.items()):
        if name not in own:
            more = f"{more},{encode_basestring_ascii(name)}:{_json(value)}"
    return more


# ASCII only, which escapes every control character; no NaN or Infinity, which are not JSON.
_encode = json.JSONEncoder(default=text, allow_nan=False, separators=(",", ":")).encode


def _json(value: object) -> str:
    """Any value as JSON, if need be as text: it may be of the application's own type."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _encode(text(value))


def _open(path: str | os.PathLike[str]) -> int:
    allowed = "pass the path of a file, its folder existing and writable, or None for stderr"
    try:
        return files.open_to_write(Path(os.fsdecode(path)), files.LOG_MODE, os.O_APPEND)
    except OSError as error:
        raise OSError(error.errno, f"path: {error.strerror}; {allowed}", os.fspath(path)) from None
    except (TypeError, ValueError):
        raise ValueError(f"path: {path!r} is not a path; {allowed}") from None
