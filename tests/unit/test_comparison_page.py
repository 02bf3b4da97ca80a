"""The figures of docs/explanation/comparison.md are those of the committed results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.selftest]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "comparison.md"
RESULTS = [ROOT / "benchmarks" / "results" / name for name in ("outage.md", "speed.md", "aio.md")]

Row = dict[str, str]


def rows_of(text: str) -> list[Row]:
    """Each row of each table, by its columns' names; of columns that share a name, the first."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
        found += [dict(reversed(list(zip(head, row, strict=False)))) for row in rows]
    return found


def test_each_figure_is_one_of_the_results() -> None:
    """A new run of the benchmarks changes the results, and must change the page."""
    measured = [row.items() for result in RESULTS for row in rows_of(result.read_text(encoding="utf-8"))]
    figures = PAGE.read_text(encoding="utf-8").partition("\n## Figures\n")[2].partition("\n## Check it yourself\n")[0]
    shown = rows_of(figures)
    assert len(shown) > 25
    assert [row for row in shown if not any(row.items() <= one for one in measured)] == []
