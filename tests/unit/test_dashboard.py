"""The dashboard that we ship is one for Grafana: by Grafana's own types, and by what its import form asks for."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.grafana import faults

pytestmark = pytest.mark.once

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations"
DASHBOARD: dict[str, Any] = json.loads((OPERATIONS / "dashboard.json").read_text(encoding="utf-8"))
TOP = DASHBOARD["panels"]
PANELS = [inner for panel in TOP for inner in ([panel] if panel["type"] != "row" else panel["panels"])]
ROWS = [panel for panel in TOP if panel["type"] == "row"]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from _texts(inner)


def test_it_is_what_grafanas_types_say() -> None:
    assert faults(DASHBOARD) == []


def _panel(dashboard: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(panel for panel in dashboard["panels"] if panel["type"] == kind)
    return found


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "a title that is a number": lambda d: d.update(title=7),
    "tags that are a text": lambda d: d.update(tags="sleepwalker"),
    "a time without its end": lambda d: d.update(time="now-1h"),
    "a key that Grafana does not know": lambda d: d.update(refesh="30s"),
    "a panel of no kind": lambda d: _panel(d, "timeseries").update(type="graph-of-my-own"),
    "an option of another panel": lambda d: _panel(d, "stat")["options"].update(rowHeight=0.9),
    "an option's value that is none of its words": lambda d: _panel(d, "stat")["options"].update(colorMode="loud"),
    "an option's value of another type": lambda d: _panel(d, "table")["options"].update(showHeader="yes"),
    "a place that is a text": lambda d: _panel(d, "table")["gridPos"].update(w="24"),
    "a place that is half a column": lambda d: _panel(d, "table")["gridPos"].update(w=12.5),
    "a unit that is a number": lambda d: _panel(d, "stat")["fieldConfig"]["defaults"].update(unit=1),
    "a style that is no number": lambda d: _panel(d, "timeseries")["fieldConfig"]["defaults"]["custom"].update(
        fillOpacity="10"
    ),
    "a threshold of a text": lambda d: _panel(d, "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"].append(
        {"color": "red", "value": "1"}
    ),
    "a query without its expression's type": lambda d: _panel(d, "stat")["targets"][0].update(expr=["up"]),
    "a query of a data source of no kind": lambda d: _panel(d, "stat")["datasource"].update(type="abacus"),
    "a query in a format that is none": lambda d: _panel(d, "table")["targets"][0].update(format="columns"),
    "a variable of no kind": lambda d: d["templating"]["list"][0].update(type="guess"),
    "a link of no kind": lambda d: d["links"][0].update(type="arrow"),
    "a link in a panel without an address": lambda d: _panel(d, "stat")["fieldConfig"]["defaults"].update(links=[1]),
    "an input of no kind": lambda d: d["__inputs"][0].update(type="wish"),
    "an input without a label": lambda d: d["__inputs"][0].pop("label"),
    "a panel inside a row of no kind": lambda d: d["panels"][-1]["panels"][0].update(type="none"),
    "a mapping whose colour is a number": lambda d: _panel(d, "state-timeline")["fieldConfig"]["defaults"]["mappings"][
        0
    ]["options"]["1"].update(color=3),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_dashboard_is_found_out(what: str) -> None:
    """Were it not, the test above would say nothing."""
    dashboard = copy.deepcopy(DASHBOARD)
    BROKEN[what](dashboard)
    assert faults(dashboard)


def test_the_import_form_asks_for_what_the_dashboard_takes_from_it() -> None:
    inputs = {one["name"] for one in DASHBOARD["__inputs"]}
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = {name for text in _texts(DASHBOARD) for name in re.findall(r"\$\{(\w+)[}:.]", text)}
    of_grafana = {"__data", "__url_time_range"}
    assert used == inputs | (used & variables) | (used & of_grafana)
    assert {"datasource", "runbook", "status_page"} <= variables
    assert inputs == {"DS_PROMETHEUS", "VAR_RUNBOOK", "VAR_STATUS_PAGE"}


def test_it_says_which_panels_it_needs() -> None:
    needed = {one["id"] for one in DASHBOARD["__requires"] if one["type"] == "panel"}
    assert needed == {panel["type"] for panel in PANELS}
    assert {"grafana", "prometheus"} <= {one["id"] for one in DASHBOARD["__requires"]}


def test_it_begins_with_how_many_are_broken_and_with_the_worst_first() -> None:
    assert TOP[0]["title"] == "Overview"
    overview = TOP[1 : TOP.index(ROWS[1])]
    assert overview[0]["title"] == "Hosts that are broken"
    [table] = [panel for panel in overview if panel["type"] == "table"]
    assert table["options"]["sortBy"][0] == {"displayName": "State", "desc": True}
    [state] = [one for one in table["fieldConfig"]["overrides"] if one["matcher"]["options"] == "State"]
    [mapping] = next(one["value"] for one in state["properties"] if one["id"] == "mappings")
    words = [mapping["options"][number]["text"] for number in sorted(mapping["options"], key=int)]
    assert words == ["unknown", "healthy", "isolated", "degraded", "broken"], "a larger number is worse"
    assert {panel["title"] for panel in overview} >= {"Calls per second", "Calls that failed"}


def test_the_columns_of_the_table_have_the_names_that_it_is_sorted_and_formatted_by() -> None:
    [table] = [panel for panel in PANELS if panel["type"] == "table"]
    [organize] = [one for one in table["transformations"] if one["id"] == "organize"]
    named = organize["options"]["renameByName"]
    assert list(named) == [f"Value #{target['refId']}" for target in table["targets"]]
    columns = {*named.values(), *("host", "name")}
    assert {one["matcher"]["options"] for one in table["fieldConfig"]["overrides"]} <= columns
    assert {one["displayName"] for one in table["options"]["sortBy"]} <= columns


def test_links_lead_to_sections_that_the_runbook_has() -> None:
    text = (OPERATIONS / "runbook.md").read_text(encoding="utf-8")
    headings = {line[3:].lower().replace(" ", "-") for line in text.splitlines() if line.startswith("## ")}
    anchors = {anchor for url in _texts(DASHBOARD) for anchor in re.findall(r"^\$\{runbook\}#(.+)$", url)}
    assert anchors
    assert anchors <= headings
    assert {link["url"] for link in DASHBOARD["links"]} == {"${runbook}", "${status_page}"}


def test_each_host_can_be_seen_alone() -> None:
    [each] = [row for row in ROWS if row.get("repeat")]
    assert (each["repeat"], each["title"], each["collapsed"]) == ("name", "$name", True)
    assert all('name=~"$name"' in target["expr"] for panel in each["panels"] for target in panel["targets"])
    [table] = [panel for panel in PANELS if panel["type"] == "table"]
    assert any("var-name=${__data.fields.name:" in text for text in _texts(table))


def test_hosts_have_the_names_that_people_use() -> None:
    legends = {target["legendFormat"] for panel in PANELS for target in panel["targets"]}
    assert any("{{name}}" in legend for legend in legends)
    assert not [legend for legend in legends if "{{host}}" in legend]
    every = [target["expr"] for panel in PANELS for target in panel["targets"]]
    of_hosts = [text for text in every if "sleepwalker_fleet_" not in text]
    assert [text for text in of_hosts if 'name=~"$name"' not in text] == []


def test_no_panel_covers_another_and_each_says_what_it_is() -> None:
    every = [*TOP, *(inner for row in ROWS for inner in row["panels"])]
    ids = [panel["id"] for panel in every]
    assert len(set(ids)) == len(ids)
    places = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in every)
        for x in range(place["w"])
        for y in range(place["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) == 23
    for panel in PANELS:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {json.dumps(target["datasource"]) for target in panel["targets"]} == {
            '{"type": "prometheus", "uid": "${datasource}"}'
        }
