"""A thousand tasks that call fifty hosts: memory of a task, and what one call of a hundred exceeds.

Each contender is a process of its own, `python -m benchmarks.aio.crowd`, which reads what to do by lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp

import sleepwalker
import sleepwalker.aio
from benchmarks.aio.contenders import PATH, SIZE
from benchmarks.children import Child, started
from benchmarks.environment import leave_out_the_environment
from benchmarks.figures import percentile
from benchmarks.server import document, run_nginx

TASKS, HOSTS = 1000, 50
#: Calls a second of all tasks, where they come by the clock.
RATE = 500.0

ONE, EACH, OURS = "aiohttp, one session", "aiohttp, a session for each host", "sleepwalker.aio"
WORDS: Mapping[str, str] = {
    ONE: "one `aiohttp.ClientSession` whose connector has no limit",
    EACH: f"{HOSTS} of them",
    OURS: f"one `AsyncConnectionManager`; each call is `(await manager.find(host)).get(path)` over one of {HOSTS} "
    "connections under the `standard` policy, no logging configured",
}
#: Gets a path of a host.
Getting = Callable[[str, str], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def _one(hosts: list[str]) -> AsyncIterator[Getting]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def get(host: str, path: str) -> bytes:
            async with session.get(host + path) as response:
                return await response.read()

        yield get


@contextlib.asynccontextmanager
async def _each(hosts: list[str]) -> AsyncIterator[Getting]:
    async with contextlib.AsyncExitStack() as stack:
        sessions = {
            host: await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            for host in hosts
        }

        async def get(host: str, path: str) -> bytes:
            async with sessions[host].get(host + path) as response:
                return await response.read()

        yield get


@contextlib.asynccontextmanager
async def _ours(hosts: list[str]) -> AsyncIterator[Getting]:
    class Hook(sleepwalker.aio.AsyncConnectionHook):
        async def connect(self, host: str, auth: object) -> sleepwalker.aio.AsyncConnection:
            return sleepwalker.aio.AsyncConnection(host, sleepwalker.ANONYMOUS)

    async with sleepwalker.aio.AsyncConnectionManager() as manager:
        manager.add_conn_hook(Hook())

        async def get(host: str, path: str) -> bytes:
            conn = await manager.find(host)
            return (await conn.get(path)).content

        yield get


_CLIENTS: Mapping[str, Callable[[list[str]], AbstractAsyncContextManager[Getting]]] = {
    ONE: _one,
    EACH: _each,
    OURS: _ours,
}


def measure(rounds: int, seconds: float, runs: int, tasks: int = TASKS) -> dict[str, Any]:
    """Per row: bytes a task takes, a figure a run, and per round the milliseconds of calls in two kinds of load.

    In `paced` rounds each task calls at random moments of so many seconds; in `full` ones as often as it can.
    """
    found: dict[str, dict[str, Any]] = {row: {"memory": [], "paced": [], "full": []} for row in WORDS}
    rows = list(WORDS)
    with contextlib.ExitStack() as running:
        server = running.enter_context(run_nginx({PATH.removeprefix("/"): document(SIZE)}))
        holding = running.enter_context(started("benchmarks.aio.server"))
        held_port = holding.hear()
        setting = {"port": int(server.url.rpartition(":")[2]), "held_port": held_port, "tasks": tasks}
        for _ in range(runs):
            for row in rows:
                with started("benchmarks.aio.crowd") as child:
                    child.ask({"row": row, **setting})
                    found[row]["memory"].append(_memory(child, holding, tasks))
        children = {row: running.enter_context(started("benchmarks.aio.crowd")) for row in rows}
        for row, child in children.items():
            child.ask({"row": row, **setting})
        for number in range(rounds):
            first = number % len(rows)
            for kind in ("paced", "full"):
                for row in rows[first:] + rows[:first]:
                    found[row][kind].append(children[row].ask({kind: seconds, "seed": number}))
    return {"tasks": tasks, "hosts": HOSTS, "rate": RATE, "rounds": rounds, "seconds": seconds, "rows": found}


def _memory(child: Child, holding: Child, tasks: int) -> float:
    """Bytes by which the process is larger for each task while all of them wait for an answer."""
    before = child.ask({"held": "begin"})
    while holding.ask("held") < tasks:
        time.sleep(0.02)
    after = child.ask({"held": "look"})
    holding.ask("release")
    child.ask({"held": "end"})
    return round((after - before) / tasks, 1)


# -- in the process of a contender -----------------------------------------------------------------


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


async def _work(told: Mapping[str, Any]) -> None:
    addresses = [f"127.0.0.{number + 1}" for number in range(HOSTS)]
    hosts = [f"http://{address}:{told['port']}" for address in addresses]
    holding = [f"http://{address}:{told['held_port']}" for address in addresses]
    async with _CLIENTS[told["row"]]([*hosts, *holding]) as get:
        for host in hosts:
            if json.loads(await get(host, PATH)) != document(SIZE):
                raise RuntimeError(f"{told['row']}: the answer is not what the server has")
        for host in holding:
            await get(host, "/")
        print(json.dumps({}), flush=True)
        waiting: list[asyncio.Task[bytes]] = []
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = json.loads(line)
            answer: Any = 0
            if "held" in wanted:
                if wanted["held"] == "begin":
                    answer = _resident()
                    waiting = [
                        asyncio.create_task(_one_of(get, holding[number % HOSTS])) for number in range(told["tasks"])
                    ]
                elif wanted["held"] == "look":
                    answer = _resident()
                else:
                    await asyncio.gather(*waiting)
            elif "paced" in wanted:
                answer = await _paced(get, hosts, told["tasks"], wanted["paced"], wanted["seed"])
            else:
                answer = await _full(get, hosts, told["tasks"], wanted["full"])
            print(json.dumps(answer), flush=True)


async def _one_of(get: Getting, host: str) -> bytes:
    return await get(host, "/held")


async def _paced(get: Getting, hosts: list[str], tasks: int, seconds: float, seed: int) -> dict[str, float]:
    dice, each = random.Random(seed), list[float]()
    loop = asyncio.get_running_loop()
    gc.collect()
    begins = loop.time() + 0.1

    async def some(host: str, moments: list[float]) -> None:
        for moment in moments:
            await asyncio.sleep(begins + moment - loop.time())
            begun = loop.time()
            await get(host, PATH)
            each.append(loop.time() - begun)

    made = max(tasks, round(RATE * seconds))
    turns: list[list[float]] = [[] for _ in range(tasks)]
    for number in range(made):
        turns[number % tasks].append(dice.random() * seconds)
    return await _timed([some(hosts[number % HOSTS], sorted(moments)) for number, moments in enumerate(turns)], each)


async def _full(get: Getting, hosts: list[str], tasks: int, seconds: float) -> dict[str, float]:
    each: list[float] = []
    loop = asyncio.get_running_loop()
    gc.collect()
    end = loop.time() + seconds

    async def some(host: str) -> None:
        while True:  # one call at least, however busy the machine is
            begun = loop.time()
            await get(host, PATH)
            each.append(loop.time() - begun)
            if loop.time() >= end:
                return

    return await _timed([some(hosts[number % HOSTS]) for number in range(tasks)], each)


async def _timed(tasks: list[Any], each: list[float]) -> dict[str, float]:
    """Calls a second, µs of CPU of a call, and milliseconds that half of the calls, or one of a hundred, exceed."""
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*tasks)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    p50, p99 = (percentile(each, percent) or 0.0 for percent in (50, 99))
    return {
        "per_second": round(len(each) / wall, 1),
        "cpu": round(cpu / len(each) * 1e6, 1),
        "p50": round(p50 * 1e3, 3),
        "p99": round(p99 * 1e3, 3),
    }


def main() -> None:
    told = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="sleepwalker-aio-") as home:
        leave_out_the_environment(Path(home))
        asyncio.run(_work(told))


if __name__ == "__main__":
    main()
