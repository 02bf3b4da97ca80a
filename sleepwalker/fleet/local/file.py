"""Opens the file: checks before opening, creation, and the texts of its faults."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from sleepwalker import files
from sleepwalker.clock import Clock
from sleepwalker.fleet.local.schema import LAYOUT, SCHEMA, begin_anew
from sleepwalker.fleet.store import StoreError

__all__ = [
    "BUSY_FOR",
    "BeingMade",
    "Identity",
    "Opened",
    "close_file",
    "fault",
    "identity",
    "is_busy",
    "look",
    "open_file",
    "renew_after_fork",
]

#: Device and number: the same path may be another file by now.
Identity = tuple[int, int]

#: Bytes of a database that tell whose it is.
_HEAD = 100
#: "slpw": a database of anything else is left alone.
_APPLICATION = 0x736C7077
#: Seconds that SQLite waits for another process at a time. Between two such waits a fork may go ahead.
BUSY_FOR = 0.05
#: Where SQLite's locks do not reach the other machines, or not at all.
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "beegfs", "gpfs", "glusterfs", "ncpfs", "sshfs"}
)
_MOUNTS = Path("/proc/self/mountinfo")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: Without an id of the boot: how far the wall clock may move away from the other one before that counts as a new boot.
_MOST_DRIFT = 60.0
_NO_CLOCK = ("", 0.0)

#: How often this process has a file open. Held while one is opened.
_open_here: Counter[Identity] = Counter()
_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Opened:
    """The file as one process opened it."""

    connection: sqlite3.Connection
    identity: Identity
    pid: int
    boot: str
    zero: float
    """What the store's clock said when the machine's steady one stood at 0."""

    def is_off(self, clock: Clock) -> bool:
        """Whether the machine may have slept or restarted since. Only used if the system has no boot id."""
        return not self.boot and abs(clock.wall() - clock.monotonic() - self.zero) > _MOST_DRIFT


class BeingMade(StoreError):
    """Another process or thread is creating the file: try again in a moment."""


def look(path: Path) -> os.stat_result | None:
    """The status of the file; None if it does not exist and may be created. Raises `StoreError`."""
    with _told(path):
        try:
            status = path.stat()
        except FileNotFoundError:
            if path.is_symlink():
                raise StoreError(f"{path} is a symbolic link to a file that does not exist") from None
            if not path.parent.is_dir():
                raise StoreError(f"the folder {path.parent} does not exist: create it") from None
            return None
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is {files.kind(status.st_mode)}, not a regular file")
        # Where anyone may make files, another user could have made this one, and say what he likes to our workers.
        if not files.owned_here(status) and path.parent.stat().st_mode & stat.S_IWOTH:
            raise StoreError(f"{path} belongs to another user (uid {status.st_uid}), and anyone may make files there")
        return status


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def open_file(path: Path, clock: Clock) -> Opened:
    """Open it, or create it if it does not exist. Raises `StoreError`, `OSError` and `sqlite3.Error`."""
    look(path)
    path = Path(os.path.realpath(path))  # the files beside it lie where it really is
    if (status := look(path)) is None:
        _make(path)
        if (status := look(path)) is None:
            raise StoreError(f"{path} was created, and is already gone")
    if (kind := _network(status.st_dev)) is not None:
        raise StoreError(
            f"{path} is on a network file system ({kind}): a fleet file is only for workers of one "
            f"machine, so use a local file system"
        )
    with _opening:
        connection = _connect(path, identity(status))
    opened = Opened(connection, identity(status), os.getpid(), *_NO_CLOCK)
    try:
        boot, zero = _prepare(connection, path, clock)
        now = look(path)
        if now is None or identity(now) != identity(status):
            raise StoreError(f"{path} was replaced while it was being opened")
        return replace(opened, boot=boot, zero=zero)
    except BaseException:
        close_file(opened)
        raise


def close_file(opened: Opened) -> None:
    with contextlib.suppress(sqlite3.Error):
        opened.connection.close()
    with _opening:
        _open_here[opened.identity] -= 1


def renew_after_fork() -> None:
    """In a child: replace the lock, which a thread of the parent may hold."""
    global _opening
    _opening = threading.Lock()


def _connect(path: Path, which: Identity) -> sqlite3.Connection:
    # Before SQLite sees it: it takes what lies beside the file for a part of it, and writes that into any other that
    # was put in its place. Not where the process has it open, for closing any descriptor of a file lets go of all locks
    # that the process has on it.
    if not _open_here[which]:
        _check_content(path)
    # `rw`: never made by SQLite, whose new file everyone might read.
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_FOR, isolation_level=None, check_same_thread=False
    )
    _open_here[which] += 1
    return connection


def _check_content(path: Path) -> None:
    """Raise `StoreError` for what is neither ours nor empty."""
    with files.open_regular(path) as file:
        head = file.read(_HEAD)
    if not head:
        return
    if len(head) < _HEAD or not head.startswith(b"SQLite format 3\0"):
        raise StoreError(f"{path} is not an SQLite database; it was not changed: use another path")
    # https://www.sqlite.org/fileformat.html, 1.3: the application's id at 68, and the user's version at 60
    if int.from_bytes(head[68:72]) != _APPLICATION:
        raise StoreError(f"{path} is a database of another program; it was not changed: use another path")


def _prepare(connection: sqlite3.Connection, path: Path, clock: Clock) -> tuple[str, float]:
    """Make the tables if it is empty; then the id of the boot, and the zero of the store's clock."""
    run = connection.execute
    run("PRAGMA mmap_size = 0")  # else a file that is cut kills the process
    run("PRAGMA trusted_schema = OFF")
    run("PRAGMA cell_size_check = ON")
    # Not flushed to the disk with each word, but so that a power cut leaves a whole file.
    run("PRAGMA synchronous = NORMAL")
    if _value(connection, "PRAGMA application_id") == 0:
        # Before there is anything beside it: so what the file itself begins with tells whose it is.
        with _transaction(connection):
            if _value(connection, "PRAGMA application_id") == 0:
                for statement in SCHEMA.split(";"):
                    run(statement)
                run(f"PRAGMA user_version = {LAYOUT}")
                run(f"PRAGMA application_id = {_APPLICATION}")
    layout = _value(connection, "PRAGMA user_version")
    if layout != LAYOUT:
        raise StoreError(
            f"{path} has layout {layout}, and this release reads layout {LAYOUT}: run the same release in all workers"
        )
    if _value(connection, "PRAGMA journal_mode = WAL") != "wal":
        raise StoreError(f"{path} cannot be shared by processes: its file system has no shared memory")
    run("PRAGMA journal_size_limit = 4194304")
    with _transaction(connection):
        boot, zero = _boot(), clock.wall() - clock.monotonic()
        row = run("SELECT boot, zero FROM clock").fetchone()
        if row is not None and row[0] == boot and (boot or abs(zero - row[1]) <= _MOST_DRIFT):
            zero = float(row[1])
        else:
            run("DELETE FROM clock")
            run("INSERT INTO clock VALUES (?, ?)", (boot, zero))
            begin_anew(connection, zero + clock.monotonic())
    return boot, zero


