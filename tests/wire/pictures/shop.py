"""A web shop for pictures: eight services on loopback, some of which fail, and a quarter of an hour of real calls."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from servers import FaultServer, reply

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, SleepwalkerException
from sleepwalker.drivers.threads.clock import BlockingSystemClock
from sleepwalker.telemetry.jsonl import JsonLines
from sleepwalker.telemetry.log import LEVELS, send_to

#: Seconds that the shop's calls are told to have taken: a quarter of an hour, and a little more.
LASTS = 920.0
#: Who the shop asks, how often a round on average, and seconds that most answers take.
SERVICES = {
    "orders": (3, 0.006),
    "stock": (3, 0.003),
    "prices": (2, 0.002),
    "customers": (2, 0.005),
    "search": (3, 0.012),
    "payments": (2, 0.009),
    "mail": (1, 0.004),
    "reports": (1, 0.015),
}
#: Shares of that time in which `payments` answers 503: two minutes that are over, and the end.
DOWN = ((0.33, 0.46), (0.90, math.inf))
#: From when on one of three machines of `search` is ill, and from when on an operator has `reports` out of use.
ILL, ISOLATED = 0.65, 0.55


class Leaping(BlockingSystemClock):
    """Leaves out the time between two rounds, in which nothing happens. Within a round it is the system's clock."""

    def __init__(self, begin: float) -> None:
        self._ahead = begin - time.time()
        self._stopped: tuple[float, float] | None = None

    def leap_to(self, wall: float) -> None:
        """Only between calls: one that is under way would find its time over."""
        self._ahead += max(0.0, wall - self.wall())

    def stop(self) -> None:
        """Nothing changes any more, however long it takes to have pictures of it."""
        self._stopped = self.monotonic(), self.wall()

    def monotonic(self) -> float:  # type: ignore[override]
        return self._stopped[0] if self._stopped else time.monotonic() + self._ahead

    def wall(self) -> float:  # type: ignore[override]
        return self._stopped[1] if self._stopped else time.time() + self._ahead


@dataclass
class Shop:
    """Its calls are over; what is known of its hosts is there to be shown."""

    manager: ConnectionManager[Connection]
    clock: Leaping


class Directory(ConnectionHook):
    """Knows where each service is."""

    def __init__(self, urls: dict[str, str], clock: Leaping) -> None:
        self._urls, self._clock = urls, clock

    def connect(self, host: str, auth: Any) -> Connection | None:
        url = self._urls.get(host)
        return Connection(url, auth, clock=self._clock) if url else None


def _machines(count: int) -> list[FaultServer]:
    """Servers with addresses of their own at port 8080, which look alike whenever they are run."""
    for net in range(20, 120):  # another checkout on this machine may take its pictures, too
        servers = [FaultServer(host=f"127.{net}.0.{number}", port=8080) for number in range(1, count + 1)]
        started = []
        try:
            for server in servers:
                server.start()
                started.append(server)
            return servers
        except OSError:
            for server in started:
                server.close()
    raise AssertionError("no room for the shop's machines on loopback")


@contextlib.contextmanager
def running_shop(log: Path, rounds: int) -> Iterator[Shop]:
    """The shop after so many rounds of calls. What it logs is in `log`, as if it had begun a quarter of an hour ago."""
    dice = random.Random(2)
    machine = itertools.cycle(range(3))
    begin = (time.time() - LASTS) // 15 * 15 + 1  # charts have intervals of 10 s and 15 s: as many rounds in each
    clock = Leaping(begin)
    now = 0.0

    def answer(name: str, seconds: float) -> Any:
        def act(_: Any) -> Any:
            delay = seconds * dice.lognormvariate(0, 0.4)
            if name == "payments" and any(since <= now < until for since, until in DOWN):
                return reply(503, delay=delay)
            if name == "search" and now >= ILL and next(machine) == 0:
                return reply(502, delay=delay)
            return reply(200, b'{"ok": true}', delay=delay)

        return act

    with contextlib.ExitStack() as stack:
        urls = {}
        for (name, (_, seconds)), server in zip(SERVICES.items(), _machines(len(SERVICES)), strict=True):
            stack.callback(server.close)
            server.default = answer(name, seconds)
            urls[name] = server.url
        manager = stack.enter_context(ConnectionManager[Connection](clock=clock))
        manager.add_conn_hook(Directory(urls, clock))
        send_to(JsonLines(log, LEVELS["info"], clock))
        stack.callback(send_to, None)
        workers = stack.enter_context(ThreadPoolExecutor(len(SERVICES)))

        def calls(name: str, times: int) -> None:
            for number in range(times):
                with contextlib.suppress(SleepwalkerException):
                    manager.find(name, ANONYMOUS).get(f"/{name}/{number}")

        isolated = False
        for number in range(rounds):
            now = number / rounds
            if now >= ISOLATED and not isolated:
                until = datetime.fromtimestamp(clock.wall() + 3600, UTC)
                manager.isolate(urls["reports"], reason="new disks, ask Anna", until=until)
                isolated = True
            wave = 1 + 0.4 * math.sin(now * 2 * math.pi)  # people come and go
            under_way = [
                workers.submit(calls, name, round(times * wave * dice.uniform(0.6, 1.4)))
                for name, (times, _) in SERVICES.items()
            ]
            for done in under_way:
                done.result()
            clock.leap_to(begin + (number + 1) * LASTS / rounds)
        for _ in range(20):  # until a look at it has just failed, and its circuit is open
            for name in SERVICES:
                calls(name, 1)
            if manager.health(urls["payments"]).breaker == "open":
                break
            clock.leap_to(clock.wall() + 2)
        clock.stop()
        yield Shop(manager, clock)


@contextlib.contextmanager
def on_a_machine_called(name: str) -> Iterator[None]:
    """Pages say this, and not what the machine is called on which the pictures are taken."""
    real = socket.gethostname
    socket.gethostname = lambda: name
    try:
        yield
    finally:
        socket.gethostname = real
