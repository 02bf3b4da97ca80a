"""Managers in a fleet, with real servers and real stores: what one learns all know, and the store holds nobody up."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import FaultServer, RedisServer, TooLate, elapsed, refused_port, reply, run_redis, timing_test

from benchmarks import counts
from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    ConnectError,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HostIsolatedError,
    Policy,
    SleepwalkerException,
    status,
)
from sleepwalker.events import Event
from sleepwalker.fleet import Fleet
from sleepwalker.fleet.store import Order
from sleepwalker.fleet.stores import open_store
from sleepwalker.hosts import HostTable
from tests.forks import fork, wait
from tests.interrupts import forget, strike
from tests.memory import folder_in_memory

QUICK = Policy(
    timeout={"connect": 5, "read": 5, "attempt": 5, "total": 10},
    retry=False,
    breaker={"consecutive_for": 0, "open_for": 0.5, "open_max": 1, "close_after": 1, "ramp": 0},
)
HOST = "https://orders.example.com"
SECRET = "tricky-Secret"
#: Nothing here needs as long, but on a machine that is busy elsewhere.
END = 30.0


def until(fact: Callable[[], object], within: float = END) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


class Direct(ConnectionHook):
    def __init__(self) -> None:
        self.asked = 0

    def connect(self, host: str, auth: object) -> Connection:
        self.asked += 1
        return Connection(host, ANONYMOUS, policy=QUICK)


class Worker:
    """A manager with a table of hosts of its own, and what it told its observer."""

    def __init__(self, fleet: Fleet | str, **options: Any) -> None:
        self.events: list[Event] = []
        self.hook = Direct()
        options.setdefault("policy", QUICK) if "hosts" not in options else None
        self.manager: ConnectionManager[Any] = ConnectionManager(fleet=fleet, observer=self.events.append, **options)
        self.manager.add_conn_hook(self.hook)

    def named(self, *names: str) -> list[Event]:
        return [event for event in self.events if event.name in names]

    @property
    def joined(self) -> bool:
        return self.manager.fleet is not None and self.manager.fleet.joined

    def ask(self, url: str) -> object:
        """The status, or the error."""
        try:
            return self.manager.find(url).get("/").status_code
        except SleepwalkerException as error:
            return error

    def breaks(self, url: str) -> None:
        """Ask a host until it is broken here."""
        until(lambda: self.ask(url) is not None and self.state(url) == "broken")

    def state(self, url: str) -> str:
        return self.manager.health(url).state


Make = Callable[..., Worker]


@pytest.fixture
def make() -> Iterator[Make]:
    """`make(fleet)` is a worker, which is closed in the end."""
    with contextlib.ExitStack() as stack:

        def one(fleet: Fleet | str, **options: Any) -> Worker:
            worker = Worker(fleet, **options)
            stack.callback(worker.manager.close)
            return worker

        yield one


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder
        # Those that were closed may be saying so to the store that is in it.
        until(lambda: all(thread.name != "sleepwalker fleet" for thread in threading.enumerate()))


@pytest.fixture(params=["redis", "file"])
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "file":
        return f"file://{folder}/billing.fleet"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture
def own_redis(folder: Path, program: Callable[[str], Path]) -> Iterator[RedisServer]:
    """A server of the test's own, to do harm to."""
    with run_redis(folder / "redis", program("redis-server")) as server:
        yield server


def quick(url: str, **more: Any) -> Fleet:
    return Fleet(url, interval=0.2, **more)


def three(make: Make, fleet: Fleet) -> list[Worker]:
    workers = [make(fleet) for _ in range(3)]
    until(lambda: all(worker.manager.fleet.workers == 3 for worker in workers))  # type: ignore[union-attr]
    return workers


# Joining, and leaving


def test_a_worker_joins_is_counted_and_leaves(url: str, make: Make) -> None:
    fleet = Fleet(url, service="billing")
    first = make(fleet)
    until(lambda: first.joined)
    second = make(fleet)
    until(lambda: first.manager.fleet.workers == second.manager.fleet.workers == 2)  # type: ignore[union-attr]
    now = first.manager.fleet
    assert now is not None
    assert (now.store, now.service, now.error, now.hosts) == (fleet.place, "billing", None, {})
    assert abs(time.time() - now.since) < END
    second.manager.close()
    assert second.manager.fleet is None
    until(lambda: first.manager.fleet.workers == 1)  # type: ignore[union-attr]
    [joined] = [event for event in first.events if event.name.startswith("fleet.")]
    assert (joined.name, joined.host, joined.service, joined.workers) == ("fleet.joined", fleet.place, "billing", 1)  # type: ignore[attr-defined]


