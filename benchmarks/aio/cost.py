"""What a call costs: each contender in a process of its own, timed in turn, alone and with many at once.

A process, so that none pays for another's objects and threads. `python -m benchmarks.aio.cost` is such a process: it
reads what to do by lines, and answers each with one.
"""

from __future__ import annotations

import asyncio
import contextlib
import cProfile
import gc
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import sleepwalker
from benchmarks.aio.contenders import PATH, SIZE, TASKS, THREADS, WORDS, Call, Getting
from benchmarks.children import Child, started
from benchmarks.environment import leave_out_the_environment
from benchmarks.figures import percentile
from benchmarks.server import document, run_nginx

#: So many calls are under way at once.
AT_ONCE = (1, 64)
MANY = 5
#: Calls at the begin and at the end of each block that are not timed, for each task: they open sockets, or wait for
#: the last ones. One, where a task makes no more that are timed.
_LEAD_IN = 3
COUNTED = 50

Progress = Callable[[int], None]


def measure(rounds: int, calls: int, progress: Progress = lambda _: None) -> dict[str, Any]:
    """Microseconds per call by row, how many at once, and round, and function calls per call.

    `calls` is how many a row makes alone in a round; with 64 at once it makes `MANY` times as many.
    """
    with tempfile.TemporaryDirectory(prefix="sleepwalker-aio-") as name, contextlib.ExitStack() as running:
        server = running.enter_context(run_nginx({PATH.removeprefix("/"): document(SIZE)}))
        children: dict[str, Child] = {row: running.enter_context(started("benchmarks.aio.cost")) for row in WORDS}
        for row, child in children.items():
            child.say({"row": row, "url": server.url, "log": str(Path(name) / "events.jsonl")})
        for child in children.values():
            child.hear()
        counts = {row: child.ask({"count": COUNTED})["calls"] for row, child in children.items()}
        rows = list(children)
        samples: list[dict[str, Any]] = [
            {"row": row, "at_once": at_once, "opened": 0, "wall": [], "cpu": [], "p99": []}
            for at_once in AT_ONCE
            for row in rows
        ]
        of = {(its["row"], its["at_once"]): its for its in samples}
        for number in range(rounds):
            first = number % len(rows)
            for at_once in AT_ONCE:
                for row in rows[first:] + rows[:first]:
                    made = calls if at_once == 1 else MANY * calls
                    accepted = server.connections()
                    for kind, figure in children[row].ask({"calls": made, "at_once": at_once}).items():
                        of[row, at_once][kind].append(figure)
                    of[row, at_once]["opened"] += server.connections() - accepted - 1
            progress(number + 1)
        return {
            "nginx": server.version,
            "rounds": rounds,
            "calls": calls,
            "function_calls": counts,
            "samples": samples,
        }


class _Timed:
    """Times the calls in the middle of a block, while all tasks are at work."""

    def __init__(self, calls: int, lead_in: int) -> None:
        self.each: list[float] = []
        """Seconds that each took."""
        self._number = itertools.count()
        self._first, self._last, self._end = lead_in, lead_in + calls, calls + 2 * lead_in
        self._cpu = self._wall = 0.0
        self._calls = calls

    def done(self, seconds: float) -> bool:
        """A call took so many seconds; whether there are more to make."""
        number = next(self._number)
        if self._first < number <= self._last:
            self.each.append(seconds)
        if number in (self._first, self._last):
            cpu, wall = time.process_time(), time.perf_counter()
            self._cpu, self._wall = cpu - self._cpu, wall - self._wall
        return number < self._end

    def figures(self) -> dict[str, float]:
        """Microseconds per call: wall, CPU of this process, and what one call of a hundred exceeds."""
        return {
            "wall": round(self._wall / self._calls * 1e6, 2),
            "cpu": round(self._cpu / self._calls * 1e6, 2),
            "p99": round((percentile(self.each, 99) or 0.0) * 1e6, 1),
        }


class _Client(Protocol):
    """A row at work in this process."""

    def verify(self) -> bytes:
        """What one call gets."""

    def block(self, timed: _Timed, at_once: int) -> None:
        """Make calls, so many at once, until enough were timed."""

    def count(self, calls: int) -> float:
        """How many functions one of so many calls calls."""


class _Tasks:
    """In one event loop, which stands still between the blocks."""

    def __init__(self, runner: asyncio.Runner, call: Getting) -> None:
        self._runner, self._call = runner, call

    def verify(self) -> bytes:
        return self._runner.run(_once(self._call))

    def block(self, timed: _Timed, at_once: int) -> None:
        self._runner.run(_race(self._call, timed, at_once))

    def count(self, calls: int) -> float:
        async def counted() -> float:
            for _ in range(5):
                await self._call()
            profiler = cProfile.Profile()
            profiler.enable()
            for _ in range(calls):
                await self._call()
            profiler.disable()
            return sum(entry.callcount for entry in profiler.getstats()) / calls

        return self._runner.run(counted())


class _Threads:
    """In threads that stay; alone, in the main thread."""

    def __init__(self, pool: ThreadPoolExecutor, call: Call) -> None:
        self._pool, self.verify = pool, call

    def block(self, timed: _Timed, at_once: int) -> None:
        if at_once == 1:
            self._some(timed)
        else:
            list(self._pool.map(self._some, [timed] * at_once))

    def count(self, calls: int) -> float:
        for _ in range(5):
            self.verify()
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(calls):
            self.verify()
        profiler.disable()
        return sum(entry.callcount for entry in profiler.getstats()) / calls

    def _some(self, timed: _Timed) -> None:
        clock, more = time.perf_counter, True
        while more:
            begun = clock()
            self.verify()
            more = timed.done(clock() - begun)


async def _once(call: Getting) -> bytes:
    return await call()


async def _race(call: Getting, timed: _Timed, at_once: int) -> None:
    clock = time.perf_counter

    async def some() -> None:
        more = True
        while more:
            begun = clock()
            await call()
            more = timed.done(clock() - begun)

    if at_once == 1:
        await some()
    else:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(some())


def _figures(client: _Client, calls: int, at_once: int) -> Mapping[str, float]:
    timed = _Timed(calls, min(_LEAD_IN, max(1, calls // at_once)) * at_once)
    gc.collect()
    client.block(timed, at_once)
    return timed.figures()


@contextlib.contextmanager
def _client(row: str, url: str) -> Any:
    """The row at work, whose answer has been seen to be right."""
    with contextlib.ExitStack() as stack:
        client: _Client
        if row in TASKS:
            runner = stack.enter_context(asyncio.Runner())
            opened = contextlib.AsyncExitStack()
            client = _Tasks(runner, runner.run(opened.enter_async_context(TASKS[row](url))))
            stack.callback(lambda: runner.run(opened.aclose()))
        else:
            call = stack.enter_context(THREADS[row](url))
            client = _Threads(stack.enter_context(ThreadPoolExecutor(max(AT_ONCE))), call)
        if json.loads(client.verify()) != document(SIZE):
            raise RuntimeError(f"{row}: the answer is not what the server has")
        yield client


def main() -> None:
    told = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="sleepwalker-aio-") as home:
        leave_out_the_environment(Path(home))
        if told["row"].endswith("event log"):
            sleepwalker.logging.configure(path=told["log"])
        with _client(told["row"], told["url"]) as client:
            print(json.dumps({}), flush=True)
            for line in sys.stdin:
                wanted = json.loads(line)
                if "count" in wanted:
                    answer: Mapping[str, float] = {"calls": round(client.count(wanted["count"]), 1)}
                else:
                    answer = _figures(client, wanted["calls"], wanted["at_once"])
                print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
