"""What all policy objects have in common: frozen values that, when they cannot be, say everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from sleepwalker.exceptions import PolicyError
from sleepwalker.policy.rules import Rule
from sleepwalker.policy.statuses import listed

_ABSENT = object()
#: Unknown names that an error lists. Where there are more, what was given is something else than a policy.
_MOST_UNKNOWN = 20


class PolicyModel(BaseModel):
    """A frozen value that is valid by construction, compared by value, and hashable."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,  # until the first is made: whoever only imports us need not wait for it
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    def __init__(self, /, **data: Any) -> None:
        """Raises `PolicyError` that lists every fault."""
        _raise(type(self).__name__, self._take(data))

    def _take(self, data: Mapping[Any, Any]) -> list[str]:
        """Fill a blank model; returns all faults. With faults it must not be used."""
        return fill(self, data, "")[1]

    @classmethod
    def _build(cls, data: Mapping[Any, Any], source: str | None = None) -> Self:
        """A model from a mapping of any keys; `source` says where it came from, for the error's first line."""
        model = cls.__new__(cls)
        _raise(source or cls.__name__, model._take(data))
        return model

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked as a whole.

        A dict for a part changes only the fields that it names: `policy.replace(timeout={"read": 5})` keeps the
        other timeouts. For a part that is off it switches the part on, with the defaults for the rest.
        Raises `PolicyError` that lists every fault.
        """
        return self._build(_merged(self, changes))

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values that TOML and JSON can hold; what is off is False, sets are sorted lists."""
        return {name: plain(getattr(self, name)) for name in type(self).model_fields}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Fields for the `repr`, sets in order and short."""
        for name, value in super().__repr_args__():
            yield name, listed(value) if isinstance(value, frozenset) else value

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same as `replace`: pydantic's own would not check the changes."""
        return self.replace(**update or {})


def plain(value: Any) -> Any:
    """A field's value as TOML and JSON can hold it."""
    if isinstance(value, PolicyModel):
        return value.to_dict()
    if isinstance(value, frozenset):
        return listed(value)
    return False if value is None else value


@cache
def part_of(cls: type[PolicyModel], field: str) -> type[PolicyModel] | None:
    """The part that a field holds, None for a field that holds a plain value."""
    annotation = cls.model_fields[field].annotation
    for kind in get_args(annotation) or (annotation,):
        if isinstance(kind, type) and issubclass(kind, PolicyModel):
            return kind
    return None


def default_of(field: FieldInfo) -> Any:
    """The value of a field that is not given; one for all, as frozen values can be shared."""
    return field.get_default(call_default_factory=True)


def can_be_off(cls: type[PolicyModel], field: str) -> bool:
    """Whether False and None are values of the field."""
    return type(None) in get_args(cls.model_fields[field].annotation)


def allowed(cls: type[PolicyModel], field: str) -> str:
    """What a field takes, in words: `a number, at least 0 and at most 1`."""
    part = part_of(cls, field)
    if part is not None:
        words = f"a table of {_list(part.model_fields)}"
        return f"{words}, or false" if can_be_off(cls, field) else words
    return _words(_schema(cls)["properties"][field])


