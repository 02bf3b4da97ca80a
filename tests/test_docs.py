"""The README and the pages of docs/ hold: their examples run, and their links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs_page import KNOWN, blocks, is_run, needs_a_server
from tests.unit.test_docstrings import AWAITED, example_of

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))
RUNNER = ROOT / "tests" / "docs_page.py"


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


Run = Callable[[Path], tuple[int, str]]


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Runs a page in a process of its own; its exit code, and what it wrote."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(RUNNER), "-"], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def run(page: Path) -> tuple[int, str]:
            print(page, file=asked, flush=True)
            code, written = json.loads(told.readline())
            return code, written

        yield run
        asked.close()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_examples_of_the_page_run(page: Path, request: pytest.FixtureRequest) -> None:
    if not any(is_run(block) for block in blocks(page)):
        return
    code, written = request.getfixturevalue("run")(page)
    assert code == 0, written


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_of_the_page_says_its_language_and_every_exception_its_reason(page: Path) -> None:
    """A block without a language, or one called `sh`, would silently never be run."""
    faults = []
    for block in blocks(page):
        if block.language not in KNOWN:
            faults.append(f"line {block.line}: language {block.language!r} is not one of {', '.join(sorted(KNOWN))}")
        if block.not_run == "":
            faults.append(f"line {block.line}: <!-- not run: --> gives no reason")
    assert faults == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.parent.name == "docs"], ids=_name)
def test_a_page_whose_examples_need_a_server_says_how_to_start_it(page: Path) -> None:
    """A reader who comes from a search has not seen the index."""
    needed = page.parent.name != "tutorial" and any(map(needs_a_server, blocks(page)))
    note = "The examples run against `sleepwalker demo --serve`: see [Run the examples](../README.md#run-the-examples)."
    line = page.read_text(encoding="utf-8").splitlines()[2]
    assert (line == note) == needed, f"third line: {note}"


def _anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get where it is read, and those that it names itself."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    named = re.findall(r'<a id="([^"]+)"></a>', text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(named)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_of_the_page_to_another_page_leads_somewhere(page: Path) -> None:
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and other.suffix == ".md" and anchor not in _anchors(other)):
            faults.append(target)
    assert faults == []


def test_at_least_the_readme_has_examples() -> None:
    """Were the blocks no longer recognised, every page would pass."""
    assert [block.language for block in blocks(ROOT / "README.md") if block.not_run is None].count("python") >= 1


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


@pytest.mark.left_to_ci
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", "page.md:6"),
        ("```python\n>>> 1 + 1\n3\n```\n", "Expected:"),
        ("```python\nimport warnings\nwarnings.warn('old', DeprecationWarning)\n```\n", "DeprecationWarning"),
        ("```console\n$ rm -rf nothing\n```\n", "only sleepwalker's own commands"),
        ("```console\n$ sleepwalker no-such-command\n```\n", "ended with 2, not 0"),
        ("```console\n$ sleepwalker policy list\nnothing of the kind\n```\n", "printed something else"),
        ('```toml\n[timeout]\ntotal = "long"\n```\n', "PolicyError"),
        ("1. A list:\n\n   ```python\n   1 / 0\n   ```\n", "ZeroDivisionError"),
        ("```python\nimport urllib.request as u\nu.urlopen('https://down.example.com/')\n```\n", "refused"),
    ],
)
def test_an_example_that_does_not_hold_fails_its_page(run: Run, page: Path, text: str, says: str) -> None:
    page.write_text(text)
    code, written = run(page)
    assert code != 0
    assert says in written


_AWAITED = """
```python
import asyncio
from typing import Any

from sleepwalker import *
from sleepwalker.aio import *

async def example():
    async with AsyncConnection("https://api.example.com", ANONYMOUS) as conn, AsyncConnectionManager() as manager:
{example}

asyncio.run(example())
```
"""


@pytest.mark.parametrize("thing", AWAITED, ids=lambda thing: thing.__name__)
def test_the_example_in_a_docstring_of_asyncio_runs(run: Run, page: Path, thing: type) -> None:
    page.write_text(_AWAITED.format(example=textwrap.indent(example_of(thing), " " * 8)))
    code, written = run(page)
    assert code == 0, written


_FILE = """
<!-- file: a.json -->
```json
[1]
```

```python
import json, pathlib

assert json.loads(pathlib.Path("a.json").read_text()) == [1]
```
"""

_SERVER = """
```python
import json, urllib.request

with urllib.request.urlopen("https://api.example.com/orders/7") as answer:
    assert json.load(answer)["method"] == "GET"
```
"""


@pytest.mark.left_to_ci
@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```\n\n```python\n>>> x + 1\n2\n```\n",
        "<!-- not run: it would fail -->\n\n```python\n1 / 0\n```\n",
        _FILE,
        "<!-- exit: 2 -->\n```console\n$ sleepwalker no-such-command\n...no-such-command...\n```\n",
        "```toml\n[timeout]\ntotal = 20\n```\n",
        _SERVER,
    ],
)
def test_an_example_that_holds_passes(run: Run, page: Path, text: str) -> None:
    page.write_text(text)
    code, written = run(page)
    assert code == 0, written


@pytest.mark.left_to_ci
def test_a_page_can_be_run_by_itself(page: Path) -> None:
    page.write_text(_SERVER)
    run = subprocess.run([sys.executable, str(RUNNER), str(page)], capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stdout, run.stderr) == (0, "1 examples\n", "")
