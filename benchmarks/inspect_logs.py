"""What `sleepwalker inspect` costs on a gigabyte of events, beside jq and Python's json asked one of its questions."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.inspect_traffic import write_log
from benchmarks.machine import load, machine, versions
from benchmarks.report import write

NAME = "inspect"
COMMAND = "python -m benchmarks.inspect_logs"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sleepwalker", "duckdb", "rich")

#: What the project promises of a gigabyte on two cores: seconds of the whole report, and megabytes at its peak.
MOST_SECONDS, MOST_MEGABYTES, CORES = 15.0, 1_000.0, 2

SIZE, ROUNDS = 1_000_000_000, 3
QUICK_SIZE, QUICK_ROUNDS = 5_000_000, 1

#: Host to (calls, failed calls): the question that everybody can be asked.
Answer = dict[str, tuple[int, int]]

_SQL = "SELECT host, count(*) AS calls, count(*) FILTER (NOT answered) AS failed FROM calls GROUP BY host"
_JQ = """reduce inputs as $e ({};
  if $e.event == "request.finished" then .[$e.host][0] += 1
  elif $e.event == "request.failed" then .[$e.host][0] += 1 | .[$e.host][1] += 1
  else . end)"""
_PYTHON = """
import json, sys
calls, failed = {}, {}
with open(sys.argv[1]) as file:
    for line in file:
        event = json.loads(line)
        if event["event"] in ("request.finished", "request.failed"):
            host = event["host"]
            calls[host] = calls.get(host, 0) + 1
            if event["event"] == "request.failed":
                failed[host] = failed.get(host, 0) + 1
