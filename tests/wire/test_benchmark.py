"""The benchmark runs, measures what it says, and writes down figures that follow from what it measured."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks import environment, get_json, server
from benchmarks.figures import ratio, spread
from benchmarks.rounds import LEAD_IN, Case, measure

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
ROUNDS = 3
PEERS = {get_json.BARE, get_json.CONTROL, get_json.POOL, get_json.HTTPX, get_json.LOGGED, get_json.SILENT}


def _start(scratch: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run with a scratch folder of its own, and with a proxy in the environment that would refuse everything."""
    scratch.mkdir()
    variables = {**os.environ, "http_proxy": "http://127.0.0.1:1", "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=pipe, stderr=pipe, text=True)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = _start(folder / "scratch", *arguments)
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, program: Any) -> Path:
    """Where a short run wrote its files, beside its scratch folder."""
    program("nginx")
    folder = tmp_path_factory.mktemp("benchmark")
    output = folder / "results"
    run = _run(folder, "--quick", "--rounds", str(ROUNDS), "--calls", "5", "--output", str(output))
    assert run.returncode == 0, run.stderr
    assert run.stdout == (output / "get_json.md").read_text() + "\n"
    assert run.stderr.splitlines() == [f"wrote {output / name}" for name in ("get_json.md", "get_json.json")]
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """What the short run wrote for programs."""
    return dict(json.loads((folder / "results" / "get_json.json").read_text()))


def test_every_peer_is_measured_in_every_round(result: dict[str, Any]) -> None:
    expected = {(size, name) for size in get_json.SIZES for name in PEERS}
    expected |= {(get_json.REJECTED, name) for name in (get_json.LOGGED, get_json.SILENT)}
    assert {(row["group"], row["name"]) for row in result["rows"]} == expected
    for row in result["rows"]:
        assert len(row["samples"]["wall"]) == len(row["samples"]["cpu"]) == ROUNDS
        assert min(row["samples"]["wall"]) > 0
        assert row["function_calls"] > 1


def test_the_ratios_follow_from_the_rounds_that_are_written_down(result: dict[str, Any]) -> None:
    samples = {(row["group"], row["name"]): row["samples"] for row in result["rows"]}
    for row in result["rows"]:
        for time_of in ("wall", "cpu"):
            for reference, found in row[f"{time_of}_ratios"].items():
                name, _, group = reference.partition(", ")
                its = samples[group or row["group"], name][time_of]
                expected = statistics.median(a / b for a, b in zip(row["samples"][time_of], its, strict=True))
                assert found["median"] == pytest.approx(expected, abs=0.002)