def fill(
    model: PolicyModel, data: Mapping[Any, Any], prefix: str, also: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Fill a blank model, and give its sound values by path (for the rules) and all faults.

    `also` are names that are allowed beside the fields, and are none of them. The parts are made here rather than by
    pydantic, which would stop before the rules at the first part that is not sound. With faults the model must not be
    used.
    """
    cls = type(model)
    fields = cls.model_fields
    unknown = [key for key in data if key not in fields]
    faults = [_unknown(cls, key, prefix, also) for key in unknown[:_MOST_UNKNOWN]]
    if len(unknown) > _MOST_UNKNOWN:
        faults.append(f"{prefix}*: {len(unknown) - _MOST_UNKNOWN} more are unknown: is this a policy?")
    given: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, field in fields.items():
        value = data.get(name, _ABSENT)
        if value is False and can_be_off(cls, name):
            value = None
        part = part_of(cls, name)
        if value is not _ABSENT:
            given[name] = value
        elif not field.is_required():
            value = default_of(field)
        if part is None or (value is None and can_be_off(cls, name)):
            values[name] = value
        elif isinstance(value, part):
            values[name] = value
            values.update(_flat(value, name))
        elif isinstance(value, Mapping):
            values[name] = given[name] = made = part.__new__(part)
            inner, inner_faults = fill(made, value, f"{prefix}{name}.")
            values.update((f"{name}.{key}", item) for key, item in inner.items())
            faults += inner_faults
            if inner_faults:
                del given[name]
        else:
            values[name] = given.pop(name)
            faults.append(_not_a_part(cls, name, value, prefix))
    wrong: dict[str, dict[str, None]] = {}  # the faults of each field, once each
    try:
        BaseModel.__init__(model, **given)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            name = str(detail["loc"][0])
            came = "missing" if detail["type"] == "missing" else f"{_shown(detail['input'])} is not allowed"
            wrong.setdefault(name, {})[f"{prefix}{name}: {came}; must be {allowed(cls, name)}"] = None
    for said in wrong.values():
        faults += said
    sound = {path: value for path, value in values.items() if path not in wrong and value is not _ABSENT}
    for rule in cls.rules:
        faults += rule(sound, prefix)
    return sound, faults


def _flat(model: PolicyModel, prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = values[f"{prefix}.{name}"] = getattr(model, name)
        if isinstance(value, PolicyModel):
            values.update(_flat(value, f"{prefix}.{name}"))
    return values


def _merged(model: PolicyModel, changes: Mapping[Any, Any]) -> dict[Any, Any]:
    # What was not said before is not said by the copy.
    merged: dict[Any, Any] = {name: getattr(model, name) for name in model.model_fields_set}
    for name, value in changes.items():
        old = getattr(model, name) if name in type(model).model_fields else None
        merged[name] = _merged(old, value) if isinstance(old, PolicyModel) and isinstance(value, Mapping) else value
    return merged


def _raise(what: str, faults: list[str]) -> None:
    if faults:
        raise policy_error(what, faults)


def policy_error(what: str, faults: list[str]) -> PolicyError:
    """The error about `what`: a line that counts the faults, then a line for each."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    lines = [f"{count} in {what}:", *(f"  {fault}" for fault in faults)]
    return PolicyError("\n".join(lines), faults=tuple(faults))


def _unknown(cls: type[PolicyModel], key: Any, prefix: str, also: tuple[str, ...]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    # The value is not shown: what has no business in a policy may well be a secret.
    known = [*cls.model_fields, *also]
    paths = {name: [name] for name in known}
    for name in cls.model_fields:
        part = part_of(cls, name)
        for inner in part.model_fields if part else ():
            paths.setdefault(inner, []).append(f"{name}.{inner}")
    names = [key] if key in paths else get_close_matches(str(key), paths, n=2)
    close = [f"{prefix}{path}" for name in names for path in paths[name]]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    shown = key if isinstance(key, str) and key.isprintable() and len(key) <= 60 else _shown(key)
    return f"{prefix}{shown}: unknown; {hint}allowed: {_list(known)}"


def _not_a_part(cls: type[PolicyModel], name: str, value: Any, prefix: str) -> str:
    path = f"{prefix}{name}"
    if value is True:
        came = "True says nothing (leave it out for the default)"
    elif value is False or value is None:
        came = f"{value} is not allowed, it cannot be switched off (leave it out for the defaults)"
    elif isinstance(value, str):  # not shown: `log = "…"` is from a file that is no policy
        came = f"a text of {len(value)} characters is not allowed"
    else:
        came = f"{_shown(value)} is not allowed"
    kind = cast("type[PolicyModel]", part_of(cls, name)).__name__
    return f"{path}: {came}; must be {allowed(cls, name)} (in code also a {kind})"


def _shown(value: Any) -> str:
    """A value as it may stand in an error: short, and without what may be a query string or user information."""
    if isinstance(value, str) and re.search(r"[?@]|//", value):
        return f"a text of {len(value)} characters"
    if isinstance(value, Mapping):
        return "a table"
    if not isinstance(value, str | bool | int | float | list | tuple | set | frozenset | None):
        return f"a {type(value).__name__}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number beyond all bounds"  # its digits could be more than Python agrees to write
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[0]}"


@cache
def _schema(cls: type[PolicyModel]) -> dict[str, Any]:
    return cls.model_json_schema()


def _list(names: Any) -> str:
    return ", ".join(names)


def _words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(_words(option) for option in schema["anyOf"])
    if "enum" in schema:
        return f"one of {_list(schema['enum'])}"
    match schema["type"]:
        case "null":
            return "false"
        case "boolean":
            return "true or false"
        case "array":
            return f"a list, each {_words(schema['items'])}"
        case "string":
            return str(schema["title"])
        case kind:
            bounds = [
                f"{text} {schema[key]:.15g}"
                for key, text in (
                    ("exclusiveMinimum", "more than"),
                    ("minimum", "at least"),
                    ("exclusiveMaximum", "less than"),
                    ("maximum", "at most"),
                )
                if key in schema
            ]
            return f"a {'whole number' if kind == 'integer' else 'number'}, {' and '.join(bounds)}"
