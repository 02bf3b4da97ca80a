"""Where lines come from: files, patterns, standard input; plain or gzipped, whole or cut off."""

from __future__ import annotations

import errno
import glob
import os
import select
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

from sleepwalker import files
from sleepwalker.eventlog.errors import EventLogError

__all__ = ["STDIN", "Source", "chunks", "fault", "find", "readable_as_it_is", "unpack"]

STDIN = "-"
#: The first bytes of a gzip file: its mark, and the only compression method there is (RFC 1952, 2.3.1).
_GZIP = b"\x1f\x8b\x08"
#: Some editors and shells put a byte order mark before the first line; RFC 8259, 8.1, lets readers of JSON skip it.
_MARK = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
#: Bytes of a gzip file that are read at once. After each member zlib copies the rest of them, and members can be tiny.
_PACKED = 1 << 14
#: Seconds to wait until something opens a pipe to write to it.
_WRITER = 3.0


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be read."""

    name: str
    """As the user knows it."""
    path: Path
    """The file with its bytes: for a pipe, a copy."""
    zipped: bool = False
    first: int = 1
    """The number of its first line: above 1 for a later part of a file that grows."""

    @property
    def size(self) -> int:
        """Bytes on the disk. Raises `EventLogError` if the file cannot be found any more."""
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise EventLogError(f"cannot read {self.name}: {error.strerror}") from None


def find(words: Sequence[str], folder: Path, stdin: IO[bytes] | None, *, pipes: bool = True) -> list[Source]:
    """The files that the words name: paths, patterns, and `-` for standard input.

    Standard input and other pipes can be read only once, so they are copied into `folder`. Without `pipes`, pipes and
    devices are refused (but not `-`). A file that is named twice is listed once. Raises `EventLogError` with all faults
    before anything is copied.
    """
    found: dict[object, Source] = {}
    streams: dict[object, Source] = {}
    faults = []
    for word in words:
        if word == STDIN:
            if stdin is None:
                faults.append("cannot read '-': standard input is closed")
            found[STDIN] = streams[STDIN] = Source("(stdin)", Path(STDIN))
            continue
        paths = [Path(word)]
        if glob.has_magic(word) and not os.path.lexists(word):
            paths = sorted(Path(match) for match in _matches(word) if not os.path.isdir(match))  # noqa: PTH112
        if not paths:
            faults.append(f"no file fits {word!r}")
        for path in paths:
            try:
                source, key = _looked_at(path, pipes=pipes)
            except (OSError, ValueError) as error:
                faults.append(f"cannot read {word!r}: {getattr(error, 'strerror', None) or error}")
                continue
            if not path.is_file():
                streams.setdefault(key, source)
            found.setdefault(key, source)
    if faults:
        raise EventLogError("\n".join(faults))
    for number, (stream, source) in enumerate(streams.items()):
        found[stream] = _drained(source, folder / f"stream-{number}", stdin if stream == STDIN else None)
    return list(found.values())


def _looked_at(path: Path, *, pipes: bool) -> tuple[Source, tuple[int, int]]:
    """The file, and its device and inode. A pipe is not opened: closing it again would break it for its writer."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, f"is a folder; name its files, for example {path}/*.jsonl")
    if not stat.S_ISREG(status.st_mode) and not pipes:
        raise OSError(errno.EINVAL, "is a pipe or a device, which cannot be followed; name a file")
    zipped = False
    if not stat.S_ISFIFO(status.st_mode):
        with files.open_regular(path) as file:
            zipped = file.read(3) == _GZIP
    # A name that is not UTF-8 must still be shown, also in JSON and on a page.
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    return Source(name, path, zipped), (status.st_dev, status.st_ino)


def _matches(pattern: str) -> list[str]:
    """The paths that fit the pattern. `Path.glob` refuses absolute patterns."""
    return glob.glob(pattern, recursive=True)  # noqa: PTH207


def _drained(source: Source, copy: Path, stdin: IO[bytes] | None) -> Source:
    """Copy a source that can be read only once, such as `<(zcat …)` in a shell."""
    try:
        with copy.open("wb") as file:
            for data in _piped(source.path) if stdin is None else iter(lambda: stdin.read(_CHUNK), b""):
                file.write(data)
    except OSError as error:
        raise EventLogError(f"cannot read {source.name}: {fault(error, copy.parent)}") from None
    with copy.open("rb") as file:
        return replace(source, path=copy, zipped=file.read(3) == _GZIP)


def _piped(path: Path) -> Iterator[bytes]:
    """The bytes from a pipe. `OSError` if nothing has it open to write: a usual open would wait for ever."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor is no path
        looks = select.poll()
        looks.register(pipe, select.POLLIN)
        came = looks.poll(_WRITER * 1000)
        data = pipe.read(_CHUNK)  # None if there is a writer that has not written yet
        if data == b"" and not came:
            raise OSError(errno.EPIPE, f"nothing writes to this pipe, after {_WRITER:.0f} s")
        os.set_blocking(pipe.fileno(), True)
        while data != b"":
            yield data or b""
            data = pipe.read(_CHUNK)


def fault(error: OSError, folder: Path) -> str:
    """The text for an error that happened while something was read or copied into `folder`."""
    way_out = f" in {folder.parent}; TMPDIR can name another folder" if error.errno == errno.ENOSPC else ""
    return (error.strerror or str(error)) + way_out


def readable_as_it_is(source: Source) -> bool:
    """Whether DuckDB can read the file itself: it skips no byte order mark, and reads a single byte as nothing."""
    try:
        with source.path.open("rb") as file:
            data = next(_unpacked(file) if source.zipped else iter([file.read(4)]), b"")
    except EOFError:
        return False
    return len(data) != 1 and not (source.first == 1 and data.startswith(_MARK))


def chunks(source: Source) -> Iterator[bytes]:
    """The bytes of a source, unpacked, without a byte order mark.

    Raises `EOFError` after the last readable one if a gzip file is damaged or cut off, as while it is being written.
    """
    with source.path.open("rb") as file:
        blocks = _unpacked(file) if source.zipped else iter(lambda: file.read(_CHUNK), b"")
        head = next(blocks, b"")
        yield head.removeprefix(_MARK) if source.first == 1 else head
        yield from blocks


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """The members of a gzip file one after the other. Raises `EOFError` at a fault, or if the end is missing."""
    unpacker, whole = zlib.decompressobj(wbits=31), True
    data = file.read(_PACKED)
    while data:
        try:
            unpacker, out = _unpacked_some(unpacker, data)
        except zlib.error:
            raise EOFError from None
        if out:
            yield out
        whole = unpacker.eof
        if whole:
            data = unpacker.unused_data.lstrip(b"\0") or file.read(_PACKED)
            unpacker = zlib.decompressobj(wbits=31)
        else:
            data = unpacker.unconsumed_tail or file.read(_PACKED)
    if not whole:
        if out := unpacker.flush():
            yield out
        raise EOFError


def _unpacked_some(unpacker: Any, data: bytes) -> tuple[Any, bytes]:
    """The unpacker to go on with, and the next bytes. Raises `zlib.error` if not one more byte can be unpacked.

    When zlib finds a fault, such as a wrong checksum at the end, it drops what it unpacked before in the same call. So
    it is asked again for less.
    """
    limit = _CHUNK
    while True:
        before = unpacker.copy()
        try:
            return unpacker, unpacker.decompress(data, limit)
        except zlib.error:
            if limit == 1:
                raise
            unpacker, limit = before, limit // 2


def is_whole(source: Source) -> bool:
    """Whether a gzip file is neither damaged nor cut off. DuckDB does not verify checksums."""
    try:
        for _ in chunks(source):
            pass
    except EOFError:
        return False
    return True


def unpack(source: Source, folder: Path, longest: int) -> tuple[Source, bool]:
    """A plain copy that DuckDB can always read, and whether the source was whole (a gzip file may be damaged).

    A line longer than `longest` becomes `!`, which is unreadable as well, so that lines keep their numbers. The last
    line gets a line feed.
    """
    handle = folder / "unpacked"
    complete = True

    def blocks() -> Iterator[bytes]:
        nonlocal complete
        try:
            yield from chunks(source)
        except EOFError:
            complete = False

    with handle.open("wb") as copy:
        held = b""
        skipping = False
        for data in blocks():
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
        copy.write(held + b"\n")
    return Source(source.name, handle, first=source.first), complete
