"""The columns of the events' table, from the event catalogue, and the views that queries read."""

from __future__ import annotations

import glob
import typing
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Literal

from sleepwalker.events import CATALOGUE, RequestFailed, RequestFinished, logged_names

__all__ = [
    "LONGEST_LINE",
    "REJECTIONS",
    "VIEWS",
    "Kind",
    "columns",
    "create_table",
    "everything",
    "insert",
    "literal",
    "more_views",
    "unnest_fields",
    "views",
]

#: Names that loggers use for the time of a line. The first one that a line has counts.
_TIMES = ("timestamp", "time", "ts", "@timestamp", "asctime", "created")

#: Bytes. No event comes near it, and each reading thread allocates twice as many.
LONGEST_LINE = 4 * 1024 * 1024

#: Greater numbers are read as NULL. No count or duration comes near.
_MOST = 10**12
#: Microseconds since 1970, in the year 5138. Later times are NULL: a number of as many seconds counts as milliseconds.
_LATEST = 10**17

#: The part of the policy that rejected a call, by the error's name.
REJECTIONS = {
    "CircuitOpenError": "breaker",
    "BulkheadFullError": "bulkhead",
    "HostIsolatedError": "isolation",
    "RateLimitedError": "rate_limit",
}

#: A cooldown raises `RateLimitedError` as well. These words in its text tell it from a rate limit.
_ASKED_TO_WAIT = "the server asked to wait"

_TYPES: dict[type, str] = {str: "VARCHAR", float: "DOUBLE", int: "BIGINT", bool: "BOOLEAN"}

#: How `everything` and `calls` are kept.
Kind = Literal["TABLE", "VIEW"]

#: The views, and what is in each.
VIEWS = {
    "events": "every event that the filters let through, with all of its fields",
    "calls": "one row per call: the events that end one",
    "attempts": "one row per send whose end was logged",
    "transitions": "what changed about hosts and their circuits",
}


@cache
def columns() -> dict[str, str]:
    """Every field of every event, and its SQL type."""
    found: dict[str, str] = {}
    for event in CATALOGUE.values():
        hints = typing.get_type_hints(event)
        for field, name in zip(fields(event), logged_names(event), strict=True):
            kind = _TYPES[_plain(hints[field.name])]
            found[name] = kind if found.get(name, kind) == kind else "VARCHAR"
    return {**found, "pid": "BIGINT"}


def _plain(hint: object) -> type:
    """`float` of `float | None`, `str` of a Literal of texts."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not NoneType)
    if typing.get_origin(hint) is Literal:
        return type(typing.get_args(hint)[0])
    return typing.cast(type, hint)


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    return '"' + name + '"'


@cache
def _stored() -> dict[str, str]:
    """The fields with a column of their own: those of the events that end a call, which most events are.

    An empty column costs about as much to write as a full one, so all other fields share one column, as JSON.
    """
    names = {"pid", *logged_names(RequestFinished), *logged_names(RequestFailed)}
    return {name: kind for name, kind in columns().items() if name in names}


def _others() -> dict[str, str]:
    return {name: kind for name, kind in columns().items() if name not in _stored()}


def _event_names() -> str:
    return ", ".join(map(literal, CATALOGUE))


def create_table() -> str:
    """The table of all lines, in order. An unreadable line is NULL in every column but `file`."""
    own = "".join(f", {_name(name)} {kind}" for name, kind in _stored().items())
    return f"""CREATE TABLE log
        (file INTEGER, time TIMESTAMP, level VARCHAR, event VARCHAR, nested VARCHAR, rest VARCHAR{own})"""


def insert(file: int, path: str, compression: str) -> str:
    """Append the lines of a file.

    Every field is read as text and cast afterwards, so that one value of the wrong type does not lose its whole line.
    """
    texts = [*_TIMES, "level", "event", "fields", *columns()]
    wanted = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in dict.fromkeys(texts))
    cast = ", ".join(_cast(_name(name), kind) for name, kind in _stored().items())
    rest = ", ".join(f"{_name(name)} := {_name(name)}" for name in _others())
    when = f"coalesce({', '.join(map(_name, _TIMES))})"
    # DuckDB turns a longer IN, or list_contains, into a join, which would lose the order of the lines.
    of_no_call = f"event <> {literal(RequestFinished.name)} AND event <> {literal(RequestFailed.name)}"
    return f"""
        INSERT INTO log
        SELECT {file}, {_moment(when)} - {_before('"ago"')}, level, event, "fields",
            CASE WHEN {of_no_call} THEN to_json(struct_pack({rest}))::VARCHAR END, {cast}
        FROM read_json({literal(glob.escape(path))}, columns = {{{wanted}}}, format = 'newline_delimited',
            ignore_errors = true, maximum_object_size = {LONGEST_LINE}, compression = {literal(compression)},
            hive_partitioning = false)"""  # else a folder `host=…` would replace the column


def _cast(text: str, kind: str) -> str:
    if kind in ("VARCHAR", "BOOLEAN"):
        return text if kind == "VARCHAR" else f"TRY_CAST({text} AS BOOLEAN)"
    # Our numbers are counts, durations and shares. Others become NULL, because they could make sums infinite or NaN.
    number = f"TRY_CAST({text} AS {kind})"
    return f"CASE WHEN {number} BETWEEN 0 AND {_MOST} THEN {number} END"


def _moment(text: str) -> str:
    """A text as a time in UTC: ISO 8601 (also with a decimal comma), or seconds, ms, µs or ns since 1970.

    NULL for times before 1970 or after 5138.
    """
    number = f"TRY_CAST({text} AS DOUBLE)"
    micros = f"""CASE
        WHEN {number} < 0 THEN NULL
        WHEN {number} < 1e11 THEN {number} * 1e6
        WHEN {number} < 1e14 THEN {number} * 1e3
        WHEN {number} < 1e17 THEN {number}
        WHEN {number} < 1e20 THEN {number} / 1e3 END"""
    stamp = f"epoch_us(TRY_CAST(replace({text}, ',', '.') AS TIMESTAMPTZ))"
    iso = f"CASE WHEN {stamp} BETWEEN 0 AND {_LATEST} THEN {stamp} END"
    return f"make_timestamp(CASE WHEN {number} IS NULL THEN {iso} ELSE TRY_CAST({micros} AS BIGINT) END)"


def _before(ago: str) -> str:
    """How long before its line was logged an event happened: refused calls are logged in groups, some much later.

    In whole milliseconds, because timestamps are cut to these: with more, a refused call could come before the event
    that opened the circuit.
    """
    number = f"TRY_CAST({ago} AS DOUBLE)"
    millis = f"CASE WHEN {number} BETWEEN 0 AND 1e9 THEN CAST({number} * 1e6 AS BIGINT) // 1000 ELSE 0 END"
    return f"to_microseconds({millis} * 1000)"


def unnest_fields(file: int) -> str:
    """Take the fields from the object `fields`, where some formatters of the standard library's logging put them."""
    ago = _text("nested", "ago")
    taken = ", ".join(
        f"{_name(name)} = coalesce({_name(name)}, {_extracted('nested', name, kind)})"
        for name, kind in _stored().items()
    )
    return f"""UPDATE log SET rest = nested, time = time - {_before(ago)}, {taken}
        WHERE file = {file} AND nested IS NOT NULL AND json_valid(nested)"""


