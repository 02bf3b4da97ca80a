"""Runs the examples of one page in order, as a reader who types them in would: `python tests/docs_page.py PAGE`.

All Python blocks of a page share one namespace, and all blocks one empty folder. CONTRIBUTING.md says how a page marks
what is not run, what is a file, and what a command prints.

`python tests/docs_page.py -` reads the names of pages, a line for each, and forks to run one: what all of them import
is then imported once.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import doctest
import gc
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

#: The server behind the pages' addresses, that of `sleepwalker demo --serve`.
_SERVER = """
import contextlib, sys

from sleepwalker.cli.demo.serve import serving

with contextlib.ExitStack() as stack:
    for line in sys.stdin:  # how many addresses of one server are wanted
        print(*stack.enter_context(serving(int(line))), flush=True)
"""

#: Seconds that a page, and a command of one, may take.
_PAGE, _COMMAND = 300, 180
#: What a shell makes something of, so that only one can run the command.
_SHELL = frozenset("|&;<>()$`*?[]{}~#\n\\")

_FENCE = re.compile(r"^ *(?P<fence>`{3,}|~{3,})(?P<language>[^\s`]*)")
_DIRECTIVE = re.compile(r"^\s*<!--\s*(?P<name>not run|file|exit):?\s*(?P<value>.*?)\s*-->\s*$")
#: Where the files of a service are, which the pages name by URL.
_EXAMPLE_FILES = "file:///run/"
_EXAMPLE_HOST = re.compile(r"https?://(?P<name>[a-z0-9-]+)\.example\.com(?::\d+)?(?![\w.-])")
#: The addresses of `sleepwalker demo --serve --hosts 3`, which the tutorials name.
_SERVED = re.compile(r"http://127\.0\.0\.1:876(?P<last>[567])\b")


class PageError(AssertionError):
    """An example that does not do what its page says."""


@dataclass
class Block:
    """One fenced block, with the comments that stand directly above it."""

    line: int
    language: str
    text: str
    directives: dict[str, str] = field(default_factory=dict)

    @property
    def not_run(self) -> str | None:
        """The reason why the block is not run, None where it is."""
        return self.directives.get("not run")


def blocks(page: Path) -> Iterator[Block]:
    """The page's fenced blocks in order; `line` is that of the block's first line of content."""
    lines = page.read_text(encoding="utf-8").splitlines()
    directives: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if found := _DIRECTIVE.match(line):
            directives[found["name"]] = found["value"]
        elif found := _FENCE.match(line):
            start = number
            while number < len(lines) and lines[number].strip() != found["fence"]:
                number += 1
            text = textwrap.dedent("\n".join(lines[start:number])) + "\n"
            yield Block(start + 1, found["language"], text, directives)
            directives = {}
            number += 1
        elif line.strip():
            directives = {}


class Servers:
    """One server per example host that the page names, and one with three addresses for those of `demo --serve`.

    Each is started when it is first named; all are in one process.
    """

    #: The process with the servers of all pages, where several are run.
    shared: subprocess.Popen[str] | None = None

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._process = self.shared
        self._urls: dict[str, str] = {}
        self._addresses: list[str] = []
        self._files = f"file://{Path.cwd()}/"

    def put_in(self, text: str) -> str:
        """The text with the example hosts replaced by addresses on this machine."""
        text = text.replace(_EXAMPLE_FILES, self._files)
        text = _SERVED.sub(lambda found: self._served()[int(found["last"]) - 5], text)
        return _EXAMPLE_HOST.sub(lambda found: self._url(found["name"]), text)

    def take_out(self, text: str) -> str:
        """The text as the page would show it."""
        text = text.replace(self._files, _EXAMPLE_FILES)
        for name, url in self._urls.items():
            text = text.replace(url, f"https://{name}.example.com")
        for last, url in enumerate(self._addresses, 5):
            text = text.replace(url, f"http://127.0.0.1:876{last}")
        return text

    def _served(self) -> list[str]:
        if not self._addresses:
            self._addresses = self._start(3)
        return self._addresses

    def _url(self, name: str) -> str:
        if name not in self._urls:
            self._urls[name] = f"http://127.0.0.1:{self._unused_port()}" if name == "down" else self._start(1)[0]
        return self._urls[name]

    def _unused_port(self) -> int:
        """A port that refuses connections for as long as the page runs: bound, but not listening."""
        taken = self._stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]  # type: ignore[no-any-return]

    def _start(self, addresses: int) -> list[str]:
        if self._process is None:
            self._process = self._stack.enter_context(start_server())
            self._stack.callback(self._process.kill)
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None
        assert told is not None
        print(addresses, file=asked, flush=True)
        return told.readline().split()


def start_server() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )


class Commands:
    """Runs commands, each in a process of its own.

    Those of sleepwalker are run by forks of a process that has imported it. It is forked itself before anything of the
    page is run, which may start threads.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        ours, theirs = socket.socketpair()
        if (child := os.fork()) == 0:
            ours.close()
            _serve_commands(theirs.makefile("rw"))
        theirs.close()
        stack.callback(os.waitpid, child, 0)
        self._pipe = stack.enter_context(ours.makefile("rw"))
        ours.close()  # it is, with the file; the other process ends then

    def run(self, command: str) -> tuple[int, str]:
        """The exit code, and what it wrote to stdout and then what to stderr."""
        if _SHELL.isdisjoint(command):
            request = [shlex.split(command)[1:], dict(os.environ), str(Path.cwd())]
            print(json.dumps(request), file=self._pipe, flush=True)
            code, written = json.loads(self._pipe.readline())
            return code, written
        run = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=_COMMAND, stdin=subprocess.DEVNULL
        )
        return run.returncode, run.stdout + run.stderr


