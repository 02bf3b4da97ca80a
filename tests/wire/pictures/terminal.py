"""Records what a command shows on a terminal, and when, as screens of characters with their colours."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

#: A sequence that steers the terminal: of the kind `ESC [ numbers letter`, which is all that rich writes.
_STEERS = re.compile(r"\x1b\[(?P<private>\?)?(?P<numbers>[\d;]*)(?P<letter>[A-Za-z])")
#: What was read of a sequence or of a character whose rest is still to come.
_BROKEN_OFF = re.compile(rb"(?:\x1b(?:\[[?\d;]*)?|[\xc0-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf7][\x80-\xbf]{0,2})\Z")
#: Seconds within which what is written is shown in one go: no frame is of half a table.
_AT_ONCE = 0.02
#: Seconds that a command may take.
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Look:
    """How a character is shown."""

    colour: str | None = None
    """A number of the terminal's palette as text, or `#rrggbb`; None is the terminal's own."""
    bold: bool = False
    dim: bool = False
    underlined: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Characters in a row that look alike."""

    column: int
    text: str
    look: Look


#: A line of a screen, without blanks that nobody sees.
Line = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the screen showed from then on."""

    at: float
    """Seconds since the command began."""
    lines: tuple[Line, ...]


def text_of(line: Line) -> str:
    """The characters of a line."""
    text = ""
    for run in line:
        text += " " * (run.column - len(text)) + run.text
    return text


@dataclass
class Screen:
    """What a terminal that knows the sequences of rich makes of them. It grows downwards, and never scrolls."""

    columns: int
    _cells: list[list[tuple[str, Look]]] = field(default_factory=lambda: [[]])
    _row: int = 0
    _column: int = 0
    _look: Look = Look()

    def write(self, text: str) -> None:
        """Show it. A sequence that is not known here fails: the picture would be wrong."""
        at = 0
        while at < len(text):
            if (steers := _STEERS.match(text, at)) is not None:
                self._steer(steers)
                at = steers.end()
                continue
            self._put(text[at])
            at += 1

    def lines(self) -> tuple[Line, ...]:
        """The lines as they are now, without empty ones at the end."""
        lines = [_runs(cells) for cells in self._cells]
        while lines and not lines[-1]:
            lines.pop()
        return tuple(lines)

    def _put(self, character: str) -> None:
        match character:
            case "\r":
                self._column = 0
            case "\n":
                self._row += 1
                while len(self._cells) <= self._row:
                    self._cells.append([])
            case _:
                assert character.isprintable(), f"a terminal would do something at {character!r}"
                if self._column == self.columns:
                    self._put("\r")
                    self._put("\n")
                line = self._cells[self._row]
                line.extend([(" ", Look())] * (self._column + 1 - len(line)))
                line[self._column] = (character, self._look)
                self._column += 1

    def _steer(self, steers: re.Match[str]) -> None:
        numbers = [int(number or 0) for number in steers["numbers"].split(";")]
        match steers["letter"]:
            case "m":
                self._dress(numbers)
            case "A":
                self._row = max(0, self._row - max(1, numbers[0]))
            case "K" if numbers == [2]:
                self._cells[self._row] = []
            case "h" | "l" if steers["private"]:  # the cursor, which is not drawn
                pass
            case _:
                raise AssertionError(f"not known to this terminal: {steers[0]!r}")

    def _dress(self, numbers: list[int]) -> None:
        left = iter(numbers)
        for number in left:
            match number:
                case 0:
                    self._look = Look()
                case 1:
                    self._look = replace(self._look, bold=True)
                case 2:
                    self._look = replace(self._look, dim=True)
                case 4:
                    self._look = replace(self._look, underlined=True)
                case 38:
                    self._look = replace(self._look, colour=_colour(left))
                case _ if 30 <= number <= 37:
                    self._look = replace(self._look, colour=str(number - 30))
                case _ if 90 <= number <= 97:
                    self._look = replace(self._look, colour=str(number - 82))
                case _:
                    raise AssertionError(f"not known to this terminal: the style {number}")


def _colour(numbers: Iterator[int]) -> str:
    if next(numbers) == 2:
        return "#" + "".join(f"{next(numbers):02x}" for _ in range(3))
    number = next(numbers)
    if number < 16:
        return str(number)
    if number >= 232:
        return "#" + f"{8 + 10 * (number - 232):02x}" * 3
    steps = (0, 95, 135, 175, 215, 255)
    red, green, blue = (steps[(number - 16) // power % 6] for power in (36, 6, 1))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _runs(cells: Sequence[tuple[str, Look]]) -> Line:
    runs, column = [], 0
    for look, group in groupby(cells, key=lambda cell: cell[1]):
        text = "".join(character for character, _ in group)
        # Blanks between words of a table are not drawn: each word is put where it stands.
        for word in re.finditer(r"\S+(?: \S+)*", text):
            runs.append(Run(column + word.start(), word[0], look))
        column += len(text)
    return tuple(runs)


def record(
    command: Sequence[str], *, columns: int, environment: Mapping[str, str], folder: str, rows: int = 60
) -> tuple[list[Frame], int]:
    """What the command shows on a terminal of its own, a frame for each change, and the code that it ends with."""
    began = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(command[0], list(command), {**environment, "TERM": "xterm-256color", "COLUMNS": str(columns)})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    screen, frames, waiting = Screen(columns), [Frame(0.0, ())], b""
    try:
        while True:
            assert time.monotonic() < began + _PATIENCE, f"{command} has not ended; it showed {frames[-1]}"
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(terminal, 65536)
            except OSError:  # how a terminal ends on Linux
                break
            while part and select.select([terminal], [], [], _AT_ONCE)[0]:
                try:
                    more = os.read(terminal, 65536)
                except OSError:
                    break
                part += more
            waiting += part
            if _BROKEN_OFF.search(waiting) is None:
                screen.write(waiting.decode())
                waiting = b""
            if (lines := screen.lines()) != frames[-1].lines:
                frames.append(Frame(time.monotonic() - began, lines))
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    return frames, os.waitstatus_to_exitcode(status)
