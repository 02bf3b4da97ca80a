"""Events reach the application's own logging: structlog, else the standard library."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.typing import WrappedLogger

import sleepwalker.logging
from sleepwalker.events import Event, Level, RequestFailed, RequestFinished
from sleepwalker.telemetry import emit, listening

FINISHED = RequestFinished(
    host="https://h", method="GET", path="/a", status=200, attempts=1, duration=0.25, waited=0.0
)  # fmt: skip
FAILED = RequestFailed(
    host="https://h", method="GET", path="/a", status=503, error=None, detail=None, attempts=3, duration=1.5, waited=0.5
)  # fmt: skip


def finished(path: str) -> RequestFinished:
    return RequestFinished(host="https://h", method="GET", path=path, status=200, attempts=1, duration=0.25, waited=0.0)


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    logger = logging.getLogger("sleepwalker")
    before = logger.level, logger.handlers[:], logger.disabled
    sleepwalker.logging.reset()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    yield
    logger.level, logger.handlers[:], logger.disabled = before
    logger.setLevel(before[0])  # empties the cache of isEnabledFor
    sleepwalker.logging.reset()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


Entries = list[MutableMapping[str, Any]]
Processor = Callable[[WrappedLogger, str, MutableMapping[str, Any]], Any]


def into(entries: Entries) -> Processor:
    """A last processor that keeps what arrives, and prints nothing."""

    def capture(_: WrappedLogger, method: str, entry: MutableMapping[str, Any]) -> Any:
        entries.append({"level": method, **entry})
        raise structlog.DropEvent

    return capture


#: Imports what the tests use, and forks for each program that it reads: importing takes half a second. The child runs
#: it and ends, as any program does; the parent prints the exit code.
_IMPORTED = """
import json
import logging
import os
import sys
import structlog
import sleepwalker.logging
from sleepwalker.events import RequestFailed, RequestFinished
from sleepwalker.telemetry import emit, listening
FINISHED = RequestFinished(host="https://h", method="GET", path="/a", status=200, attempts=1, duration=0.25, waited=0.0)
FAILED = RequestFailed(host="https://h", method="GET", path="/a", status=503, error=None, detail=None, attempts=3,
                       duration=1.5, waited=0.5)
for line in sys.stdin:
    code, out, err = json.loads(line)
    if not (child := os.fork()):
        for number, path in ((0, os.devnull), (1, out), (2, err)):
            os.dup2(os.open(path, os.O_RDWR), number)
        exec(compile(code, "<string>", "exec"), globals())
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Run = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def imported() -> Iterator[subprocess.Popen[str]]:
    """An interpreter that has imported everything and configured nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", _IMPORTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as it:
        yield it
        it.communicate(timeout=60)


@pytest.fixture
def run(imported: subprocess.Popen[str], tmp_path: Path) -> Run:
    """`code` in an interpreter of its own, where nothing is configured; FINISHED and FAILED exist."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        assert imported.stdin is not None
        assert imported.stdout is not None
        out, err = tmp_path / "out", tmp_path / "err"
        for file in (out, err):
            file.write_text("")
        imported.stdin.write(json.dumps([code, str(out), str(err)]) + "\n")
        imported.stdin.flush()
        returncode = int(imported.stdout.readline())
        return subprocess.CompletedProcess(code, returncode, out.read_text(), err.read_text())

    return run


# --- nothing configured


