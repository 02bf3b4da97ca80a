"""The page of the promises on security: each names the tests that hold it, and they are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "security-tests.md"
LINES = PAGE.read_text(encoding="utf-8").splitlines()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", "\n".join(LINES))))


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_each_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert (ROOT / file).is_file()
    assert test in names_in(file)


def test_each_row_of_a_table_of_promises_names_a_test() -> None:
    rows, promises = [], False
    for line in LINES:
        if not line.startswith("|"):
            promises = False
        elif line.rstrip(" |").endswith("| held by"):
            promises = True
        elif promises and not line.startswith("|---"):
            rows.append(line)
    assert len(rows) > 40
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::test_\w+` \|$", row)] == []


def test_what_looks_like_the_name_of_a_test_is_one() -> None:
    """A misspelt one would not be looked for."""
    assert len(re.findall(r"tests/|::", "\n".join(LINES))) == 2 * sum(line.count("::test_") for line in LINES)
