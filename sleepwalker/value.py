"""Frozen values that are cheap to make.

A frozen dataclass sets each of its fields by a call of `object.__setattr__`, so it takes four times as long to make as
another one. A value is made as a draft instead: a subclass without fields of its own, whose attributes can be set. When
they are, its class is changed. Each call makes two values, an `Attempt` and an event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from functools import cache, wraps
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

_T = TypeVar("_T")
_set_attribute = object.__setattr__


class Value:
    """The base of frozen values: they are compared, hashed and shown by their fields."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __setstate__(self, state: tuple[dict[str, Any] | None, ...]) -> None:
        """For copies and pickles, which set the fields of a new object."""
        for attributes in state:
            for name, value in (attributes or {}).items():
                _set_attribute(self, name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        cls: Any = type(self)
        values = _reader_of(cls)
        return values(self) == values(other)

    def __hash__(self) -> int:
        cls: Any = type(self)
        return hash(_reader_of(cls)(self))

    def __repr__(self) -> str:
        cls: Any = type(self)
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(names_of(cls), _reader_of(cls)(self), strict=True))
        return f"{cls.__qualname__}({shown})"


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_type(cls: type[_T]) -> type[_T]:
    """Make a subclass of `Value` a dataclass with slots. To type checkers it is a frozen one."""
    made: Any = dataclass(slots=True, eq=False, repr=False)(cls)
    assign = made.__assign = made.__init__

    @wraps(assign)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        kind: Any = type(self)
        _set_attribute(self, "__class__", draft_of(kind))
        assign(self, *args, **kwargs)
        self.__class__ = kind

    made.__init__ = init
    return made  # type: ignore[no-any-return]


@cache
def draft_of(cls: Any) -> Any:
    """The subclass for drafts of a value's type.

    To make a draft and change its `__class__` takes less time than `cls(...)`. Use it for values that each call makes.
    """
    # Both of the last two, or Python would look up a method for each assignment.
    plain = {"__init__": cls.__assign, "__setattr__": _set_attribute, "__delattr__": object.__delattr__}
    return type(cls.__name__, (cls,), {"__slots__": (), "__doc__": cls.__doc__, **plain})


@cache
def names_of(cls: Any) -> tuple[str, ...]:
    """The names of a value's fields, which `dataclasses.fields` collects anew at each call."""
    return tuple(one.name for one in fields(cls))


def reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that reads these attributes of an object all at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple([getattr(self, name) for name in names])


@cache
def _reader_of(cls: Any) -> Callable[[Any], tuple[Any, ...]]:
    return reader(names_of(cls))
