"""Downloads over real sockets: whatever breaks off goes on, and no file is ever half of one version."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import responses
from servers import (
    CuttingProxy,
    Exchange,
    FaultServer,
    Nginx,
    RangedFile,
    Request,
    Step,
    open_below,
    redirect,
    reply,
)

from sleepwalker import (
    ANONYMOUS,
    ChecksumError,
    Connection,
    DeadlineExceeded,
    DownloadError,
    HTTPNotFound,
    Policy,
    ReadError,
)
from sleepwalker.downloads.ranges import OVERLAP
from tests.both_drivers import threads_only
from tests.ranges import whole

pytestmark = pytest.mark.both_drivers

#: As `standard`, but in a hurry.
QUICK = Policy(retry={"wait_initial": 0.01, "wait_max": 0.02}, timeout={"read": 0.5})
ONCE = Policy(retry=False)
CONTENT = os.urandom(400_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
ALL = (None, None)


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


@pytest.fixture
def conn(server: FaultServer) -> Iterator[Connection]:
    with Connection(server.url, ANONYMOUS, policy=QUICK) as made:
        yield made


def rest(size: int, validator: str = '"v1"') -> tuple[str, str]:
    """What is asked for where `size` bytes are there: `Range` and `If-Range`."""
    return f"bytes={size - OVERLAP}-", validator


def beside(path: Path) -> list[str]:
    """What there is in the folder."""
    return sorted(one.name for one in path.parent.iterdir())


def broken_off(conn: Connection, path: Path, **options: Any) -> None:
    """A call that breaks off, and leaves what it has."""
    with pytest.raises(ReadError):
        conn.download("/big", path, policy="off", **options)


# Whole files


def test_a_file_is_fetched_whole(conn: Connection, server: FaultServer, path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    done = conn.download("/big", path, params={"token": "secret"}, progress=lambda *far: seen.append(far))
    assert path.read_bytes() == CONTENT
    assert (done.path, done.size, done.resumed, done.response.status_code) == (path, 400_000, 0, 200)
    assert [attempt.reached for attempt in done.attempts] == [400_000]
    assert seen[-1] == (400_000, 400_000)
    assert beside(path) == ["big"]
    request = server.requests[0]
    assert (request.query, request.header("Accept-Encoding")) == ("token=secret", "identity")
    assert conn.health.in_flight == 0


def test_an_empty_file_is_whole(conn: Connection, file: RangedFile, path: Path) -> None:
    file.content = b""
    seen: list[Any] = []
    assert conn.download("/big", str(path), progress=lambda *far: seen.append(far)).size == 0
    assert (path.read_bytes(), seen, beside(path)) == (b"", [(0, 0)], ["big"])


def test_the_mode_is_that_of_a_file_that_open_makes(conn: Connection, path: Path) -> None:
    before = os.umask(0o027)
    try:
        conn.download("/big", path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(conn: Connection, path: Path, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    path.symlink_to(tmp_path / "place" / "real")
    conn.download("/big", path)
    assert path.is_symlink()
    assert (tmp_path / "place" / "real").read_bytes() == CONTENT


def test_a_scope_downloads_on_its_own_record(conn: Connection, path: Path) -> None:
    scope = conn.scope("downloads")
    scope.download("/big", path)
    assert (scope.health.calls, conn.health.calls) == (1, 0)


# What breaks off


def test_what_broke_off_goes_on_in_the_same_call(conn: Connection, file: RangedFile, path: Path) -> None:
    file.cuts = [100_000, OVERLAP + 100_000, OVERLAP + 70_000]
    done = conn.download("/big", path, checksum=SHA256)
    assert path.read_bytes() == CONTENT
    assert file.asked == [ALL, *(rest(n) for n in (100_000, 200_000, 270_000))]
    assert [attempt.reached for attempt in done.attempts] == [100_000, 200_000, 270_000, 400_000]
    assert [attempt.status for attempt in done.attempts] == [200, 206, 206, 206]
    assert [bool(attempt.error) for attempt in done.attempts] == [True, True, True, False]
    assert (conn.health.calls, conn.health.failures, conn.health.breaker) == (1, 0, "closed")


def test_a_silence_and_a_503_in_between_are_waited_out(server: FaultServer, file: RangedFile, path: Path) -> None:
    def silent(exchange: Exchange) -> None:
        exchange.send(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 400000\r\n\r\n' + CONTENT[:150_000])
        exchange.pause(None)

    server.script(Step(silent), reply(503))
    with Connection(server.url, ANONYMOUS, policy=QUICK) as conn:
        done = conn.download("/big", path)
    assert path.read_bytes() == CONTENT
    assert file.asked == [rest(150_000)]
    assert [attempt.status for attempt in done.attempts] == [200, 503, 206]
    assert "ReadTimeout" in (done.attempts[0].error or "")


def test_what_broke_off_goes_on_in_a_later_call(conn: Connection, file: RangedFile, path: Path) -> None:
    path.write_text("the old one")
    file.cuts = [150_000]
    broken_off(conn, path)
    assert path.read_text() == "the old one"
    assert beside(path) == ["big", "big.part", "big.part.json"]
    assert (path.parent / "big.part").read_bytes() == CONTENT[:150_000]
    done = conn.download("/big", path, checksum=SHA256)
    assert (done.resumed, done.size, file.asked[-1]) == (150_000, 400_000, rest(150_000))
    assert (path.read_bytes(), beside(path)) == (CONTENT, ["big"])


_CHILD = {
    "threads": """\
