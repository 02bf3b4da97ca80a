"""Writes the reference page of the events from the event types themselves."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
import typing
from dataclasses import fields
from types import NoneType, UnionType

from sleepwalker import events

__all__ = ["page"]

#: Every field's unit, where it has one, and its meaning, unless an event's own note says more. A name means
#: the same in all events.
_GLOSSARY = {
    "ago": ("seconds", "How long ago the latest of the calls was refused, if the event comes later."),
    "attempt": ("", "The number of the send, 1 for the first."),
    "attempts": ("sends", "How many times the request was sent; 0 if it was rejected."),
    "by": ("", "The policy part that refused the call."),
    "broken_for": ("seconds", "How long the host was broken."),
    "count": ("calls", "How many refused calls the event stands for (`log.rejections`); absent for one."),
    "delay": ("seconds", "How long the first send had been in flight."),
    "detail": ("", "The text of the exception."),
    "duration": ("seconds", "The duration of the call, with all attempts and waits; or of the attempt."),
    "error": ("", "The name of the exception's type."),
    "host": (
        "",
        (
            "The origin: scheme, host and port; for a scope, followed by `#` and its name. In `fleet.*`: the store's "
            "URL without user, password and query."
        ),
    ),
    "method": ("", "The request's method."),
    "open_for": ("seconds", "How long calls fail at once."),
    "path": ("", "The path of the request's URL, without its query."),
    "pid": ("", "The number of the process that made the event."),
    "ramp": ("seconds", "The longest time that some calls are held back; 0 for none."),
    "reason": ("", "What prevented it."),
    "retry_after": ("seconds", "After how many seconds another try makes sense, if known."),
    "rule": (
        "",
        (
            "The rule that opened it. `probe`: a probe failed, or the first call after a background probe. `fleet`: "
            "other workers find the host broken."
        ),
    ),
    "sample": ("share", "`log.sample`, the share of answered calls that are logged."),
    "service": ("", "The service whose workers share the fleet."),
    "status": ("", "The response's status code, where there was a response."),
    "until": ("seconds", "When the isolation ends by itself, since 1970 (UTC); absent if only `restore` ends it."),
    "wait": ("seconds", "How long the call waits before it sends again."),
    "waited": ("seconds", "The part of the duration spent waiting: queued, or between attempts."),
}

_HEAD = """\
# Events

<!-- Generated from the event types: `make reference` writes this page. -->

{introduction}

A field marked "may be absent" is left out if it has no value: `status` without a response, for example. The application
decides [where events go](../how-to/logging.md).

| event | level | when |
|---|---|---|
"""


def page() -> str:
    """The page `docs/reference/events.md`. Raises `LookupError` for a field whose meaning is written nowhere."""
    catalogue = events.CATALOGUE.values()
    introduction = inspect.cleandoc(events.__doc__ or "").partition("\n\n")[2]
    rows = [f"| [`{cls.name}`](#{_anchor(cls.name)}) | {cls.level} | {_when(cls)} |\n" for cls in catalogue]
    return _HEAD.format(introduction=introduction) + "".join(rows) + "".join(map(_section, catalogue))


def _section(cls: type[events.Event]) -> str:
    types = typing.get_type_hints(cls)
    notes = _notes(cls)
    rows = "".join(
        _row(cls, name, types[field.name], notes.get(field.name))
        for field, name in zip(fields(cls), events.logged_names(cls), strict=True)
    ) + _row(cls, "pid", int, None)
    return f"""
## {cls.name}

Level: {cls.level}. {_when(cls)}

| field | type | unit | meaning |
|---|---|---|---|
{rows}"""


def _row(cls: type[events.Event], name: str, hint: object, note: str | None) -> str:
    unit, meaning = _GLOSSARY.get(name, ("", ""))
    said = note or meaning
    if not said:
        raise LookupError(f"{cls.__name__}.{name}: no note below the field, and none in the glossary")
    kind, absent = _type(hint)
    if kind == "float" and not unit:
        raise LookupError(f"{cls.__name__}.{name}: a float needs its unit in the glossary")
    return f"| `{name}` | {kind}{', may be absent' if absent else ''} | {unit} | {said} |\n"


def _type(hint: object) -> tuple[str, bool]:
    """A type in words, and whether it may be None."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        parts = typing.get_args(hint)
        return " or ".join(_type(part)[0] for part in parts if part is not NoneType), NoneType in parts
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(f"`{value}`" for value in typing.get_args(hint)), False
    return {str: "string", int: "integer", float: "float", bool: "true or false"}[typing.cast(type, hint)], False


def _when(cls: type[events.Event]) -> str:
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split())


def _notes(cls: type[events.Event]) -> dict[str, str]:
    """The strings below the fields, those of its bases included: only the source has them."""
    kinds = [kind for kind in reversed(cls.__mro__) if issubclass(kind, events.Event)]
    return {name: note for kind in kinds for name, note in _own_notes(kind).items()}


def _own_notes(cls: type[events.Event]) -> dict[str, str]:
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    return {
        field.target.id: " ".join(note.value.value.split())
        for field, note in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(note, ast.Expr)
        and isinstance(note.value, ast.Constant)
        and isinstance(note.value.value, str)
    }


def _anchor(heading: str) -> str:
    """The fragment that GitHub and most site generators make of a heading."""
    return re.sub(r"[^\w -]", "", heading).replace(" ", "-")
