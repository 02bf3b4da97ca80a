"""The bound of `find` in real time: hooks that hang hold neither their callers nor the end of the program."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import elapsed, timing_test
from servers.timing import Elapsed

from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker import ConnectionManager, DeadlineExceeded, Policy
from sleepwalker.connection.hook import ConnectionHook
from sleepwalker.events import Event, HookSlow
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

QUICK = Policy(timeout={"connect": 0.5, "read": 0.5, "attempt": 0.5, "total": 1}, retry=False, breaker=False)


class Hanging(ConnectionHook):
    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0

    def connect(self, host: str, auth: Any) -> Any:
        self.calls += 1
        self.go.wait(60)
        return "a connection"


@timing_test
def test_a_hook_that_hangs_holds_eight_threads_for_their_time_and_none_after_that() -> None:
    events: list[Event] = []
    hook = Hanging()
    with ConnectionManager(policy=QUICK, observer=lambda event, level=None: events.append(event)) as manager:
        manager.add_conn_hook(hook)

        def look() -> Elapsed:
            with elapsed() as time_taken, pytest.raises(DeadlineExceeded, match="its hooks are still running"):
                manager.find("https://slow.example")
            return time_taken

        with ThreadPoolExecutor(8) as pool:
            for time_taken in pool.map(lambda _: look(), range(8)):
                time_taken.assert_within(1.0, tolerance=0.5)
        assert [event.host for event in events if isinstance(event, HookSlow)] == ["https://slow.example"]
        with elapsed() as time_taken, pytest.raises(OurConnectionError, match="can be called again in"):
            manager.find("https://slow.example")
        time_taken.assert_at_most(0.2)
        assert hook.calls == 1
        hook.go.set()
        while not len(manager):
            time.sleep(0.01)
        assert manager.find("https://slow.example") == "a connection"
        assert hook.calls == 1


@timing_test
def test_a_hook_that_finds_its_own_host_through_an_executor_ends_with_its_time() -> None:
    class Circle(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Any:
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(manager.find, host).result()

    with ConnectionManager(policy=QUICK) as manager:
        manager.add_conn_hook(Circle())
        with (
            elapsed() as time_taken,
            pytest.raises(OurConnectionError, match=r"let it call find for the same host in another (thread|task)"),
        ):
            manager.find("same")
        time_taken.assert_at_most(2.5)


PROGRAM = """
    import threading
    from sleepwalker import ConnectionHook, ConnectionManager

    class Hanging(ConnectionHook):
        def connect(self, host, auth):
            began.set()
            threading.Event().wait(60)

    began = threading.Event()
    manager = ConnectionManager()
    manager.add_conn_hook(Hanging())
"""
ENDS = {
    "its caller gave up": """
        try:
            manager.find("https://slow.example", timeout=0.2)
        except TimeoutError:
            manager.close()
    """,
    "a thread waits for it": """
        threading.Thread(target=manager.find, args=("https://slow.example",), daemon=True).start()
        began.wait()
    """,
}


@threads_only("a program of its own")
@pytest.mark.parametrize("how", ENDS)
def test_a_hook_that_hangs_does_not_keep_the_program_from_ending(how: str) -> None:
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(ENDS[how])
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


STILL = """
    import atexit, threading, time
    from sleepwalker import ConnectionHook, ConnectionManager

    class Slow(ConnectionHook):
        def connect(self, host, auth):
            time.sleep(0.6)
            return "made"

    def look():
        print(manager.find("https://slow.example"))

    def look_after_the_main_thread():
        threading.main_thread().join()
        look()

    class AtTheEnd:
        def __del__(self):
            look()

    manager = ConnectionManager()
    manager.add_conn_hook(Slow())
"""
LATE = {
    "a thread goes on after the main one": "threading.Thread(target=look_after_the_main_thread).start()",
    "an exit handler": "atexit.register(look)",
    "a finalizer at the very end": "kept = AtTheEnd()",
}


@threads_only("a program of its own")
@pytest.mark.parametrize("who", LATE)
def test_what_looks_for_a_host_when_the_main_thread_has_ended_waits_for_its_hooks(who: str) -> None:
    program = textwrap.dedent(STILL) + LATE[who]
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "made\n", "")
