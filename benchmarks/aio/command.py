"""The command line of the benchmark of asyncio: measures, writes the result, draws it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.aio import chaos, cost, crowd, gaps
from benchmarks.aio.report import page
from benchmarks.machine import RESULTS, load, machine, versions
from benchmarks.server import MissingProgramError

NAME = "aio"
COMMAND = "python -m benchmarks.aio"
PACKAGES = ("sleepwalker", "aiohttp", "httpx2", "requests", "urllib3")
ROUNDS, CALLS = 40, 200
CROWD_ROUNDS, CROWD_SECONDS, CROWD_RUNS = 9, 4.0, 3
GAP_RUNS, GAP_SECONDS = 9, 2.0
_EXAMPLES = f"""\
examples:
  {COMMAND}                    everything, into benchmarks/results: about 15 minutes
  {COMMAND} --quick            a look at whether it runs: a minute, writes no files
  {COMMAND} --section cost     one section, again, into the result that is there
  {COMMAND} --redraw           the page anew from the result that is there
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured and written down. 1: nothing to draw. 2: a program is missing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    folder = options.output or (None if options.quick else RESULTS)
    there = folder is not None and (folder / f"{NAME}.json").exists()
    if options.redraw:
        folder = folder or RESULTS
        if not (folder / f"{NAME}.json").exists():
            print(f"aio: there is no {folder / f'{NAME}.json'} to draw", file=sys.stderr)
            return 1
        return _write(folder, read(folder))
    signal.signal(signal.SIGTERM, _end)  # all that was started ends as well
    result = read(folder) if folder is not None and there else {"sections": {}}
    try:
        for section in SECTIONS:
            if options.section and section not in options.section:
                continue
            print(f"aio: {section}", file=sys.stderr)
            facts = {
                "command": shlex.join([*COMMAND.split(), *given]),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(PACKAGES),
                "load before": load(),
            }
            found = SECTIONS[section](options.quick)
            result["sections"][section] = {**facts, "load after": load(), "found": found}
            in_order = {name: result["sections"][name] for name in SECTIONS if name in result["sections"]}
            result = {"benchmark": NAME, "machine": machine(), "sections": in_order}
            if folder is not None:
                _write(folder, result)
    except MissingProgramError as error:
        print(f"aio: {error}", file=sys.stderr)
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
    return {f"{NAME}.md": page(result)}


def _write(folder: Path, result: Mapping[str, Any]) -> int:
    files = {f"{NAME}.json": _as_json(result), **drawn(result)}
    return report.renew({folder / name: text for name, text in files.items()})


def _as_json(result: Mapping[str, Any]) -> str:
    """Lists of figures, and what one run saw, in a line each."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[\s\d.,null-]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)
    return re.sub(r"\{\n[^{}\[\]]*\}", lambda found: re.sub(r"\n\s*", " ", found[0]), text) + "\n"


# -- measuring -----------------------------------------------------------------------------------


def _cost(quick: bool) -> dict[str, Any]:
    rounds, calls = (2, 4) if quick else (ROUNDS, CALLS)
    return cost.measure(rounds, calls, _progress(rounds))


def _crowd(quick: bool) -> dict[str, Any]:
    return crowd.measure(1, 0.1, 1, 60) if quick else crowd.measure(CROWD_ROUNDS, CROWD_SECONDS, CROWD_RUNS)


def _gaps(quick: bool) -> dict[str, Any]:
    return gaps.measure(1, 0.05) if quick else gaps.measure(GAP_RUNS, GAP_SECONDS)


def _chaos(quick: bool) -> dict[str, Any]:
    return chaos.measure(1.5, 40) if quick else chaos.measure()


SECTIONS: Mapping[str, Callable[[bool], dict[str, Any]]] = {
    "cost": _cost,
    "crowd": _crowd,
    "gaps": _gaps,
    "chaos": _chaos,
}


def _progress(rounds: int) -> Callable[[int], None]:
    """A function that shows on a terminal how many rounds are done."""
    watched, begun = sys.stderr.isatty(), time.monotonic()

    def done(number: int) -> None:
        if watched:
            left = (time.monotonic() - begun) / number * (rounds - number)
            text = f"round {number} of {rounds}, {left:.0f} s left" if number < rounds else ""
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a little of each, in a minute; writes no files by itself")
    names = list(SECTIONS)
    parser.add_argument("--section", action="append", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: draw the result that is there")
    return parser
