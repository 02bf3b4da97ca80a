"""`sleepwalker policy`, and what every command does with arguments that it cannot use."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from sleepwalker.cli import main
from sleepwalker.policy import Policy

ROOT = Path(__file__).parents[2]


def test_every_shipped_policy_is_listed_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(Policy.names())
    assert all(len(line.split()) > 3 for line in lines)


def test_the_list_as_json_has_the_same_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "list", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list(Policy.names())


@pytest.mark.parametrize("name", Policy.names())
def test_a_shipped_policy_is_shown_as_its_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", name]) == 0
    assert capsys.readouterr().out == (ROOT / "policies" / f"{name}.toml").read_text(encoding="utf-8")


def test_a_policy_file_is_shown_with_all_its_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[timeout]\nread = 5.5\n", encoding="utf-8")
    assert main(["policy", "show", str(file)]) == 0
    shown = Policy.from_dict(tomllib.loads(capsys.readouterr().out))
    assert shown == Policy(timeout={"read": 5.5})


def test_a_policy_shown_as_json_reads_back_as_the_same_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "--json", "batch"]) == 0
    assert Policy.from_dict(json.loads(capsys.readouterr().out)) == Policy.load("batch")


def test_an_unknown_policy_is_a_wrong_use_and_the_names_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "interactiv"]) == 2
    assert "did you mean interactive?" in capsys.readouterr().err


def test_a_file_named_without_its_suffix_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("orders.toml").touch()
    assert main(["policy", "show", "orders"]) == 2
    assert "did you mean 'orders.toml'?" in capsys.readouterr().err
    for impossible in ("a\0b", "a" * 5000):
        assert main(["policy", "show", impossible]) == 2
        assert "did you mean" not in capsys.readouterr().err


def test_sound_files_are_fine(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted((ROOT / "policies").glob("*.toml"))]
    assert main(["policy", "check", *files]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{file}: sound" for file in files]


def test_every_fault_of_every_file_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("[timeout]\nread = -1\nconect = 3\n", encoding="utf-8")
    two.write_text("[retry\n", encoding="utf-8")
    assert main(["policy", "check", str(one), str(two)]) == 1
    out = capsys.readouterr().out
    said = [line.partition(": ")[0] for line in out.splitlines()]
    assert said == [str(one), f"{one}:2:1", f"{one}:3:1", str(two), f"{two}:1:7"]
    assert f"{one}: 2 faults" in out
    assert "timeout.read" in out
    assert "timeout.conect" in out
    assert f"{two}: 1 fault\n" in out


def test_a_fault_of_a_default_has_the_line_of_what_it_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "short.toml"
    file.write_text("[timeout]\nattempt = 1\n", encoding="utf-8")
    assert main(["policy", "check", str(file)]) == 1
    assert f"{file}:2:1: timeout.connect: 3.05 is too much; must be at most timeout.attempt (1)" in (
        capsys.readouterr().out
    )


def test_what_is_too_large_for_a_policy_is_a_fault_without_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log.toml"
    file.write_text("a = 1\n" * 200_000, encoding="utf-8")
    assert main(["policy", "check", str(file)]) == 1
    assert f"{file}: cannot be read: it has more than 1,000,000 bytes" in capsys.readouterr().out


def test_lines_count_from_the_first_also_behind_a_byte_order_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "windows.toml"
    file.write_bytes(b"\xef\xbb\xbfnonsense = 1\r\n[retry]\r\nattempts = 0\r\n")
    assert main(["policy", "check", "--json", str(file)]) == 1
    [result] = json.loads(capsys.readouterr().out)
    assert [(fault["line"], fault["column"]) for fault in result["faults"]] == [(1, 1), (3, 1)]


def test_a_missing_file_is_a_wrong_use_and_the_others_are_still_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("nonsense = 1\n", encoding="utf-8")
    assert main(["policy", "check", str(tmp_path / "none.toml"), str(bad)]) == 2
    out, err = capsys.readouterr()
    assert "there is no such file" in err
    assert "nonsense" in out


def test_a_pipe_and_a_device_are_no_policies_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    assert main(["policy", "check", str(pipe), "/dev/zero", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{pipe}: cannot be read: it is a pipe, not a regular file",
        "/dev/zero: cannot be read: it is a device, not a regular file",
        f"{tmp_path}: cannot be read: Is a directory",
    ]
    assert main(["policy", "show", str(pipe)]) == 2
    assert "it is a pipe" in capsys.readouterr().err


def test_a_check_as_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("nonsense = 1\n", encoding="utf-8")
    assert main(["policy", "check", "--json", str(bad)]) == 1
    [result] = json.loads(capsys.readouterr().out)
    [fault] = result["faults"]
    assert (result["file"], result["sound"]) == (str(bad), False)
    assert (fault["line"], fault["column"], fault["fault"].partition(":")[0]) == (1, 1, "nonsense")


def test_the_schema_is_the_policys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(Policy.json_schema()))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "COMMAND"),
        (["gte"], "'gte'"),
        (["policy"], "COMMAND"),
        (["policy", "check"], "FILE"),
        (["get"], "URL"),
        (["get", "-n", "0", "http://h"], "'0' is not a whole number of 1 or more"),
        (["get", "-c", "many", "http://h"], "'many' is not a whole number"),
        (["get", "--timeout", "-1", "http://h"], "'-1' is not a number of seconds"),
        (["get", "--timeout", "nan", "http://h"], "'nan' is not a number of seconds"),
        (["get", "-d", "@/no/such/file", "http://h"], "cannot read '/no/such/file'"),
        (["get", "-H", "no colon", "http://h"], "'Name: value'"),
        (["get", "--cacert", "/no/such/file", "https://h"], "there is no file"),
        (["get", "--log", "/no/such/folder/x", "http://h"], "cannot write to"),
        (["get", "-o", "/", "http://h"], "cannot write to"),
        (["get", "-k", "--cacert", __file__, "https://h"], "not allowed with"),
        (["get", "--colour", "http://h"], "--colour"),
        (["get", "--key", __file__, "https://h"], "--key belongs to a certificate"),
        (["get", "-n", "2", "-o", "body", "http://h"], "--output"),
        (["get", "-X", "G T", "http://h"], "method must be a word"),
        (["get", "example.net"], "https://"),
        (["get", "ftp://example.net"], "scheme"),
        (["get", "http://"], "no host"),
        (["get", "http://h:99999/"], "port"),
        (["get", "--policy", "standart", "http://h"], "did you mean standard?"),
        (["get", "--policy", "none.toml", "http://h"], "none.toml"),
        (["get", "--auth", "anna:pw", "http://example.net"], "unencrypted"),
        (["demo", "--seed", "x"], "'x'"),
    ],
)  # fmt: skip
def test_a_wrong_use_ends_with_2_and_says_what_is_wrong(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "Traceback" not in err


_CANARY = "c4n4ry"


@pytest.mark.parametrize(
    "argv",
    [
        ["get", f"http://anna:{_CANARY}@example.net/"],
        ["get", f"http://anna:pass/{_CANARY}@example.net/"],
        ["get", f"example.net/?token={_CANARY}"],
        ["get", f"http://exa mple.net/?token={_CANARY}"],
        ["get", "-H", f"Authorization {_CANARY}", "http://h"],
        ["get", "-H", "Authorization:", "Bearer", _CANARY, "http://h"],  # the quotes are missing
        ["get", "-H", f"X-Key: {_CANARY}\r\nX-Other: {_CANARY}", "http://h"],
        ["get", "-H", f"X-Key: {_CANARY}\u20ac", "http://h"],
        ["get", "--auth", f"anna:{_CANARY}", "http://example.net"],
        ["get", "--auth", f"anna:{_CANARY}\n", "https://example.net"],
        ["get", f"--api-key={_CANARY}", "http://h"],
    ],
)
def test_a_secret_in_wrong_arguments_is_not_repeated(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert _CANARY not in out + err
    assert err != ""


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sleepwalker ")
