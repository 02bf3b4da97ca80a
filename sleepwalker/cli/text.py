"""Plain text for terminals and pipes: what may be shown, and how numbers read."""

from __future__ import annotations

import sys
from typing import TextIO

#: Characters that command a terminal instead of appearing on it (C0, DEL, C1), or that reorder what is read.
_HARMFUL = dict.fromkeys(
    (*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    "\N{REPLACEMENT CHARACTER}",
)
_HARMLESS = {ord("\n"), ord("\t")}
_TEXT = {code: mark for code, mark in _HARMFUL.items() if code not in _HARMLESS}


def safe_text(text: str) -> str:
    """`text` with all that could steer a terminal replaced; line breaks and tabs stay."""
    return text.replace("\r\n", "\n").translate(_TEXT)


def safe_line(text: str) -> str:
    """`text` as one line that cannot steer a terminal."""
    return text.translate(_HARMFUL)


def say(text: str, file: TextIO | None = None) -> None:
    """Write a line to `file`, stderr by default; what its encoding cannot express is replaced."""
    target = file if file is not None else sys.stderr
    encoding = target.encoding or "utf-8"
    target.write(safe_text(text).encode(encoding, "replace").decode(encoding) + "\n")
    target.flush()


def seconds(value: float | None) -> str:
    """A duration to read: `7 ms`, `0.21 s`, `12.3 s`; a dash for one that was not measured."""
    if value is None:
        return "-"
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.2f} s"
    return f"{value:.1f} s"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 call`, `2 calls`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
