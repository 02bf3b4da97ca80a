"""What the two tables of tests/unit and tests/wire that go through every field of a policy are made of."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from sleepwalker.policy import Policy


class Case(NamedTuple):
    """One field: what is seen at each of its values, with the rest of the policy as in `rest`."""

    field: str
    rest: dict[str, Any]
    watch: Callable[[Policy], object]
    seen: tuple[tuple[Any, object], ...]


def case(field: str, rest: dict[str, Any], watch: Callable[[Policy], object], *seen: tuple[Any, object]) -> Case:
    return Case(field, rest, watch, seen)


def with_field(rest: dict[str, Any], path: str, value: Any) -> Policy:
    """The policy of `rest` with one field changed."""

    def change(parts: dict[str, Any], names: list[str]) -> dict[str, Any]:
        name, *further = names
        inner = parts.get(name) or {}
        return {**parts, name: change(inner, further) if further else value}

    return Policy(**change(rest, path.split(".")))


def all_fields(model: type[BaseModel] = Policy, prefix: str = "") -> Iterator[str]:
    """The paths of all fields, and of all parts that can be switched off."""
    for name, field in model.model_fields.items():
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        part = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if part is None or type(None) in kinds:
            yield prefix + name
        if part is not None:
            yield from all_fields(part, f"{prefix}{name}.")
