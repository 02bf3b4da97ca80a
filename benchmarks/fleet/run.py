"""One setting: its host, its workers and their stores are started, and what each side came to is told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from benchmarks.children import started
from benchmarks.fleet.setting import ISOLATED, ISOLATIONS, Setting
from benchmarks.fleet.store import Redis, run_redis
from benchmarks.machine import ROOT
from sleepwalker.fleet.store import Order
from sleepwalker.fleet.stores import open_store

#: Seconds from the last worker's readiness to the begin of the plan.
_LEAD = 0.5


def run(setting: Setting, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Raw series by side: requests that reached the host, and what each worker saw."""
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
        server, crew = (running.enter_context(started(f"benchmarks.fleet.{module}")) for module in ("server", "crew"))
        urls = {side: f"http://127.0.0.1:{port}" for side, port in server.ask(setting.to_dict()).items()}
        crew.ask({"setting": setting.to_dict(), "urls": urls, "fleets": fleets})
        begins = time.monotonic() + _LEAD
        for process in (server, crew):
            process.say(begins)
        ordered: dict[str, dict[str, float]] = {}
        if setting.beside == "frozen" and redis is not None:
            _freeze(redis.pid, *(begins + second for second in setting.fault))
        elif setting.beside == "isolate":
            with ThreadPoolExecutor() as pool:
                of = {side: pool.submit(_isolate, setting, fleet, urls[side], begins) for side, fleet in fleets.items()}
                ordered = {side: found.result() for side, found in of.items()}
        seen = crew.hear()
        reached = server.done()
    return {
        "setting": setting.to_dict(),
        "ordered": ordered,
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


def _isolate(setting: Setting, fleet: Mapping[str, Any], url: str, begins: float) -> dict[str, float]:
    """When each isolation was ordered, in seconds since the plan began; the worker's own it does itself."""
    ordered = {}
    for how, after in ISOLATIONS:
        due = begins + setting.fault[0] + after
        time.sleep(max(0.0, due - time.monotonic()))
        ordered[how] = (due if how == "worker" else time.monotonic()) - begins
        _give(how, "isolate", fleet, url)
        time.sleep(max(0.0, due + ISOLATED - time.monotonic()))
        _give(how, "restore", fleet, url)
    return ordered


def _give(how: str, kind: Literal["isolate", "restore"], fleet: Mapping[str, Any], url: str) -> None:
    """Give the order into the store: by the command that operators have, or without its interpreter's start."""
    if how == "command":
        command = [sys.executable, "-m", "sleepwalker", "fleet", kind, url]
        command += ["--store", fleet["url"], "--service", fleet["service"]]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    elif how == "store":
        store = open_store(fleet["url"], fleet["service"])
        store.order(url, Order(kind, reason="drill" if kind == "isolate" else None))
        store.close()
