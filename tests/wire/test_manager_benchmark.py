"""The manager's benchmark runs, and what it writes down follows from what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import manager

pytestmark = pytest.mark.left_to_ci

ROOT = Path(__file__).parents[2]
ROUNDS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a short run wrote its files."""
    folder = tmp_path_factory.mktemp("manager")
    command = [sys.executable, "-m", "benchmarks.manager", "--quick", "--rounds", str(ROUNDS), "--output", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=360)
    assert run.returncode == 0, run.stderr
    assert run.stdout == (folder / "manager.md").read_text() + "\n"
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """What it wrote for programs."""
    return dict(json.loads((folder / "manager.json").read_text()))


def test_every_kind_of_credentials_is_looked_for_among_every_number_of_hosts(result: dict[str, Any]) -> None:
    found = {(row["group"], row["name"]) for row in result["rows"]}
    assert {
        (f"{manager.FIND}, {words}", f"{size} hosts") for words in manager.AUTHS for size in manager.QUICK_SIZES
    } <= found
    assert {group for group, _ in found} >= {manager.CONTROL, manager.BROKEN, manager.MAKING}
    assert all(len(row["samples"]["cpu"]) == ROUNDS for row in result["rows"])


def test_a_find_does_the_same_work_among_many_hosts_as_among_few(result: dict[str, Any]) -> None:
    """Function calls have no noise."""
    for words in manager.AUTHS:
        calls = {row["function_calls"] for row in result["rows"] if row["group"] == f"{manager.FIND}, {words}"}
        assert max(calls) - min(calls) < 0.1


def test_a_manager_takes_less_than_six_kilobytes_per_host(result: dict[str, Any]) -> None:
    """10,000 hosts in 60 MB; tracemalloc counts the same on a busy machine."""
    assert 2000 < result["memory"]["bytes_per_host"] < 6000


def test_all_who_find_from_eight_threads_are_measured_in_every_round(result: dict[str, Any]) -> None:
    assert set(result["threads"]) == {manager.FREE, manager.LOCKED_TABLE, manager.LOCKED_FIND}
    assert all(len(samples) == ROUNDS and min(samples) > 0 for samples in result["threads"].values())


def test_the_page_says_whether_each_promise_is_kept(folder: Path) -> None:
    page = (folder / "manager.md").read_text()
    promises = page.partition("## What is promised")[2].partition("\n## ")[0]
    assert promises.count("| yes |") + promises.count("| **no** |") == 4


def test_a_promise_that_is_not_kept_is_said_so(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> None:
    monkeypatch.setattr(manager, "MOST_MEGABYTES", 0.0001)
    memory = result["memory"]
    found = manager._rows(
        [
            manager.Case(group, name, lambda: True)
            for group in (f"{manager.FIND}, auth=None", manager.CONTROL)
            for name in ("10 hosts", "100 hosts")
        ],
        rounds=1,
        calls=1000,
    )
    threads = {manager.FREE: [1.0], manager.LOCKED_TABLE: [2.0], manager.LOCKED_FIND: [0.5]}
    lines = manager._verdict(found, threads, memory).splitlines()
    assert lines[-2].endswith("| **no** |")
    assert lines[-1].endswith("| **no** |"), "2.0 under a lock is more than 1.0 without"
