"""What is appended to a file is read once, whatever happens to the file."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepwalker.inspect import EventLogError, Follower, Source


class Growing:
    """A file and what its follower has read of it so far."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.jsonl"
        self.path.write_text("")
        pieces = folder / "pieces"
        pieces.mkdir()
        self.follower = Follower([Source("events.jsonl", self.path)], pieces)

    def append(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)

    def news(self) -> list[tuple[int, str]]:
        """The number of each piece's first line, and the piece."""
        return [(piece.first, piece.path.read_text()) for piece in self.follower.news()]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Growing]:
    growing = Growing(tmp_path)
    yield growing
    growing.follower.close()
    assert list((tmp_path / "pieces").iterdir()) == [], "pieces are gone once they were read"


def test_only_what_is_new_is_read_and_lines_keep_their_numbers(file: Growing) -> None:
    file.append("one\ntwo\n")
    assert file.news() == [(1, "one\ntwo\n")]
    assert file.news() == []
    file.append("three\n")
    assert file.news() == [(3, "three\n")]


def test_an_unfinished_line_waits_for_its_end(file: Growing) -> None:
    file.append("one\ntw")
    assert file.news() == [(1, "one\n")]
    assert file.news() == []
    file.append("o\n")
    assert file.news() == [(2, "two\n")]


def test_of_a_line_that_never_ends_nothing_is_held(file: Growing) -> None:
    """It was read anew and held as a whole at each look, for as long as it grew."""
    file.append("one\n")
    assert file.news() == [(1, "one\n")]
    tracemalloc.start()
    for _ in range(3):
        file.append("x" * (16 << 20))
        tracemalloc.reset_peak()
        assert file.news() == []
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()
    file.append("xx\nthree\nfo")
    assert file.news() == [(2, "!\nthree\n")]
    file.append("ur\n")
    assert file.news() == [(4, "four\n")]


def test_a_line_too_long_to_be_read_ends_with_its_file(file: Growing) -> None:
    file.append("x" * (9 << 20))
    assert file.news() == []
    file.append("xx")
    file.path.rename(file.path.with_suffix(".1"))
    file.path.write_text("one\n")
    assert file.news() == [(1, "!"), (1, "one\n")]


def test_a_line_longer_than_a_block_is_put_together(file: Growing) -> None:
    long = "x" * (3 << 20)
    file.append(long)
    assert file.news() == []
    file.append("\n")
    assert file.news() == [(1, long + "\n")]


def test_after_a_rotation_the_rest_of_the_old_file_and_the_new_one_are_read(file: Growing) -> None:
    file.append("one\n")
    assert file.news() == [(1, "one\n")]
    file.append("two\n")
    file.path.rename(file.path.with_suffix(".1"))
    file.append("three\n")
    assert file.news() == [(2, "two\n"), (1, "three\n")]


def test_between_the_halves_of_a_rotation_nothing_is_lost(file: Growing) -> None:
    file.append("one\n")
    file.news()
    old = file.path.rename(file.path.with_suffix(".1"))
    assert file.news() == []
    with old.open("a") as late:
        late.write("two\n")
    assert file.news() == [(2, "two\n")]
    file.append("three\n")
    assert file.news() == [(1, "three\n")]


def test_a_truncated_file_is_read_from_its_start(file: Growing) -> None:
    file.append("one\ntwo\n")
    file.news()
    os.truncate(file.path, 0)
    file.append("3\n")
    assert file.news() == [(1, "3\n")]


def test_an_unfinished_line_at_the_end_of_a_rotated_file_is_read_as_it_is(file: Growing) -> None:
    file.append("one\ntw")
    file.news()
    file.path.rename(file.path.with_suffix(".1"))
    file.append("three\n")
    assert file.news() == [(2, "tw"), (1, "three\n")]


def test_a_file_that_was_moved_out_of_sight_is_read_on(file: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    file.append("one\n")
    file.news()
    file.append("two\n")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        assert [piece.first for piece in file.follower.news()] == [2]


def test_a_name_that_can_no_longer_be_read_is_said(file: Growing) -> None:
    """A rotation may leave a file that only its owner may read; here, since root may, a folder."""
    file.append("one\n")
    file.news()
    file.path.rename(file.path.with_suffix(".1"))
    file.path.mkdir()
    with pytest.raises(EventLogError, match=r"^cannot read 'events\.jsonl' any more: Is a directory$"):
        file.news()


def test_a_pipe_in_the_place_of_a_rotated_file_is_not_waited_for(file: Growing) -> None:
    file.append("one\n")
    assert file.news() == [(1, "one\n")]
    file.path.unlink()
    os.mkfifo(file.path)
    with pytest.raises(EventLogError, match="any more: it is a pipe, not a regular file"):
        file.news()
