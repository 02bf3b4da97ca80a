"""Writes what a policy is made of as TOML: nested tables of numbers, texts, booleans and flat lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dumps(table: Mapping[str, Any], path: str = "") -> str:
    """The table as TOML. Plain values first: below a header they would belong to that table.

    JSON writes these values as TOML does: numbers are finite, texts are of visible ASCII, keys are bare.
    """
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in table.items() if key not in tables]
    header = f"[{path}]\n" if path and lines else ""
    rest = [dumps(value, f"{path}.{key}" if path else key) for key, value in tables.items()]
    return "\n".join(block for block in (header + "".join(lines), *rest) if block)
