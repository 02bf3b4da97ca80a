"""What `sleepwalker inspect` finds in logs whose truth is known."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.inspect_traffic import HOSTS, Traffic
from sleepwalker.eventlog.columns import LONGEST_LINE
from sleepwalker.events import CATALOGUE
from sleepwalker.inspect import EventLogError, Filter, InspectError, Report, Session, Source, document, make
from tests.ranges import some
from tests.unit.inspect_logs import HOST, NOON, answered, failed, line, rejected, report_on, write

#: With the oldest releases tests/wire/test_inspect.py counts, too.
pytestmark = pytest.mark.once


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """A file with such lines."""
    return lambda *lines, name="events.jsonl": write(tmp_path / name, lines)


Log = Callable[..., Path]


# -- counts --------------------------------------------------------------------------------------


def test_the_traffic_that_is_made_up_has_all_that_events_have() -> None:
    for name, have in {(event["event"], frozenset(event)) for event in map(json.loads, _traffic_lines())}:
        kind = CATALOGUE[name]
        types = get_type_hints(kind)
        always = {field.name for field in fields(kind) if NoneType not in get_args(types[field.name])}
        optional = {field.name for field in fields(kind) if field.default is not MISSING}
        assert always - optional - have == set(), name


def _traffic_lines() -> Iterator[str]:
    return Traffic(1, days=0.01, outages=2).lines(5_000)


@pytest.mark.parametrize("seed", [1, 7])
def test_counts_are_those_that_the_traffic_had(tmp_path: Path, seed: int) -> None:
    traffic = Traffic(seed, days=0.01, outages=2)
    path = write(tmp_path / "events.jsonl", list(traffic.lines(15_000)))
    truth, report = traffic.truth, report_on(path)
    assert report.events == truth.events
    assert {facts.host for facts in report.hosts} == {host for host, *_ in HOSTS}
    for facts in report.hosts:
        host = facts.host
        assert facts.answered == truth.answered[host]
        assert facts.failed == truth.failed[host]
        assert facts.rejected == truth.rejected[host]
        assert facts.calls == facts.answered + facts.failed
        assert facts.retries == truth.retries[host]
        assert facts.opened == truth.opened[host]
        assert (facts.state == "broken") == (host in truth.broken_at_end)
    assert report.retries.saved_by == dict(truth.saved_by)
    assert report.rejections == {"breaker": truth.rejected.total()}
    question = "SELECT coalesce(error, status::VARCHAR), count(*) FROM attempts WHERE failed GROUP BY 1"
    with Session() as session:
        session.load(session.find([str(path)], BytesIO()))
        with session.ask(question) as answer:
            assert dict(answer.rows()) == truth.errors
    everyone = report.series[0]
    assert sum(everyone.answered) == truth.answered.total()
    assert sum(everyone.failed) + sum(everyone.rejected) == truth.failed.total()
    assert truth.opened.total() > 3, "a log without an outage would prove little"


@pytest.mark.parametrize("order", [1, -1])
def test_of_paths_that_failed_as_often_the_first_by_name_is_told(tmp_path: Path, order: int) -> None:
    """Two reports on one log say the same, whichever thread reads which of its lines first."""
    paths = ["/a", "/b", "/c"][::order]
    lines = [line(at, "attempt.failed", path=path, error="ReadError", attempt=1) for at, path in enumerate(paths * 3)]
    assert [one.path for one in report_on(write(tmp_path / "events.jsonl", lines)).problems] == ["/a"]


def test_a_long_log_is_judged_as_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a short log all fields are taken out of their JSON beforehand, and it is read by a single thread."""
    path = write(tmp_path / "events.jsonl", list(Traffic(5, days=0.01, outages=2).lines(3_000)))
    short = document(report_on(path, chosen=Filter(hosts=("example",))))
    monkeypatch.setattr("sleepwalker.inspect.session._KEPT", 0)
    monkeypatch.setattr("sleepwalker.inspect.session._FOR_THREADS", 0)
    assert document(report_on(path, chosen=Filter(hosts=("example",)))) == short


def test_what_is_loaded_after_a_question_counts_when_the_filter_is_set_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session() as session:
        session.load(session.find([str(log(answered(1), answered(2), name="1.jsonl"))], BytesIO()))
        session.use(Filter(since=NOON + 2))
        assert session.rows("SELECT count(*) FROM calls") == [(1,)]
        session.load(session.find([str(log(answered(1), answered(3), name="2.jsonl"))], BytesIO()))
        session.use(Filter(since=NOON + 2))
        assert session.rows("SELECT count(*) FROM calls") == [(2,)]
        monkeypatch.setattr("sleepwalker.inspect.session._KEPT", 3)
        session.use(Filter(since=NOON + 3))
        assert session.rows("SELECT count(*) FROM calls") == [(1,)], "also if it has too many lines now to be copied"


