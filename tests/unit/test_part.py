"""The part of a file that is there: what a disk may do to it, and other downloads."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from sleepwalker.downloads.checksum import Checksum
from sleepwalker.downloads.part import Part
from sleepwalker.downloads.ranges import Kept

URL = "https://files.test/big?token=secret"
KEPT = Kept('"v1"', 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "big"


def begun(path: Path, data: bytes, kept: Kept = KEPT, url: str = URL) -> None:
    """Leave a part, as a process does that is killed."""
    part = Part(path, url, None)
    part.begin(0, kept)
    part.write(data)
    part._let_go()


def size_of(path: Path) -> int:
    """How much a download would go on with."""
    part = Part(path, URL, None)
    part.close()
    return part.size


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def test_a_part_is_gone_on_with(path: Path) -> None:
    begun(path, b"12345")
    part = Part(path, f"{URL}#fragment", None)
    assert (part.size, part.kept) == (5, KEPT)
    part.begin(5, KEPT)
    part.write(b"67890")
    part.finish()
    part.close()
    assert (path.read_bytes(), names(path)) == (b"1234567890", ["big"])


@pytest.mark.parametrize(
    "note",
    [
        "", "{", "[1]", "null", "[" * 5000, json.dumps({"version": 1}),
        json.dumps({"version": 2, "url": "x", "validator": '"v1"', "total": 10}),
        json.dumps({"version": 1, "url": "another", "validator": '"v1"', "total": 10}),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_note_that_says_nothing_of_this_url_is_none(path: Path, note: str) -> None:
    begun(path, b"12345")
    path.with_name("big.part.json").write_text(note)
    part = Part(path, URL, None)
    assert (part.size, part.kept) == (0, None)
    part.close()


@pytest.mark.parametrize("validator", ['W/"v1"', "v1", '"v1"\r\nX: y', 5, None])
def test_a_validator_that_may_not_be_sent_is_not_taken_from_a_note(path: Path, validator: object) -> None:
    begun(path, b"12345")
    place = path.with_name("big.part.json")
    place.write_text(json.dumps(json.loads(place.read_text()) | {"validator": validator}))
    part = Part(path, URL, None)
    assert part.kept is None
    part.close()


def test_what_is_there_of_another_url_stays_until_something_comes_in_its_place(path: Path) -> None:
    begun(path, b"12345")
    Part(path, "https://files.test/other", None).close()
    assert size_of(path) == 5


def test_what_cannot_be_gone_on_with_does_not_stay(path: Path) -> None:
    part = Part(path, URL, None)
    part.begin(0, Kept(None, 10))
    part.write(b"12345")
    part.close()
    assert names(path) == []


def test_a_range_leaves_the_note_as_it_is(path: Path) -> None:
    """Where a process ended between an old note and a new one, all that is there would be lost."""
    begun(path, b"12345", Kept('"v1"', None))
    before = path.with_name("big.part.json").stat()
    part = Part(path, URL, None)
    part.begin(5, KEPT)
    assert part.kept == KEPT
    part._let_go()
    after = path.with_name("big.part.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert size_of(path) == 5


def test_a_note_for_which_there_is_no_room_is_an_error_that_names_it(path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    part = Part(path, URL, None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            part.begin(0, KEPT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path.with_name("big.part.json"))
    part.close()
    assert list(path.parent.iterdir()) == []


def test_an_interrupted_beginning_is_not_taken_for_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end of the old bytes and the note of the new ones a process may end."""
    begun(path, b"12345")
    part = Part(path, URL, None)
    monkeypatch.setattr(part, "_write_note", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        part.begin(0, Kept('"v2"', 20))
    part._let_go()
    assert size_of(path) == 0


def test_a_second_download_is_refused_and_changes_nothing(path: Path) -> None:
    part = Part(path, URL, None)
    part.begin(0, KEPT)
    part.write(b"12345")
    with pytest.raises(BlockingIOError, match="another download to it is running") as caught:
        Part(path, URL, None)
    assert caught.value.filename == str(path)
    part.write(b"67890")
    part.finish()
    part.close()
    assert path.read_bytes() == b"1234567890"


def test_a_part_that_became_the_file_meanwhile_is_not_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was opened before another download finished, and locked after it."""
    begun(path, b"1234567890")
    lock, done = fcntl.flock, list[int]()

    def late(file: int, operation: int) -> None:
        if not done and operation & fcntl.LOCK_NB:
            done.append(file)
            path.with_name("big.part").replace(path)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    part = Part(path, URL, None)
    part.begin(0, KEPT)
    part.close()
    assert path.read_bytes() == b"1234567890"


def test_a_file_system_without_locks_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    begun(path, b"12345")
    assert size_of(path) == 5
    first = Part(path, URL, None)
    second = Part(path, URL, None)
    for part, rest in ((first, b"xxxxx"), (second, b"67890")):
        part.begin(5, KEPT)
        part.write(rest)
    with pytest.raises(OSError, match="it was changed or replaced"):
        first.finish()
    second.finish()
    first.begin(0, KEPT)
    first.close()
    second.close()
    assert path.read_bytes() == b"1234567890"


def test_a_copy_of_a_part_for_which_there_is_no_room_leaves_nothing_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    begun(path, b"12345")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    monkeypatch.setattr(fcntl, "flock", none)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Part(path, URL, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(path: Path) -> None:
    begun(path, b"12345")
    part = Part(path, URL, None)
    shared = os.dup(part._file.fileno())  # as a child has it
    part.close()
    assert size_of(path) == 5
    os.close(shared)


def test_a_child_neither_goes_on_with_a_download_of_its_parents_nor_unlocks_it(path: Path) -> None:
    part = Part(path, URL, None)
    part.begin(0, KEPT)
    part.write(b"12345")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            try:
                part.write(b"67890")
            except OSError as error:
                os.write(write, str(error.strerror).encode())
            part.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"it is closed, or was opened before a fork by the parent"
    with pytest.raises(BlockingIOError):
        Part(path, URL, None)
    assert path.with_name("big.part").read_bytes() == b"12345"
    part.close()
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("name", ["big.part", "big.part.json"])
def test_a_link_in_its_place_is_not_followed(path: Path, name: str) -> None:
    """In a folder where anyone may write, it would choose what is overwritten."""
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name(name).symlink_to(victim)
    if name == "big.part":
        with pytest.raises(OSError, match="it is a link"):
            Part(path, URL, None)
    else:
        begun(path, b"12345")
    assert victim.read_text() == "precious"


def test_a_path_that_is_a_link_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder where anyone may write, it would choose which file is replaced."""
    victim = path.with_name("victim")
    path.symlink_to("victim")
    lstat = Path.lstat

    def another_users(self: Path) -> os.stat_result:
        status = lstat(self)
        return os.stat_result([*status[:4], 4711, *status[5:]]) if self == path else status

    monkeypatch.setattr(Path, "lstat", another_users)
    with pytest.raises(PermissionError, match=r"it is a link that another user made .uid 4711."):
        Part(path, URL, None)
    assert not victim.with_name("victim.part").exists()


def test_another_users_file_in_a_sticky_folder_is_refused_before_anything_is_sent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("theirs")
    path.parent.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(PermissionError, match="only that user may replace it"):
        Part(path, URL, None)
    assert list(path.parent.iterdir()) == [path]


def test_links_in_a_circle_are_an_error_of_the_system(path: Path) -> None:
    path.symlink_to("other")
    path.with_name("other").symlink_to("big")
    with pytest.raises(OSError, match="symbolic links"):
        Part(path, URL, None)


def test_a_part_that_another_one_replaced_does_not_become_the_file(path: Path) -> None:
    """As where a user removes it, and begins another download to the same path."""
    part = Part(path, URL, None)
    part.begin(0, KEPT)
    part.write(b"1234567890")
    path.with_name("big.part").unlink()
    begun(path, b"12")
    with pytest.raises(OSError, match="it was changed or replaced"):
        part.finish()
    part.remove()  # as after a wrong checksum
    part.close()
    assert not path.exists()
    assert size_of(path) == 2


def test_a_part_that_another_one_wrote_to_does_not_become_the_file(path: Path) -> None:
    """As where there are no locks."""
    part = Part(path, URL, None)
    part.begin(0, KEPT)
    part.write(b"1234567890")
    with path.with_name("big.part").open("ab") as other:
        other.write(b"x")
    with pytest.raises(OSError, match="it was changed or replaced"):
        part.finish()
    part.close()
    assert not path.exists()


def test_another_users_part_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(path, b"12345")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr("sleepwalker.files.owned_here", lambda status: status.st_uid == 4711)
    with pytest.raises(PermissionError, match="another user"):
        Part(path, URL, None)


def test_a_full_disk_says_which_file_and_keeps_what_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(file: int, data: Any) -> int:
        if part.size >= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:5])

    part = Part(path, URL, None)
    part.begin(0, KEPT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            part.write(b"1234567890")
    assert caught.value.filename == str(path.with_name("big.part"))
    part.close()
    assert size_of(path) == 5


@pytest.mark.parametrize("kind", ["folder", "root", "missing parent", "part is a folder"])
def test_a_path_that_cannot_be_a_file_is_an_error_of_the_system(path: Path, kind: str) -> None:
    wrong = {"folder": path.parent, "root": Path("/"), "missing parent": path / "below", "part is a folder": path}[kind]
    if kind == "part is a folder":
        path.with_name("big.part").mkdir()
    with pytest.raises(FileNotFoundError if kind == "missing parent" else IsADirectoryError):
        Part(wrong, URL, None)


def test_a_checksum_covers_what_was_there_and_what_was_dropped_does_not_count(path: Path) -> None:
    begun(path, b"12345xx")
    checksum = Checksum.of(f"sha256:{hashlib.sha256(b'1234567890').hexdigest()}")
    part = Part(path, URL, checksum)
    part.begin(5, KEPT)
    part.write(b"678")
    assert not part.has_checksum()
    part.write(b"90")
    assert part.has_checksum()
    part.close()


def test_the_end_of_a_part_can_be_read(path: Path) -> None:
    begun(path, b"1234567890")
    part = Part(path, URL, None)
    assert (part.read(6, 10), part.read(10, 10), part.read(0, 0)) == (b"7890", b"", b"")
    with pytest.raises(OSError, match="it became shorter"):
        part.read(6, 11)
    part.close()


def test_a_checksum_of_a_part_that_was_taken_away_is_an_error(path: Path) -> None:
    part = Part(path, URL, Checksum.of(f"sha256:{'0' * 64}"))
    part.begin(0, KEPT)
    part.write(b"12345")
    part.begin(3, KEPT)
    part.write(b"45")
    os.truncate(path.with_name("big.part"), 2)
    with pytest.raises(OSError, match="it became shorter"):
        part.has_checksum()
    part.close()


def test_an_old_file_is_there_until_the_new_one_is(path: Path) -> None:
    path.write_text("old")
    part = Part(path, URL, None)
    part.begin(0, KEPT)
    part.write(b"1234567890")
    assert path.read_text() == "old"
    part.finish()
    assert path.read_bytes() == b"1234567890"
    part.close()
    assert path.read_bytes() == b"1234567890"