def test_before_it_has_heard_of_the_store_it_is_alone(folder: Path) -> None:
    worker = Worker(f"file://{folder}/not/there.fleet")
    now = worker.manager.fleet
    assert now is not None
    assert (now.joined, now.workers, now.hosts) == (False, 0, {})
    assert now.error
    worker.manager.close()


def test_each_change_of_state_is_told_once(own_redis: RedisServer, make: Make) -> None:
    own_redis.stop()
    worker = make(quick(own_redis.url))
    names = lambda: [event.name for event in worker.named("fleet.joined", "fleet.lost")]  # noqa: E731
    until(lambda: names() == ["fleet.lost"])
    time.sleep(0.5)
    own_redis.start()
    until(lambda: worker.joined)
    own_redis.stop()
    until(lambda: not worker.joined)
    assert "refused" in str(worker.manager.fleet) or "no such socket" in str(worker.manager.fleet)
    own_redis.start()
    until(lambda: worker.joined)
    assert names() == ["fleet.lost", "fleet.joined"] * 2
    assert all(event.reason.startswith(own_redis.url) for event in worker.named("fleet.lost"))  # type: ignore[attr-defined]


# What two find, the third is told


def _is_refused(answer: object) -> bool:
    return isinstance(answer, CircuitOpenError) and " is open after " in str(answer)


def test_what_two_workers_find_the_third_knows_and_when_it_is_back_all_do(url: str, make: Make) -> None:
    answers = {"status": 200}
    with FaultServer(default=lambda exchange: reply(answers["status"])) as server:
        one, two, third = workers = three(make, quick(url))
        for worker in workers:
            assert worker.ask(server.url) == 200
        asked, third.events[:] = third.hook.asked, []
        answers["status"] = 503
        one.breaks(server.url), two.breaks(server.url)

        until(lambda: third.named("host.broken"))
        health = third.manager.health(server.url)
        assert (health.state, health.failures) == ("broken", 0)
        assert health.fleet is not None
        assert health.fleet.verdict
        until(lambda: third.manager.health(server.url).fleet == third.manager.fleet.hosts[server.url])  # type: ignore[union-attr]
        broken, opened = third.named("host.broken")[0], third.named("breaker.opened")[0]
        assert (broken.by, opened.rule, opened.cause) == ("fleet", "fleet", "503")  # type: ignore[attr-defined]

        # The others go on to look at it in vain, so that it is held back as well.
        said: list[object] = []
        until(lambda: [said.append(worker.ask(server.url)) for worker in workers] and _is_refused(said[-1]))
        refused = said[-1]
        assert isinstance(refused, CircuitOpenError)
        assert re.fullmatch(
            f"the circuit of {server.url} is open after 503(: other workers found it broken)?; next try in .* s",
            str(refused),
        ), "its own look may have failed meanwhile"
        assert refused.retry_after is not None
        assert 0 <= refused.retry_after < 5
        assert third.hook.asked > asked, "its connection was given up, and the hook asked for another"

        answers["status"] = 200
        states = lambda: {worker.state(server.url) for worker in workers}  # noqa: E731
        until(lambda: [worker.ask(server.url) for worker in workers] == [200] * 3 and states() == {"healthy"})
        until(lambda: third.manager.health(server.url).fleet is None)


def test_a_worker_that_joins_late_knows_before_its_first_call(url: str, make: Make) -> None:
    with refused_port() as port:
        host = f"http://127.0.0.1:{port}"
        one, two, _ = three(make, quick(url))
        one.breaks(host), two.breaks(host)
        one.manager.isolate(HOST, reason="new disks")
        until(lambda: one.manager.fleet.hosts.get(host) and one.manager.fleet.hosts[host].verdict)  # type: ignore[union-attr]
        late = make(Fleet(url))  # it is held back for 0.75 s from its first call on, if it hears nothing
        until(lambda: (said := late.manager.fleet.hosts.get(host)) and said.verdict)  # type: ignore[union-attr]
        assert len(late.manager.hosts) <= 1, "of the isolated one alone"
        assert isinstance(late.ask(HOST), HostIsolatedError)
        refused = late.ask(host)
        assert isinstance(refused, CircuitOpenError), "nothing was sent"
        assert " is open after ConnectError: other workers found it broken; next try in " in str(refused)
        health = late.manager.health(host)
        assert (health.state, health.attempts) == ("broken", 0)
        assert health.fleet is not None
        assert health.fleet.verdict
        assert (health.fleet.cause, health.fleet.since) == ("ConnectError", pytest.approx(time.time(), abs=END))


