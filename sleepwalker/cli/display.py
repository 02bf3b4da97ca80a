"""Tables and live progress, through rich: colour and movement on a terminal, plain text elsewhere."""

from __future__ import annotations

import contextlib
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TextIO

from sleepwalker.cli.parser import UsageError
from sleepwalker.cli.text import safe_line

try:
    from rich import box
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text
except ImportError:
    raise UsageError("this command needs the package rich: pip install 'sleepwalker[cli]'") from None

__all__ = [
    "Cell",
    "Console",
    "RenderableType",
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

#: The width of what is not a terminal.
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
        width=None if terminal else PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        """Print; where that is not to a terminal, without the blanks with which rich fills up its lines."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        self.file.write(re.sub(r"(?<! ) +(?=\n)", "", captured.get()))
        self.file.flush()

    def on_broken_pipe(self) -> None:
        """The reader of the output has enough: `main` ends the command well. rich would call it a failure."""
        self.quiet = True
        raise BrokenPipeError


def can_move(shown_on: Console) -> bool:
    """Whether lines that were written can be written over."""
    return shown_on.is_terminal and not shown_on.is_dumb_terminal


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    words: Collection[str] = (),
    every: int = 0,
    tight: bool = False,
) -> Table:
    """A table. Columns named in `words` are flush left, numbers flush right; an empty line after `every` rows."""
    gap = 0 if tight else 1
    made = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for header in headers:
        made.add_column(header, justify="left" if header in words else "right", no_wrap=True)
    for number, row in enumerate(rows, 1):
        made.add_row(*(_text(cell) for cell in row), end_section=bool(every) and number % every == 0)
    return made


def line(*cells: Cell) -> Text:
    """Cells after one another on one line."""
    return Text.assemble(*map(_text, cells), no_wrap=True, overflow="ellipsis")


def folded(*cells: Cell) -> Text:
    """Cells after one another, on as many lines as they need: nothing of a name is left out."""
    return Text.assemble(*map(_text, cells), no_wrap=False, overflow="fold")


def labelled(rows: Sequence[tuple[Cell, str]], label: int, width: int) -> RenderableType:
    """Labels of `label` characters with texts beside them, which go on below themselves and not below the labels.

    No line ends at a no-break space; it is shown as a plain one.
    """
    lines = []
    for name, said in rows:
        shown = _text(name)
        shown.pad_right(label - len(shown))
        for part in textwrap.wrap(safe_line(said), max(20, width - label), break_on_hyphens=False) or [""]:
            lines.append(Text.assemble(shown, part.replace("\N{NO-BREAK SPACE}", " "), no_wrap=True))
            shown = Text(" " * label)
    return Group(*lines)


def progress(note: str, done: float, total: float) -> RenderableType:
    """A note with a bar under it."""
    return Group(Text(note), ProgressBar(total=max(total, 1), completed=min(done, total), width=PLAIN_WIDTH))


def stacked(*parts: RenderableType) -> RenderableType:
    """Stack them vertically."""
    return Group(*parts)


@contextlib.contextmanager
def live(shown_on: Console, render: Callable[[], RenderableType]) -> Iterator[None]:
    """Within, what `render` returns is shown and renewed on a terminal; afterwards it is gone."""
    if not can_move(shown_on):
        yield
        return
    with Live(get_renderable=render, console=shown_on, refresh_per_second=8, transient=True, vertical_overflow="crop"):
        yield


def _text(cell: Cell) -> Text:
    """Names come from logs and from servers: wherever a cell's text is from, it cannot steer a terminal."""
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(safe_line(text), style)
