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
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.environment import leave_out_the_environment
from benchmarks.machine import ROOT
from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.figures import percentile
from benchmarks.outage.load import offer, work
from benchmarks.outage.scenario import Scenario, from_dict
from benchmarks.outage.server import RESET, UNANSWERED

#: Seconds from the server's start to the first call, for both sides to be ready.
_LEAD = 0.3
_WORDS = {UNANSWERED: "no answer", RESET: "reset"}
#: How many quantiles of the durations a brief result keeps: the last is the longest.
QUANTILES = 100


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
        if scenario.workers:
            offered = work(call, scenario.workers, scenario.calls, begins)
        else:
            offered = offer(call, scenario.rate, scenario.calls, begins)
        took = time.monotonic() - begins
        used = time.process_time() - used
        reached = json.loads(server.communicate()[0])  # the end of its input
    words = [word for word, _ in Counter(offered.outcomes).most_common()]
    return {
        "scenario": scenario.name,
        "client": client,
        "number": scenario.number,
        "outcomes": {chr(ord("a") + place): word for place, word in enumerate(words)},
        "calls": "".join(chr(ord("a") + words.index(word)) for word in offered.outcomes),
        "tenths of ms": [round(seconds * 10_000) for seconds in _kept(offered.durations, brief=scenario.brief)],
        "reached": _by_status(scenario, reached["arrivals"]),
        "ill": _at_the_planned(scenario, reached["arrivals"]),
        **_told(scenario, folder / "log.jsonl", begins),
        "connections": reached["connections"],
        "threads": offered.threads,
        "took, s": round(took, 2),
        "started late, ms": [round(1000 * figure, 2) for figure in _worst(offered.late)],
        "cpu, us per call": round(used / scenario.calls * 1e6),
    }


def _by_status(scenario: Scenario, arrivals: list[tuple[float, int, int]]) -> dict[str, list[int]]:
    """How many requests arrived in each entry of the series, by the status they got."""
    seconds: dict[str, list[float]] = {}
    for since, status, _ in arrivals:
        seconds.setdefault(_WORDS.get(status, str(status)), []).append(since)
    return {status: scenario.counted(seconds[status]) for status in sorted(seconds)}


def _at_the_planned(scenario: Scenario, arrivals: list[tuple[float, int, int]]) -> list[int]:
    """How many requests arrived at the machine that does what the phases say, where there are others."""
    last = scenario.machines - 1
    return scenario.counted(since for since, _, machine in arrivals if machine == last) if last else []


def _kept(durations: list[float], *, brief: bool) -> list[float]:
    """All durations in the calls' order, or quantiles of them."""
    return [percentile(durations, percent) for percent in range(1, QUANTILES + 1)] if brief else durations


def _told(scenario: Scenario, log: Path, begins: float) -> dict[str, object]:
    """What sleepwalker's log says: when its circuit opened and closed, and how many attempts failed in each entry."""
    began = time.time() - (time.monotonic() - begins)
    told: dict[str, list[float]] = {}
    if log.exists():
        # Calls that never end may be writing still.
        for line in log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines():
            event = json.loads(line)
            since = datetime.fromisoformat(event["timestamp"]).timestamp() - began
            told.setdefault(event["event"], []).append(round(since, 2))
    knows = scenario.refuses and any(name.startswith("request.") for name in told)
    return {
        "circuit opened": told.get("breaker.opened", []),
        "circuit closed": told.get("breaker.closed", []),
        "attempts failed": scenario.counted(told.get("attempt.failed", [])) if knows else [],
    }


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


def main() -> NoReturn:
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


if __name__ == "__main__":
    main()
