"""What asyncio's connections do must not keep the loop from its other tasks."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sleepwalker import ANONYMOUS, CircuitOpenError, Policy
from sleepwalker.aio import AsyncConnection
from tests.wire.servers import FaultServer, reply

ROOT = Path(__file__).parents[2]
#: What is loaded while the first connection of a process is made and used, beside what `import sleepwalker.aio` loads.
_LOADED = """\
import asyncio, sys
import sleepwalker, sleepwalker.aio
async def main():
    before = set(sys.modules)
    async with sleepwalker.aio.AsyncConnection(sys.argv[1], sleepwalker.ANONYMOUS) as conn:
        assert (await conn.get("/")).content == b"ok"
    print(*sorted(name for name in set(sys.modules) - before if not name.startswith("encodings")))
asyncio.run(main())
"""


def test_one_that_goes_on_calling_a_host_whose_circuit_is_open_lets_others_run() -> None:
    async def main(url: str) -> tuple[int, int]:
        open_at_once = {"consecutive": 1, "consecutive_for": 0, "open_for": 60, "open_max": 60}
        ran = refused = 0

        async def other() -> None:
            nonlocal ran
            while refused < 100:
                ran += 1
                await asyncio.sleep(0)

        async with AsyncConnection(url, ANONYMOUS, policy=Policy(retry=None, breaker=open_at_once)) as conn:
            await conn.get("/", raise_for_status=False)
            running = asyncio.create_task(other())
            while refused < 100:
                with pytest.raises(CircuitOpenError):
                    await conn.get("/")
                refused += 1
            await running
        return ran, refused

    with FaultServer(default=reply(503)) as server:
        ran, refused = asyncio.run(main(server.url))
        assert len(server.requests) == 1
    assert ran >= refused


def test_the_first_connection_of_a_process_imports_nothing_while_its_loop_runs() -> None:
    """Pybreaker took a tenth of a second, for it imports redis where that is installed."""
    with FaultServer() as server:
        line = [sys.executable, "-c", _LOADED, server.url]
        run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.stderr, run.stdout.split()) == ("", [])


class _Counting(ThreadPoolExecutor):
    """The threads a loop lends, and how many of them had work at once."""

    def __init__(self) -> None:
        super().__init__(8)
        self.asked = self.most = self._now = 0
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._lock:
            self.asked += 1
            self._now += 1
            self.most = max(self.most, self._now)
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._now -= 1


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 1), (4, 3)])
def test_long_bodies_are_decoded_by_fewer_threads_than_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, at_once: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    body = bytes(20_000_000)

    async def main(url: str, threads: _Counting) -> None:
        asyncio.get_running_loop().set_default_executor(threads)
        async with AsyncConnection(url, ANONYMOUS, policy=Policy(retry=None)) as conn:
            responses = await asyncio.gather(*[conn.get("/") for _ in range(8)])
        assert all(response.content == body for response in responses)

    threads = _Counting()
    with FaultServer(default=reply(200, gzip.compress(body, 1), {"Content-Encoding": "gzip"})) as server:
        asyncio.run(main(server.url, threads))
    assert threads.asked >= 8
    assert threads.most <= at_once
