"""What all tests share: programs beyond Python, and what happens where they are missing."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

#: Debian keeps servers here, which is not on every user's PATH.
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")

_PACKAGES: dict[str, str] = {
    program: package
    for program, package, *_ in (
        line.split()
        for line in (Path(__file__).parent / "system-packages.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    )
}

_missing = pytest.StashKey[set[str]]()

# Whether a change may land must not hang on the luck of a draw: new examples are looked for at the desk.
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if os.environ.get("CI", "").lower() not in ("", "0", "false"):
    settings.load_profile("ci")


def _find(program: str) -> Path | None:
    if program not in _PACKAGES:
        raise LookupError(f"tests/system-packages.txt does not list {program!r}: add it there, with its package")
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_FOLDERS]))
    return Path(found) if found else None


def _require(program: str, config: pytest.Config) -> Path:
    """The program's path. Without it the running test is skipped, or fails where CI=true."""
    if path := _find(program):
        return path
    config.stash[_missing].add(_PACKAGES[program])
    reason = f"needs {program} (Debian package {_PACKAGES[program]})"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"{reason}; in CI a missing part is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """`program("nginx")` is that program's path; the test is skipped without it, and fails where CI=true."""
    return lambda name: _require(name, pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts this in the background has it ignore Ctrl-C, and `nohup` a hang-up; so would all programs that
    # tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.stash[_missing] = set()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, for a fixture may start the program."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            _require(name, item.config)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The run's last lines, after pytest's own: what to install so that nothing is left out."""
    missing = sorted(config.stash.get(_missing, set()))
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if missing and reporter is not None:
        reporter.ensure_newline()
        reporter.write_line("Tests were left out because programs are missing. Install these packages to run them:")
        reporter.write_line(f"    {' '.join(missing)}")
