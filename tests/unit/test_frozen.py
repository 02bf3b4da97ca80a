"""`frozen` and `slotted` make what `@dataclass(frozen=True, slots=True)` and `@dataclass(slots=True)` make."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar

import pytest

from sleepwalker.attempt import Attempt
from sleepwalker.events import CATALOGUE, BreakerClosed
from sleepwalker.frozen import frozen, slotted


@frozen
class Base:
    kind: ClassVar[str] = "base"
    host: str


@frozen
class Ours(Base):
    """Something with a default."""

    number: int
    name: str = "none"

    def twice(self) -> int:
        return 2 * self.number


@dataclasses.dataclass(frozen=True, slots=True)
class TheirBase:
    kind: ClassVar[str] = "base"
    host: str


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs(TheirBase):
    number: int
    name: str = "none"


@frozen
class Single:
    value: Any


def test_it_is_made_by_position_and_by_name_and_with_defaults() -> None:
    for made in (Ours("h", 2), Ours(host="h", number=2), Ours("h", number=2, name="none")):
        assert (made.host, made.number, made.name, made.twice(), made.kind) == ("h", 2, "none", 4, "base")
    assert list(inspect.signature(Ours).parameters) == list(inspect.signature(Theirs).parameters)
    wrong: list[dict[str, Any]] = [{}, {"host": "h"}, {"host": "h", "number": 1, "other": 2}]
    for arguments in wrong:
        with pytest.raises(TypeError, match=r"Ours\.__init__\(\)"):
            Ours(**arguments)


def test_it_is_a_dataclass_to_whoever_asks() -> None:
    one = Ours("h", 2)
    assert dataclasses.asdict(one) == dataclasses.asdict(Theirs("h", 2))  # type: ignore[call-overload]
    assert dataclasses.replace(one, number=3) == Ours("h", 3)  # type: ignore[type-var]
    assert [field.name for field in dataclasses.fields(Ours)] == ["host", "number", "name"]  # type: ignore[arg-type]
    assert repr(one) == repr(Theirs("h", 2)).replace("Theirs", "Ours")
    match one:
        case Ours(host, number, name):
            assert (host, number, name) == ("h", 2, "none")


def test_nothing_of_it_can_be_changed_and_nothing_added() -> None:
    one: Any = Ours("h", 2)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'number'"):
        one.number = 3
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'number'"):
        del one.number
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.other = 3
    assert not hasattr(one, "__dict__")


def test_equal_values_are_equal_and_hash_alike_and_other_classes_are_not() -> None:
    assert Ours("h", 2) == Ours("h", 2)
    assert Ours("h", 2) != Ours("h", 3)
    assert Ours("h", 2) != Theirs("h", 2)
    assert len({Ours("h", 2), Ours("h", 2), Ours("i", 2)}) == 2
    assert (Single(1) == Single(1), Single((1,)) == Single(1)) == (True, False)
    assert hash(Single(1)) == hash(Single(1))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Single([]))


@pytest.mark.parametrize("value", [Attempt(1, 0.0, 0.5, 200), BreakerClosed("https://h", ramp=5.0)])
def test_it_can_be_copied_and_pickled(value: Any) -> None:
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert (type(other), other) == (type(value), value)


def test_what_a_class_defines_itself_is_kept() -> None:
    @frozen
    class Own:
        number: int

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert repr(Own(1)) == "mine"
    assert Own(1) == 7
    with pytest.raises(TypeError, match="unhashable"):
        hash(Own(1))


def test_every_event_is_made_so() -> None:
    for cls in CATALOGUE.values():
        event: Any = cls.__new__(cls)
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.host = "other"


def test_a_slotted_one_can_be_changed_and_has_no_hash() -> None:
    @slotted
    class Loose:
        number: int
        name: str = "none"

    @slotted
    class Empty:
        pass

    one: Any = Loose(1)
    one.number = 2
    assert (one, repr(one).rpartition(".")[2]) == (Loose(2), "Loose(number=2, name='none')")
    assert Empty() == Empty()
    assert dataclasses.replace(one, name="x") == Loose(2, "x")
    with pytest.raises(AttributeError):
        one.other = 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
