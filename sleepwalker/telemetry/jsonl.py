"""Writes events as JSON lines to a file or to stderr."""

from __future__ import annotations

import functools
import json
import os
import sys
import weakref
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from sleepwalker.clock import SYSTEM_CLOCK, Clock

__all__ = ["JsonLines", "text"]

#: Integers above it are left to the standard library, which refuses to print very long ones.
_LONG = 1 << 63

#: The group may read (log shippers do), others may not: a path can tell more than its owner likes.
_PERMISSIONS = 0o640


class JsonLines:
    """One JSON object per line, each written in one piece.

    The file is opened for appending and written without a buffer or a lock, so lines of several threads
    and processes do not mix, and a forked child goes on writing. It is closed when the last one who
    writes to it lets go of this object; closed earlier, its number might already be another file's.
    """

    __slots__ = ("__weakref__", "_clock", "_fd", "level")

    def __init__(self, path: str | os.PathLike[str] | None, level: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """Open `path`, or use whatever `sys.stderr` is at each line where it is None.

        `level` is the lowest number written, as in the standard library's `logging`. Raises `OSError` or
        `ValueError` for a path that cannot be written to.
        """
        self.level = level
        self._clock = clock
        self._fd = None
        if path is not None:
            self._fd = _open(path)
            # Not at exit: the interpreter's own end closes the file, after the last thread had its say.
            weakref.finalize(self, os.close, self._fd).atexit = False

    def write(self, level: str, name: str, fields: dict[str, Any]) -> None:
        """Append one event. A value that JSON does not know is written as its text."""
        stamp = _stamp(self._clock.wall())
        line = _plain_line(stamp, level, name, fields)
        if line is None:
            head = {"timestamp": stamp, "level": level, "event": name}
            line = _line({**head, **fields, **head})  # first in order, and no field may replace them
        if self._fd is None:
            if sys.stderr is not None:
                sys.stderr.write(line)
            return
        data = line.encode("ascii")
        while data:
            data = data[os.write(self._fd, data) :]


def _stamp(wall: float) -> str:
    """`2026-01-31T12:00:00.250Z`."""
    second, fraction = divmod(wall, 1.0)
    return f"{_date_and_time(second)}.{int(fraction * 1000):03d}Z"


@functools.lru_cache(maxsize=4)
def _date_and_time(second: float) -> str:
    """Most events of a busy process share their second with the one before."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def text(value: object) -> str:
    """The text of any value, even of one whose `__str__` raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - it is the application's code
        return f"<{type(value).__name__}>"


_HEAD = frozenset({"timestamp", "level", "event"})
#: The names of fields are few. In quotes, with what stands around them.
_name = functools.lru_cache(maxsize=1024)(lambda name: f",{encode_basestring_ascii(name)}:")


def _plain_line(stamp: str, level: str, name: str, fields: dict[str, Any]) -> str | None:
    """What `_line` makes, in a third of the time; None for fields that are not all plain values, as events' own are.

    Each call writes a line, and `JSONEncoder` makes an encoder anew for each.
    """
    parts = [f'{{"timestamp":"{stamp}","level":"{level}","event":{encode_basestring_ascii(name)}']
    for key, value in fields.items():
        if key in _HEAD:
            continue
        kind = type(value)
        if kind is str:
            text = encode_basestring_ascii(value)
        elif kind is float and value - value == 0.0:  # neither infinite nor NaN
            text = float.__repr__(value)
        elif kind is int and -_LONG < value < _LONG:
            text = int.__repr__(value)
        elif kind is bool:
            text = "true" if value else "false"
        else:
            return None
        parts += (_name(key), text)
    parts.append("}\n")
    return "".join(parts)


# ASCII only, which escapes every control character; no NaN or Infinity, which are not JSON.
_encode = json.JSONEncoder(default=text, allow_nan=False, separators=(",", ":")).encode


def _line(record: dict[str, Any]) -> str:
    try:
        return _encode(record) + "\n"
    except (TypeError, ValueError, RecursionError):
        # One value (of the application's context) is to blame: the others are kept as they are.
        return _encode({key: _encodable(value) for key, value in record.items()}) + "\n"


def _encodable(value: object) -> object:
    try:
        _encode(value)
    except (TypeError, ValueError, RecursionError):
        return text(value)
    return value


def _open(path: str | os.PathLike[str]) -> int:
    allowed = "pass the path of a file, its folder existing and writable, or None for stderr"
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _PERMISSIONS)
    except OSError as error:
        raise OSError(error.errno, f"path: {error.strerror}; {allowed}", os.fspath(path)) from None
    except (TypeError, ValueError):
        raise ValueError(f"path: {path!r} is not a path; {allowed}") from None