import sys, sleepwalker
sleepwalker.Connection(sys.argv[1], sleepwalker.ANONYMOUS).download("/big", sys.argv[2])
""",
    "asyncio": """\
import asyncio, sys, sleepwalker, sleepwalker.aio
asyncio.run(sleepwalker.aio.AsyncConnection(sys.argv[1], sleepwalker.ANONYMOUS).download("/big", sys.argv[2]))
""",
}


def test_another_process_goes_on_where_one_was_killed(
    conn: Connection, server: FaultServer, file: RangedFile, path: Path, driver: str
) -> None:
    file.drip = 0.5
    child = subprocess.Popen([sys.executable, "-c", _CHILD[driver], server.url, str(path)])
    part = path.with_name("big.part")
    ends = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < 65_536:
        assert time.monotonic() < ends
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    size, file.drip = part.stat().st_size, 0.0
    assert 65_536 <= size < 400_000
    done = conn.download("/big", path, checksum=SHA256)
    assert (done.resumed, file.asked[-1]) == (size, rest(size))
    assert path.read_bytes() == CONTENT


def test_a_server_that_sends_a_byte_at_a_time_is_given_up(conn: Connection, file: RangedFile, path: Path) -> None:
    file.cuts = [9000] + [OVERLAP + 1] * 50
    with pytest.raises(ReadError) as caught:
        conn.download("/big", path)
    assert [attempt.reached for attempt in caught.value.attempts] == [9000, 9001, 9002]
    assert conn.health.failures == 3


def test_the_whole_time_can_be_bounded(conn: Connection, file: RangedFile, path: Path) -> None:
    file.drip = 0.1
    with pytest.raises(DeadlineExceeded, match=r"0\.35") as caught:
        conn.download("/big", path, total=0.35)
    assert (caught.value.limit, caught.value.phase) == ("total", "body")
    assert conn.health.failures == 0
    assert path.with_name("big.part").stat().st_size >= 65_536


def test_one_call_is_told_of(server: FaultServer, file: RangedFile, path: Path) -> None:
    file.cuts = [100_000, 100_000]
    events: list[Any] = []
    with Connection(server.url, ANONYMOUS, policy=QUICK, observer=events.append) as conn:
        conn.download("/big", path)
    names = [event.name for event in events]
    assert names == ["attempt.failed", "retry.scheduled"] * 2 + ["request.finished"]
    assert len({event.call for event in events}) == 1
    assert (events[-1].status, events[-1].attempts) == (206, 3)


# What the server may do


def test_a_file_that_changed_begins_anew(conn: Connection, file: RangedFile, path: Path) -> None:
    file.cuts = [150_000]
    broken_off(conn, path)
    file.content, file.tag = os.urandom(300_000), '"v2"'
    done = conn.download("/big", path)
    assert (file.asked[-1], done.response.status_code, done.resumed) == (rest(150_000), 200, 0)
    assert path.read_bytes() == file.content


def test_a_changed_file_of_a_server_that_does_not_know_if_range_begins_anew(
    conn: Connection, file: RangedFile, path: Path
) -> None:
    file.cuts, file.heeds = [150_000], False
    broken_off(conn, path)
    file.content, file.tag = os.urandom(400_000), '"v2"'
    done = conn.download("/big", path)
    assert file.asked[1:] == [rest(150_000), ALL]
    assert [attempt.status for attempt in done.attempts] == [206, 200]
    assert path.read_bytes() == file.content


@pytest.mark.parametrize("headers", [{"ETag": 'W/"v1"'}, {"Accept-Ranges": "none"}, {"ETag": ""}])
def test_without_a_strong_validator_a_later_call_begins_anew(
    conn: Connection, file: RangedFile, path: Path, headers: dict[str, str]
) -> None:
    file.cuts, file.headers = [150_000], headers
    broken_off(conn, path)
    assert beside(path) == []
    conn.download("/big", path)
    assert file.asked == [ALL, ALL]
    assert path.read_bytes() == CONTENT


def test_a_date_is_as_good_as_a_tag_where_there_is_none(conn: Connection, file: RangedFile, path: Path) -> None:
    modified = "Sat, 01 Jun 2024 11:00:00 GMT"
    file.cuts, file.tag, file.heeds = [150_000], None, False
    file.headers = {"Last-Modified": modified, "Date": "Sat, 01 Jun 2024 12:00:00 GMT"}
    conn.download("/big", path)
    assert file.asked == [ALL, rest(150_000, modified)]
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_for_all_of_it_each_time(
    conn: Connection, file: RangedFile, path: Path
) -> None:
    file.ranges, file.cuts = False, [100_000, 250_000]
    conn.download("/big", path, checksum=SHA256)
    assert [wanted for wanted, _ in file.asked] == [None, rest(100_000)[0], rest(250_000)[0]]
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_cuts_is_given_up(conn: Connection, file: RangedFile, path: Path) -> None:
    """What comes a second time is no progress."""
    file.ranges, file.cuts = False, [100_000] * 50
    with pytest.raises(ReadError) as caught:
        conn.download("/big", path)
    assert len(caught.value.attempts) == 3


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Range": "bytes 0-399999/400000"}, CONTENT),
        ({"Content-Range": "bytes 145904-399999/500000"}, CONTENT[145_904:]),
        ({"Content-Type": "multipart/byteranges; boundary=x"}, b"--x\r\n"),
        ({"Content-Range": "bytes 145904-399999/400000", "Content-Type": "Multipart/Byteranges"}, b"-" * 254_096),
        ({"Content-Range": "bytes 145904-399999/400000", "Content-Encoding": "gzip"}, gzip.compress(b"x")),
    ],
    ids=["another start", "another total", "multipart", "multipart with a range", "encoded"],
)
def test_another_range_than_was_asked_for_begins_anew(
    conn: Connection, server: FaultServer, file: RangedFile, path: Path, headers: dict[str, str], body: bytes
) -> None:
    file.cuts = [150_000]
    broken_off(conn, path)
    server.script(reply(206, body, headers))
    done = conn.download("/big", path, policy="off")
    assert [attempt.status for attempt in done.attempts] == [206, 200]
    assert path.read_bytes() == CONTENT


def test_a_200_with_a_part_of_the_file_is_not_the_file(conn: Connection, server: FaultServer, path: Path) -> None:
    server.script(reply(200, CONTENT[9:], {"Content-Range": "bytes 9-399999/400000"}))
    with pytest.raises(DownloadError, match="200 is a range, and none was asked for"):
        conn.download("/big", path)
    assert beside(path) == []


@pytest.mark.parametrize("cut", [150_000, 400_000])
def test_another_file_behind_the_same_validator_begins_anew(
    conn: Connection, file: RangedFile, path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """As of another user, whose credentials lead to another file; or where a power cut has damaged what was there."""
    file.cuts = [cut]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no", "big")))
        with pytest.raises((ReadError, PermissionError)):
            conn.download("/big", path, policy="off")
    file.content = os.urandom(400_000)
    done = conn.download("/big", path, policy="off")
    assert file.asked == [ALL, rest(cut), ALL]
    assert path.read_bytes() == file.content
    assert (done.resumed, [attempt.reached for attempt in done.attempts]) == (0, [None, 400_000])
    assert conn.health.failures == 0


def test_a_server_that_never_sends_the_same_twice_is_given_up(conn: Connection, file: RangedFile, path: Path) -> None:
    def another(exchange: Exchange) -> None:
        file.content = os.urandom(400_000)
        file.serve(exchange)

    file.cuts = [150_000] * 50
    with (
        FaultServer(default=another) as server,
        Connection(server.url, ANONYMOUS, policy=QUICK) as other,
        pytest.raises(ReadError) as caught,
    ):
        other.download("/big", path)
    assert len(file.asked) == len(caught.value.attempts) <= 6


def test_a_range_that_is_longer_than_it_says_is_not_believed(
    conn: Connection, server: FaultServer, file: RangedFile, path: Path
) -> None:
    file.cuts = [150_000]
    broken_off(conn, path)
    more = CONTENT[145_904:] + b"more"
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(more), more)
    head = b"HTTP/1.1 206 P\r\nContent-Range: bytes 145904-399999/400000\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.script(Step(lambda exchange: exchange.send(head + chunk)))
    done = conn.download("/big", path)
    assert path.read_bytes() == CONTENT
    assert [attempt.status for attempt in done.attempts] == [206, 200]
    assert "longer than it says" in (done.attempts[0].error or "")


def test_a_range_that_is_shorter_than_it_says_is_not_the_end(
    conn: Connection, server: FaultServer, file: RangedFile, path: Path
) -> None:
    """Its chunks end as they should, so that nothing below notices."""
    file.cuts = [150_000]
    broken_off(conn, path)
    start = 150_000 - OVERLAP
    less = CONTENT[start:250_000]
    head = b"HTTP/1.1 206 P\r\nContent-Range: bytes %d-399999/400000\r\nTransfer-Encoding: chunked\r\n\r\n" % start
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(less), less)
    server.script(Step(lambda exchange: exchange.send(head + chunk)))
    done = conn.download("/big", path, checksum=SHA256)
    assert "150000 bytes early" in (done.attempts[0].error or "")
    assert file.asked[-1] == rest(250_000)


def test_a_server_that_sends_so_much_at_a_time_is_asked_until_all_is_there(server: FaultServer, path: Path) -> None:
    def most(exchange: Exchange) -> None:
        assert exchange.request is not None
        start = int((exchange.request.header("Range") or "bytes=0-")[6:-1])
        body = CONTENT[start : start + OVERLAP + 100_000]
        said = f"Content-Range: bytes {start}-{start + len(body) - 1}/400000\r\n"
        head = f'HTTP/1.1 206 P\r\nETag: "v1"\r\n{said}Content-Length: {len(body)}\r\n\r\n'
        exchange.send(head.encode() + body)

    cut = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 400000\r\n\r\n' + CONTENT[:100_000]
    server.script(Step(lambda exchange: setattr(exchange, "keep", False) or exchange.send(cut)), *[Step(most)] * 3)
    with Connection(server.url, ANONYMOUS, policy=QUICK) as conn:
        done = conn.download("/big", path, checksum=SHA256)
    assert [attempt.reached for attempt in done.attempts] == [100_000, 200_000, 300_000, 400_000]
    assert len([attempt for attempt in done.attempts if attempt.error]) == 1


def test_a_chunked_body_that_is_cut_short_goes_on(conn: Connection, file: RangedFile, path: Path) -> None:
    file.chunked, file.cuts = True, [100_000]
    seen: list[Any] = []
    conn.download("/big", path, progress=lambda *far: seen.append(far))
    assert path.read_bytes() == CONTENT
    assert file.asked == [ALL, rest(100_000)]
    assert seen[0][1] is None


def test_a_chunked_body_without_its_last_chunk_was_whole(
    conn: Connection, server: FaultServer, file: RangedFile, path: Path
) -> None:
    """The length is not known, so that only the next response tells that there is no more."""

    def endless(exchange: Exchange) -> None:
        exchange.keep = False
        exchange.send(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\n\r\n')
        exchange.send(b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT))

    server.script(Step(endless))
    done = conn.download("/big", path, checksum=SHA256)
    assert [attempt.status for attempt in done.attempts] == [200, 206]
    assert path.read_bytes() == CONTENT


def test_a_body_that_is_encoded_all_the_same_is_decoded(conn: Connection, file: RangedFile, path: Path) -> None:
    file.content, file.headers = gzip.compress(CONTENT), {"Content-Encoding": "gzip"}
    file.cuts = [150_000]
    conn.download("/big", path, checksum=SHA256)
    assert file.asked == [ALL, ALL]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [204, 202, 206])
def test_what_is_no_file_is_an_error_with_the_response(
    conn: Connection, server: FaultServer, path: Path, status: int
) -> None:
    server.script(reply(status, b"" if status == 204 else b"soon"))
    with pytest.raises(DownloadError, match=str(status)) as caught:
        conn.download("/big?token=secret", path)
    assert caught.value.response is not None
    assert (caught.value.response.status_code, len(caught.value.attempts)) == (status, 1)
    assert "secret" not in str(caught.value)
    assert (beside(path), conn.health.failures) == ([], 0)


def test_an_error_of_the_server_is_that_error_and_leaves_what_is_there(
    conn: Connection, server: FaultServer, file: RangedFile, path: Path
) -> None:
    file.cuts = [150_000]
    broken_off(conn, path)
    server.script(reply(404, b'{"error": "gone"}'))
    with pytest.raises(HTTPNotFound) as caught:
        conn.download("/big", path)
    assert caught.value.json_data == {"error": "gone"}
    assert path.with_name("big.part").stat().st_size == 150_000


def test_a_redirect_to_another_origin_takes_the_range_along_and_no_credentials(
    server: FaultServer, file: RangedFile, path: Path
) -> None:
    file.cuts = [150_000]
    with FaultServer(default=redirect(f"{server.url}/big")) as first:
        with Connection(first.url, ("user", "password"), policy=QUICK, headers={"X-Key": "k4y"}) as conn:
            conn.download("/file", path, checksum=SHA256)
        assert all(request.header("Authorization") for request in first.requests)
    assert file.asked == [ALL, rest(150_000)]
    for request in server.requests:
        assert request.header("Authorization") is request.header("X-Key") is None
        assert request.header("Accept-Encoding") == "identity"


# Checksums


def test_a_wrong_checksum_drops_what_arrived_and_keeps_the_old_file(
    conn: Connection, file: RangedFile, path: Path
) -> None:
    path.write_text("the old one")
    with pytest.raises(ChecksumError, match="all 400000 bytes arrived") as caught:
        conn.download("/big", path, checksum=f"sha256:{'0' * 64}")
    assert [attempt.reached for attempt in caught.value.attempts] == [400_000]
    assert (path.read_text(), beside(path), conn.health.failures) == ("the old one", ["big"], 0)
    conn.download("/big", path, checksum=SHA256)
    assert file.asked == [ALL, ALL]


def test_errors_name_what_was_asked_for_and_not_where_a_redirect_led(server: FaultServer, path: Path) -> None:
    with FaultServer(default=redirect(f"{server.url}/c4n4ry/big")) as first, Connection(first.url, ANONYMOUS) as conn:
        with pytest.raises(ChecksumError, match=f"{first.url}/file: all 400000 bytes") as caught:
            conn.download("/file", path, checksum=f"sha256:{'0' * 64}")
        assert "c4n4ry" not in str(caught.value)
        server.script(reply(204))
        with pytest.raises(DownloadError, match=f"{first.url}/file: 204 is not a file") as refused:
            conn.download("/file", path)
        assert "c4n4ry" not in str(refused.value)


def test_what_was_there_is_hashed_as_well(conn: Connection, file: RangedFile, path: Path) -> None:
    file.cuts = [150_000]
    broken_off(conn, path)
    with path.with_name("big.part").open("r+b") as part:
        part.write(bytes([CONTENT[0] ^ 1]))
    with pytest.raises(ChecksumError):
        conn.download("/big", path, checksum=SHA256)
    conn.download("/big", path, checksum=SHA256)
    assert path.read_bytes() == CONTENT


def not_renamed(conn: Connection, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a part that is whole, as where a process ended between the last byte and the new name."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no", "big")))
        with pytest.raises(PermissionError):
            conn.download("/big", path)


def test_a_part_that_was_whole_is_proven_by_its_last_bytes(
    conn: Connection, file: RangedFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_renamed(conn, path, monkeypatch)
    done = conn.download("/big", path, checksum=SHA256)
    assert file.asked[-1] == rest(400_000)
    assert (done.size, path.read_bytes()) == (400_000, CONTENT)


def test_a_part_that_is_whole_is_not_proven_by_less_than_was_asked_for(
    conn: Connection, server: FaultServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_renamed(conn, path, monkeypatch)
    start = len(CONTENT) - OVERLAP
    little = {"Content-Range": f"bytes {start}-{start + 99}/{len(CONTENT)}", "ETag": '"v1"'}
    server.script(reply(206, CONTENT[start : start + 100], little))
    with pytest.raises(ReadError, match="only a few bytes per response"):
        conn.download("/big", path, policy="off")
    assert not path.exists()
    conn.download("/big", path, checksum=SHA256)


# Callers


def test_two_at_once_do_not_spoil_the_file(conn: Connection, file: RangedFile, path: Path) -> None:
    file.drip = 0.5
    begun, first = threading.Event(), list[Any]()
    thread = threading.Thread(
        target=lambda: first.append(conn.download("/big", path, progress=lambda *_: begun.set(), checksum=SHA256))
    )
    thread.start()
    assert begun.wait(30)
    with pytest.raises(BlockingIOError, match="another download to it is running"):
        conn.download("/big", path)
    file.drip = 0.0
    thread.join(30)
    assert (len(first), path.read_bytes(), beside(path)) == (1, CONTENT, ["big"])
    conn.download("/big", path)


def test_what_progress_raises_ends_the_call_and_keeps_the_part(conn: Connection, file: RangedFile, path: Path) -> None:
    file.drip = 0.02

    def enough(done: int, _: int | None) -> None:
        if done:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        conn.download("/big", path, progress=enough)
    assert conn.health.in_flight == 0
    assert path.with_name("big.part").stat().st_size > 0
    file.drip = 0
    done = conn.download("/big", path, checksum=SHA256)
    assert done.resumed > 0


@threads_only("a signal strikes the main thread")
def test_ctrl_c_keeps_the_part_and_leaves_nothing_open(conn: Connection, file: RangedFile, path: Path) -> None:
    file.drip = 0.05
    with pytest.raises(KeyboardInterrupt):
        conn.download("/big", path, progress=lambda *_: signal.raise_signal(signal.SIGINT))
    assert (conn.health.in_flight, conn.health.failures) == (0, 0)
    assert open_below(path.parent) == []
    file.drip = 0
    assert conn.download("/big", path, checksum=SHA256).resumed > 0


def test_failed_calls_leave_no_descriptor_open(conn: Connection, file: RangedFile, path: Path) -> None:
    file.cuts = [70_000] * 3
    for _ in range(3):
        broken_off(conn, path)
    assert open_below(path.parent) == []


def test_arguments_that_cannot_be_are_refused_before_anything_is_sent(
    conn: Connection, server: FaultServer, path: Path
) -> None:
    async def awaited(done: int, total: int | None) -> None: ...

    def generated(done: int, total: int | None) -> Iterator[None]:
        yield

    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "headers: Range is set by the download", {"headers": {"Range": "bytes=5-"}}),
        (TypeError, "'json' is not an argument of a download", {"json": {}}),
        (TypeError, "progress must be a function", {"progress": 5}),
        (TypeError, "progress must be a plain function", {"progress": awaited}),
        (TypeError, "progress must be a plain function", {"progress": generated}),
        (ValueError, "checksum must be an algorithm", {"checksum": "crc32:abcdef01"}),
        (ValueError, "total must be a positive number", {"total": 0}),
    ]
    for kind, says, options in wrong:
        with pytest.raises(kind, match=says):
            conn.download("/big", path, **options)
    with pytest.raises(TypeError, match="path must be a str"):
        conn.download("/big", 5)  # type: ignore[arg-type]
    with pytest.raises(IsADirectoryError):
        conn.download("/big", path.parent)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        conn.download("/big", path.parent / "nowhere" / "big")
    os.mkfifo(path)
    with pytest.raises(OSError, match="it is a pipe, not a regular file"):
        conn.download("/big", path)
    assert server.requests == []


def test_nothing_secret_is_kept_beside_the_file(conn: Connection, file: RangedFile, path: Path) -> None:
    file.cuts = [150_000]
    broken_off(conn, path, params={"token": "c4n4ry"}, headers={"X-Key": "c4n4ry"})
    note = path.with_name("big.part.json").read_text()
    assert "c4n4ry" not in note
    assert json.loads(note).keys() == {"version", "url", "validator", "total"}
    assert path.with_name("big.part.json").stat().st_mode & 0o777 == 0o600
    conn.download("/big", path, params={"token": "another"})  # which is another file
    assert file.asked[-1] == ALL


@threads_only("responses replaces the adapters of requests")
def test_a_mocked_session_is_downloaded_from(path: Path) -> None:
    with responses.RequestsMock() as mock, Connection("http://127.0.0.1:9", ANONYMOUS) as conn:
        mock.get("http://127.0.0.1:9/big", body=CONTENT)
        assert conn.download("/big", path, checksum=SHA256).size == 400_000
    assert path.read_bytes() == CONTENT


@threads_only("the traceback of a task has the loop's frames")
def test_an_error_does_not_hold_the_response(conn: Connection, file: RangedFile, path: Path) -> None:
    """Its frames would keep the socket's buffers for as long as a caller keeps the error."""
    file.cuts = [150_000]
    with pytest.raises(ReadError) as caught:
        conn.download("/big", path, policy="off")
    assert not [entry for entry in caught.traceback if entry.path.name in ("receiving.py", "stream.py")]  # type: ignore[union-attr]


