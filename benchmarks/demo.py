"""Many runs of `sleepwalker demo`, each with the luck that it draws: what each server's callers got."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, load, machine, versions

NAME = "demo"
RUNS = 20
PACKAGES = ("sleepwalker", "requests", "urllib3")
SIDES = ("sleepwalker", "requests")

NOTES = """\
`sleepwalker demo` sends the same traffic to six servers twice, through sleepwalker and through plain requests, and
draws the servers' luck anew each time. Below are all runs of one series; none was left out.
[The command line](../../docs/how-to/command-line.md#see-what-is-gained) says what each server does. Two things are
promised, whatever the luck: `flaky`, which answers 503 to three of ten requests, never answers less than plain requests
get from it; and `reboots`, which is gone for a while and called under `batch`, answers every call.

Each cell is the calls answered through sleepwalker, and through plain requests after the stroke."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all runs kept what is promised. 1: not all of them."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    facts: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.demo", *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    before = load()
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lambda seed: run(seed, quick=options.quick), options.seed or [None] * options.runs))
    facts["load"] = f"{before} before, {load()} after: processes that wanted a core, these included"
    facts["method"] = f"{len(runs)} runs, {options.jobs} at a time"
    page = as_page(facts, runs)
    print(page)
    if options.output is not None or not options.quick:
        folder = options.output or RESULTS
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{NAME}.md").write_text(page, encoding="utf-8")
        result = {"benchmark": NAME, **facts, "runs": runs}
        (folder / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(any(map(faults, runs)))


def run(seed: int | None, *, quick: bool) -> dict[str, Any]:
    """One run: its seed, the results of each server's calls, and when circuits moved."""
    with tempfile.TemporaryDirectory(prefix="sleepwalker-bench-") as folder:
        command = [sys.executable, "-m", "sleepwalker", "demo", "--json", "--log", str(Path(folder) / "events.jsonl")]
        command += ["--quick"] if quick else []
        command += [] if seed is None else ["--seed", str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr}")
    result = json.loads(done.stdout)
    print(f"seed {result['seed']}: {result['conclusions'][0]}", file=sys.stderr)
    kept = ("calls", "answered", "failed", "rejected", "retries", "longest", "results")
    return {
        "seed": result["seed"],
        "duration": result["duration"],
        "hosts": {
            host["name"]: {side: {key: host[side][key] for key in kept} for side in SIDES} for host in result["hosts"]
        },
        "transitions": [what for what in result["transitions"] if what["host"] in ("flaky", "dies", "reboots")],
        "conclusions": result["conclusions"],
    }


def faults(one: dict[str, Any]) -> list[str]:
    """What this run did not keep of what is promised."""
    found = []
    ours, theirs = (one["hosts"]["flaky"][side]["answered"] for side in SIDES)
    if ours < theirs:
        found.append(f"seed {one['seed']}: flaky answered {ours} calls, and {theirs} through plain requests")
    reboots = one["hosts"]["reboots"]["sleepwalker"]
    if reboots["answered"] < reboots["calls"]:
        found.append(f"seed {one['seed']}: reboots answered {reboots['answered']} of {reboots['calls']} calls")
    return found


def as_page(facts: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    """The result as Markdown."""
    names = list(runs[0]["hosts"])
    lines = ["# The demo, with luck as it comes", "", NOTES, ""]
    lines += [f"| seed | {' | '.join(names)} |", f"| ---: |{' ---: |' * len(names)}"]
    lines += [f"| {one['seed']} | {' | '.join(_cell(one, name) for name in names)} |" for one in runs]
    for word, pick in (("least", min), ("most", max)):
        cells = [" / ".join(str(pick(_answered(one, name, side) for one in runs)) for side in SIDES) for name in names]
        lines.append(f"| {word} | {' | '.join(cells)} |")
    calls = [str(runs[0]["hosts"][name]["sleepwalker"]["calls"]) for name in names]
    lines += [f"| calls | {' | '.join(calls)} |", ""]
    missed = [fault for one in runs for fault in faults(one)]
    lines += missed or [f"Both promises were kept in all {len(runs)} runs."]
    lines += ["", "## How it was measured", "", *[f"- {name}: {_fact(fact)}" for name, fact in facts.items()]]
    return "\n".join(lines) + "\n"


def _cell(one: dict[str, Any], name: str) -> str:
    return " / ".join(str(_answered(one, name, side)) for side in SIDES)


def _answered(one: dict[str, Any], name: str, side: str) -> int:
    return int(one["hosts"][name][side]["answered"])


def _fact(fact: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in fact.items()) if isinstance(fact, dict) else str(fact)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--runs", type=int, metavar="N", default=RUNS, help="how many (%(default)s)")
    parser.add_argument(
        "--seed", type=int, metavar="N", action="append", help="the luck of this run, instead; repeatable"
    )
    parser.add_argument("--jobs", type=int, metavar="N", default=2, help="so many runs at a time (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the demo's short course; writes no files by itself")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
