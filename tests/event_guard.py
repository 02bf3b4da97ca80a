"""Looks at every event that is made while a test runs: it must be in the catalogue, and its fields of their types.

The fixture is imported by the conftest files, so it works in whatever part of the suite is run. What child processes
make is not seen.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from types import NoneType
from typing import Any

import pytest

from sleepwalker.events import CATALOGUE, Event

_faults: list[str] = []


def faults_of(event: Event) -> list[str]:
    """What is wrong with an event, by what its type promises."""
    cls = type(event)
    if CATALOGUE.get(cls.name) is not cls:
        return [f"{cls.__name__} ({cls.name}) is not in the catalogue"]
    return [
        f"{cls.name}.{name}: {value!r} is not {wanted}"
        for name, wanted, fits in _checks(cls)
        if not fits(value := getattr(event, name))
    ]


@functools.cache
def _checks(cls: type[Event]) -> list[tuple[str, str, Callable[[Any], bool]]]:
    """For each field its name, its type in words, and whether a value is of it."""
    hints = typing.get_type_hints(cls)
    return [(field.name, str(hints[field.name]), _check(hints[field.name])) for field in fields(cls)]


def _check(hint: Any) -> Callable[[Any], bool]:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return lambda value: isinstance(value, str) and value in parts
    if parts:  # a union
        checks = [_check(part) for part in parts]
        return lambda value: any(check(value) for check in checks)
    if hint is float:
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    assert hint in (str, bool, NoneType), f"{hint}: say here how it is checked"
    return lambda value: isinstance(value, hint)


def _watch(cls: type[Event]) -> None:
    make = cls.__init__

    @functools.wraps(make)
    def made(self: Event, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        _faults.extend(faults_of(self))  # not raised here: whoever makes it may swallow that

    cls.__init__ = made  # type: ignore[method-assign]
    for below in cls.__subclasses__():
        _watch(below)


for _cls in Event.__subclasses__():
    _watch(_cls)


@pytest.fixture(autouse=True)
def events_are_what_the_catalogue_says() -> Iterator[list[str]]:
    """Fails a test during which an event was made that is not as documented."""
    _faults.clear()
    yield _faults
    assert _faults == []
