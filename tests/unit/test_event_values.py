"""An event is a value: it is compared, shown and copied by its fields."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest

from sleepwalker.attempt import Attempt
from sleepwalker.engine import Outcome
from sleepwalker.events import CATALOGUE, BreakerClosed, BreakerHalfOpened, Event, RequestFinished
from tests.unit.engine_driver import World, answer, refused

VALUES = [
    Attempt(1, 0.0, 0.5, 200),
    BreakerClosed("https://h", ramp=5.0),
    RequestFinished("https://h", "GET", "/", 200, 1, 0.5, 0.0, call="a-1"),
]


def test_events_with_equal_fields_are_equal_and_hash_alike_and_other_types_are_not() -> None:
    one = BreakerClosed("https://h", ramp=5.0)
    assert one == BreakerClosed("https://h", 5.0)
    assert one != BreakerClosed("https://h", 4.0)
    assert BreakerHalfOpened("https://h") != Event("https://h")
    assert one != ("https://h", 5.0, None, None)
    assert len({one, BreakerClosed("https://h", 5.0), BreakerClosed("https://i", 5.0)}) == 2
    assert {Event("https://h"): 1}[Event("https://h")] == 1


def test_an_event_shows_its_fields() -> None:
    event = BreakerHalfOpened("https://h")
    fields = ", ".join(f"{field.name}={getattr(event, field.name)!r}" for field in dataclasses.fields(event))
    assert repr(event) == f"BreakerHalfOpened({fields})"
    match event:
        case BreakerHalfOpened(host):
            assert host == "https://h"


@pytest.mark.parametrize("value", VALUES)
def test_a_value_cannot_be_changed(value: Any) -> None:
    """A caller's mistake would change what the next reader of the same attempts, or observer, sees."""
    before = repr(value)
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError, match=field.name):
            setattr(value, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError, match=field.name):
            delattr(value, field.name)
    assert repr(value) == before


@pytest.mark.parametrize("answers", [[answer(200)], [answer(503), refused(), answer(200)], refused()])
def test_the_values_that_a_call_makes_cannot_be_changed(answers: Outcome | list[Outcome]) -> None:
    """Some of them are not made by their constructor, which takes longer."""
    world = World()
    final = world.call(answers).final
    assert final is not None
    for value in [*final.attempts, *world.events]:
        assert type(value) in {Attempt, *CATALOGUE.values()}
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_the_constructor_names_its_arguments() -> None:
    names = ["number", "start", "duration", "status", "error", "wait", "reached"]
    assert list(inspect.signature(Attempt).parameters) == names
    with pytest.raises(TypeError, match=r"__init__\(\) missing .*'duration'"):
        Attempt(1, 0.0)  # type: ignore[call-arg]


def test_a_subclass_of_a_value_is_frozen_as_well() -> None:
    """Without the decorator it has a `__dict__`."""

    class Mine(Attempt):
        pass

    mine = Mine(1, 0.0, 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.other = 1  # type: ignore[attr-defined]
    assert (type(mine), mine, copy.copy(mine)) == (Mine, Mine(1, 0.0, 0.5), mine)


@pytest.mark.parametrize("value", VALUES)
def test_a_value_can_be_copied_pickled_and_replaced(value: Any) -> None:
    pickled = pickle.loads(pickle.dumps(value))
    for other in (copy.copy(value), copy.deepcopy(value), pickled, dataclasses.replace(value)):
        assert (type(other), other, hash(other)) == (type(value), value, hash(value))


def test_no_event_takes_a_field_that_its_type_does_not_have() -> None:
    for cls in CATALOGUE.values():
        event: Any = cls.__new__(cls)
        with pytest.raises(AttributeError):
            event.unknown = 1