def test_calls_names_and_processes_can_be_asked_for_and_older_lines_have_none(log: Log) -> None:
    path = log(
        line(1, "attempt.failed", call="a-1", name="billing", pid=7, attempt=1, status=503, duration=0.1),
        line(2, "breaker.opened", call="a-1", pid=7, rule="probe", open_for=1.0, cause="503"),
        answered(3, call="a-1", name="billing", pid=7, attempts=2),
        answered(4, call="a-2", pid=8),
        answered(5),
    )
    assert [facts.calls for facts in report_on(path).hosts] == [3]
    with Session() as session:
        session.load(session.find([str(path)], BytesIO()))
        for question, rows in (
            ("SELECT call, pid FROM calls ORDER BY time", [("a-1", 7), ("a-2", 8), (None, None)]),
            ("SELECT call, pid FROM transitions", [("a-1", 7)]),
            (
                "SELECT call, attempt, pid FROM attempts WHERE name = 'billing' ORDER BY attempt",
                [("a-1", 1, 7), ("a-1", 2, 7)],
            ),
        ):
            with session.ask(question) as answer:
                assert list(answer.rows()) == rows


def test_latencies_are_of_the_calls_that_were_sent(log: Log) -> None:
    lines = [answered(at, duration=(at + 1) / 100) for at in range(101)] + [rejected(200)]
    [facts] = report_on(log(*lines)).hosts
    assert facts.p50 == pytest.approx(0.51)
    assert facts.p95 == pytest.approx(0.96)
    assert facts.longest == pytest.approx(1.01)


def test_a_sampled_log_is_counted_as_what_it_stands_for(log: Log) -> None:
    """One line in ten of what went well, and every failure: taken as they stand they would read as 50 %."""
    report = report_on(log(*(answered(at, sample=0.1) for at in range(9)), *(failed(at) for at in range(9))))
    [facts] = report.hosts
    assert (facts.answered, facts.failed, facts.calls) == (90, 9, 99)
    assert facts.sampled
    assert sum(report.series[0].answered) == 90


def test_what_retries_saved_is_an_estimate_where_answered_calls_are_sampled(log: Log) -> None:
    """A retried call that was answered is thinned like any other: ten may have been saved, or none."""
    lines = [answered(1, attempts=2, sample=0.1), failed(2, attempts=3), failed(3, attempts=3)]
    [told] = [one.done for one in report_on(log(*lines)).findings]
    assert told == "14 retries saved 10 calls (estimated: answered calls are logged by a sample)"
    [exact] = [one.done for one in report_on(log(answered(1, attempts=2), *lines[1:])).findings]
    assert exact == "5 retries saved 1 call"


def test_a_call_that_was_told_to_come_later_after_its_retries_was_not_saved(log: Log) -> None:
    lines = [
        answered(1, attempts=2),
        answered(2, attempts=3),
        answered(3, attempts=3, status=429),
        failed(4, attempts=3),
    ]
    retries = report_on(log(*lines)).retries
    assert (retries.sends, retries.calls) == (7, 4)
    assert retries.saved_by == {2: 1, 3: 1}
    assert retries.in_vain == 1


def test_abandoned_retries_are_told_by_reason_and_directed_waits_counted(log: Log) -> None:
    lines = [line(at, "retry.abandoned", attempt=1, reason="budget") for at in range(3)]
    lines += [line(5, "retry.abandoned", attempt=1, reason="deadline")]
    lines += [line(6, "retry.scheduled", attempt=2, wait=1.0, server_directed=True)]
    retries = report_on(log(*lines)).retries
    assert retries.abandoned == {"budget": 3, "deadline": 1}
    assert retries.server_directed == 1


def test_hedges_are_counted_and_those_that_won(log: Log) -> None:
    about = {"method": "GET", "path": "/"}
    lines = [line(at, "hedge.sent", attempt=2, delay=0.1, **about) for at in range(3)]
    lines += [line(at, "hedge.finished", attempt=2, won=at == 1, **about) for at in range(3)]
    retries = report_on(log(*lines)).retries
    assert (retries.hedges, retries.saved_by_hedges) == (3, 1)


