"""What all tests share: programs beyond Python, and what happens where they are missing."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
from collections import Counter
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

#: What the reason of such a skip looks like.
_NEEDS = re.compile(r"needs (\S+) \(Debian package")

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


def _require(program: str) -> Path:
    """The program's path. Without it the running test is skipped, or fails where CI=true."""
    if path := _find(program):
        return path
    reason = f"needs {program} (Debian package {_PACKAGES[program]})"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"{reason}; in CI a missing part is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """`program("nginx")` is that program's path; the test is skipped without it, and fails where CI=true."""
    return _require


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts this in the background has it ignore Ctrl-C, and `nohup` a hang-up; so would all programs that
    # tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish(session: pytest.Session) -> None:
    # Some ten thousand tests and all that they import stay for the whole run: looked through at each gc.collect() of a
    # test, they cost a third of a second.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, for a fixture may start the program."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            _require(name)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The run's last lines, after pytest's own: what was left out, and how to get what it needs."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    left_out = Counter(match[1] for report in skipped if (match := _NEEDS.search(str(report.longrepr))))
    if reporter is None or not left_out:
        return
    packages = " ".join(sorted({_PACKAGES[program] for program in left_out}))
    reporter.ensure_newline()
    reporter.write_line(f"Tests were left out, for programs that are missing: {_counted(left_out)}. To get these:")
    reporter.write_line(f"    make test SUDO=1    or: apt-get install {packages}")


def _counted(programs: Counter[str]) -> str:
    return ", ".join(f"{count} need{'s' if count == 1 else ''} {name}" for name, count in sorted(programs.items()))