def test_words_end_with_the_store(own_redis: RedisServer, make: Make) -> None:
    """Nobody is held back any longer by what it can no longer hear: the host is tried again soon."""
    with refused_port() as port, FaultServer() as well:
        host = f"http://127.0.0.1:{port}"
        one, two, third = three(make, quick(own_redis.url))
        one.breaks(host), two.breaks(host)
        until(lambda: third.manager.fleet.hosts.get(host))  # type: ignore[union-attr]
        until(lambda: isinstance(third.ask(host), CircuitOpenError) or third.state(host) == "broken")
        own_redis.freeze()
        until(lambda: third.manager.health(host).attempts or not isinstance(third.ask(host), CircuitOpenError))
        assert third.ask(well.url) == 200
        until(lambda: not third.joined)
        assert third.manager.health(host).fleet is None
        own_redis.thaw()
        until(lambda: third.joined)


# An operator's hand


def test_an_operators_hand_reaches_the_others_with_reason_and_end(url: str, make: Make) -> None:
    workers = one, two, three_ = three(make, quick(url))

    def state(host: str) -> list[str]:
        return [worker.state(host) for worker in workers]

    one.manager.isolate(HOST, reason="new disks, ask Anna", until=600)
    until(lambda: state(HOST) == ["isolated"] * 3)
    for other in (two, three_):
        refused = other.ask(HOST)
        assert isinstance(refused, HostIsolatedError)
        assert refused.reason == "new disks, ask Anna"
        assert refused.until is not None
        assert 500 < refused.until.timestamp() - time.time() < 601
    one.manager.isolate(HOST, reason="and new cables", until=900)
    until(lambda: all(getattr(other.ask(HOST), "reason", None) == "and new cables" for other in workers))
    one.manager.isolate("billing", reason="by its name")
    one.manager.isolate(f"{HOST}:8443#eu", reason="a part")
    until(lambda: state("billing") == ["isolated"] * 3 == state(f"{HOST}:8443#eu"))
    assert state(f"{HOST}:8443") != ["isolated"] * 3
    two.manager.restore(HOST)
    two.manager.restore("billing")
    two.manager.restore(f"{HOST}:8443#eu")
    until(lambda: {*state(HOST), *state("billing"), *state(f"{HOST}:8443#eu")} & {"isolated"} == set())
    for worker in workers:
        isolated = [event for event in worker.named("host.isolated") if event.host == HOST]
        assert [event.by for event in isolated] == [None if worker is one else "fleet"] * 2  # type: ignore[attr-defined]
        restored = [event for event in worker.named("host.restored") if event.host == HOST]
        assert [event.by for event in restored] == ["hand" if worker is two else "fleet"]  # type: ignore[attr-defined]


