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
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks import environment, server
from benchmarks.figures import percentile, ratio, spread
from benchmarks.rounds import LEAD_IN, Case, measure
from benchmarks.speed import cases, command, peers, processes, report, threads

pytestmark = pytest.mark.left_to_ci

ROOT = Path(__file__).parents[2]
ROUNDS, CALLS = 2, 3
PLAIN = set(peers.WORDS)
OVER_TLS = {peers.BARE, peers.CONTROL, peers.POOL, peers.HTTPX, peers.LOGGED, peers.SILENT}
TLS = "100 B" + cases.TLS
SECTIONS = ("100 B", TLS, cases.ENVIRONMENTS[35], cases.PARTS, cases.REJECTED, cases.FIND, command.THREADS)


def _start(scratch: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run with a scratch folder of its own, and with a proxy in the environment that would refuse everything."""
    scratch.mkdir()
    variables = {**os.environ, "http_proxy": "http://127.0.0.1:1", "TMPDIR": str(scratch)}
    line = [sys.executable, "-m", "benchmarks", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, cwd=ROOT, env=variables, stdout=pipe, stderr=pipe, text=True)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = _start(folder / "scratch", *arguments)
    stdout, stderr = process.communicate(timeout=240)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, program: Any) -> Path:
    """Where a short run wrote its files, beside its scratch folder."""
    program("nginx")
    program("openssl")
    folder = tmp_path_factory.mktemp("benchmark")
    output = folder / "results"
    sections = [word for name in SECTIONS for word in ("--only", name)]
    run = _run(folder, "--rounds", str(ROUNDS), "--calls", str(CALLS), "--output", str(output), *sections)
    assert run.returncode == 0, run.stderr
    assert run.stdout == (output / "speed.md").read_text() + "\n"
    assert {line.removeprefix("wrote ") for line in run.stderr.splitlines()} == {str(path) for path in output.iterdir()}
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """What the short run wrote for programs."""
    return command.read(folder / "results")


def test_every_peer_is_measured_in_every_round(result: dict[str, Any]) -> None:
    found = {(row["group"], row["name"]) for row in result["rows"]}
    assert {name for group, name in found if group == "100 B"} == PLAIN
    assert {name for group, name in found if group == TLS} == OVER_TLS
    assert {name for group, name in found if group == cases.REJECTED} == {peers.LOGGED, peers.SILENT}
    assert {group for group, _ in found} == {*SECTIONS} - {command.THREADS}
    for row in result["rows"]:
        assert len(row["samples"]["wall"]) == len(row["samples"]["cpu"]) == ROUNDS
        assert min(row["samples"]["wall"]) > 0
        assert row["function_calls"] > 1
        assert row["p99"] is None or row["p99"] >= row["wall"]["median"] / 2


def test_the_ratios_follow_from_the_rounds_that_are_written_down(result: dict[str, Any]) -> None:
    samples = {(row["group"], row["name"]): row["samples"] for row in result["rows"]}
    for row in result["rows"]:
        for time_of in ("wall", "cpu"):
            for reference, found in row[f"{time_of}_ratios"].items():
                name, known = reference, (row["group"], reference) in samples
                group = row["group"] if known else reference.rpartition(", ")[2]
                name = reference if known else reference.rpartition(", ")[0]
                its = samples[group, name][time_of]
                expected = statistics.median(a / b for a, b in zip(row["samples"][time_of], its, strict=True))
                assert found["median"] == pytest.approx(expected, abs=0.002)


def test_documents_are_compared_with_requests_urllib3_and_httpx(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        if row["group"] in cases.GROUPS:
            assert set(row["wall_ratios"]) == set(row["p99_ratios"]) == {peers.BARE, peers.POOL, peers.HTTPX}


def test_many_threads_are_measured_with_every_client(result: dict[str, Any]) -> None:
    measured = {(its["threads"], its["name"]): its for its in result["threads"]}
    assert set(measured) == {(count, name) for count in threads.COUNTS for name in threads.NAMES}
    for its in measured.values():
        assert len(its["per_second"]) == len(its["cpu"]) == ROUNDS
        assert min(*its["per_second"], *its["cpu"]) > 0
    mine, its = (measured[8, name]["per_second"] for name in (peers.LOGGED, peers.BARE))
    quotients = [a / b for a, b in zip(mine, its, strict=True)]
    assert report.times(result, 8) == statistics.median(quotients)


def test_no_row_is_billed_for_a_new_connection(result: dict[str, Any]) -> None:
    # One may be replaced that lay idle for too long, where the machine is busy.
    assert result["connections opened meanwhile"] <= 1


def test_the_result_says_how_when_where_and_with_what_it_was_made(result: dict[str, Any], folder: Path) -> None:
    assert result["command"].startswith(f"python -m benchmarks --rounds {ROUNDS} --calls {CALLS} --output ")
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["python"].startswith("CPython 3.")
    assert set(command.PACKAGES) <= set(result["versions"])
    page = (folder / "results" / "speed.md").read_text()
    for fact in (result["command"], result["date"], result["machine"]["cpu"], result["versions"]["httpx"]):
        assert fact in page


def test_the_page_shows_every_row(result: dict[str, Any]) -> None:
    table = report.group_table(result, "100 B")
    shown = [(name, float(wall)) for name, wall in re.findall(r"^\| ([^|]+) \| ([\d.]+) \|", table, re.MULTILINE)]
    rows = [row for row in result["rows"] if row["group"] == "100 B"]
    assert shown == [(row["name"], pytest.approx(row["wall"]["median"], abs=0.06)) for row in rows]


def test_page_and_plots_can_be_drawn_again_from_the_result(folder: Path) -> None:
    output = folder / "results"
    before = {path.name: path.read_text() for path in output.iterdir()}
    assert command.main(["--redraw", "--output", str(output)]) == 0
    assert {path.name: path.read_text() for path in output.iterdir()} == before
    plots = [text for name, text in before.items() if name.endswith(".svg")]
    assert len(plots) == 3
    for text in plots:
        assert ET.fromstring(text).tag.endswith("svg")


def test_an_aim_is_met_or_missed_by_what_was_measured(result: dict[str, Any]) -> None:
    table = report.aims(report.TARGETS, result)
    for target in report.TARGETS[:10]:
        figure = target.figure(result)
        assert f"| {target.words} | {'≥' if target.least else '≤'} {target.limit:g} | {figure:.3g} |" in table
    at_most, at_least = report.TARGETS[2], report.TARGETS[8]
    assert [at_most.met(figure) for figure in (0.5, 0.51)] == [True, False]
    assert [at_least.met(figure) for figure in (1.79, 1.8)] == [False, True]


@pytest.mark.skipif(not (command.RESULTS / "speed.json").exists(), reason="no run has been committed yet")
def test_what_is_committed_follows_from_the_committed_result() -> None:
    result = command.read(command.RESULTS)
    for name, text in command.drawn(result).items():
        assert (command.RESULTS / name).read_text() == text, f"{name}: run `python -m benchmarks --redraw`"
    for path in command.PAGES:
        assert report.fill(path.read_text(), result) == path.read_text(), f"{path}: run `python -m benchmarks --redraw`"


def test_a_block_of_a_page_is_written_anew_and_the_rest_is_kept(result: dict[str, Any]) -> None:
    text = "before\n<!-- speed: threads -->\nold\n<!-- /speed: threads -->\nafter\n"
    once = report.fill(text, result)
    assert once.startswith("before\n<!-- speed: threads -->\n\n| threads |")
    assert once.endswith(" |\n\n<!-- /speed: threads -->\nafter\n")
    assert report.fill(once, result) == once


def test_importing_is_timed_in_a_process_of_its_own_and_pythons_start_is_left_out() -> None:
    wall, cpu = processes._time("pass")
    assert wall > 0 < cpu
    with pytest.raises(RuntimeError, match="failed"):
        processes._time("import nothing_of_that_name")
    found = {"nothing": {"cpu": [10.0, 20.0]}, "a": {"cpu": [40.0, 80.0]}, "b": {"cpu": [20.0, 50.0]}}
    assert processes.ratio_of_imports(found, "a", "b") == pytest.approx(2.5)


@pytest.mark.needs("nginx", "openssl")
def test_memory_is_that_of_connections_which_were_used() -> None:
    with server.run_nginx({"100.json": server.document(100)}, tls=True) as running:
        accepted = running.connections()
        found = processes.memory(running.tls_url, running.ca, 3, times=1)
        assert set(found) == {"requests", "urllib3.PoolManager", "httpx", "sleepwalker"}
        # Four clients, a process each, eight connections in each; and the one that asks.
        assert running.connections() - accepted == 4 * 8 + 1


def test_a_run_leaves_nothing_behind(folder: Path) -> None:
    assert list((folder / "scratch").iterdir()) == []


@pytest.mark.needs("nginx", "openssl")
def test_a_look_at_some_rows_leaves_the_committed_results_alone(tmp_path: Path) -> None:
    run = _run(tmp_path, "--quick", "--rounds", "1", "--calls", "1", "--only", cases.FIND)
    assert run.returncode == 0, run.stderr
    assert "1 rounds of 1 timed calls" in run.stdout
    assert run.stderr == ""


@pytest.mark.needs("nginx", "openssl")
def test_a_profile_counts_the_calls_of_each_row_and_shows_where_the_time_goes(tmp_path: Path) -> None:
    run = _run(tmp_path, "--profile", "--calls", "2", "--only", "100 B")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(" function calls: ") == len(PLAIN)
    assert "due to restriction <40>" in run.stdout
    assert "/sleepwalker/engine/" in run.stdout


@pytest.mark.needs("nginx", "openssl")
def test_a_run_that_is_terminated_ends_its_server(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    process = _start(scratch, "--quick", "--rounds", "100000", "--only", "100 B")
    deadline = time.monotonic() + 120
    while not (pids := [path for path in scratch.glob("*/nginx.pid") if path.read_text().strip()]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int(pids[0].read_text())
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
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


def test_a_machine_without_nginx_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(server, "_FOLDERS", ())
    with pytest.raises(server.MissingProgramError, match="scripts/system-packages"), server.run_nginx({}):
        pass


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_of_rounds_that_cannot_be_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--rounds", number])
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


def test_a_case_that_takes_long_is_called_less_often() -> None:
    called: list[int] = []
    slow = Case("group", "slow", partial(called.append, 1), share=0.04)
    samples = measure([slow], rounds=2, calls=100)
    assert (len(called), len(samples[slow].each)) == (2 * (1 + 4), 8)


def test_the_percentile_is_one_of_the_figures() -> None:
    assert percentile([float(figure) for figure in range(200)], 99) == 198
    assert (percentile([7.0], 99), percentile([], 99)) == (7.0, None)


def test_a_peer_that_gets_something_else_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="100 B, requests: the answer is not"):
        cases.verify(Case("100 B", peers.BARE, lambda: {"wrong": 1}), {"right": 1}, tmp_path / "log", logs=False)


def test_a_row_that_should_have_logged_and_did_not_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="wrote 0 bytes of events"):
        cases.verify(Case("100 B", peers.LOGGED, lambda: 1), 1, tmp_path / "log", logs=True)
