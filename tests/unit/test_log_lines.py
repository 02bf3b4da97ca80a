"""`sleepwalker.logging.configure` writes JSON lines."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import datetime
import io
import json
import logging
import math
import multiprocessing
import os
import resource
import stat
import sys
import threading
import typing
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

import sleepwalker.logging
from sleepwalker.clock import SystemClock
from sleepwalker.events import CATALOGUE, Event, Level, RequestFailed, RequestFinished
from sleepwalker.telemetry import emit, listening
from sleepwalker.telemetry.jsonl import JsonLines
from sleepwalker.telemetry.log import send_to
from tests.ranges import some

FAILED = RequestFailed(
    host="https://h", method="GET", path="/a", status=503, error=None, detail=None, attempts=3, duration=1.5, waited=0.5
)  # fmt: skip


def finished(path: str = "/a", attempts: int = 1) -> RequestFinished:
    return RequestFinished(
        host="https://h", method="GET", path=path, status=200, attempts=attempts, duration=0.25, waited=0.0
    )


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    yield
    sleepwalker.logging.reset()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def open_files() -> dict[Path, int]:
    links = Path("/proc/self/fd").iterdir()
    return {link.readlink(): int(link.name) for link in links if link.is_symlink()}


def test_a_line_has_timestamp_level_pid_event_and_then_the_fields(file: Path) -> None:
    sleepwalker.logging.configure(file)
    emit(FAILED)
    [line] = read(file)
    assert list(line) == [
        "timestamp", "level", "pid", "event", "host", "method", "path", "status", "attempts", "duration", "waited"
    ]  # fmt: skip
    assert line == {"timestamp": line["timestamp"], "level": "error", "event": "request.failed", **FAILED.fields()}


@pytest.mark.parametrize(
    ("wall", "stamp"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1763820187.5129, "2025-11-22T14:03:07.512Z"),
        (951782399.9999, "2000-02-28T23:59:59.999Z"),
    ],
)
def test_the_timestamp_is_utc_with_milliseconds(file: Path, wall: float, stamp: str) -> None:
    class Stopped(SystemClock):
        def wall(self) -> float:
            return wall

    JsonLines(file, logging.INFO, Stopped()).write("info", finished(), {})
    [line] = read(file)
    assert line["timestamp"] == stamp
    assert datetime.datetime.fromisoformat(stamp).utcoffset() == datetime.timedelta(0)


def test_lines_are_appended_and_there_at_once(file: Path) -> None:
    file.write_text('{"earlier": 1}\n')
    file.chmod(0o640)
    sleepwalker.logging.configure(str(file))
    emit(FAILED)
    assert len(read(file)) == 2
    emit(FAILED)
    assert len(read(file)) == 3


def test_the_level_filters_and_a_policy_may_set_it(file: Path) -> None:
    sleepwalker.logging.configure(file, level="warning")
    emit(finished())
    emit(finished(), "warning")
    emit(finished(), "debug")
    emit(FAILED, "info")
    emit(FAILED)
    assert [line["level"] for line in read(file)] == ["warning", "error"]
    assert [listening("debug"), listening("info"), listening("warning"), listening("error")] == [
        False, False, True, True
    ]  # fmt: skip


def test_without_a_path_lines_go_to_the_stderr_of_the_moment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sleepwalker.logging.configure()
    emit(FAILED)
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["event"]) == ("", "request.failed")
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    emit(FAILED)
    assert json.loads(later.getvalue())["event"] == "request.failed"
    monkeypatch.setattr(sys, "stderr", None)
    emit(FAILED)
    assert caplog.messages == []


def test_it_takes_precedence_over_structlog_and_the_standard_library_until_reset(
    file: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    sleepwalker.logging.configure(file)
    emit(FAILED)
    assert (capsys.readouterr(), caplog.records) == (("", ""), [])
    sleepwalker.logging.reset()
    emit(FAILED)
    assert "request.failed" in capsys.readouterr().out
    assert len(read(file)) == 1


def test_the_later_call_wins_and_the_earlier_file_is_closed(file: Path, tmp_path: Path) -> None:
    sleepwalker.logging.configure(file)
    assert file in open_files()
    sleepwalker.logging.configure(tmp_path / "later.jsonl")
    emit(FAILED)
    assert (len(read(file)), len(read(tmp_path / "later.jsonl"))) == (0, 1)
    assert file not in open_files()
    sleepwalker.logging.reset()
    assert tmp_path / "later.jsonl" not in open_files()


def test_the_same_path_again_starts_a_new_file_after_a_rotation(file: Path) -> None:
    sleepwalker.logging.configure(file)
    emit(FAILED)
    rotated = file.rename(file.with_suffix(".1"))
    sleepwalker.logging.configure(file)
    emit(finished())
    assert [line["event"] for line in read(rotated) + read(file)] == ["request.failed", "request.finished"]


def test_others_may_not_read_the_file_and_children_do_not_inherit_it(file: Path) -> None:
    before = os.umask(0)
    try:
        sleepwalker.logging.configure(file)
    finally:
        os.umask(before)
    assert stat.filemode(file.stat().st_mode) == "-rw-r-----"
    assert not os.get_inheritable(open_files()[file])


def test_a_stricter_umask_is_respected(file: Path) -> None:
    before = os.umask(0o077)
    try:
        sleepwalker.logging.configure(file)
    finally:
        os.umask(before)
    assert stat.filemode(file.stat().st_mode) == "-rw-------"


def test_a_file_that_lets_others_in_is_warned_of_and_written(file: Path) -> None:
    file.touch()
    file.chmod(0o666)
    with pytest.warns(UserWarning, match=f"{file}' has the mode 0666, so others may read and change it: chmod 0640"):
        sleepwalker.logging.configure(file)
    emit(FAILED)
    assert len(read(file)) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o666


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device"])
def test_what_may_wait_for_ever_is_no_log(file: Path, kind: str) -> None:
    """Opened for writing, a pipe waits for its reader; read too slowly, it would hold up every call."""
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a socket":
        os.mknod(file, stat.S_IFSOCK | 0o600)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(OSError, match=f"path: it is {kind}, not a regular file; pass the path of a file") as caught:
        sleepwalker.logging.configure(file)
    assert repr(str(file)) in str(caught.value)


def test_the_process_own_outputs_are_a_log_whatever_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    """A container's stdout is a pipe."""
    ours, theirs = os.pipe()
    stdout = os.dup(1)
    os.dup2(theirs, 1)
    try:
        sleepwalker.logging.configure("/dev/stdout")
        emit(FAILED)
    finally:
        os.dup2(stdout, 1)
        sleepwalker.logging.reset()
        for handle in (theirs, stdout):
            os.close(handle)
    with open(ours, "rb") as pipe:  # noqa: PTH123
        assert json.loads(pipe.read())["event"] == "request.failed"


