"""Rows of cells under headers, as wide as a terminal. Names are never cut: cells that do not fit go below them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sleepwalker.cli import display
from sleepwalker.cli.display import Cell, RenderableType
from sleepwalker.cli.text import safe_line

__all__ = ["rows_of"]


def rows_of(
    name: str,
    headers: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Cell]]],
    width: int,
    *,
    words: Collection[str] = (),
    spare: Sequence[str] = (),
    first: bool = True,
) -> Iterator[RenderableType]:
    """Each row has a name and its cells. The name stands before them, or behind them if `first` is false.

    A name is never cut. If the longest does not fit, each has a line of its own. Columns of `spare` are left out, one
    after the other, until the cells fit. Columns of `words` are flush left.
    """
    if not rows:
        return
    names = [safe_line(one) for one, _ in rows]
    kept, cells_width = list(range(len(headers))), 0
    sizes = [max(len(head), *(len(_plain(cells[at])) for _, cells in rows)) for at, head in enumerate(headers)]
    beside = max(len(name), *map(len, names)) + 1
    for gone in ["", *spare]:
        kept = [at for at in kept if headers[at] != gone]
        cells_width = sum(sizes[at] + 1 for at in kept) - 1
        if cells_width <= width - 2:
            break
    own_line = beside + cells_width > width
    pad = len(name) if own_line else beside - 1

    def aligned(texts: Sequence[Cell]) -> list[Cell]:
        made: list[Cell] = []
        for at in kept:
            plain, style = _plain(texts[at]), texts[at][1] if isinstance(texts[at], tuple) else ""
            space = " " * (sizes[at] - len(plain))
            made += [(plain + space if headers[at] in words else space + plain, style), " "]
        return made[:-1]

    head = aligned([(one, "bold") for one in headers])
    title: list[Cell] = [(f"{name:<{pad}}", "bold")]
    if own_line:
        yield display.line("  ", *head)
    else:
        yield display.line(*([*title, " ", *head] if first else [*head, " ", *title]))
    for one, (_, cells) in zip(names, rows, strict=True):
        if own_line:
            yield display.folded((one, "bold"))
            yield display.line("  ", *aligned(cells))
        elif first:
            yield display.line((f"{one:<{pad}}", "bold"), " ", *aligned(cells))
        else:
            yield display.line(*aligned(cells), " ", (one, "bold"))


def _plain(cell: Cell) -> str:
    return safe_line(cell if isinstance(cell, str) else cell[0])