def test_failed_calls_stand_in_where_the_log_has_no_attempts(log: Log) -> None:
    """`level="error"` leaves attempt.failed out."""
    [problem] = report_on(log(failed(1), failed(2), rejected(3))).problems
    assert (problem.error, problem.attempts) == ("ConnectError", 2)


def test_the_slowest_calls_come_first(log: Log) -> None:
    lines = [answered(at, duration=at / 10, path=f"/{at}") for at in range(1, 30)]
    assert [call.path for call in report_on(log(*lines)).slow] == [f"/{at}" for at in range(29, 19, -1)]


def test_hosts_out_of_use_come_first_and_then_those_with_most_failures(log: Log) -> None:
    lines = [answered(1, "https://fine"), *(failed(at, "https://flaky") for at in range(5))]
    lines += [line(3, "host.broken", "https://down", reason="connect", failures=3, cause="ConnectError")]
    assert [facts.host for facts in report_on(log(*lines)).hosts] == ["https://down", "https://flaky", "https://fine"]


# -- which part is looked at ---------------------------------------------------------------------


def test_since_is_included_and_until_is_not(log: Log) -> None:
    path = log(*(answered(at) for at in range(10)))
    report = report_on(path, chosen=Filter(NOON + 3, NOON + 6))
    assert report.events == 3
    assert (report.begin, report.end) == (NOON + 3, NOON + 5)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("API", {"https://api.example.net", "http://api.other:8080"}),
        (":8080", {"http://api.other:8080"}),
        ("https://*", {"https://api.example.net", "https://[::1]:9"}),
        ("*[::1]*", {"https://[::1]:9"}),
        ("http?://api*", {"https://api.example.net"}),
        ("it's", {"http://it's"}),
        ("http*\udcff", set()),
    ],
)
def test_a_host_is_chosen_by_a_part_of_its_origin_or_a_pattern(log: Log, word: str, found: set[str]) -> None:
    hosts = ["https://api.example.net", "http://api.other:8080", "https://[::1]:9", "http://it's"]
    path = log(*(answered(1, host) for host in hosts))
    with Session() as session:
        session.load(session.find([str(path)], BytesIO()))
        report = make(session, Filter(hosts=(word,)))
        assert {facts.host for facts in (report.hosts if report else [])} == found


def test_a_circuit_that_opened_before_what_is_looked_at_is_open_in_it(log: Log) -> None:
    lines = [line(0, "breaker.opened", rule="consecutive", open_for=60.0), *(rejected(at) for at in range(10, 20))]
    [facts] = report_on(log(*lines), chosen=Filter(NOON + 5)).hosts
    assert facts.circuit == "open"
    assert facts.opened == 0, "it did not open in this time"
    assert facts.circuit_spans[0].since == NOON + 10


def test_nothing_left_to_look_at_is_no_report(log: Log) -> None:
    with Session() as session:
        session.load(session.find([str(log(answered(1)))], BytesIO()))
        assert make(session, Filter(hosts=("elsewhere",))) is None


# -- lines ---------------------------------------------------------------------------------------


def test_files_that_overlap_are_put_in_the_order_of_time(log: Log) -> None:
    one = log(*(answered(at, duration=0.1) for at in range(0, 100, 2)), name="one.jsonl")
    two = log(*(answered(at, duration=0.3) for at in range(1, 100, 2)), name="two.jsonl")
    report = report_on(one, two)
    assert report.events == 100
    assert report.hosts[0].p50 == pytest.approx(0.2)
    assert [file.events for file in report.files] == [50, 50]


def test_a_file_that_is_named_twice_is_read_once(log: Log, tmp_path: Path) -> None:
    path = log(answered(1))
    (tmp_path / "link.jsonl").symlink_to(path)
    assert report_on(path, tmp_path / "*.jsonl", path).events == 1


def test_gzipped_files_and_standard_input_are_read(log: Log, tmp_path: Path) -> None:
    packed = tmp_path / "old.jsonl.gz"
    packed.write_bytes(gzip.compress(answered(1).encode() + b"\n") + gzip.compress(answered(2).encode() + b"\n"))
    assert report_on(packed, "-", stdin=answered(3).encode()).events == 3
    assert report_on("-", stdin=packed.read_bytes()).events == 2


def test_a_gzipped_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{answered(at, path=f'/{at * 7919}')}\n" for at in range(2_000)).encode())
    cut = tmp_path / "now.jsonl.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    report = report_on(cut)
    assert 500 < report.events < 1_500
    assert report.files[0].cut, "which is said: half of a log is not the log"
    cut.write_bytes(whole)
    assert not report_on(cut).files[0].cut


