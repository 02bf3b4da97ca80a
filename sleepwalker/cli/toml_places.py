"""Where the keys of a TOML file stand: the line and the column of each path, such as `retry.budget.ratio`.

`tomllib` does not tell. This module reads texts that tomllib has accepted, so it need not find faults in them, only
where one thing ends and the next begins. It takes linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Place", "place_of", "places"]

#: The most parts and characters of a path that is followed: more than any policy has, but few enough that a long key
#: costs little when it is copied for each key below it.
_DEEPEST, _LONGEST = 8, 200

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*+")
_KEY = re.compile(r"""[ \t]*(?:(?P<bare>[A-Za-z0-9_-]+)|(?P<quoted>"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'))[ \t]*""")
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:[^"\\\n]|\\.)*+"' r"|'[^'\n]*+'", re.DOTALL
)
#: Numbers, dates (which may have a blank in them), true and false.
_PLAIN = re.compile(r"[^,\]}#\n]*")
#: The path before the first `: ` of a fault: names joined by dots, with numbers in brackets.
_PATH = re.compile(r"(?P<path>[A-Za-z0-9_-]+(?:\[\d+\])*(?:\.[A-Za-z0-9_-]+(?:\[\d+\])*)*): ")

#: The other field that limits a value.
_LIMIT = re.compile(r"; must be (?:at most|less than) (?P<path>[\w.\[\]-]+) \(")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
#: Where the TOML reader stopped: `(at line 3, column 5)`, `(at the end, line 3)`, `(line 3)`.
_STOPPED = re.compile(r"\((?:at )?(?:the end, )?line (?P<line>\d+)(?:, column (?P<column>\d+))?\)$")


class Place(NamedTuple):
    """Both count from 1."""

    line: int
    column: int | None


def places(text: str) -> dict[str, Place]:
    """The place of each key of a valid TOML document, by path: `host[1].match[0]` for a member of a list.

    Keys that need quotes are left out, with all keys below them, and so is a path that reads like one of them.
    """
    reader = _Reader(text)
    try:
        reader.document()
    except (RecursionError, _LostError):
        return {}
    ends = [at for at, mark in enumerate(text) if mark == "\n"]
    found = {}
    known = {**reader.mentioned, **reader.stated}
    for path in known.keys() - reader.doubtful:
        at = known[path]
        line = bisect_right(ends, at)
        found[path] = Place(line + 1, at - (ends[line - 1] if line else -1))
    return found


def place_of(fault: str, found: Mapping[str, Place]) -> Place | None:
    """The place of the key that a fault of a policy is about; None if the file does not have it.

    For a missing key, it is the place of its table. If a default exceeds a limit that the file sets, it is the place
    of that limit.
    """
    if fault.startswith("not TOML: "):
        stopped = _STOPPED.search(fault)
        return stopped and Place(int(stopped["line"]), int(stopped["column"]) if stopped["column"] else None)
    match = _PATH.match(fault)
    if match is None:
        return None
    path = match["path"]
    if fault.startswith("missing", match.end()):
        path = path.rpartition(".")[0]
    if path not in found and (limit := _LIMIT.search(fault)):
        path = limit["path"]
    return found.get(path)


class _LostError(Exception):
    """The text is not as expected: no place is better than a wrong one."""


@dataclass
class _Reader:
    text: str
    at: int = 0
    stated: dict[str, int] = field(default_factory=dict)
    """Where a key or the header of a table states the path."""
    mentioned: dict[str, int] = field(default_factory=dict)
    """Where a longer path first contains it."""
    doubtful: set[str] = field(default_factory=set)
    """The paths as which keys that need quotes appear in a fault."""
    lists: dict[str, int] = field(default_factory=dict)
    """For each list of tables, by its path, the index of its latest table."""

    def document(self) -> None:
        prefix: str | None = ""
        while self._blank() < len(self.text):
            if self.text.startswith("[[", self.at):
                self.at += 2
                prefix = self._header("]]", of_list=True)
            elif self.text[self.at] == "[":
                self.at += 1
                prefix = self._header("]", of_list=False)
            else:
                self._assignment(prefix)

    def _header(self, end: str, *, of_list: bool) -> str | None:
        """The path of the table that begins here."""
        begin = self.at
        parts = self._key()
        self._expect(end)
        path = self._through("", parts, begin)
        if path is None:
            return None
        if of_list:
            number = self.lists[path] = self.lists.get(path, -1) + 1
            self.stated.setdefault(path, begin)
            path = f"{path}[{number}]"
        self.stated[path] = begin
        return path

    def _assignment(self, prefix: str | None) -> None:
        begin = self.at
        parts = self._key()
        self._expect("=")
        path = self._through(prefix, parts, begin)
        if path is not None:
            self.stated[path] = begin
        self._value(path)

    def _through(self, prefix: str | None, parts: list[str], at: int) -> str | None:
        """The path of a key, noting each path that leads to it; None if it is not followed."""
        if prefix is None or prefix.count(".") + len(parts) > _DEEPEST:
            return None
        path = prefix
        for number, part in enumerate(parts, 1):
            path = f"{path}.{part}" if path else part
            if not _BARE.fullmatch(part):
                self.doubtful.add(path.partition(": ")[0])
                return None
            if len(path) > _LONGEST:
                return None
            if number < len(parts):
                self.mentioned.setdefault(path, at)
                if path in self.lists:
                    path = f"{path}[{self.lists[path]}]"
        return path

    def _key(self) -> list[str]:
        """The parts of a dotted key, without their quotes."""
        parts: list[str] = []
        while True:
            match = _KEY.match(self.text, self.at)
            if match is None:
                raise _LostError
            self.at = match.end()
            part = match["bare"] or match["quoted"][1:-1]
            if "\\" in part and match["quoted"][0] == '"':
                raise _LostError  # only tomllib decodes escapes
            parts.append(part)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def _value(self, path: str | None) -> None:
        self._blank()
        mark = self.text[self.at : self.at + 1]
        if mark == "{":
            self.at += 1
            while not self._ends("}"):
                self._assignment(path)
        elif mark == "[":
            self.at += 1
            number = 0
            while not self._ends("]"):
                below = None if path is None or len(path) > _LONGEST else f"{path}[{number}]"
                if below is not None:
                    self.stated[below] = self.at
                self._value(below)
                number += 1
        elif mark in ("'", '"'):
            match = _TEXT.match(self.text, self.at)
            if match is None:
                raise _LostError
            self.at = match.end()
        else:
            match = _PLAIN.match(self.text, self.at)
            self.at = match.end() if match else self.at

    def _ends(self, mark: str) -> bool:
        """Whether the brackets end here. A comma before the next member is skipped."""
        self._blank()
        if self.text.startswith(",", self.at):
            self.at += 1
            self._blank()
        if self.at >= len(self.text):
            raise _LostError
        if self.text.startswith(mark, self.at):
            self.at += 1
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise _LostError
        self.at += len(mark)

    def _blank(self) -> int:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at
