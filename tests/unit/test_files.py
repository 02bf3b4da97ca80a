"""Files that a user names: what is opened, with which mode, and whose links are followed."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepwalker import files

#: Some other user.
OTHER = 4242
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture(autouse=True)
def _no_mask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def write(path: Path, text: str = "new") -> None:
    handle = files.open_to_write(path, files.LOG_MODE, os.O_APPEND)
    os.write(handle, text.encode())
    os.close(handle)


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_report_is_for_its_owner_and_the_whole_of_its_file(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    files.write_report(report, "a long page")
    assert (report.read_text(), mode_of(report)) == ("a long page", "0o600")
    files.write_report(report, "short")
    assert report.read_text() == "short"


def test_a_report_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.touch(0o644)
    with pytest.warns(UserWarning, match="mode 0644, so others may read it: chmod 0600"):
        files.write_report(report, "page")


def test_a_mode_is_warned_of_once(tmp_path: Path) -> None:
    """A service that opens its log anew after each rotation says it once."""
    path = tmp_path / "log"
    path.touch(0o660)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            write(path)
    assert [str(warning.message) for warning in caught] == [
        f"{str(path)!r} has the mode 0660, so others may change it: chmod 0640"
    ]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o440, 0o750, 0o200])
def test_a_mode_that_lets_no_others_in_is_not(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "log"
    path.touch()
    path.chmod(mode)
    if os.access(path, os.W_OK):
        write(path)


def test_what_was_opened_and_refused_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch(0o666)
    before = open_handles()
    with pytest.raises(UserWarning, match="0666"):  # as a filter of the application's may have it
        write(path)
    assert open_handles() == before


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "a")


@as_root
def test_a_link_to_another_users_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    os.chown(victim, OTHER, -1)
    (tmp_path / "log").symlink_to(victim)
    for refused in (lambda: write(tmp_path / "log"), lambda: files.write_report(tmp_path / "log", "page")):
        with pytest.raises(PermissionError, match=f"it links to a file of another user .uid {OTHER}.: .*/log'"):
            refused()
    assert victim.read_text() == "theirs"


@as_root
@pytest.mark.parametrize("made", [True, False])
def test_a_link_that_another_user_made_is_not_followed_wherever_it_leads(tmp_path: Path, made: bool) -> None:
    """A user who may write to a folder would choose which of root's files a service of root overwrites."""
    victim = tmp_path / "victim"
    if made:
        victim.write_text("ours")
    link, log = tmp_path / "link", tmp_path / "log"
    link.symlink_to(victim)
    os.lchown(link, OTHER, -1)
    log.symlink_to(link)
    for name in (link, log):
        with pytest.raises(PermissionError, match=f"it is a link that another user made .uid {OTHER}."):
            files.write_report(name, "page")
    assert (victim.read_text() if made else victim.exists()) == ("ours" if made else False)


@as_root
def test_another_users_file_is_written_to_but_not_where_anyone_may_have_put_it(tmp_path: Path) -> None:
    """`logrotate` may well make a log of another owner; in a folder as /tmp is, it is a trap."""
    log = tmp_path / "log"
    log.touch(0o640)
    os.chown(log, OTHER, -1)
    write(log)
    tmp_path.chmod(0o1777)
    with pytest.raises(PermissionError, match=r"it belongs to another user .* anyone may make files there"):
        write(log)
    assert log.read_text() == "new"


def test_a_name_that_means_a_pipe_by_the_time_it_is_opened_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy"
    path.touch(0o600)
    status = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: status)
    before = open_handles()
    with pytest.raises(OSError, match="it is a pipe"):
        files.open_regular(path)
    with pytest.raises(OSError, match="No such device"):  # a pipe without a reader
        write(path)
    assert open_handles() == before