def test_a_gzipped_file_with_a_damaged_part_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    packed = tmp_path / "old.jsonl.gz"
    packed.write_bytes(gzip.compress(answered(1).encode() + b"\n") + b"no gzip")
    report = report_on(packed)
    assert (report.events, report.files[0].cut) == (1, True)
    packed.write_bytes(b"\x1f\x8b\x08 and no more of it")
    with Session() as session:
        session.load(session.find([str(packed)], BytesIO()))
        assert [(file.events, file.cut) for file in session.files()] == [(0, True)]


@pytest.mark.parametrize("events", [60, 20_000], ids=["small", "large"])
def test_a_gzipped_file_with_a_wrong_checksum_is_read_to_its_end_and_said_to_be_damaged(
    tmp_path: Path, events: int
) -> None:
    """zlib keeps back all of a small file that it finds a fault in, and DuckDB looks at no checksum."""
    packed = tmp_path / "old.jsonl.gz"
    whole = gzip.compress("".join(f"{answered(at % 60, path=f'/{at * 7919}')}\n" for at in range(events)).encode())
    packed.write_bytes(whole[:-8] + bytes(8))
    report = report_on(packed)
    assert (report.events, report.files[0].cut) == (events, True)


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_a_byte_order_mark_costs_no_line(tmp_path: Path, zipped: bool) -> None:
    """Editors and shells of Windows put one there; a JSON reader may skip it (RFC 8259, 8.1)."""
    data = f"\ufeff{answered(1)}\nno json\n{answered(2)}".encode()
    path = tmp_path / "events.jsonl"
    path.write_bytes(gzip.compress(data) if zipped else data)
    report = report_on(path)
    assert report.events == 2
    assert [bad.line for bad in report.bad_lines] == [2]


@pytest.mark.parametrize("data", [b"\0", b"x", b"7", b"\xff", b"\xef\xbb\xbfx"])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_a_file_of_a_single_byte_has_one_line_that_cannot_be_read(tmp_path: Path, data: bytes, zipped: bool) -> None:
    """DuckDB takes it for empty."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(gzip.compress(data) if zipped else data)
    with Session() as session:
        session.load(session.find([str(path)], BytesIO()))
        assert [(file.malformed, file.unfinished) for file in session.files()] == [(1, 0)]
        assert [bad.line for bad in session.bad_lines()] == [1]


def test_a_line_that_becomes_whole_while_the_log_is_read_is_no_malformed_one(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live log goes on while a gigabyte of it is read, and only then its unreadable lines are looked at."""
    path = log("no json", answered(1))
    with path.open("a") as file:
        file.write(answered(2)[:60])
    insert = Session._insert

    def insert_late(session: Session, *arguments: Any) -> None:
        insert(session, *arguments)
        with path.open("a") as file:
            file.write(answered(2)[60:] + "\n" + answered(3) + "\n")

    monkeypatch.setattr(Session, "_insert", insert_late)
    [file_facts] = report_on(path).files
    assert (file_facts.events, file_facts.malformed, file_facts.unfinished) == (1, 1, 1)


def test_a_number_of_more_digits_than_python_reads_is_part_of_another_json_line(log: Log) -> None:
    [file_facts] = report_on(log(answered(1), '{"n": ' + "1" * 5_000 + "}")).files
    assert (file_facts.other, file_facts.malformed) == (1, 0)


def test_a_line_without_end_is_read_past(log: Log) -> None:
    """A file that a crash filled with zeros, or no log at all: it must neither stop the rest nor fill the memory."""
    path = log(answered(1), '{"event":"' + "y" * 10 * LONGEST_LINE + '"}', answered(2))
    report = report_on(path)
    assert report.events == 2
    assert [(bad.line, bad.fault) for bad in report.bad_lines] == [(2, "longer than any event")]


