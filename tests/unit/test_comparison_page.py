"""The figures of docs/explanation/comparison.md are those of the committed results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.left_to_ci]

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


def test_the_sentences_have_the_figures_of_the_tables() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    shown = rows_of(PAGE.read_text(encoding="utf-8"))

    def of(client: str, column: str, like: str) -> str:
        return next(row[column] for row in shown if client in row.values() and like in row.get(column, ""))

    for client, said in (
        ("requests + urllib3.Retry", "plain retries answer {} % of the calls"),
        ("sleepwalker", "sleepwalker {} %."),
    ):
        assert said.format(round(float(of(client, "50 %", "%").split()[0]))) in text
    worst = [
        of(client, "at worst", "s")
        for client in ("sleepwalker", "requests + tenacity + pybreaker", "requests + urllib3.Retry + interlock-cb")
    ]
    assert "was {} for sleepwalker's `standard`, {} for pybreaker and {} for interlock-cb".format(*worst) in text
    cost = float(of("sleepwalker.aio, JSON event log", "CPU, µs", "")) / float(of("aiohttp", "CPU, µs", ""))
    assert f"A call costs {cost:.1f} times the CPU of a bare aiohttp call" in text
    imported = next(
        row["measured"]
        for row in rows_of(RESULTS[1].read_text(encoding="utf-8"))
        if "`import sleepwalker`" in row.get("", "")
    )
    assert f"[{float(imported):.1f} times the CPU]" in text