def test_an_application_without_logging_sees_nothing_on_stdout_and_stderr(run: Run) -> None:
    done = run("emit(FINISHED); emit(FAILED); emit(FINISHED, 'debug')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_configures_nothing(run: Run) -> None:
    done = run("""
assert not structlog.is_configured()
assert not logging.getLogger().handlers
assert not [name for name in logging.Logger.manager.loggerDict if name.startswith("sleepwalker")]
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_emitting_configures_nothing(run: Run) -> None:
    done = run("""
emit(FAILED)
emit(FAILED)
logger = logging.getLogger("sleepwalker")
assert not structlog.is_configured()
assert (logger.level, logger.propagate) == (logging.NOTSET, True)
assert not logger.handlers, logger.handlers
assert not logging.getLogger().handlers
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failing_processor_is_not_reported_on_the_stderr_of_an_application_without_handlers(run: Run) -> None:
    done = run("structlog.configure(processors=[lambda *_: 1 / 0]); emit(FAILED)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- the standard library


def test_basic_config_after_the_first_event_shows_the_later_ones_on_one_line(run: Run) -> None:
    done = run("emit(FAILED); logging.basicConfig(level='INFO'); emit(FINISHED)")
    line = "request.finished host=https://h method=GET path=/a status=200 attempts=1 duration=0.25 waited=0.0"
    assert re.fullmatch(rf"INFO:sleepwalker:{re.escape(line)} pid=\d+\n", done.stderr)


def test_dict_config_before_the_first_event_does_not_disable_the_logger(run: Run) -> None:
    """Its default disables every logger that exists by then, so ours must not be made at import."""
    done = run("""
import logging.config
logging.config.dictConfig({"version": 1, "handlers": {"all": {"class": "logging.StreamHandler"}},
                           "root": {"level": "INFO", "handlers": ["all"]}})
emit(FINISHED)
""")
    assert "request.finished" in done.stderr


def test_a_record_carries_the_name_and_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    emit(FAILED)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("sleepwalker", "ERROR")
    assert record.event == "request.failed"  # type: ignore[attr-defined]
    assert record.fields == FAILED.fields()  # type: ignore[attr-defined]


def test_a_record_carries_the_context(caplog: pytest.LogCaptureFixture) -> None:
    with structlog.contextvars.bound_contextvars(order=4711, host="not this one"):
        emit(FAILED)
    [record] = caplog.records
    assert record.fields == FAILED.fields() | {"order": 4711}  # type: ignore[attr-defined]
    assert record.getMessage().endswith(f" waited=0.5 pid={os.getpid()} order=4711")


def test_the_logger_level_is_honoured_and_can_change(caplog: pytest.LogCaptureFixture) -> None:
    emit(FINISHED)
    caplog.set_level("INFO", logger="sleepwalker")
    emit(FINISHED)
    emit(FINISHED, "debug")
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/plain-path_1.~%20", "/plain-path_1.~%20"),
        ("/a b", '"/a b"'),
        ("/a=b", '"/a=b"'),
        ('/"', '"/\\""'),
        ("/\\n", '"/\\\\n"'),
        ("", '""'),
        ("/grün", "/grün"),
        ("/a\nERROR:root:forged", '"/a\\nERROR:root:forged"'),
        ("/a\r\n", '"/a\\r\\n"'),
        ("/\x1b[31mred", '"/\\u001b[31mred"'),
        ("/\x9b31mred", '"/\\u009b31mred"'),
        ("/\x7f\x00", '"/\\u007f\\u0000"'),
        ("/\u2028\u202e", '"/\\u2028\\u202e"'),
        ("/\udcff", '"/\\udcff"'),
    ],
)
def test_no_value_can_forge_a_line_or_colour_a_terminal(
    caplog: pytest.LogCaptureFixture, value: str, written: str
) -> None:
    caplog.set_level("INFO", logger="sleepwalker")
    emit(finished(value))
    usual = "status=200 attempts=1 duration=0.25 waited=0.0"
    assert caplog.messages == [f"request.finished host=https://h method=GET path={written} {usual} pid={os.getpid()}"]


def test_no_context_can_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with structlog.contextvars.bound_contextvars(**{"a\nb": "c\nd", "e": True, "f": None, "g": 1 / 3, "h": ["\n"]}):
        emit(FAILED)
    [message] = caplog.messages
    assert message.endswith(rf''' pid={os.getpid()} "a\nb"="c\nd" e=true f=None g=0.333333 h="['\\n']"''')
    assert message.isprintable()


def test_percent_signs_are_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="sleepwalker")
    emit(finished("/%s%d%(x)s"))
    assert " path=/%s%d%(x)s " in caplog.messages[0]


# --- structlog


def test_structlog_gets_the_name_the_level_and_the_fields() -> None:
    entries: Entries = []
    structlog.configure(processors=[into(entries)])
    emit(FAILED)
    emit(FINISHED)
    emit(FINISHED, "debug")
    assert entries == [
        {"level": "error", "event": "request.failed", **FAILED.fields()},
        {"level": "info", "event": "request.finished", **FINISHED.fields()},
        {"level": "debug", "event": "request.finished", **FINISHED.fields()},
    ]


def test_a_later_structlog_configuration_is_used_even_where_loggers_are_cached() -> None:
    first: Entries = []
    second: Entries = []
    emit(FAILED)
    structlog.configure(processors=[into(first)], cache_logger_on_first_use=True)
    emit(FAILED)
    structlog.configure(processors=[into(second)], cache_logger_on_first_use=True)
    emit(FAILED)
    assert (len(first), len(second)) == (1, 1)


