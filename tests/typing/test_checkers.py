"""What users' checkers and editors make of the package: mypy and pyright, both strict."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pytest

from sleepwalker.policy import Policy
from sleepwalker.policy.base import PolicyModel, part_of
from sleepwalker.policy.descriptions import descriptions
from tests.unit.test_docstrings import AWAITED, WITH_EXAMPLE, example_of

ROOT = Path(__file__).parents[2]
ORDINARY = "tests/typing/ordinary.py"
MISTAKES = "tests/typing/mistakes.py"

#: Of the lines of mistakes.py, how many each checker has to find fault with: all but one in eleven.
WANTED = 10 / 11
#: The share of the package's symbols whose types are written down in full.
COMPLETE = 97.0

pytestmark = [pytest.mark.once, pytest.mark.long]


class Fault(NamedTuple):
    file: str
    line: int
    says: str


def _env() -> dict[str, str]:
    """pyright asks the `python` of the path where packages are, and does not follow an installation to be edited."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}


def _run(*command: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=_env(), capture_output=True, text=True, timeout=500, check=False
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return run.stdout


def _mypy() -> Iterator[Fault]:
    said = _run("mypy", "--no-pretty", "--hide-error-context", ORDINARY, MISTAKES)
    for file, line, says in re.findall(r"^(\S+?):(\d+): error: (.*)$", said, re.MULTILINE):
        yield Fault(file, int(line), says)


def _pyright() -> Iterator[Fault]:
    said = json.loads(_run("pyright", "--outputjson", ORDINARY, MISTAKES))
    assert said["summary"]["filesAnalyzed"] == 2
    for one in said["generalDiagnostics"]:
        if one["severity"] == "error":
            file = Path(one["file"]).relative_to(ROOT).as_posix()
            yield Fault(file, one["range"]["start"]["line"] + 1, one["message"])


def _marked() -> dict[int, str]:
    lines = (ROOT / MISTAKES).read_text(encoding="utf-8").splitlines()
    return {number: line.strip() for number, line in enumerate(lines, 1) if line.endswith("# mistake")}


@pytest.mark.left_to_ci
@pytest.mark.parametrize("checker", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_a_checker_accepts_ordinary_code_and_finds_the_usual_mistakes(checker: Any) -> None:
    faults = list(checker())
    assert [fault for fault in faults if fault.file != MISTAKES] == []

    marked = _marked()
    found = {fault.line for fault in faults}
    missed = [line for number, line in marked.items() if number not in found]
    print(f"{len(marked) - len(missed)} of {len(marked)} mistakes are found; not:", *missed, sep="\n  ")
    assert len(marked) >= 44
    assert len(marked) - len(missed) >= WANTED * len(marked), missed


@pytest.mark.left_to_ci
def test_the_types_of_the_package_are_complete() -> None:
    package = ["--verifytypes", "sleepwalker", "--ignoreexternal"]
    said = json.loads(_run("pyright", "--outputjson", *package))["typeCompleteness"]
    share = 100 * said["completenessScore"]
    print(f"{share:.1f} % of the package's symbols have known types")
    assert share >= COMPLETE, [symbol["name"] for symbol in said["symbols"] if not symbol["isTypeKnown"]]


@pytest.mark.left_to_ci
def test_the_examples_in_docstrings_are_sound(tmp_path: Path) -> None:
    """Each as the body of a function that has what examples call `conn`, `manager`, `services` and `shop`."""
    lines = [
        "from datetime import date",
        "from decimal import Decimal",
        "from typing import Any",
        "import sys",
        "import prometheus_client",
        "import asyncio",
        "from sleepwalker import *",
        "from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager",
        "from sleepwalker.events import BreakerOpened, Event",
        "from sleepwalker.hosts import HostTable",
        "from sleepwalker.inspect import Filter, Session, make",
        "from sleepwalker.links import Link, follow",
        "from sleepwalker.prometheus import Collector",
    ]
    given = "conn: Connection, manager: ConnectionManager, services: ServiceManager, shop: Service"
    awaited = "conn: AsyncConnection, manager: AsyncConnectionManager"
    for thing in WITH_EXAMPLE:
        begin = f"def of_{thing.__name__}({given})"
        if thing in AWAITED:
            begin = f"async def of_{thing.__name__}({awaited})"
        lines += [f"{begin} -> None:", textwrap.indent(example_of(thing), "    ")]
    file = tmp_path / "examples.py"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert _run("mypy", "--no-error-summary", str(file)) == ""


# --- Editors


class _Editor:
    """Talks to pyright as an editor does."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "pyright.langserver", "--stdio"],
            cwd=ROOT,
            env=_env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0
        folder = {"uri": ROOT.as_uri(), "name": "root"}
        self.ask("initialize", processId=None, rootUri=ROOT.as_uri(), capabilities={}, workspaceFolders=[folder])
        self._send(method="initialized", params={})

    def open(self, uri: str, text: str) -> None:
        document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self._send(method="textDocument/didOpen", params={"textDocument": document})

    def ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        self._send(id=self._number, method=method, params=params)
        while True:
            said = self._read()
            if "method" in said and "id" in said:  # what it wants to know of the editor: nothing is set
                items = said.get("params", {}).get("items", [])
                self._send(id=said["id"], result=[{} for _ in items] or None)
            elif said.get("id") == self._number:
                return said["result"]

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()

    def _send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        pipe = cast("IO[bytes]", self._server.stdin)
        pipe.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        pipe.flush()

    def _read(self) -> dict[str, Any]:
        pipe = cast("IO[bytes]", self._server.stdout)
        length = 0
        while line := pipe.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the language server ended"
        return cast("dict[str, Any]", json.loads(pipe.read(length)))


def _fields(cls: type[PolicyModel], path: str) -> Iterator[tuple[str, str]]:
    """Each field as an expression, and what is said of it."""
    for name, text in descriptions(cls).items():
        if name in cls.model_fields:
            yield f"{path}.{name}", text
            part = part_of(cls, name)
            if part is not None:
                yield from _fields(part, f"{part.__name__}()")


def test_an_editor_shows_what_each_field_of_a_policy_means() -> None:
    fields = [*_fields(Policy, "Policy()")]
    assert len(fields) > 60
    names = sorted({path.partition("(")[0] for path, _ in fields})
    lines = [f"from sleepwalker import {', '.join(names)}", *(path for path, _ in fields)]
    uri = (ROOT / "tests/typing/hovered.py").as_uri()  # there is no such file: an editor sends its text
    editor = _Editor()
    try:
        editor.open(uri, "\n".join(lines))
        for number, (path, text) in enumerate(fields, 1):
            position = {"line": number, "character": len(path) - 1}
            shown = editor.ask("textDocument/hover", textDocument={"uri": uri}, position=position)
            assert shown is not None, path
            assert _plain(text) in _plain(shown["contents"]["value"]), path
    finally:
        editor.close()


def _plain(text: str) -> str:
    """The words alone: an editor's texts have marks and entities of their own."""
    return re.sub(r"&\w+;|\W+", "", text)
