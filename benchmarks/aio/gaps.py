"""How long the event loop stands still while calls are made: a ticking task, beside bare aiohttp and an idle loop.

Each run is a process of its own, `python -m benchmarks.aio.gaps`, which reads what to do as a line of JSON and prints
what it saw. Beside the gaps between two ticks each callback of the loop is timed: what a busy machine does to the
process shows in the wall time of a callback, and not in its CPU time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

import sleepwalker
import sleepwalker.aio
from benchmarks.aio.contenders import PATH, SIZE
from benchmarks.aio.server import LARGE
from benchmarks.children import started
from benchmarks.environment import leave_out_the_environment
from benchmarks.server import document, run_nginx

#: Seconds between two ticks.
TICK = 0.001
#: Milliseconds for which nothing may block the loop.
LIMIT = 5.0
#: Tasks that call at once. So few that what the loop does between two ticks is one callback of each at most.
TASKS = 4
#: Seconds for which a look-up hangs, and for which its caller waits.
HANGS, WAITS = 5.0, 1.0

NOTHING, AIOHTTP, OURS = "nothing", "aiohttp", "sleepwalker.aio"
CALLS, FIRST, FIRST_TLS, HANDSHAKES = "calls", "first call", "first call, TLS", "handshakes"
GZIP, FAILING, REFUSED, LOOKUP = "gzip", "failing", "refused", "look-up"

#: What is done, for the page.
WORDS: Mapping[str, str] = {
    CALLS: f"{TASKS} tasks get {SIZE} B, again and again",
    FIRST: "the first client is made within the loop, and gets its first answer; the library has been imported",
    FIRST_TLS: "the same over TLS, with certifi's bundle of certificates and one more, read from a file",
    HANDSHAKES: f"{TASKS} tasks get {SIZE} B over TLS, each time over a new connection",
    GZIP: f"{TASKS} tasks get {LARGE // 1_000_000} MB, compressed",
    FAILING: f"{TASKS} tasks call a host that answers every other request with 503; sleepwalker retries, and writes "
    "events to a file",
    REFUSED: f"{TASKS} tasks go on calling a host whose circuit is open, without a pause, and events are written; "
    "aiohttp calls it and gets 503",
    LOOKUP: f"`getaddrinfo` hangs for {HANGS:g} s while a call may take {WAITS:g} s; {TASKS} tasks call another host",
}

#: What is asked for, and how many bytes have to come; None for any number.
_PATHS: Mapping[str, tuple[str, int | None]] = {
    GZIP: ("/gzip", LARGE),
    FAILING: ("/failing", None),
    REFUSED: ("/down", None),
}

Getting = Callable[[str], Awaitable[int]]


def measure(runs: int, seconds: float) -> dict[str, Any]:
    """What each run saw, by situation and client, in turn."""
    found: dict[str, dict[str, list[Any]]] = {words: {AIOHTTP: [], OURS: []} for words in WORDS}
    idle: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="sleepwalker-aio-") as name, contextlib.ExitStack() as running:
        server = running.enter_context(run_nginx({PATH.removeprefix("/"): document(SIZE)}, tls=True))
        port = running.enter_context(started("benchmarks.aio.server")).hear()
        setting = {
            "url": server.url,
            "tls_url": server.tls_url,
            "bundle": str(_bundle(server.ca, Path(name))),
            "other": f"http://127.0.0.1:{port}",
            "log": str(Path(name) / "events.jsonl"),
            "seconds": seconds,
        }
        for number in range(runs):
            idle.append(_run({"situation": CALLS, "client": NOTHING, **setting}))
            for situation in WORDS:
                for client in (AIOHTTP, OURS) if number % 2 else (OURS, AIOHTTP):
                    found[situation][client].append(_run({"situation": situation, "client": client, **setting}))
    return {"runs": runs, "seconds": seconds, "limit": LIMIT, "idle": idle, "situations": found}


def _run(told: Mapping[str, Any]) -> Any:
    with started("benchmarks.aio.gaps") as child:
        return child.ask(told)


def _bundle(ca: str, folder: Path) -> Path:
    import certifi  # noqa: PLC0415 - not in the processes that are measured

    path = folder / "bundle.pem"
    path.write_text(Path(certifi.where()).read_text(encoding="utf-8") + Path(ca).read_text(encoding="utf-8"))
    return path


# -- in the process that is measured ---------------------------------------------------------------


class Watch:
    """Ticks, and times each callback of the loop and each collection of garbage. Milliseconds."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.slowest = 0.0
        self.busiest = 0.0
        """The most CPU time of one callback."""
        self.name = ""
        """The busiest callback's."""
        self.collected = 0.0
        """The longest collection."""
        self.over = False
        self._begun = 0.0
        self._run = asyncio.Handle._run
        self._ticking: asyncio.Task[None] | None = None

    async def tick(self) -> None:
        clock = time.perf_counter
        before = clock()
        while not self.over:
            await asyncio.sleep(TICK)
            now = clock()
            self.gaps.append((now - before - TICK) * 1e3)
            before = now

    def start(self) -> None:
        """From now on."""
        gc.callbacks.append(self._collecting)
        self._time_callbacks()
        self._ticking = asyncio.create_task(self.tick())

    async def stop(self) -> None:
        """No longer."""
        self.over = True
        if self._ticking is not None:
            await self._ticking
            asyncio.Handle._run = self._run  # type: ignore[method-assign]
            gc.callbacks.remove(self._collecting)

    def to_dict(self) -> dict[str, Any]:
        ordered = sorted(self.gaps)
        return {
            "gap": round(ordered[-1], 3),
            "p99": round(ordered[int(len(ordered) * 0.99)], 3),
            "ticks": len(ordered),
            "slowest": round(self.slowest, 3),
            "busiest": round(self.busiest, 3),
            "name": self.name,
            "collected": round(self.collected, 3),
        }

    def _collecting(self, phase: str, _: object) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            self.collected = max(self.collected, (time.perf_counter() - self._begun) * 1e3)

    def _time_callbacks(self) -> None:
        run, wall_clock, cpu_clock = self._run, time.perf_counter, time.thread_time

        def timed(handle: asyncio.Handle) -> None:
            wall, cpu = wall_clock(), cpu_clock()
            run(handle)
            wall, cpu = (wall_clock() - wall) * 1e3, (cpu_clock() - cpu) * 1e3
            self.slowest = max(self.slowest, wall)
            if cpu > self.busiest:
                self.busiest, self.name = cpu, _name(handle)

        asyncio.Handle._run = timed  # type: ignore[method-assign]


