"""Pieces of HTML that the page is made of."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

#: Columns that a phone shows side by side.
_FEW = 3

__all__ = ["breakable", "table", "text"]


def text(value: object) -> str:
    """Text of a log, escaped so that it makes no element."""
    return html.escape(str(value))


def breakable(value: object) -> str:
    """The same, with line breaks allowed between the parts of a name or a path."""
    return re.sub(r"(?<=\w[./])(?=\w)", "<wbr>", text(value))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """A section with a table whose rows become cards on a narrow screen; empty if there are no rows.

    A column is `header|classes`: `name`, which heads the row, and `word` are flush left, `long` takes a card's whole
    width, `brief` is not broken; one without classes is a number. Cells are HTML already. The roles are needed because
    browsers no longer treat it as a table when its rows are cards.
    """
    parted = [column.partition("|") for column in columns]
    kinds = [(name, kind or "number") for name, _, kind in parted]
    body = "".join(f'<tr role="row">{_row(kinds, row)}</tr>\n' for row in rows)
    if not body:
        return ""
    heads = "".join(f'<th scope="col" role="columnheader" class="{kind}">{name}</th>' for name, kind in kinds)
    return (
        f'<section><h2>{title}</h2><table class="{"cards" if len(columns) > _FEW else "few"}" role="table">'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead><tbody role="rowgroup">{body}</tbody></table>'
        f"{f'<p>{note}</p>' if note else ''}</section>\n"
    )


def _row(columns: Sequence[tuple[str, str]], cells: Sequence[str]) -> str:
    first, *others = zip(columns, cells, strict=True)
    (_, kind), cell = first
    return f'<th scope="row" role="rowheader" class="{kind}">{cell}</th>' + "".join(
        f'<td role="cell" data-label="{name}" class="{kind}">{cell}</td>' for (name, kind), cell in others
    )