def _serve_commands(pipe: Any) -> None:
    """Run the commands that come, until the page has ended, and end."""
    import sleepwalker.cli

    atexit._clear()  # what was to be done at the end of the page is for its own process
    warnings.resetwarnings()
    for line in pipe:
        arguments, environment, folder = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if (child := os.fork()) == 0:
                signal.alarm(_COMMAND)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.chdir(folder)
                os.environ.clear()
                os.environ.update(environment)
                code = 1
                try:
                    code = sleepwalker.cli.main(arguments)
                except SystemExit as ended:
                    code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
                finally:
                    atexit._run_exitfuncs()
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0)
            err.seek(0)
            print(json.dumps([code, (out.read() + err.read()).decode()]), file=pipe, flush=True)
    os._exit(0)


_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _compare(wanted: str, got: str) -> None:
    """Compare as doctest does: `...` stands for anything, and runs of white space are one."""
    if not doctest.OutputChecker().check_output(wanted, got, _OPTIONS):
        diff = difflib.unified_diff(wanted.splitlines(), got.splitlines(), "the page", "this run", lineterm="")
        raise PageError("printed something else:\n" + "\n".join(diff))


def _python(block: Block, page: Path, namespace: dict[str, Any], servers: Servers, commands: Commands | None) -> None:
    text = servers.put_in(block.text)
    if text.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(text, namespace, str(page), str(page), block.line - 1)
        report = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=_OPTIONS, verbose=False)
        if runner.run(test, out=report.write, clear_globs=False).failed:
            raise PageError(report.getvalue())
        namespace.update(test.globs)
        return
    # As many empty lines in front as the page has: a traceback then names the page's own line.
    exec(compile("\n" * (block.line - 1) + text, str(page), "exec"), namespace)


def _toml(block: Block, page: Path, namespace: dict[str, Any], servers: Servers, commands: Commands | None) -> None:
    """Every TOML block is a policy."""
    import tomllib

    from sleepwalker import Policy

    Policy.from_dict(tomllib.loads(block.text))


