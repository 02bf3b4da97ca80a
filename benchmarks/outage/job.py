"""One client in one scenario, in a process of its own: `python -m benchmarks.outage.job`.

It reads which as a line of JSON and prints the raw series of the run as JSON. Where its input ends earlier, it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.environment import leave_out_the_environment
from benchmarks.machine import ROOT
from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.load import offer
from benchmarks.outage.scenarios import Scenario, from_dict

#: Seconds from the server's start to the first call, for both sides to be ready.
_LEAD = 0.3
#: Seconds that one entry of the series of arrivals covers.
STEP = 0.1


def run(scenario: Scenario, client: str, folder: Path) -> dict[str, Any]:
    """Put the scenario's load on a server through the client; what the callers saw, and what reached the server."""
    command = [sys.executable, "-m", "benchmarks.outage.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(scenario.to_dict()), file=server.stdin, flush=True)
        call = CLIENTS[client](f"http://127.0.0.1:{int(server.stdout.readline())}/orders/4711", folder / "log.jsonl")
        begins = time.monotonic() + _LEAD
        print(begins, file=server.stdin, flush=True)
        used = time.process_time()
        offered = offer(call, scenario.rate, scenario.calls, begins)
        used = time.process_time() - used
        reached = json.loads(server.communicate()[0])  # the end of its input
    words = [word for word, _ in Counter(offered.outcomes).most_common()]
    return {
        "scenario": scenario.name,
        "client": client,
        "outcomes": {chr(ord("a") + place): word for place, word in enumerate(words)},
        "calls": "".join(chr(ord("a") + words.index(word)) for word in offered.outcomes),
        "tenths of ms": [round(seconds * 10_000) for seconds in offered.durations],
        "reached": _per_step([(since, status) for since, status in reached["arrivals"]], scenario.seconds),
        "connections": reached["connections"],
        "threads": offered.threads,
        "started late, ms": [round(1000 * figure, 2) for figure in _worst(offered.late)],
        "cpu, us per call": round(used / scenario.calls * 1e6),
    }


def _per_step(arrivals: list[tuple[float, int]], seconds: float) -> dict[str, list[int]]:
    """How many requests arrived in each step, by the status they got; later ones count for the last step."""
    steps = round(seconds / STEP)
    series: dict[str, list[int]] = {}
    for since, status in arrivals:
        counts = series.setdefault(str(status) if status else "no answer", [0] * steps)
        counts[min(max(int(since / STEP), 0), steps - 1)] += 1
    return dict(sorted(series.items()))


def _worst(late: list[float]) -> tuple[float, float]:
    """The 99th percentile and the latest."""
    ordered = sorted(late)
    return ordered[int(0.99 * (len(ordered) - 1))], ordered[-1]


def _end_with_parent() -> None:
    """End this process when the one that started it is gone."""
    os.read(0, 1)  # not through sys.stdin, whose lock would be missed when the interpreter ends
    os.kill(os.getpid(), signal.SIGTERM)


def _end(*_: object) -> None:
    """Where the main thread is: its server ends, and its folder goes."""
    raise SystemExit(1)


if __name__ == "__main__":
    # A line that some library prints must not get between the figures.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    wanted = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="sleepwalker-outage-") as scratch:
        leave_out_the_environment(Path(scratch))
        series = run(from_dict(wanted["scenario"]), wanted["client"], Path(scratch))
        json.dump(series, output)
        output.flush()
    os._exit(0)  # not after calls that never end