def test_all_rows_are_compared_with_requests_and_with_urllib3(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        suffix = ", 100 B" if row["group"] == get_json.REJECTED else ""
        assert set(row["wall_ratios"]) == set(row["cpu_ratios"]) == {"requests" + suffix, "PoolManager" + suffix}


def test_nobody_is_billed_for_a_new_connection(result: dict[str, Any]) -> None:
    assert result["connections opened meanwhile"] == 0


def test_the_result_says_how_when_where_and_with_what_it_was_made(result: dict[str, Any], folder: Path) -> None:
    assert result["command"].startswith("python -m benchmarks --quick --rounds 3 --calls 5 --output ")
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["python"].startswith("CPython 3.")
    assert set(get_json.PACKAGES) <= set(result["versions"])
    page = (folder / "results" / "get_json.md").read_text()
    for fact in (result["command"], result["date"], result["machine"]["cpu"], result["versions"]["httpx"]):
        assert fact in page
    shown = [(name, float(wall)) for name, wall in re.findall(r"^\| ([^|]+) \| ([\d.]+) \|", page, re.MULTILINE)]
    assert shown == [(row["name"], pytest.approx(row["wall"]["median"], abs=0.06)) for row in result["rows"]]


def test_a_run_leaves_nothing_behind(folder: Path) -> None:
    assert list((folder / "scratch").iterdir()) == []


@pytest.mark.needs("nginx")
def test_a_quick_run_leaves_the_committed_results_alone(tmp_path: Path) -> None:
    run = _run(tmp_path, "--quick", "--rounds", "1", "--calls", "1")
    assert run.returncode == 0, run.stderr
    assert "1 rounds of 1 timed calls" in run.stdout
    assert run.stderr == ""


@pytest.mark.needs("nginx")
def test_a_profile_counts_the_calls_of_each_row_and_shows_where_the_time_goes(tmp_path: Path) -> None:
    run = _run(tmp_path, "--profile", "--calls", "5")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(" function calls: ") == len(PEERS) * len(get_json.SIZES) + 2
    assert "due to restriction <40>" in run.stdout
    assert "(json_request)" in run.stdout or "(_call)" in run.stdout


@pytest.mark.needs("nginx")
def test_a_run_that_is_terminated_ends_its_server(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    process = _start(scratch, "--quick", "--rounds", "100000")
    deadline = time.monotonic() + 30
    while not (pids := [path for path in scratch.glob("*/nginx.pid") if path.read_text().strip()]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int(pids[0].read_text())
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (143, "")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(scratch.iterdir()) == []


def test_neither_proxies_nor_a_netrc_file_nor_a_full_environment_slow_the_peers_that_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests reads them at every call: its figure would depend on whose machine this is."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    here = {"NETRC": str(netrc), "http_proxy": "http://127.0.0.1:1", "PATH": "/bin", "OTHER": "x"}
    monkeypatch.setattr(os, "environ", here)
    assert requests.utils.get_netrc_auth("http://127.0.0.1") == ("user", "secret")
    environment.leave_out_the_environment(tmp_path)
    assert requests.utils.get_netrc_auth("http://127.0.0.1") is None
    assert here == {"PATH": "/bin", "HOME": str(tmp_path)}


def test_many_variables_are_there_for_a_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"PATH": "/bin"}
    monkeypatch.setattr(os, "environ", here)
    with environment.many_variables():
        assert len(here) == environment.MANY + 1
    assert here == {"PATH": "/bin"}


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="looks at the proxies' names only")
def test_the_variables_are_seen_by_requests_and_by_nobody_else(result: dict[str, Any]) -> None:
    calls = {(row["group"], row["name"]): row["function_calls"] for row in result["rows"]}
    more = {name: calls[get_json.CROWDED, name] - calls["100 B", name] for name in PEERS}
    assert min(more.pop(get_json.BARE), more.pop(get_json.CONTROL)) > environment.MANY
    assert max(more.values()) < environment.MANY


def test_a_machine_without_nginx_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(server, "_FOLDERS", ())
    with pytest.raises(server.MissingProgramError, match="scripts/system-packages"), server.run_nginx({}):
        pass


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_of_rounds_that_cannot_be_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        get_json.main(["--rounds", number])
    assert f"--rounds: '{number}' is not a whole number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize("size", [80, 100, 10_000])
def test_a_document_has_exactly_its_size(size: int) -> None:
    assert len(json.dumps(server.document(size))) == size


def test_a_machine_that_is_busy_for_some_rounds_moves_no_ratio() -> None:
    """The quotient of the two medians would be 0.005 in the second case."""
    assert ratio([10, 1000, 10], [20, 2000, 20]) == spread([0.5])
    assert ratio([10, 10, 1000], [20, 2000, 2000]).median == 0.5


def test_the_spread_is_the_quartiles() -> None:
    found = spread([1, 2, 3, 4, 100])
    assert (found.low, found.median, found.high) == (2, 3, 4)


def test_the_rows_take_turns_in_being_first() -> None:
    order: list[str] = []
    cases = [Case("group", name, partial(order.append, name)) for name in "abc"]
    samples = measure(cases, rounds=3, calls=1)
    assert order[:: LEAD_IN + 1] == list("abcbcacab")
    assert [len(samples[case].wall) for case in cases] == [3, 3, 3]


def test_a_peer_that_gets_something_else_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="100 B, requests: the answer is not"):
        get_json._verify(Case("100 B", get_json.BARE, lambda: {"wrong": 1}), {"right": 1}, tmp_path / "log")


def test_a_row_that_should_have_logged_and_did_not_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="wrote 0 bytes of events"):
        get_json._verify(Case("100 B", get_json.LOGGED, lambda: 1), 1, tmp_path / "log")
