"""What callers get from a host of many machines: some attempts fail, it dies, it comes back. In virtual time.

The engine decides as it does in earnest, and a minute takes no time to pass; so the figures are the same on every
machine. `tests/unit/test_many_machines.py` holds the same world to its bounds.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.machine import RESULTS, ROOT
from sleepwalker.policy import Policy
from tests.unit.virtual import Record, Server, World, down, failing, overloaded

NAME = "many_machines"
COMMAND = f"python -m benchmarks.{NAME}"
#: The page with blocks that repeat the committed result.
PAGE = ROOT / "docs" / "explanation" / "when-a-circuit-opens.md"

SEEDS = range(5)
#: How many attempts of a hundred fail.
ILL = (10, 20, 30, 40, 50, 70, 100)
RATES = (10, 100, 500)
#: Seconds of outage. How late the circuit finds out that it is over depends on its looks, so on the dice.
OUTAGES, OUTAGE_RATES, OUTAGE_SEEDS = (2, 20, 120), (10, 50, 160), range(10)
BEFORE, DEATH_RATES, DEATH = (0, 10, 30, 50), (1, 10, 100, 500), 40.0

NONE, PLAIN, IN_A_ROW, STANDARD = "no retries", "plain retries", "five in a row, or half", "standard"
POLICIES = {
    NONE: Policy(retry=False, breaker=False),
    PLAIN: Policy(retry={"budget": False}, breaker=False),
    IN_A_ROW: Policy(breaker={"consecutive_for": 0, "failure_ratio": 0.5, "min_calls": 20}),
    STANDARD: Policy(),
}

#: What was found: a list of rows for each table.
Result = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """0: computed, and written down."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--redraw", action="store_true", help="compute nothing: write the page's tables anew")
    parser.add_argument("--output", type=Path, metavar="DIR", default=RESULTS, help="where the JSON goes")
    options = parser.parse_args(given)
    file = options.output / f"{NAME}.json"
    if not options.redraw:
        facts = {"benchmark": NAME, "command": COMMAND, "date": datetime.now(UTC).isoformat(timespec="seconds")}
        file.write_text(_as_json({**facts, **_all()}), encoding="utf-8")
        print(f"wrote {file}", file=sys.stderr)
    result = read(options.output)
    if options.output == RESULTS:
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")
    print("\n\n".join(block(result) for block in BLOCKS.values()))
    return 0


def read(folder: Path = RESULTS) -> Result:
    """The result that lies in the folder."""
    return report.read(folder, NAME)


# What is computed


def a_run(server: Server, rate: float, seed: int, policy: str = STANDARD, seconds: float = 60) -> Record:
    """So many calls a second, for so long."""
    world = World(seed, POLICIES[policy])
    world.calls(rate, seconds, server)
    return world.go()


def partial(policy: str, ill: int, rate: int) -> dict[str, Any]:
    """Of a minute in which so many attempts of a hundred fail: which share of the calls was answered, and how dear."""
    runs = [a_run(failing(ill / 100, seed), rate, seed, policy) for seed in SEEDS]
    answered = statistics.mean(run.share() for run in runs)
    sends = statistics.mean(run.sends_a_call() for run in runs)
    return {"policy": policy, "ill": ill, "rate": rate, "answered": round(answered, 4), "sends": round(sends, 4)}


def death(before: int, rate: int) -> dict[str, Any]:
    """A host that answers nothing any more, after so many attempts of a hundred had failed: when its circuit opens."""
    found = []
    for seed in SEEDS:
        run = a_run(down(DEATH, DEATH + 20, before / 100, seed), rate, seed, seconds=DEATH + 20)
        found.append(round(next(when - DEATH for when in run.opened if when >= DEATH), 3))
    return {"before": before, "rate": rate, "seconds": found}