def _console(block: Block, page: Path, namespace: dict[str, Any], servers: Servers, runner: Commands | None) -> None:
    """`$ sleepwalker …` lines are run; lines below one are what it prints, and `exit` is the last one's exit code."""
    commands: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands and commands[-1][0].endswith("\\"):
            commands[-1] = (f"{commands[-1][0][:-1]}{line.removeprefix('> ')}", [])
        elif commands:
            commands[-1][1].append(line)
        else:
            raise PageError(f"output without a command above it: {line}")
    for number, (command, output) in enumerate(commands, 1):
        if command.split()[0] != "sleepwalker":
            raise PageError(f"only sleepwalker's own commands are run; say `<!-- not run: reason -->` above: {command}")
        assert runner is not None
        code, written = runner.run(servers.put_in(command))
        wanted = int(block.directives.get("exit", 0)) if number == len(commands) else 0
        if code != wanted:
            raise PageError(f"{command}\nended with {code}, not {wanted}:\n{written}")
        if "\n".join(output).strip():
            _compare("\n".join(output).strip() + "\n", servers.take_out(written).strip() + "\n")


_RUNNERS: dict[str, Callable[[Block, Path, dict[str, Any], Servers, Commands | None], None]] = {
    "python": _python,
    "pycon": _python,
    "toml": _toml,
    "console": _console,
}

#: Languages that are shown and never run. What could be run must not hide behind another name (`sh`, `bash`, none).
SHOWN = frozenset({"text", "json", "jsonl", "html", "http", "ini", "mermaid", "diff", "yaml"})
KNOWN = SHOWN | frozenset(_RUNNERS)


def is_run(block: Block) -> bool:
    """Whether there is anything to be done for it but to write the file that it is."""
    is_file = "file" in block.directives and block.language != "toml"
    return block.not_run is None and block.language in _RUNNERS and not is_file


def needs_a_server(block: Block) -> bool:
    """Whether it is run, and has an address in it for which a server is started."""
    named = _EXAMPLE_HOST.search(block.text) or _SERVED.search(block.text)
    return is_run(block) and block.language != "toml" and named is not None


def run(page: Path) -> int:
    """Run the page's examples in the current folder, which should be an empty one; their number."""
    count = 0
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(page)}
    with contextlib.ExitStack() as stack:
        commands = any(block.language == "console" and is_run(block) for block in blocks(page))
        runner = Commands(stack) if commands else None
        servers = Servers(stack)
        for block in blocks(page):
            if name := block.directives.get("file"):
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(servers.put_in(block.text), encoding="utf-8")
            if not is_run(block):
                continue
            try:
                _RUNNERS[block.language](block, page, namespace, servers, runner)
            except Exception as error:
                error.add_note(f"{page}:{block.line}: the {block.language} example that starts here")
                raise
            count += 1
    return count


def _next_page() -> Path:
    """In a process of its own for each page that is asked for, this returns it; the first ends when none comes."""
    import sleepwalker.cli

    # What the first connection imports, nearly every page would import anew. Nothing of this machine's is to count.
    with mock.patch.dict(os.environ, clear=True), sleepwalker.Connection("http://127.0.0.1", sleepwalker.ANONYMOUS):
        pass
    Servers.shared = start_server()
    for line in sys.stdin:
        with tempfile.TemporaryFile() as written:
            if (child := os.fork()) == 0:
                signal.alarm(_PAGE)
                Servers.shared.returncode = 0  # it is no child of this process, which so does not wait for it
                for pipe in (Servers.shared.stdin, Servers.shared.stdout):
                    assert pipe is not None
                    atexit.register(pipe.close)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(written.fileno(), 1)
                os.dup2(written.fileno(), 2)
                return Path(line.rstrip("\n"))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            written.seek(0)
            print(json.dumps([code, written.read().decode()]), flush=True)
    Servers.shared.kill()
    Servers.shared.wait()
    sys.exit()


def main() -> int:
    """Run one page in an empty folder, with no credentials or proxies of this machine's in reach."""
    page = (_next_page() if sys.argv[1] == "-" else Path(sys.argv[1])).resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        bins = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        kept = {name: value for name, value in os.environ.items() if name in {"PYTHONPATH", "LANG", "LC_ALL", "TMPDIR"}}
        env = {**kept, "PATH": bins, "HOME": folder, "COLUMNS": "100"}
        with mock.patch.dict(os.environ, env, clear=True):
            warnings.simplefilter("error")
            print(f"{run(page)} examples")
    return 0


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # an example imports the package, not the tests beside this file
    code = main()
    gc.freeze()  # to look through all that was imported would take longer than most pages
    sys.exit(code)