# At length


def _resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def long_file(nginx: Nginx) -> Iterator[Any]:
    """`long_file(size)` is a file of nginx, and its checksum."""
    made: dict[int, tuple[Path, str]] = {}

    def make(size: int) -> tuple[str, str]:
        if size not in made:
            path = nginx.access_log.parent / "files" / f"{size}.bin"
            block, hasher = os.urandom(1 << 20), hashlib.sha256()
            with path.open("wb") as file:
                for number in range(size >> 20):
                    piece = number.to_bytes(8, "big") + block[8:]
                    file.write(piece)
                    hasher.update(piece)
            made[size] = path, f"sha256:{hasher.hexdigest()}"
        path, checksum = made[size]
        return f"/{path.name}", checksum

    yield make
    for path, _ in made.values():
        path.unlink()


#: In MiB: the size, and after how much of it each connection is cut.
@pytest.mark.parametrize(("size", "each"), [(20, 2), whole(200, 20)])
def test_a_long_file_of_nginx_comes_whole_through_a_proxy_that_cuts(
    nginx: Nginx, long_file: Any, path: Path, size: int, each: int
) -> None:
    uri, checksum = long_file(size << 20)
    seen: list[tuple[int, int | None]] = []
    memory = list[int]()

    def progress(done: int, total: int | None) -> None:
        seen.append((done, total))
        memory.append(_resident())

    with CuttingProxy(nginx.http, each << 20) as proxy, Connection(proxy.url, ANONYMOUS) as conn:
        before = _resident()
        done = conn.download(uri, path, progress=progress, checksum=checksum)
        assert (conn.health.calls, conn.health.failures, conn.health.breaker) == (1, 0, "closed")
    assert done.size == path.stat().st_size == size << 20
    # A cut takes the heads along, so that one attempt more is needed than the file has pieces.
    assert len(done.attempts) == proxy.connections == size // each + 1
    assert seen == sorted(seen)
    assert seen[-1] == (size << 20, size << 20)
    assert max(memory) - before < 12_000_000  # measured: 1 to 5 MB


