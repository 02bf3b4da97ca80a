"""Logs for the tests of `sleepwalker inspect`: lines made from event types, and reports made from lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from sleepwalker.events import CATALOGUE, logged_names
from sleepwalker.inspect import Filter, Report, Session, make
from sleepwalker.inspect.window import iso

#: 2025-11-22T14:00:00Z.
NOON = 1_763_820_000.0
HOST = "https://api.example.net"


def line(at: float, event: str, host: str = HOST, **values: Any) -> str:
    """A line that is `at` seconds after `NOON`, as `sleepwalker.logging.configure` writes it."""
    fields, level, about = _known(event)
    assert values.keys() <= fields, f"no such field in {event}"
    head = {"timestamp": iso(NOON + at), "level": level, "event": event, "host": host}
    return _ENCODE({**head, **about, **values})


@cache
def _known(event: str) -> tuple[frozenset[str], str, dict[str, str]]:
    """Its fields and its level, and what all its lines have. (Tests make a million lines.)"""
    about = {"method": "GET", "path": "/things"} if event.startswith(("request.", "attempt.", "retry.")) else {}
    return frozenset({*logged_names(CATALOGUE[event]), "pid"}), CATALOGUE[event].level, about


_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def answered(at: float, host: str = HOST, **values: Any) -> str:
    """A call that was answered."""
    numbers = {"status": 200, "attempts": 1, "duration": 0.01, "waited": 0.0}
    return line(at, "request.finished", host, **{**numbers, **values})


def failed(at: float, host: str = HOST, **values: Any) -> str:
    """A call that failed."""
    numbers = {"error": "ConnectError", "detail": "refused", "attempts": 1, "duration": 0.01, "waited": 0.0}
    return line(at, "request.failed", host, **{**numbers, **values})


def rejected(at: float, host: str = HOST, **values: Any) -> str:
    """A call that an open circuit refused."""
    return failed(at, host, error="CircuitOpenError", detail=None, attempts=0, duration=0.0, **values)


def write(path: Path, lines: Sequence[str]) -> Path:
    """The lines in a file."""
    path.write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    return path


def report_on(*paths: Path | str, chosen: Filter | None = None, stdin: bytes = b"") -> Report:
    """The report on such files; they must have an event."""
    with Session() as session:
        session.load(session.find([str(path) for path in paths], BytesIO(stdin)))
        report = make(session, chosen or Filter())
        assert report is not None
        return report
