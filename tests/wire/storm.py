"""A storm of signals: thousands of calls, each struck by an exception from a signal handler at a random moment.

    python tests/wire/storm.py SCENARIO SEED CALLS

Run in a process of its own, for a call that hangs must hang only that. While the main thread's calls are struck, two
more threads make calls that are not. At the end nothing may be counted of calls that are over, every place must be
there, and the next call be answered. Prints what it found as JSON; `faults` is empty where all is well.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import sleepwalker
from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, Policy, SleepwalkerException
from sleepwalker.engine import Host
from sleepwalker.transport.blocking.deadline import current_deadline

PACKAGE = str(Path(sleepwalker.__file__).parent)
#: A call of another thread that takes longer hangs: its deadline is 5 s.
TOO_LONG = 8.0
WORKERS = 2

POLICY = Policy(
    timeout={"connect": 2, "read": 2, "attempt": 4, "total": 5},
    retry={"attempts": 3, "wait_initial": 0.0005, "wait_max": 0.001, "budget": None},
    breaker=False,
)


class StruckError(Exception):
    """As a time limit: an exception like any other."""


class Struck(BaseException):
    """As Ctrl-C."""


# -- the server, in a process of its own -----------------------------------------------------------


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class Talk(asyncio.Protocol):
    """Answers by path: `/busy` 503; every second time `/slow` late; every third time `/flaky` 500."""

    asked = 0
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    large = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + 5 * chunk + b"0\r\n\r\n"

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            Talk.asked += 1
            path = head.split(b" ", 2)[1]
            if path == b"/busy":
                self.transport.write(answer(503, b"no"))
            elif path == b"/flaky":
                self.transport.write(answer(500 if Talk.asked % 3 == 0 else 200, b"flaky"))
            elif path == b"/large":
                self.transport.write(self.large)
            elif path == b"/slow" and Talk.asked % 2:
                asyncio.get_running_loop().call_later(0.006, self.transport.write, answer(200, b"late"))
            else:
                self.transport.write(answer(200, b"x" * 100))


def serve(told: int) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Talk, "127.0.0.1", 0)
        os.write(told, str(server.sockets[0].getsockname()[1]).encode())
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def server() -> Iterator[str]:
    port, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            serve(told)
        finally:
            os._exit(0)
    try:
        yield f"http://127.0.0.1:{os.read(port, 10).decode()}"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# -- what is called --------------------------------------------------------------------------------


@dataclass
class Scene:
    call: Callable[[], object]
    hosts: Callable[[], list[Host]]
    conn: Callable[[], Connection]
    places: int | None = None
    """How many streams may be open at the same time; None for any number."""


def connection(url: str, path: str = "/", places: int | None = None, **policy: Any) -> Scene:
    conn = Connection(url, ANONYMOUS, policy=POLICY.replace(**policy))
    return Scene(lambda: conn.get(path), lambda: [conn._record], lambda: conn, places)


def streamed(url: str) -> Scene:
    scene = connection(url, places=3, pool={"size": 3, "block": True})

    def call() -> None:
        with scene.conn().get("/large", stream=True) as response:
            if sum(map(len, response.iter_content(3000))) != 5 * 4096:
                raise AssertionError("a part of the body is missing")

    scene.call = call
    return scene


#: The circuit opens at each failure, for a moment.
BRIEF = {"consecutive": 1, "consecutive_for": 0, "open_for": 0.001, "open_max": 0.002, "close_after": 2, "ramp": 0}


def half_open(url: str) -> Scene:
    scene = connection(url, breaker=BRIEF)

    def call() -> None:
        try:
            scene.conn().get("/flaky")
        except sleepwalker.CircuitOpenError as refused:
            time.sleep(min(0.001, refused.retry_after or 0.0))  # or nearly all calls would be refused

    scene.call = call
    return scene


class Hook(ConnectionHook):
    def connect(self, host: str, auth: Any) -> Connection:
        return Connection(host, ANONYMOUS, policy=POLICY)


def found(url: str) -> Scene:
    manager = ConnectionManager(policy=POLICY)
    manager.add_conn_hook(Hook())

    def call() -> None:
        if random.random() < 0.2:
            manager.evict(url)
        manager.find(url).get("/")

    return Scene(call, manager_hosts(manager), lambda: manager.find(url))


def manager_hosts(manager: ConnectionManager) -> Callable[[], list[Host]]:
    return lambda: list(manager.hosts.hosts())


SCENES: dict[str, Callable[[str], Scene]] = {
    "plain": connection,
    "retried": lambda url: connection(url, "/busy"),
    "hedged": lambda url: connection(url, "/slow", hedge={"delay": 0.002, "max_extra": 1}),
    "streamed": streamed,
    "pooled": lambda url: connection(url, places=2, pool={"size": 2, "block": True}),
    "bulkhead": lambda url: connection(url, bulkhead={"max_concurrent": 1, "max_wait": 2}),
    "rate limit": lambda url: connection(url, rate_limit={"rate": 2000, "burst": 2, "max_wait": 2}),
    "half-open": half_open,
    "waiting for the circuit": lambda url: connection(url, "/flaky", breaker={**BRIEF, "ramp": 0.1, "max_wait": 2}),
    "find": found,
}


# -- the storm -------------------------------------------------------------------------------------


class Storm:
    """Makes the calls, and strikes them."""

    def __init__(self, scene: Scene, dice: random.Random) -> None:
        self.scene = scene
        self.dice = dice
        self.faults: list[str] = []
        self.struck = self.answered = self.refused = self.others = 0
        self.over = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Strike where a call of the package's is under way; elsewhere it would be this program that is struck."""
        while frame is not None and frame.f_code is not Storm.one.__code__:
            if frame.f_code.co_filename.startswith(PACKAGE):
                raise self.dice.choice((Struck, Struck, StruckError))
            frame = frame.f_back

    def one(self, within: float) -> None:
        """One call that is struck at some moment within so many seconds, if it takes as long."""
        try:
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, self.dice.random() * within))
            self.scene.call()
            self.answered += 1
        except (Struck, StruckError):
            self.struck += 1
        except SleepwalkerException as error:
            if isinstance(error, sleepwalker.DeadlineExceeded):
                self.faults.append(f"the main thread's call: {error}")
            self.refused += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def work(self) -> None:
        """Calls of another thread, which is not interrupted."""
        while not self.over:
            began = time.monotonic()
            try:
                self.scene.call()
            except SleepwalkerException as error:
                if isinstance(error, sleepwalker.DeadlineExceeded):
                    self.faults.append(f"another thread's call: {error}")
            except BaseException as error:
                self.faults.append(f"another thread's call: {error!r}")
            self.others += 1
            if (took := time.monotonic() - began) > TOO_LONG:
                self.faults.append(f"another thread's call took {took:.1f} s")

    def run(self, calls: int) -> None:
        unraisable: list[str] = []

        def hook(told: Any) -> None:
            if not isinstance(told.exc_value, Struck | StruckError):
                unraisable.append(f"unraisable: {told.exc_value!r} in {told.object!r}")

        sys.unraisablehook = hook
        threading.excepthook = lambda told: self.faults.append(f"a thread died of {told.exc_value!r}")
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        for _ in range(50):
            with contextlib.suppress(SleepwalkerException):
                self.scene.call()
        mean = (time.monotonic() - began) / 50
        signal.signal(signal.SIGALRM, self.handle)
        for _ in range(calls):
            self.one(1.2 * mean)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        self.over = True
        for thread in threads:
            thread.join(TOO_LONG)
            if thread.is_alive():
                self.faults.append("another thread hangs")
        end = time.monotonic() + TOO_LONG
        while any(thread.name == "sleepwalker hedge" for thread in threading.enumerate()):  # some may not have begun
            if time.monotonic() > end:
                self.faults.append("a hedge hangs")
                break
            time.sleep(0.001)
        gc.collect()
        self.faults += unraisable
        self.look()

    def look(self) -> None:
        for host in self.scene.hosts():
            gauges, counters = host.gauges(), host.counters
            seen = {
                "in flight": gauges.in_flight,
                "queued": gauges.queued,
                "in the bulkhead's queue": len(host.admission.bulkhead.queue),
                "waiting for a token": 0 if host.admission.rate_limit is None else host.admission.rate_limit.waiting,
                "places at the circuit": 0 if host.breaker is None else len(host.breaker.circuit.places.out),
                "waiting for the circuit": 0 if host.breaker is None else len(host.breaker.queue.waiters),
                "calls without an end": counters.calls
                - (counters.answered + counters.failed + counters.rejected + counters.cancelled),
                "locked": int(not repr(host.lock.mutex).startswith("<unlocked ")),
                "limits left behind": int(current_deadline() is not None),
            }
            self.faults += [f"{name}: {value}" for name, value in seen.items() if value != 0]
        with ThreadPoolExecutor(1) as other:
            try:
                other.submit(self.after).result(30)
            except BaseException as error:
                self.faults.append(f"afterwards: {error!r}")

    def after(self) -> None:
        """The next call is answered, and all places of the pool are there."""
        end = time.monotonic() + 10
        while True:
            try:
                conn = self.scene.conn()
                conn.get("/")
                break
            except sleepwalker.CircuitOpenError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.005)
        with contextlib.ExitStack() as streams:
            for _ in range(self.scene.places or 1):
                streams.enter_context(conn.get("/large", stream=True))


def main(name: str, seed: int, calls: int) -> int:
    faulthandler.enable()
    faulthandler.dump_traceback_later(50 + calls / 5, exit=True)
    with server() as url:
        storm = Storm(SCENES[name](url), random.Random(seed))
        began = time.monotonic()
        storm.run(calls)
        found = {key: getattr(storm, key) for key in ("struck", "answered", "refused", "others")}
        print(json.dumps({**found, "seconds": round(time.monotonic() - began, 1), "faults": storm.faults[:20]}))
    return 1 if storm.faults else 0


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    os._exit(code)  # a thread that hangs has been told of
