"""The tables of the page on circuits are those of the committed result, and that is what the engine still does."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import many_machines

#: Decisions of our own, and pages.
pytestmark = pytest.mark.once

RESULT = many_machines.read()


def test_the_tables_of_the_page_are_those_of_the_committed_result() -> None:
    """`python -m benchmarks.many_machines --redraw` sets it right."""
    page = many_machines.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- many machines: ") == len(many_machines.BLOCKS)
    assert many_machines.fill(page, RESULT) == page


# What is computed anew takes some seconds. test_many_machines.py holds the engine to bounds at the desk as well.


@pytest.mark.selftest
@pytest.mark.parametrize("row", [row for row in RESULT["partial"] if row["rate"] == 10], ids=str)
def test_what_is_answered_is_still_what_the_engine_answers(row: dict[str, Any]) -> None:
    """To within a point; `python -m benchmarks.many_machines` computes all of it anew."""
    now = many_machines.partial(row["policy"], row["ill"], row["rate"])
    assert now["answered"] == pytest.approx(row["answered"], abs=0.01)
    assert now["sends"] == pytest.approx(row["sends"], abs=0.02)


@pytest.mark.selftest
@pytest.mark.parametrize("row", [row for row in RESULT["death"] if row["rate"] <= 10], ids=str)
def test_a_dead_host_is_still_found_as_soon(row: dict[str, Any]) -> None:
    assert max(many_machines.death(row["before"], row["rate"])["seconds"]) <= max(row["seconds"]) + 0.1


@pytest.mark.selftest
@pytest.mark.parametrize("row", [row for row in RESULT["outage"] if row["rate"] == 10], ids=str)
def test_an_outage_is_still_over_as_soon(row: dict[str, Any]) -> None:
    now = many_machines.outage(row["outage"], row["rate"])
    assert max(now["back"]) <= max(row["back"]) + 0.1
    assert now["sends"] == pytest.approx(row["sends"], abs=0.01)


@pytest.mark.selftest
@pytest.mark.parametrize("row", RESULT["overload"], ids=lambda row: str(row["policy"]))
def test_an_overloaded_server_still_serves_as_many(row: dict[str, Any]) -> None:
    assert many_machines.overload(row["policy"])["served"] == pytest.approx(row["served"], abs=2)
