"""Writes a run down: JSON for programs, with every round's figures, and a page of tables for people."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Row, Spread

#: What is true of the whole run, by name; a value is a text, a number, or such a mapping.
Facts = Mapping[str, object]


def as_json(facts: Facts, rows: Sequence[Row | Mapping[str, Any]]) -> str:
    """The run as JSON. Times are microseconds; `low` and `high` are quartiles. A row may be one read from there."""
    made = [rounded(asdict(row)) if isinstance(row, Row) else row for row in rows]
    text = json.dumps({**facts, "rows": made}, indent=1, ensure_ascii=False)
    # A line per list of figures, not per figure.
    return re.sub(r"\[[\s\d.,]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


def as_markdown(title: str, notes: str, facts: Facts, rows: Sequence[Row]) -> str:
    """The run as a page: a table per group, then the facts."""
    parts = [f"# {title}", notes]
    for group in dict.fromkeys(row.group for row in rows):
        parts += [f"## {group}", _rows([row for row in rows if row.group == group])]
    parts += ["## How it was measured", "\n".join(f"- {name}: {words(value)}" for name, value in facts.items())]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, name: str, page: str, data: str) -> list[Path]:
    """Write both files into `folder`, and say which they are."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.md", folder / f"{name}.json"]
    for path, text in zip(written, (page, data), strict=True):
        path.write_text(text, encoding="utf-8")
    return written


def _rows(rows: Sequence[Row]) -> str:
    references = list(rows[0].wall_ratios)
    compared = [f"of {name}" for name in references]
    header = ["", "wall, µs", "half of the rounds", *compared, "CPU, µs", *compared, "function calls"]
    lines = []
    for row in rows:
        lines.append(
            [
                row.name,
                f"{row.wall.median:.1f}",
                f"{row.wall.low:.1f} to {row.wall.high:.1f}",
                *("1" if name == row.name else _ratio(row.wall_ratios[name]) for name in references),
                f"{row.cpu.median:.1f}",
                *("1" if name == row.name else f"{row.cpu_ratios[name].median:.2f}" for name in references),
                f"{row.function_calls:.0f}",
            ]
        )
    return table(header, lines)


def table(header: Sequence[str], lines: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A table in Markdown; `left` are the columns of words, and all others those of numbers."""
    rule = ["---" if number in left else "---:" for number in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *lines])


@dataclass(frozen=True, slots=True)
class Target:
    """What the project promises of one figure; `least` where more is better."""

    words: str
    limit: float
    figure: Callable[[Mapping[str, Any]], float]
    """Reads it from a result; KeyError or StopIteration where it was not measured."""
    least: bool = False

    def met(self, figure: float) -> bool:
        return figure >= self.limit if self.least else figure <= self.limit


def aims(targets: Sequence[Target], result: Mapping[str, Any]) -> str:
    """What was aimed at, what was measured, and whether it was met; empty where nothing of it was measured."""
    lines = []
    for target in targets:
        try:
            figure = target.figure(result)
        except (KeyError, StopIteration):
            continue
        sign = "≥" if target.least else "≤"
        verdict = "met" if target.met(figure) else "**missed**"
        lines.append([target.words, f"{sign} {target.limit:g}", f"{figure:.3g}", verdict])
    return table(["", "aim", "measured", ""], lines) if lines else ""


def read(folder: Path, name: str) -> dict[str, Any]:
    """The result of a benchmark that lies in the folder."""
    return dict(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def renew(files: Mapping[Path, str]) -> int:
    """Write the files that are not so already, and say which; 0, for a command to end with."""
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}", file=sys.stderr)
    return 0


def _ratio(of: Spread) -> str:
    return f"{of.median:.2f} ({of.low:.2f} to {of.high:.2f})"


def words(value: object) -> str:
    """A fact's value in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(inner)}" for name, inner in value.items())
    return str(value)


def rounded(value: object) -> object:
    """Figures to three decimals: more would be noise, and noise in a diff."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 3) if isinstance(value, float) else value