def test_a_link_of_ones_own_is_followed_also_to_a_file_that_is_not_there_yet(file: Path, tmp_path: Path) -> None:
    """A log may lie on another disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "link").symlink_to("disk/events.jsonl")
    file.symlink_to("link")
    sleepwalker.logging.configure(file)
    emit(FAILED)
    assert len(read(disk / "events.jsonl")) == 1


# --- context


def test_the_context_is_merged_and_the_fields_of_the_event_win(file: Path) -> None:
    sleepwalker.logging.configure(file)
    with structlog.contextvars.bound_contextvars(
        traceparent="00-ab-cd-01", host="x", event="x", level="x", timestamp="x"
    ):
        emit(FAILED)
    emit(FAILED)
    inside, after = read(file)
    assert inside.pop("traceparent") == "00-ab-cd-01"
    assert "traceparent" not in after
    inside["timestamp"] = after["timestamp"]
    assert inside == after


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def circle() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


def deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime.date(2025, 1, 2), "2025-01-02"),
        (Path("/x"), "/x"),
        ({"when": datetime.date(2025, 1, 2)}, {"when": "2025-01-02"}),
        (Unprintable(), "<Unprintable>"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (circle(), "[1, [...]]"),
        (deep(), "<list>"),
        ("\udcff\u2028\x1b\n", "\udcff\u2028\x1b\n"),
        ([None, True, 1.5], [None, True, 1.5]),
    ],
    ids=["date", "path", "nested", "unprintable", "nan", "inf", "tuple key", "circle", "deep", "controls", "json"],
)
def test_a_value_that_json_does_not_know_is_written_as_text_and_spoils_no_other(
    file: Path, value: object, written: object
) -> None:
    sleepwalker.logging.configure(file)
    with structlog.contextvars.bound_contextvars(value=value, other=[1]):
        emit(FAILED)
    [line] = read(file)
    assert (line["value"], line["other"], line["duration"]) == (written, [1], 1.5)


def test_no_value_can_forge_a_line_or_colour_a_terminal(file: Path) -> None:
    path = '/a\n{"event":"forged"}\r\x1b[31m\x9b\u2028\x00'
    sleepwalker.logging.configure(file)
    emit(finished(path))
    raw = file.read_bytes()
    assert raw.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in raw[:-1])
    assert json.loads(raw)["path"] == path


# --- many writers


def test_lines_of_many_threads_do_not_mix(file: Path) -> None:
    sleepwalker.logging.configure(file)

    def write(number: int) -> None:
        for count in range(1000):
            emit(finished(f"/{number}/" + "x" * (count % 500), count))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = read(file)
    assert len(lines) == 8000
    for number in range(8):
        assert [line["attempts"] for line in lines if line["path"].startswith(f"/{number}/")] == list(range(1000))


def test_a_file_is_not_closed_under_a_writer(file: Path, tmp_path: Path) -> None:
    """Its number may be another file's by the time of the write: the line would land in there."""
    later = tmp_path / "later.jsonl"

    class Interrupting(SystemClock):
        def wall(self) -> float:
            sleepwalker.logging.configure(later)
            return 0.0

    send_to(JsonLines(file, logging.INFO, Interrupting()))
    emit(FAILED)
    assert (len(read(file)), len(read(later))) == (1, 0)
    assert file not in open_files()


