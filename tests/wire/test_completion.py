"""`sleepwalker completion`: a real bash completes commands, options, policies and files."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sleepwalker.cli import main
from sleepwalker.cli.completion import SHELLS
from sleepwalker.policy import Policy
from tests.terminal import Screen

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def script() -> str:
    run = subprocess.run([sys.executable, "-m", "sleepwalker", "completion", "bash"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@pytest.fixture
def completed(script: str, tmp_path: Path, program: Callable[[str], Path]) -> Callable[..., list[str]]:
    """What bash offers for the last of the words, in a folder with a policy, a log and a folder."""
    bash = program("bash")
    (tmp_path / "mine.toml").touch()
    (tmp_path / "events.jsonl").touch()
    (tmp_path / "logs").mkdir()
    (tmp_path / "completion.bash").write_text(script)

    def complete(*words: str) -> list[str]:
        asks = 'source completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_sleepwalker sleepwalker'
        command = [bash, "--norc", "--noprofile", "-c", f'{asks}; printf "%s\\n" "${{COMPREPLY[@]}}"', "-"]
        run = subprocess.run([*command, "sleepwalker", *words], cwd=tmp_path, capture_output=True, text=True)
        assert run.stderr == ""
        return sorted(run.stdout.split())

    return complete


@pytest.mark.needs("bash")
def test_commands_and_their_commands_are_completed(completed: Callable[..., list[str]]) -> None:
    assert completed("") == ["completion", "demo", "fleet", "get", "inspect", "policy"]
    assert completed("in") == ["inspect"]
    assert completed("policy", "") == ["check", "list", "schema", "show"]
    assert completed("completion", "b") == ["bash"]


@pytest.mark.needs("bash")
def test_options_are_completed(completed: Callable[..., list[str]]) -> None:
    assert completed("get", "--po") == ["--policy"]
    assert completed("inspect", "--s") == ["--since", "--sql"]
    assert "--json" in completed("policy", "check", "--")


@pytest.mark.needs("bash")
def test_policies_and_files_are_completed(completed: Callable[..., list[str]]) -> None:
    assert set(Policy.names()) <= set(completed("get", "--policy", ""))
    assert completed("get", "--policy", "b") == ["batch"]
    assert completed("get", "--policy", "mi") == ["mine.toml"]
    assert completed("policy", "show", "int") == ["interactive"]
    assert completed("policy", "check", "m") == ["mine.toml"]
    assert completed("inspect", "ev") == ["events.jsonl"]
    assert completed("inspect", "--json", "ev") == ["events.jsonl"]
    assert completed("get", "--cert", "lo") == ["logs"]


@pytest.mark.needs("bash")
def test_a_person_at_a_terminal_presses_tab(script: str, tmp_path: Path, program: Callable[[str], Path]) -> None:
    (tmp_path / "completion.bash").write_text(script)
    (tmp_path / "events-of-today.jsonl").touch()
    bash = str(program("bash"))
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(bash, [bash, "--norc", "--noprofile", "-i"], {"TERM": "dumb", "PS1": "ready> ", "PATH": "/nowhere"})
    screen = Screen(terminal)
    try:
        screen.until(b"ready> ")
        os.write(terminal, b"source completion.bash\n")
        screen.until(b"completion.bash\r\nready> ")
        os.write(terminal, b"sleepwalker insp\tev\t")
        screen.until(b"sleepwalker inspect events-of-today.jsonl")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script_with_the_policies_in_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "inspect" in out
    head = next(line for line in out.splitlines() if line.startswith("# Made with"))
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "command-line.md").read_text("utf-8")
    ways = re.findall(r"eval .*|sleepwalker completion \S+ > [^\s;]+", head)
    assert ways, "it says how to use it"
    assert [way for way in ways if way not in page] == []
    assert "Copy this" not in out
    if shell != "tcsh":  # which completes with one thing alone: files
        assert "batch careful interactive off standard" in out


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr() == (
        "",
        "sleepwalker: completion needs the package shtab: pip install 'sleepwalker[cli]'\n",
    )
