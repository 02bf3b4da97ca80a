"""What all tests share: programs beyond Python, and what happens where they are missing."""

from __future__ import annotations

import faulthandler
import gc
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.ranges import look_at_the_whole

pytest_plugins = ("tests.side_by_side", "tests.both_drivers")

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

#: A descriptor of what was stderr when pytest began.
_STDERR = pytest.StashKey[int]()

#: How long all tests take; README.md, CONTRIBUTING.md and `make help` say so, too.
_TAKES = "about four minutes on two cores"

#: What the reason of such a skip looks like.
_NEEDS = re.compile(r"needs (\S+) \(Debian package")


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


# Whether a change may land must not hang on the luck of a draw: new examples are looked for at the desk.
# Nor on how busy the machine is: without a deadline for each example, of 200 ms, which a test run beside misses.
_STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("desk", _STEADY, max_examples=20)
settings.register_profile("ci", _STEADY, max_examples=60, derandomize=True, database=None)


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
    if _in_ci():
        pytest.fail(f"{reason}; in CI a missing part is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """`program("nginx")` is that program's path; the test is skipped without it, and fails where CI=true."""
    return _require


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """For a test that goes to the end of the stack: what other tests left behind cannot be finalized there."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts this in the background has it ignore Ctrl-C, and `nohup` a hang-up; so would all programs that
    # tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # A width of the terminal that the shell exports: what tests start would fit its lines to that.
    os.environ.pop("COLUMNS", None)
    config.stash[_STDERR] = os.dup(2)  # tests' output is kept elsewhere
    gc.disable()  # until all tests are collected: what is made before that stays
    settings.load_profile("ci" if _in_ci() else "desk")
    look_at_the_whole(in_ci=_in_ci(), here=_in_ci() and "not left_to_ci" not in config.option.markexpr)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """How long all of it takes, where all of it is asked for, and what is not in it."""
    if config.args_source is not config.ArgsSource.TESTPATHS or config.option.markexpr or config.option.keyword:
        return []
    if _in_ci():
        return ["all tests, with all that is left to CI"]
    return [
        f"all tests: {_TAKES}, and longer where the machine is busy",
        "left to CI: whole ranges, checks of benchmarks, pictures and more; `make test CI=true` runs these, too",
    ]


@pytest.hookimpl(trylast=True)  # after marks were added
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is left to CI, but where its file or its mark is named."""
    if _in_ci() or "left_to_ci" in config.option.markexpr:
        return
    named = {(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args}
    left = [item for item in items if item.get_closest_marker("left_to_ci") and item.path.resolve() not in named]
    if left:
        config.hook.pytest_deselected(items=left)
        apart = set(left)
        items[:] = [item for item in items if item not in apart]


def pytest_collection_finish(session: pytest.Session) -> None:
    # Some ten thousand tests and all that they import stay for the whole run: looked through at each gc.collect() of a
    # test, they cost a third of a second. So it would here: what little is garbage by now stays as well.
    gc.freeze()
    gc.enable()


#: Seconds after which a test that hangs prints every thread's stack.
_HANGS = 120.0
#: Seconds between two times at which that is put off, and what was imported meanwhile is kept out of collections.
_EVERY = 5.0
_done_at = 0.0


def _now_and_then(config: pytest.Config) -> None:
    """What would cost too much before each test.

    Some tests collect after each of hundreds of steps, each time through all that tests before them imported. And
    pytest's own `faulthandler_timeout` starts and ends a thread for each test: 4 to 8 % of the time of tests/unit.
    """
    global _done_at
    if time.monotonic() - _done_at > _EVERY:
        gc.collect()
        gc.freeze()
        faulthandler.dump_traceback_later(_HANGS, file=config.stash[_STDERR])
        _done_at = time.monotonic()


def pytest_exception_interact() -> None:
    """A test failed, and pytest has called that dump off."""
    global _done_at
    _done_at = -_EVERY


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, for a fixture may start the program."""
    _now_and_then(item.config)
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            _require(name)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write down how the run ended: CI runs failed tests once more, but not where others were never run."""
    cache = getattr(session.config, "cache", None)
    if cache is not None:
        cache.set("exitstatus", int(exitstatus))


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