def test_structlog_without_configuration_is_not_used(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own defaults print debug lines to stdout."""
    emit(FAILED)
    assert capsys.readouterr() == ("", "")
    assert len(caplog.records) == 1


_UNLOADED = """
import sys
from sleepwalker.events import RequestFinished
from sleepwalker.telemetry import emit, listening
FINISHED = RequestFinished(host="https://h", method="GET", path="/a", status=200, attempts=1, duration=0.25, waited=0.0)
emit(FINISHED)
assert not listening("error")
assert "structlog" not in sys.modules
import structlog
structlog.configure(processors=[lambda logger, level, fields: print(level, fields["event"]) or ""])
"""


def test_structlog_is_not_loaded_and_used_once_the_application_has() -> None:
    code = _UNLOADED + "emit(FINISHED)\nassert listening('error')\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "info request.finished"


def test_the_context_reaches_structlog_through_its_own_processor() -> None:
    entries: Entries = []
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, into(entries)])
    with structlog.contextvars.bound_contextvars(traceparent="00-ab-cd-01", host="not this one"):
        emit(FAILED)
    assert (entries[0]["traceparent"], entries[0]["host"]) == ("00-ab-cd-01", "https://h")


def test_structlog_on_top_of_the_standard_library_names_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    emit(FINISHED)
    emit(FAILED)
    [record] = caplog.records
    assert (record.name, record.getMessage(), record.status) == (  # type: ignore[attr-defined]
        "sleepwalker",
        "request.failed",
        503,
    )


def test_a_renderer_that_prints_text_as_it_is_gets_nothing_to_forge_lines_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(colors=False)])
    emit(finished("/\x1b[31mred\x9b"))
    emit(finished("/grün"))
    first, second = capsys.readouterr().out.splitlines()
    assert " path=/\\x1b[31mred\\x9b " in first
    assert " path=/grün " in second


# --- what fails in the application's logging


class Raising(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def handle(self, record: logging.LogRecord) -> bool:
        raise self.error


def raise_(error: BaseException) -> Processor:
    def processor(*_: object) -> Any:
        raise error

    return processor


def test_a_processor_that_raises_is_reported_once_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure(processors=[raise_(RuntimeError("s3cret"))])
    emit(FAILED)
    emit(FAILED)
    structlog.configure(processors=[raise_(KeyError("other"))])
    emit(FAILED)
    assert [(record.name, record.levelname) for record in caplog.records] == [("sleepwalker.telemetry", "WARNING")] * 2
    assert f"RuntimeError at {__file__}:" in caplog.messages[0]
    assert "KeyError" in caplog.messages[1]
    assert "s3cret" not in caplog.text


def test_a_handler_that_raises_does_not_reach_the_caller() -> None:
    """It raises for the report as well."""
    logger = logging.getLogger("sleepwalker")
    handler = Raising(RuntimeError())
    logger.addHandler(handler)
    emit(FAILED)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes(error: type[BaseException]) -> None:
    structlog.configure(processors=[raise_(error())])
    with pytest.raises(error):
        emit(FAILED)
    entries: Entries = []
    structlog.configure(processors=[into(entries)])
    emit(FAILED)
    assert len(entries) == 1


def test_a_processor_that_makes_requests_itself_does_not_log_those_for_ever() -> None:
    entries: Entries = []

    def ship(_: WrappedLogger, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        emit(FAILED)
        return entry

    structlog.configure(processors=[ship, into(entries)])
    emit(FINISHED)
    emit(FINISHED)
    assert [entry["event"] for entry in entries] == ["request.finished", "request.finished"]


# --- listening


LEVELS: list[Level] = ["debug", "info", "warning", "error"]


def heard() -> list[Level]:
    return [level for level in LEVELS if listening(level)]


def test_listening_follows_the_stdlib_logger() -> None:
    logger = logging.getLogger("sleepwalker")
    assert heard() == ["warning", "error"]
    logger.setLevel("INFO")
    assert heard() == ["info", "warning", "error"]
    logger.disabled = True
    assert heard() == []


def test_listening_follows_the_filtering_logger_of_structlog() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    assert heard() == ["error"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    assert heard() == []
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET))
    assert heard() == LEVELS


def test_listening_does_not_guess_about_other_loggers() -> None:
    structlog.configure(wrapper_class=structlog.stdlib.BoundLogger)
    assert heard() == LEVELS


def test_an_event_without_a_listener_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def fields(_: Event) -> dict[str, Any]:
        raise AssertionError

    monkeypatch.setattr(Event, "fields", fields)
    emit(FINISHED)
    structlog.configure(processors=[raise_(AssertionError())], wrapper_class=structlog.make_filtering_bound_logger(40))
    emit(FINISHED)
    monkeypatch.undo()
