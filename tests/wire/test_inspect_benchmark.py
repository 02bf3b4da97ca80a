"""The benchmark of `sleepwalker inspect` runs, and a wrong result in it is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import inspect_logs
from benchmarks.inspect_logs import Contestant, Cost

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.left_to_ci


@pytest.mark.needs("jq")
def test_all_who_are_asked_are_measured_and_written_down(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.inspect_logs", "--quick", "--output", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=360)
    assert run.returncode == 0, run.stderr
    result = json.loads((tmp_path / "inspect.json").read_text())
    assert [row["name"] for row in result["rows"]] == [
        "inspect --json", "inspect --json --html", "inspect --sql", "json of Python", "jq"
    ]  # fmt: skip
    assert all(row["wall"][0] > 0 and row["memory"][0] > 0 for row in result["rows"])
    assert "The whole report in under 15 s and 1,000 MB: yes" in (tmp_path / "inspect.md").read_text()


def test_a_wrong_answer_is_no_result() -> None:
    wrong = Contestant(
        "guess", "the question", [sys.executable, "-c", "print('{\"h\": [2, 1]}')"], inspect_logs._of_pairs
    )
    cost = Cost()
    inspect_logs._run(wrong, {"h": (2, 1)}, cost)
    with pytest.raises(RuntimeError, match="not the truth"):
        inspect_logs._run(wrong, {"h": (2, 0)}, cost)


def test_a_promise_that_is_not_kept_is_said_so() -> None:
    one = Contestant("inspect", "the whole report", [], inspect_logs._of_report)
    page = inspect_logs._page([one], {"inspect": Cost([31.0, 29.0, 32.0], [50.0] * 3, [500.0] * 3)}, {}, 10**9)
    assert "in under 15 s and 1,000 MB: **no**" in page
