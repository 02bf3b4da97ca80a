"""Opens the file of a fleet: checks it, creates it, and puts its errors into words."""

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

#: Device and inode: the same path may be another file by now.
Identity = tuple[int, int]

#: Bytes at the beginning of a database that tell which program it belongs to.
_HEAD = 100
#: "slpw". A database with any other application id is left alone.
_APPLICATION = 0x736C7077
#: Seconds that SQLite waits for another process at a time. Between two such waits, a fork can proceed.
BUSY_FOR = 0.05
#: File systems on which SQLite's locks do not reach other machines, or do not work at all.
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "beegfs", "gpfs", "glusterfs", "ncpfs", "sshfs"}
)
_MOUNTS = Path("/proc/self/mountinfo")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: Without a boot id: seconds that the wall clock may move against the monotonic clock before that counts as a new boot.
_MOST_DRIFT = 60.0
_NO_CLOCK = ("", 0.0)

#: How many connections this process has to each file, and the lock for this table.
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
    """The store's time at which the machine's monotonic clock was 0."""

    def is_off(self, clock: Clock) -> bool:
        """Whether the machine may have slept or restarted since. Always false if the system has a boot id."""
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
        # In a folder where anyone may create files, another user could control our workers with this file.
        if not files.owned_here(status) and path.parent.stat().st_mode & stat.S_IWOTH:
            raise StoreError(f"{path} belongs to another user (uid {status.st_uid}), and anyone may make files there")
        return status


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def open_file(path: Path, clock: Clock) -> Opened:
    """Open it, or create it if it does not exist. Raises `StoreError`, `OSError` and `sqlite3.Error`."""
    look(path)
    path = Path(os.path.realpath(path))  # SQLite's other files lie beside the real one
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
    # Before SQLite opens it, because SQLite would write a `-wal` that lies beside it into whatever file was put in its
    # place. Not if this process has it open: closing any descriptor of a file releases all locks that the process has
    # on it.
    if not _open_here[which]:
        _check_content(path)
    # `rw`: SQLite must not create the file, because everyone might be able to read it.
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_FOR, isolation_level=None, check_same_thread=False
    )
    _open_here[which] += 1
    return connection


def _check_content(path: Path) -> None:
    """Raise `StoreError` for a file that is neither ours nor empty."""
    with files.open_regular(path) as file:
        head = file.read(_HEAD)
    if not head:
        return
    if len(head) < _HEAD or not head.startswith(b"SQLite format 3\0"):
        raise StoreError(f"{path} is not an SQLite database; it was not changed: use another path")
    # https://www.sqlite.org/fileformat.html, 1.3: the application id is at 68
    if int.from_bytes(head[68:72]) != _APPLICATION:
        raise StoreError(f"{path} is a database of another program; it was not changed: use another path")


def _prepare(connection: sqlite3.Connection, path: Path, clock: Clock) -> tuple[str, float]:
    """Create the tables if the file is empty. Returns the boot id, and the zero of the store's clock."""
    run = connection.execute
    run("PRAGMA mmap_size = 0")  # else a file that is truncated kills the process
    run("PRAGMA trusted_schema = OFF")
    run("PRAGMA cell_size_check = ON")
    # Not every write is flushed to the disk, but a power cut leaves the file intact.
    run("PRAGMA synchronous = NORMAL")
    if _value(connection, "PRAGMA application_id") == 0:
        # Before WAL mode adds other files: so the application id is in the file itself.
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
    """Create an empty file that only its owner may read, unless another process is faster."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # One process at a time: the old files beside the new one are removed, and must not be those of a newer one.
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BeingMade(f"{path} is being created by another process") from None
        if look(path) is not None:
            return
        # Left over if only the main file was deleted. Processes that still have that one open would be heard here.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        # Under another name first: once it has its final name, another thread may have it open, and closing our
        # descriptor would release that one's locks.
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
    """An id that is new each time the machine starts; empty if the system has none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _network(device: int) -> str | None:
    """The kind of network file system with this device; None if it is none or unknown."""
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
    """Whether another process has the file locked, so that a retry makes sense."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def fault(path: Path, error: Exception, timeout: float) -> StoreError:
    """The error as a `StoreError` with a text of one line."""
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
    """The error's text, which may quote the file, as one short line of ASCII."""
    return ascii(" ".join(str(error).split()))[1:-1][:150]


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise fault(path, error, 0) from error
