"""How `make test` runs tests side by side: `pytest --processes=auto` collects them once, and forks what runs them.

Each process holds all tests that were collected, and is told which of them to run, a unit of some at a time; it sends
back one message for each test. With pytest-xdist, each process would collect all tests by itself, and send five
messages for each: for the tests of tests/unit that was a third of the whole CPU time.

- Tests that share a fixture of their module or class are one unit: it is often a benchmark's run.
- So are tests of a browser, for it takes a second to start.
- Other tests of a file are handed out a few at a time, and towards the end one by one, so that all processes end
  together.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

import pytest
from _pytest import runner  # to run a test, and to tear fixtures down, without a report: neither has a public name

#: So many tests of a file are handed out at once: what they share in memory stays warm, and each message costs time.
_AT_ONCE = 12

#: Folders whose tests wait more than they work. They and the others are begun in turns, so that cores have work.
_WAITING = ("tests/wire/", "tests/test_docs.py")

#: The fixture that is a running browser.
_BROWSER = "chromium"

#: A set-up or tear-down of so many seconds is told of: it may be among the slowest.
_LONG = 1.0

#: Seconds that a process has to end once it was told to.
_PATIENCE = 10.0

_COUNT = pytest.StashKey[int]()
_REPORTS = pytest.StashKey[list[pytest.TestReport]]()

Unit = list[int]
"""Tests, by their index among those that were collected."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("side by side").addoption(
        "--processes",
        metavar="N",
        default="1",
        help="run tests in so many processes; 'auto': three for each core, for most tests wait more than they work",
    )


def processes(config: pytest.Config) -> int:
    """How many were asked for; 0 if pytest's own process is to run the tests."""
    asked = config.getoption("--processes")
    if asked == "auto":
        count = min(3 * len(os.sched_getaffinity(0)), 12)
    elif asked.isdecimal():
        count = int(asked)
    else:
        raise pytest.UsageError(f"--processes is {asked!r}: give a number of processes, or 'auto'")
    return 0 if count < 2 or config.option.usepdb or config.option.collectonly else count


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if count := processes(config):
        if reporter := config.pluginmanager.getplugin("terminalreporter"):
            reporter.showfspath = False  # tests of many files end in any order
        config.stash[_COUNT] = count


def pytest_report_header(config: pytest.Config) -> str | None:
    count = config.stash.get(_COUNT, 0)
    return f"side by side: {count} processes" if count else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    count = session.config.stash.get(_COUNT, 0)
    failed = session.testsfailed and not session.config.option.continue_on_collection_errors
    if not count or failed or not session.items:
        return None  # pytest's own loop, which knows what to say
    with tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True) as folder:
        _Run(session, folder).run(count)
    return True


