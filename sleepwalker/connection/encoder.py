"""JSON for what services really send: dates, exact numbers, identifiers, models and plain objects."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import ModuleType
from typing import Any
from uuid import UUID

__all__ = ["JsonEncoder"]


class JsonEncoder(json.JSONEncoder):
    """A `json.JSONEncoder` that tries further where the first encoding does not work.

    In this order, the first that fits:

    1. the caller's `default`; where that raises `TypeError`, the rules below have their say
    2. `to_dict()`
    3. dates and times in ISO 8601; a `timedelta` in seconds
    4. `Decimal` as a string: exact, and of one JSON type whatever the value (a JSON number would pass
       through a binary float here and in most servers)
    5. `UUID` and paths as strings, an `Enum` as its value
    6. sets as arrays, sorted where their members can be
    7. bytes decoded with `encoding`; `ValueError` where they are not text in it
    8. pydantic models as `model_dump(mode="json")`, so that a secret field stays masked
    9. dataclasses as an object of their fields
    10. whatever else has attributes, as an object of these

    An object that fits none raises `TypeError` naming its type, as do classes, functions and modules.
    An object that contains itself raises `ValueError`, as in `json`. Keys of objects follow `json`'s own
    rule: str, int, float, bool or None, anything else is a `TypeError`, or left out with `skipkeys`.
    """

    def __init__(
        self,
        skipkeys: bool = False,
        ensure_ascii: bool = True,
        check_circular: bool = True,
        allow_nan: bool = True,
        sort_keys: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        encoding: str = "utf-8",
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(
            skipkeys=skipkeys,
            ensure_ascii=ensure_ascii,
            check_circular=check_circular,
            allow_nan=allow_nan,
            sort_keys=sort_keys,
            indent=indent,
            separators=separators,
        )
        if not _decodes(encoding):
            raise ValueError(f"encoding: {encoding!r} is not a text encoding that Python knows, such as 'utf-8'")
        self.encoding = encoding
        self._callers_default = default

    def default(self, o: Any) -> Any:
        """Something nearer to JSON than `o`. Raises `TypeError` naming the type of an `o` that fits no rule."""
        refused: TypeError | None = None
        if self._callers_default is not None:
            try:
                return self._callers_default(o)
            except TypeError as error:
                refused = error
        if not isinstance(o, type):
            to_dict = getattr(o, "to_dict", None)
            if callable(to_dict) and _takes_nothing(to_dict):
                return to_dict()
            if isinstance(o, _ISO):
                return o.isoformat()
            if isinstance(o, timedelta):
                return o.total_seconds()
            if isinstance(o, _TEXT):
                return str(o)
            if isinstance(o, Enum):
                return o.value
            if isinstance(o, (set, frozenset)):
                return _ordered(o)
            if isinstance(o, (bytes, bytearray, memoryview)):
                return self._decoded(bytes(o))
            if callable(getattr(o, "model_dump", None)):
                return o.model_dump(mode="json")
            if dataclasses.is_dataclass(o):
                # Not asdict(): it would copy deeply, and pass by a to_dict() further down.
                return {field.name: getattr(o, field.name) for field in dataclasses.fields(o)}
            attributes = getattr(o, "__dict__", None)
            if attributes and not isinstance(o, ModuleType) and not inspect.isroutine(o):
                return attributes
        raise TypeError(
            f"Object of type {_name(o)} is not JSON serializable: give it a to_dict() or pass default="
        ) from refused

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode(self.encoding)
        except UnicodeDecodeError:
            pass
        # Raised out here because Python's own error carries the bytes, which may be anyone's secret.
        raise ValueError(
            f"{len(data)} bytes are not {self.encoding} text: pass the right encoding=, or encode them first (base64)"
        )


_ISO = (date, datetime, time)
_TEXT = (Decimal, UUID, PurePath)


def _decodes(encoding: str) -> bool:
    try:
        b" ".decode(encoding, "replace")
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Whether `function` can be called without an argument; one without a readable signature is taken to."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _ordered(members: Iterable[Any]) -> list[Any]:
    try:
        return sorted(members)
    except TypeError:
        return sorted(members, key=lambda member: (_name(member), repr(member)))


def _name(o: Any) -> str:
    if isinstance(o, type):
        return f"type ({o.__module__}.{o.__qualname__})"
    return f"{type(o).__module__}.{type(o).__qualname__}"
