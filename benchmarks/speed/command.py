"""The command line of the speed benchmark: measures, writes the result, draws it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import pstats
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.environment import leave_out_the_environment
from benchmarks.figures import rows
from benchmarks.machine import RESULTS, ROOT, load, machine, versions
from benchmarks.report import as_json, rounded
from benchmarks.rounds import LEAD_IN, Case, function_calls, measure, profile
from benchmarks.server import MissingProgramError, Server, run_nginx
from benchmarks.speed import processes, threads
from benchmarks.speed.cases import (
    ENVIRONMENTS,
    FIND,
    FINDS,
    GROUPS,
    HOSTS,
    OFF,
    PARTS,
    REJECTED,
    SIZES,
    cases,
    documents,
)
from benchmarks.speed.peers import BARE, HTTPX, LOGGED, POOL
from benchmarks.speed.plots import plots
from benchmarks.speed.report import fill, page

NAME = "speed"
COMMAND = "python -m benchmarks"
#: The pages with blocks that repeat the committed result.
PAGES = (ROOT / "README.md", ROOT / "docs" / "explanation" / "speed.md")
THREADS, MEMORY, IMPORTS = "threads", "memory", "imports"
SECTIONS = [*GROUPS, *ENVIRONMENTS.values(), PARTS, HOSTS, REJECTED, FIND, THREADS, MEMORY, IMPORTS]
PACKAGES = ("sleepwalker", "requests", "urllib3", "tenacity", "pybreaker", "structlog", "pydantic", "httpx", "stamina")
PACKAGES += ("httpx-retries", "elastic-transport")

ROUNDS, CALLS = 40, 100
THREAD_ROUNDS, THREAD_CALLS = 9, 1280
IMPORT_ROUNDS, CONNECTIONS = 11, 100
QUICK_ROUNDS, QUICK_CALLS, QUICK_CONNECTIONS = 4, 20, 10
PROFILED_CALLS, PROFILED_LINES, COUNTED_CALLS = 1000, 40, 20
_EXAMPLES = f"""\
examples:
  {COMMAND}                              everything, into benchmarks/results: about 9 minutes
  {COMMAND} --quick                      a rough look: a minute, writes no files
  {COMMAND} --only '100 B' --only threads
  {COMMAND} --redraw                     page and plots anew from the result that is there
