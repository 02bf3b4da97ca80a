"""What all policy objects have in common: frozen values, whose error lists every fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from sleepwalker.exceptions import PolicyError
from sleepwalker.policy.constraints import Constraint
from sleepwalker.policy.descriptions import descriptions, summary
from sleepwalker.policy.statuses import listed
from sleepwalker.policy.wording import closest, listing, shown, words_of

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

_ABSENT = object()
#: How many unknown names an error lists. With more, the given value is probably not a policy.
_MOST_UNKNOWN = 20


class PolicyModel(BaseModel, frozen=True):
    """A frozen value that is valid by construction, compared by value, and hashable."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,  # until the first is made: a program that imports the package need not wait for it
    )

    constraints: ClassVar[tuple[Constraint, ...]] = ()
    """What must hold between its fields."""

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

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """pydantic's own with the texts of the class and its fields."""
        made = handler(core_schema)
        schema = handler.resolve_ref_schema(made)
        schema["description"] = summary(cls)
        texts = descriptions(cls)
        for name in cls.model_fields.keys() & texts:
            schema["properties"][name]["description"] = texts[name]
        return made


def plain(value: object) -> Any:
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
        words = f"a table of {listing(part.model_fields)}"
        return f"{words}, or false" if can_be_off(cls, field) else words
    return words_of(_schema(cls)["properties"][field])


def fill(
    model: PolicyModel, data: Mapping[Any, Any], prefix: str, also: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Fill a blank model; returns its sound values by path (for the constraints) and all faults.

    `also` are allowed names that are not fields. The parts are made here rather than by pydantic, which would stop
    before the constraints at the first part that is not sound. With faults the model must not be used.
    """
    cls = type(model)
    faults = _unknown_fields(cls, data, prefix, also)
    given: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name in cls.model_fields:
        faults += _take_field(cls, name, data.get(name, _ABSENT), prefix, given, values)
    wrong = _wrong_fields(model, given, prefix)
    for said in wrong.values():
        faults += said
    sound = {path: value for path, value in values.items() if path not in wrong and value is not _ABSENT}
    for constraint in cls.constraints:
        faults += constraint(sound, prefix)
    return sound, faults


def _unknown_fields(cls: type[PolicyModel], data: Mapping[Any, Any], prefix: str, also: tuple[str, ...]) -> list[str]:
    """The faults of names that are not fields."""
    unknown = [key for key in data if key not in cls.model_fields]
    faults = [_unknown(cls, key, prefix, also) for key in unknown[:_MOST_UNKNOWN]]
    if len(unknown) > _MOST_UNKNOWN:
        faults.append(f"{prefix}*: {len(unknown) - _MOST_UNKNOWN} more are unknown: is this a policy?")
    return faults


def _take_field(
    cls: type[PolicyModel], name: str, value: object, prefix: str, given: dict[str, Any], values: dict[str, Any]
) -> list[str]:
    """Put a field's value into `given`, for pydantic, and its values by path into `values`; returns the faults."""
    off = can_be_off(cls, name)
    if value is False and off:
        value = None
    part = part_of(cls, name)
    if value is not _ABSENT:
        given[name] = value
    elif not cls.model_fields[name].is_required():
        value = default_of(cls.model_fields[name])
    values[name] = value
    if part is None or (value is None and off):
        return []
    if isinstance(value, part):
        values.update(_flat(value, name))
        return []
    if not isinstance(value, Mapping):
        del given[name]
        return [_not_a_part(cls, name, value, prefix)]
    values[name] = given[name] = made = part.__new__(part)
    inner, faults = fill(made, value, f"{prefix}{name}.")
    values.update((f"{name}.{key}", item) for key, item in inner.items())
    if faults:
        del given[name]
    return faults


def _wrong_fields(model: PolicyModel, given: Mapping[str, Any], prefix: str) -> dict[str, list[str]]:
    """Let pydantic fill the model; returns the faults of each field that it refuses, each fault once."""
    cls = type(model)
    try:
        BaseModel.__init__(model, **given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    else:
        return {}
    wrong: dict[str, list[str]] = {}
    for detail in details:
        name = str(detail["loc"][0])
        came = "missing" if detail["type"] == "missing" else f"{shown(detail['input'])} is not allowed"
        fault = f"{prefix}{name}: {came}; must be {allowed(cls, name)}"
        if fault not in (said := wrong.setdefault(name, [])):
            said.append(fault)
    return wrong


def _flat(model: PolicyModel, prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = values[f"{prefix}.{name}"] = getattr(model, name)
        if isinstance(value, PolicyModel):
            values.update(_flat(value, f"{prefix}.{name}"))
    return values


def _merged(model: PolicyModel, changes: Mapping[Any, Any]) -> dict[Any, Any]:
    # Fields that were not set are not set in the copy.
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


def _unknown(cls: type[PolicyModel], key: object, prefix: str, also: tuple[str, ...]) -> str:
    # The value is not shown: what does not belong in a policy may be a secret.
    known = [*cls.model_fields, *also]
    paths = {name: [name] for name in known}
    for name in cls.model_fields:
        part = part_of(cls, name)
        for inner in part.model_fields if part else ():
            paths.setdefault(inner, []).append(f"{name}.{inner}")
    names = [key] if key in paths else closest(str(key), paths, most=2)
    close = [f"{prefix}{path}" for name in names for path in paths[name]]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    named = key if isinstance(key, str) and key.isprintable() and len(key) <= 60 else shown(key)
    return f"{prefix}{named}: unknown; {hint}allowed: {listing(known)}"


def _not_a_part(cls: type[PolicyModel], name: str, value: object, prefix: str) -> str:
    path = f"{prefix}{name}"
    if value is True:
        came = "True has no meaning here (leave it out for the default)"
    elif value is False or value is None:
        came = f"{value} is not allowed, it cannot be switched off (leave it out for the defaults)"
    elif isinstance(value, str):  # not shown: `log = "…"` is from a file that is no policy
        came = f"a text of {len(value)} characters is not allowed"
    else:
        came = f"{shown(value)} is not allowed"
    kind = cast("type[PolicyModel]", part_of(cls, name)).__name__
    return f"{path}: {came}; must be {allowed(cls, name)} (in code also a {kind})"


@cache
def _schema(cls: type[PolicyModel]) -> dict[str, Any]:
    return cls.model_json_schema()
