"""The part of a file that has arrived: kept beside it until it is complete, so that any process can continue it.

`report.pdf` is written as `report.pdf.part`. `report.pdf.part.json` has its URL (as a hash, because a query may be
secret), the version of the file (its entity tag or date), and the total size. One download at a time has the part: it
holds a lock on it, which ends with its process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import stat
from pathlib import Path

from sleepwalker import files
from sleepwalker.downloads.checksum import Checksum, Hasher
from sleepwalker.downloads.ranges import Kept, validator_of
from sleepwalker.fork import renewed_after_fork

_FORMAT = 1
#: The most bytes of a note that are read: more than any has.
_LONGEST_NOTE = 8192
#: Bytes that are hashed at a time.
_AT_ONCE = 1 << 20
#: How often to try again if another download makes or removes the part meanwhile.
_TRIES = 10
#: The errors of a file system without locks.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class Part:
    """An open part. OSError if it cannot be made, read or written; `BlockingIOError` if another download has it.

    Its methods block for as long as the disk takes. All belong to one thread at a time.
    """

    def __init__(self, path: Path, url: str, checksum: Checksum | None) -> None:
        self.path: Path = _target(path)
        """Where the complete file will be: links are followed."""
        self._place = self.path.with_name(f"{self.path.name}.part")
        self._note = self.path.with_name(f"{self.path.name}.part.json")
        self._url = hashlib.sha256(url.partition("#")[0].encode("utf-8", "surrogateescape")).hexdigest()
        self._checksum = checksum
        self._hasher: Hasher | None = None
        self._hashed = 0
        self._begun = False
        self._file = self._opened()
        _open_parts.add(self)
        self.kept: Kept | None = None
        """What is known of the file whose beginning is stored; None if there is nothing to continue."""
        self.size = 0
        """How many bytes are stored."""
        try:
            self.kept = self._read_note()
            self.size = os.fstat(self._handle).st_size if self.kept is not None else 0
            self._hash_up_to(self.size)
        except BaseException:
            self._let_go()
            raise

    def read(self, start: int, end: int) -> bytes:
        """The stored bytes from `start` on, before `end`."""
        try:
            data = os.pread(self._handle, max(0, end - start), start)
        except OSError as error:
            raise self._named(error) from None
        if len(data) < end - start:
            raise self._shorter()
        return data

    def begin(self, start: int, kept: Kept) -> None:
        """Continue from byte `start`. Stored bytes from there on are dropped."""
        try:
            os.ftruncate(self._handle, start)
            os.lseek(self._handle, start, os.SEEK_SET)
        except OSError as error:
            raise self._named(error) from None
        self._begun, self.size = True, start
        if start < self._hashed:
            self._hasher, self._hashed = None, 0
        self.kept = kept
        if start == 0:  # only now that the bytes of another file are gone; a range is of the file that the note names
            self._write_note(kept)

    def write(self, data: bytes) -> None:
        """Append some bytes."""
        rest = memoryview(data)
        try:
            while rest:
                done = os.write(self._handle, rest)
                rest = rest[done:]
                self.size += done
        except OSError as error:
            raise self._named(error) from None
        if self._checksum is not None and self._hashed == self.size - len(data):
            self._hash(data)

    def has_checksum(self) -> bool:
        """Whether the stored bytes have the checksum that the caller gave, if one was given."""
        if self._checksum is None:
            return True
        self._hash_up_to(self.size)
        return self._checksum.fits(self._hasher or self._checksum.hasher())

    def finish(self) -> None:
        """Put the file at its path, in one step: at any time there is either the old file or all of the new one."""
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise self._named(error) from None
        # Without locks, another download may have begun a part of its own in this place.
        if not self._is_at_its_place(self._handle) or os.fstat(self._handle).st_size != self.size:
            raise OSError(errno.EBUSY, "it was changed or replaced during the download", str(self._place))
        self._place.replace(self.path)
        with contextlib.suppress(OSError):
            self._note.unlink()
        with contextlib.suppress(OSError):  # some file systems cannot, and the file is in its place
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self) -> None:
        """Delete the part, so that the next download starts again; but not a part that another download put there."""
        self.kept = None
        if not self._is_at_its_place(self._handle):
            return
        for path in (self._note, self._place):
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Release the part. It stays if a later download can continue it."""
        if self._file.closed:
            return
        try:
            of_no_use = self.kept is None or self.kept.validator is None or self.size == 0
            # The part of another URL stays if nothing came in its place.
            if of_no_use and (self._begun or os.fstat(self._handle).st_size == 0):
                self.remove()
        finally:
            self._let_go()

    @property
    def _handle(self) -> int:
        if self._file.closed:
            raise OSError(errno.EBADF, "it is closed, or was opened before a fork by the parent", str(self._place))
        return self._file.fileno()

    def _let_go(self) -> None:
        with contextlib.suppress(OSError):  # explicitly, because a child that was forked meanwhile shares the lock
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()

    def _opened(self) -> io.FileIO:
        """Open and lock it. The descriptor always belongs to an object, because a signal handler may raise anywhere."""
        for _ in range(_TRIES):
            there = self._is_there()
            # Between two steps another download may make or remove it: then try again.
            with contextlib.suppress(FileExistsError, *([FileNotFoundError] if there else [])):
                file = io.FileIO(self._place, "r+" if there else "x+")
                try:
                    locked = self._lock(file.fileno())
                    if self._is_at_its_place(file.fileno()):
                        self._check(os.fstat(file.fileno()))
                        return file if locked or not there else self._copied(file)
                except BaseException:
                    file.close()
                    raise
                file.close()
        raise self._busy()

    def _copied(self, part: io.FileIO) -> io.FileIO:
        """Put a copy in its place. Without locks another download may still write to `part`, but not finish it."""
        with part:
            left = os.fstat(part.fileno()).st_size
            self._place.unlink()
            copy = io.FileIO(self._place, "x+")
            try:
                while left and (data := part.read(min(_AT_ONCE, left))):
                    left -= copy.write(data)
                    part.seek(copy.tell())
            except BaseException:
                copy.close()
                raise
            return copy

    def _is_there(self) -> bool:
        """Whether there is a part. OSError if something else is in its place."""
        try:
            status = self._place.lstat()
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, "it is a link: remove it, or download to another path", str(self._place))
        self._check(status)
        return True

    def _check(self, status: os.stat_result) -> None:
        files.check_kind(self._place, status)
        if not files.owned_here(status):  # in a folder where anyone may write: what is there may be anything
            why = f"another user (uid {status.st_uid}) made it: remove it, or download to another folder"
            raise PermissionError(errno.EPERM, why, str(self._place))

    def _lock(self, file: int) -> bool:
        """Lock it. False if the file system has no locks."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._busy() from None
            raise
        return True

    def _busy(self) -> BlockingIOError:
        why = "another download to it is running: wait for its end, or use another path"
        return BlockingIOError(errno.EAGAIN, why, str(self.path))

    def _is_at_its_place(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._place.lstat())
        except FileNotFoundError:
            return False

    def _read_note(self) -> Kept | None:
        """What the note says, if it is about this URL. An invalid note counts as none."""
        try:
            if not stat.S_ISREG(self._note.lstat().st_mode):
                return None
            with self._note.open("rb", buffering=0) as file:
                if not files.owned_here(os.fstat(file.fileno())):
                    return None
                text = file.read(_LONGEST_NOTE)
        except OSError:
            return None
        try:
            note = json.loads(text)
            version, url, validator, total = (note[name] for name in ("version", "url", "validator", "total"))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if version != _FORMAT or url != self._url or not isinstance(validator, str) or not _can_be_sent(validator):
            return None
        return Kept(validator, total if type(total) is int and total >= 0 else None)

    def _write_note(self, kept: Kept) -> None:
        note = {"version": _FORMAT, "url": self._url, "validator": kept.validator, "total": kept.total}
        with contextlib.suppress(FileNotFoundError):
            self._note.unlink()  # first: never write through a link, or into another's file
        try:
            with self._note.open("x", encoding="utf-8") as file:
                with contextlib.suppress(OSError):  # not all file systems have modes
                    os.fchmod(file.fileno(), 0o600)  # others could guess a URL with a short secret by its hash
                json.dump(note, file)
        except OSError as error:
            raise self._named(error, self._note) from None

    def _hash_up_to(self, size: int) -> None:
        """Hash the stored bytes that have not been hashed yet."""
        if self._checksum is None:
            return
        while self._hashed < size:
            try:
                data = os.pread(self._handle, min(_AT_ONCE, size - self._hashed), self._hashed)
            except OSError as error:
                raise self._named(error) from None
            if not data:
                raise self._shorter()
            self._hash(data)

    def _hash(self, data: bytes) -> None:
        if self._checksum is None:
            return
        if self._hasher is None:
            self._hasher = self._checksum.hasher()
        self._hasher.update(data)
        self._hashed += len(data)

    def _shorter(self) -> OSError:
        return OSError(errno.EIO, "it became shorter during the download", str(self._place))

    def _named(self, error: OSError, path: Path | None = None) -> OSError:
        """The error, with the file that it is about."""
        return type(error)(error.errno, error.strerror, str(path or self._place))


def _leave_to_the_parent(part: Part) -> None:
    """In a forked child: close a part of the parent. The child may not unlock it, nor hold the lock for longer."""
    part._file.close()


_open_parts = renewed_after_fork("downloads", _leave_to_the_parent)


def _target(path: Path) -> Path:
    """Where a file at `path` would be. OSError if something else than a regular file is there."""
    path.parent.stat()  # the system refuses links that other users made in a folder for all (fs.protected_symlinks)
    # As `open` does: a link stays a link. The folder is resolved now, so a later change of a link to it does not count.
    target = files.followed(Path(os.path.realpath(path.parent), path.name))
    if target.name in ("", ".."):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with contextlib.suppress(FileNotFoundError):
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            files.check_kind(target, status)
            raise OSError(errno.EINVAL, f"it is {files.kind(status.st_mode)}, not a regular file", str(path))
        folder, user = target.parent.stat(), os.geteuid()
        # The renaming would fail, but only after the whole download.
        if folder.st_mode & stat.S_ISVTX and user not in (0, status.st_uid, folder.st_uid):
            why = f"another user (uid {status.st_uid}) made it, and in its folder only that user may replace it"
            raise PermissionError(errno.EPERM, why, str(path))
    return target


def _can_be_sent(validator: str) -> bool:
    """Whether a note's validator is one that a response could have had."""
    headers = {"ETag": validator} if validator.startswith('"') else {"Last-Modified": validator, "Date": _LATE}
    return validator_of(headers) == validator


_LATE = "Fri, 31 Dec 9999 23:59:59 GMT"
