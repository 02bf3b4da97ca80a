"""Where lines come from: files, patterns, standard input; plain or gzipped, whole or cut off."""

from __future__ import annotations

import glob
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from sleepwalker.inspect.errors import InspectError

__all__ = ["STDIN", "Source", "chunks", "find", "unpack"]

STDIN = "-"
#: How a gzip file begins, its one kind of compression included (RFC 1952, 2.3.1).
_GZIP = b"\x1f\x8b\x08"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be read."""

    name: str
    """As the user knows it."""
    path: Path
    """Where its bytes are."""
    zipped: bool = False
    first: int = 1
    """The number of its first line: a part of a file that grows does not begin with its first one."""

    @property
    def size(self) -> int:
        """Bytes, as they are on the disk."""
        return self.path.stat().st_size


def find(words: Sequence[str], folder: Path, stdin: IO[bytes] | None) -> list[Source]:
    """The files that the words name: paths, patterns, and `-` for standard input, which is copied into `folder`.

    A file that is named twice is read once. Raises `InspectError` that lists everything that is not there.
    """
    found: dict[tuple[int, int], Source] = {}
    faults = []
    for word in words:
        if word == STDIN:
            if stdin is None:
                faults.append("cannot read '-': standard input is closed")
                continue
            copy = folder / "stdin"
            if not copy.exists():
                _copy(stdin, copy)
            paths = [copy]
        else:
            paths = [Path(word)]
            if not paths[0].exists() and glob.has_magic(word):
                paths = sorted(Path(match) for match in _matches(word) if not Path(match).is_dir())
        if not paths:
            faults.append(f"no file fits {word!r}")
        for path in paths:
            try:
                status = path.stat()
                if path.is_dir():
                    raise IsADirectoryError(21, f"is a folder; name its files, for example {path}/*.jsonl")
                with path.open("rb") as file:
                    zipped = status.st_size > 0 and path.is_file() and file.peek(3)[:3] == _GZIP
            except OSError as error:
                faults.append(f"cannot read {word!r}: {(error.strerror or str(error))}")
                continue
            name = "(stdin)" if word == STDIN else str(path)
            found.setdefault((status.st_dev, status.st_ino), Source(name, path, zipped))
    if faults:
        raise InspectError("\n".join(faults))
    return [source if source.path.is_file() else _drained(source, folder) for source in found.values()]


def _matches(pattern: str) -> list[str]:
    """`Path.glob` would want to be told from which folder an absolute pattern starts."""
    return glob.glob(pattern, recursive=True)  # noqa: PTH207


def _copy(stream: IO[bytes], path: Path) -> None:
    with path.open("wb") as copy:
        while data := stream.read(_CHUNK):
            copy.write(data)


def _drained(source: Source, folder: Path) -> Source:
    """A pipe (`<(zcat …)` in a shell) can be read once: its bytes, in a file."""
    copy = folder / f"pipe-{source.path.name}"
    with source.path.open("rb") as stream:
        _copy(stream, copy)
    with copy.open("rb") as file:
        zipped = file.read(3) == _GZIP
    return Source(source.name, copy, zipped)


def chunks(source: Source) -> Iterator[bytes]:
    """The bytes of a source, unpacked, for as far as they can be: a file that is still being written may be cut off."""
    with source.path.open("rb") as file:
        yield from _unpacked(file) if source.zipped else iter(lambda: file.read(_CHUNK), b"")


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """The members of a gzip file one after the other, up to the first byte that makes no sense."""
    unpacker = zlib.decompressobj(wbits=31)
    data = file.read(_CHUNK)
    while data:
        try:
            if out := unpacker.decompress(data, _CHUNK):
                yield out
        except zlib.error:
            return
        if unpacker.eof:
            data = unpacker.unused_data.lstrip(b"\0") or file.read(_CHUNK)
            unpacker = zlib.decompressobj(wbits=31)
        else:
            data = unpacker.unconsumed_tail or file.read(_CHUNK)
    if not unpacker.eof and (out := unpacker.flush()):
        yield out


def unpack(source: Source, folder: Path, longest: int) -> Source:
    """A plain copy that can be read whatever the source is: unpacked, and lines longer than `longest` made short.

    What is made of such a line is as unreadable as it was, so that lines keep their numbers.
    """
    handle = folder / "unpacked"
    with handle.open("wb") as copy:
        held = b""
        skipping = False
        for data in chunks(source):
            *lines, rest = data.split(b"\n")
            for line in lines:
                whole = held + line
                copy.write(b"\n" if skipping else (b"!\n" if len(whole) > longest else whole + b"\n"))
                held, skipping = b"", False
            if skipping:
                continue
            held += rest
            if len(held) > longest:
                copy.write(b"!")
                held, skipping = b"", True
        copy.write(held)
    return Source(source.name, handle, first=source.first)