print(json.dumps({host: [calls[host], failed.get(host, 0)] for host in calls}))
"""


@dataclass(frozen=True)
class Contestant:
    """A command, and how its output is read."""

    name: str
    does: str
    command: list[str]
    read: Callable[[Any], Answer]


@dataclass
class Cost:
    """What runs of a command took: seconds of wall and CPU time, and megabytes of memory at the peak."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured, every answer right, and written down."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    size, rounds = (QUICK_SIZE, QUICK_ROUNDS) if options.quick else (SIZE, ROUNDS)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # what is started inherits it
    rounds = options.rounds or rounds
    before = load()
    with tempfile.TemporaryDirectory(prefix="sleepwalker-bench-", dir=options.folder) as folder:
        log = Path(folder) / "events.jsonl"
        truth = write_log(log, size)
        os.sync()  # so that no reader waits for the writing
        expected = {host: (truth.answered[host] + truth.failed[host], truth.failed[host]) for host in truth.hosts()}
        contestants = _contestants(log)
        costs = {one.name: Cost() for one in contestants}
        for number in range(rounds):
            for one in contestants[number % len(contestants) :] + contestants[: number % len(contestants)]:
                _run(one, expected, costs[one.name])
                print(f"round {number + 1}: {one.name}, {costs[one.name].wall[-1]:.1f} s", file=sys.stderr)
    facts: dict[str, object] = {
        "command": shlex.join([*COMMAND.split(), *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {**versions(PACKAGES), "jq": _jq_version()},
        "log": f"{size / 1e6:,.0f} MB, {truth.events:,} events of {len(expected)} hosts",
        "method": f"each command {rounds} times, in turns, in a process of its own, on {CORES} cores at most; medians",
        "priority": f"nice {os.nice(0)}, {'ahead of' if os.nice(0) < 0 else 'like'} everything else on the machine",
        "load": f"{before} before, {load()} after: processes that wanted a core, these included",
    }
    page = _page(contestants, costs, facts, size)
    print(page)
    target = options.output or (None if options.quick else RESULTS)
    if target is not None:
        rows = [{"name": one.name, "does": one.does, **vars(costs[one.name])} for one in contestants]
        data = json.dumps({"benchmark": NAME, **facts, "rows": rows}, indent=1, ensure_ascii=False) + "\n"
        for path in write(target, NAME, page, data):
            print(f"wrote {path}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look at 5 MB; leaves the results alone")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"instead of {ROUNDS}")
    parser.add_argument("--folder", type=Path, help="where the log lies meanwhile: a gigabyte (the system's own)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write the results there")
    return parser


def _contestants(log: Path) -> list[Contestant]:
    inspect = [sys.executable, "-m", "sleepwalker", "inspect", str(log)]
    page = str(log.with_suffix(".html"))
    found = [
        Contestant("inspect --json", "the whole report", [*inspect, "--json"], _of_report),
        Contestant("inspect --json --html", "the same, and its page", [*inspect, "--json", "--html", page], _of_report),
        Contestant("inspect --sql", "the question", [*inspect, "--json", "--sql", _SQL], _of_rows),
        Contestant("json of Python", "the question", [sys.executable, "-c", _PYTHON, str(log)], _of_pairs),
    ]
    if jq := shutil.which("jq"):
        found.append(Contestant("jq", "the question", [jq, "-n", _JQ, str(log)], _of_pairs))
    return found


def _of_report(said: Any) -> Answer:
    return {one["host"]: (one["calls"], one["failed"]) for one in said["hosts"]}


def _of_rows(said: Any) -> Answer:
    return {one["host"]: (one["calls"], one["failed"]) for one in said}


def _of_pairs(said: Any) -> Answer:
    return {host: (pair[0], pair[1] if len(pair) > 1 and pair[1] else 0) for host, pair in said.items()}


def _run(one: Contestant, expected: Answer, cost: Cost) -> None:
    """Run it once. Raises `RuntimeError` if its answer is not the truth."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(one.command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begin
        out.seek(0)
        said = out.read()
    if process.returncode != 0 or one.read(json.loads(said)) != expected:
        raise RuntimeError(f"{one.name}: exit code {process.returncode}, or an answer that is not the truth")
    cost.wall.append(round(wall, 3))
    cost.cpu.append(round(usage.ru_utime + usage.ru_stime, 3))
    cost.memory.append(round(usage.ru_maxrss / 1000, 1))  # kilobytes on Linux


def _page(contestants: Sequence[Contestant], costs: dict[str, Cost], facts: dict[str, object], size: int) -> str:
    lines = ["| | it gives | wall, s | CPU, s | memory, MB |", "|---|---|---:|---:|---:|"]
    for one in contestants:
        cost = costs[one.name]
        wall, cpu, memory = (statistics.median(values) for values in (cost.wall, cost.cpu, cost.memory))
        lines.append(f"| {one.name} | {one.does} | {wall:.1f} | {cpu:.1f} | {memory:,.0f} |")
    whole = costs[contestants[0].name]
    middle, slowest, most = statistics.median(whole.wall), max(whole.wall), max(whole.memory)
    kept = "yes" if middle < MOST_SECONDS and most < MOST_MEGABYTES else "**no**"
    promise = (
        f"The whole report in under {MOST_SECONDS:g} s and {MOST_MEGABYTES:,.0f} MB: {kept} "
        f"(median {middle:.1f} s; the slowest run took {slowest:.1f} s, the largest {most:,.0f} MB)."
    )
    known = "\n".join(f"- {name}: {_words(value)}" for name, value in facts.items())
    return f"""# What an inspection costs

{size / 1e6:,.0f} MB of events, read once. The question is: how many calls did each host get, and how many of them
failed? The report has that, and outages, states, percentiles, retries and their results, slow calls and series
for charts. Every result was compared with the true counts, which are known as the log is generated.

{chr(10).join(lines)}

{promise}

CPU is what the command itself used. Where wall is more than that, or more than half of it for what uses both cores,
others had the cores meanwhile: the load below says how many wanted one.

jq and Python read with one core, and stop at the first line that is no JSON. Both would be faster asked for less, and
slower asked for all that the report has.

## How it was measured

{known}
"""


def _words(value: object) -> str:
    return ", ".join(f"{name} {inner}" for name, inner in value.items()) if isinstance(value, dict) else str(value)


def _jq_version() -> str:
    jq = shutil.which("jq")
    if jq is None:
        return "not there"
    return subprocess.run([jq, "--version"], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