@timing_test
def _isolates_within(fleet: Fleet, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        one, *others = [Worker(fleet) for _ in range(3)]
        for worker in (one, *others):
            stack.callback(worker.manager.close)
        until(lambda: all(worker.manager.fleet.workers == 3 for worker in (one, *others)))  # type: ignore[union-attr]
        with elapsed() as took:
            one.manager.isolate(HOST)
            until(lambda: {worker.state(HOST) for worker in others} == {"isolated"})
        one.manager.restore(HOST)
        until(lambda: {worker.state(HOST) for worker in others} & {"isolated"} == set())
        took.assert_at_most(seconds)


def test_an_isolation_is_with_all_within_a_second(url: str) -> None:
    """0.2 to 0.5 s, on a machine that does nothing else."""
    _isolates_within(Fleet(url), 1.0)


def test_an_isolation_with_an_end_ends_in_all(folder: Path, make: Make) -> None:
    workers = three(make, quick(f"file://{folder}/ends.fleet"))
    workers[0].manager.isolate(HOST, until=2.5)
    until(lambda: all(worker.named("host.isolated") for worker in workers))
    until(lambda: {worker.state(HOST) for worker in workers} & {"isolated"} == set())
    assert [[event.by for event in worker.named("host.restored")] for worker in workers] == [["time"]] * 3  # type: ignore[attr-defined]


def test_a_reset_closes_the_circuit_that_another_worker_opened_by_itself(url: str, make: Make) -> None:
    with refused_port() as port:
        host = f"http://127.0.0.1:{port}"
        one, two, _ = three(make, quick(url, min_reporters=3, quorum=1.0))
        long = Policy(breaker={"open_for": 600, "open_max": 600, "consecutive_for": 0}, retry=False)
        for worker in (one, two):
            worker.manager.reload(long)
            worker.manager.add(host, None, Connection(host, ANONYMOUS, policy=long))
        one.breaks(host)
        one.manager.isolate(HOST, reason="in the same moment")
        two.manager.reset_circuit(HOST)
        one.manager.isolate(host, reason="and a reset beside it")
        one.manager.restore(host)
        two.manager.reset_circuit(host)
        until(lambda: [event.by for event in one.named("host.recovered")] == ["fleet"])  # type: ignore[attr-defined]
        assert one.state(host) != "broken"
        until(lambda: two.state(HOST) == "isolated")


def test_orders_of_a_time_without_store_are_told_later_and_a_flush_loses_none(
    own_redis: RedisServer, make: Make
) -> None:
    one, two, _ = workers = three(make, quick(own_redis.url))
    one.manager.isolate("https://a.example.com", reason="before")
    until(lambda: two.state("https://a.example.com") == "isolated")
    own_redis.stop()
    until(lambda: not any(worker.joined for worker in workers))
    one.manager.isolate(HOST, reason="while it was away")
    one.manager.reset_circuit(HOST)
    own_redis.start()  # it is empty
    until(lambda: {worker.state(HOST) for worker in workers} == {"isolated"})
    with own_redis.client() as admin:
        admin.flushall()
        until(lambda: admin.dbsize() > 0)
    late = make(quick(own_redis.url))
    until(lambda: (late.state(HOST), late.state("https://a.example.com")) == ("isolated", "isolated"))
    assert [len(worker.named("host.isolated")) for worker in (*workers, late)] == [2, 2, 2, 2]
    with contextlib.closing(open_store(own_redis.url)) as store:
        own_redis.freeze()
        until(lambda: not two.joined)
        own_redis.thaw()
        store.order(HOST, Order("restore"))
    until(lambda: {worker.state(HOST) for worker in workers} & {"isolated"} == set())
    assert {event.by for event in two.named("host.restored")} == {"fleet"}  # type: ignore[attr-defined]


def test_what_nobody_could_have_ordered_harms_nobody(url: str, make: Make) -> None:
    one, two, _ = three(make, quick(url))
    with contextlib.closing(open_store(url, timeout=10)) as store:
        for name, order in (
            ("http://[", Order("isolate", reason="no such host")),
            (" ", Order("restore")),
            ("\x1b[2Jhost", Order("isolate", reason="a name that clears the screen")),
            (HOST, Order("isolate", reason="two\nlines")),
            (HOST, Order("isolate", reason="a bell \x07", left=10.0)),
            (HOST, Order("isolate", reason="for ever and a day", left=1e300)),
            ("https://user:tricky-Secret@h.example.com", Order("isolate")),
            ("https://good.example.com", Order("isolate", reason="see https://anna:tricky-Secret@wiki/")),
        ):
            store.order(name, order)
    until(lambda: two.state("https://good.example.com") == "isolated")
    assert one.state(HOST) != "isolated"
    assert not [event for event in two.events if not all(char.isprintable() for char in event.host or "")]
    assert SECRET not in repr(two.events) + repr(two.manager.health())
    assert two.joined


# A store that fails


def longest(workers: list[Worker], host: str, seconds: float) -> float:
    """How long the slowest call and `find` took, while workers call a host for so long; none fails."""
    slowest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        for worker in workers:
            with elapsed() as took:
                assert worker.ask(host) == 200
            slowest = max(slowest, took.seconds)
        time.sleep(0.005)
    return slowest


def break_file(path: Path) -> Callable[[], None]:
    """It is locked by somebody for as long as it takes."""
    locker = sqlite3.connect(path, isolation_level=None, timeout=10)
    locker.execute("BEGIN EXCLUSIVE")
    return lambda: (locker.execute("ROLLBACK"), locker.close())  # type: ignore[func-returns-value,return-value]


@timing_test
def _no_call_waits(fleet: Fleet, harm: Callable[[], Callable[[], object]]) -> None:
    with FaultServer() as server, contextlib.ExitStack() as stack:
        worker = Worker(fleet)
        stack.callback(worker.manager.close)
        until(lambda: worker.joined)
        assert worker.ask(server.url) == 200
        repair = harm()
        try:
            slowest = longest([worker], server.url, 0.6)
            until(lambda: not worker.joined)
        finally:
            repair()
        until(lambda: worker.joined)
        assert worker.manager.fleet.workers == 1  # type: ignore[union-attr]
        if slowest > 0.2:
            raise TooLate(f"a call took {slowest:.3f} s")


def test_no_call_waits_for_a_frozen_redis(own_redis: RedisServer) -> None:
    def harm() -> Callable[[], object]:
        own_redis.freeze()
        return own_redis.thaw

    _no_call_waits(quick(own_redis.url), harm)


def test_no_call_waits_for_a_file_that_is_locked_for_long(folder: Path) -> None:
    path = folder / "locked.fleet"
    _no_call_waits(quick(f"file://{path}"), lambda: break_file(path))


def test_a_file_that_was_taken_away_is_made_anew(folder: Path, make: Make) -> None:
    path = folder / "gone.fleet"
    one, two, _ = three(make, quick(f"file://{path}"))
    one.manager.isolate(HOST)
    until(lambda: two.state(HOST) == "isolated")
    for file in folder.glob("gone.fleet*"):
        file.unlink()
    until(path.exists)
    until(lambda: one.manager.fleet.workers == 3)  # type: ignore[union-attr]
    late = make(quick(f"file://{path}"))
    until(lambda: late.state(HOST) == "isolated")


# The end


def clients(server: RedisServer) -> int:
    """Connections that it has, beside that of who asks."""
    with server.client() as admin:
        return len([one for one in admin.client_list() if one["cmd"] != "client|list"])


def fleet_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sleepwalker fleet"]


def open_files(path: Path) -> list[str]:
    found: list[str] = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(str(path))]


