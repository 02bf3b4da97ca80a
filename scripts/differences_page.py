"""Writes the reference page of the differences from requests from the table that the differential tests use."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from tests.wire.differential import differences

_HEAD = """\
# Differences from requests

<!-- Generated from tests/wire/differential/differences.py: `make reference` writes this page. -->

A [`Connection`](connection.md) sends with requests: the same arguments send the same bytes, and the result is a
`requests.Response` with the same content. This page lists the exceptions, with reasons.

Tests keep it complete. They send thousands of generated exchanges with requests and with sleepwalker. A difference that
is not in these tables fails the tests, and so does a row without an exchange that shows it.
"""
_PARTS = {
    "responses": "How responses are read",
    "uploads": "What leaves",
    "redirects": "How redirects are followed",
    None: "Everything else",
}


def page() -> str:
    """The page `docs/reference/differences.md`."""
    return _HEAD + "".join(map(_part, _PARTS))


def _part(of: str | None) -> str:
    rows = "".join(_row(row) for row in differences.TABLE if row.of == of)
    return f"\n## {_PARTS[of]}\n\n| what | requests | sleepwalker | why |\n|---|---|---|---|\n{rows}"


def _row(row: differences.Difference) -> str:
    cells = (row.what, row.requests, row.sleepwalker, row.why)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