def test_requests_of_a_download_are_plain(conn: Connection, server: FaultServer, path: Path) -> None:
    """What a CDN and a signature see."""
    conn.download("/big", path)
    request: Request = server.requests[0]
    assert (request.method, request.body) == ("GET", b"")
    assert re.fullmatch(r"/big", request.target)


def test_a_download_under_way_keeps_its_connection_from_being_idle(
    conn: Connection, file: RangedFile, path: Path
) -> None:
    """A manager retires connections that nobody has used for some minutes."""
    file.drip = 0.06
    before, during = conn.usage.last_used, set[float]()
    conn.download("/big", path, progress=lambda *_: during.add(conn.usage.last_used))
    assert len(during) > 1
    assert min(during) > before


@threads_only("a file of its own tells how asyncio does it")
def test_a_hedged_policy_downloads_as_well(server: FaultServer, file: RangedFile, path: Path) -> None:
    """A head that is slow is asked for a second time; one of the two bodies is written."""

    def slow(exchange: Exchange) -> None:
        exchange.pause(5)

    server.script(Step(slow))
    file.cuts = [150_000]
    hedged = QUICK.replace(hedge={"delay": 0.1})
    with Connection(server.url, ANONYMOUS, policy=hedged) as conn:
        done = conn.download("/big", path, checksum=SHA256)
        assert conn.health.in_flight == 0
    assert path.read_bytes() == CONTENT
    assert [attempt.reached for attempt in done.attempts] == [None, 150_000, 400_000]