def overview(url: str) -> Any:
    with contextlib.closing(open_store(url, timeout=10)) as store:
        return store.overview()


@pytest.mark.parametrize("dropped", [False, True], ids=["closed", "dropped"])
def test_nothing_is_left_of_a_worker(url: str, folder: Path, redis_server: RedisServer, dropped: bool) -> None:
    until(lambda: not fleet_threads())
    before = clients(redis_server)
    with refused_port() as port:
        worker = Worker(quick(url))
        until(lambda: worker.joined)
        worker.breaks(host := f"http://127.0.0.1:{port}")
        until(lambda: host in overview(url).tallies)
        assert clients(redis_server) - before + len(open_files(folder)) > 0
        if dropped:
            there = weakref.ref(worker.manager)
            del worker
            until(lambda: gc.collect() is not None and there() is None)
        else:
            worker.manager.close()
        until(lambda: not fleet_threads())
        left = overview(url)
        assert (dict(left.workers), dict(left.tallies)) == ({}, {})
        until(lambda: clients(redis_server) == before)
        assert open_files(folder) == []


PROGRAM = """
import sys, time
from sleepwalker import ANONYMOUS, Connection, ConnectionManager, SleepwalkerException
from sleepwalker.fleet import Fleet
manager = ConnectionManager(fleet=Fleet(sys.argv[1], interval=0.2))
while not manager.fleet.joined:
    time.sleep(0.01)
for host in sys.argv[2:]:
    manager.add(host, None, conn := Connection(host, ANONYMOUS))
    while manager.health(host).state != "broken":
        try:
            conn.get("/")
        except SleepwalkerException:
            pass
print("joined", flush=True)
sys.stdin.readline()
"""


def another_process(url: str, *broken: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, url, *broken]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "joined\n"
    return process


def test_a_frozen_store_delays_no_exit_and_a_killed_worker_ages_out(own_redis: RedisServer, make: Make) -> None:
    watcher = make(quick(own_redis.url))
    until(lambda: watcher.joined)

    def found(host: str) -> tuple[int, bool] | None:
        fellows = watcher.manager.health(host).fleet
        return None if fellows is None else (fellows.broken, fellows.verdict)

    with (
        refused_port() as port,
        another_process(own_redis.url) as ends,
        another_process(own_redis.url, host := f"http://127.0.0.1:{port}") as killed,
    ):
        until(lambda: watcher.manager.fleet.workers == 3)  # type: ignore[union-attr]
        watcher.breaks(host)
        until(lambda: found(host) == (2, True))
        own_redis.freeze()
        with elapsed() as took:
            ends.communicate("\n", timeout=END)
        own_redis.thaw()
        assert ends.returncode == 0
        assert took.seconds < 10, "and a machine that is busy elsewhere"
        until(lambda: watcher.joined and killed.poll() is None and found(host) == (2, True))
        killed.kill()
        until(lambda: watcher.manager.fleet.workers == 1)  # type: ignore[union-attr]
        until(lambda: found(host) == (1, False))


