"""The tables of the page on circuits are those of the committed result, and that is what the engine still does."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from benchmarks import many_machines

#: Decisions of our own, and pages.
pytestmark = pytest.mark.once

RESULT = many_machines.read()


def rows(table: str, **values: Collection[object]) -> list[dict[str, Any]]:
    """The rows of a table that have one of these values each."""
    found = [row for row in RESULT[table] if all(row[name] in among for name, among in values.items())]
    assert found, "the table has no such row"
    return found


def test_the_tables_of_the_page_are_those_of_the_committed_result() -> None:
    """`python -m benchmarks.many_machines --redraw` sets it right."""
    page = many_machines.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- many machines: ") == len(many_machines.BLOCKS)
    assert many_machines.fill(page, RESULT) == page


# Some rows of each table are computed anew. test_many_machines.py holds the engine to bounds at the desk as well.


@pytest.mark.left_to_ci
@pytest.mark.parametrize("row", rows("partial", ill=(20, 50, 100), rate=(10,)), ids=str)
def test_what_is_answered_is_still_what_the_engine_answers(row: dict[str, Any]) -> None:
    """To within a point; `python -m benchmarks.many_machines` computes all of it anew."""
    now = many_machines.partial(row["policy"], row["ill"], row["rate"])
    assert now["answered"] == pytest.approx(row["answered"], abs=0.01)
    assert now["sends"] == pytest.approx(row["sends"], abs=0.02)


@pytest.mark.left_to_ci
@pytest.mark.parametrize("row", rows("death", before=(0, 50), rate=(1, 10)), ids=str)
def test_a_dead_host_is_still_found_as_soon(row: dict[str, Any]) -> None:
    assert max(many_machines.death(row["before"], row["rate"])["seconds"]) <= max(row["seconds"]) + 0.1


@pytest.mark.left_to_ci
@pytest.mark.parametrize("row", rows("outage", rate=(10,)), ids=str)
def test_an_outage_is_still_over_as_soon(row: dict[str, Any]) -> None:
    now = many_machines.outage(row["outage"], row["rate"])
    assert max(now["back"]) <= max(row["back"]) + 0.1
    assert now["sends"] == pytest.approx(row["sends"], abs=0.01)


@pytest.mark.left_to_ci
@pytest.mark.parametrize("row", rows("overload", policy=(many_machines.STANDARD,)), ids=str)
def test_an_overloaded_server_still_serves_as_many(row: dict[str, Any]) -> None:
    assert many_machines.overload(row["policy"])["served"] == pytest.approx(row["served"], abs=2)
