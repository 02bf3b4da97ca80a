"""`sleepwalker inspect`: what a person reads, what a program gets, and the exit codes."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from benchmarks.inspect_traffic import Traffic
from sleepwalker.cli import main
from sleepwalker.cli.display import console
from sleepwalker.cli.inspect.view import render
from sleepwalker.events import CATALOGUE, RetryAbandoned, logged_names
from sleepwalker.inspect import Report, Session, advice, words
from sleepwalker.inspect.trouble import Kind
from tests.ranges import some
from tests.unit.inspect_logs import HOST, NOON, answered, failed, line, rejected, report_on, write

#: How a report is worded and laid out; that DuckDB counts right, test_inspect.py sees with each release.
pytestmark = pytest.mark.once

Run = Callable[..., tuple[int, str, str]]

#: One host that broke and recovered, one that fails, and one that is fine.
STORY = [
    *(answered(at, "https://fine.example.net") for at in range(0, 60, 2)),
    *(failed(at, "https://flaky.example.net", error=None, status=503, attempts=3) for at in range(0, 40, 4)),
    *(answered(at + 0.5, HOST, attempts=2) for at in range(10)),
    *(line(9 + at / 10, "attempt.failed", HOST, attempt=1, error="ConnectError", duration=0.01) for at in range(5)),
    line(10, "breaker.opened", HOST, rule="consecutive", open_for=5.0, cause="ConnectError"),
    line(10, "host.broken", HOST, reason="breaker", failures=5, cause="ConnectError"),
    *(rejected(at, HOST) for at in range(11, 20)),
    line(20, "breaker.half_opened", HOST),
    line(21, "breaker.closed", HOST, ramp=5.0),
    line(21, "host.recovered", HOST, broken_for=11.0),
    *(answered(at, HOST) for at in range(22, 60)),
]


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command; its exit code, and what it wrote to stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["inspect", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def story(tmp_path: Path) -> Path:
    return write(tmp_path / "story.jsonl", STORY)


# -- for people ----------------------------------------------------------------------------------


def test_the_first_lines_say_which_host_since_when_what_was_done_and_whether_it_is_over(
    inspect: Run, story: Path
) -> None:
    code, out, err = inspect(story)
    assert (code, err) == (0, "")
    assert out.splitlines()[:17] == [
        "TROUBLE  https://flaky.example.net",
        "  when   since 14:00:00.0 or before, 59 s so far: all 10 calls failed, mostly",
        "         status 503",
        "  done   20 retries saved 0 calls",
        "  over?  no: the last call failed, at 14:00:36.0",
        "  now    Call its operators and tell them since when. sleepwalker tries it again",
        "         from time to time. A hook can return a replica; manager.isolate keeps",
        "         callers away longer.",
        '  see    runbook, section "broken" (docs/operations/runbook.md of the project)',
        f"OVER  {HOST}",
        "  when   14:00:09.0 to 14:00:21.0, 12 s: broken: 90 % of 10 calls failed, mostly",
        "         ConnectError",
        "  done   circuit opened once; 9 calls refused unsent; 1 retry saved 1 call",
        "  over?  yes: 38 calls answered since 14:00:21.0",
        "  now    Nothing now. In the morning, ask its operators for the cause.",
        '  see    runbook, section "broken" (docs/operations/runbook.md of the project)',
        "",
    ]


def test_states_are_drawn_over_time(inspect: Run, story: Path) -> None:
    _, out, _ = inspect(story)
    [lane] = re.findall(r"^  circuit (\S+)$", out, re.MULTILINE)
    assert len(lane) == 70
    assert re.fullmatch(r"─{11,12}█{11,13}▒{1,3}─+", lane), "10 of 59 s closed, 10 open, 1 half-open"
    assert re.search(r"^ +14:00:00\.0 +14:00:29\.5 +14:00:59\.0$", out, re.MULTILINE)


def test_what_is_no_terminal_gets_80_columns_without_colour(inspect: Run, tmp_path: Path) -> None:
    traffic = Traffic(3, days=0.02, outages=3)
    long = f"https://{'a' * 60}.example.net:8443"
    path = write(
        tmp_path / "a.jsonl", [*traffic.lines(6_000), failed(9e4, long, path="/x" * 200, attempts=2), "{no json" * 30]
    )
    code, out, _ = inspect(path)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    for title in ("hosts, worst first", "over time", "failed sends", "retries", "slowest calls", "lines "):
        assert title in out


def test_a_scope_keeps_its_name_however_narrow_it_gets(inspect: Run, tmp_path: Path) -> None:
    host = f"https://{'a' * 60}.example.net:8443#reports"
    lines = [answered(number, host, path="/r", duration=2.0) for number in range(3)]
    path = write(
        tmp_path / "a.jsonl",
        [
            *lines,
            failed(9, host, path="/r", attempts=2),
            line(9, "attempt.failed", host, attempt=1, error="ReadError", duration=0.1),
        ],
    )
    code, out, _ = inspect(path)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert host in out.replace("\n", ""), "a name that is longer than a line goes on below"
    _, out, _ = inspect(write(tmp_path / "b.jsonl", [answered(1, "https://h#reports", path="/r", duration=2.0)]))
    assert "GET h/r #reports" in out


def test_nothing_from_a_log_can_steer_a_terminal(inspect: Run, tmp_path: Path) -> None:
    evil = "https://h\x1b[2J\u202e"
    lines = [
        failed(1, evil, error="E\x1b[31m", path="/\x9b1m", attempts=2),
        line(1, "retry.abandoned", evil, attempt=2, reason="\x1b[31m"),
        line(1, "host.broken", evil, reason="\x1b[31m", cause="\x1b[31m"),
        line(1, "connection.hooked", evil, target="\x1b[31m"),
        "\x1b]0;title\x07 no json",
    ]
    path = write(tmp_path / "a.jsonl", lines)
    _, out, _ = inspect(path)
    assert not set(out) & {"\x1b", "\x9b", "\x07", "\u202e"}
    assert "h\N{REPLACEMENT CHARACTER}[2J" in out


def test_an_encoding_without_blocks_gets_a_picture_in_ascii(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding="ascii", errors="strict") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["inspect", str(story)]) == 0
        stdout.flush()
        text = written.getvalue().decode("ascii")
    assert re.search(r"^  circuit -+#+\+-+$", text.replace("\r", ""), re.MULTILINE)


def test_lines_that_cannot_be_read_are_shown_with_their_place(inspect: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [answered(1), *(f"bad {number}" for number in range(8)), '{"other": 1}'])
    code, out, _ = inspect(path)
    assert code == 0
    assert "lines  1 other JSON line left aside; 8 lines could not be read" in out
    assert "a.jsonl:2: no JSON at column 1" in out
    assert "and 3 more" in out


def test_events_of_a_clock_that_was_not_set_are_said_with_their_place(inspect: Run, tmp_path: Path) -> None:
    lines = [answered(1), answered(2), failed(-NOON + 12, duration=9.0)]
    path = write(tmp_path / "a.jsonl", lines)
    _, out, _ = inspect(path)
    said = " ".join(out.split())
    assert "1 event with a wrong clock, the first stamped 1970-01-01T00:00:12" in said
    told = "a.jsonl:3): counted, but left out of everything over time"
    assert told.replace(" ", "") in said.replace(" ", ""), "a long path is folded anywhere"
    assert "period 2025-11-22 14:00:01.0 to 14:00:02.0 UTC" in said
    assert "9.00 s 1970-01-01 00:00:12 ConnectError" in said, "its own time is told in full"
    _, out, _ = inspect(path, "--json")
    report = json.loads(out)
    assert report["summary"]["misdated"] == 1
    assert report["misdated"] == [{"file": str(path), "line": 3, "time": "1970-01-01T00:00:12.000Z"}]
    _, out, _ = inspect(write(tmp_path / "b.jsonl", lines[2:]))
    assert "all events come with a wrong clock" in " ".join(out.split())


def test_a_packed_file_that_is_not_whole_is_said(inspect: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(answered(1).encode() + b"\n") + b"no gzip")
    first, _, rest = inspect(path)[1].partition("\n\n")
    said = "".join(first.split())  # a long path is wrapped
    assert said == f"READ {path} is cut off or damaged: this report covers only the readable part".replace(" ", "")
    assert rest.startswith("OK  All is well")
    path.write_bytes(b"\x1f\x8b\x08 and no more")
    assert inspect(path)[2].endswith("0 lines that could not be read; cut off or damaged)\n")


def test_a_narrow_terminal_cuts_no_sentence_and_no_time_short(story: Path) -> None:
    report = report_on(story)
    for width in (30, 40, 59):
        text = _shown(report, width)
        lines = text.splitlines()
        assert max(map(len, lines)) <= width
        said = " ".join(text.split())
        assert "14:00:09.0 to 14:00:21.0, 12 s: broken: 90 % of 10 calls failed, mostly ConnectError" in said
        assert "38 calls answered since 14:00:21.0" in said
        [lane] = [text for text in lines if text.startswith("  circuit")]
        assert lane.endswith("─"), "how it ended is in the picture"


def _shown(log: Path | Report, width: int) -> str:
    written = io.StringIO()
    screen = console(written)
    screen.width = width
    screen.print(render(report_on(log) if isinstance(log, Path) else log, screen))
    return written.getvalue()


def test_names_of_hosts_are_whole_and_the_numbers_beside_them_too(tmp_path: Path) -> None:
    """Cut at the same character, two hosts read alike."""
    hosts = [f"https://recommendations.eu-central-1{zone}.prod.example.net" for zone in "ab"]
    lines = [answered(at, host) for at in range(200) for host in hosts]
    lines += [failed(at + 0.5, hosts[1], error=None, status=503, attempts=2) for at in range(0, 200, 8)]
    lines += [
        line(at + 0.4, "attempt.failed", hosts[1], attempt=1, status=503, duration=0.1) for at in range(0, 200, 8)
    ]
    report = report_on(write(tmp_path / "a.jsonl", lines))
    for width in (60, 80, 120):
        text = _shown(report, width)
        assert max(map(len, text.splitlines())) <= width
        table = text.partition("hosts, worst first\n")[2].partition("\n\n")[0]
        for host, numbers in ((hosts[0], "200 100 %"), (hosts[1], "225 88.9 %")):
            said = " ".join(table.partition(host)[2].split())
            assert said.removeprefix("failing ").removeprefix("fine ").startswith(numbers)
        problems = text.partition("failed sends\n")[2].partition("\n\n")[0]
        assert hosts[1] in problems
        assert "14:00:00 to 14:03:12" in problems


def test_a_line_never_ends_between_a_number_and_its_unit(tmp_path: Path) -> None:
    lines = [failed(at) if 3600 <= at < 4300 and at % 20 == 0 else answered(at) for at in range(0, 90_000, 10)]
    report = report_on(write(tmp_path / "a.jsonl", lines))
    for width in range(60, 100, some(3, 1)):
        text = _shown(report, width)
        assert "\N{NO-BREAK SPACE}" not in text, "what is shown is to be searched"
        assert not re.search(r"\d *\n +(?:h|min|s|ms|%|of|events?|calls?)\b", text)
    said = " ".join(_shown(report, 80).split())
    assert "11-22 15:00:00 to 15:11:20, 11 min 20 s" in said, "the day is said once"


def test_a_host_in_trouble_is_drawn_or_counted_and_slowness_has_a_state(tmp_path: Path) -> None:
    hosts = [f"https://h{number}" for number in range(7)]
    lines = [
        answered(at, host, duration=3.0 if host == "https://h3" and 900 <= at < 1200 else 0.01)
        for at in range(0, 2000, 2)
        for host in hosts
    ]
    for number, host in enumerate(hosts):
        if number != 3:
            lines += [failed(200 * number + at / 10, host) for at in range(100)]
    text = _shown(write(tmp_path / "a.jsonl", lines), 80)
    assert "and 2 more hosts in trouble; --html and --json have all" in text
    slow = _shown(write(tmp_path / "b.jsonl", [one for one in lines if "https://h3" in one]), 80)
    [lane] = re.findall(r"^  host +(\S+)$", slow, re.MULTILINE)
    assert re.fullmatch("─+≈{9,12}─+", lane)
    assert "≈ slow" in slow


def test_circuits_that_opened_are_told_with_their_processes(tmp_path: Path) -> None:
    lines = [answered(at, pid=pid) for at in range(60) for pid in (1, 2, 3)]
    lines += [failed(70 + at, pid=pid) for at in range(10) for pid in (1, 2)]
    lines += [
        line(75 + 2 * at, "breaker.opened", rule="consecutive", open_for=1.0, cause="503", pid=pid)
        for at in range(3)
        for pid in (1, 2)
    ]
    [finding] = report_on(write(tmp_path / "a.jsonl", lines)).findings
    assert finding.done.startswith("circuit opened 6 times in 2 processes")


def test_findings_beyond_a_screenful_still_say_when(tmp_path: Path) -> None:
    hosts = [f"https://h{number}" for number in range(9)]
    lines = [answered(at, host) for at in range(0, 2000, 5) for host in hosts]
    for number, host in enumerate(hosts):
        lines += [failed(200 * number + at, host) for at in range(10)]
    text = _shown(write(tmp_path / "a.jsonl", lines), 80)
    assert text.count("OVER  https://h") == 9
    assert text.count("  when   14:") == 9
    assert text.count("  over?  yes") == 6


def test_what_was_asked_for_is_said_with_year_and_zone(inspect: Run, story: Path) -> None:
    _, out, _ = inspect(story, "--host", "flaky", "--since", "2025-11-22T14:00:10Z")
    said = " ".join(out.split())
    assert "period 2025-11-22 14:00:12.0 to 14:00:59.0 UTC" in said
    assert "only hosts that fit flaky, since 2025-11-22 14:00:10 UTC" in said


def test_check_exits_with_3_where_there_was_trouble_in_the_time_that_is_looked_at(inspect: Run, tmp_path: Path) -> None:
    lines = [answered(at) for at in range(600)] + [failed(100 + at / 2) for at in range(40)]
    path = write(tmp_path / "a.jsonl", lines)
    assert inspect(path)[0] == 0
    assert inspect(path, "--check")[0] == 3, "also if it is over"
    assert inspect(path, "--check", "--json")[0] == 3
    assert inspect(path, "--check", "--since", "2025-11-22T14:05:00Z")[0] == 0
    assert inspect(write(tmp_path / "b.jsonl", [answered(at) for at in range(600)]), "--check")[0] == 0
    code, out, err = inspect(path, "--check", "--since", "2025-11-23")
    assert (code, out) == (0, ""), "a quiet quarter of an hour is no trouble"
    assert err.endswith("no events in that time, so --check found no trouble\n")
    assert inspect(path, "--check", "--since", "2025-11-23", "--host", "api")[0] == 0
    assert inspect(path, "--check", "--host", "nobody")[0] == 1, "a host of another name is a mistake"
    assert inspect(path, "--check", "--since", "2025-11-23", "--host", "nobody")[0] == 1
    for option in (["--follow"], ["--sql", "SELECT 1"]):
        code, _, err = inspect(path, "--check", *option)
        assert (code, f"leave out {option[0]}" in err) == (2, True)


def test_the_runbook_can_be_ones_own(inspect: Run, story: Path) -> None:
    _, out, _ = inspect(story, "--runbook", "https://wiki.example.net/calls#top")
    assert "  see    https://wiki.example.net/calls#broken\n" in out


def test_the_runbook_has_a_section_for_each_kind_of_trouble() -> None:
    page = (Path(__file__).parents[2] / advice._PAGE).read_text(encoding="utf-8")
    sections = {title.lower() for title in re.findall(r"^## (.*)$", page, re.M)}
    kinds = {advice._SECTIONS.get(kind, kind) for kind in get_args(Kind)}
    assert {*kinds, *advice._SECTIONS.values(), advice._TOGETHER, advice._MOVED, advice._FLAPPING} <= sections


def test_why_retries_were_not_made_is_said_in_words(inspect: Run, tmp_path: Path) -> None:
    reasons = get_args(get_type_hints(RetryAbandoned)["reason"])
    assert set(reasons) == set(words._NOT_RETRIED)
    lines = [answered(0), line(1, "retry.abandoned", attempt=1, reason="breaker")]
    assert "not sent  1 retry: the circuit had opened" in inspect(write(tmp_path / "a.jsonl", lines))[1]


# -- for programs --------------------------------------------------------------------------------


def test_the_json_has_the_shape_that_is_documented(inspect: Run, story: Path) -> None:
    code, out, _ = inspect(story, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["version"] == 2
    page = (Path(__file__).parents[2] / "docs/reference/inspect.md").read_text(encoding="utf-8")
    table = page.partition("## JSON")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert set(report) - {"version"} == set(rows)
    for name, documented in rows.items():
        value = report[name]
        if not isinstance(value, list | dict):
            continue
        for one in value[:1] if isinstance(value, list) else [value]:
            common = {"calls", "answered", "failed", "rejected", "attempts", "retries", "latency", "success_ratio"}
            names = set(re.findall(r"`(\w+)`", documented)) | (common if name == "hosts" else set())
            assert set(one) <= names, f"{name}: not documented"
    assert report["hosts"][1]["outages"] == [
        {
            "from": "2025-11-22T14:00:10.000Z",
            "until": "2025-11-22T14:00:21.000Z",
            "why": "breaker",
            "cause": "ConnectError",
        }
    ]


def test_an_answer_to_a_question_is_a_table_or_a_list_of_objects(inspect: Run, story: Path) -> None:
    question = "SELECT host, count(*) AS n, max(time) AS last FROM calls WHERE rejected_by = 'breaker' GROUP BY ALL"
    code, out, _ = inspect(story, "--sql", question)
    assert code == 0
    assert out.splitlines()[2:] == [f"{HOST}  9  2025-11-22 14:00:19.000", "1 row"]
    _, out, _ = inspect(story, "--sql", question, "--json")
    assert json.loads(out) == [{"host": HOST, "n": 9, "last": "2025-11-22T14:00:19Z"}]
    _, out, _ = inspect(story, "--sql", "FROM calls WHERE false", "--json")
    assert json.loads(out) == []


def test_an_answer_in_json_is_json_whatever_was_asked(inspect: Run, story: Path) -> None:
    question = "SELECT 'nan'::DOUBLE AS n, [1e308 * 10] AS i, MAP {DATE '2025-01-01': 1} AS m, 1 AS x, 2 AS x"
    code, out, _ = inspect(story, "--json", "--sql", question)
    assert code == 0
    [row] = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert row == {"n": None, "i": [None], "m": {"2025-01-01": 1}, "x": 1, "x_1": 2}


def test_a_reader_who_has_enough_is_no_failure(story: Path) -> None:
    command = [sys.executable, "-m", "sleepwalker", "inspect", str(story), "--sql", "SELECT range FROM range(1000)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_a_plan_is_printed_as_it_is_drawn(inspect: Run, story: Path) -> None:
    code, out, _ = inspect(story, "--sql", "EXPLAIN SELECT host FROM calls")
    assert code == 0
    assert len(out.splitlines()) > 3
    assert "\N{REPLACEMENT CHARACTER}" not in out


def test_a_closed_output_is_no_traceback(
    story: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service manager may start a program so, and Python then has no stdout."""
    command = " ".join([sys.executable, "-m", "sleepwalker", "inspect", str(story), ">&-"])
    run = subprocess.run(["sh", "-c", command], capture_output=True)
    assert (run.returncode, run.stderr) == (0, b"")
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["inspect", str(story), "--json"]) == 0
    assert capsys.readouterr().err == ""
    sys.stdout.close()  # which `main` has opened
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["inspect", f"{story}.none"]) == 2
    sys.stdout.close()
    sys.stderr.close()


