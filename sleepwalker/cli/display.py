"""Tables and live progress by rich: colour and movement on a terminal, plain text elsewhere."""

from __future__ import annotations

import contextlib
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from sleepwalker.cli.parser import UsageError
from sleepwalker.cli.text import left, safe_line, width_of

try:
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console, ConsoleOptions, Group, RenderableType
    from rich.live import Live
    from rich.measure import Measurement
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text
except ImportError:
    raise UsageError("this command needs the package rich: pip install 'sleepwalker[cli]'") from None

__all__ = [
    "Cell",
    "Console",
    "RenderableType",
    "Text",
    "can_move",
    "console",
    "folded",
    "labelled",
    "line",
    "live",
    "progress",
    "stacked",
    "table",
]

#: The width of an output that is not a terminal, if COLUMNS is not smaller, and of the widest bar.
PLAIN_WIDTH = 80

#: A cell: its text, or its text and its style.
Cell = str | tuple[str, str]


def console(file: TextIO | None = None) -> Console:
    """A console for `file` (stdout by default). rich itself honours NO_COLOR and TERM=dumb."""
    target = file if file is not None else sys.stdout
    terminal = target.isatty()
    return _Console(
        file=target,
        force_terminal=terminal,
        width=None if terminal else min(PLAIN_WIDTH, width_of(target) or PLAIN_WIDTH),
        highlight=False,
        markup=False,
        emoji=False,
    )


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        """Print. If the output is no terminal, leave out the blanks with which rich fills up lines."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        self.file.write(re.sub(r"(?<! ) +(?=\n)", "", captured.get()))
        self.file.flush()

    def on_broken_pipe(self) -> None:
        """Let `main` end the command with 0 when the reader of the output has gone. rich would exit with 1."""
        self.quiet = True
        raise BrokenPipeError


def can_move(shown_on: Console) -> bool:
    """Whether written lines can be overwritten."""
    return shown_on.is_terminal and not shown_on.is_dumb_terminal


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell | Text]],
    *,
    words: Collection[str] = (),
    every: int = 0,
    tight: bool = False,
    keys: int = 1,
) -> RenderableType:
    """A table. Columns named in `words` are flush left, numbers flush right; an empty line follows each `every` rows.

    If it is too wide, it continues below, with the first `keys` columns repeated.
    """
    return _Table(headers, [[_text(cell) for cell in row] for row in rows], words, every, tight, keys)


@dataclass(frozen=True, slots=True)
class _Table:
    headers: Sequence[str]
    rows: Sequence[Sequence[Text]]
    words: Collection[str]
    every: int
    tight: bool
    keys: int

    def __rich_console__(self, shown_on: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        gap = 1 if self.tight else 2
        wide = [
            max(cell_len(header), *(row[at].cell_len for row in self.rows), 0) + gap
            for at, header in enumerate(self.headers)
        ]
        head = list(range(min(self.keys, len(wide))))
        part, room = list(head), options.max_width + gap - sum(wide[at] for at in head)
        for at in range(len(head), len(wide)):
            if wide[at] > room and len(part) > len(head):
                yield self._of(part)
                yield ""
                part, room = list(head), options.max_width + gap - sum(wide[key] for key in head)
            part.append(at)
            room -= wide[at]
        yield self._of(part)

    def __rich_measure__(self, shown_on: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(shown_on, options, self._of(range(len(self.headers))))

    def _of(self, columns: Iterable[int]) -> Table:
        """The table with these columns only."""
        chosen = list(columns)
        padding = (0, 0 if self.tight else 1, 0, 0)
        made = Table(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False, show_edge=False, header_style="bold")
        for at in chosen:
            justify: Literal["left", "right"] = "left" if self.headers[at] in self.words else "right"
            made.add_column(self.headers[at], justify=justify, no_wrap=True)
        for number, row in enumerate(self.rows, 1):
            made.add_row(*(row[at] for at in chosen), end_section=bool(self.every) and number % self.every == 0)
        return made


def line(*cells: Cell) -> Text:
    """Cells one after the other on one line, which is cut where it is too long."""
    return Text.assemble(*map(_text, cells), no_wrap=True, overflow="ellipsis")


def folded(*cells: Cell) -> Text:
    """Cells one after the other, on as many lines as they need, so that no name is cut."""
    return Text.assemble(*map(_text, cells), no_wrap=False, overflow="fold")


def labelled(rows: Sequence[tuple[Cell, str]], label: int, width: int) -> RenderableType:
    """Labels of `label` characters with texts beside them. The lines of a text stand below each other.

    No line ends at a no-break space. It is shown as a plain one.
    """
    lines = []
    for name, said in rows:
        shown = _text(name)
        shown.pad_right(label - len(shown))
        for part in textwrap.wrap(safe_line(said), max(20, width - label), break_on_hyphens=False) or [""]:
            lines.append(Text.assemble(shown, part.replace("\N{NO-BREAK SPACE}", " "), no_wrap=True))
            shown = Text(" " * label)
    return Group(*lines)


def progress(note: str, done: float, total: float, elapsed: float) -> RenderableType:
    """A note with the progress and the time left, and a bar below it."""
    return Group(
        Text(f"{note}: {left(done, total, elapsed)}"),
        _Bar(done, total),
    )


@dataclass(frozen=True, slots=True)
class _Bar:
    done: float
    total: float

    def __rich_console__(self, shown_on: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        width = min(PLAIN_WIDTH, options.max_width)
        yield ProgressBar(total=max(self.total, 1), completed=min(self.done, self.total), width=width)


def stacked(*parts: RenderableType) -> RenderableType:
    """Stack them vertically."""
    return Group(*parts)


@contextlib.contextmanager
def live(shown_on: Console, render: Callable[[], RenderableType]) -> Iterator[None]:
    """A context in which a terminal shows what `render` returns, always anew. It disappears at the end."""
    if not can_move(shown_on):
        yield
        return
    with Live(get_renderable=render, console=shown_on, refresh_per_second=8, transient=True, vertical_overflow="crop"):
        yield


def _text(cell: Cell | Text) -> Text:
    """A cell that cannot steer a terminal: names come from logs and from servers."""
    if isinstance(cell, Text):
        return cell  # a `line`
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(safe_line(text), style)