def plan(items: Sequence[pytest.Item]) -> list[Unit]:
    """Units in the order in which they are begun."""
    units: list[Unit] = []
    kept: dict[str, Unit] = {}
    for _, of_file in itertools.groupby(range(len(items)), key=lambda index: items[index].path):
        loose: Unit = []
        for index in of_file:
            if key := _kept_together(items[index]):
                if key not in kept:
                    kept[key] = []
                    units.append(kept[key])
                kept[key].append(index)
            else:
                loose.append(index)
        units += (loose[at : at + _AT_ONCE] for at in range(0, len(loose), _AT_ONCE))
    long = [unit for unit in units if _takes_long(items[unit[0]])]
    others = [unit for unit in units if not _takes_long(items[unit[0]])]
    waiting = [unit for unit in others if items[unit[0]].nodeid.startswith(_WAITING)]
    working = [unit for unit in others if not items[unit[0]].nodeid.startswith(_WAITING)]
    ordered = long + _in_turns(waiting, working)
    at_the_end = ordered[len(ordered) * 9 // 10 :]
    shared = {unit[0] for unit in kept.values()}
    one_by_one = [part for unit in at_the_end for part in ([unit] if unit[0] in shared else [[at] for at in unit])]
    return ordered[: -len(at_the_end)] + one_by_one


def _in_turns(first: Sequence[Unit], second: Sequence[Unit]) -> list[Unit]:
    """Both, each spread evenly over the whole."""
    placed = [((at + 0.5) / len(units), unit) for units in (first, second) for at, unit in enumerate(units)]
    return [unit for _, unit in sorted(placed, key=lambda pair: pair[0])]


def _kept_together(item: pytest.Item) -> str | None:
    """What all tests have in common that are to run in one process; None where that does not matter."""
    definitions = _fixtures(item)
    if _BROWSER in definitions:
        return _BROWSER
    shared = {name: one for name, (*_, one) in definitions.items() if one.scope in ("class", "module")}
    for name, definition in shared.items():
        if not any(other in shared for other in definition.argnames):  # all that stands on it goes with it
            return f"{item.path} {name}"
    return None


def _takes_long(item: pytest.Item) -> bool:
    """All tests of the browser, one after the other, take more than a minute."""
    marked = item.get_closest_marker("long") or item.get_closest_marker("left_to_ci")
    return bool(marked) or _BROWSER in _fixtures(item)


def _fixtures(item: pytest.Item) -> dict[str, Any]:
    """The definitions of all that the test uses, by their names."""
    definitions: dict[str, Any] = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
    return definitions


class _Process:
    """A process that runs tests, as the reporting one knows it."""

    def __init__(self, pid: int, tests: Connection) -> None:
        self.pid = pid
        self.tests = tests
        #: What it has still to do; the first is what it does now.
        self.sent: deque[int] = deque()
        self.told_the_end = False

    def end(self) -> int:
        """Wait until it has ended, for some time kindly; its exit code, negative for a signal."""
        self.tests.close()
        late = time.monotonic() + _PATIENCE
        while (ended := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > late:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(ended[1])


class _Run:
    """Hands units of tests to processes, and reports.

    A process runs a test only when it knows the next one or that there will be none: it tears down what the next one
    does not use. So each is kept two tests ahead.
    """

    def __init__(self, session: pytest.Session, folder: str) -> None:
        self._session = session
        self._config = session.config
        self._folder = folder
        self._units = deque(plan(session.items))
        self._processes: dict[Connection, _Process] = {}
        self._numbers = itertools.count()

    def run(self, count: int) -> None:
        try:
            for _ in range(min(count, len(self._units))):
                self._start()
            while self._processes:
                for tests in wait(list(self._processes)):
                    self._hear(self._processes[tests])  # type: ignore[index]
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)
        finally:
            for process in self._processes.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)
            for process in self._processes.values():
                process.end()

    def _start(self) -> None:
        _no_other_threads()
        ours, theirs = multiprocessing.Pipe()
        number = next(self._numbers)
        sys.stdout.flush()
        sys.stderr.flush()
        if (pid := os.fork()) == 0:
            ours.close()
            for tests in self._processes:
                tests.close()
            _work(self._session, theirs, f"{self._folder}/{number}")
        theirs.close()
        process = self._processes[ours] = _Process(pid, ours)
        self._feed(process)

    def _feed(self, process: _Process) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died, which is found when it is heard
            while self._units and len(process.sent) < 2:
                unit = self._units.popleft()
                process.sent.extend(unit)
                process.tests.send(unit)
            if not self._units and not process.told_the_end:
                process.told_the_end = True
                process.tests.send(None)

    def _hear(self, process: _Process) -> None:
        try:
            index, reports, warned = process.tests.recv()
        except (EOFError, ConnectionResetError):
            self._gone(process)
            return
        process.sent.remove(index)
        for warning in warned:
            self._config.hook.pytest_warning_recorded.call_historic(kwargs=warning)
        for data in reports:
            self._report(self._config.hook.pytest_report_from_serializable(config=self._config, data=data))
        item = self._session.items[index]
        self._config.hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        self._feed(process)

    def _gone(self, process: _Process) -> None:
        """It has run all its tests, or it died: in the first of those that it had, and others get the rest."""
        del self._processes[process.tests]
        code = process.end()
        if not process.sent:
            return
        item, *left = self._session.items[process.sent.popleft()], *process.sent
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        text = f"The process that ran this test {how}. What it said, if anything, stands above or in its output."
        self._report(pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call"))
        if left:
            self._units.appendleft(left)
        if self._units:
            self._start()

    def _report(self, report: pytest.TestReport) -> None:
        self._config.hook.pytest_runtest_logreport(report=report)


def _no_other_threads() -> None:
    if len(others := threading.enumerate()) > 1:
        raise pytest.UsageError(
            f"A file of tests started threads when it was imported ({others[1:]}), and a fork would lose them: "
            "start them in a fixture, or run with --processes=1"
        )


# -- in a process that runs tests ------------------------------------------------------------------


def _work(session: pytest.Session, tests: Connection, folder: str) -> NoReturn:
    """Run the tests that come, and leave without the clean-up that is for the process that was forked."""
    code = 1
    try:
        Path(folder).mkdir()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder  # `tmp_path` counts up, looking at what is there
        _capture_anew(session.config)
        try:
            _run_all(session, tests)
            code = 0
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it may come from the terminal and once more from there
            runner.pytest_sessionfinish(session)
    except (KeyboardInterrupt, EOFError, ConnectionError):
        pass  # told to end, or the reporting process is gone
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _capture_anew(config: pytest.Config) -> None:
    """Where output is kept: the file of the process that was forked has one position for all that share it."""
    manager = config.pluginmanager.getplugin("capturemanager")
    if manager is not None:
        manager.stop_global_capturing()
        manager.start_global_capturing()
        manager.suspend_global_capture()


def _run_all(session: pytest.Session, tests: Connection) -> None:
    config = session.config
    reports: list[pytest.TestReport] = []
    config.stash[_REPORTS] = reports
    warned = _Warned()
    config.pluginmanager.register(warned)
    for index, following in itertools.pairwise(_told(tests)):
        assert index is not None
        next_one = None if following is None else session.items[following]
        config.hook.pytest_runtest_protocol(item=session.items[index], nextitem=next_one)
        told = [config.hook.pytest_report_to_serializable(config=config, report=one) for one in reports]
        tests.send((index, told, warned.told))
        reports.clear()
        warned.told.clear()


def _told(tests: Connection) -> Iterator[int | None]:
    """The tests in their order, and None at the end."""
    while (unit := tests.recv()) is not None:
        yield from unit
    yield None


@pytest.hookimpl
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """In such a process: run the test, and keep the reports that are of interest. Else pytest's own way."""
    kept = item.config.stash.get(_REPORTS, None)
    if kept is None:
        return None
    for report in runner.runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration >= _LONG:
            if report.passed:
                report.sections.clear()
            kept.append(report)
    return True


class _Warned:
    """Keeps warnings as what can be sent: their texts."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        text = f"{warning_message.category.__name__}: {warning_message.message}"
        plain = warnings.WarningMessage(
            pytest.PytestWarning(text), pytest.PytestWarning, warning_message.filename, warning_message.lineno
        )
        self.told.append({"warning_message": plain, "when": when, "nodeid": nodeid, "location": location})
