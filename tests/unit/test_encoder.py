"""The JSON encoder against the contract's list, against json itself, and against hostile objects."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker.connection.json import JsonEncoder

SECRET = "canary-7d1f"


class Colour(Enum):
    RED = "red"
    SHADES = (1, 2)
    SINCE = date(2024, 2, 29)


class Level(IntEnum):
    HIGH = 3


class Name(StrEnum):
    ANN = "ann"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int


class WithToDict:
    def __init__(self, value: Any) -> None:
        self.value = value

    def to_dict(self) -> Any:
        return self.value


class DataclassWithToDict(Point):
    def to_dict(self) -> dict[str, int]:
        return {"own": self.x}


class DateWithToDict(date):
    def to_dict(self) -> str:
        return "own"


class NeedsArgument:
    def __init__(self) -> None:
        self.kept = 1

    def to_dict(self, orient: str) -> dict[str, str]:
        return {"orient": orient}


class OptionalArgument:
    def to_dict(self, deep: bool = True) -> dict[str, bool]:
        return {"deep": deep}


class NotCallable:
    to_dict = None

    def __init__(self) -> None:
        self.kept = 1


class Model(pydantic.BaseModel):
    when: datetime
    price: Decimal
    password: pydantic.SecretStr = pydantic.SecretStr(SECRET)


class ModelWithToDict(pydantic.BaseModel):
    x: int

    def to_dict(self) -> dict[str, int]:
        return {"own": self.x}


class Plain:
    shared = "on the class, so not the instance's own"

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slots:
    __slots__ = ("x",)


class Calling:
    def __init__(self) -> None:
        self.x = 1

    def __call__(self) -> None: ...


Pair = namedtuple("Pair", "a b")  # noqa: PYI024

GOLDEN: list[tuple[Any, Any]] = [
    (WithToDict({"a": [1]}), {"a": [1]}),
    (WithToDict(WithToDict(date(2024, 1, 2))), "2024-01-02"),
    (WithToDict(None), None),
    (OptionalArgument(), {"deep": True}),
    (NeedsArgument(), {"kept": 1}),
    (NotCallable(), {"kept": 1}),
    (SimpleNamespace(to_dict=lambda: {"b": 2}), {"b": 2}),
    (DataclassWithToDict(1), {"own": 1}),
    (DateWithToDict(2024, 1, 2), "own"),
    (ModelWithToDict(x=1), {"own": 1}),
    (date(2024, 2, 29), "2024-02-29"),
    (datetime(2024, 2, 29, 1, 2, 3, 4), "2024-02-29T01:02:03.000004"),  # noqa: DTZ001
    (datetime(2024, 2, 29, 1, 2, tzinfo=UTC), "2024-02-29T01:02:00+00:00"),
    (datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=-3, minutes=-30))), "2024-02-29T00:00:00-03:30"),
    (time(23, 59, 59), "23:59:59"),
    (timedelta(minutes=1, microseconds=500), 60.0005),
    (Decimal("0.10"), "0.10"),
    (Decimal("1E+400"), "1E+400"),
    (Decimal("NaN"), "NaN"),
    (UUID("12345678-1234-5678-1234-567812345678"), "12345678-1234-5678-1234-567812345678"),
    (Colour.RED, "red"),
    (Colour.SHADES, [1, 2]),
    (Colour.SINCE, "2024-02-29"),
    (Level.HIGH, 3),
    (Name.ANN, "ann"),
    (PurePosixPath("/a/b"), "/a/b"),
    (PureWindowsPath("c:\\a"), "c:\\a"),
    (Path("a") / "b", str(Path("a") / "b")),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ({2, "a", 1, "b"}, [1, 2, "a", "b"]),
    ({date(2024, 2, 1), date(2024, 1, 1)}, ["2024-01-01", "2024-02-01"]),
    (set(), []),
    (b"caf\xc3\xa9", "café"),
    (bytearray(b"x"), "x"),
    (memoryview(b"abcd")[::2], "ac"),
    (b"", ""),
    (
        Model(when=datetime(2024, 1, 2, tzinfo=UTC), price=Decimal("0.10")),
        {"when": "2024-01-02T00:00:00Z", "price": "0.10", "password": "**********"},
    ),
    (Point(1, Point(2, {3})), {"x": 1, "y": {"x": 2, "y": [3]}}),
    (Point(1, WithToDict("further down")), {"x": 1, "y": "further down"}),
    (Slotted(1), {"x": 1}),
    (Plain(a=1, b=Plain(c=b"d")), {"a": 1, "b": {"c": "d"}}),
    (Calling(), {"x": 1}),
    (Pair(1, date(2024, 1, 1)), [1, "2024-01-01"]),
    (OrderedDict(b=1, a={1}), {"b": 1, "a": [1]}),
]


@pytest.mark.parametrize(("value", "expected"), GOLDEN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("indent", [None, 2], ids=["c", "python"])
def test_each_kind_of_object_has_its_json(value: Any, expected: Any, indent: int | None) -> None:
    """With `indent` json uses another implementation of itself."""
    assert json.loads(JsonEncoder(indent=indent).encode([value])) == [expected]


def a_function() -> None: ...


def a_function_with_attributes() -> None: ...


a_function_with_attributes.x = 1  # type: ignore[attr-defined]

MISFITS: list[tuple[Any, str]] = [
    (object(), "builtins.object"),
    (1j, "builtins.complex"),
    (Slots(), f"{__name__}.Slots"),
    (Plain(), f"{__name__}.Plain"),
    (range(2), "builtins.range"),
    (iter([]), "builtins.list_iterator"),
    ((x for x in [1]), "builtins.generator"),
    (a_function, "builtins.function"),
    (a_function_with_attributes, "builtins.function"),
    (WithToDict({}).to_dict, "builtins.method"),
    (len, "builtins.builtin_function_or_method"),
    (partial(a_function), "functools.partial"),
    (sys, "builtins.module"),
    (int, "type (builtins.int)"),
    (WithToDict, f"type ({__name__}.WithToDict)"),
    (Point, f"type ({__name__}.Point)"),
    (Model, f"type ({__name__}.Model)"),
    (Colour, f"type ({__name__}.Colour)"),
    (..., "builtins.ellipsis"),
    (NotImplemented, "builtins.NotImplementedType"),
    (Ellipsis.__class__, "type (builtins.ellipsis)"),
]


@pytest.mark.parametrize(("value", "name"), MISFITS, ids=[name for _, name in MISFITS])
def test_an_object_that_fits_nothing_is_a_type_error_that_names_its_type(value: Any, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        JsonEncoder().encode({"deep": [value]})
    assert f"Object of type {name} is not JSON serializable" in str(caught.value)


def test_the_text_of_a_type_error_holds_nothing_of_the_object() -> None:
    class Holder:
        __slots__ = ("secret",)

        def __init__(self) -> None:
            self.secret = SECRET

        def __repr__(self) -> str:
            return self.secret

    with pytest.raises(TypeError) as caught:
        JsonEncoder().encode(Holder())
    assert SECRET not in str(caught.value)


def test_a_type_error_raised_inside_to_dict_is_not_swallowed() -> None:
    class Broken:
        def __init__(self) -> None:
            self.x = 1

        def to_dict(self) -> Any:
            raise TypeError("a bug of its own")

    with pytest.raises(TypeError, match="a bug of its own"):
        JsonEncoder().encode(Broken())


def itself_in_dict() -> Any:
    plain = Plain()
    plain.self = plain  # type: ignore[attr-defined]
    return plain


def itself_by_to_dict() -> Any:
    loop = WithToDict(None)
    loop.value = {"again": loop}
    return loop


def itself_at_once() -> Any:
    loop = WithToDict(None)
    loop.value = loop
    return loop


def itself_in_dataclass() -> Any:
    point = Point(1)
    point.y = [point]
    return point


@pytest.mark.parametrize("make", [itself_in_dict, itself_by_to_dict, itself_at_once, itself_in_dataclass])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_within_itself_is_a_value_error(make: Callable[[], Any], indent: int | None) -> None:
    with pytest.raises(ValueError, match="Circular reference"):
        JsonEncoder(indent=indent).encode(make())


@pytest.mark.usefixtures("undisturbed")
def test_an_endless_chain_of_new_objects_ends_in_recursion_error() -> None:
    """Nothing is met twice, so only the interpreter's own limit can end it; it must not crash."""

    class Endless:
        def to_dict(self) -> Endless:
            return Endless()

    with pytest.raises(RecursionError):
        JsonEncoder().encode(Endless())