def test_what_was_not_read_is_told_with_file_line_and_fault(log: Log) -> None:
    path = log(
        answered(1),
        "",
        "no json",
        '{"message": "another part of the application"}',
        '{"event": "cache.cleared", "timestamp": 1}',
        "[1, 2]",
        '{"event": "request.finished", "host": "https://h"}',
        '{"event": "request.finished", "timestamp": "2025-11-22T14:00:00Z"}',
        r'{"event": "request.finished", "host": "\ud800"}',
        answered(2),
    )
    with path.open("ab") as file:
        file.write(b'{"event": "\xff"}\n' + answered(3).encode()[:-9])
    report = report_on(path)
    [file_facts] = report.files
    assert (file_facts.events, file_facts.other, file_facts.malformed, file_facts.unfinished) == (2, 2, 6, 1)
    assert [(bad.line, bad.fault) for bad in report.bad_lines] == [
        (3, "no JSON at column 1: expecting value"),
        (6, "no JSON object"),
        (7, "an event without a readable timestamp"),
        (8, "an event without a host"),
        (9, "no valid JSON"),
        (11, "not UTF-8 at byte 12"),
    ]
    assert {bad.file for bad in report.bad_lines} == {str(path)}


def test_lines_keep_their_order_in_any_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line, which no line feed ends, may be another thread's: it was taken for an unreadable one."""
    monkeypatch.setattr("sleepwalker.inspect.session._FOR_THREADS", 0)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([answered(1), "no json", "no json", "no json", answered(2)]))
    with Session() as session:
        session.load([Source(str(number), path) for number in range(20)])
        assert {(file.malformed, file.unfinished) for file in session.files()} == {(3, 0)}


_GOOD = answered(1).encode()
_JUNK = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b" ", b"\t", b"\x0b", b"\r", b"{}", b"[]", b"null", b"\x00\x00", b"{", b'"', b"\xef\xbb\xbf"]
    ),
    st.integers(0, len(_GOOD) - 1).map(lambda cut: _GOOD[:cut]),
    st.integers(0, len(_GOOD) - 1).map(lambda cut: _GOOD[cut:]),
    st.just(_GOOD + _GOOD),
    st.just(b"\xef\xbb\xbf" + _GOOD),
).map(lambda junk: junk.replace(b"\n", b"").replace(b"\x1f\x8b", b""))  # what begins so is a gzip file


@pytest.fixture
def reading() -> Iterator[Session]:
    """One session for all examples: to open and close one takes longer than to read a few lines."""
    with Session() as session:
        yield session


@settings(max_examples=some(10, 30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.one_of(st.just(_GOOD), _JUNK), max_size=30), ended=st.booleans())
@example(lines=[b"\x00"], ended=False)
@example(lines=[b"\xef\xbb\xbf" + _GOOD, b"\xef\xbb\xbf" + _GOOD], ended=False)
def test_whatever_stands_between_events_they_are_all_counted_and_every_line_once(
    tmp_path: Path, reading: Session, lines: list[bytes], ended: bool
) -> None:
    path = tmp_path / f"{len(reading.files())}.jsonl"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ended else b""))
    lines[:1] = [one.removeprefix(b"\xef\xbb\xbf") for one in lines[:1]]
    expected = sum(_is_event(one) for one in lines)
    filled = [number for number, one in enumerate(lines, 1) if one.strip()]
    reading.load(reading.find([str(path)], BytesIO()))
    facts = reading.files()[-1]
    shown = [bad.line for bad in reading.bad_lines() if bad.file == str(path)]
    assert (facts.name, facts.events) == (str(path), expected)
    assert facts.events + facts.other + facts.malformed + facts.unfinished == len(filled)
    bad = [number for number in filled if not _is_object(lines[number - 1])]
    if facts.unfinished:
        assert bad.pop() == len(lines)
    assert shown == bad[: len(shown)]
    assert len(shown) == min(20, facts.malformed)


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data.decode("utf-8")), dict)
    except ValueError:
        return False


def _is_event(data: bytes) -> bool:
    return _is_object(data) and json.loads(data).get("event") == "request.finished"


def test_the_time_is_understood_however_it_is_written(log: Log) -> None:
    ways: list[dict[str, Any]] = [
        {"timestamp": "2025-11-22T14:00:00Z"},
        {"timestamp": "2025-11-22T15:00:00.000+01:00"},
        {"timestamp": "2025-11-22 14:00:00"},
        {"timestamp": NOON},
        {"timestamp": str(NOON)},
        {"time": NOON * 1e3},
        {"ts": int(NOON * 1e6)},
        {"ts": int(NOON * 1e9)},
        {"asctime": "2025-11-22 14:00:00,000"},
        {"@timestamp": "2025-11-22T14:00:00.000000Z"},
        {"created": NOON},
    ]
    event = json.loads(answered(0))
    del event["timestamp"]
    path = log(*(json.dumps({**event, **written, "path": str(written)}) for written in ways))
    with Session() as session:
        session.load(session.find([str(path)], BytesIO()))
        session.use(Filter())
        times: dict[str, float] = dict(session.rows("SELECT path, epoch_us(time) / 1e6 FROM events"))
    assert times == {str(written): NOON for written in ways}


