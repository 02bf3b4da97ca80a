"""What a store has to do for workers that call a thousand hosts each: `python -m benchmarks.fleet.thousand`.

Be the workers: it reads the plan as a line of JSON, forks, and says so once all workers have what they call; and works
until its input ends. Each worker is a process with a manager of its own that calls its hosts at random.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sleepwalker
from benchmarks.children import started
from benchmarks.environment import leave_out_the_environment
from benchmarks.fleet.crew import Events, manager_of
from benchmarks.fleet.store import Redis, run_redis
from benchmarks.manager import drive

#: Calls a second of each worker, to all of its hosts together.
RATE = 20.0
#: Seconds until the workers are in step, and those in which the store is watched.
_SETTLE = 10.0
#: A circuit opens where failures last longer than this.
_LASTS = 0.6


def measure(workers: int, hosts: int, broken: int, seconds: float) -> dict[str, float]:
    """What the store did per second, and how many hosts the first worker found broken for all."""
    with contextlib.ExitStack() as running:
        redis = running.enter_context(run_redis())
        alive, dead = running.enter_context(_hosts())
        child = running.enter_context(started("benchmarks.fleet.thousand"))
        urls = [
            f"http://127.{10 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}" for number in range(hosts)
        ]
        urls = [f"{url}:{dead if number < broken else alive}" for number, url in enumerate(urls)]
        plan = {"workers": workers, "urls": urls, "broken": broken, "fleet": {"url": redis.url, "service": "bench"}}
        child.ask(plan)
        busiest = _busiest(redis, _SETTLE)
        found = watched(redis, seconds)
        found["broken for all"] = child.done()["verdicts"]
    return {**found, **busiest}


def watched(redis: Redis, seconds: float, times: float = 1.0) -> dict[str, float]:
    """What the store does per second; `times` as much, where its clients live so much slower than in earnest."""
    first, began = redis.info(), time.monotonic()
    time.sleep(seconds)
    last, took = redis.info(), time.monotonic() - began
    return per_second(first, last, took / times)


def per_second(first: Mapping[str, str], last: Mapping[str, str], seconds: float) -> dict[str, float]:
    """What INFO counted in between, but for one of the two times it was asked."""

    def more(name: str) -> float:
        return (float(last.get(name, 0)) - float(first.get(name, 0))) / seconds

    def calls(info: Mapping[str, str], name: str) -> int:
        return int(info.get(f"cmdstat_{name}", "calls=0").partition("calls=")[2].partition(",")[0])

    said = ("evalsha", "evalsha_ro", "fcall", "fcall_ro", "eval", "eval_ro")
    scripts = sum(calls(last, name) - calls(first, name) for name in said)
    return {
        "commands": round(more("total_commands_processed"), 1),
        "scripts": round(scripts / seconds, 1),
        "bytes in": round(more("total_net_input_bytes")),
        "bytes out": round(more("total_net_output_bytes")),
        "cpu": round(more("used_cpu_user") + more("used_cpu_sys"), 4),
        "memory": int(last["used_memory"]),
        "clients": int(last["connected_clients"]),
    }


def _busiest(redis: Redis, seconds: float) -> dict[str, float]:
    """The most commands and bytes in a second while the workers come into step."""
    most = {"commands at most": 0.0, "bytes at most": 0.0}
    until = time.monotonic() + seconds
    first, at = redis.info(), time.monotonic()
    while time.monotonic() < until:
        time.sleep(1.0)
        last, now = redis.info(), time.monotonic()
        found = per_second(first, last, now - at)
        most["commands at most"] = max(most["commands at most"], found["commands"])
        most["bytes at most"] = max(most["bytes at most"], found["bytes in"] + found["bytes out"])
        first, at = last, now
    return most


_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.contextmanager
def _hosts() -> Iterator[tuple[int, int]]:
    """Two ports, at every address of 127.0.0.0/8: one where all is well, one that refuses."""
    with socket.socket() as dead, socket.create_server(("0.0.0.0", 0), backlog=4096) as alive:
        dead.bind(("0.0.0.0", 0))

        def answer(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                while sock.recv(65536):
                    sock.sendall(_ANSWER)

        def serve() -> None:
            threading.stack_size(128 * 1024)
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = alive.accept()
                    threading.Thread(target=answer, args=(sock,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield alive.getsockname()[1], dead.getsockname()[1]


def _work(number: int, plan: Mapping[str, Any], ready: int, until: int) -> None:
    Events()  # nothing is written
    manager = manager_of(plan["fleet"])
    urls: Sequence[str] = plan["urls"]
    broken = urls[: plan["broken"]]
    for _ in range(2):  # the second time, failures have lasted long enough
        began = time.monotonic()
        for url in broken:
            drive(manager.find(url), [503] * 3)
        time.sleep(max(0.0, _LASTS - (time.monotonic() - began)))
    os.write(ready, b".")
    ended = threading.Event()
    threading.Thread(target=lambda: (os.read(until, 1), ended.set()), daemon=True).start()
    chance = random.Random(number)
    while not ended.wait(chance.expovariate(RATE)):
        with contextlib.suppress(sleepwalker.SleepwalkerException):
            manager.find(chance.choice(urls)).json_request("GET", "/")
    if number == 0:
        health = [manager.health(url).fleet for url in broken]
        os.write(ready, f"{sum(one is not None and one.verdict for one in health)}\n".encode())
    time.sleep(1.0)  # nobody leaves before that was looked at
    manager.close()


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="sleepwalker-fleet-") as scratch:
        leave_out_the_environment(Path(scratch))
        ready, until = os.pipe(), os.pipe()
        children = []
        for number in range(plan["workers"]):
            if pid := os.fork():
                children.append(pid)
                continue
            try:
                os.close(until[1])
                _work(number, plan, ready[1], until[0])
            finally:
                os._exit(0)

        def end(*_: object) -> None:
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os._exit(1)

        signal.signal(signal.SIGTERM, end)
        for _ in children:
            os.read(ready[0], 1)
        print('"ready"', flush=True)
        sys.stdin.read()
        os.close(until[1])
        found = os.read(ready[0], 64).decode()
        for pid in children:
            os.waitpid(pid, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left to do takes a moment
    print(json.dumps({"verdicts": int(found)}), flush=True)


if __name__ == "__main__":
    main()
