"""A protected call calls no more functions than it did: what no stopwatch can show on a busy machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import counts

ROOT = Path(__file__).parents[2]
NAMES = (
    "a GET of 100 bytes of JSON, its event logged",
    "a call that an open circuit rejects, told with others later",
    "find",
)
#: What other versions of requests, urllib3 or Python's own library may add.
TOLERANCE = 0.02


def _counted() -> dict[str, Counter[str]]:
    """Counted in a process of its own, where nothing watches events, imports or coverage."""
    command = [sys.executable, "-m", "benchmarks.counts", "--json"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=240).stdout
    return {name: Counter(table) for name, table in json.loads(found).items()}


@pytest.fixture(scope="module")
def now() -> dict[str, Counter[str]]:
    return _counted()


@pytest.mark.parametrize("name", NAMES)
def test_a_call_calls_no_more_functions_than_are_written_down(now: dict[str, Counter[str]], name: str) -> None:
    before = counts.read()[counts.version()][name]
    most = int(sum(before.values()) * (1 + TOLERANCE))
    if now[name].total() > most:
        pytest.fail(
            f"{name}: {now[name].total()} function calls, and at most {most} are allowed. Make it cheaper, or write it "
            f"down with `python -m benchmarks.counts --write`, for each version of Python. What changed:\n"
            f"{counts.grown(now[name], before)}",
            pytrace=False,
        )


def test_all_counts_are_written_down_for_each_version_of_python(now: dict[str, Counter[str]]) -> None:
    expected = {version: set(NAMES) for version in ("3.11", "3.12", "3.13")}
    assert {version: set(table) for version, table in counts.read().items()} == expected
    assert set(now) == set(NAMES)


def test_each_does_what_its_name_says(now: dict[str, Counter[str]]) -> None:
    """Or the bound would be one for an error that is raised early."""
    get, rejected, find = (now[name] for name in NAMES)
    assert (get["C:socket.send"], get["C:write"], get["telemetry/jsonl.py:JsonLines.write"]) == (1, 1, 1)
    assert (rejected["C:socket.send"], rejected["C:CircuitOpenError.add_note"]) == (0, 1)
    assert rejected["C:write"] == 0
    assert (find["C:socket.send"], find["connection/manager.py:ConnectionManager.find"]) == (0, 1)


def test_the_same_calls_are_counted_the_same_each_time(now: dict[str, Counter[str]]) -> None:
    again = _counted()
    assert {name: counts.grown(again[name], now[name]) for name in NAMES} == dict.fromkeys(NAMES, "")


def test_what_grew_is_named() -> None:
    before = counts.count(lambda: sorted(["b", "a"]))
    assert before["C:sorted"] == 1
    more = Counter(before) + Counter({"C:sorted": 2})
    assert counts.grown(more, before) == "  +2 C:sorted"
    assert counts.grown(before, more) == "  -2 C:sorted"
