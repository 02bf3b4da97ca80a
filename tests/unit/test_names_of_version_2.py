"""What code for version 2.0 imports, and how it calls it: each name where it was, each argument in its place."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import sleepwalker
from sleepwalker import connection, datarep, exceptions, service
from sleepwalker.connection import Connection, ConnectionHook, ConnectionManager

#: Module and the public names in it; the exceptions have a test of their own.
NAMES = {
    "sleepwalker": [
        "Connection",
        "ConnectionManager",
        "DataRep",
        "Schema",
        "Service",
        "ServiceDefManager",
        "ServiceManager",
        "connection",
        "datarep",
        "exceptions",
        "mgr",
        "service",
    ],
    "sleepwalker.connection": [
        "Connection",
        "ConnectionError",
        "ConnectionHook",
        "ConnectionManager",
        "HTTPError",
        "URLError",
    ],
    "sleepwalker.datarep": [
        "ContainerDataRep",
        "DataRep",
        "DictDataRep",
        "ListDataRep",
        "Schema",
        "VALIDATE_REQUEST",
        "VALIDATE_RESPONSE",
    ],
    "sleepwalker.service": ["Service", "ServiceManager"],
}
#: What version 3 has besides.
NEW = {"sleepwalker.connection": ["defaults"]}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_each_name_can_be_imported_from_where_it_was(module: str, name: str) -> None:
    found: dict[str, Any] = {}
    exec(f"from {module} import {name}", found)
    assert found[name] is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", ["sleepwalker.connection", "sleepwalker.datarep", "sleepwalker.service"])
def test_a_module_has_these_names_and_no_more(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == sorted(NAMES[module] + NEW.get(module, []))


def test_a_name_is_the_same_thing_wherever_it_is_imported_from() -> None:
    for name in ("URLError", "HTTPError", "ConnectionError"):
        assert getattr(connection, name) is getattr(exceptions, name) is getattr(sleepwalker, name)
    for module, names in ((connection, ["Connection", "ConnectionManager"]), (datarep, ["DataRep", "Schema"])):
        assert all(getattr(module, name) is getattr(sleepwalker, name) for name in names)
    assert (service.Service, service.ServiceManager) == (sleepwalker.Service, sleepwalker.ServiceManager)
    assert (sleepwalker.connection, sleepwalker.exceptions) == (connection, exceptions)
    assert (sleepwalker.datarep, sleepwalker.service) == (datarep, service)


def test_the_switches_of_validation_are_as_they_were() -> None:
    assert (datarep.VALIDATE_REQUEST, datarep.VALIDATE_RESPONSE) == (True, False)


ENCODER = (
    "(skipkeys=False, ensure_ascii=True, check_circular=True, allow_nan=True, sort_keys=False, indent=None, "
    "separators=None, encoding='utf-8', default=None)"
)
#: What can be given by position, with the defaults.
ARGUMENTS: list[tuple[Callable[..., Any], str]] = [
    (Connection, "(hostname, auth=None, port=None, verify=True, timeout=None)"),
    (Connection.add_headers, "(self, headers)"),
    (Connection.get_url, "(self, uri)"),
    (Connection.json_request, "(self, method, uri, body=None, params=None, extra_headers=None)"),
    (Connection.JsonEncoder, ENCODER),
    (ConnectionManager, "()"),
    (ConnectionManager.add, "(self, host, auth, conn)"),
    (ConnectionManager.add_conn_hook, "(self, hook)"),
    (ConnectionManager.clear_hooks, "(self)"),
    (ConnectionManager.find, "(self, host, auth=None)"),
    (ConnectionManager.reset, "(self)"),
    (ConnectionHook.connect, "(self, host, auth)"),
]


@pytest.mark.parametrize(("function", "arguments"), ARGUMENTS, ids=lambda value: getattr(value, "__qualname__", None))
def test_arguments_are_in_their_places_with_their_defaults(function: Callable[..., Any], arguments: str) -> None:
    by_place = [
        parameter.replace(annotation=parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert str(inspect.Signature(by_place)) == arguments


def test_a_hook_that_does_not_say_how_is_told_so() -> None:
    with pytest.raises(NotImplementedError):
        ConnectionHook().connect("https://host.com", None)


def test_the_package_names_every_exception_itself() -> None:
    """mypy reads a list of names, and no list that another module has."""
    assert set(exceptions.__all__) <= set(sleepwalker.__all__)


def test_an_interpreter_offers_the_public_names_and_no_others() -> None:
    assert [name for name in dir(sleepwalker) if not name.startswith("__")] == sorted(sleepwalker.__all__)