def _value(connection: sqlite3.Connection, question: str) -> object:
    return connection.execute(question).fetchone()[0]


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _make(path: Path) -> None:
    """Make an empty file that only its owner may read, unless another process is faster."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # One at a time: what lies beside the new file is removed, and must not be that of a newer one.
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BeingMade(f"{path} is being created by another process") from None
        if look(path) is not None:
            return
        # Left from one that was deleted alone. With it, those who had that open would be heard here.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        # Under another name first: once it has its own, another thread may have it open, and closing ours would let go
        # of that one's locks.
        new = path.with_name(f"{path.name}.{os.urandom(6).hex()}.new")
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with contextlib.suppress(FileExistsError):
                os.link(new, path)
        finally:
            new.unlink()
    finally:
        os.close(folder)


def _boot() -> str:
    """What is another one each time the machine starts; empty where the system does not tell."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _network(device: int) -> str | None:
    """The kind of network file system that it is, where that is known."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")  # proc(5): the third field, and the first one after the dash
        fields, kinds = before.split(), after.split()
        if len(fields) > 2 and kinds and fields[2] == number:
            kind = kinds[0].removeprefix("fuse.")
            return kind if kind in _NETWORK else None
    return None


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has it locked, so that a retry makes sense."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def fault(path: Path, error: Exception, timeout: float) -> StoreError:
    """The error in one line."""
    match _code(error) if isinstance(error, sqlite3.Error) else None:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"{path} has been locked by another process for {timeout:g} s")
        case sqlite3.SQLITE_NOTADB:
            return StoreError(f"{path} is not an SQLite database; it was not changed: use another path")
        case sqlite3.SQLITE_CORRUPT:
            return StoreError(f"{path} is damaged: delete it, and the workers create it again")
        case sqlite3.SQLITE_FULL:
            return StoreError(f"{path} cannot grow: the disk is full")
        case sqlite3.SQLITE_READONLY:
            return StoreError(f"{path} cannot be written to: {_line(error)}")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StoreError(f"{path} cannot be opened: {_line(error)}")
    if isinstance(error, OSError):
        return StoreError(f"{path} cannot be used: {error.strerror or type(error).__name__}")
    if isinstance(error, sqlite3.Error):
        return StoreError(f"{path} cannot be used: {_line(error)}")
    return StoreError(
        f"{path} holds data that no worker wrote: delete it, and the workers create it again ({_line(error)})"
    )


def _code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)  # some are Python's own, and have none
    return None if code is None else code & 0xFF


def _line(error: Exception) -> str:
    """Its text, which may quote the file: in one line, and not all of it."""
    return ascii(" ".join(str(error).split()))[1:-1][:150]


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise fault(path, error, 0) from error
