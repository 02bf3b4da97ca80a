"""How `make test` runs tests side by side: `pytest --processes=auto` collects them once, and forks what runs them.

Each process holds all tests that were collected, and is told which of them to run, a unit of some at a time; it sends
back one message for each test. With pytest-xdist, each process would collect all tests by itself, and send five
messages for each: so tests/unit took 104 s of CPU time, and this way takes 73.

- Tests that share a fixture of their module or class are one unit: it is often a benchmark's run.
- So are tests of a browser, for it takes a second to start.
- Other tests of a file are handed out a few at a time, and towards the end one by one, so that all processes end
  together.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import shutil
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
from _pytest import runner  # what tears down at the end has no public name

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

#: What ends a run.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: The exit code of a process that was interrupted.
_INTERRUPTED = 130

_COUNT = pytest.StashKey[int]()

Unit = list[int]
"""Tests, by their index among those that were collected."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("side by side").addoption(
        "--processes",
        metavar="N",
        default="1",
        help="run tests in so many processes; 'auto': four for each core, for most tests wait more than they work, "
        "and 16 at most",
    )


def processes(config: pytest.Config) -> int:
    """How many were asked for; 0 if pytest's own process is to run the tests."""
    asked = config.getoption("--processes")
    if asked == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = min(4 * cores, 16)
    elif asked.isdecimal():
        count = int(asked)
    else:
        raise pytest.UsageError(f"--processes is {asked!r}: give a number of processes, or 'auto'")
    option = config.option
    if count < 2 or option.usepdb or option.trace or option.collectonly:
        return 0
    if option.basetemp:
        raise pytest.UsageError("--basetemp is one folder, which each process would empty: add --processes=1")
    return count


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
    folder = tempfile.mkdtemp(prefix="tests-")
    try:
        _Run(session, folder).run(count)
    finally:
        if not session.testsfailed:  # else what failed tests left there is of interest
            shutil.rmtree(folder, ignore_errors=True)
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
            elif _takes_long(items[index]):
                units.append([index])
            else:
                loose.append(index)
        units += (loose[at : at + _AT_ONCE] for at in range(0, len(loose), _AT_ONCE))
    long: list[Unit] = []
    waiting: list[Unit] = []
    working: list[Unit] = []
    for unit in units:
        first = items[unit[0]]
        kind = long if _takes_long(first) else waiting if first.nodeid.startswith(_WAITING) else working
        kind.append(unit)
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
    """Whether it is begun before others. All tests of the browser, one after the other, take more than a minute."""
    marked = item.get_closest_marker("long") or item.get_closest_marker("left_to_ci")
    return bool(marked) or _BROWSER in _fixtures(item)


def _fixtures(item: pytest.Item) -> dict[str, Any]:
    """The definitions of all that the test uses, by their names."""
    found = getattr(item, "_fixtureinfo", None)  # which functions have, and other plugins' items need not
    definitions: dict[str, Any] = getattr(found, "name2fixturedefs", {})
    return definitions


