"""`sleepwalker get -o`: a download that goes on with what is there, checks it, and shows how far it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import FaultServer, RangedFile, reply

from sleepwalker.cli import main
from sleepwalker.downloads.ranges import OVERLAP
from tests.terminal import Screen

Output = pytest.CaptureFixture[str]

pytestmark = pytest.mark.once

CONTENT = os.urandom(300_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
WRONG = f"sha256:{'0' * 64}"
COMMAND = [sys.executable, "-m", "sleepwalker", "get"]


@pytest.fixture(autouse=True)
def no_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user who runs the tests may have credentials for localhost."""
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def file() -> RangedFile:
    return RangedFile(CONTENT)


@pytest.fixture
def server(file: RangedFile) -> Iterator[FaultServer]:
    with FaultServer(default=file.serve) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "big"


def get(*argv: str) -> int:
    """Run the command in this process; its exit code."""
    return main(["get", *argv])


def test_what_broke_off_goes_on_with_the_same_command(
    server: FaultServer, file: RangedFile, path: Path, capsys: Output
) -> None:
    file.cuts = [100_000]
    assert get("-o", str(path), "--policy", "off", f"{server.url}/big?token=secret") == 1
    out, err = capsys.readouterr()
    assert (out, path.exists()) == ("", False)
    assert "ReadError: " in err
    assert get("-o", str(path), f"{server.url}/big?token=secret") == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"GET {server.url}/big: 206 Partial Content, 1 attempt, ")
    assert err.endswith(f"300000 bytes in {path}, 100 kB of them from before\n")
    assert (out, path.read_bytes()) == ("", CONTENT)
    assert file.asked[1] == (f"bytes={100_000 - OVERLAP}-", '"v1"')


def test_json_tells_of_the_file(server: FaultServer, file: RangedFile, path: Path, capsys: Output) -> None:
    file.cuts = [100_000, OVERLAP + 100_000]
    get("-o", str(path), "--policy", "off", server.url)
    capsys.readouterr()
    assert get("-o", str(path), "--json", "--checksum", SHA256, server.url) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["answered"], told["status"], told["bytes"], told["resumed"]) == (True, 206, 300_000, 100_000)
    assert (told["path"], told["checksum"]) == (str(path), SHA256)
    assert [attempt["reached"] for attempt in told["attempts"]] == [200_000, 300_000]


def test_a_wrong_checksum_fails_and_a_right_one_is_told_of(server: FaultServer, path: Path, capsys: Output) -> None:
    assert get("-o", str(path), "--checksum", WRONG, server.url) == 1
    assert "ChecksumError: " in capsys.readouterr().err
    assert list(path.parent.iterdir()) == []
    assert get("-o", str(path), "--checksum", SHA256, server.url) == 0
    assert capsys.readouterr().err.endswith(f"300000 bytes in {path}, sha256 as given\n")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--checksum", SHA256], "give -o FILE, too"),
        (["--checksum", SHA256, "-o", "-"], "give -o FILE, too"),
        (["--checksum", SHA256, "-o", "FILE", "-X", "POST"], "neither -X"),
        (["--checksum", "md5:00", "-o", "FILE"], "'md5' is broken"),
        (["-o", "FILE/below"], "its folder does not exist"),
    ],
)
def test_a_download_that_cannot_be_is_refused_before_it_is_sent(
    server: FaultServer, path: Path, capsys: Output, argv: list[str], says: str
) -> None:
    assert get(*(word.replace("FILE", str(path)) for word in argv), server.url) == 2
    assert says in capsys.readouterr().err
    assert server.requests == []


def test_an_error_page_is_not_taken_for_the_file(server: FaultServer, path: Path, capsys: Output) -> None:
    server.script(reply(404, b"<html>"))
    assert get("-o", str(path), server.url) == 1
    assert "HTTPNotFound" in capsys.readouterr().err
    assert not path.exists()


def test_another_download_to_the_file_is_said_so(
    server: FaultServer, file: RangedFile, path: Path, capsys: Output
) -> None:
    file.drip = 0.5
    with subprocess.Popen([*COMMAND, "-o", str(path), server.url], stderr=subprocess.PIPE) as first:
        _until(path.with_name("big.part").exists)
        assert get("-o", str(path), server.url) == 2
        file.drip = 0.0
        first.communicate(timeout=60)
    assert first.returncode == 0
    assert "another download to it is running" in capsys.readouterr().err
    assert path.read_bytes() == CONTENT


def test_a_full_disk_is_a_call_that_failed_and_the_same_command_goes_on(
    server: FaultServer, path: Path, capsys: Output
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert get("-o", str(path), server.url) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr().err
    assert f"File too large: '{path}.part'; the part is kept" in said
    assert get("-o", str(path), server.url) == 0
    assert "100 kB of them from before" in capsys.readouterr().err
    assert path.read_bytes() == CONTENT


def test_ctrl_c_says_that_the_command_can_go_on(server: FaultServer, file: RangedFile, path: Path) -> None:
    file.drip = 0.5
    with subprocess.Popen([*COMMAND, "-o", str(path), server.url], stderr=subprocess.PIPE) as running:
        part = path.with_name("big.part")
        _until(lambda: part.exists() and part.stat().st_size > 0)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"run the command again to go on" in err
    assert b"Traceback" not in err
    file.drip = 0
    assert get("-o", str(path), server.url) == 0
    assert path.read_bytes() == CONTENT


def test_a_dash_is_stdout_and_a_pipe_or_device_gets_the_body_as_ever(
    server: FaultServer, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert get("-o", "-", server.url) == 0
    assert capsysbinary.readouterr().out == CONTENT
    assert get("-o", os.devnull, server.url) == 0
    assert not Path(f"{os.devnull}.part").exists()
    assert not (tmp_path / "-").exists()


def test_a_range_of_the_callers_own_is_sent_as_it_is(server: FaultServer, file: RangedFile, path: Path) -> None:
    assert get("-o", str(path), "-H", "Range: bytes=299990-", "-H", 'If-Range: "v1"', server.url) == 0
    assert path.read_bytes() == CONTENT[299_990:]


def test_a_terminal_shows_how_far_it_is_and_the_line_at_the_end(
    server: FaultServer, file: RangedFile, path: Path
) -> None:
    file.drip, file.cuts = 0.15, [200_000]
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update({"TERM": "xterm", "COLUMNS": "100"})
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [*COMMAND, "-o", str(path), server.url])
        os._exit(127)
    screen = Screen(terminal)
    screen.to_the_end()
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b" of 300 kB" in screen.seen
    assert "━".encode() in screen.seen
    assert b"again in" in screen.seen
    assert b"300000 bytes in" in screen.seen
    assert path.read_bytes() == CONTENT


def _until(holds: Callable[[], bool], within: float = 60) -> None:
    ends = time.monotonic() + within
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)
