"""The background probe: what it asks for, whom it helps, and that it is gone when it should be."""

from __future__ import annotations

import contextlib
import gc
import logging
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest
from servers import FaultServer, Request, elapsed, reply, stall, timing_test

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy, SleepwalkerException
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection.hook import ConnectionHook
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

INTERVAL = 0.1
#: The circuit opens after two failures and stays open: only a probe can close it.
POLICY = Policy(
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 8},
    retry=False,
    breaker={"open_for": 60, "open_max": 60, "ramp": 0, "consecutive": 2, "consecutive_for": 0},
    health={"probe": "/health", "probe_interval": INTERVAL, "rehook_initial": 100, "rehook_max": 100},
)


class Hook(ConnectionHook):
    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs

    def connect(self, host: str, auth: Any) -> Connection:
        return Connection(host, auth or ANONYMOUS, **{"policy": POLICY, **self.kwargs})


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


def probing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sleepwalker probe"]


def wait_until(fact: Any, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def break_it(manager: ConnectionManager, url: str, auth: Any = None) -> None:
    """Until the circuit is open, whatever the host does wrong."""
    for _ in range(2):
        with pytest.raises(SleepwalkerException):
            manager.find(url, auth).get("/")
    assert manager.health(url).breaker == "open"


def probes(server: FaultServer) -> list[Request]:
    return [request for request in server.requests if request.path == "/health"]


def test_a_manager_whose_policy_asks_for_no_probe_has_no_thread(server: FaultServer) -> None:
    policy = POLICY.replace(health={"probe": None})
    with ConnectionManager(policy=policy) as manager:
        manager.add_conn_hook(Hook(policy=policy))
        manager.find(server.url).get("/")
        assert probing_threads() == []


@threads_only("the thread of probes; in asyncio they are tasks")
def test_a_manager_has_one_probe_thread_at_most_and_none_once_closed() -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(FaultServer(default=reply(503))) for _ in range(5)]
        manager = stack.enter_context(ConnectionManager(policy=POLICY))
        assert probing_threads() == [], "nothing to probe for yet"
        manager.add_conn_hook(Hook())
        for server in servers:
            break_it(manager, server.url)
        wait_until(lambda: len(probing_threads()) == 1)
        assert all(thread.daemon for thread in probing_threads())
        wait_until(lambda: all(probes(server) for server in servers))
        manager.close()
        wait_until(lambda: not probing_threads())
        asked = [len(probes(server)) for server in servers]
        time.sleep(3 * INTERVAL)
        assert [len(probes(server)) for server in servers] == asked
        assert [server.open for server in servers] == [0] * 5


# The manager is not closed: the garbage collector closes the socket of a probe under way.
@threads_only("a thread; the task of a manager is its loop's")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_thread_of_a_manager_without_a_reference_ends(server: FaultServer) -> None:
    server.default = reply(503)
    manager = ConnectionManager(policy=POLICY)
    manager.add_conn_hook(Hook())
    break_it(manager, server.url)
    wait_until(lambda: len(probing_threads()) == 1)
    del manager
    gc.collect()
    wait_until(lambda: not probing_threads())
    gc.collect()  # what the last probe left, here and not during a later test


def test_a_healthy_host_is_not_probed(server: FaultServer) -> None:
    with ConnectionManager(policy=POLICY) as manager:
        manager.add_conn_hook(Hook())
        manager.find(server.url).get("/")
        time.sleep(4 * INTERVAL)
        assert probes(server) == []


def test_a_probe_carries_the_connections_credentials_and_headers_and_counts_as_no_call(server: FaultServer) -> None:
    server.default = reply(503)
    with ConnectionManager(policy=POLICY) as manager:
        manager.add_conn_hook(Hook(headers={"X-Tenant": "7"}))
        break_it(manager, server.url, ("user", "password"))
        before = manager.health(server.url)
        wait_until(lambda: len(probes(server)) > 2)
        for probe in probes(server):
            assert (probe.method, probe.header("X-Tenant")) == ("GET", "7")
            assert probe.header("Authorization") == "Basic dXNlcjpwYXNzd29yZA=="
        after = manager.health(server.url)
        assert (after.calls, after.attempts, after.failures) == (before.calls, before.attempts, before.failures)


@pytest.mark.parametrize("status", [200, 204, 404, 401])
def test_any_answer_below_500_brings_a_host_back_without_a_users_call(server: FaultServer, status: int) -> None:
    """A 401 or a 404 proves the host alive: who has no /health is not punished for it."""
    server.default = reply(503)
    with ConnectionManager(policy=POLICY) as manager:
        manager.add_conn_hook(Hook())
        break_it(manager, server.url)
        time.sleep(2 * INTERVAL)
        assert manager.health(server.url).breaker == "open"
        server.default = reply(status)
        wait_until(lambda: manager.health(server.url).breaker == "closed")
        assert manager.health(server.url).state != "broken"
        server.default = None
        assert manager.find(server.url).get("/").content == b"ok"


def test_two_connections_to_a_host_are_one_host_to_probe(server: FaultServer) -> None:
    server.default = reply(503)
    with ConnectionManager(policy=POLICY) as manager:
        manager.add_conn_hook(Hook())
        manager.find(server.url, ("another", "user"))
        break_it(manager, server.url)
        wait_until(lambda: len(probes(server)) >= 4)
        times = [probe.time for probe in probes(server)]
        assert times[-1] - times[0] > (len(times) - 1) * INTERVAL * 0.5


