"""Looks at every event that is made while a test runs: it must be in the catalogue, and its fields of their types.

The fixture is imported by the conftest files, so it works in whatever part of the suite is run. What child processes
make is not seen.
"""

from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from types import NoneType
from typing import Any

import pytest

from sleepwalker.events import CATALOGUE, Event
from sleepwalker.value import draft_of

_faults: list[str] = []


def faults_of(event: Event) -> list[str]:
    """What is wrong with an event, by what its type promises."""
    cls = type(event)
    if cls is draft_of(cls.__base__):
        cls = cls.__base__  # its type in a moment
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


@functools.cache
def _look(cls: type[Event]) -> Callable[[Event], tuple[object, ...]]:
    """What tells whether an event is as documented: the types of its values, and those that must be of a list."""
    names = [field.name for field in fields(cls)]
    hints = typing.get_type_hints(cls)
    values = operator.attrgetter("host", *names)  # one name more, for with a single one it gives no tuple
    listed = operator.attrgetter("name", "level", *(name for name in names if "Literal" in str(hints[name])))
    return lambda event: (*map(type, values(event)), *listed(event))


def _watch(cls: type[Event]) -> None:
    make = cls.__init__
    fine: set[tuple[object, ...]] = set()

    @functools.wraps(make)
    def made(self: Event, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if (look := _look(cls)(self)) in fine:  # a simulated minute makes thousands that are alike
            return
        if faults := faults_of(self):
            _faults.extend(faults)  # not raised here: the code that makes it may swallow that
        else:
            fine.add(look)

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
