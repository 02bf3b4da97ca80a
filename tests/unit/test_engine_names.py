"""What the engine hands on to its drivers, what these know of it, and what it knows of threads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sleepwalker
from sleepwalker import engine

#: What imports what is the same with each interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PACKAGE = Path(sleepwalker.__file__).parent
ENGINE = sorted((PACKAGE / "engine").rglob("*.py"))
#: What performs steps, or makes what they are performed with.
USERS = [
    path for folder in ("drivers", "connection", "lookup", "transport") for path in (PACKAGE / folder).rglob("*.py")
]


def imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, names taken from it) of all imports in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names)


def test_the_names_that_it_hands_on_are_those_that_the_checker_reads() -> None:
    specimen = dict(imports(ROOT / "tests/typing/engine.py"))["sleepwalker.engine"]
    assert sorted(engine.__all__) == sorted(specimen)
    assert all(hasattr(engine, name) for name in engine.__all__)


@pytest.mark.parametrize("path", USERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_who_uses_it_knows_only_what_it_hands_on(path: Path) -> None:
    taken = {name for module, names in imports(path) if module == "sleepwalker.engine" for name in names}
    assert taken <= set(engine.__all__)
    assert [module for module, _ in imports(path) if module.startswith("sleepwalker.engine.")] == []


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_it_knows_no_thread_but_the_lock_of_a_host(path: Path) -> None:
    """So a driver of another kind, and a simulator, can perform its steps."""
    waiting = {"asyncio", "concurrent.futures", "queue", "select", "selectors", "sleepwalker.latch", "socket", "time"}
    known = {module for module, _ in imports(path)}
    assert known & waiting == set()
    assert ("threading" in known) == (path.name == "lock.py")
