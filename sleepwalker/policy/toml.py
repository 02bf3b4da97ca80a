"""Writes the content of a policy as TOML: nested tables of numbers, texts, booleans and flat lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dumps(table: Mapping[str, Any], path: str = "", header: str = "[{}]") -> str:
    """The table as TOML. Plain values first: below a header they would belong to that table.

    JSON writes these values as TOML does: numbers are finite, texts are printable, keys are bare.
    """
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping) or _of_tables(value)}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items() if key not in tables]
    blocks = [(header.format(path) + "\n" if path and lines else "") + "".join(lines)]
    for key, value in tables.items():
        below = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            blocks.append(dumps(value, below))
        else:
            blocks += [dumps(each, below, "[[{}]]") for each in value]
    return "\n".join(block for block in blocks if block)


def _of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)