class _Process:
    """A process that runs tests, as the reporting one knows it."""

    def __init__(self, pid: int, tests: Connection) -> None:
        self.pid = pid
        self.tests = tests
        #: What it has still to do; the first is what it does now.
        self.sent: deque[int] = deque()
        self.told_the_end = False
        self._code: int | None = None

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def end(self, late: float) -> int:
        """Wait until it has ended, from `late` on not kindly; its exit code."""
        while (code := self.ended()) is None:
            if time.monotonic() > late:
                self.kill(signal.SIGKILL)
            time.sleep(0.01)
        return code

    def kill(self, signum: int) -> None:
        if self.ended() is None:
            os.kill(self.pid, signum)


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
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
        try:
            for _ in range(min(count, len(self._units))):
                self._start()
            while self._processes:
                self._hear_all()
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)
        finally:
            self._end_all()
            signal.signal(signal.SIGTERM, before)

    def _hear_all(self) -> None:
        heard = wait(list(self._processes), timeout=1.0)
        for tests in heard:
            self._hear(self._processes[tests])  # type: ignore[index]
        if heard:
            return
        # The other end of a pipe may be held by what a test has forked: that is no sign of life.
        for process in list(self._processes.values()):
            if process.ended() is not None and not process.tests.poll():
                self._gone(process)

    def _end_all(self) -> None:
        late = time.monotonic() + _PATIENCE
        try:
            for process in self._processes.values():
                process.tests.close()
                process.kill(signal.SIGINT)
            for process in self._processes.values():
                process.end(late)
        except KeyboardInterrupt:  # once more
            for process in self._processes.values():
                process.end(late=0.0)
            raise

    def _start(self) -> None:
        _no_other_threads()
        ours, theirs = multiprocessing.Pipe()
        folder = f"{self._folder}/{next(self._numbers)}"
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # each process is known before it can be interrupted
        try:
            if (pid := os.fork()) == 0:
                for tests in [ours, *self._processes]:
                    tests.close()
                _work(self._session, theirs, folder)
            process = self._processes[ours] = _Process(pid, ours)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        self._feed(process)

    def _feed(self, process: _Process) -> None:
        with contextlib.suppress(OSError):  # it died, which is found when it is heard
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
        except (EOFError, OSError):  # also in the middle of a message
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
        process.tests.close()
        code = process.end(time.monotonic() + _PATIENCE)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == _INTERRUPTED:
            how = "was ended by a KeyboardInterrupt"
        if not process.sent:
            if code:
                self._session.shouldfail = f"a process {how} after its last test; what it said stands above"
            return
        item, *left = self._session.items[process.sent.popleft()], *process.sent
        text = f"The process that ran this test {how}. What was kept of its output is lost; the rest stands above."
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
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        Path(folder).mkdir()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder  # `tmp_path` counts up, looking at what is there
        _capture_anew(session.config)
        try:
            _run_all(session, tests)
            code = 0
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it may come from the terminal and once more from there
            runner.pytest_sessionfinish(session)
        code = _left_behind()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except (EOFError, ConnectionError):
        pass  # the reporting process is gone
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _left_behind() -> int:
    """1 if an exception comes out of what the last tests left as garbage, as pytest says at the end of a session."""
    failed: list[Any] = []
    usual, sys.unraisablehook = sys.unraisablehook, failed.append
    gc.collect()
    sys.unraisablehook = usual
    for one in failed:
        print(f"{one.err_msg or 'Exception ignored in'}: {one.object!r}", file=sys.stderr)
        traceback.print_exception(one.exc_value)
    return 1 if failed else 0


def _capture_anew(config: pytest.Config) -> None:
    """Where output is kept: the file of the process that was forked has one position for all that share it."""
    manager = config.pluginmanager.getplugin("capturemanager")
    if manager is not None:
        manager.stop_global_capturing()
        manager.start_global_capturing()
        manager.suspend_global_capture()


def _run_all(session: pytest.Session, tests: Connection) -> None:
    config, me = session.config, os.getpid()
    heard = _Heard(config)
    config.pluginmanager.unregister(name="terminalreporter")  # the reporting process has it
    config.pluginmanager.register(heard)
    for index, following in itertools.pairwise(_told(tests)):
        assert index is not None
        next_one = None if following is None else session.items[following]
        config.hook.pytest_runtest_protocol(item=session.items[index], nextitem=next_one)
        if os.getpid() != me:
            os._exit(1)  # what a test has forked, and did not end
        tests.send((index, *heard.take()))


def _told(tests: Connection) -> Iterator[int | None]:
    """The tests in their order, and None at the end."""
    while (unit := tests.recv()) is not None:
        yield from unit
    yield None


class _Heard:
    """What a test's run said, as what can be sent: reports that are of interest as plain data, warnings as texts."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports: list[Any] = []
        self._warnings: list[dict[str, Any]] = []
        self._all_of_it = bool(config.option.xmlpath)
        self._output_of_all = bool({"A", "P"} & set(config.option.reportchars))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed or report.duration >= _LONG or self._all_of_it:
            if report.passed and not self._output_of_all:
                report.sections.clear()
            hook = self._config.hook
            self._reports.append(hook.pytest_report_to_serializable(config=self._config, report=report))

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
        self._warnings.append({"warning_message": plain, "when": when, "nodeid": nodeid, "location": location})

    def take(self) -> tuple[list[Any], list[dict[str, Any]]]:
        taken = self._reports, self._warnings
        self._reports, self._warnings = [], []
        return taken
