"""The benchmark of what it costs to be seen runs, and its figures follow from its rounds."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import observability

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.left_to_ci


@pytest.mark.needs("nginx")
def test_a_short_run_measures_every_row_and_says_what_is_added(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.observability", "--rounds", "2", "--calls", "3"]
    run = subprocess.run([*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    page, result = (
        (tmp_path / "observability.md").read_text(),
        json.loads((tmp_path / "observability.json").read_text()),
    )
    assert run.stdout == page + "\n"
    samples = {row["name"]: row["samples"] for row in result["rows"]}
    assert list(samples) == [
        observability.BARE,
        observability.CONTROL,
        observability.OFF,
        observability.COUNTED,
        observability.LOGGED,
        observability.TRACED,
    ]
    for name, added in result["added"].items():
        for kind in ("wall", "cpu"):
            on, off, bare = (samples[row][kind] for row in (name, observability.OFF, observability.BARE))
            expected = statistics.median((a - b) / c for a, b, c in zip(on, off, bare, strict=True))
            assert added[kind]["median"] == pytest.approx(expected, abs=0.01)
    kept = result["added"][observability.LOGGED]["cpu"]["median"] <= observability.PROMISE
    assert f"the promise is {'kept' if kept else 'broken'}." in page
