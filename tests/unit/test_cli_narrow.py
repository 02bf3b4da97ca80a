"""Everything can be read in 60 columns, and how far a long work is."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from sleepwalker.cli import main
from sleepwalker.cli.display import console, progress, table
from sleepwalker.cli.text import left, told, width_of, with_narrow_comments
from sleepwalker.policy import Policy
from sleepwalker.policy.load import shipped_text

COMMANDS = [
    [], ["demo"], ["get"], ["inspect"], ["policy"], ["fleet"], ["completion"],
    *(["policy", name] for name in ("list", "show", "check", "schema")),
    *(["fleet", name] for name in ("status", "isolate", "restore", "reset")),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", [60, 80])
def test_every_help_page_fits_and_its_examples_are_whole(
    command: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    shown = out.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert shown
    assert [line for line in shown if not re.match(r"  (# |.*\bsleepwalker )", line) or line.endswith("\\")] == []


def test_the_list_of_policies_goes_on_below_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["policy", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(Policy.names())


def test_faults_go_on_below_themselves_and_their_place_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("[timeout]\nread = -1\n", encoding="utf-8")
    assert main(["policy", "check", "mine.toml"]) == 1
    _, first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("mine.toml:2:1: timeout.read: -1 is not allowed;")
    assert rest
    assert all(line.startswith("  ") and len(line) <= 60 for line in rest)


@pytest.mark.parametrize("name", Policy.names())
@pytest.mark.parametrize("width", [30, 60, 100, 200])
def test_a_policy_file_on_a_narrow_terminal_has_the_same_words(name: str, width: int) -> None:
    text = shipped_text(name)
    shown = with_narrow_comments(text, width)
    comments = [line for line in shown.splitlines() if line.startswith("#")]
    assert max(map(len, comments)) <= max(width, *(len(word) + 2 for line in comments for word in line.split()))
    assert [line for line in shown.splitlines() if not line.startswith("#")] == [
        line for line in text.splitlines() if not line.startswith("#")
    ]
    assert re.sub(r"\n# |\s+", " ", shown).split() == re.sub(r"\n# |\s+", " ", text).split()
    assert with_narrow_comments(text, None) == text


def _drawn(part: object, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    file = io.StringIO()
    console(file).print(part)
    return file.getvalue().splitlines()


HEADERS = ("host", "through", "calls", "answered", "failed")
ROWS = [("healthy", "sleepwalker", "1000", "1000", "0"), ("", "requests", "1000", "997", "3")]


def test_a_table_that_fits_is_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _drawn(table(HEADERS, ROWS, words=HEADERS[:2], keys=2, tight=True), 60, monkeypatch)
    assert lines[0].split() == list(HEADERS)
    assert len(lines) == 4


def test_a_table_that_is_too_wide_goes_on_below_with_its_keys_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _drawn(table(HEADERS, ROWS, words=HEADERS[:2], keys=2, tight=True), 34, monkeypatch)
    assert [line.split() for line in lines if "through" in line] == [
        ["host", "through", "calls", "answered"],
        ["host", "through", "failed"],
    ]
    assert max(map(len, lines)) <= 34
    assert [line.split()[-1] for line in lines if "requests" in line] == ["997", "3"]


def test_a_table_without_keys_and_one_with_a_column_that_never_fits_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _drawn(table(("a" * 9, "b" * 9), [("1", "2")], keys=0), 10, monkeypatch)
    assert [line.strip() for line in lines if line.strip() and not line.startswith("─")] == ["a" * 9, "1", "b" * 9, "2"]
    assert _drawn(table(("a" * 30,), [("1",)]), 10, monkeypatch)
    assert _drawn(table((), []), 10, monkeypatch) is not None


def test_the_bar_is_no_wider_than_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _drawn(progress("reading 900 MB", 43, 100, 10.0), 60, monkeypatch)
    assert lines[0] == "reading 900 MB: 43 %, 13 s left"
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(
    ("done", "total", "elapsed", "says"),
    [
        (0, 100, 0.0, "0 %"),
        (0.5, 100, 30.0, "0 %"),  # too little is done to tell
        (50, 100, 0.5, "50 %"),  # too early
        (50, 100, 8.0, "50 %, 8 s left"),
        (99.9, 100, 100.0, "99 %, 1 s left"),
        (25, 100, 100.0, "25 %, 5 min left"),
        (2, 100, 360.0, "2 %, 4.9 h left"),
        (100, 100, 9.0, "100 %"),
        (120, 100, 9.0, "100 %"),
        (0, 0, 9.0, "100 %"),
    ],
)
def test_how_far_a_work_is_and_how_long_it_still_takes(done: float, total: float, elapsed: float, says: str) -> None:
    assert left(done, total, elapsed) == says


def test_a_sentence_goes_on_below_where_the_width_is_known_and_words_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "see https://a-very-long-name.example.net/with/a/path/that/is/longer/than/a/line and-this-word"
    monkeypatch.delenv("COLUMNS", raising=False)
    told(text, sys.stdout, indent="  ")
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setenv("COLUMNS", "40")
    told(text, sys.stdout, indent="  ")
    assert capsys.readouterr().out.splitlines() == ["see", f"  {text.split()[1]}", "  and-this-word"]


def test_an_error_goes_on_below_and_the_command_in_it_is_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert (first, second) == (
        "sleepwalker: completion needs the package shtab:",
        "  pip install 'sleepwalker[cli]'",
    )


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("0", None), ("", None), ("wide", None), ("-3", None)])
def test_the_width_is_what_columns_says_where_there_is_no_terminal(
    columns: str, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert width_of(io.StringIO()) == width
