"""The tutorials as a reader types them: line by line into Python's own prompt on a terminal, comparing what comes out.

From Python 3.13 on that prompt is another one, which edits whole blocks and indents by itself. It draws on the terminal
what it likes, so what a statement printed is told from that by what was typed before, and by the prompt after it.
"""

from __future__ import annotations

import doctest
import fcntl
import importlib.util
import itertools
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sleepwalker.cli.demo.serve import serving
from tests.docs_page import Block, blocks

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorial").glob("*.md"))

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: What moves the cursor, colours, or switches the terminal's ways.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>]|\x1b[()]\w|[\x00\x07\x08\r]")
#: One of which the rest is still to come.
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07]*|[()])?$")
#: Between these two the newer prompt lets others write.
_BEGIN, _END = "\x1b[?2004l", "\x1b[?2004h"
_READY = re.compile(r"(?:^|\n)>>> *$")
_ANY_PROMPT = re.compile(r"(?:^|\n)(?:>>> |\.\.\. ) *$")
#: Deletes the line so far: the newer prompt has indented it, and the page says how far it is to be.
_EMPTY_LINE = b"\x15"


class Session:
    """Python's interactive interpreter on a terminal that is wide enough for every line."""

    def __init__(self, folder: Path) -> None:
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        # Without PYTHON_BASIC_REPL, and with a terminal that the newer prompt knows.
        environment = {**kept, "PYTHONPATH": str(ROOT), "HOME": str(folder), "TERM": "xterm", "PATH": os.defpath}
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, "-q"], environment)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 250, 0, 0))
        self.edits_blocks = False
        self._shown = ""
        self._until(_READY)

    def enter(self, line: str, *, last: bool) -> str:
        """Type a line; what came out until the next prompt. After the last line of a statement, that is no `...`."""
        if line:
            os.write(self._terminal, _EMPTY_LINE + line.encode())
            self._until(re.compile(re.escape(line.strip())))
        self._shown = ""
        os.write(self._terminal, b"\r")
        self._until(_READY if last or not line else _ANY_PROMPT)
        self.edits_blocks = self.edits_blocks or _BEGIN in self._shown
        out = self._shown.rpartition(_BEGIN)[2].partition(_END)[0] if _BEGIN in self._shown else self._shown
        return _ANY_PROMPT.sub("", _plain(out))

    def _until(self, wanted: re.Pattern[str]) -> None:
        """Read until what was shown since the last line ends so."""
        end = time.monotonic() + 60
        while not wanted.search(_plain(self._shown)) or _BEGUN.search(self._shown):
            assert time.monotonic() < end, f"no {wanted.pattern!r} within 60 s:\n{self._shown!r}"
            if select.select([self._terminal], [], [], 0.5)[0]:
                self._shown += os.read(self._terminal, 65536).decode("utf-8", "replace")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


def _plain(text: str) -> str:
    return _ESCAPES.sub("", text)


def _statements(block: Block) -> Iterator[tuple[int, list[str], str]]:
    """What a reader types for each statement of a block, an empty line after a compound one, and what comes out."""
    if ">>> " not in block.text:
        yield block.line, [*block.text.splitlines(), ""], ""
        return
    for example in doctest.DocTestParser().get_examples(block.text):
        lines = example.source.splitlines()
        yield block.line + example.lineno, [*lines, ""] if len(lines) > 1 else lines, example.want


def _compared(text: str) -> str:
    """An error by its last lines, for the page leaves out what is above them."""
    lines = text.strip().splitlines()
    if "Traceback (most recent call last):" in lines:
        rest = lines[lines.index("Traceback (most recent call last):") + 1 :]
        lines = list(itertools.dropwhile(lambda line: line.startswith((" ", "...")), rest))
    return "\n".join(lines) + "\n"


@pytest.mark.left_to_ci
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_works_as_it_is_typed(page: Path, tmp_path: Path) -> None:
    faults = []
    typed = 0
    with serving(3) as urls:
        session = Session(tmp_path)
        try:
            for block in blocks(page):
                text = re.sub(r"http://127\.0\.0\.1:876([567])\b", lambda found: urls[int(found[1]) - 5], block.text)
                if "file" in block.directives:
                    (tmp_path / block.directives["file"]).write_text(text, encoding="utf-8")
                elif block.language == "python" and block.not_run is None:
                    for number, lines, wanted in _statements(replace(block, text=text)):
                        got = "".join(session.enter(line, last=at == len(lines)) for at, line in enumerate(lines, 1))
                        typed += len(lines)
                        if not doctest.OutputChecker().check_output(_compared(wanted), _compared(got), _OPTIONS):
                            faults.append(f"{page.name}:{number}: instead of\n{wanted}\nthis came out:\n{got}")
        finally:
            session.end()
    assert typed > 20
    assert faults == [], "\n\n".join(faults)
    # Else it was the old prompt that was tried, of which a newcomer sees nothing.
    assert session.edits_blocks == (sys.version_info >= (3, 13) and importlib.util.find_spec("_curses") is not None)