class Now:
    """A clock that stands at a time of the logs."""

    def wall(self) -> float:
        return NOON + 3600


def misdated_report(path: Path, chosen: Filter | None = None) -> Report:
    with Session(Now()) as session:  # type: ignore[arg-type]
        session.load(session.find([str(path)], BytesIO()))
        report = make(session, chosen or Filter())
        assert report is not None
        return report


def test_events_of_a_clock_that_was_not_set_count_but_stretch_nothing(log: Log) -> None:
    """One event of 1970 made a day of outages a speck at the end of half a century."""
    opened = {"rule": "consecutive", "open_for": 5.0}
    lines = [answered(at) for at in range(10)] + [failed(5)]
    odd = [
        failed(-NOON + 12),
        "",
        failed(86_401 + 3600, error=None, status=503),
        line(-NOON, "breaker.opened", **opened),
    ]
    report = misdated_report(log(*lines, *odd, answered(86_399)))
    assert (report.begin, report.end) == (NOON, NOON + 86_399), "a day ahead may be a mistaken zone"
    assert report.total("calls") == 14
    [facts] = report.hosts
    assert (facts.failed, facts.opened, facts.circuit) == (3, 1, "closed")
    assert facts.first_failure == facts.last_failure == NOON + 5
    assert facts.answered_since == 5
    assert sum(report.series[0].failed) == 1
    assert report.misdated == 3
    assert [(one.line, one.time - NOON) for one in report.misdated_lines] == [
        (12, -NOON + 12),
        (14, 90_001),
        (15, -NOON),
    ]
    json.dumps(document(report), allow_nan=False)


def test_filters_leave_misdated_events_out_too(log: Log) -> None:
    path = log(answered(1), failed(-NOON), failed(-NOON, "https://other"))
    assert misdated_report(path, Filter(since=NOON)).misdated == 0
    report = misdated_report(path, Filter(hosts=("other",)))
    assert [one.line for one in report.misdated_lines] == [3]


def test_a_log_of_nothing_but_misdated_events_is_told_in_its_order(log: Log) -> None:
    """All of a machine that has no battery for its clock: what happened is still to be seen."""
    report = misdated_report(log(*(answered(at - NOON) for at in range(50)), failed(60 - NOON)))
    assert (report.begin, report.end, report.misdated) == (0, 60, 51)
    assert sum(report.series[0].answered) == 50
    assert report.hosts[0].last_failure == 60
    assert len(report.misdated_lines) == 20


def test_fields_in_an_object_of_their_own_are_found(log: Log) -> None:
    """What a JSON formatter of the standard library's logging makes of our records."""
    event = json.loads(failed(2, attempts=3, duration=0.5))
    stamp, name = event.pop("timestamp"), event.pop("event")
    report = report_on(log(json.dumps({"timestamp": stamp, "message": "…", "event": name, "fields": event})))
    assert report.hosts[0].host == HOST
    assert report.hosts[0].failed == 1
    assert report.hosts[0].retries == 2
    assert report.hosts[0].longest == 0.5


def test_a_value_of_an_odd_type_costs_itself_and_not_its_line(log: Log) -> None:
    odd = json.loads(answered(1)) | {"status": "teapot", "duration": {"seconds": 1}}
    report = report_on(log(json.dumps(odd), answered(2)))
    assert report.hosts[0].answered == 2
    assert report.hosts[0].longest == 0.01


@pytest.mark.parametrize(
    "values",
    [
        {"duration": float("nan")},
        {"duration": "-inf", "waited": "Infinity", "attempts": 2},
        {"duration": -5.0, "waited": -1.0, "attempts": -(2**63)},
        {"duration": 1e308, "attempts": 2**63 - 1},
        {"sample": 1e-320},
        {"sample": "NaN"},
        {"sample": -1},
    ],
)
def test_numbers_that_cannot_be_leave_a_report_of_numbers_that_can(log: Log, values: dict[str, Any]) -> None:
    lines = [answered(1, duration=0.5), json.dumps({**json.loads(answered(2)), **values})]
    report = report_on(log(*lines, *lines))
    assert report.total("calls") == 4
    assert report.latency[3] == 0.5
    json.dumps(document(report), allow_nan=False)