def test_one_object_in_two_places_is_not_circular() -> None:
    point = Point(1)
    assert json.loads(JsonEncoder().encode([point, point, {"p": point}])) == [
        {"x": 1, "y": None},
        {"x": 1, "y": None},
        {"p": {"x": 1, "y": None}},
    ]


def test_encoding_leaves_the_object_as_it_was() -> None:
    plain = Plain(a={1})
    JsonEncoder().encode(plain)
    assert vars(plain) == {"a": {1}}


def test_the_callers_default_comes_first() -> None:
    assert JsonEncoder(default=lambda o: "mine").encode(date(2024, 1, 1)) == '"mine"'


def test_where_the_callers_default_raises_type_error_the_encoders_own_rules_apply() -> None:
    def default(o: Any) -> Any:
        if isinstance(o, complex):
            return [o.real, o.imag]
        raise TypeError("not mine")

    encoder = JsonEncoder(default=default)
    assert encoder.encode([1j, date(2024, 1, 1)]) == '[[0.0, 1.0], "2024-01-01"]'
    with pytest.raises(TypeError, match=r"Object of type builtins\.object") as caught:
        encoder.encode(object())
    assert str(caught.value.__cause__) == "not mine"


def test_other_errors_of_the_callers_default_pass_through() -> None:
    def default(o: Any) -> Any:
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        JsonEncoder(default=default).encode(date(2024, 1, 1))


