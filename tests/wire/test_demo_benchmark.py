"""The series of demo runs: a short one works, and what is committed is what was measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import demo

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.left_to_ci


def one(flaky: tuple[int, int], reboots: int) -> dict[str, Any]:
    def both(ours: int, theirs: int) -> dict[str, Any]:
        return {"sleepwalker": {"answered": ours, "calls": 100}, "requests": {"answered": theirs, "calls": 100}}

    return {"seed": 7, "hosts": {"flaky": both(*flaky), "reboots": both(reboots, 50)}}


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (one((70, 70), 100), []),
        (one((69, 70), 100), ["seed 7: flaky answered 69 calls, and 70 through plain requests"]),
        (one((99, 70), 99), ["seed 7: reboots answered 99 of 100 calls"]),
    ],
)
def test_a_run_that_broke_a_promise_is_named(run: dict[str, Any], says: list[str]) -> None:
    assert demo.faults(run) == says
    page = demo.as_page({}, [run, one((80, 70), 100)])
    assert all(fault in page for fault in says)
    assert ("Both promises were kept in all 2 runs." in page) == (not says)


def test_the_committed_page_follows_from_the_committed_figures() -> None:
    result = json.loads((demo.RESULTS / "demo.json").read_text(encoding="utf-8"))
    runs = result.pop("runs")
    assert result.pop("benchmark") == demo.NAME
    assert demo.as_page(result, runs) == (demo.RESULTS / "demo.md").read_text(encoding="utf-8")
    assert len({run["seed"] for run in runs}) == len(runs) == demo.RUNS
    assert [fault for run in runs for fault in demo.faults(run)] == []


def between(figures: list[int]) -> str:
    """From the least to the greatest, as a reader would say it."""
    low, high = min(figures), max(figures)
    return f"{low}" if low == high else f"{low} {'or' if low + 1 == high else 'to'} {high}"


def test_the_readme_says_what_was_measured() -> None:
    runs = json.loads((demo.RESULTS / "demo.json").read_text(encoding="utf-8"))["runs"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for host in ("flaky", "reboots", "dies", "moves"):
        ours, theirs = ([one["hosts"][host][side]["answered"] for one in runs] for side in demo.SIDES)
        assert re.search(rf"\| `{host}` [^|]+\| {between(ours)} \| {between(theirs)} \|", readme)
    dead = [one["hosts"]["dies"] for one in runs]
    ours = [sides["sleepwalker"]["retries"] + sides["sleepwalker"]["failed"] for sides in dead]
    theirs = [sides["requests"]["failed"] for sides in dead]
    assert f"the dead server got {between(ours)} requests instead of {between(theirs)}." in readme


def test_a_short_series_tabulates_what_it_ran(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.demo",
        "--quick",
        "--seed",
        "5",
        "--seed",
        "6",
        "--output",
        str(tmp_path),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    page, result = (tmp_path / "demo.md").read_text(), json.loads((tmp_path / "demo.json").read_text())
    assert run.stdout == page + "\n"
    assert [one["seed"] for one in result["runs"]] == [5, 6]
    assert run.returncode == int(any(map(demo.faults, result["runs"])))
    assert result["runs"][0]["hosts"]["healthy"]["requests"]["answered"] == 40