def test_a_time_that_no_log_was_written_at_is_unreadable(log: Log) -> None:
    stamps = ["200000-01-01T00:00:00Z", "0001-01-01 (BC)", "0001-01-01T00:00:00Z", "infinity", 1e99, -6.3e10, -1]
    lines = [json.dumps({**json.loads(answered(2)), "timestamp": stamp}) for stamp in stamps]
    report = report_on(log(answered(1), *lines))
    assert report.events == 1
    assert [(bad.line, bad.fault) for bad in report.bad_lines] == [
        (number, "an event without a readable timestamp") for number in range(2, 2 + len(stamps))
    ]


@pytest.mark.parametrize("name", ["host=web-1/event=x/a.jsonl", "a[1].jsonl", "a*.jsonl", "a?.jsonl", "it's.jsonl"])
def test_a_files_name_is_a_name_and_no_pattern_and_no_value(tmp_path: Path, name: str) -> None:
    """Log shippers sort files into folders named `key=value`, which DuckDB would take as columns."""
    write(tmp_path / "a1.jsonl", [answered(1, "https://other")] * 3)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    report = report_on(write(path, [answered(1)]))
    assert [(facts.host, facts.calls) for facts in report.hosts] == [(HOST, 1)]


def test_a_name_that_is_no_utf_8_is_read_and_can_be_shown(tmp_path: Path) -> None:
    """DuckDB takes none of such, and a page or a JSON document cannot hold its bytes."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(folder)  # noqa: PTH102
    report = report_on(write(Path(folder, "a.jsonl"), [answered(1), "no json"]))
    assert report.events == 1
    assert report.bad_lines[0].file == f"{tmp_path}/\\xff/a.jsonl"


def test_who_catches_errors_of_an_inspection_catches_those_of_reading_too(tmp_path: Path) -> None:
    """There was one class for both once; reading has its own since."""
    with Session() as session:
        with pytest.raises(InspectError) as caught:
            session.find([str(tmp_path / "none")], BytesIO())
        assert type(caught.value) is EventLogError
        with pytest.raises(InspectError), session.ask("DROP TABLE events"):
            pass


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    words = [str(tmp_path / "none"), str(tmp_path / "*.log"), str(tmp_path), "x" * 300, "nul\0", "nul\0*"]
    standard_input = BytesIO(b"not to be waited for")
    with Session() as session, pytest.raises(EventLogError) as caught:
        session.find(["-", *words], standard_input)
    assert len(str(caught.value).splitlines()) == len(words)
    assert standard_input.tell() == 0


def test_a_folder_that_may_not_be_looked_into_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with Session() as session, monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        with pytest.raises(EventLogError, match=r"^cannot read '\S+/a': Permission denied$"):
            session.find([str(tmp_path / "a")], BytesIO())


def test_a_file_that_goes_away_before_it_is_read_is_said(log: Log) -> None:
    with Session() as session:
        path = log(answered(1))
        [source] = session.find([str(path)], BytesIO())
        path.unlink()
        with pytest.raises(EventLogError, match=r"^cannot read \S+/events\.jsonl: No such file or directory$"):
            session.load([source])


def test_pipes_are_opened_once_and_kept_apart(tmp_path: Path) -> None:
    """Opened to look and opened again to read, a pipe loses its writer; and both of these have one name."""
    pipes = [tmp_path / folder / "pipe" for folder in "ab"]
    for number, pipe in enumerate(pipes, 1):
        pipe.parent.mkdir()
        os.mkfifo(pipe)
        threading.Thread(target=write, args=(pipe, [answered(1)] * number), daemon=True).start()
    report = report_on(*pipes)
    assert [file.events for file in report.files] == [1, 2]


def test_a_pipe_without_a_writer_is_not_waited_for_and_one_that_said_nothing_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sleepwalker.eventlog.sources._WRITER", 0.01)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        Session() as session,
        pytest.raises(EventLogError, match=r"^cannot read \S+/pipe: nothing writes to this pipe"),
    ):
        session.find([str(pipe)], BytesIO())
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    with Session() as session:
        threading.Timer(0.05, os.close, [writer]).start()
        [source] = session.find([f"/dev/fd/{reader}"], BytesIO())
        assert source.size == 0
    os.close(reader)


def test_a_writer_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleepwalker.eventlog.sources._WRITER", 0.01)
    ours, theirs = os.pipe()
    line = answered(1).encode() + b"\n"

    def slowly() -> None:
        with open(theirs, "wb") as pipe:  # noqa: PTH123
            threading.Event().wait(0.05)
            pipe.write(line)

    threading.Thread(target=slowly).start()
    with Session() as session:
        [source] = session.find([f"/dev/fd/{ours}"], BytesIO())
        assert source.path.read_bytes() == line
    os.close(ours)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a regular file"),
        (lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "it is a socket, not a regular file"),
    ],
    ids=["device", "socket"],
)
def test_what_never_ends_is_no_log(tmp_path: Path, made: Callable[[Path], object], says: str) -> None:
    path = tmp_path / "events.jsonl"
    made(path)
    with Session() as session, pytest.raises(EventLogError, match=rf"^cannot read '\S+/events.jsonl': {says}$"):
        session.find([str(path)], BytesIO())


def test_the_null_device_is_an_empty_log() -> None:
    with Session() as session:
        [source] = session.find(["/dev/null"], BytesIO())
        assert source.size == 0


def test_a_disk_without_room_is_told_from_a_file_that_cannot_be_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    with Session() as session, pytest.raises(EventLogError, match="TMPDIR can name another folder"):
        session.find(["-"], Endless())
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda **_: Endless().read())
    with pytest.raises(InspectError, match=r"^no folder for temporary files \(No space left on device\)"):
        Session()


def test_who_waits_is_told_how_far_the_reading_is(log: Log) -> None:
    told: list[float] = []
    one, two = log(*[answered(1)] * 1000, name="1.jsonl"), log(*[answered(2)] * 3000, name="2.jsonl")
    with Session() as opened:
        opened.load(opened.find([str(one), str(two)], BytesIO()), told.append)
    assert told == sorted(told)
    assert any(share == pytest.approx(0.25) for share in told)
    assert told[-1] == 1.0


# -- SQL -----------------------------------------------------------------------------------------


@pytest.fixture
def session(log: Log) -> Any:
    with Session() as opened:
        opened.load(opened.find([str(log(answered(1), failed(2), answered(3)))], BytesIO()))
        yield opened


def test_the_tables_answer_and_keep_to_the_filter(session: Session) -> None:
    session.use(Filter(until=NOON + 3))
    with session.ask("SELECT answered, count(*) AS n FROM calls GROUP BY ALL ORDER BY ALL") as answer:
        assert answer.names == ["answered", "n"]
        assert list(answer.rows()) == [(False, 1), (True, 1)]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP VIEW calls",
        "INSERT INTO log (event) VALUES ('x')",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO '{path}'",
        "SET enable_external_access = true",
        "ATTACH '{path}'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM read_csv('http://127.0.0.1:1/')",
        "SELECT * FROM glob('/*')",
        "INSTALL httpfs",
        "no sql at all",
        "SELECT '\udcff'",
        "EXPLAIN ANALYZE DELETE FROM log",
        "",
    ],
)
def test_a_question_can_neither_change_anything_nor_reach_a_file(
    session: Session, tmp_path: Path, statement: str
) -> None:
    target = tmp_path / "target.csv"
    target.write_text("a\n1\n")
    with pytest.raises(InspectError), session.ask(statement.format(path=target)) as answer:
        list(answer.rows())
    assert target.read_text() == "a\n1\n"


def test_a_time_with_a_zone_is_an_answer_or_a_sentence(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB before 2.0.1 makes it with the help of pytz, which is not there by itself."""
    monkeypatch.setitem(sys.modules, "pytz", None)
    rows, refused = [], ""
    try:
        with session.ask("SELECT '2025-11-22T15:00:00+01:00'::TIMESTAMPTZ") as answer:
            rows = list(answer.rows())
    except InspectError as error:
        refused = str(error)
    assert "now()::TIMESTAMP" in refused or rows == [(datetime(2025, 11, 22, 14, tzinfo=UTC),)]


def test_ctrl_c_during_a_statement_is_a_ctrl_c(session: Session) -> None:
    """DuckDB says that it was interrupted, by an error of its own."""

    def ask() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.1)  # a Ctrl-C before we are in here would end the whole run of the tests
        session.rows("SELECT sum(sqrt(a.range + b.range)) FROM range(10000000) a, range(10000000) b")

    previous = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            ask()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# -- the library -----------------------------------------------------------------------------------


def test_without_duckdb_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    says = r"^inspect needs the package duckdb: pip install 'sleepwalker\[cli,inspect\]'$"
    with pytest.raises(InspectError, match=says):
        Session()


def test_nothing_is_left_behind(log: Log) -> None:
    with Session() as opened:
        folder = opened.folder
        opened.load(opened.find([str(log(answered(1)))], BytesIO()))
        assert folder.exists()
    assert not folder.exists()