def test_a_forked_child_is_a_worker_of_its_own(url: str, redis_server: RedisServer, make: Make) -> None:
    parent = make(quick(url))
    parent.manager.isolate(HOST, reason="known to both")
    until(lambda: parent.joined and overview(url).orders)
    ids, connections, threads = set(overview(url).workers), clients(redis_server), fleet_threads()
    parent.events.clear()

    def child() -> object:
        until(lambda: parent.joined and parent.manager.fleet.workers == 2)  # type: ignore[union-attr]
        # On a busy machine one of them may have aged out meanwhile, and joins again.
        both = {str(os.getpid()), str(os.getppid())}
        until(lambda: {label.split()[-1] for label in overview(url).workers.values()} == both)
        assert len(set(overview(url).workers) - ids) == 1
        parent.manager.isolate("https://of-the-child.example.com", reason="by the child")
        until(lambda: "https://of-the-child.example.com" in overview(url).orders)
        assert not [event for event in parent.named("host.isolated") if event.host == HOST]
        parent.manager.close()
        until(lambda: not fleet_threads())
        return set(overview(url).workers) == ids

    pid = fork(child)
    until(lambda: parent.state("https://of-the-child.example.com") == "isolated")
    assert wait(pid) == 0
    until(lambda: parent.manager.fleet.workers == 1)  # type: ignore[union-attr]
    assert set(overview(url).workers) == ids
    assert fleet_threads() == threads
    assert not parent.named("fleet.lost"), "the child has neither used nor closed what is the parent's"
    until(lambda: clients(redis_server) == connections)


def test_a_child_that_ends_at_once_leaves_nothing(url: str, redis_server: RedisServer, make: Make) -> None:
    parent = make(Fleet(url))
    parent.manager.hosts.host(HOST)  # it has asked one: else it would count as a server's first process
    until(lambda: parent.joined)
    connections, workers = clients(redis_server), set(overview(url).workers)
    pids = [fork(lambda: True) for _ in range(3)]
    assert [wait(pid) for pid in pids] == [0, 0, 0]
    until(lambda: clients(redis_server) == connections)
    # On a busy machine a child may have joined before it ended: nothing says that it is gone, and it ages out.
    until(lambda: set(overview(url).workers) == workers)
    assert parent.joined


def _join_and_end(fleet: Fleet) -> None:
    worker = Worker(fleet)
    until(lambda: worker.joined)


def test_a_child_of_multiprocessing_is_a_worker_as_well(url: str, make: Make) -> None:
    parent = make(quick(url))
    parent.manager.hosts.host(HOST)
    until(lambda: parent.joined)
    child = multiprocessing.get_context("fork").Process(target=_join_and_end, args=(quick(url),))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    until(lambda: parent.manager.fleet.workers > 1)  # type: ignore[union-attr]
    child.join(END)
    assert child.exitcode == 0
    until(lambda: parent.manager.fleet.workers == 1)  # type: ignore[union-attr]


def test_a_process_that_forks_and_has_asked_no_host_is_no_worker(url: str, make: Make) -> None:
    """As the first process of a server that loads the application before it forks."""
    parent = make(quick(url))
    until(lambda: parent.joined)
    assert wait(fork(lambda: True)) == 0
    until(lambda: not overview(url).workers)
    assert parent.manager.fleet is not None
    assert parent.manager.fleet.error == "this process forked others, and has called no host itself"
    parent.manager.hosts.host(HOST)
    until(lambda: parent.joined and len(overview(url).workers) == 1)


# Several managers on one table


def test_managers_on_one_table_are_one_worker_until_the_last_is_closed(url: str) -> None:
    fleet, hosts = quick(url), HostTable(policy=QUICK)
    first, second = Worker(fleet, hosts=hosts), Worker(fleet, hosts=hosts)
    beside = ConnectionManager[Any](hosts=hosts)
    until(lambda: first.joined and second.joined)
    assert len(overview(url).workers) == 1
    with pytest.raises(TypeError, match=r"these hosts= have already joined .*: leave fleet= out"):
        ConnectionManager(hosts=hosts, fleet=quick(url, service="another"))
    beside.close()
    first.manager.close()
    assert second.joined
    second.manager.isolate(HOST)
    until(lambda: HOST in overview(url).orders)
    with contextlib.closing(open_store(url, timeout=10)) as store:
        store.order("https://later.example.com", Order("isolate"))
    until(lambda: [event.host for event in second.named("host.isolated")] == [HOST, "https://later.example.com"])
    second.manager.close()
    second.manager.close()
    assert hosts.fleet is None
    until(lambda: not overview(url).workers)
    anew = Worker(quick(url, service="another"), hosts=hosts)
    until(lambda: anew.joined)
    assert anew.state(HOST) == "isolated", "records are as they were"
    anew.manager.close()


