"""What a fleet costs per call: managers with one and without, each in a process of its own, timed in turn.

A process because the fleet's thread works all the time: what it uses while a caller calls is part of the price.
`python -m benchmarks.fleet.calls` is such a process: it reads what to do by lines, and answers each with one.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.children import Child, started
from benchmarks.environment import leave_out_the_environment
from benchmarks.figures import ratio, spread
from benchmarks.fleet.crew import manager_of
from benchmarks.fleet.store import run_redis
from benchmarks.rounds import LEAD_IN, Case, function_calls
from benchmarks.server import document, run_nginx

#: Bytes of the answer: the smallest, of whose call the fleet's part would be the largest.
SIZE = 100
ALONE, CONTROL, REDIS, FILE = "no fleet", "no fleet, again", "redis", "file"
#: What the project promises: at most this share more.
PROMISE = 0.02


def measure(rounds: int, calls: int) -> dict[str, Any]:
    """Microseconds per call by round and row, and function calls per call."""
    with tempfile.TemporaryDirectory(prefix="sleepwalker-fleet-") as name, contextlib.ExitStack() as running:
        server = running.enter_context(run_nginx({f"{SIZE}.json": document(SIZE)}))
        redis = running.enter_context(run_redis())
        fleets: dict[str, Mapping[str, Any] | None] = {
            ALONE: None,
            CONTROL: None,
            REDIS: {"url": redis.url, "service": "bench"},
            FILE: {"url": f"file://{Path(name) / 'bench.fleet'}", "service": "bench"},
        }
        children: dict[str, Child] = {}
        for row, fleet in fleets.items():
            children[row] = running.enter_context(started("benchmarks.fleet.calls"))
            children[row].say({"url": server.url, "fleet": fleet})
        # The fleet has two workers in each store: a store with one has nothing to tell.
        for row in (REDIS, FILE):
            running.enter_context(started("benchmarks.fleet.calls")).say({"url": server.url, "fleet": fleets[row]})
        for child in children.values():
            child.hear()
        time.sleep(2)  # until they have heard of each other
        counts = {row: child.ask("count")["calls"] for row, child in children.items()}
        samples: dict[str, dict[str, list[float]]] = {row: {"wall": [], "cpu": []} for row in children}
        rows = list(children)
        for number in range(rounds):
            first = number % len(rows)
            for row in rows[first:] + rows[:first]:
                took = children[row].ask(calls)
                for kind, figure in took.items():
                    samples[row][kind].append(figure)
    return {
        "rounds": rounds,
        "calls": calls,
        "function_calls": counts,
        "rows": {
            row: {
                "wall": asdict(spread(its["wall"])),
                "cpu": asdict(spread(its["cpu"])),
                "wall_ratio": asdict(ratio(its["wall"], samples[ALONE]["wall"])),
                "cpu_ratio": asdict(ratio(its["cpu"], samples[ALONE]["cpu"])),
            }
            for row, its in samples.items()
        },
    }


def main() -> None:
    """Be one of the processes."""
    plan = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="sleepwalker-fleet-") as scratch:
        leave_out_the_environment(Path(scratch))
        url = plan["url"]
        manager = manager_of(plan["fleet"])

        def call() -> object:
            return manager.find(url).json_request("GET", f"/{SIZE}.json")

        if call() != document(SIZE):
            raise RuntimeError("the answer is not what the server has")
        _answer({"ready": True})
        for line in sys.stdin:
            wanted = json.loads(line)
            if wanted == "count":
                _answer({"calls": function_calls(Case("", "", call), 20)})
                continue
            for _ in range(LEAD_IN):
                call()
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(wanted):
                call()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            _answer({"wall": wall / wanted * 1e6, "cpu": cpu / wanted * 1e6})
        manager.close()


def _answer(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
