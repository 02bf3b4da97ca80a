"""The command line of the outage benchmark: runs the scenarios, writes the result, draws it."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.machine import ROOT, load, machine, versions
from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.plots import plots
from benchmarks.outage.report import fill, page
from benchmarks.outage.scenario import Scenario, varied
from benchmarks.outage.scenarios import ALL, GROUPS, quick

NAME = "outage"
COMMAND = "python -m benchmarks.outage"
RESULTS = ROOT / "benchmarks" / "results"
#: The pages with blocks that repeat the committed result.
PAGES = (ROOT / "README.md", ROOT / "docs" / "explanation" / "measured.md")
PACKAGES = (
    "sleepwalker",
    "requests",
    "urllib3",
    "tenacity",
    "pybreaker",
    "interlock-cb",
    "structlog",
    "httpx",
    "stamina",
    "httpx-retries",
    "elastic-transport",
)
_EXAMPLES = f"""\
examples:
  {COMMAND}                           everything, into benchmarks/results: about 40 minutes
  {COMMAND} --quick                   a look at whether it runs: 5 minutes, writes no files
  {COMMAND} --scenario tail           one scenario, again, into the result that is there
  {COMMAND} --scenario outage --only sleepwalker --only httpx --output /tmp/outage
  {COMMAND} --redraw                  tables and plots anew from the result that is there
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured and written down. 1: nothing of what was asked for is there to be run or drawn."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    folder = options.output or (None if options.quick or options.only else RESULTS)
    if options.redraw:
        folder = folder or RESULTS
        if not (folder / f"{NAME}.json").exists():
            print(f"outage: there is no {folder / f'{NAME}.json'} to draw", file=sys.stderr)
            return 1
        return _write(folder, read(folder))
    scenarios = [quick(scenario) if options.quick else scenario for scenario in ALL]
    if options.scenario:
        scenarios = [one for one in scenarios if {one.name, one.group} & set(options.scenario)]
    if options.runs:
        scenarios = [replace(one, repeat=options.runs) if one.repeat > 1 else one for one in scenarios]
    jobs = [
        (varied(scenario, number), client)
        for scenario in scenarios
        for client in scenario.clients
        if client in (options.only or scenario.clients)
        for number in range(scenario.repeat)
    ]
    if not jobs:
        print("outage: none of these clients takes part in any of these scenarios", file=sys.stderr)
        return 1
    facts: dict[str, Any] = {
        "command": shlex.join([*COMMAND.split(), *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    before = load()
    done = run_jobs(jobs, options.lanes)
    facts["load"] = f"{before} before, {load()} after: processes that wanted a core, these included"
    lanes = sorted({options.lanes or scenario.lanes for scenario, _ in jobs})
    facts["lanes"] = f"{' or '.join(map(str, lanes))} clients at a time, by scenario"
    result = {"benchmark": NAME, **facts, "scenarios": [scenario.to_dict() for scenario in scenarios], "runs": done}
    print(page(result))
    if folder is not None:
        return _write(folder, merged(folder, result) if options.scenario else result)
    return 0


def read(folder: Path) -> dict[str, Any]:
    """The result that lies in the folder."""
    return report.read(folder, NAME)


def drawn(result: Mapping[str, Any]) -> dict[str, str]:
    """Every file that follows from the result alone, by name."""
    return {f"{NAME}.md": page(result), **{f"{NAME}-{name}.svg": text for name, text in plots(result).items()}}


def _write(folder: Path, result: Mapping[str, Any]) -> int:
    files = {folder / f"{NAME}.json": _as_json(result)}
    files |= {folder / name: text for name, text in drawn(result).items()}
    if folder == RESULTS:
        files |= {path: fill(path, result) for path in PAGES}
    return report.renew(files)


def merged(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The result, with the scenarios that were not run now as they are in the folder, and when those were."""
    if not (folder / f"{NAME}.json").exists():
        return result
    old = read(folder)
    names = [scenario["name"] for scenario in result["scenarios"]]
    kept = [scenario for scenario in old["scenarios"] if scenario["name"] not in names]
    if not kept:
        return result
    order = [scenario.name for scenario in ALL]
    scenarios = sorted([*kept, *result["scenarios"]], key=lambda scenario: order.index(scenario["name"]))
    earlier = f"{', '.join(scenario['name'] for scenario in kept)}: {old['date']}, {old['versions'].get('commit', '')}"
    runs = [run for run in old["runs"] if run["scenario"] not in names] + result["runs"]
    return {**result, "measured earlier": earlier, "scenarios": scenarios, "runs": runs}


def _as_json(result: Mapping[str, Any]) -> str:
    """Lists of figures in a line each."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    return re.sub(r"\[[\s\d.,]+\]", lambda found: re.sub(r"\s+", "", found[0]), text) + "\n"


# -- running -------------------------------------------------------------------------------------


def run_jobs(jobs: Sequence[tuple[Scenario, str]], lanes: int | None = None) -> list[dict[str, Any]]:
    """All jobs, `lanes` of them at a time, or as many as their scenario says; of those the longest begin first."""
    begun: list[subprocess.Popen[str]] = []
    said = _Progress(jobs, lanes)
    together: dict[int, list[tuple[Scenario, str]]] = {}
    for job in sorted(jobs, key=lambda job: -job[0].seconds):
        together.setdefault(lanes or job[0].lanes, []).append(job)
    ended = threading.Event()

    def one(job: tuple[Scenario, str]) -> dict[str, Any] | None:
        if ended.is_set():
            return None
        scenario, client = job
        said.begins(scenario, client)
        command = [sys.executable, "-m", "benchmarks.outage.job"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, process_group=0) as process:
            begun.append(process)
            assert process.stdin is not None
            assert process.stdout is not None
            # The input stays open: its end would end the run.
            print(json.dumps({"scenario": scenario.to_dict(), "client": client}), file=process.stdin, flush=True)
            output = process.stdout.read()
        if process.returncode != 0:
            raise RuntimeError(f"{scenario.name}, {client}: the run ended with {process.returncode}")
        return dict(json.loads(output))

    found = []
    with _terminated_as_interrupted():
        for at_once, batch in together.items():
            with ThreadPoolExecutor(at_once) as pool:
                try:
                    found += list(pool.map(one, batch))
                except BaseException:
                    ended.set()
                    for process in begun:
                        process.terminate()
                    raise
    return [run for run in found if run is not None]


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the jobs as well."""

    def end(*_: object) -> None:
        raise SystemExit(143)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Progress:
    """Says on standard error what begins, and how long all of it will still take."""

    def __init__(self, jobs: Sequence[tuple[Scenario, str]], lanes: int | None) -> None:
        self._begun = time.monotonic()
        self._number = itertools.count(1)
        self._of = len(jobs)
        self._left = sum(scenario.seconds / (lanes or scenario.lanes) for scenario, _ in jobs)
        self._lanes = lanes
        self._lock = threading.Lock()

    def begins(self, scenario: Scenario, client: str) -> None:
        with self._lock:
            left = self._left
            self._left -= scenario.seconds / (self._lanes or scenario.lanes)
            number = next(self._number)
        print(f"{number:2} of {self._of}, about {left:.0f} s left: {scenario.name}, {client}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="seconds for each run; writes no files by itself")
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[*(scenario.name for scenario in ALL), *GROUPS],
        metavar="SCENARIO",
        help="only this one, or this group of them, repeatable; of: "
        + ", ".join([*(scenario.name for scenario in ALL if not scenario.group), *GROUPS]),
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(CLIENTS),
        metavar="CLIENT",
        help=f"only this one, repeatable, writes no files by itself; of: {', '.join(CLIENTS)}",
    )
    parser.add_argument("--lanes", type=int, choices=range(1, 33), help="how many run at a time; 3 to 16, by scenario")
    parser.add_argument("--runs", type=int, choices=range(1, 101), help="how often each of the `outages` is run; 10")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    parser.add_argument(
        "--redraw", action="store_true", help="measure nothing: write all from the result that is there"
    )
    return parser
