"""A slip in a command is understood: the error says what was meant, and which help page has it."""

from __future__ import annotations

import pytest

from sleepwalker.cli import main


@pytest.mark.parametrize(
    ("argv", "means", "help_of"),
    [
        (["inpsect", "x.jsonl"], "inspect", "sleepwalker"),
        (["GET", "http://h"], "get", "sleepwalker"),
        (["policy", "chek", "x.toml"], "check", "sleepwalker policy"),
        (["--versoin"], "--version", "sleepwalker"),
        (["get", "--polcy", "batch", "http://h"], "--policy", "sleepwalker get"),
        (["get", "--polcy=batch", "http://h"], "--policy", "sleepwalker get"),
        (["get", "--jsno"], "--json", "sleepwalker get"),  # what is missing besides would hide the slip
        (["get", "-json", "http://h"], "--json", "sleepwalker get"),
        (["policy", "show", "--jason", "batch"], "--json", "sleepwalker policy show"),
        (["policy", "--jason", "list"], None, "sleepwalker policy"),
        (["inspect", "x.jsonl", "--sinec", "2h"], "--since", "sleepwalker inspect"),
        (["demo", "--sed", "3"], "--seed", "sleepwalker demo"),
        (["fleet", "isolat", "https://h"], "isolate", "sleepwalker fleet"),
        (["fleet", "status", "--wacht"], "--watch", "sleepwalker fleet status"),
        (["completion", "bsh"], "bash", "sleepwalker completion"),
        (["frobnicate"], None, "sleepwalker"),
        (["get", "--frobnicate", "http://h"], None, "sleepwalker get"),
    ],
)
def test_a_slip_is_named_with_what_was_meant_and_the_page_that_has_it(
    argv: list[str], means: str | None, help_of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    said, see = err.splitlines()
    assert said.endswith(f"did you mean {means}?") if means else "did you mean" not in said
    assert see == f"See: {help_of} --help"


def test_an_option_before_its_command_is_told_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "--json", "list"]) == 2
    assert capsys.readouterr().err == (
        "sleepwalker: --json belongs after a command: did you mean sleepwalker policy list --json?\n"
        "See: sleepwalker policy --help\n"
    )
    assert main(["--since", "2h", "inspect", "x.jsonl"]) == 2
    assert "did you mean sleepwalker inspect --since?" in capsys.readouterr().err


@pytest.mark.parametrize("shown", ["interactiv", "standart", "Batch"])
def test_a_slip_in_a_policys_name_is_named(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "--policy", shown, "http://127.0.0.1:1"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_where_nothing_is_close_all_commands_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frobnicate"]) == 2
    assert "commands: demo, get, inspect, policy, fleet, completion" in capsys.readouterr().err


def test_a_url_in_place_of_a_command_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["https://anna:c4n4ry@h/?token=c4n4ry"]) == 2
    err = capsys.readouterr().err
    assert "did you mean sleepwalker get URL?" in err
    assert "c4n4ry" not in err


@pytest.mark.parametrize(
    "argv",
    [
        ["Authorization: Bearer c4n4ry"],
        ["anna:c4n4ry"],
        ["get", "-zc4n4ry", "http://h"],
        ["get", "--tokn=c4n4ry", "http://h"],
        ["get", "http://h", "Bearer", "c4n4ry"],
        ["completion", "anna:c4n4ry"],
    ],
)
def test_what_may_be_a_secret_is_not_repeated(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "c4n4ry" not in "".join(capsys.readouterr())


def test_help_comes_before_complaints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "--polcy", "batch", "--help"]) == 0
    assert "usage: sleepwalker get" in capsys.readouterr().out


def test_what_looks_like_an_option_behind_two_dashes_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", "--", "--none.toml"]) == 2
    assert capsys.readouterr().err == "--none.toml: there is no such file\n"


def test_a_value_that_begins_with_a_minus_is_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "--timeout", "-1", "http://h"]) == 2
    assert "'-1' is not a number of seconds" in capsys.readouterr().err