def test_what_the_others_said_ends_with_the_last_manager_that_hears_them(url: str, make: Make) -> None:
    with refused_port() as port:
        host, hosts = f"http://127.0.0.1:{port}", HostTable(policy=QUICK)
        one, two = make(quick(url)), make(quick(url))
        third, beside = Worker(quick(url), hosts=hosts), ConnectionManager[Any](hosts=hosts)
        until(lambda: third.joined and third.manager.fleet.workers == 3)  # type: ignore[union-attr]
        hosts.host(host)
        one.breaks(host), two.breaks(host)
        until(lambda: beside.health(host).state == "broken")
        third.manager.close()
        until(lambda: len(overview(url).workers) == 2)
        assert beside.health(host).fleet is None
        beside.add(host, None, conn := Connection(host, ANONYMOUS, policy=QUICK))
        with pytest.raises(ConnectError):
            conn.get("/")  # it is tried, and not refused
        beside.close()


# Signals


FILES = (
    "sleepwalker/connection/manager.py",
    "sleepwalker/connection/managing.py",
    "sleepwalker/connection/finder.py",
    "sleepwalker/connection/finding.py",
    "sleepwalker/connection/joining.py",
    "sleepwalker/fleet/client.py",
    "sleepwalker/fleet/orders.py",
    "sleepwalker/lookup/change.py",
)


def test_what_a_signal_handler_tears_is_done_everywhere_or_nowhere(folder: Path, make: Make) -> None:
    """Ctrl-C, in the middle of an operator's hand: what holds here holds in the others as well."""
    url = f"file://{folder}/torn.fleet"
    one, other = make(quick(url)), make(quick(url))
    until(lambda: one.joined and other.joined)
    known: set[Any] = set()
    hosts = iter(range(1000))
    torn = []
    while True:
        host = f"https://h{next(hosts)}.example.com"
        if strike(lambda host=host: one.manager.isolate(host, reason="torn"), files=FILES, known=known) is None:  # type: ignore[misc]
            break
        torn.append(host)
    assert len(torn) > 5
    one.manager.isolate("https://last.example.com")
    until(lambda: other.state("https://last.example.com") == "isolated")
    states = {host: (one.state(host), other.state(host)) for host in torn}
    assert {pair for pair in states.values() if "isolated" in pair} == {("isolated", "isolated")}


def test_a_constructor_and_a_close_that_are_torn_leave_no_thread(folder: Path) -> None:
    url = f"file://{folder}/torn.fleet"
    known: set[Any] = set()

    def come_and_go() -> None:
        Worker(quick(url)).manager.close()

    while strike(come_and_go, files=FILES, known=known) is not None:
        pass
    assert len(known) > 10
    forget()
    until(lambda: gc.collect() is not None and not fleet_threads())
    until(lambda: not overview(url).workers)


# Greenlets


GREEN = """
from gevent import monkey
monkey.patch_all()
import sys, time
from sleepwalker import ConnectionManager
from sleepwalker.fleet import Fleet
manager = ConnectionManager(fleet=Fleet(sys.argv[1], interval=0.2))
end = time.monotonic() + 60
while not (manager.fleet.joined and manager.fleet.workers == 2) and time.monotonic() < end:
    time.sleep(0.01)
manager.isolate("https://of-gevent.example.com", reason="greenlets tell")
while manager.health("https://orders.example.com").state != "isolated" and time.monotonic() < end:
    time.sleep(0.01)
print(manager.fleet.workers, manager.health("https://orders.example.com").state)
while manager.health("https://orders.example.com").state == "isolated" and time.monotonic() < end:
    time.sleep(0.01)  # until it is told that it may end
"""


@pytest.mark.left_to_ci
def test_greenlets_join_and_tell(url: str, make: Make) -> None:
    worker = make(quick(url))
    worker.manager.isolate(HOST, reason="to gevent")
    command = [sys.executable, "-c", GREEN, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: worker.state("https://of-gevent.example.com") == "isolated", within=60)
        worker.manager.restore(HOST)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "2 isolated\n"), err


# Arguments, and secrets


