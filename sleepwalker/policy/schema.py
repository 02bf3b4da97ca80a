"""The JSON schema of a policy file, for editors that check TOML while it is typed."""

from __future__ import annotations

from typing import Any

from sleepwalker.policy.base import PolicyModel, default_of, part_of, plain
from sleepwalker.policy.hosts import HOST, MATCH


def toml_schema(cls: type[PolicyModel]) -> dict[str, Any]:
    """pydantic's schema in the terms of TOML: there is no null, and `false` switches off."""
    schema: dict[str, Any] = _without_null(cls.model_json_schema())
    tables = _tables(schema)
    _set_defaults(schema, cls, schema["$defs"])
    schema["$defs"] |= tables
    schema["properties"][HOST] = {
        "type": "array",
        "items": {"$ref": f"#/$defs/{_OF_HOST.format(cls.__name__)}"},
        "description": "Tables for single hosts: what differs there from the rest of this policy.",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


#: In a table for single hosts each part and field may be absent, and is then what it is in the rest of the policy.
_OF_HOST = "{}OfHost"
_PATTERN = {"type": "string", "pattern": "[^/ ]"}
_MATCH = {
    "anyOf": [_PATTERN, {"type": "array", "items": _PATTERN, "minItems": 1}],
    "description": "The hosts that the table is for: a pattern for their URLs or names, or a list of patterns.",
}


def _tables(schema: dict[str, Any]) -> dict[str, Any]:
    """The definitions of a table for single hosts and its parts, from those of a policy and its parts."""
    whole = {key: schema[key] for key in ("type", "additionalProperties", "properties")}
    made = {_OF_HOST.format(name): _of_host(part) for name, part in schema["$defs"].items()}
    table = _of_host(whole)
    table["properties"] = {MATCH: _MATCH, **table["properties"]}
    table["required"] = [MATCH]
    return {**made, _OF_HOST.format(schema["title"]): table}


def _of_host(node: object) -> Any:
    if isinstance(node, list):
        return [_of_host(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Only keywords of the schema are left out: no field has these names.
    kept = {key: item for key, item in node.items() if key not in ("default", "required")}
    return {key: _OF_HOST.format(item) if key == "$ref" else _of_host(item) for key, item in kept.items()}


def _without_null(node: object) -> Any:
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
