"""Every example of every help page is run as it stands, with a server of ours where it names one."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import gzip
import io
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from servers import FaultServer, reply

from sleepwalker.cli import main
from sleepwalker.cli.demo.plan import QUICK
from sleepwalker.fleet.store import Said
from sleepwalker.fleet.stores import open_store
from tests.terminal import Screen

pytestmark = pytest.mark.once

COMMANDS = [
    [], ["demo"], ["get"], ["inspect"], ["policy"], ["fleet"], ["completion"],
    *(["policy", name] for name in ("list", "show", "check", "schema")),
    *(["fleet", name] for name in ("status", "isolate", "restore", "reset")),
]  # fmt: skip


def _examples(command: list[str]) -> list[str]:
    """The commands that a help page shows, without the comments between them."""
    page = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}), contextlib.redirect_stdout(page):
        main([*command, "--help"])
    lines = page.getvalue().partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    return [line.strip() for line in lines if not line.strip().startswith("#")]


EXAMPLES = sorted({example for command in COMMANDS for example in _examples(command)})
#: What bash makes something of. (Not a `>` at the end: that is done here.)
_SHELL = frozenset("|&;<>()$`*?[]{}~#\n\\!")
#: Seconds of a demo's course.
_SHORT = {"traffic": 1.6, "down_at": 0.4, "down_for": 0.6, "move_at": 0.8, "drip": 1.2}
_ASKS_FOR_A_PASSWORD = "sleepwalker get --auth anna "


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with FaultServer(default=reply(200, body=b'{"fine": true}\n')) as server:
        yield server.url


@pytest.fixture(scope="module")
def logs(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of two days, the latest of this minute."""
    folder = tmp_path_factory.mktemp("logs")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["get", "-n", "4", "--log", str(folder / "few.jsonl"), url]) == 0
    [line, *_] = [json.loads(text) for text in (folder / "few.jsonl").read_text().splitlines()]
    now = datetime.datetime.now(datetime.UTC)
    with (folder / "events.jsonl").open("w") as file:
        for minutes in range(2 * 24 * 60, -1, -5):
            at = (now - datetime.timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
            host = "https://payments.example.net"
            file.write(json.dumps({**line, "timestamp": at, "host": host, "call": f"c{minutes}"}) + "\n")
    return folder / "events.jsonl"


@pytest.fixture
def folder(tmp_path: Path, logs: Path) -> Path:
    """What the examples read."""
    for name in ("events.jsonl", "app.jsonl", "logs/one.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(logs, tmp_path / name)
        (tmp_path / name).chmod(0o640)  # else some say that others may read it
    for name in ("old.jsonl.gz", "logs/two.gz"):
        (tmp_path / name).write_bytes(gzip.compress(logs.read_bytes()))
    for name in ("mine.toml", "deploy/one.toml", "deploy/two.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('[timeout]\nread = 5\n[[host]]\nmatch = "*.example.com"\nretry = false\n')
    (tmp_path / "in.bin").write_bytes(bytes(range(256)))
    return tmp_path


def _store(url: str) -> str:
    """The URL of a fleet's store, in which a worker of two services is."""
    for service in ("default", "billing"):
        with contextlib.closing(open_store(url, service, 5.0)) as store:
            store.sync(Said("id", "web-7 4711", 600.0))
    return url


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/bin", "/bin"])
    return {**kept, "PATH": path, "HOME": "/nonexistent", "TERM": "dumb", "COLUMNS": "200"}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 30


@pytest.mark.left_to_ci
@pytest.mark.needs("bash")
@pytest.mark.parametrize("example", [example for example in EXAMPLES if not example.startswith(_ASKS_FOR_A_PASSWORD)])
def test_the_example_runs(
    example: str,
    folder: Path,
    url: str,
    program: Callable[[str], Path],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What a shell makes something of is run by bash, in an environment without secrets; the rest, in this process.

    A program takes half a second to start.
    """
    if " jq " in example:
        program("jq")
    command = example.replace("https://example.net", url).replace("http://localhost:8080", url)
    serves = "demo --serve" in command
    if serves:
        command += " --port 0"
    elif command.startswith("sleepwalker demo"):
        command = command.replace("demo", "demo --quick", 1).replace("--quick --quick", "--quick")
        # What the hosts go through is test_cli_demo.py's.
        monkeypatch.setattr("sleepwalker.cli.demo.command.QUICK", dataclasses.replace(QUICK, **_SHORT))
    environment = _environment()
    if command.startswith("sleepwalker fleet"):
        environment["SLEEPWALKER_FLEET"] = _store(f"file://{folder}/billing.fleet")
        command = command.replace("file:///run", f"file://{folder}")
        if "redis://localhost" in command:
            command = command.replace("redis://localhost", _store(request.getfixturevalue("redis_server").url))
    follows = serves or "--follow" in command or "--watch" in command
    ours, _, target = command.partition(" > ")
    ours, _, filter_ = ours.partition(" | ")
    if not follows and _SHELL.isdisjoint(re.sub("'[^']*'", "", ours)):
        monkeypatch.chdir(folder)
        with mock.patch.dict(os.environ, environment, clear=True):
            code = main(shlex.split(ours)[1:])
        out, err = capfd.readouterr()
        if filter_:
            out = subprocess.run(shlex.split(filter_), input=out, stdout=subprocess.PIPE, text=True, check=True).stdout
        if target:
            Path(target).write_text(out, encoding="utf-8")
        _has_run(command, folder, code, out, err)
        return
    process = subprocess.Popen(
        [program("bash"), "-o", "pipefail", "-c", f"exec {command}" if follows else command], cwd=folder,
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if follows:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 120)[0], "it shows what there is"
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    _has_run(command, folder, process.returncode, out, err)


def _has_run(command: str, folder: Path, code: int, out: str, err: str) -> None:
    assert code == 0, out + err
    assert "Traceback" not in err
    if command.startswith("sleepwalker demo --quick") and "--json" not in command:
        assert 60 < max(map(len, out.splitlines()[:-4])) <= 80, "although the environment says that there are 200"
    words = command.split()
    written = [words[at + 1] for at, word in enumerate(words) if word in (">", "-o", "--html")]
    assert out or written or command.startswith("eval ")
    for name in written:
        assert (folder / name).stat().st_size > 0


def test_the_example_that_asks_for_a_password_asks_for_it(folder: Path, url: str) -> None:
    [example] = [example for example in EXAMPLES if example.startswith(_ASKS_FOR_A_PASSWORD)]
    words = example.replace("https://example.net", url).split()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(str(Path(sys.executable).parent / words[0]), words, _environment())
    screen = Screen(terminal)
    try:
        screen.until(b"Password: ")
        os.write(terminal, b"secret\n")
        screen.until(b"200 OK, 1 attempt")
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGHUP), "the terminal may be closed before it ends"
    assert b"secret" not in screen.seen