def _write_in_child() -> None:
    for count in range(500):
        emit(finished("/child/" + "x" * 300, count))


# From 3.12 on a fork warns where it finds threads, which other tests may have left.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_children_go_on_writing_and_lines_do_not_mix(file: Path) -> None:
    sleepwalker.logging.configure(file)
    children = [multiprocessing.get_context("fork").Process(target=_write_in_child) for _ in range(3)]
    for child in children:
        child.start()
    for count in range(500):
        emit(finished("/parent", count))
    for child in children:
        child.join()
    lines = read(file)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert [line["attempts"] for line in lines if line["path"] == "/parent"] == list(range(500))
    assert len(lines) == 2000


# --- bad input


@pytest.mark.parametrize("level", ["INFO", "off", "critical", "", None, 20, [], {}])
def test_a_bad_level_is_named_with_what_is_allowed(file: Path, level: Any) -> None:
    with pytest.raises(ValueError, match=r"level: .* is not one of debug, info, warning, error") as caught:
        sleepwalker.logging.configure(file, level)
    assert repr(level) in str(caught.value)
    assert not file.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "events.jsonl"
    with pytest.raises(FileNotFoundError, match=r"path: .*its folder existing") as caught:
        sleepwalker.logging.configure(path)
    assert repr(str(path)) in str(caught.value)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"path: .*pass the path of a file"):
        sleepwalker.logging.configure(tmp_path)


@pytest.mark.parametrize("path", [3, True, 1.5, object(), ["x"], "a\0b"])
def test_what_is_not_a_path_is_named(path: Any) -> None:
    with pytest.raises(ValueError, match=r"path: .* is not a path; pass the path of a file") as caught:
        sleepwalker.logging.configure(path)
    assert repr(path) in str(caught.value)


def test_a_bad_call_leaves_the_earlier_one_in_force(file: Path, tmp_path: Path) -> None:
    sleepwalker.logging.configure(file)
    with pytest.raises(OSError, match="path"):
        sleepwalker.logging.configure(tmp_path / "missing" / "x")
    with pytest.raises(ValueError, match="level"):
        sleepwalker.logging.configure(file, "loud")  # type: ignore[arg-type]
    emit(FAILED)
    assert len(read(file)) == 1


