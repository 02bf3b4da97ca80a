"""The command line of the fleet's benchmark: measures, writes the result, draws it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.children import BusyError, end_all
from benchmarks.fleet import calls, plans, simulated, thousand
from benchmarks.fleet.figures import isolations, sides
from benchmarks.fleet.plots import plots
from benchmarks.fleet.report import page
from benchmarks.fleet.run import run
from benchmarks.fleet.setting import Setting
from benchmarks.fleet.store import MissingProgramError, run_redis
from benchmarks.machine import RESULTS, load, machine, versions

NAME = "fleet"
COMMAND = "python -m benchmarks.fleet"
PACKAGES = ("sleepwalker", "requests", "urllib3", "redis")
#: So many calls a second at once leave two cores idle for a part of the time.
MOST_CALLS = 600.0
#: Where a call is begun so many seconds late, the machine was too busy for the figures; so many tries are made.
LATE, _TRIES = 1.5, 3
_EXAMPLES = f"""\
examples:
  {COMMAND}                          everything, into benchmarks/results: about an hour
  {COMMAND} --quick                  a look at whether it runs: two minutes, writes no files
  {COMMAND} --section outages --kind 503 --length 20
  {COMMAND} --section call           one section, again, into the result that is there
  {COMMAND} --redraw                 page and plots anew from the result that is there
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured and written down. 1: nothing to draw. 2: a program is missing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    folder = options.output or (None if options.quick else RESULTS)
    if options.redraw:
        folder = folder or RESULTS
        if not (folder / f"{NAME}.json").exists():
            print(f"fleet: there is no {folder / f'{NAME}.json'} to draw", file=sys.stderr)
            return 1
        return _write(folder, read(folder))
    signal.signal(signal.SIGTERM, _end)  # all that was started ends as well
    sections: dict[str, Callable[[argparse.Namespace], Any]] = {
        "outages": _outages,
        "cut": _cut,
        "frozen": _frozen,
        "isolate": _isolate,
        "call": _call,
        "store": _store,
    }
    wanted = options.section or list(sections)
    result = read(folder) if folder is not None and (folder / f"{NAME}.json").exists() else {"sections": {}}
    try:
        with run_redis() as redis:
            redis_version = redis.version
        for section in wanted:
            facts = {
                "command": shlex.join([*COMMAND.split(), *given]),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": {**versions(PACKAGES), "redis-server": redis_version},
                "load before": load(),
            }
            found = sections[section](options)
            old = result["sections"].get(section, {}).get("found", [])
            if section == "outages":
                found = merged(old, found)
            result["sections"][section] = {**facts, "load after": load(), "found": found}
            result = {"benchmark": NAME, "machine": machine(), "sections": result["sections"]}
            if folder is not None:
                _write(folder, result)
    except MissingProgramError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 2
    print(page(result))
    return 0


def _end(*_: object) -> None:
    raise SystemExit(143)


def read(folder: Path) -> dict[str, Any]:
    """The result that lies in the folder."""
    return report.read(folder, NAME)


def drawn(result: Mapping[str, Any]) -> dict[str, str]:
    """Every file that follows from the result alone, by name."""
    return {f"{NAME}.md": page(result), **{f"{NAME}-{name}.svg": text for name, text in plots(result).items()}}


