"""Finds the lines that are no events, by their number, and says what is wrong with each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from sleepwalker.inspect.columns import LONGEST_LINE
from sleepwalker.inspect.model import BadLine
from sleepwalker.inspect.sources import Source, chunks

__all__ = ["SHOWN", "LineCounts", "judge", "numbered"]

#: How many unreadable lines of a run are shown; all are counted.
SHOWN = 20
_LONGEST_EXCERPT = 60


class LineCounts:
    """What a source's lines are."""

    def __init__(self) -> None:
        self.events = 0
        self.other = 0
        """JSON objects that are no events of ours: other parts of an application write to the same file."""
        self.malformed = 0
        self.unfinished = 0
        """1 where the last line broke off: it may still be being written."""
        self.shown: list[BadLine] = []


def numbered(source: Source) -> Iterator[tuple[int, bytes, bool]]:
    """Every line with anything in it: its number, its bytes, and whether a line feed ended it.

    Of a line that is longer than any event there are only as many bytes as show that.
    """
    number, held = source.first, b""
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


def judge(source: Source, ordinals: Iterable[tuple[int, str | None]], counts: LineCounts) -> None:
    """Add to the counts what the lines are that could not be taken as events.

    `ordinals` has them in order: the how-manieth line with anything in it, from 0, and the reason where the line
    itself could be read. Blank lines are nothing at all.
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
        elif not ended and reason is None:
            counts.unfinished += 1
        else:
            counts.malformed += 1
            if len(counts.shown) < SHOWN:
                counts.shown.append(BadLine(source.name, number, fault, _excerpt(line)))
        ordinal, reason = next(wanted, (-1, None))
        if ordinal < 0:
            return


def _fault(line: bytes) -> str | None:
    """What is wrong with a line; None where it is a JSON object after all."""
    if len(line) > LONGEST_LINE:
        return "longer than any event"
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    except json.JSONDecodeError as error:
        return f"no JSON at column {error.colno}: {error.msg.lower()}"
    except RecursionError:
        return "nested too deeply"
    if not isinstance(value, dict):
        return "no JSON object"
    # What has an event's name was refused by a stricter reader than Python's: half of a surrogate pair, for one.
    return "no valid JSON" if isinstance(value.get("event"), str) else None


def _excerpt(line: bytes) -> str:
    text = line[: 4 * _LONGEST_EXCERPT].decode("utf-8", "replace").strip()
    return text if len(text) <= _LONGEST_EXCERPT else text[: _LONGEST_EXCERPT - 1] + "…"
