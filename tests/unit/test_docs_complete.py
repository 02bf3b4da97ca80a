"""What is public is documented: a name without a page is of no use."""

from __future__ import annotations

import argparse
import inspect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import sleepwalker.links.way
from scripts import exceptions_page
from sleepwalker import cli, datarep, events, exceptions, otel
from sleepwalker.adapters import RequestsAdapter
from sleepwalker.adapters.httpx2 import AsyncTransport, Transport
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager, AsyncResponse
from sleepwalker.attempt import Attempt
from sleepwalker.connection import Connection, ConnectionHook, ConnectionManager
from sleepwalker.connection.options import RequestOptions
from sleepwalker.engine import Fellows, HostHealth, Latency, Recent, RejectedBy
from sleepwalker.fleet import Fleet, FleetHealth
from sleepwalker.links.link import Place
from sleepwalker.links.places import OF_ITSELF
from sleepwalker.policy import Policy
from sleepwalker.policy.base import PolicyModel, part_of
from sleepwalker.prometheus import Collector
from sleepwalker.service import Service, ServiceManager
from sleepwalker.telemetry.metrics import FAMILIES, Family

#: Pages.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@cache
def _text(*folders: str) -> str:
    pages = [page for folder in folders for page in sorted((DOCS / folder).glob("*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@cache
def _page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def _in_code(name: str, text: str) -> bool:
    """Whether `name` stands in the text as code: by itself, called, as an attribute, or as an argument of a call."""
    return re.search(rf"`(?:[\w.]+\.)?{re.escape(name)}(?:`|\(|=)|[(\s]{re.escape(name)}=", text) is not None


def _public(cls: type) -> list[str]:
    """What the class itself offers: methods, properties, attributes and dataclass fields."""
    names = {*vars(cls), *inspect.get_annotations(cls)}
    return sorted(name for name in names if not name.startswith("_"))


def _offered(cls: type) -> list[str]:
    """What the class offers, with what it inherits from classes of ours."""
    return sorted({name for base in cls.__mro__ if base.__module__.startswith("sleepwalker") for name in _public(base)})


def _arguments(function: object) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "kwargs")]  # type: ignore[arg-type]


def _fields(cls: type[PolicyModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every field with the path of its part."""
    for name in cls.model_fields:
        part = part_of(cls, name)
        if part is None:
            yield prefix, name
        else:
            yield from _fields(part, f"{prefix}.{name}".lstrip("."))


def _commands(parser: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that can be typed, with its parser."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words, parser
    for name, below in (pair for group in groups for pair in group.choices.items()):
        yield from _commands(below, f"{words} {name}")


COMMANDS = dict(_commands(cli._parser(), "sleepwalker"))


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_exception_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^\|.*`{name}`", _page("reference/exceptions.md"), re.MULTILINE)


def test_the_page_of_the_exceptions_is_what_the_script_makes() -> None:
    assert _page("reference/exceptions.md") == exceptions_page.page(), "make reference"


@pytest.mark.parametrize("name", [name for name in exceptions.__all__ if not name.startswith(("HTTP", "Sleepwalker"))])
def test_the_page_says_of_exactly_those_exceptions_that_nothing_raises_them_yet(name: str) -> None:
    """A reader who handles an error that cannot come writes code that is never tried."""
    if name in ("ClientHTTPError", "ServerHTTPError"):
        return  # made by status, as all below them are
    sources = [path for path in (ROOT / "sleepwalker").rglob("*.py") if path.parent.name != "exceptions"]
    raised = any(re.search(rf"\b{name}\(", path.read_text(encoding="utf-8")) for path in sources)
    assert raised == (name not in exceptions_page.NEVER_RAISED)


def test_an_exception_without_a_docstring_cannot_get_onto_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exceptions.ReadError, "__doc__", None)
    with pytest.raises(LookupError, match="ReadError"):
        exceptions_page.page()


@pytest.mark.parametrize("name", events.CATALOGUE)
def test_every_event_is_in_the_reference(name: str) -> None:
    assert f"\n## {name}\n" in _page("reference/events.md")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_metric_is_in_the_reference_with_its_labels(family: Family) -> None:
    page = _page("reference/metrics.md")
    row = re.search(rf"^\| `{family.name}(?:_total)?` \| {family.kind} \| (.*?) \|", page, re.MULTILINE)
    assert row is not None
    assert row[1] == ", ".join(f"`{label}`" for label in family.labels)


@pytest.mark.parametrize("cls", [Collector.__init__, otel.instrument])
def test_every_argument_of_an_extra_is_in_its_how_to_or_reference(cls: object) -> None:
    text = _page("how-to/trace.md") + _page("reference/metrics.md")
    assert [name for name in _arguments(cls) if not _in_code(name, text)] == []


@pytest.mark.parametrize("cls", [RequestsAdapter, Transport, AsyncTransport])
def test_every_argument_of_an_adapter_is_in_its_reference_and_docstring(cls: type) -> None:
    text = _page("reference/adapters.md")
    assert [name for name in _arguments(cls.__init__) if not _in_code(name, text)] == []
    said = inspect.getdoc(RequestsAdapter if cls is RequestsAdapter else Transport) or ""
    assert [name for name in _arguments(cls.__init__) if f"    {name}: " not in said] == []


@pytest.mark.parametrize(("part", "field"), list(_fields(Policy)))
def test_every_policy_field_is_in_the_reference(part: str, field: str) -> None:
    section = _page("reference/policies.md").partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    assert f"\n| `{field}` |" in section


@pytest.mark.parametrize("name", _public(Connection))
def test_every_name_of_connection_is_in_the_reference(name: str) -> None:
    assert _in_code(name, _page("reference/connection.md"))


@pytest.mark.parametrize("cls", [Attempt, HostHealth, Latency, Recent, RejectedBy, ConnectionHook])
def test_what_connection_hands_out_is_in_its_reference_with_every_field(cls: type) -> None:
    assert [name for name in _public(cls) if not _in_code(name, _page("reference/connection.md"))] == []


@pytest.mark.parametrize(
    "function",
    [
        Connection.__init__,
        Connection.JsonEncoder.__init__,
        *(member for name, member in vars(Connection).items() if inspect.isfunction(member) and name[0] != "_"),
    ],
    ids=lambda function: function.__qualname__,
)
def test_every_argument_is_in_the_reference(function: object) -> None:
    assert [name for name in _arguments(function) if not _in_code(name, _page("reference/connection.md"))] == []


@pytest.mark.parametrize("name", [*_public(ConnectionManager), *_public(ConnectionHook)])
def test_every_name_of_the_manager_is_in_its_reference(name: str) -> None:
    assert _in_code(name, _page("reference/connection-manager.md"))


@pytest.mark.parametrize(
    "function",
    [
        ConnectionManager.__init__,
        ConnectionHook.connect,
        *(member for name, member in inspect.getmembers(ConnectionManager, inspect.isfunction) if name[0] != "_"),
    ],
    ids=lambda function: function.__qualname__,
)
def test_every_argument_of_the_manager_is_in_its_reference(function: object) -> None:
    """As the argument of a call (`find(host, auth=None)`), or in a table of arguments."""
    page = _page("reference/connection-manager.md")
    name = getattr(function, "__name__")  # noqa: B009 - `object` has none
    calls = " ".join(re.findall(rf"`{'ConnectionManager' if name == '__init__' else name}\(([^`]*)\)`", page))
    assert [word for word in _arguments(function) if not re.search(rf"\b{word}\b", calls)] == []


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        *((AsyncConnection, name) for name in _offered(AsyncConnection)),
        *((AsyncResponse, name) for name in _public(AsyncResponse)),
        *((AsyncConnectionManager, name) for name in _public(AsyncConnectionManager)),
        *((AsyncConnectionHook, name) for name in _public(AsyncConnectionHook)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_name_of_asyncio_is_in_its_reference(cls: type, name: str) -> None:
    section = _page("reference/asyncio.md").partition(f"\n## {cls.__name__}\n")[2].partition("\n## ")[0]
    assert _in_code(name, section)


@pytest.mark.parametrize("blocking", [Connection, ConnectionManager])
def test_the_page_of_asyncio_has_what_is_awaited_and_nothing_else_in_its_table(blocking: type) -> None:
    kind = {Connection: AsyncConnection, ConnectionManager: AsyncConnectionManager}[blocking]
    table = _page("reference/asyncio.md").partition("\n## What is awaited\n")[2].partition("\n## ")[0]
    rows, _, others = table.partition("\nSo these")
    awaited = {name for name in _offered(kind) if inspect.iscoroutinefunction(getattr(kind, name, None))}
    verbs = {"head", "post", "put", "patch", "delete", "options"}  # "the other verbs"
    assert {name for name in awaited - verbs if f".{name}(" not in rows} == set()
    assert {name for name in awaited if f"`{name}`" in others} == set()


@pytest.mark.parametrize(
    ("blocking", "awaited"), [(Connection, AsyncConnection), (ConnectionManager, AsyncConnectionManager)]
)
def test_the_arguments_of_both_kinds_are_the_same_as_the_page_of_asyncio_says(blocking: type, awaited: type) -> None:
    functions = [name for name in _offered(awaited) if inspect.isfunction(getattr(blocking, name, None))]
    assert len(functions) > 10
    for name in ("__init__", *functions):
        if name != "request":  # written out there, by its options here
            assert _arguments(getattr(awaited, name)) == _arguments(getattr(blocking, name)), name


@pytest.mark.parametrize(
    "reason",
    [
        reason
        for event in (events.ConnectionEvicted, events.ConnectionRetired)
        for reason in get_args(get_type_hints(event)["reason"])
    ],
)
def test_every_reason_to_give_a_connection_up_is_in_the_reference(reason: str) -> None:
    assert f"\n| `{reason}` |" in _page("reference/connection-manager.md")


@pytest.mark.parametrize("cls", [Fleet, FleetHealth, Fellows], ids=lambda cls: cls.__name__)
def test_every_field_of_a_fleet_is_in_its_reference(cls: type) -> None:
    section = _page("reference/fleet.md").partition(f"\n## {cls.__name__}\n")[2].partition("\n## ")[0]
    assert [field.name for field in fields(cls) if not _in_code(field.name, section)] == []


@pytest.mark.parametrize("name", sleepwalker.__all__)
def test_every_name_of_the_package_is_in_the_reference_or_a_how_to(name: str) -> None:
    assert re.search(rf"\b{name}\b", _text("reference", "how-to"))


@pytest.mark.parametrize("name", [*sleepwalker.links.__all__, *_public(sleepwalker.links.Link)])
def test_every_name_of_links_is_in_its_reference(name: str) -> None:
    assert _in_code(name, _page("reference/links.md"))


@pytest.mark.parametrize(
    "function", [sleepwalker.links.links, sleepwalker.links.follow, sleepwalker.links.pages], ids=lambda f: f.__name__
)
def test_every_argument_of_links_is_in_its_reference_with_what_a_request_takes(function: object) -> None:
    options = [*_arguments(function), *RequestOptions.__annotations__]
    assert [name for name in options if not _in_code(name, _page("reference/links.md"))] == []


def test_the_page_says_which_headers_go_to_another_host() -> None:
    page = _page("reference/links.md").lower()
    assert [name for name in sleepwalker.links.way._HARMLESS if f"`{name}`" not in page] == []


def test_the_page_says_which_relations_of_items_are_not_the_answers_and_where_links_stand() -> None:
    page = _page("reference/links.md")
    assert [name for name in OF_ITSELF if f"`{name}`" not in page] == []
    assert [name for name in get_args(Place) if f'`"{name}"`' not in page] == []


@pytest.mark.parametrize(
    "cls", [Service, ServiceManager, datarep.Schema, datarep.DataRep, datarep.DictDataRep, datarep.ListDataRep]
)
def test_every_name_of_services_is_in_their_reference(cls: type) -> None:
    names = [name for base in cls.__mro__[:-1] for name in _public(base)]
    assert [name for name in names if not _in_code(name, _page("reference/services.md"))] == []


@pytest.mark.parametrize("cls", [Service, ServiceManager, datarep.DataRep], ids=lambda cls: cls.__name__)
def test_every_argument_of_services_is_in_their_reference(cls: type) -> None:
    made = [member for name, member in vars(cls).items() if inspect.isfunction(member) and name[0] != "_"]
    words = [word for function in (cls.__init__, *made) for word in _arguments(function)]  # type: ignore[misc]
    text = _page("reference/services.md")
    assert [word for word in words if not re.search(rf"`[^`]*\b{word}\b[^`]*`", text)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_a_how_to(command: str) -> None:
    """`sleepwalker policy show` may stand there as `policy show`."""
    assert re.search(
        rf"(?:^\$ sleepwalker|`(?:sleepwalker)?) ?{command.removeprefix('sleepwalker ')}\b", _text("how-to"), re.M
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_in_a_how_to(command: str) -> None:
    options = [action.option_strings for action in COMMANDS[command]._actions if action.option_strings]
    text = _text("how-to")
    assert [names for names in options if not any(re.search(rf"{name}\b", text) for name in names)] == []


@pytest.mark.parametrize("name", Policy.names())
def test_every_shipped_policy_is_in_a_how_to(name: str) -> None:
    assert f"`{name}`" in _text("how-to")


def test_every_page_is_in_the_index() -> None:
    index = _page("README.md")
    pages = [str(page.relative_to(DOCS)) for page in sorted(DOCS.rglob("*.md")) if page != DOCS / "README.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


def test_the_map_for_contributors_names_files_that_there_are() -> None:
    [rows] = re.findall(
        r"^## Map$(.*?)^## ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    named = re.findall(r"`(sleepwalker/[\w/.]+)`", rows)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_docs_name_the_releases_that_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [re.search(r"Python :: (3\.\d+)$", line) for line in project["classifiers"]]
    *others, last = [match[1] for match in found if match is not None]
    aiohttp = re.search(r"aiohttp>=([\d.]+),<4", str(project["optional-dependencies"]["aio"]))
    assert aiohttp is not None
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"needs Python {others[0]} or later, and is tested with {', '.join(others)} and {last}." in readme
    assert f"aiohttp {aiohttp[1]} or later" in readme
    assert f"aiohttp {aiohttp[1]} or later (version 3)" in " ".join(_page("reference/asyncio.md").split())
    assert project["requires-python"] == f">={others[0]}"