def _text(source: str, name: str) -> str:
    path = literal(f'$."{name}"')
    return f"json_extract_string({source}, {path})"


def _extracted(source: str, name: str, kind: str) -> str:
    return _cast(_text(source, name), kind)


def everything(kind: Kind) -> str:
    """The statement that creates `everything`: all events with all fields. The other views read it.

    A TABLE is a copy. A statement that reads it takes half the time if the events are few. With millions of them, the
    copy would take too long.
    """
    own = ", ".join(
        _name(name) if name in _stored() else f"{_extracted('rest', name, kind)} AS {_name(name)}"
        for name, kind in columns().items()
    )
    return f"""CREATE OR REPLACE {kind} everything AS
        SELECT file, rowid AS line, time, level, event, {own} FROM log
        WHERE event IN ({_event_names()}) AND time IS NOT NULL AND host IS NOT NULL"""


def views(condition: str, kind: Kind) -> list[str]:
    """The statements that create `events` and, of that kind, `calls`. `condition` filters both."""
    by = " ".join(f"WHEN {literal(error)} THEN {literal(part)}" for error, part in REJECTIONS.items())
    return [
        f"CREATE OR REPLACE VIEW events AS SELECT * FROM everything WHERE {condition}",
        f"""CREATE OR REPLACE {kind} calls AS
            SELECT time, host, method, path, status, error, detail, attempts, duration, waited,
                event = 'request.finished' AS answered,
                CASE WHEN attempts = 0 THEN CASE
                    WHEN error = 'RateLimitedError' AND contains(detail, {literal(_ASKED_TO_WAIT)}) THEN 'cooldown'
                    ELSE CASE error {by} END END END AS rejected_by,
                CASE WHEN event = 'request.failed' THEN greatest(coalesce("count", 1), 1)::DOUBLE
                    WHEN sample BETWEEN 1e-9 AND 1 THEN 1 / sample ELSE 1.0::DOUBLE END AS weight,
                file, call, name, pid
            FROM events WHERE event IN ('request.finished', 'request.failed')""",
    ]


def more_views() -> list[str]:
    """The statements that create the views which only users read."""
    return [
        """CREATE OR REPLACE VIEW attempts AS
            SELECT time, host, method, path, attempt, true AS failed, status, error, detail, duration,
                1.0::DOUBLE AS weight, file, call, name, pid
            FROM events WHERE event = 'attempt.failed'
            UNION ALL
            SELECT time, host, method, path, attempts, false, status, NULL, NULL,
                CASE WHEN attempts = 1 THEN duration END, weight, file, call, name, pid
            FROM calls WHERE answered AND coalesce(status, 200) NOT IN (408, 429)""",  # those have an attempt.failed
        """CREATE OR REPLACE VIEW transitions AS
            SELECT time, host, event, reason, rule, cause, failures, open_for, broken_for, observed, file, call, pid
            FROM events WHERE event LIKE 'breaker.%' OR event LIKE 'host.%'""",
    ]
