"""For any log, and any part of it: a report or a sentence, never a traceback."""

from __future__ import annotations

import dataclasses
import io
import json
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleepwalker.cli import main
from sleepwalker.cli.display import console
from sleepwalker.cli.inspect.view import render
from sleepwalker.events import CATALOGUE
from sleepwalker.inspect import Filter, Report, Session, document, make, page
from tests.unit.inspect_logs import HOST, NOON, line, write

#: All kinds of events and all filters: half a minute of fuzz. test_inspect.py is about what each of them means.
pytestmark = pytest.mark.left_to_ci

#: A name that only hooks know, and an origin.
HOSTS = ("payments", HOST)
VALUES: dict[type, Any] = {str: "x", int: 2, float: 0.5, bool: True}
FILTERS = [
    Filter(),
    Filter(hosts=("payments",)),
    Filter(until=NOON + 1),
    Filter(since=NOON + 1, until=NOON + 2.5),
    Filter(since=NOON + 1, hosts=("*example*", "nobody")),
]


def an_event(at: float, kind: str, host: str, *, bare: bool) -> str:
    """A line of this kind; `bare`: without all that an event of it may leave out."""
    hints = typing.get_type_hints(CATALOGUE[kind])
    values: dict[str, Any] = {}
    for field in dataclasses.fields(CATALOGUE[kind]):
        if field.name != "host":
            may_be_none = types.NoneType in typing.get_args(hints[field.name])
            logged = "name" if field.name == "asked_for" else field.name
            values[logged] = None if bare and may_be_none else _value(hints[field.name])
    return line(at, kind, host, **values)


def _value(hint: Any) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)[0]
    if parts := [part for part in typing.get_args(hint) if part is not types.NoneType]:
        return _value(parts[0])
    return VALUES[hint]


def said(report: Report) -> str:
    """The report in each of its forms; what a terminal shows."""
    screen = console(io.StringIO())
    screen.print(render(report, screen))
    json.dumps(document(report), allow_nan=False)
    assert page(report).endswith("</html>\n")
    return typing.cast(io.StringIO, screen.file).getvalue()


@pytest.fixture(autouse=True)
def _no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charting library has nothing to do with what a log holds, and is as long as a thousand pages without it."""
    monkeypatch.setattr("sleepwalker.inspect.charts.library", lambda: "")


def look(path: Path, filters: Sequence[Filter]) -> list[str]:
    """What is said with each of the filters; nothing for those that leave nothing."""
    with Session() as session:
        session.load(session.find([str(path)], None))
        reports = [make(session, chosen) for chosen in filters]
        return [said(report) for report in reports if report is not None]


@pytest.mark.parametrize("kind", CATALOGUE)
def test_a_log_of_one_kind_of_event_makes_a_report_with_any_filter(kind: str, tmp_path: Path) -> None:
    lines = [an_event(at, kind, host, bare=at % 2 == 0) for at, host in enumerate((*HOSTS, *HOSTS))]
    for text in look(write(tmp_path / "log.jsonl", lines), FILTERS):
        assert text.startswith(("OK ", "OVER ", "TROUBLE "))


EVENTS = st.builds(
    an_event,
    st.sampled_from([-NOON, 0, 1, 2, 2]),  # the first is of a clock that was not set
    st.sampled_from(list(CATALOGUE)),
    st.sampled_from(HOSTS),
    bare=st.booleans(),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(EVENTS, min_size=1, max_size=6), filters=st.lists(st.sampled_from(FILTERS), max_size=2))
def test_any_events_make_a_report_with_any_filter(
    lines: list[str], filters: list[Filter], tmp_path_factory: pytest.TempPathFactory
) -> None:
    texts = look(write(tmp_path_factory.mktemp("logs") / "log.jsonl", lines), [Filter(), *filters])
    assert texts[0].startswith(("OK ", "OVER ", "TROUBLE "))


@pytest.mark.parametrize(
    "chosen", [["--host", "payments"], ["--until", "2025-11-22T14:00:00.500Z"], ["--until", "2025-11-22T14:00:00Z"]]
)
@pytest.mark.parametrize("form", [[], ["--json"], ["--html", "page.html"]])
def test_a_part_of_a_log_without_calls_is_a_report_or_a_sentence(
    chosen: list[str],
    form: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A hook's name has no calls, and there is a time before the first."""
    monkeypatch.chdir(tmp_path)
    hooked = line(0, "connection.hooked", "payments", hook="Directory", target="https://uncalled", duration=0.01)
    write(tmp_path / "log.jsonl", [hooked, an_event(1, "request.finished", HOST, bare=True)])
    code = main(["inspect", "log.jsonl", *chosen, *form])
    out, err = capsys.readouterr()
    if code == 0:
        assert "No calls ended in this period" in out
    else:
        assert (code, out) == (1, "")
        assert "none of 2 events is within --until" in err
