"""Passes events to the application's own logging, which is looked up at each event.

In this order: JSON lines, if the application called `sleepwalker.logging.configure`; its structlog, if it configured
that; else the standard library's logger `sleepwalker`. Nothing here configures structlog, sets a level or keeps a
structlog logger: one that is kept ignores a later `configure`. Nor is structlog loaded here, which would load all of
rich, too: an application that configured it, or bound a field, has loaded it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from sleepwalker.events import AnyObserver, Event, Level, Observer
from sleepwalker.functions import runs_later
from sleepwalker.telemetry.jsonl import JsonLines, text

__all__ = ["LEVELS", "emit", "listening", "observing", "report", "send_to"]

#: The levels of events, and their numbers in the standard library.
LEVELS: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

#: structlog's processors that make the standard library create a record with the fields as its attributes. A record has
#: a `name` of its own, and the standard library refuses another.
_MAKE_RECORDS = frozenset({"render_to_log_kwargs", "render_to_log_args_and_kwargs"})

_sink: JsonLines | None = None
_reported: set[tuple[str, type[Exception]]] = set()


class _Busy(threading.local):
    now = False


#: Set while this thread is inside the application's logging.
_busy = _Busy()


def emit(event: Event, level: Level | None = None) -> None:
    """Log `event` at its own level, or at `level` if a policy names another.

    No `Exception` of the application's logging comes out of here: the first of each type is reported on
    the standard library's logger `sleepwalker.telemetry`, and the event is lost.
    """
    try:
        chosen = level or event.level
        if (sink := _sink) is not None:
            if LEVELS[chosen] >= sink.level:
                # A copy of the context is cheap, and mostly empty; looking for structlog's values in it is slow.
                sink.write(chosen, event, _bound() if copy_context() else {})
        elif listening(chosen) and not _busy.now:
            # If it is busy, a handler or processor sends its lines through this package: it would log
            # its own requests for ever.
            _busy.now = True
            try:
                structlog = _loaded() if "structlog" in sys.modules else None
                if structlog is not None and structlog.is_configured():
                    _to_structlog(structlog, event, chosen)
                else:
                    _to_stdlib(event, chosen)
            finally:
                _busy.now = False
    except Exception as error:  # noqa: BLE001 - a request must not fail because its log line did
        report(error)


def listening(level: Level) -> bool:
    """Whether an event of `level` may reach a log; False means that it need not even be made.

    With structlog configured this is True unless the application's logger is one of structlog's own
    filtering ones and filters `level`: what processors let pass is known only once they have run.
    """
    number = LEVELS[level]
    sink = _sink
    if sink is not None:
        return number >= sink.level
    structlog = _loaded() if "structlog" in sys.modules else None
    if structlog is not None and structlog.is_configured():
        return number >= _filters(structlog).get(structlog.get_config()["wrapper_class"], logging.NOTSET)
    # Without any handler the standard library would print warnings to stderr, which the application did not ask for.
    return _stdlib().isEnabledFor(number) and _stdlib().hasHandlers()


def observing(observer: AnyObserver | None) -> Observer:
    """A function that calls `emit`, then the caller's observer, whose exceptions are reported and not raised.

    TypeError for what cannot be called with an event, or an event and a level, and for a coroutine or generator
    function, of which a call runs nothing.
    """
    if observer is None:
        return emit
    if not callable(observer):
        raise TypeError(f"observer must be callable with an event and a level, not {type(observer).__name__}")
    if runs_later(observer):
        name = getattr(observer, "__qualname__", type(observer).__qualname__)
        raise TypeError(f"observer must be a plain function: {name} is a coroutine or generator, which would never run")
    call: Any = observer
    words = _words_for(call)

    def observe(event: Event, level: Level | None = None, /) -> None:
        emit(event, level)
        try:
            call(*(event, level)[:words])
        except Exception as error:  # noqa: BLE001 - as in emit
            report(error)

    return observe


def _words_for(observer: Callable[..., Any]) -> int:
    """How many arguments it takes: an event and a level, or as `list.append` the event alone."""
    try:
        signature = inspect.signature(observer)
    except (TypeError, ValueError):  # its signature cannot be read
        return 2
    for words in (2, 1):
        with contextlib.suppress(TypeError):
            signature.bind(*[None] * words)
            return words
    raise TypeError(f"observer must take an event and a level, or an event alone; what was passed takes {signature}")


def send_to(sink: JsonLines | None) -> None:
    """From now on write events to `sink`, or to the application's own logging if it is None."""
    global _sink
    _sink = sink
    _reported.clear()


def _loaded() -> Any:
    """structlog, which something has loaded; None if its import is blocked."""
    if sys.modules.get("structlog") is None:
        return None
    import structlog  # noqa: PLC0415 - waits for another thread that is just loading it

    return structlog


@functools.cache
def _filters(structlog: Any) -> dict[Any, int]:
    """structlog's filtering loggers, each with the lowest level that it lets pass. There is one class per level."""
    return {structlog.make_filtering_bound_logger(level): level for level in (*LEVELS.values(), logging.CRITICAL)}


def _bound() -> dict[str, Any]:
    """What the application bound through `structlog.contextvars`."""
    structlog = _loaded() if "structlog" in sys.modules else None
    return {} if structlog is None else structlog.contextvars.get_contextvars()


def _to_structlog(structlog: Any, event: Event, level: Level) -> None:
    # Some renderers print text as it is, so text that is not printable is escaped before it gets there.
    fields = {
        name: value.encode("unicode_escape").decode("ascii")
        if isinstance(value, str) and not value.isprintable()
        else value
        for name, value in event.fields().items()
    }
    if "name" in fields and any(
        getattr(processor, "__name__", "") in _MAKE_RECORDS for processor in structlog.get_config()["processors"]
    ):
        fields["asked_for"] = fields.pop("name")
    getattr(structlog.get_logger("sleepwalker"), level)(event.name, **fields)


def _to_stdlib(event: Event, level: Level) -> None:
    logger = _stdlib()
    fields = _with_context(event.fields())
    logger.log(LEVELS[level], _logfmt(event.name, fields), extra={"event": event.name, "fields": fields})


@functools.cache
def _stdlib() -> logging.Logger:
    """The logger, made at the first event: one made at import would be disabled by a `dictConfig` after it."""
    return logging.getLogger("sleepwalker")


def _with_context(fields: dict[str, Any]) -> dict[str, Any]:
    """Add what the application bound through `structlog.contextvars`, by name; the event's own fields win."""
    for name, value in sorted(_bound().items()):
        fields.setdefault(name, value)
    return fields


def _logfmt(name: str, fields: dict[str, Any]) -> str:
    """`request.finished host=https://h status=200`: one line, with no control characters in it."""
    return " ".join([name, *(f"{_quoted(key)}={_value(value)}" for key, value in fields.items())])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(round(value, 6))
    return _quoted(text(value))


def _quoted(word: str) -> str:
    printable = word.isprintable()
    if word and printable and not any(character in word for character in ' ="\\'):
        return word
    return json.dumps(word, ensure_ascii=not printable)


def report(error: Exception, what: str = "an event could not be logged") -> None:
    """Log once per type of exception what is lost, and where. The exception's text is left out: it may be secret."""
    if (what, type(error)) in _reported:
        return
    _reported.add((what, type(error)))
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code, line = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("?", 0)
    # The handler that failed may be the one that gets this line.
    with contextlib.suppress(Exception):
        logger = logging.getLogger("sleepwalker.telemetry")
        if logger.hasHandlers():
            logger.warning("%s: %s at %s:%d", what, type(error).__name__, code, line)
