"""Opens the files that a user names: none can stop the process, fill its memory or lead it to a file of another user.

What counts as a file is a regular one and the null device, which is an empty one. Anything else may wait for ever (a
pipe) or never end (a device), and is an `OSError` that says what it is, before it is opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "LOG_MODE",
    "REPORT_MODE",
    "check_kind",
    "check_writable",
    "followed",
    "kind",
    "open_regular",
    "open_to_write",
    "owned_here",
    "read_regular",
    "write_report",
]

#: Logs: the group may read (log shippers do), others may not: a path can tell more than its owner likes.
LOG_MODE = 0o640
#: Reports: what one person asked for is for that person.
REPORT_MODE = 0o600
#: As many as Linux follows (path_resolution(7)).
_MOST_LINKS = 40


def kind(mode: int) -> str:
    """What a file is, in words: `a pipe`."""
    for fits, words in (
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if fits(mode):
            return words
    return "a device"


def check_kind(path: Path, status: os.stat_result) -> None:
    """Raise `OSError` for what is neither a regular file nor the null device."""
    if stat.S_ISREG(status.st_mode) or _is_null(status):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, f"it is {kind(status.st_mode)}, not a regular file", str(path))


def owned_here(status: os.stat_result) -> bool:
    """Whether the file belongs to the user of this process, or to root, who may do anything."""
    return status.st_uid in (os.geteuid(), 0)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read it. Raises `OSError` for any other."""
    check_kind(path, path.stat())  # first: opening alone makes some devices act
    # Again afterwards, for the name may mean another file by now: hence without waiting for the other end of a pipe.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with _closed_on_error(handle):
        check_kind(path, os.fstat(handle))
        return open(handle, "rb")  # noqa: PTH123 - a descriptor is no path


def read_regular(path: Path, most: int) -> bytes:
    """All that is in a regular file of at most `most` bytes. Raises `OSError` for any other."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def open_to_write(path: Path, mode: int, flags: int = 0) -> int:
    """A descriptor to write to a regular file, which is made with `mode` if it does not exist.

    The process's own stdout or stderr, of any kind, is allowed as well, by its system name (`/dev/stdout`). A link is
    followed if this user or root made it, and only to a file of this user or root. In a folder where anyone may make
    files, another user's file is refused, too: else other users could choose what a service overwrites, or read its
    log. An existing file keeps its mode, with a warning if that allows others more than `mode`. Raises `OSError` for
    anything else.
    """
    status = check_writable(path)
    if status is not None and (output := _own_output(status)) is not None:
        return os.dup(output)
    handle, place = _opened(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | flags, mode)
    with _closed_on_error(handle):
        status = os.fstat(handle)
        check_kind(path, status)
        if not owned_here(status):
            _check_place(path, place, status)
        wider = stat.S_IMODE(status.st_mode) & 0o666 & ~mode
        if wider and stat.S_ISREG(status.st_mode):
            warnings.warn(
                f"{str(path)!r} has the mode {stat.S_IMODE(status.st_mode):04o}, so others may {_words(wider)} it: "
                f"chmod {mode:04o}",
                stacklevel=2,
            )
    return handle


def check_writable(path: Path) -> os.stat_result | None:
    """Raise `OSError` for what `open_to_write` takes for no file; what is known of one that is there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if _own_output(status) is None:
        check_kind(path, status)
    return status


def write_report(path: Path, text: str) -> None:
    """Make `text` the whole of a file that only its owner may read. Raises `OSError`."""
    with open(open_to_write(path, REPORT_MODE), "wb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)  # not by opening it: that comes before the checks
        file.write(text.encode("utf-8"))


def _opened(path: Path, flags: int, mode: int) -> tuple[int, Path]:
    """A descriptor, and where its file lies. Links are followed by hand, for each has an owner."""
    place = path
    for _ in range(_MOST_LINKS):
        try:
            return os.open(place, flags | os.O_NOFOLLOW, mode), place
        except OSError:
            if not place.is_symlink():
                raise
        place = _next(path, place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def followed(path: Path) -> Path:
    """Where a file at `path` lies or would lie. `OSError` for a link that neither this user nor root made."""
    place = path
    for _ in range(_MOST_LINKS):
        if not place.is_symlink():
            return place
        place = _next(path, place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _next(path: Path, place: Path) -> Path:
    """What the link at `place` names, on the way from `path`."""
    link = place.lstat()
    if not owned_here(link):
        raise _refused(path, f"it is a link that another user made (uid {link.st_uid})")
    target = place.readlink()
    if not os.path.samestat(link, place.lstat()):  # swapped between the two looks
        raise _refused(path, "it is a link that changed during the check")
    return place.parent / target


def _check_place(path: Path, place: Path, status: os.stat_result) -> None:
    """Raise `OSError` where another user's file is not what was meant."""
    if place != path:
        raise _refused(path, f"it links to a file of another user (uid {status.st_uid})")
    folder = place.parent.stat()
    if folder.st_mode & stat.S_IWOTH and status.st_uid != folder.st_uid:
        raise _refused(path, f"it belongs to another user (uid {status.st_uid}), and anyone may make files there")


def _refused(path: Path, why: str) -> PermissionError:
    return PermissionError(errno.EPERM, why, str(path))


def _own_output(status: os.stat_result) -> int | None:
    """Which of this process's stdout and stderr the file is, if it is no regular one."""
    if stat.S_ISREG(status.st_mode):
        return None
    for output in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.fstat(output)):
                return output
    return None


def _is_null(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == Path(os.devnull).stat().st_rdev


def _words(bits: int) -> str:
    return " and ".join(word for word, mask in (("read", 0o444), ("change", 0o222)) if bits & mask)


@contextlib.contextmanager
def _closed_on_error(handle: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(handle)
        raise