def test_json_dumps_takes_it_as_cls_with_every_parameter() -> None:
    text = json.dumps(
        {"b": b"\xe9", "a": 1j, ("skipped",): 1},
        cls=JsonEncoder,
        skipkeys=True,
        ensure_ascii=False,
        sort_keys=False,
        indent=None,
        separators=(",", ":"),
        encoding="latin-1",
        default=lambda o: "j" if isinstance(o, complex) else JsonEncoder(encoding="latin-1").default(o),
    )
    assert text == '{"b":"é","a":"j"}'


def test_all_parameters_can_be_given_by_position() -> None:
    encoder = JsonEncoder(True, False, False, False, True, 1, (",", ":"), "latin-1", str)
    assert (encoder.skipkeys, encoder.ensure_ascii, encoder.check_circular) == (True, False, False)
    assert (encoder.allow_nan, encoder.sort_keys, encoder.indent) == (False, True, 1)
    assert (encoder.item_separator, encoder.key_separator) == (",", ":")
    assert encoder.encode(b"\xe9") == "\"b'\\\\xe9'\""  # str() of bytes: the default came first
    with pytest.raises(ValueError, match="not JSON compliant"):
        encoder.encode(math.nan)


def test_nan_is_allowed_unless_forbidden() -> None:
    assert JsonEncoder().encode([math.nan, math.inf]) == "[NaN, Infinity]"


def test_a_subclass_may_add_a_rule_and_fall_back() -> None:
    class Mine(JsonEncoder):
        def default(self, o: Any) -> Any:
            return "range" if isinstance(o, range) else super().default(o)

    assert Mine().encode([range(1), {1}]) == '["range", [1]]'


def test_keys_follow_the_rule_of_json() -> None:
    with pytest.raises(TypeError, match="keys must be str, int, float, bool or None, not date"):
        JsonEncoder().encode({date(2024, 1, 1): 1})
    assert JsonEncoder(skipkeys=True).encode({date(2024, 1, 1): 1, 2: 3}) == '{"2": 3}'


@pytest.mark.parametrize("encoding", ["no-such", "rot13", "hex", "", None, 8, "utf-8\0"])
def test_an_unknown_encoding_is_refused_when_the_encoder_is_made(encoding: Any) -> None:
    with pytest.raises(ValueError, match=r"^encoding: "):
        JsonEncoder(encoding=encoding)


def test_bytes_that_are_not_text_are_a_value_error_that_shows_none_of_them() -> None:
    """Python's own UnicodeDecodeError carries the bytes, in its repr and as its context."""
    with pytest.raises(ValueError, match="13 bytes are not utf-8 text") as caught:
        JsonEncoder().encode(b"\xff" + SECRET.encode() + b"\xff")
    assert SECRET not in repr(caught.value)
    assert caught.value.__context__ is None


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain_json, st.booleans(), st.booleans(), st.sampled_from([None, 0, 2]))
def test_plain_json_comes_out_as_from_json_itself(value: Any, ascii_: bool, keys: bool, indent: int | None) -> None:
    encoder = JsonEncoder(ensure_ascii=ascii_, sort_keys=keys, indent=indent)
    assert encoder.encode(value) == json.dumps(value, ensure_ascii=ascii_, sort_keys=keys, indent=indent)


@given(st.decimals())
def test_decimals_keep_every_digit(value: Decimal) -> None:
    assert str(Decimal(json.loads(JsonEncoder().encode(value)))) == str(value)


@given(st.datetimes(timezones=st.none() | st.just(UTC)) | st.dates() | st.times())
def test_dates_and_times_are_read_back_equal(value: Any) -> None:
    assert type(value).fromisoformat(json.loads(JsonEncoder().encode(value))) == value


@given(st.sets(st.integers() | st.text()))
def test_sets_of_equal_members_have_one_json(members: set[Any]) -> None:
    again: set[Any] = set()
    for member in reversed(list(members)):
        again.add(member)
    assert JsonEncoder().encode(members) == JsonEncoder().encode(again)
    assert set(json.loads(JsonEncoder().encode(members))) == members


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(["utf-8", "utf-16", "utf-32-le"]))
def test_bytes_are_decoded_with_the_encoding(text: str, encoding: str) -> None:
    assert json.loads(JsonEncoder(encoding=encoding).encode(text.encode(encoding))) == text
