"""The store in a file under what can happen to a file: each fault is a `StoreError` in one line, and it recovers."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sleepwalker.fleet.local import FileStore, file, tables
from sleepwalker.fleet.store import KEPT_FOR, Heard, Order, Said, StoreError, View
from tests.memory import folder_in_memory
from tests.ranges import some

ROOT = Path(__file__).parents[2]
A, B = "https://a.example.com", "https://b.example.com"
BROKEN = View("broken", cause="503")
NOBODY = 65534
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "billing.fleet"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[..., FileStore]]:
    made: list[FileStore] = []

    def make(service: str = "billing", *, timeout: float = 5, **more: object) -> FileStore:
        made.append(FileStore(path, service, timeout=timeout, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for store in made:
        store.close()


def word(worker: str = "one", *, ttl: float = 60, **more: object) -> Said:
    return Said(worker, f"web {worker}", ttl, **more)  # type: ignore[arg-type]


def refused(store: FileStore, *, reads: bool = True) -> str:
    """What every method says; each in the same words, which is one line."""
    calls: list[Callable[[], object]] = [
        lambda: store.sync(word(views={A: BROKEN})),
        lambda: store.order(A, Order("isolate")),
        lambda: store.leave("one"),
    ]
    if reads:
        calls += [store.version, store.overview]
    said = set()
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        said.add(str(caught.value))
    [text] = said
    assert text.isprintable()
    assert len(text) < 400
    return text


def child(work: Callable[[], object]) -> int:
    """Run it in a forked child; its exit code is 0 if nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(60)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# What can be named