def outage(seconds: int, rate: int) -> dict[str, Any]:
    """When calls are answered as before after it, and what was sent during it."""
    back, sends = [], []
    for seed in OUTAGE_SEEDS:
        run = a_run(down(30, 30 + seconds), rate, seed, seconds=30 + seconds + 20)
        back.append(round(run.good_again(30 + seconds), 3))
        sends.append(run.sends_a_call(30, 30 + seconds))
    return {"outage": seconds, "rate": rate, "back": back, "sends": round(statistics.mean(sends), 4)}


def overload(policy: str) -> dict[str, Any]:
    """A server that can serve 100 calls a second, of the 150 that come: how many it serves."""
    run = a_run(overloaded(100), 150, 1, policy)
    return {"policy": policy, "served": round(150 * run.share(), 1), "sends": round(run.sends_a_call(), 3)}


def _all() -> dict[str, Any]:
    return {
        "partial": [
            _said(partial(policy, ill, rate))
            for policy in POLICIES
            for ill in ILL
            for rate in (RATES if policy == STANDARD else (100,))
        ],
        "death": [_said(death(before, rate)) for before in BEFORE for rate in DEATH_RATES],
        "outage": [_said(outage(seconds, rate)) for seconds in OUTAGES for rate in OUTAGE_RATES],
        "overload": [_said(overload(policy)) for policy in (NONE, PLAIN, STANDARD)],
    }


def _said(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


# How it is shown


def fill(page: str, result: Result) -> str:
    """The page's text with each block written anew."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- many machines: {name} -->", f"<!-- /many machines: {name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n{block(result)}\n\n{end}{after}"
    return page


def _partial(result: Result) -> str:
    rows = {(row["policy"], row["ill"], row["rate"]): row for row in result["partial"]}
    columns = [(NONE, 100), (PLAIN, 100), (IN_A_ROW, 100), *((STANDARD, rate) for rate in RATES)]

    def cell(policy: str, ill: int, rate: int) -> str:
        row = rows[policy, ill, rate]
        return f"{_percent(row['answered'])} · {row['sends']:.2f}"

    header = ["attempts that fail", NONE, PLAIN, IN_A_ROW, *(f"`standard`, {rate}/s" for rate in RATES)]
    return report.table(header, [[f"{ill} %", *(cell(policy, ill, rate) for policy, rate in columns)] for ill in ILL])


def _death(result: Result) -> str:
    found = {(row["before"], row["rate"]): row["seconds"] for row in result["death"]}
    header = ["failed before", *(f"{rate} call{'s' * (rate > 1)} a second" for rate in DEATH_RATES)]
    lines = [[f"{before} %", *(_middle_and_worst(found[before, rate]) for rate in DEATH_RATES)] for before in BEFORE]
    return report.table(header, lines)


def _outage(result: Result) -> str:
    rows = {(row["outage"], row["rate"]): row for row in result["outage"]}
    header = ["outage", *(f"{rate} calls a second" for rate in OUTAGE_RATES)]

    def cell(seconds: int, rate: int) -> str:
        row = rows[seconds, rate]
        return f"{_middle_and_worst(row['back'])} · {row['sends']:.3f}"

    return report.table(
        header, [[f"{seconds} s", *(cell(seconds, rate) for rate in OUTAGE_RATES)] for seconds in OUTAGES]
    )


def _overload(result: Result) -> str:
    lines = [[row["policy"], f"{row['served']:.0f}", f"{row['sends']:.2f}"] for row in result["overload"]]
    return report.table(["", "calls served a second", "sends a call"], lines)


BLOCKS: Mapping[str, Callable[[Result], str]] = {
    "partial": _partial,
    "death": _death,
    "outage": _outage,
    "overload": _overload,
}


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.1f} %" if percent < 99.95 or share == 1 else "99.9 %"


def _middle_and_worst(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} s ({max(seconds):.1f})"


def _as_json(result: Result) -> str:
    """A row in a line."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    return re.sub(r"\{\n   [^{}]+\}", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text) + "\n"


if __name__ == "__main__":
    sys.exit(main())
