"""The JSON schema of a policy file, for editors that check TOML while it is typed."""

from __future__ import annotations

from typing import Any

from sleepwalker.policy.base import PolicyModel, default_of, part_of, plain


def toml_schema(cls: type[PolicyModel]) -> dict[str, Any]:
    """pydantic's schema in the terms of TOML: there is no null, and `false` switches off."""
    schema: dict[str, Any] = _without_null(cls.model_json_schema())
    _set_defaults(schema, cls, schema["$defs"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_null(node: Any) -> Any:
    if isinstance(node, dict):
        return (
            {"const": False} if node == {"type": "null"} else {key: _without_null(item) for key, item in node.items()}
        )
    return [_without_null(item) for item in node] if isinstance(node, list) else node


def _set_defaults(schema: dict[str, Any], cls: type[PolicyModel], definitions: dict[str, Any]) -> None:
    """Write each default as TOML would have it, sets in order: the schema is the same in every run."""
    for name, field in cls.model_fields.items():
        if not field.is_required():
            schema["properties"][name]["default"] = plain(default_of(field))
        part = part_of(cls, name)
        if part is not None:
            _set_defaults(definitions[part.__name__], part, definitions)