@pytest.mark.parametrize(
    ("fleet", "error", "says"),
    [
        (7, TypeError, "fleet must be the URL of a store or a Fleet, not int"),
        (["redis://h"], TypeError, "fleet must be the URL of a store or a Fleet, not list"),
        ("", ValueError, "use one beginning with redis://"),
        (f"http://user:{SECRET}@h", ValueError, "has another scheme"),
        (f"user:{SECRET}@h:6379", ValueError, "has another scheme"),
        (f"redis://user:{SECRET}@h:port", ValueError, "a port that is not a number"),
        (f"redis://user:{SECRET}/x@h", ValueError, "must be escaped"),
        (f"redis://user:{SECRET}@h/db", ValueError, "a database that is not a number"),
        (f"file://{SECRET}@h/run/x", ValueError, "file:///run/billing.fleet"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_and_shows_no_secret(fleet: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as raised:
        ConnectionManager(fleet=fleet)
    assert says in str(raised.value)
    shown = "".join(
        traceback.TracebackException(type(raised.value), raised.value, raised.tb, capture_locals=True).format()
    )
    ours = [line for line in shown.splitlines() if "fleet = " not in line]  # this function's own argument
    assert not [line for line in ours if SECRET in line]
    assert not fleet_threads()


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("quorum", 1.01, ValueError, "quorum must be 0 to 1, not 1.01; leave it out for the default"),
        ("quorum", math.nan, ValueError, "quorum must be 0 to 1, not nan; leave it out for the default"),
        ("quorum", "0.5", TypeError, "quorum must be a number, not str; leave it out for the default"),
        ("min_reporters", 0, ValueError, "min_reporters must be 1 to 10,000, not 0; leave it out for the default"),
        ("min_reporters", 2.0, TypeError, "min_reporters must be an int, not float; leave it out for the default"),
        ("min_reporters", True, TypeError, "min_reporters must be an int, not bool; leave it out for the default"),
        pytest.param("min_reporters", 10**5000, ValueError, "min_reporters must be 1 to 10,000, not a much", id="huge"),
        ("interval", 0.05, ValueError, "interval must be 0.1 to 60, not 0.05; leave it out for the default"),
        pytest.param("interval", 10**400, ValueError, "interval must be 0.1 to 60, not 1000", id="above any float"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_the_way_out(
    folder: Path, name: str, value: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as raised:
        Fleet(f"file://{folder}/x.fleet", **{name: value})
    assert str(raised.value).startswith(says)


def test_a_password_in_the_url_is_shown_nowhere(
    folder: Path, program: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with run_redis(folder / "redis", program("redis-server"), "--requirepass", SECRET) as server:
        right = f"unix://u{SECRET}:{SECRET}@{server.socket}".replace(f"u{SECRET}", "")
        workers = [Worker(quick(url)) for url in (right, right.replace(SECRET, f"{SECRET}-wrong"))]
        try:
            until(lambda: workers[0].joined and workers[1].named("fleet.lost"))
            workers[0].manager.isolate(HOST, reason="to be seen")
            until(lambda: workers[0].named("host.isolated"))
            page = b""
            for worker in workers:
                page += _page(worker.manager)
            shown = [repr(worker.events) + repr(worker.manager.fleet) for worker in workers]
            shown += [repr(vars(worker.manager)) + repr(worker.manager.hosts.fleet) for worker in workers]
            shown += [page.decode(), caplog.text, repr(vars(workers[0].manager.hosts.fleet))]
            assert "refused the user or the password" in shown[1]
            assert "to be seen" in page.decode()
            assert not [text for text in shown if SECRET in text]
        finally:
            for worker in workers:
                worker.manager.close()


def _page(manager: ConnectionManager[Any]) -> bytes:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": "", "QUERY_STRING": "", "HTTP_ACCEPT": "*/*"}
    environ |= {"SERVER_NAME": "h", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}  # type: ignore[dict-item]
    return b"".join(status.app(manager)(environ, lambda status, headers, error=None: None))  # type: ignore[arg-type,misc]


# What it costs


@pytest.mark.left_to_ci
def test_a_call_and_a_find_call_as_many_functions_as_without(url: str) -> None:
    command = [sys.executable, "-c", COUNTED, url]
    done = subprocess.run(command, cwd=Path(counts.__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["get"][0] > 100, "a call was counted"
    assert found["find"][0] >= 1
    assert found["get"][0] == found["get"][1]
    assert found["find"][0] == found["find"][1]


COUNTED = """
import json, sys, time
from benchmarks import counts
from sleepwalker import ANONYMOUS, Connection, ConnectionManager
from sleepwalker.fleet import Fleet
found = {"get": [], "find": []}
with counts._server() as url:
    for fleet in (None, Fleet(sys.argv[1])):
        with ConnectionManager(fleet=fleet) as manager:
            manager.add(url, None, conn := Connection(url, ANONYMOUS))
            while fleet is not None and not manager.fleet.joined:
                time.sleep(0.01)
            found["get"].append(counts.count(lambda: conn.get("/100.json").content).total())
            found["find"].append(counts.count(lambda: manager.find(url)).total())
print(json.dumps(found))
"""
