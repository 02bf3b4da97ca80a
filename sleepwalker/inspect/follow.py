"""Reads what is appended to files, also across a rotation, in pieces of whole lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from sleepwalker import files
from sleepwalker.eventlog.columns import LONGEST_LINE
from sleepwalker.eventlog.errors import EventLogError
from sleepwalker.eventlog.sources import Source

__all__ = ["Follower"]

_CHUNK = 1 << 20
#: Written in place of a line longer than `LONGEST_LINE`, and as unreadable.
_TOO_LONG = b"!"


class Follower:
    """Follows plain files that grow, by name: after a rotation, the new file of that name."""

    def __init__(self, sources: Sequence[Source], folder: Path) -> None:
        """`folder` holds the pieces until they are read."""
        self._tails = [_Tail(source.name, source.path) for source in sources]
        self._folder = folder

    def news(self) -> Iterator[Source]:
        """What was appended since the last call, a source per piece. Asking for the next piece deletes the last one."""
        for number, tail in enumerate(self._tails):
            for piece in tail.pieces(self._folder / f"piece-{number}"):
                yield piece
                piece.path.unlink()

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails:
            tail.close()


class _Tail:
    """A name, and the file that had it at the last look."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._file: BinaryIO | None = None
        self._begin()

    def pieces(self, piece: Path) -> Iterator[Source]:
        """What is new in the open file and, if another file has the name by now, in that one."""
        if self._file is not None:
            if os.fstat(self._file.fileno()).st_size < self._offset:  # truncated, as `copytruncate` does
                self._begin()
            yield from self._piece(piece)
            if not self._replaced():
                return
            yield from self._piece(piece, whole=True)
            self.close()
        try:
            self._file = files.open_regular(self._path)
        except FileNotFoundError:  # between the two halves of a rotation
            return
        except OSError as error:
            raise EventLogError(f"cannot read {self._name!r} any more: {error.strerror}") from None
        self._begin()
        yield from self._piece(piece)

    def _begin(self) -> None:
        self._offset = self._lines = 0
        self._skipping = False
        """Whether the current line is too long: the rest of it is dropped."""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _replaced(self) -> bool:
        if self._file is None:
            return False
        try:
            now = self._path.stat()
        except OSError:  # gone or inaccessible for now: go on with the open file
            return False
        mine = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)

    def _piece(self, piece: Path, *, whole: bool = False) -> Iterator[Source]:
        """What is new in the open file up to its last line feed; `whole`: up to its end, as nothing more will come."""
        if self._file is None:
            return
        self._file.seek(self._offset)
        held, lines, length, written = bytearray(), 0, 0, 0
        with piece.open("wb") as copy:
            while data := self._file.read(_CHUNK):
                cut = len(data) if whole else data.rfind(b"\n") + 1
                if not cut:
                    held += data
                    if self._skipping or len(held) > LONGEST_LINE:
                        self._skipping = True
                        length += len(held)
                        held.clear()
                    continue
                length += len(held) + cut
                lines += data.count(b"\n", 0, cut)
                if self._skipping:
                    end = data.find(b"\n", 0, cut)
                    if end < 0:
                        continue
                    data, cut, self._skipping = data[end:], cut - end, False
                    held[:] = _TOO_LONG
                written += copy.write(held + data[:cut])
                held[:] = data[cut:]
            if whole and self._skipping:
                written += copy.write(_TOO_LONG)
        self._offset += length
        if not written:
            piece.unlink()
            return
        first = self._lines + 1
        self._lines += lines
        yield Source(self._name, piece, first=first)
