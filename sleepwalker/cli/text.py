"""Plain text for terminals and pipes: which characters may be shown, how lines wrap and how numbers are written."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import TextIO

#: Characters that control a terminal instead of appearing on it (C0, DEL, C1), or that reorder text.
_HARMFUL = dict.fromkeys(
    (*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    "\N{REPLACEMENT CHARACTER}",
)
_HARMLESS = {ord("\n"), ord("\t")}
_TEXT = {code: mark for code, mark in _HARMFUL.items() if code not in _HARMLESS}
#: Commands within sentences, and a blank at which no line ends.
_COMMAND = re.compile(r"pip install '[^']*'|chmod \d+|sleepwalker get (?:URL|--help)")
_TIED = "\N{NO-BREAK SPACE}"
#: Seconds, and the share of the work, before which the time left cannot be estimated.
_TOO_SOON, _TOO_LITTLE = 1.0, 0.01


def safe_text(text: str) -> str:
    """`text` with every character replaced that could steer a terminal. Line breaks and tabs stay."""
    return text.replace("\r\n", "\n").translate(_TEXT)


def safe_line(text: str) -> str:
    """`text` as one line that cannot steer a terminal."""
    return text.translate(_HARMFUL)


def say(text: str, file: TextIO | None = None) -> None:
    """Write a line to `file` (default: stderr). Characters that its encoding lacks are replaced."""
    target = file if file is not None else sys.stderr
    encoding = target.encoding or "utf-8"
    target.write(safe_text(text).encode(encoding, "replace").decode(encoding) + "\n")
    target.flush()


def width_of(file: TextIO) -> int | None:
    """The columns that lines should fit: those of `COLUMNS`, or of the terminal; None if there is neither."""
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns):
        return int(columns)
    try:
        return (os.get_terminal_size(file.fileno()).columns or None) if file.isatty() else None
    except (OSError, ValueError):
        return None


def told(text: str, file: TextIO, *, indent: str = "") -> None:
    """Write a sentence. If its line would be too long, it continues below, behind `indent`.

    Words are not broken, and neither are commands that may be copied.
    """
    width = width_of(file)
    if width is None or len(text) <= width:
        say(text, file)
        return
    begin, rest = text[: len(indent)], _COMMAND.sub(lambda found: found[0].replace(" ", _TIED), text[len(indent) :])
    say("\n".join(_filled(rest, begin, indent, width)).replace(_TIED, " "), file)


def _filled(text: str, begin: str, indent: str, width: int) -> list[str]:
    """Lines of whole words: a broken path or URL could not be copied."""
    return textwrap.wrap(
        text, max(20, width), initial_indent=begin, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def with_narrow_comments(toml: str, width: int | None) -> str:
    """A TOML file whose comments on lines of their own are wrapped to the width. All else stays."""
    if width is None:
        return toml
    lines: list[str] = []
    block: list[str] = []
    for line in [*toml.splitlines(), ""]:
        if line.startswith("# "):
            block.append(line[2:])
            continue
        if block:  # a paragraph of the comment
            wide = max(map(len, block)) + 2 > width
            lines += _filled(" ".join(block), "# ", "# ", width) if wide else [f"# {part}" for part in block]
            block = []
        lines.append(line)
    return "\n".join(lines)


def left(done: float, total: float, elapsed: float) -> str:
    """The progress and the time left: `43 %, 8 s left`. Without the time until it can be estimated."""
    share = min(1.0, done / total) if total > 0 else 1.0
    text = f"{int(share * 100)} %"
    if share >= 1 or elapsed < _TOO_SOON or share < _TOO_LITTLE:
        return text
    rest = elapsed * (1 - share) / share
    if rest < 90:
        return f"{text}, {max(1, round(rest))} s left"
    return f"{text}, {round(rest / 60)} min left" if rest < 5400 else f"{text}, {rest / 3600:.1f} h left"


def seconds(value: float | None) -> str:
    """A duration to read: `7 ms`, `0.21 s`, `12.3 s`; a dash for None."""
    if value is None:
        return "-"
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.2f} s"
    return f"{value:.1f} s"


def size(value: int) -> str:
    """Bytes to read: `812 bytes`, `20.5 kB`, `200 MB`."""
    if value < 1000:
        return count(value, "byte")
    number, unit = float(value), 0
    while number >= 999.5 and unit < 4:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[unit]}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 call`, `2 calls`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