def test_a_long_name_of_an_error_leaves_the_other_columns_readable(inspect: Run, tmp_path: Path) -> None:
    lines = [
        line(1, "attempt.failed", HOST, attempt=1, error="An" + "Extremely" * 20 + "LongNameError", duration=0.1),
        failed(1, error="An" + "Extremely" * 20 + "LongNameError"),
    ]
    _, out, _ = inspect(write(tmp_path / "a.jsonl", lines))
    assert "14:00:01.0 to 14:00:01.0" in out
    assert "GET api.example.net/things" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_tables_have_the_columns_that_are_documented(inspect: Run, story: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/inspect.md").read_text(encoding="utf-8")
    for table in ("events", "calls", "attempts", "transitions"):
        _, out, _ = inspect(story, "--sql", f"DESCRIBE {table}", "--json")
        names = {row["column_name"] for row in json.loads(out)} - {"time", "host", "file"}
        [row] = re.findall(rf"^\| `{table}` \| .* \| (.*) \|$", page, re.MULTILINE)
        documented = set(re.findall(r"`(\w+)`", row))
        if table == "events":
            names -= {name for cls in CATALOGUE.values() for name in logged_names(cls)} | {"pid"}
        assert names == documented


def test_the_page_is_written_where_it_is_asked_for(inspect: Run, story: Path, tmp_path: Path) -> None:
    code, out, _ = inspect(story, "--html", tmp_path / "report.html")
    assert code == 0
    assert out.splitlines()[-1] == f"the same with charts: {tmp_path / 'report.html'}"
    assert "https://flaky.example.net" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert stat.filemode((tmp_path / "report.html").stat().st_mode) == "-rw-------"


# -- used wrongly, and nothing there ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{log}", "--since", "teatime"], "--since: 'teatime' is not a time"),
        (["{log}", "--until", "15"], "--until: '15' is not a time"),
        (["{log}", "--since", "1h", "--until", "2h"], "--since 1h is not before --until 2h"),
        (["{log}", "--follow", "--html", "x.html"], "leave out --html or --follow"),
        (["{log}", "--follow", "--sql", "SELECT 1"], "leave out --sql or --follow"),
        (["-", "--follow"], "not with standard input"),
        (["{log}", "--sql", "DROP TABLE log"], "only one SELECT is allowed"),
        (["{log}", "--sql", "SELECT nothing"], "nothing"),
        (["{log}.none"], "cannot read"),
        (["{log}", "--html", "/no/such/folder/x.html"], "its folder does not exist"),
        (
            ["{log}", "--html", "x.html", "--sql", "SELECT 1"],
            "--sql prints rows, and --html needs a report; leave out one of them",
        ),
        (["{log}", "--html", "{log}"], "is one of the logs to read"),
        (["{log}", "--html", "/dev/zero"], "cannot write to '/dev/zero': it is a device, not a regular file"),
        (["{log}", "/dev/zero"], "cannot read '/dev/zero': it is a device, not a regular file"),
        (["/dev/null", "--follow"], "is a pipe or a device, which cannot be followed"),
        (["{log}", "--sql", "SELECT '\udcff'"], "the query is not UTF-8"),
        ([], "required: FILE"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_wrong(
    inspect: Run, story: Path, arguments: list[str], says: str
) -> None:
    code, out, err = inspect(*(word.format(log=story) for word in arguments))
    assert code == 2
    assert out == ""
    assert says in err
    assert story.read_text(encoding="utf-8").splitlines() == STORY


def test_without_a_standard_input_files_are_read_all_the_same(
    inspect: Run, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager may start a program with its input closed, and Python then has none."""
    monkeypatch.setattr(sys, "stdin", None)
    assert inspect(story)[0] == 0
    code, _, err = inspect("-")
    assert (code, err) == (2, "sleepwalker: cannot read '-': standard input is closed\n")


def test_a_log_without_events_ends_with_1_and_says_what_there_was(inspect: Run, tmp_path: Path) -> None:
    code, out, err = inspect(write(tmp_path / "a.log", ["plain text", '{"msg": "json"}']))
    assert (code, out) == (1, "")
    assert "no event of sleepwalker in" in err
    assert "1 other JSON line, 1 line that could not be read" in err
    assert "a.log:1: no JSON" in err


def test_an_empty_log_ends_with_1(inspect: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", [])
    assert inspect(path) == (1, "", f"sleepwalker: {path} is empty\n")


def test_filters_that_leave_nothing_end_with_1_and_are_named(inspect: Run, story: Path) -> None:
    code, out, err = inspect(story, "--host", "nobody")
    assert (code, out) == (1, "")
    assert re.search(r"none of \d+ events is within --host nobody\n", err)
    assert "from 2025-11-22T14:00:00Z to 2025-11-22T14:00:59Z, of https://api.example.net, https://fine" in err
    _, _, err = inspect(story, "--since", "2025-11-23")
    assert re.search(r"none of \d+ events is within --since 2025-11-23\n", err)


@pytest.mark.parametrize("also", ["", "rich"])
def test_without_duckdb_the_command_says_once_all_that_is_to_be_installed(
    inspect: Run, story: Path, monkeypatch: pytest.MonkeyPatch, also: str
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    if also:
        _without_rich(monkeypatch)
    code, out, err = inspect(story)
    assert (code, out) == (2, "")
    assert err == "sleepwalker: inspect needs the package duckdb: pip install 'sleepwalker[cli,inspect]'\n"


@pytest.mark.parametrize("arguments", [[], ["--sql", "FROM calls"], ["--follow"]])
def test_without_rich_what_is_for_people_is_refused_before_anything_is_read(
    inspect: Run, story: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_rich(monkeypatch)
    monkeypatch.setattr(Session, "load", lambda *_: pytest.fail("read"))
    code, out, err = inspect(story, *arguments)
    assert (code, out) == (2, "")
    assert err == "sleepwalker: this command needs the package rich: pip install 'sleepwalker[cli]'\n"


def test_json_needs_no_rich(inspect: Run, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sleepwalker.cli.inspect import command

    _without_rich(monkeypatch)
    monkeypatch.setattr(command, "_BIG", 1)
    assert inspect(story, "--json")[0] == 0
    assert inspect(story, "--json", "--sql", "FROM calls")[0] == 0
    monkeypatch.setattr("sleepwalker.cli.inspect.follow.BLOCKING_CLOCK.sleep", _interrupt, raising=False)
    assert inspect(story, "--json", "--follow")[0] == 0


def _interrupt(_: float) -> None:
    raise KeyboardInterrupt


def _without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not imported it yet."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("display", "inspect.view", "inspect.lanes"):
        monkeypatch.delitem(sys.modules, f"sleepwalker.cli.{name}", raising=False)
        monkeypatch.delattr(f"sleepwalker.cli.{name}", raising=False)


def test_a_page_that_may_not_be_written_is_refused_before_anything_is_read(
    inspect: Run, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    code, out, err = inspect(story, "--html", tmp_path / "x.html")
    assert (code, out) == (2, "")
    assert "permission denied" in err


def test_the_command_line_knows_duckdb_only_once_it_inspects() -> None:
    probe = "import sys, sleepwalker.cli as c; c.main(['policy', 'list']); sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0


def test_help_shows_examples_tables_and_exit_codes(inspect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = inspect("--help")
    assert code == 0
    for said in ("examples:", "--follow", "events, calls, attempts, transitions", "exit codes: 0 fine, 1 no event"):
        assert said in out
    assert max(map(len, out.splitlines())) <= 80


# -- terminals -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """Takes itself for a terminal."""

    encoding: Any = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colour_and_a_bar_while_much_is_read(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sleepwalker.cli.inspect import command

    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(command, "_BIG", 1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["inspect", str(story)]) == 0
    assert "\x1b[" in out.getvalue()
    assert "reading 0 MB" in err.getvalue()