def merged(old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    """The settings that were measured now, and those of the result that is there that were not."""
    rows = {json.dumps(row["setting"], sort_keys=True): row for row in (*old, *new)}
    order = {json.dumps(setting.to_dict(), sort_keys=True): place for place, setting in enumerate(plans.OUTAGES)}
    kept = {json.dumps(json.loads(key), sort_keys=True): row for key, row in rows.items()}
    return [kept[key] for key in sorted(kept, key=lambda key: order.get(key, len(order)))]


def _write(folder: Path, result: Mapping[str, Any]) -> int:
    files = {f"{NAME}.json": _as_json(result), **drawn(result)}
    return report.renew({folder / name: text for name, text in files.items()})


def _as_json(result: Mapping[str, Any]) -> str:
    """Lists of figures in a line each."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    return re.sub(r"\[[\s\d.,null-]+\]", lambda found: re.sub(r"\s+", "", found[0]), text) + "\n"


# -- measuring -----------------------------------------------------------------------------------


def _outages(options: argparse.Namespace) -> list[dict[str, Any]]:
    chosen = [
        setting
        for setting in plans.OUTAGES
        if setting.kind in (options.kind or plans.KINDS)
        and setting.outage in (options.length or plans.LENGTHS)
        and setting.rate in (options.rate or plans.RATES)
        and setting.workers in (options.workers or plans.WORKERS)
    ]
    if options.quick:
        chosen = [plans.quick(setting) for setting in chosen if setting.rate == 2 and setting.outage == 20][:3]
    return run_all(chosen, options.load)


def _cut(options: argparse.Namespace) -> list[dict[str, Any]]:
    return run_all([plans.quick(one) if options.quick else one for one in plans.CUT], options.load)


def _frozen(options: argparse.Namespace) -> list[dict[str, Any]]:
    return run_all([plans.quick(plans.FROZEN) if options.quick else plans.FROZEN], options.load)


def _isolate(options: argparse.Namespace) -> dict[str, Any]:
    setting = plans.quick(plans.ISOLATED) if options.quick else plans.ISOLATED
    print(f"fleet: {setting.name}", file=sys.stderr)
    return {"setting": setting.to_dict(), "sides": isolations(run(setting))}


def _call(options: argparse.Namespace) -> dict[str, Any]:
    print("fleet: what a call costs", file=sys.stderr)
    return calls.measure(*((4, 50) if options.quick else (plans.ROUNDS, plans.CALLS)))


def _store(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"real": [], "simulated": []}
    seconds = 3.0 if options.quick else plans.WATCHED
    workers, hosts = (4, 20) if options.quick else (24, plans.HOSTS)
    for broken in (0, 20) if options.quick else plans.BROKEN:
        print(f"fleet: {workers} workers with {hosts} hosts, {broken} broken", file=sys.stderr)
        row = {"workers": workers, "hosts": hosts, "broken": broken}
        found["real"].append({**row, **thousand.measure(workers, hosts, broken, seconds)})
    for workers, broken, slower in ((8, 10, 1.0),) if options.quick else plans.SIMULATED:
        print(f"fleet: {workers} simulated workers, {broken} broken hosts", file=sys.stderr)
        row = {"of": workers, "broken": broken}
        found["simulated"].append({**row, **simulated.measure(workers, broken, seconds * slower**0.5, slower)})
    return found


def run_all(settings: Sequence[Setting], most_calls: float = MOST_CALLS) -> list[dict[str, Any]]:
    """The figures of each setting, as many at a time as their calls allow; the longest begin first.

    One for which the machine was too busy is tried again, and left out in the end.
    """
    free, freed, ended = most_calls, threading.Condition(), threading.Event()
    begun, left = time.monotonic(), len(settings)

    def once(setting: Setting) -> dict[str, Any] | None:
        nonlocal free, left
        weight = min(most_calls, setting.rate * setting.workers * len(setting.sides) + setting.workers)
        with freed:
            freed.wait_for(lambda: free >= weight)
            free -= weight
            print(f"fleet: {left} left, {time.monotonic() - begun:.0f} s: {setting.name}", file=sys.stderr)
        try:
            _, found = sides(run(setting))
        except BusyError:
            return None
        finally:
            with freed:
                free += weight
                freed.notify_all()
        late = max(side.late for side in found.values())
        if late > LATE:
            print(f"fleet: calls begun {late:.1f} s late: {setting.name}", file=sys.stderr)
            return None
        return {"setting": setting.to_dict(), "sides": {name: side.to_dict() for name, side in found.items()}}

    def one(setting: Setting) -> dict[str, Any] | None:
        nonlocal left
        found = None
        for _ in range(_TRIES):
            if ended.is_set() or (found := once(setting)) is not None:
                break
        left -= 1
        return found

    longest = sorted(settings, key=lambda setting: -setting.seconds)
    with ThreadPoolExecutor(max(1, len(settings))) as pool:
        try:
            made = dict(zip(longest, pool.map(one, longest), strict=True))
        except BaseException:
            ended.set()
            end_all()
            raise
    return [found for setting in settings if (found := made[setting]) is not None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("outages", "cut", "frozen", "isolate", "call", "store")
    parser.add_argument("--quick", action="store_true", help="a few of them, in seconds; writes no files by itself")
    parser.add_argument("--section", action="append", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--kind", action="append", choices=plans.KINDS, help="of the outages only these, repeatable")
    parser.add_argument("--length", action="append", type=float, choices=plans.LENGTHS, help="likewise, in seconds")
    parser.add_argument("--rate", action="append", type=float, choices=plans.RATES, help="likewise, calls a second")
    parser.add_argument("--workers", action="append", type=int, choices=plans.WORKERS, help="likewise")
    parser.add_argument(
        "--load", type=float, default=MOST_CALLS, metavar="CALLS", help="calls a second at once; 600 suit two cores"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: draw the result that is there")
    return parser
