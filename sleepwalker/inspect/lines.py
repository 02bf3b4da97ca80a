"""Finds the lines that are not events, by number, and says what is wrong with each."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence

from sleepwalker.eventlog.columns import LONGEST_LINE
from sleepwalker.eventlog.sources import Source, chunks
from sleepwalker.inspect.model import BadLine

__all__ = ["SHOWN", "LineCounts", "judge", "numbered", "places"]

#: How many unreadable lines of a file are shown. All are counted.
SHOWN = 20
_LONGEST_EXCERPT = 60
_WHOLE = "an event that was not whole when it was read"


class LineCounts:
    """How many lines of each kind a file has."""

    def __init__(self) -> None:
        self.events = 0
        self.other = 0
        """JSON objects that are not our events: other parts of an application write to the same file."""
        self.malformed = 0
        self.unfinished = 0
        """Last lines that broke off: they may still be in the process of being written."""
        self.misdated = 0
        """Events before 2020, or more than a day in the future. No longer counted once there are `SHOWN`."""
        self.cut = False
        """Whether it is a gzip file that was cut off or damaged: the rest could not be read."""
        self.shown: list[BadLine] = []


def numbered(source: Source) -> Iterator[tuple[int, bytes, bool]]:
    """Every line that is not blank: its number, its bytes, and whether a line feed ended it.

    A line that is longer than any event is cut off not far above that length.
    """
    number, held = source.first, b""
    with contextlib.suppress(EOFError):  # a gzip file that is not whole
        for data in chunks(source):
            *lines, rest = data.split(b"\n")
            for line in lines:
                whole = _held(held, line)
                if whole.strip():
                    yield number, whole, True
                held = b""
                number += 1
            held = _held(held, rest)
    if held.strip():
        yield number, held, False


def _held(held: bytes, more: bytes) -> bytes:
    return held + more if len(held) <= LONGEST_LINE else held


def places(source: Source, ordinals: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each ordinal with the number of its line, in order. Ordinals count the lines that are not blank, from 0."""
    wanted = set(ordinals)
    for position, (number, _, _) in enumerate(numbered(source)):
        if position in wanted:
            yield position, number
        if position >= max(wanted):
            return


def judge(source: Source, ordinals: Iterable[tuple[int, str | None]], counts: LineCounts, last: int) -> None:
    """Count the lines that DuckDB could not read as events, by what they are.

    `ordinals` has them in order: the ordinal (as in `places`), and the reason if the line itself was readable. `last`
    is the ordinal of the last line that was read. If that line is whole by now, it was still being written then.
    """
    wanted = iter(ordinals)
    ordinal, reason = next(wanted, (-1, None))
    if ordinal < 0:
        return
    for position, (number, line, ended) in enumerate(numbered(source)):
        if position != ordinal:
            continue
        fault = reason or _fault(line)
        if fault is None:
            counts.other += 1
        elif reason is None and position == last and (_broken_off(line, ended) or fault == _WHOLE):
            counts.unfinished += 1
        else:
            counts.malformed += 1
            if len(counts.shown) < SHOWN:
                counts.shown.append(BadLine(source.name, number, fault, _excerpt(line)))
        ordinal, reason = next(wanted, (-1, None))
        if ordinal < 0:
            return


def _broken_off(line: bytes, ended: bool) -> bool:
    """Whether it may be the first part of an event. Any other line is no event, however it goes on."""
    return not ended and line.lstrip().startswith(b"{") and len(line) <= LONGEST_LINE


def _fault(line: bytes) -> str | None:
    """What is wrong with a line; None if it is a JSON object without an event's name."""
    if len(line) > LONGEST_LINE:
        return "longer than any event"
    try:
        value = json.loads(line.decode("utf-8"), parse_int=str)  # `int` refuses a number of 5,000 digits
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    except json.JSONDecodeError as error:
        return f"no JSON at column {error.colno}: {error.msg.lower()}"
    except RecursionError:
        return "nested too deeply"
    if not isinstance(value, dict):
        return "no JSON object"
    if not isinstance(value.get("event"), str):
        return None
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        return "no valid JSON"  # NaN or a lone surrogate: Python reads them, a stricter reader does not
    return _WHOLE


def _excerpt(line: bytes) -> str:
    text = line[: 4 * _LONGEST_EXCERPT].decode("utf-8", "replace").strip()
    return text if len(text) <= _LONGEST_EXCERPT else text[: _LONGEST_EXCERPT - 1] + "…"
