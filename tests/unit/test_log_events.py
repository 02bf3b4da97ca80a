"""Every event of the catalogue can be logged everywhere, and is documented."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import typing
from collections.abc import Iterator, MutableMapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
import structlog

import sleepwalker.logging
from sleepwalker.events import CATALOGUE, Event, RequestFailed
from sleepwalker.telemetry import catalogue, emit

DOCS = Path(__file__).parents[2] / "docs"


def sample(cls: type[Event]) -> Event:
    """An event with all its fields set."""
    values: dict[type, object] = {str: "text", int: 7, float: 0.25, bool: True}
    arguments: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(cls).items():
        if name in {field.name for field in fields(cls)}:
            [kind] = [part for part in typing.get_args(hint) or [hint] if part is not NoneType][:1]
            arguments[name] = values[kind] if isinstance(kind, type) else kind
    return cls(**arguments)


EVENTS = pytest.mark.parametrize("event", [pytest.param(sample(cls), id=name) for name, cls in CATALOGUE.items()])


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    sleepwalker.logging.reset()
    structlog.reset_defaults()
    yield
    sleepwalker.logging.reset()
    structlog.reset_defaults()


def all_fields(event: Event) -> dict[str, Any]:
    return {field.name: getattr(event, field.name) for field in fields(event)}


@EVENTS
def test_json_lines_have_every_field(event: Event, tmp_path: Path) -> None:
    sleepwalker.logging.configure(tmp_path / "e", "debug")
    emit(event)
    line = json.loads((tmp_path / "e").read_text())
    del line["timestamp"]
    assert line == {"level": event.level, "event": event.name, **all_fields(event)}


@EVENTS
def test_structlog_gets_every_field(event: Event) -> None:
    entries: list[MutableMapping[str, Any]] = []

    def capture(_: object, method: str, entry: MutableMapping[str, Any]) -> Any:
        entries.append({"level": method, **entry})
        raise structlog.DropEvent

    structlog.configure(processors=[capture])
    emit(event)
    assert entries == [{"level": event.level, "event": event.name, **all_fields(event)}]


@EVENTS
def test_the_standard_library_gets_every_field(event: Event, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="sleepwalker")
    emit(event)
    [record] = caplog.records
    assert (record.levelname.lower(), record.event, record.fields) == (  # type: ignore[attr-defined]
        event.level,
        event.name,
        all_fields(event),
    )
    assert re.findall(r" (\w+)=", record.getMessage()) == list(all_fields(event))


@EVENTS
def test_no_field_has_a_name_that_logging_needs_for_itself(event: Event) -> None:
    """The standard library refuses an `extra` of such a name, structlog takes it for its own argument."""
    record = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}
    own = {
        "timestamp",
        "level",
        "logger",
        "event",
        "self",
        "method_name",
        "event_args",
        "stack_info",
        "positional_args",
    }
    assert not (record | own) & all_fields(event).keys()


# --- the docs


def test_the_committed_page_is_what_the_catalogue_makes() -> None:
    assert (DOCS / "reference/events.md").read_text() == catalogue.page(), "make docs"


@EVENTS
def test_the_page_has_every_event_with_its_level_and_every_field(event: Event) -> None:
    section = re.search(rf"^## {re.escape(event.name)}\n(.*?)(?=^## |\Z)", catalogue.page(), re.MULTILINE | re.DOTALL)
    assert section is not None
    assert f"\nLevel: {event.level}. {(type(event).__doc__ or '').split()[0]}" in section[1]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*) \| ([^|]+) \|$", section[1], re.MULTILINE)
    assert [name for name, *_ in rows] == list(all_fields(event))
    assert {name for name, kind, *_ in rows if kind.startswith("float")} == {
        name for name, _, unit, _ in rows if unit.strip() in ("seconds", "share")
    }


def test_a_field_without_a_meaning_cannot_get_onto_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(catalogue._GLOSSARY, "waited")
    with pytest.raises(LookupError, match=r"RequestFinished\.waited"):
        catalogue.page()


def test_the_glossary_explains_no_field_that_is_gone() -> None:
    used = {field.name for cls in CATALOGUE.values() for field in fields(cls)}
    assert catalogue._GLOSSARY.keys() <= used


def test_optional_fields_are_marked_as_such() -> None:
    optional = {
        name for name, hint in typing.get_type_hints(RequestFailed).items() if NoneType in typing.get_args(hint)
    }
    assert optional == {"status", "error", "detail"}
    section = catalogue.page().partition("## request.failed")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)` \| \w+, may be absent", section)) == optional


@pytest.mark.parametrize(
    "code", re.findall(r"^```python\n(.*?)^```", (DOCS / "how-to/logging.md").read_text(), re.MULTILINE | re.DOTALL)
)
def test_the_examples_of_the_how_to_run(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(DOCS.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
