"""Makes dataclasses with slots in a third of the time that `dataclasses` takes for them.

That compiles three to six methods for each class, each from a text of its own, and there are forty classes: a tenth of
the time that `import sleepwalker` takes. Here one is compiled, `__init__`; the others are the same for all classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

_T = TypeVar("_T")
#: What makes a method for a class.
_Maker = Callable[[Any, tuple[str, ...]], Any]


@dataclass_transform(frozen_default=True)
def frozen(cls: type[_T]) -> type[_T]:
    """`@dataclass(frozen=True, slots=True)` for a class whose fields have at most a plain default.

    What the class defines itself is kept.
    """
    return _made(cls, _METHODS)


@dataclass_transform()
def slotted(cls: type[_T]) -> type[_T]:
    """`@dataclass(slots=True)` for such a class."""
    made: Any = _made(cls, ("__eq__", "__repr__"))
    made.__hash__ = None
    return made  # type: ignore[no-any-return]


def _made(cls: type[_T], methods: Iterable[str]) -> type[_T]:
    own = vars(cls)
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    fields = dataclasses.fields(made)
    made.__init__ = _initialiser(made, fields, frozen="__setattr__" in methods)
    names = tuple(field.name for field in fields)
    for name in methods:
        if name not in own:
            setattr(made, name, _METHODS[name](made, names))
    return made  # type: ignore[no-any-return]


def _initialiser(cls: Any, fields: tuple[dataclasses.Field[Any], ...], *, frozen: bool) -> Any:
    # Where assignment is refused a slot's own setter gets past that, and is faster than `object.__setattr__`.
    setters = {f"_set_{field.name}": getattr(cls, field.name).__set__ for field in fields}
    defaults = {f"_default_{field.name}": field.default for field in fields if field.default is not dataclasses.MISSING}
    taken = ", ".join(f"{f.name}=_default_{f.name}" if f"_default_{f.name}" in defaults else f.name for f in fields)
    steps = [f"_set_{f.name}(self, {f.name})" if frozen else f"self.{f.name} = {f.name}" for f in fields]
    made: dict[str, Any] = {**setters, **defaults}
    exec(f"def __init__(self, {taken}): {'; '.join(steps) or 'pass'}", made)  # noqa: S102 - of the names of a class's own fields
    function = made["__init__"]
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    function.__module__ = cls.__module__
    return function


def reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes of an object all at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple([getattr(self, name) for name in names])


def _equality(cls: Any, names: tuple[str, ...]) -> Any:
    values = reader(names)

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _hashing(cls: Any, names: tuple[str, ...]) -> Any:
    values = reader(names)

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return __hash__


def _showing(cls: Any, names: tuple[str, ...]) -> Any:
    def __repr__(self: Any) -> str:  # noqa: N807
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _reducing(cls: Any, names: tuple[str, ...]) -> Any:
    """For pickle and copy, which would set the attributes one by one."""
    values = reader(names)

    def __reduce__(self: Any) -> Any:  # noqa: N807
        return type(self), values(self)

    return __reduce__


def _refuse_to_set(self: Any, name: str, value: Any) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS: dict[str, _Maker] = {
    "__eq__": _equality,
    "__hash__": _hashing,
    "__repr__": _showing,
    "__reduce__": _reducing,
    "__setattr__": lambda cls, names: _refuse_to_set,
    "__delattr__": lambda cls, names: _refuse_to_delete,
}