def _name(handle: asyncio.Handle) -> str:
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return f"a step of {getattr(task.get_coro(), '__qualname__', '?')}"
    return str(getattr(callback, "__qualname__", type(callback).__name__))


@contextlib.asynccontextmanager
async def _client(told: Mapping[str, Any], url: str) -> AsyncIterator[Getting]:
    """Gets a path of the host, and tells how many bytes came."""
    close = {"Connection": "close"} if told["situation"] == HANDSHAKES else None
    tls = url.startswith("https:")
    limit = WAITS if told["situation"] == LOOKUP else None
    if told["client"] == AIOHTTP:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=told["bundle"]) if tls else True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(limit)) as session:

            async def bare(path: str) -> int:
                async with session.get(url + path, headers=close) as response:
                    return len(await response.read())

            yield bare
        return
    verify = told["bundle"] if tls else True
    policy: Any = "standard"
    if told["situation"] == REFUSED:
        policy = sleepwalker.Policy(breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 60, "open_max": 60})
    async with sleepwalker.aio.AsyncConnection(
        url, sleepwalker.ANONYMOUS, verify=verify, policy=policy, timeout=None
    ) as conn:

        async def ours(path: str) -> int:
            return len((await conn.get(path, headers=close, total=limit)).content)

        yield ours


async def _many(get: Getting, path: str, seconds: float, size: int | None = SIZE) -> dict[str, int]:
    """Some tasks get the path for so many seconds: how many calls were answered, and how many were not."""
    end = time.monotonic() + seconds
    told = {"answered": 0, "failed": 0}

    async def some() -> None:
        while time.monotonic() < end:
            try:
                got = await get(path)
            except (sleepwalker.SleepwalkerException, aiohttp.ClientError, TimeoutError):
                told["failed"] += 1
                continue
            told["answered"] += 1
            if size is not None and got != size:
                raise RuntimeError(f"{path}: {got} bytes instead of {size}")

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(some())
    return told


async def _situation(told: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Make the calls. The watch starts where what is to be seen begins."""
    situation, seconds = told["situation"], told["seconds"]
    if told["client"] == NOTHING:
        watch.start()
        await asyncio.sleep(seconds)
        await watch.stop()
        return {"answered": 0, "failed": 0}
    if situation in (FIRST, FIRST_TLS):
        watch.start()
        await asyncio.sleep(0.05)
        async with _client(told, told["url" if situation == FIRST else "tls_url"]) as get:
            answered = await get(PATH)
            await asyncio.sleep(0.05)
            await watch.stop()
        return {"answered": int(answered == SIZE), "failed": 0}
    if situation == LOOKUP:
        return await _hanging(told, watch)
    other = situation in (GZIP, FAILING, REFUSED)
    path, size = _PATHS.get(situation, (PATH, SIZE))
    async with _client(told, told["other" if other else "tls_url" if situation == HANDSHAKES else "url"]) as get:
        await _many(get, path, min(0.2, seconds), size)  # what only the first calls do is another situation's
        watch.start()
        counted = await _many(get, path, seconds, size)
        await watch.stop()
        return counted


async def _hanging(told: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    async with _client(told, "http://hangs.example:1") as lost, _client(told, told["url"]) as get:
        await _many(get, PATH, min(0.2, told["seconds"]))
        watch.start()

        async def call() -> float:
            begun = time.monotonic()
            try:
                await lost("/")
            except (sleepwalker.SleepwalkerException, aiohttp.ClientError, TimeoutError):
                return time.monotonic() - begun
            raise RuntimeError("a host that does not exist answered")

        waited = asyncio.gather(*(call() for _ in range(TASKS)))
        counted = await _many(get, PATH, max(told["seconds"], WAITS))
        seconds = max(await waited)
        await watch.stop()
        return {**counted, "waited": round(seconds, 3)}


@contextlib.contextmanager
def _look_ups_hang() -> Iterator[None]:
    found = socket.getaddrinfo

    def hangs(host: Any, *arguments: Any, **more: Any) -> Any:
        if "hangs" in str(host):
            time.sleep(HANGS)
            raise socket.gaierror(socket.EAI_AGAIN, "hung")
        return found(host, *arguments, **more)

    socket.getaddrinfo = hangs
    try:
        yield
    finally:
        socket.getaddrinfo = found


def main() -> None:
    told = json.loads(sys.stdin.readline())
    random.seed(1)
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="sleepwalker-aio-") as home, contextlib.ExitStack() as stack:
        leave_out_the_environment(Path(home))
        if told["client"] == OURS and told["situation"] in (FAILING, REFUSED):
            sleepwalker.logging.configure(path=told["log"])
        if told["situation"] == LOOKUP:
            stack.enter_context(_look_ups_hang())
        with asyncio.Runner() as runner:
            seen = runner.run(_situation(told, watch))
            print(json.dumps({**watch.to_dict(), **seen}), flush=True)


if __name__ == "__main__":
    main()
