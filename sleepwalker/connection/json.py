"""JSON for real services: dates, exact numbers, identifiers, models and plain objects; and decoding of responses."""

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

import requests
from requests.structures import CaseInsensitiveDict

from sleepwalker.connection.arguments import HeaderValues, Params
from sleepwalker.connection.options import CallOptions
from sleepwalker.exceptions import DecodeError
from sleepwalker.transport.headers import Headers, checked_headers, merged
from sleepwalker.transport.url import Origin, safe_path

__all__ = ["HEADERS", "MAX_BODY", "JsonEncoder", "decoded", "json_options"]

#: The largest accepted body of a response, in bytes after decoding, unless its connection sets another limit.
MAX_BODY = 100_000_000
#: Sent with every JSON request.
HEADERS: Headers = CaseInsensitiveDict({"Accept": "application/json", "Content-Type": "application/json"})
#: What `json.loads` uses by itself.
_DECODER = json.JSONDecoder()


class JsonEncoder(json.JSONEncoder):
    """A `json.JSONEncoder` that also encodes types which plain JSON cannot.

    The first rule that fits applies:

    1. the caller's `default`; if that raises `TypeError`, the rules below
    2. `to_dict()`
    3. dates and times in ISO 8601; a `timedelta` in seconds
    4. `Decimal` as a string, which is exact. A JSON number would become a binary float here and in most servers
    5. `UUID` and paths as strings, an `Enum` as its value
    6. sets as arrays, sorted if their members can be sorted
    7. bytes decoded with `encoding`; `ValueError` if they are not valid text
    8. pydantic models as `model_dump(mode="json")`, so that a secret field stays masked
    9. dataclasses as an object of their fields
    10. any other object with attributes, as an object of these

    An object that fits no rule raises `TypeError` with its type; so do classes, functions and modules. An object that
    contains itself raises `ValueError`, as in `json`. Keys follow `json`'s own rule: str, int, float, bool or None. Any
    other key raises `TypeError`, or is left out with `skipkeys`.

    Example:
        ```python
        Connection.JsonEncoder(indent=2).encode({"due": date(2026, 1, 31), "amount": Decimal("9.99")})
        ```
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
        """A simpler object that stands for `o`. Raises `TypeError` with the type if no rule fits `o`."""
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
            for kinds, convert in _BY_TYPE:
                if isinstance(o, kinds):
                    return convert(o)
            if isinstance(o, (bytes, bytearray, memoryview)):
                return self._decoded(bytes(o))
            if callable(getattr(o, "model_dump", None)):
                return o.model_dump(mode="json")
            if dataclasses.is_dataclass(o):
                # Not asdict(): it would copy deeply, and skip a to_dict() further down.
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
        # Raised out here because Python's own error carries the bytes, which may be secret.
        raise ValueError(
            f"{len(data)} bytes are not {self.encoding} text: pass the right encoding=, or encode them first (base64)"
        )


def _decodes(encoding: str) -> bool:
    try:
        b" ".decode(encoding, "replace")
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _takes_nothing(function: Callable[..., object]) -> bool:
    """Whether `function` can be called without an argument; True if its signature cannot be read."""
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


def _name(o: object) -> str:
    if isinstance(o, type):
        return f"type ({o.__module__}.{o.__qualname__})"
    return f"{type(o).__module__}.{type(o).__qualname__}"


#: The first match counts: a datetime is a date too.
_BY_TYPE: tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((date, datetime, time), lambda o: o.isoformat()),
    ((timedelta,), timedelta.total_seconds),
    ((Decimal, UUID, PurePath), str),
    ((Enum,), lambda o: o.value),
    ((set, frozenset), _ordered),
)


def json_options(
    plain: CallOptions,
    encoder: json.JSONEncoder,
    body: object,
    params: Params | None,
    extra_headers: HeaderValues | None,
) -> CallOptions:
    """The options of a JSON request; `plain` are those of one without body, parameters and headers.

    TypeError or ValueError if JSON cannot represent the body; URLError for an invalid header.
    """
    return plain._replace(
        params=params,
        json_bytes=None if body is None else encoder.encode(body).encode(),
        headers=merged(HEADERS, checked_headers(extra_headers)) if extra_headers else HEADERS,
    )


def decoded(response: requests.Response, origin: Origin) -> Any:
    """The JSON value of a response's body; None for 204 or an empty body. DecodeError if the body is not JSON."""
    content = response.content
    if response.status_code == 204 or not content:
        return None
    try:
        try:
            if content[:1] in b"{[" and content[1:2] != b"\0":
                # Skips json's detection of UTF-16 and UTF-32, in which no object or array begins like this.
                return _DECODER.decode(content.decode("utf-8", "surrogatepass"))
            return json.loads(content)
        except UnicodeDecodeError:
            return json.loads(content.decode(response.encoding or "utf-8"))
    except (ValueError, LookupError, RecursionError) as error:
        why = f"at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "it cannot be decoded"
    failure = DecodeError(
        f"{origin}{safe_path(response.url or '')}: {response.status_code} with {len(content)} bytes of body "
        f"that are not JSON: {why}",
        response=response,
    )
    failure.attempts = response.attempts  # type: ignore[attr-defined]
    try:
        raise failure
    finally:
        del failure
