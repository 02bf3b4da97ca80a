"""Tests that need a program beyond Python are skipped loudly, and never in CI."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = ROOT / "tests" / "conftest.py"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite with this one's conftest, on a machine with nothing on its PATH."""
    pytester.makeconftest(CONFTEST.read_text())
    pytester.path.joinpath("system-packages.txt").write_text("# program package why\nno-such-server  its-package  x\n")
    pytester.makeini("[pytest]\nmarkers = needs(name): a program\n")
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def server():
            raise AssertionError("started without the program")

        @pytest.mark.needs("no-such-server")
        def test_with_marker(server): ...

        def test_with_fixture(program):
            program("no-such-server")

        def test_without(): ...
        """
    )
    return pytester


def test_a_missing_program_skips_its_tests_and_the_last_lines_name_the_package(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=2)
    assert result.outlines[-2:] == [
        "Tests were left out, for programs that are missing: 2 need no-such-server. To get these:",
        "    make test SUDO=1    or: apt-get install its-package",
    ]


def test_a_missing_program_fails_its_tests_in_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*needs no-such-server (Debian package its-package); in CI*"])


def test_a_program_that_is_not_listed_is_a_mistake_in_the_test(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    suite.makepyfile(
        test_other="""
        import pytest

        @pytest.mark.needs("unheard-of")
        def test_it(): ...
        """
    )
    result = suite.runpytest_inprocess("-p", "no:cacheprovider", "test_other.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*system-packages.txt does not list 'unheard-of'*"])


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs for the front of the PATH: a user who is not root, and what notes how it was called."""
    notes = tmp_path / "calls"
    programs = {"id": "echo 1000", "sudo": f'echo "sudo $*" >>{notes}', "apt-get": f'echo "apt-get $*" >>{notes}'}
    for name, script in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    notes.touch()
    return tmp_path


def run(script: str, machine: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    environ = {"PATH": f"{machine}:{os.environ['PATH']}", **environment}
    command = ["/bin/sh", str(ROOT / "scripts" / script), *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr, (machine / "calls").read_text()


@pytest.mark.parametrize("sudo", ["", "0", None])
def test_a_users_machine_is_left_alone_unless_asked(machine: Path, sudo: str | None) -> None:
    """A sudo that asks for no password is no permission to install packages."""
    environ = {} if sudo is None else {"SUDO": sudo}
    assert run("apt-install", machine, "its-package", **environ) == (1, "", "")


def test_with_sudo_1_packages_are_installed_through_sudo(machine: Path) -> None:
    code, _, calls = run("apt-install", machine, "its-package", SUDO="1")
    assert code == 0
    assert "sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq" in calls
    assert " its-package\n" in calls
    assert not calls.startswith("apt-get")
