"""Every event of the catalogue can be logged everywhere, and is documented."""

from __future__ import annotations

import functools
import json
import logging
import os
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
from scripts import events_page
from sleepwalker.events import CATALOGUE, Event, HedgeSent, RequestFailed
from sleepwalker.telemetry import emit

DOCS = Path(__file__).parents[2] / "docs"


def sample(cls: type[Event]) -> Event:
    """An event with all its fields set."""
    values: dict[type, object] = {str: "text", int: 7, float: 0.25, bool: True}
    arguments: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(cls).items():
        if name in {field.name for field in fields(cls)}:
            [kind] = [part for part in typing.get_args(hint) or [hint] if part is not NoneType][:1]
            words = typing.get_args(kind)
            arguments[name] = values[kind] if isinstance(kind, type) else words[0] if words else kind
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
    """By the names under which they are logged."""
    own = {field.name: getattr(event, field.name) for field in fields(event)}
    return {"name" if name == "asked_for" else name: value for name, value in own.items()} | {"pid": os.getpid()}


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
    assert not (record | own) & (all_fields(event).keys() - {"name"})


@pytest.mark.parametrize("render", ["render_to_log_kwargs", "render_to_log_args_and_kwargs"])
def test_where_structlog_makes_records_of_the_standard_library_name_is_called_asked_for(
    render: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A record has a `name` of its own, and the standard library refuses another: the event would be lost."""
    if (processor := getattr(structlog.stdlib, render, None)) is None:
        pytest.skip("newer than this structlog")
    structlog.configure(
        processors=[processor],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    caplog.set_level("DEBUG")
    emit(HedgeSent("https://h", "GET", "/", 2, 0.5, call="a-1", asked_for="billing"))
    [record] = caplog.records
    assert (record.name, record.asked_for, record.call) == ("sleepwalker", "billing", "a-1")  # type: ignore[attr-defined]


@EVENTS
def test_where_the_standard_library_formats_for_structlog_every_field_keeps_its_name(
    event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Structlog's usual way into the standard library: the event is the record's message, not its attributes."""
    structlog.configure(
        processors=[structlog.stdlib.add_logger_name, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    caplog.set_level("DEBUG")
    emit(event)
    [record] = caplog.records
    shown = json.loads(formatter.format(record))
    assert shown == {"event": event.name, "logger": "sleepwalker"} | all_fields(event)


# --- the docs

#: Made once, for it takes a seventh of a second.
page = functools.cache(events_page.page)


def test_the_committed_page_is_what_the_catalogue_makes() -> None:
    assert (DOCS / "reference/events.md").read_text() == events_page.page(), "make reference"


@EVENTS
def test_the_page_has_every_event_with_its_level_and_every_field(event: Event) -> None:
    section = re.search(rf"^## {re.escape(event.name)}\n(.*?)(?=^## |\Z)", page(), re.MULTILINE | re.DOTALL)
    assert section is not None
    assert f"\nLevel: {event.level}. {(type(event).__doc__ or '').split()[0]}" in section[1]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*) \| ([^|]+) \|$", section[1], re.MULTILINE)
    assert [name for name, *_ in rows] == list(all_fields(event))
    assert {name for name, kind, *_ in rows if kind.startswith("float")} == {
        name for name, _, unit, _ in rows if unit.strip() in ("seconds", "share")
    }


def test_a_field_without_a_meaning_cannot_get_onto_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(events_page._GLOSSARY, "waited")
    with pytest.raises(LookupError, match=r"RequestFinished\.waited"):
        events_page.page()


def test_the_glossary_explains_no_field_that_is_gone() -> None:
    used = {field.name for cls in CATALOGUE.values() for field in fields(cls)} | {"pid"}
    assert events_page._GLOSSARY.keys() <= used


def test_optional_fields_are_marked_as_such() -> None:
    optional = {
        name for name, hint in typing.get_type_hints(RequestFailed).items() if NoneType in typing.get_args(hint)
    }
    assert optional == {"call", "asked_for", "status", "error", "detail", "count", "ago"}
    section = events_page.page().partition("## request.failed")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)` \| \w+, may be absent", section)) == optional - {"asked_for"} | {"name"}


#: Each in a process of its own. They are forked from one that has imported what takes long.
_EXAMPLES = """
import json, os, sys
import sleepwalker.logging, structlog
assert not structlog.is_configured()
for code in json.load(sys.stdin):
    if not (child := os.fork()):
        exec(compile(code, "example", "exec"), {"__name__": "__main__"})
        break
    assert os.waitpid(child, 0)[1] == 0, code
"""


@pytest.mark.once
def test_the_examples_of_the_how_to_run(tmp_path: Path) -> None:
    page = (DOCS / "how-to/logging.md").read_text()
    codes = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(codes) >= 5
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _EXAMPLES],
        input=json.dumps(codes),
        cwd=tmp_path,
        env={"PYTHONPATH": str(DOCS.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