def test_a_full_disk_raises_nothing_and_is_reported_once_per_configuration(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for _ in range(2):
        sleepwalker.logging.configure(file)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            emit(FAILED)
            emit(FAILED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(record.name, "OSError" in record.getMessage()) for record in caplog.records] == [
        ("sleepwalker.telemetry", True),
        ("sleepwalker.telemetry", True),
    ]


# --- the short way to a line


class Walls(SystemClock):
    """Tells the times of a list, one after the other."""

    def __init__(self, walls: list[float]) -> None:
        self._next = iter(walls).__next__

    def wall(self) -> float:
        return self._next()


def written(walls: list[float], events: list[Event], level: Level, bound: dict[str, Any]) -> list[str]:
    sink = JsonLines(None, logging.DEBUG, Walls(walls))
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        for event in events:
            sink.write(level, event, bound)
    return stderr.getvalue().splitlines(keepends=True)


def by_the_standard_library(wall: float, event: Event, level: Level, bound: dict[str, Any]) -> str:
    second, fraction = divmod(wall, 1.0)
    stamp = datetime.datetime.fromtimestamp(second, datetime.UTC).isoformat()[:19]
    stamp = f"{stamp}.{int(fraction * 1000):03d}Z"
    head = {"timestamp": stamp, "level": level, "pid": event.pid, "event": event.name}
    others = {name: value for name, value in sorted(bound.items()) if name not in event.fields()}
    record = {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in {**head, **event.fields(), **others, **head}.items()
    }
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"


def any_of(cls: type[Event]) -> st.SearchStrategy[Event]:
    """Events of one type, with whatever its fields may hold; text may be anything at all."""
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{field.name: st.from_type(hints[field.name]) for field in dataclasses.fields(cls)})


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
names = st.text(min_size=1) | st.sampled_from(["timestamp", "level", "event", "name", "fields", "host", "status"])


@pytest.mark.parametrize("name", CATALOGUE)
@settings(max_examples=some(5, 12), deadline=None)  # a busy machine is no fault
@given(data=st.data())
def test_a_line_is_what_the_standard_library_makes_of_the_record(name: str, data: st.DataObject) -> None:
    events = data.draw(st.lists(any_of(CATALOGUE[name]), min_size=1, max_size=3))
    few_seconds = st.floats(1.7e9, 1.7e9 + 3)
    walls = data.draw(st.lists(few_seconds | st.floats(-1e9, 4e9), min_size=len(events), max_size=len(events)))
    level: Level = data.draw(st.sampled_from(["debug", "info", "warning", "error"]))
    values = plain | st.lists(st.integers() | st.text(), max_size=3)
    bound = data.draw(st.dictionaries(names, values, max_size=3))
    expected = [by_the_standard_library(wall, event, level, bound) for wall, event in zip(walls, events, strict=True)]
    assert written(walls, events, level, bound) == expected


@pytest.mark.parametrize(
    ("duration", "waited"), [(math.inf, 0.0), (0.0, math.nan), (math.inf, -math.inf), (1e308, 1e308)]
)
def test_durations_that_json_cannot_hold_are_text(duration: float, waited: float) -> None:
    event = dataclasses.replace(finished(), duration=duration, waited=waited)
    assert written([0.5], [event], "info", {}) == [by_the_standard_library(0.5, event, "info", {})]


def test_a_status_that_is_a_member_of_an_enumeration_is_its_number(file: Path) -> None:
    """The answers of a session of the caller's may have such."""
    sleepwalker.logging.configure(file)
    emit(dataclasses.replace(finished(), status=HTTPStatus.ACCEPTED))
    [line] = read(file)
    assert (line["status"], line["attempts"]) == (202, 1)


def test_a_context_of_others_adds_nothing(file: Path) -> None:
    sleepwalker.logging.configure(file)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("somebody_elses")

    def bind_and_emit() -> None:
        variable.set("x")
        emit(FAILED)

    contextvars.copy_context().run(bind_and_emit)
    emit(FAILED)
    first, second = read(file)
    assert list(first) == list(second)
