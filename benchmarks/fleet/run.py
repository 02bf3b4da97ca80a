"""One setting: its host, its workers and their stores are started, and what each side came to is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.fleet.setting import ALONE, Setting
from benchmarks.fleet.store import Redis, run_redis
from benchmarks.machine import ROOT

#: Seconds from the last worker's readiness to the begin of the plan.
_LEAD = 0.5


def run(setting: Setting, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Raw series by side: requests that reached the host, and what each worker saw."""
    pipe = subprocess.PIPE
    with tempfile.TemporaryDirectory(prefix="sleepwalker-fleet-") as name, contextlib.ExitStack() as running:
        fleets: dict[str, dict[str, Any]] = {}
        redis: Redis | None = None
        if "redis" in setting.sides:
            redis = running.enter_context(run_redis())
            fleets["redis"] = {"url": redis.url}
        if "file" in setting.sides:
            fleets["file"] = {"url": f"file://{Path(name) / 'bench.fleet'}"}
        for fleet in fleets.values():
            fleet |= {"service": "bench", **(options or {})}
        server, crew = (
            running.enter_context(_started([sys.executable, "-m", f"benchmarks.fleet.{module}"]))
            for module in ("server", "crew")
        )
        assert server.stdin and server.stdout and crew.stdin and crew.stdout
        print(json.dumps(setting.to_dict()), file=server.stdin, flush=True)
        urls = {side: f"http://127.0.0.1:{port}" for side, port in json.loads(server.stdout.readline()).items()}
        plan = {"setting": setting.to_dict(), "urls": urls, "fleets": fleets}
        print(json.dumps(plan), file=crew.stdin, flush=True)
        if crew.stdout.readline() != "ready\n":
            raise RuntimeError(f"{setting.name}: the workers did not start")
        begins = time.monotonic() + _LEAD
        for process in (server, crew):
            print(begins, file=process.stdin, flush=True)
        if setting.beside == "frozen" and redis is not None:
            _freeze(redis.pid, *(begins + second for second in setting.fault))
        seen = json.loads(crew.stdout.read() or "null")
        reached = json.loads(server.communicate()[0])  # the end of its input
        if seen is None:
            raise RuntimeError(f"{setting.name}: the workers failed")
    return {
        "setting": setting.to_dict(),
        "sides": {side: {"reached": reached[side], "workers": seen[side]} for side in setting.sides},
    }


def _freeze(pid: int, begin: float, end: float) -> None:
    """Stop the process, and let it go on."""

    def work() -> None:
        for moment, sent in ((begin, signal.SIGSTOP), (end, signal.SIGCONT)):
            time.sleep(max(0.0, moment - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)

    threading.Thread(target=work, daemon=True).start()


@contextlib.contextmanager
def _started(command: list[str]) -> Any:
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()
