"""The tutorials as a reader types them: line by line into an interpreter, where an empty line ends a block."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs_page import Block, blocks

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorial").glob("*.md"))


def typed(block: Block) -> Iterator[str]:
    """The lines that a reader types for a block, each compound statement ended by an empty one."""
    lines = block.text.splitlines()
    if ">>> " not in block.text:
        yield from lines
        yield ""
        return
    for number, line in enumerate(lines):
        if line.startswith((">>> ", "... ")):
            yield line[4:]
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if line.startswith("... ") and not following.startswith("..."):
                yield ""
        elif line in (">>>", "..."):
            yield ""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_works_as_it_is_typed(page: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    shown = 0
    for block in blocks(page):
        if block.not_run is not None:
            continue
        if "file" in block.directives:
            (tmp_path / block.directives["file"]).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            lines += typed(block)
            shown += block.text.count("Traceback (most recent call last)")
    assert len(lines) > 20
    session = subprocess.run(
        [sys.executable, "-i", "-q"],
        input="\n".join([*lines, "print('typed', 'to the end')", ""]),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "typed to the end" in session.stdout
    assert "SyntaxError" not in session.stderr
    assert "IndentationError" not in session.stderr
    assert session.stderr.count("Traceback (most recent call last)") == shown, session.stderr