@pytest.mark.parametrize("name", ["billing.fleet", "", "./run/x", "run/x", "/run/\0"])
def test_a_path_that_is_not_absolute_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not absolute"):
        FileStore(name, "billing", timeout=1)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_is_a_time(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        FileStore("/run/x", "billing", timeout=timeout)


def test_making_a_store_touches_nothing(folder: Path) -> None:
    FileStore(folder / "none" / "x", "billing", timeout=1).close()
    assert list(folder.iterdir()) == []


def test_reading_makes_no_file(path: Path, open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    assert store.version() is None
    assert store.overview().workers == {}
    store.leave("one")
    assert list(path.parent.iterdir()) == []


def test_where_it_is_can_be_shown(path: Path, open_store: Callable[..., FileStore]) -> None:
    assert open_store().shown == path.as_uri()
    assert repr(open_store()) == f"FileStore({path.as_uri()!r}, 'billing')"


@pytest.mark.parametrize("name", ["a b?c#d%e.fleet", "ü\n.fleet", "'\".fleet"])
def test_a_file_may_have_an_odd_name(folder: Path, name: str) -> None:
    store = FileStore(folder / name, "billing", timeout=5)
    store.sync(word())
    assert (folder / name).exists()
    store.close()


# What may lie there


def test_only_its_owner_may_read_the_file(folder: Path, open_store: Callable[..., FileStore]) -> None:
    before = os.umask(0)
    try:
        open_store().sync(word())
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
    assert modes == {"billing.fleet": 0o600, "billing.fleet-wal": 0o600, "billing.fleet-shm": 0o600}


def test_a_folder_that_is_missing_is_named(folder: Path) -> None:
    assert "the folder" in refused(FileStore(folder / "none" / "x", "billing", timeout=1))


def test_a_folder_is_no_file(path: Path, open_store: Callable[..., FileStore]) -> None:
    path.mkdir()
    assert "is a folder, not a regular file" in refused(open_store())


def test_a_pipe_is_not_waited_for(path: Path, open_store: Callable[..., FileStore]) -> None:
    os.mkfifo(path)
    assert "is a pipe" in refused(open_store())


def test_a_link_to_nothing_makes_no_file_there(path: Path, open_store: Callable[..., FileStore]) -> None:
    path.symlink_to(path.parent / "elsewhere")
    assert "a symbolic link to a file that does not exist" in refused(open_store())
    assert not (path.parent / "elsewhere").exists()


def test_a_link_to_the_file_is_followed(folder: Path, open_store: Callable[..., FileStore]) -> None:
    heard = open_store().sync(word())
    (folder / "link").symlink_to(folder / "billing.fleet")
    store = FileStore(folder / "link", "billing", timeout=5)
    assert store.version() == (heard.store, heard.version)
    store.close()


@pytest.mark.parametrize("content", [b"x", b"hello\n" * 3, bytes(range(200)), b"\0" * 5000, b"[billing]\n" * 1000])
def test_what_is_no_database_is_left_as_it_is(path: Path, open_store: Callable[..., FileStore], content: bytes) -> None:
    path.write_bytes(content)
    assert "it was not changed" in refused(open_store())
    assert path.read_bytes() == content


def test_an_empty_file_becomes_the_store(path: Path, open_store: Callable[..., FileStore]) -> None:
    path.touch()
    open_store().sync(word())
    assert open_store().overview().workers == {"one": "web one"}


@pytest.mark.parametrize("mark", ["CREATE TABLE bills (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 3"])
def test_a_database_of_something_else_is_left_as_it_is(
    path: Path, open_store: Callable[..., FileStore], mark: str
) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(mark)
        other.execute("PRAGMA user_version")
    before = path.read_bytes()
    assert "a database of another program" in refused(open_store())
    assert path.read_bytes() == before


def test_a_file_of_another_layout_says_so(path: Path, open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    store.sync(word())
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")
    assert "has layout 2, and this release reads layout 1" in refused(store)


def test_a_network_file_system_is_refused(
    folder: Path, open_store: Callable[..., FileStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = folder.stat().st_dev
    mounts = folder / "mountinfo"
    line = "36 35 {}:{} / {} rw,noatime shared:1 master:2 - {} host:/export rw\n"
    monkeypatch.setattr(file, "_MOUNTS", mounts)
    mounts.write_text(line.format(os.major(device), os.minor(device), folder, "nfs4"), encoding="utf-8")
    store = open_store()
    with pytest.raises(StoreError, match="network file system"):
        store.sync(word())
    mounts.write_text("nonsense\n" + line.format(os.major(device), os.minor(device), folder, "ext4"), encoding="utf-8")
    assert store.sync(word()).workers == 1


@is_root
def test_what_may_not_be_read_or_written_is_a_store_error(folder: Path, path: Path) -> None:
    folder.chmod(0o755)

    def as_nobody() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        store = FileStore(path, "billing", timeout=1)
        with pytest.raises(StoreError, match="cannot be used: Permission denied"):
            store.sync(word())  # the file cannot be made

    assert ended(child(as_nobody)) == 0
    owner = FileStore(path, "billing", timeout=1)
    owner.sync(word())
    owner.close()

    def cannot_read() -> None:
        os.setuid(NOBODY)
        assert "cannot be" in refused(FileStore(path, "billing", timeout=1))

    assert ended(child(cannot_read)) == 0
    path.chmod(0o444)

    def cannot_write() -> None:
        os.setuid(NOBODY)
        assert "cannot be" in refused(FileStore(path, "billing", timeout=1), reads=False)

    assert ended(child(cannot_write)) == 0
    assert owner.sync(word()).workers == 1
    owner.close()


@is_root
def test_a_file_that_another_user_put_into_an_open_folder_is_refused(
    folder: Path, path: Path, open_store: Callable[..., FileStore]
) -> None:
    """As in /tmp: he could say what he likes to our workers."""
    store = open_store()
    store.sync(word())
    store.close()
    os.chown(path, NOBODY, NOBODY)
    assert store.sync(word()).workers == 1  # a folder of our own: whoever may write there is trusted
    folder.chmod(0o1777)
    assert "belongs to another user" in refused(store)


# What happens to it


def test_a_file_that_was_deleted_is_made_anew(path: Path, open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    before = store.sync(word(views={A: BROKEN}))
    for each in path.parent.iterdir():
        each.unlink()
    assert store.version() is None
    heard = store.sync(word(since=before.version, store=before.store))
    assert heard.store != before.store
    assert (heard.everything, heard.workers, heard.tallies) == (True, 1, {})


def test_all_meet_again_in_the_new_file_when_one_was_deleted_under_them(
    path: Path, open_store: Callable[..., FileStore]
) -> None:
    """Only the file itself: what lies beside it is of the old one, and still in use."""
    stores = [open_store() for _ in range(3)]
    for number, store in enumerate(stores):
        store.sync(word(str(number), views={A: BROKEN}))
    path.unlink()
    heard = [store.sync(word(str(number))) for number, store in enumerate(stores)]
    assert [each.workers for each in heard] == [1, 2, 3]
    assert heard[-1].tallies == {}
    stores[0].close()
    assert stores[1].sync(word("1", views={B: BROKEN})).workers == 3
    assert stores[2].sync(word("2")).tallies[B].broken == 1


def test_a_file_that_was_replaced_is_opened_anew(path: Path, open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    store.sync(word(views={A: BROKEN}))
    path.rename(path.with_name("old"))
    path.write_bytes(b"hello, I am no database, and was put here by somebody\n")
    assert "not an SQLite database" in refused(store)
    path.unlink()
    assert store.sync(word()).workers == 1


def test_what_was_ordered_outlives_a_restart_of_all_workers(open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    number = store.order(A, Order("isolate", reason="maintenance"))
    before = store.sync(word(views={A: BROKEN}))
    store.leave("one")
    store.close()
    heard = open_store().sync(word("two"))
    assert heard.store == before.store
    assert (heard.workers, heard.tallies) == (1, {})
    assert heard.orders[A].number == number


_HOLDS = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("BEGIN IMMEDIATE")
c.execute("UPDATE hosts SET accusers = 77")
c.execute("UPDATE services SET version = 99")
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a transaction, until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_that_is_held_for_long_is_given_up_in_time(path: Path, open_store: Callable[..., FileStore]) -> None:
    store = open_store(timeout=0.3)
    heard = store.sync(word(views={A: BROKEN}))
    with holder(path) as process:
        assert store.version() == (heard.store, heard.version)  # reading waits for nobody
        assert store.overview().tallies[A].broken == 1
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"locked by another process for 0\.3 s"):
            store.sync(word())
        assert 0.2 < time.monotonic() - begun < 2
        process.kill()
        process.wait()
        assert store.sync(word()).workers == 1


def test_a_worker_that_is_killed_in_the_middle_of_a_word_has_not_said_it(
    path: Path, open_store: Callable[..., FileStore]
) -> None:
    store = open_store()
    before = store.sync(word(views={A: BROKEN}))
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        heard = store.sync(word(since=before.version, store=before.store))
    assert (heard.version, heard.tallies) == (before.version, {})
    assert store.overview().tallies[A].broken == 1


def test_killed_workers_leave_a_whole_file(path: Path, open_store: Callable[..., FileStore]) -> None:
    def talk(name: str) -> None:
        store = FileStore(path, "billing", timeout=5)
        for number in range(1_000_000):
            view = View("broken", failed=True) if number % 2 else View(None)
            store.sync(word(name, ttl=0.5, views={f"https://{number % 50}.example.com": view}))

    for _ in range(3):
        pids = [child(lambda name=name: talk(name)) for name in ("a", "b", "c")]  # type: ignore[misc]
        time.sleep(0.12)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    store = open_store()
    time.sleep(0.55)
    heard = store.sync(word())
    assert (heard.workers, store.overview().tallies) == (1, {})
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert other.execute("SELECT count(*) FROM views").fetchone() == (0,)


def test_garbage_in_the_middle_is_a_store_error_until_the_file_is_deleted(
    path: Path, open_store: Callable[..., FileStore]
) -> None:
    store = open_store()
    store.sync(word(views={f"https://{number}.example.com": BROKEN for number in range(200)}))
    store.close()
    whole = path.read_bytes()
    for page in range(len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
        met = []
        for call in (
            lambda: store.sync(word(views={A: BROKEN, "https://7.example.com": View("broken", failed=True)})),
            lambda: store.sync(word("two", renew=True)),
            lambda: store.leave("one"),
            store.overview,
            store.version,
        ):
            try:
                call()
            except StoreError as error:
                met.append(str(error))
        assert met, f"page {page} is read by nobody"
        assert all(text.isprintable() for text in met)
        store.close()
        for each in path.parent.iterdir():
            each.unlink()
    assert store.sync(word()).workers == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE hosts SET accusers = 'many'",
        "UPDATE hosts SET since = x'00ff'",
        "UPDATE hosts SET round = 'x'",
        "UPDATE hosts SET cause = x'ff'",
        "UPDATE hosts SET cause = CAST(x'ff' AS TEXT)",
        "UPDATE orders SET kind = 'explode'",
        "UPDATE orders SET number = 'x'",
        "UPDATE orders SET reason = x'00'",
        "UPDATE orders SET given_for = 'x'",
        "UPDATE services SET version = 'x'",
        "UPDATE services SET kept_until = 'x'",
        "UPDATE services SET counter = 9223372036854775807",
        "UPDATE clock SET zero = 'x'",
        "DROP TABLE views",
        "DROP TABLE clock",
        "ALTER TABLE hosts ADD COLUMN x",
        "UPDATE views SET opinion = 'odd'",
        "UPDATE views SET lasted = 'x'",
    ],
)
def test_what_no_worker_wrote_is_a_store_error(path: Path, open_store: Callable[..., FileStore], change: str) -> None:
    store = open_store()
    store.sync(word(views={A: BROKEN}, orders={A: Order("isolate", left=60.0)}))
    store.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(change)
    met = []
    for call in (
        lambda: store.sync(word("two")),
        store.overview,
        lambda: store.order(A, Order("isolate")),
        lambda: store.sync(word("two", views={A: View("broken", failed=True)}, looks={A: 1.0})),
        lambda: store.leave("one"),
    ):
        try:
            call()
        except StoreError as error:
            met.append(str(error))
    assert met
    assert all(text.isprintable() for text in met)


def test_a_full_disk_is_a_store_error_and_later_none(path: Path, open_store: Callable[..., FileStore]) -> None:
    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = open_store(timeout=1)
        store.sync(word())
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        views = {f"https://{number}.example.com": BROKEN for number in range(1000)}
        for _ in range(2):
            with pytest.raises(StoreError, match="cannot"):
                store.sync(word(views=views))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert len(store.sync(word(views=views, most=2000)).tallies) == 1000

    assert ended(child(fill)) == 0


# Processes and threads


def test_many_that_begin_at_once_share_one_file(path: Path, open_store: Callable[..., FileStore]) -> None:
    pids = []
    for number in range(8):

        def begin(name: str = str(number)) -> None:
            FileStore(path, "billing", timeout=20).sync(word(name, views={A: BROKEN}))

        pids.append(child(begin))
    assert [ended(pid) for pid in pids] == [0] * 8
    heard = open_store().sync(word())
    assert (heard.workers, heard.tallies[A].broken) == (9, 8)
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "billing.fleet",
        "billing.fleet-shm",
        "billing.fleet-wal",
    ]


def locks(path: Path) -> list[str]:
    """The locks that this process has on the file and those beside it, as the kernel knows them."""
    inodes = {str(each.stat().st_ino) for each in path.parent.glob(f"{path.name}*")}
    found = []
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        fields = line.replace("->", "").split()
        if fields[4] == str(os.getpid()) and fields[5].rpartition(":")[2] in inodes:
            found.append(" ".join(fields[1:]))
    return sorted(found)


def test_a_forked_child_opens_the_file_for_itself(path: Path, open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    store.sync(word("parent"))

    def work() -> None:
        assert store.sync(word("child", views={A: BROKEN})).workers == 2
        assert locks(path)
        store.close()

    assert ended(child(work)) == 0
    heard = store.sync(word("parent"))
    assert (heard.workers, heard.tallies[A].broken) == (2, 1)
    assert locks(path)


#: In a process with one thread: Python was not told of the fork, so what another thread held would stay held.
_UNTOLD = """
import ctypes, os, sys, traceback
from pathlib import Path
from sleepwalker.fleet.local import FileStore
from tests.wire.test_fleet_file import A, BROKEN, locks, refused, word

path = Path(sys.argv[1])
store = FileStore(path, "billing", timeout=5)
heard = store.sync(word("parent", views={A: BROKEN}))
before = locks(path)
assert before
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    code = 1
    try:
        said = refused(store)
        assert "when this process was forked" in said
        store.close()
        store.abandon()
        assert refused(FileStore(path, "billing", timeout=1)) == said
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert locks(path) == before
assert store.version() == (heard.store, heard.version)
assert store.sync(word("parent")).tallies[A].broken == 1
store.close()
"""


def test_the_parents_locks_outlive_a_child_that_ends(path: Path) -> None:
    """A child whose fork Python was not told of has the parent's connection: it must leave it alone."""
    line = [sys.executable, "-c", _UNTOLD, str(path)]
    run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_fork_waits_for_a_call_that_is_under_way(path: Path, open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    stopped = threading.Event()
    faults: list[BaseException] = []
    syncs, forks = 0, some(4, 8)

    def talk() -> None:
        nonlocal syncs
        while not stopped.is_set():
            try:
                store.sync(word("thread", views={A: View("broken", failed=True)}))
                syncs += 1
            except BaseException as error:
                faults.append(error)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        for number in range(forks):

            def work(name: str = str(number)) -> None:
                store.abandon()
                own = FileStore(path, "billing", timeout=20)
                own.sync(word(name))
                own.close()

            assert ended(child(work)) == 0
    finally:
        stopped.set()
        thread.join(30)
    assert faults == []
    assert syncs > forks
    assert store.sync(word()).workers == forks + 2


def test_closing_leaves_no_lock_no_descriptor_and_no_thread(path: Path, open_store: Callable[..., FileStore]) -> None:
    threads = threading.enumerate()
    store = open_store()
    store.sync(word())
    store.close()

    def held() -> list[str]:
        names = []
        for handle in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                names.append(str(handle.readlink()))
        return [name for name in names if "billing" in name]

    assert (locks(path), held(), threading.enumerate()) == ([], [], threads)
    assert [each.name for each in path.parent.iterdir()] == ["billing.fleet"]


def test_threads_may_share_a_store(open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    heard: list[Heard] = []

    def talk(name: str) -> None:
        for _ in range(20):
            heard.append(store.sync(word(name, views={A: View("broken", failed=True)})))

    threads = [threading.Thread(target=talk, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(heard) == 80
    assert store.sync(word()).tallies[A].broken == 4


# The clock


class SetClock:
    """The wall clock may be set, and the machine may start anew."""

    def __init__(self) -> None:
        self.steady, self.ahead = 5000.0, 1_800_000_000.0

    def monotonic(self) -> float:
        return self.steady

    def wall(self) -> float:
        return self.steady + self.ahead

    def random(self) -> float:
        raise NotImplementedError


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.mark.parametrize("hours", [1, -1, 24 * 365])
def test_setting_the_wall_clock_changes_nothing(
    open_store: Callable[..., FileStore], clock: SetClock, hours: float
) -> None:
    store = open_store(clock=clock)
    store.order(A, Order("isolate", left=100.0))
    before = store.sync(word(ttl=10, views={A: BROKEN}, looks={A: 5.0}))
    clock.ahead += hours * 3600
    clock.steady += 6
    store.close()  # those that open it later keep to the same clock
    for each in (store, open_store(clock=clock)):
        heard = each.sync(word("two", ttl=10, looks={A: 0.0}))
        assert heard.now == before.now + 6
        assert (heard.store, heard.workers, heard.tallies) == (before.store, 2, before.tallies)
        assert heard.orders[A].left == 94.0
        assert heard.granted == (A,)
    clock.steady += 5
    assert store.sync(word("two")).workers == 1


@pytest.mark.parametrize("hours", [1, -1])
def test_when_the_machine_has_started_anew_all_is_told_again_and_orders_stay(
    open_store: Callable[..., FileStore], clock: SetClock, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    store = open_store(clock=clock)
    before = store.sync(word(ttl=100_000, views={A: BROKEN}, looks={A: 50_000.0}))
    store.order(A, Order("isolate", left=100.0))
    store.order(B, Order("isolate"))
    store.close()
    boot = Path(str(store.path) + ".boot")
    boot.write_text("another boot\n", encoding="ascii")
    monkeypatch.setattr(file, "_BOOT", boot)
    clock.steady, clock.ahead = 7.0, clock.ahead + 5000 + hours * 3600
    heard = store.sync(word("two"))
    assert heard.store != before.store
    assert heard.now == pytest.approx(clock.wall())
    assert (heard.workers, heard.tallies) == (1, {})
    assert B in heard.orders
    if hours < 0:  # the clock went back, but nothing lasts for longer than was ordered
        assert heard.orders[A].left == 100.0
    else:
        assert A not in heard.orders
    heard = store.sync(word("two", views={A: BROKEN}, looks={A: 1.0}))
    assert heard.tallies[A].broken == 1
    assert heard.granted == (A,)


@pytest.mark.parametrize("hours", [1, -1])
def test_without_an_id_of_the_boot_a_clock_that_was_set_makes_workers_tell_all_again(
    open_store: Callable[..., FileStore], clock: SetClock, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    monkeypatch.setattr(file, "_BOOT", Path("/nonexistent"))
    store = open_store(clock=clock)
    before = store.sync(word(views={A: BROKEN}))
    clock.ahead += 50  # a clock that is set right by little
    assert store.sync(word()).store == before.store
    clock.ahead += hours * 3600
    heard = store.sync(word(since=before.version, store=before.store))
    assert heard.store != before.store
    assert (heard.workers, heard.tallies, heard.everything) == (1, {}, True)
    assert store.sync(word()).store == heard.store


# Its size


def test_hosts_that_came_back_are_forgotten_when_there_are_too_many(
    path: Path, open_store: Callable[..., FileStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_CALM_HOSTS", 50)
    monkeypatch.setattr(tables, "_SWEEP_CHANGES", 300)
    store = open_store()
    sizes = []
    for turn in range(20):
        names = [f"https://{turn}-{number}.example.com" for number in range(100)]
        store.sync(word(views=dict.fromkeys(names, BROKEN)))
        store.sync(word(views=dict.fromkeys(names, View(None, back=True))))
        sizes.append(path.stat().st_size)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM hosts").fetchone()[0] <= 50 + 300
        assert other.execute("SELECT count(*) FROM views").fetchone() == (0,)
    assert store.sync(word(views={names[0]: View("broken", round=1)})).tallies[names[0]].round == 1
    assert sizes[-1] <= max(sizes[:8])


def test_what_is_written_ahead_does_not_grow(path: Path, open_store: Callable[..., FileStore]) -> None:
    stores = [open_store(), open_store()]
    most = 0
    for number in range(2000):
        stores[number % 2].sync(word(str(number % 2), views={A: View("broken", failed=True)}))
        if number % 100 == 0:
            most = max(most, path.with_name("billing.fleet-wal").stat().st_size)
    assert most < 6_000_000


def test_a_service_of_which_nobody_spoke_for_a_month_is_deleted(
    path: Path, open_store: Callable[..., FileStore], clock: SetClock
) -> None:
    gone, kept = open_store("gone", clock=clock), open_store("kept", clock=clock)
    gone.sync(word(views={A: BROKEN}, orders={A: Order("isolate")}))
    kept.sync(word(views={A: BROKEN}, orders={B: Order("isolate")}))
    for _ in range(3):
        clock.steady += KEPT_FOR / 2
        kept.sync(word(renew=True))
    assert gone.version() is None
    assert B in kept.sync(word()).orders
    with contextlib.closing(sqlite3.connect(path)) as other:
        for table in ("services", "workers", "orders"):
            assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)


def test_what_a_sync_costs_does_not_grow_with_the_hosts_in_trouble(open_store: Callable[..., FileStore]) -> None:
    """Counted in steps of SQLite's machine: they are the same on every computer."""
    store = open_store()

    def steps(said: Said) -> int:
        assert store._opened is not None
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        store._opened.connection.set_progress_handler(step, 10)
        store.sync(said)
        store._opened.connection.set_progress_handler(None, 0)
        return count

    def ask() -> int:
        heard = store.sync(word("two"))
        while heard.more:
            heard = store.sync(word("two", since=heard.version, store=heard.store))
        view = {"https://7.example.com": View("broken", failed=True)}
        return steps(word(since=heard.version, store=heard.store, views=view, looks={"https://7.example.com": 1.0}))

    store.sync(word(views={f"https://{number}.example.com": BROKEN for number in range(20)}))
    few = ask()
    for begin in range(0, 5000, 1000):
        store.sync(word(views={f"https://{number}.example.com": BROKEN for number in range(begin, begin + 1000)}))
    assert few > 5
    assert ask() <= few + 5


def test_too_many_views_at_once_are_refused_whole(open_store: Callable[..., FileStore]) -> None:
    store = open_store()
    with pytest.raises(StoreError, match=r"1,000 hosts, and this one reports 1,001"):
        store.sync(word(views={f"https://{number}.example.com": BROKEN for number in range(1001)}))
    assert store.version() is None