sections: {", ".join(SECTIONS)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured, and written down. 2: nginx or openssl is missing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    folder = options.output or (None if options.quick or options.only else RESULTS)
    if options.redraw:
        return _write(options.output or RESULTS, read(options.output or RESULTS))
    facts: dict[str, object] = {
        "command": shlex.join([*COMMAND.split(), *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    with tempfile.TemporaryDirectory(prefix="sleepwalker-bench-") as name, contextlib.ExitStack() as running:
        scratch = Path(name)
        leave_out_the_environment(scratch)
        try:
            server = running.enter_context(run_nginx(documents(), tls=True))
        except MissingProgramError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2
        wanted = options.only or SECTIONS
        if options.profile:
            _show_profile(cases(server, wanted, scratch, running), options.calls or PROFILED_CALLS)
            return 0
        result = _run(options, facts, server, wanted, scratch, running, terminated)
    print(page(result))
    return 0 if folder is None else _write(folder, result)


def read(folder: Path) -> dict[str, Any]:
    """The result that lies in the folder."""
    return report.read(folder, NAME)


def drawn(result: Mapping[str, Any]) -> dict[str, str]:
    """Every file that follows from the result alone, by name."""
    return {f"{NAME}.md": page(result), **{f"{NAME}-{name}.svg": text for name, text in plots(result).items()}}


def _run(
    options: argparse.Namespace,
    facts: dict[str, object],
    server: Server,
    wanted: Sequence[str],
    scratch: Path,
    running: contextlib.ExitStack,
    terminated: threading.Event,
) -> dict[str, Any]:
    rounds, calls = (QUICK_ROUNDS, QUICK_CALLS) if options.quick else (ROUNDS, CALLS)
    rounds, calls = options.rounds or rounds, options.calls or calls
    few = min(rounds, QUICK_ROUNDS) if options.quick or options.rounds else 0
    before = load()
    extra: dict[str, Any] = {}
    # What is measured in other processes comes first: many connections are about to be made in this one.
    if IMPORTS in wanted:
        extra["imports"] = processes.import_times(few or IMPORT_ROUNDS)
    if MEMORY in wanted:
        count = QUICK_CONNECTIONS if few else CONNECTIONS
        extra["memory"] = {
            "plain": processes.memory(server.url, "", count),
            "TLS": processes.memory(server.tls_url, server.ca, count),
        }
    if THREADS in wanted:
        made = calls * 4 if few else THREAD_CALLS
        turns = few or THREAD_ROUNDS
        found = threads.measure(server.url, scratch, turns, made, _progress("threads", turns, terminated))
        extra["threads"] = [asdict(its) for its in found]
    timed = cases(server, wanted, scratch, running)
    gc.collect()
    gc.freeze()  # each block begins with a collection, which would go through all of that again and again
    accepted = server.connections()
    samples = measure(timed, rounds, calls, _progress("round", rounds, terminated)) if timed else {}
    facts |= {
        "nginx": server.version,
        "method": f"{rounds} rounds of {calls} timed calls of each row (fewer of large documents), "
        f"after {LEAD_IN} that are not",
        "load": f"{before} before, {load()} after: processes that wanted a core, this one and nginx included",
        "connections opened meanwhile": server.connections() - accepted - 1,
    }
    counts = {case: function_calls(case, COUNTED_CALLS if case.share == 1 else 2) for case in timed}
    for case, its in samples.items():
        if case.group == FIND:
            its.wall[:], its.cpu[:], its.each[:] = [f / FINDS for f in its.wall], [f / FINDS for f in its.cpu], []
            counts[case] /= FINDS
    smallest = next(iter(SIZES))
    references = {case.group: [c for c in timed if c.group == case.group and c.name in (BARE, POOL)] for case in timed}
    references |= {REJECTED: [c for c in timed if c.group == smallest and c.name in (BARE, POOL)]}
    references |= {PARTS: [c for c in timed if c.group == PARTS and c.name == OFF]}
    references |= {HOSTS: [c for c in timed if c.group == HOSTS][:1]}
    for group in (*GROUPS, *ENVIRONMENTS.values()):
        references[group] = [c for c in timed if c.group == group and c.name in (BARE, POOL, HTTPX)]
    text = as_json({"benchmark": NAME, **facts, **_plain(extra)}, rows(samples, counts, references))
    return dict(json.loads(text))


def _plain(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: rounded(figures) for name, figures in extra.items()}


def _write(folder: Path, result: Mapping[str, Any]) -> int:
    rest = {name: value for name, value in result.items() if name != "rows"}
    files = {folder / f"{NAME}.json": as_json(rest, result["rows"])}
    files |= {folder / name: text for name, text in drawn(result).items()}
    if folder == RESULTS:
        files |= {path: fill(path.read_text(encoding="utf-8"), result) for path in PAGES}
    return report.renew(files)


def _show_profile(timed: Sequence[Case], calls: int) -> None:
    """Print how many functions a call of each row calls, and where the time of a logged call goes."""
    for case in timed:
        print(f"{function_calls(case, COUNTED_CALLS):7.1f} function calls: {case.group}, {case.name}")
    for case in timed:
        if case.name == LOGGED and case.group in (GROUPS[0], REJECTED):
            print(f"\n{case.group}, {LOGGED}, {calls} calls:")
            pstats.Stats(profile(case, calls)).sort_stats("tottime").print_stats(PROFILED_LINES)


def _progress(what: str, rounds: int, terminated: threading.Event) -> Callable[[int], None]:
    """A function that shows the progress on a terminal, and ends the run if it was told to end.

    Only here, between rounds: a signal handler may raise anywhere, also while nginx is started, which would then go on
    running.
    """
    watched = sys.stderr.isatty()
    begun = time.monotonic()

    def done(number: int) -> None:
        if watched:
            left = (time.monotonic() - begun) / number * (rounds - number)
            text = f"{what} {number} of {rounds}, {left:.0f} s left" if number < rounds else ""
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
        if terminated.is_set():
            raise SystemExit(143)

    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="What a call costs: sleepwalker beside what people use without it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a rough look; writes no files by itself")
    parser.add_argument("--only", action="append", choices=SECTIONS, metavar="SECTION", help="one section; repeatable")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"{ROUNDS} by default")
    parser.add_argument("--calls", type=_positive, metavar="N", help=f"of each row in each round; {CALLS} by default")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: write page and plots anew")
    parser.add_argument(
        "--profile", action="store_true", help="do not time: count function calls, and show where a call's time goes"
    )
    return parser


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number
