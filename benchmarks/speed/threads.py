"""Throughput of many threads, and what a call costs then."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import requests
import urllib3

import sleepwalker
from benchmarks.speed.peers import BARE, HTTPX, LOGGED, POOL, Call, logging_to

COUNTS = (1, 8, 32)
SHARED_SESSION = "requests, one session for all"
NAMES = (BARE, SHARED_SESSION, POOL, HTTPX, LOGGED)
_PATH = "/100.json"


@dataclass(slots=True)
class Throughput:
    """One client's figures with so many threads, one per round."""

    threads: int
    name: str
    per_second: list[float] = field(default_factory=list)
    """Calls per second, of all threads together."""
    cpu: list[float] = field(default_factory=list)
    """Microseconds of CPU per call."""


def measure(
    url: str, folder: Path, rounds: int, calls: int, progress: Callable[[int], None] = lambda _: None
) -> list[Throughput]:
    """Each client with each number of threads, which make `calls` calls together in each round."""
    found = [Throughput(threads, name) for threads in COUNTS for name in NAMES]
    with contextlib.ExitStack() as running:
        crews = {(its.threads, its.name): _crew(its, url, running) for its in found}
        for number in range(rounds):
            for group in COUNTS:
                turn = [its for its in found if its.threads == group]
                first = number % len(turn)
                for its in turn[first:] + turn[:first]:
                    log = folder / "threads.jsonl" if its.name == LOGGED else None
                    with logging_to(log):
                        wall, cpu = _race(crews[its.threads, its.name], max(1, calls // its.threads))
                    made = max(1, calls // its.threads) * its.threads
                    its.per_second.append(made / wall)
                    its.cpu.append(cpu / made * 1e6)
            progress(number + 1)
    return found


def _crew(its: Throughput, url: str, running: contextlib.ExitStack) -> list[Call]:
    """What each thread calls. `requests` has a session for each thread, as its documentation advises."""
    whole, count = url + _PATH, its.threads
    if its.name == BARE:
        sessions = [running.enter_context(requests.Session()) for _ in range(count)]
        return [lambda session=session: session.get(whole).json() for session in sessions]  # type: ignore[misc]
    if its.name == SHARED_SESSION:
        session = running.enter_context(requests.Session())
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=max(COUNTS)))
        return [lambda: session.get(whole).json()] * count
    if its.name == POOL:
        pool = running.enter_context(urllib3.PoolManager(maxsize=max(COUNTS)))
        return [lambda: pool.request("GET", whole).json()] * count
    if its.name == HTTPX:
        client = running.enter_context(httpx.Client())
        return [lambda: client.get(whole).json()] * count
    connection = running.enter_context(sleepwalker.Connection(url, sleepwalker.ANONYMOUS))
    return [lambda: connection.json_request("GET", _PATH)] * count


def _race(crew: list[Call], each: int) -> tuple[float, float]:
    """Wall and CPU seconds from when all threads begin until the last one has made its calls."""
    ready = threading.Barrier(len(crew) + 1)
    failures: list[BaseException] = []

    def work(call: Call) -> None:
        try:
            call()  # opens its socket
            ready.wait()
            for _ in range(each):
                call()
        except BaseException as error:
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, args=(call,)) for call in crew]
    gc.collect()
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        ready.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.perf_counter() - wall, time.process_time() - cpu