def test_an_isolated_host_is_left_alone(server: FaultServer) -> None:
    server.default = reply(503)
    with ConnectionManager(policy=POLICY) as manager:
        manager.add_conn_hook(Hook())
        break_it(manager, server.url)
        manager.isolate(server.url)
        time.sleep(INTERVAL)
        before = len(probes(server))
        time.sleep(4 * INTERVAL)
        assert len(probes(server)) == before
        manager.restore(server.url)
        wait_until(lambda: len(probes(server)) > before)


def test_a_host_whose_hook_fails_is_probed_with_the_connection_before() -> None:
    class Once(Hook):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def connect(self, host: str, auth: Any) -> Connection:
            self.calls += 1
            if 1 < self.calls < 3:
                raise OurConnectionError("no login while it is down")
            return super().connect(host, auth)

    hook = Once()
    with FaultServer() as server, ConnectionManager(policy=POLICY) as manager:
        manager.add_conn_hook(hook)
        manager.find(server.url).get("/")
        server.stop()
        break_it(manager, server.url)
        with pytest.raises(OurConnectionError, match="no login"):
            manager.find(server.url)
        server.start()
        wait_until(lambda: manager.health(server.url).breaker == "closed")
        assert manager.find(server.url).get("/").content == b"ok"
        server.wait_for_open(1)  # the one that is in use: what the probe opened is closed again


@threads_only("the thread of probes; in asyncio they are tasks")
@timing_test
def test_closing_the_manager_does_not_wait_for_a_probe_under_way() -> None:
    with FaultServer(routes={"/": reply(503), "/health": stall()}) as server:
        manager = ConnectionManager(policy=POLICY)
        manager.add_conn_hook(Hook())
        break_it(manager, server.url)
        server.wait_for_requests(3)
        with elapsed() as closing:
            manager.close()
        assert [thread.is_alive() for thread in probing_threads()] == [True], "the probe was not under way"
        wait_until(lambda: not probing_threads())
        closing.assert_at_most(0.2)


_EXIT = """
    import sys
    import sleepwalker
    from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy

    url = sys.argv[1]
    policy = Policy(retry=False, breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 60, "open_max": 60},
                    health={"probe": "/health", "probe_interval": 0.05})
    class Hook(sleepwalker.ConnectionHook):
        def connect(self, host, auth): return Connection(host, ANONYMOUS, policy=policy)
    manager = ConnectionManager(policy=policy)
    manager.add_conn_hook(Hook())
    for _ in range(2):
        manager.find(url).get("/", raise_for_status=False)
    assert manager.health(url).breaker == "open"
    print("broken", flush=True)
    sys.stdin.readline()
    print("leaves", flush=True)
"""


@threads_only("a program of its own")
@timing_test
def test_the_interpreters_exit_is_not_delayed_by_a_probe_under_way() -> None:
    """Nor is anything written to stderr by a thread that is cut off."""
    with FaultServer(routes={"/": reply(503), "/health": stall()}) as server:
        run = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_EXIT), server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with run:
            assert run.stdin is not None
            assert run.stdout is not None
            assert run.stderr is not None
            assert run.stdout.readline() == "broken\n", run.stderr.read()
            server.wait_for_requests(3)
            run.stdin.write("\n")
            run.stdin.flush()
            assert run.stdout.readline() == "leaves\n"
            with elapsed() as leaving:
                code = run.wait(30)
            assert (code, run.stderr.read()) == (0, "")
        leaving.assert_at_most(0.7)


_FORK = """
    import os, sys, time, warnings
    import sleepwalker
    from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy

    warnings.simplefilter("ignore", DeprecationWarning)  # a fork with a thread running is what this is about
    url = sys.argv[1]
    policy = Policy(retry=False,
                    breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 60, "open_max": 60, "ramp": 0},
                    health={"probe": "/health", "probe_interval": 0.05, "rehook_initial": 60})
    class Hook(sleepwalker.ConnectionHook):
        def connect(self, host, auth): return Connection(host, ANONYMOUS, policy=policy)
    manager = ConnectionManager(policy=policy)
    manager.add_conn_hook(Hook())
    manager.find(url).get("/", raise_for_status=False)
    manager.find(url).get("/", raise_for_status=False)
    manager.find(url)  # the one round of hooks that there is for a minute
    child = os.fork()
    who = "child" if child == 0 else "parent"
    code = 1
    try:
        if child:
            manager.close()
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            code = 0
        else:
            print("forked", flush=True)
            end = time.monotonic() + 60
            while time.monotonic() < end and code:
                try:
                    manager.find(url).get("/")
                    code = 0
                except sleepwalker.SleepwalkerException:
                    time.sleep(0.01)
            print("back" if code == 0 else "never back", flush=True)
    finally:
        os._exit(code)
"""


@threads_only("a program of its own")
def test_a_forked_child_probes_by_itself(server: FaultServer) -> None:
    """The parent's thread does not live in the child, and its hooks may not be asked again for a minute."""
    server.default = reply(503)
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_FORK), server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline() == "forked\n", run.stderr.read()
        time.sleep(0.2)
        server.default = None
        assert run.stdout.readline() == "back\n"
        assert run.wait(30) == 0
        assert run.stderr.read() == ""
