"""Service definitions: all that sleepwalker knows of reschema, of JSON pointers and of templates in definitions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

try:
    with warnings.catch_warnings():
        # A string of reschema 2.0 has a stray backslash, of which Python warns when it compiles that file: not where
        # pip compiled it beforehand, but where it did not, and warnings are errors, the import would fail.
        warnings.filterwarnings("ignore", r".*invalid escape sequence", module=r".*\breschema\b")
        from reschema import ServiceDefManager
        from reschema.exceptions import InvalidReference, MissingParameter, ValidationError
        from reschema.jsonschema import Array, DynamicSchema, Multi, Object, Schema
    import uritemplate
    from jsonpointer import JsonPointer, JsonPointerException, escape
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"sleepwalker's services need the package {_error.name}: pip install 'sleepwalker[services]'", name=_error.name
    ) from None

from sleepwalker.exceptions import InvalidParameter
from sleepwalker.transport.segments import dotted_by, may_have_dots

__all__ = [
    "InvalidReference",
    "JsonPointerException",
    "MissingParameter",
    "ServiceDefManager",
    "ValidationError",
    "child_pointer",
    "dereferenced",
    "error_schema",
    "kind_of",
    "put_at",
    "resolved_path",
    "resolved_relation",
    "schema_at",
    "value_at",
    "variables_of",
]


def variables_of(template: str) -> set[str]:
    """The names of a template's variables, those of its query included."""
    return set(uritemplate.variables(template))


def dereferenced(schema: Any) -> Any:
    """What a `$ref` or `$merge` stands for, through as many of them as there are; InvalidReference for a circle."""
    seen: list[Any] = []
    while isinstance(schema, DynamicSchema):
        if any(schema is one for one in seen):
            raise InvalidReference("it refers to itself", schema.fullid())
        seen.append(schema)
        schema = schema.refschema
    return schema


def kind_of(schema: Any) -> Literal["array", "object", "plain"]:
    """How data of a schema is held. NotImplementedError for one that allows several kinds."""
    schema = dereferenced(schema)
    if isinstance(schema, Object):
        return "object"
    if isinstance(schema, Array):
        return "array"
    if isinstance(schema, Multi):
        raise NotImplementedError(f"the schema of {schema.fullname()} names no type: read the value from the data")
    return "plain"


def schema_at(schema: Any, fragment: str) -> Any:
    """The schema of the part of a document that a JSON pointer means.

    KeyError and TypeError for a part that there cannot be. One step at a time, for reschema's own `by_pointer` takes
    `~` and `/` in keys for parts of the pointer below the first level, and an empty key for the whole.
    """
    if not fragment.startswith("/"):
        return schema.by_pointer(fragment)
    for part in JsonPointer(fragment).parts:
        schema = dereferenced(dereferenced(schema)[part])
    return schema


def child_pointer(fragment: str | None, key: object) -> str:
    """The pointer to a member of what `fragment` means."""
    return f"{fragment or ''}/{escape(str(key))}"


def value_at(data: Any, fragment: str) -> Any:
    """What a JSON pointer means in the data. JsonPointerException, without the data in its text, for nothing."""
    try:
        return JsonPointer(fragment).resolve(data)
    except JsonPointerException:
        pass
    raise JsonPointerException(f"there is nothing at {fragment} in the data")


def put_at(data: Any, fragment: str, value: Any) -> None:
    """Replace what a JSON pointer means in the data, in place. JsonPointerException where there is no such place."""
    try:
        JsonPointer(fragment).set(data, value)
        return
    except (JsonPointerException, LookupError, TypeError):
        pass
    raise JsonPointerException(f"there is no place for {fragment} in the data")


def resolved_path(path: Any, data: Any = None, kvs: Mapping[str, Any] | None = None, pointer: str = "") -> str:
    """A link's path with its variables filled in.

    MissingParameter for one that has no value, InvalidParameter for a value that would lead out of the path.
    """
    if data and pointer:
        value_at(data, pointer)  # raises without the data in its text
    try:
        found: tuple[str, dict[str, Any]] = path.resolve(data, kvs=kvs, pointer=pointer)
    except MissingParameter as error:
        raise _told(error)  # noqa: B904 - its context is what must go
    _check_dots(path, *found)
    return found[0]


def resolved_relation(relation: Any, data: Any, fragment: str, kvs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path of a relation's target, and all values that it was made of. Raises as `resolved_path` does."""
    try:
        found: tuple[str, dict[str, Any]] = relation.resolve(data, fragment, kvs=kvs)
    except MissingParameter as error:
        raise _told(error)  # noqa: B904
    _check_dots(relation.resource.links["self"].path, *found)
    return found


def error_schema(failing: Any) -> Any:
    """A schema for the body of an error, which no definition describes: any object."""
    where = {"servicedef": failing.servicedef} if failing.parent is None else {"parent": failing.parent}
    return Schema.parse({"type": "object"}, name="httperror", **where)


def _check_dots(path: Any, uri: str, values: Mapping[str, Any]) -> None:
    """Refuse values that make the path another one than the template's: what a server does with `/orders/..` is bad."""
    if not may_have_dots(uri):
        return
    texts: dict[str, Any] = {name: str(value) for name, value in values.items()}  # as reschema expands it
    template = path.template
    expressions = dotted_by(template.removeprefix("$"), uri.removeprefix("$"), lambda one: _expanded(one, texts))
    if expressions is not None:
        names = ", ".join(map(repr, uritemplate.variables(expressions)))
        raise InvalidParameter(
            f"the value of {names} puts a dot segment (. or ..) into the path {template}, which would lead to another "
            f"resource"
        )


def _expanded(expression: str, texts: dict[str, Any]) -> str:
    return str(uritemplate.expand(expression, texts))


def _told(error: Any) -> Any:
    """The error without the one that led to it, whose text quotes all of the data."""
    error.__suppress_context__ = True
    error.__context__ = None
    return error
