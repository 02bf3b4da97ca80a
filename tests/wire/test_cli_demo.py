"""`sleepwalker demo`: numbers that add up, a log, and no process left behind however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sleepwalker.cli import demo, main
from sleepwalker.cli.demo import end
from sleepwalker.cli.demo.fleet import DIRECTORY, NAMES, Fleet
from sleepwalker.cli.parser import Parser

pytestmark = [pytest.mark.once, pytest.mark.left_to_ci]

_DEMO = [sys.executable, "-m", "sleepwalker", "demo", "--quick"]
_SIDES = ("sleepwalker", "requests")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one quick run came to, as JSON, with its log's lines and the seconds it took."""
    log = tmp_path_factory.mktemp("demo") / "events.jsonl"
    begin = time.monotonic()
    # A proxy of the environment must not come between the demo and its servers.
    env = {**os.environ, "http_proxy": "http://127.0.0.1:1"}
    command = [*_DEMO, "--json", "--log", str(log), "--html", str(log.with_suffix(".html"))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {**json.loads(run.stdout), "lines": lines, "took": time.monotonic() - begin, "path": str(log)}


def _host(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(host for host in result["hosts"] if host["name"] == name)


@pytest.fixture(scope="module")
def runs(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Two quick runs, each with the luck that it drew."""
    run = subprocess.run([*_DEMO, "--json"], stdout=subprocess.PIPE, text=True, timeout=240, check=True)
    other = json.loads(run.stdout)
    Path(other["log"]).unlink()
    return [result, other]


def test_it_ends_by_itself(result: dict[str, Any]) -> None:
    assert result["took"] < 120  # some ten seconds, and the charts on a machine that has much else to do


def test_every_call_is_counted_once_and_both_sides_make_the_same_number(result: dict[str, Any]) -> None:
    assert [host["name"] for host in result["hosts"]] == list(NAMES)
    for host in result["hosts"]:
        for side in _SIDES:
            numbers = host[side]
            assert numbers["answered"] + numbers["failed"] + numbers["rejected"] == numbers["calls"]
            assert sum(numbers["results"].values()) == numbers["calls"]
        assert host["sleepwalker"]["calls"] == host["requests"]["calls"] > 0


def test_plain_requests_is_neither_retried_nor_rejected(result: dict[str, Any]) -> None:
    assert sum(host["requests"]["rejected"] + host["requests"]["retries"] for host in result["hosts"]) == 0


def test_the_healthy_host_answers_everything(result: dict[str, Any]) -> None:
    healthy = _host(result, "healthy")
    assert [healthy[side]["answered"] for side in _SIDES] == [healthy["requests"]["calls"]] * 2


def test_retries_cure_most_of_a_flaky_host(result: dict[str, Any]) -> None:
    flaky = _host(result, "flaky")
    assert flaky["requests"]["failed"] > 0
    assert flaky["sleepwalker"]["failed"] < flaky["requests"]["failed"]
    assert flaky["sleepwalker"]["retries"] > 0


def test_each_run_has_a_luck_of_its_own(runs: list[dict[str, Any]]) -> None:
    assert len({run["seed"] for run in runs}) > 1


def test_with_whatever_luck_a_flaky_host_answers_no_less_than_without_protection(runs: list[dict[str, Any]]) -> None:
    """Once, one seed was chosen: with others the circuit opened over a host that answers seven of ten requests."""
    flaky = {run["seed"]: _host(run, "flaky") for run in runs}
    for seed, sides in flaky.items():
        assert sides["sleepwalker"]["answered"] >= sides["requests"]["answered"], f"--seed {seed}: {sides}"


def test_with_whatever_luck_patience_gets_all_answers(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        patient = _host(run, "reboots")["sleepwalker"]
        assert patient["answered"] == patient["calls"], f"--seed {run['seed']}: {patient}"


def test_the_luck_of_a_run_can_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sleepwalker", "demo"])
    parser = Parser()
    demo.add(parser.add_commands())
    _, command = end.again(4711, quick=True)
    again = parser.parse_args(command.split()[1:])
    assert (again.seed, again.quick) == (4711, True)
    assert parser.parse_args(["demo"]).seed is None


def test_the_breaker_of_the_dying_host_opens_and_calls_are_rejected(result: dict[str, Any]) -> None:
    moves = [move for move in result["transitions"] if move["host"] == "dies"]
    assert moves[0]["to"] == "open"
    assert result["course"]["down_at"] <= moves[0]["at"] <= result["course"]["down_at"] + result["course"]["down_for"]
    assert _host(result, "dies")["sleepwalker"]["rejected"] > 0
    assert _host(result, "dies")["requests"]["failed"] > 0


def test_patience_bridges_the_same_outage(result: dict[str, Any]) -> None:
    assert _host(result, "reboots")["requests"]["failed"] > 0
    assert _host(result, "reboots")["sleepwalker"]["failed"] == 0


def test_a_dripping_body_is_cut_and_asked_for_again(result: dict[str, Any]) -> None:
    drips = _host(result, "drips")
    assert drips["requests"]["longest"] >= result["course"]["drip"] - 0.5
    # From the log, for a machine that stands still for a second may make the cut call as long as the other one.
    assert [line for line in result["lines"] if "ran out after 2 s, reading the body" in line.get("detail", "")]
    assert drips["sleepwalker"]["retries"] > 0
    # The second attempt may drip as well, by chance, and the call fails then.
    assert drips["sleepwalker"]["answered"] >= drips["sleepwalker"]["calls"] - 2


def test_the_hook_finds_the_server_that_moved(result: dict[str, Any]) -> None:
    move = result["move"]
    assert move["from"] != move["to"]
    assert move["last_answer_before"] < move["first_answer_after"]
    assert move["last_answer_before"] < move["moved_at"] + 1.5  # the fleet's process may stand still for a second
    assert move["first_answer_after"] > move["moved_at"]
    steps = [
        (event["event"], event.get("reason") or event.get("target"))
        for event in move["events"]
        if event["at"] < move["first_answer_after"]
    ]
    assert steps[0] == ("connection.hooked", move["from"])
    assert [name for name, _ in steps] == [
        "connection.hooked", "host.broken", "connection.evicted", "connection.hooked"
    ]  # fmt: skip
    assert steps[-1] == ("connection.hooked", move["to"])
    assert move["hook_calls"] == [event["event"] for event in move["events"]].count("connection.hooked") < 6


def test_callers_of_a_manager_get_over_the_move_and_those_who_know_the_old_port_do_not(result: dict[str, Any]) -> None:
    moves = _host(result, "moves")
    assert moves["requests"]["failed"] >= moves["requests"]["calls"] * 0.2  # half, if the fleet is on time
    assert moves["sleepwalker"]["answered"] >= moves["sleepwalker"]["calls"] * 0.75


def test_the_log_says_what_the_table_says(result: dict[str, Any]) -> None:
    assert result["log"] == result["path"]
    # The hook's questions to the directory are logged as well.
    events = [
        line["event"]
        for line in result["lines"]
        for _ in range(line.get("count", 1))  # refused calls are told together
        if line.get("path") != "/addresses"
    ]
    calls = sum(
        host["sleepwalker"]["calls"] - host["sleepwalker"]["results"].get("not sent", 0) for host in result["hosts"]
    )
    rejected = sum(host["sleepwalker"]["rejected"] for host in result["hosts"])
    retries = sum(host["sleepwalker"]["retries"] for host in result["hosts"])
    assert events.count("request.finished") + events.count("request.failed") == calls
    assert events.count("request.rejected") == rejected
    # A wait that the breaker's opening ends is scheduled, but no retry.
    assert retries <= events.count("retry.scheduled") <= retries + events.count("retry.abandoned")
    assert sum(event.startswith("breaker.") for event in events) == len(result["transitions"])


def test_the_page_with_charts_calls_all_hosts_by_their_names(result: dict[str, Any]) -> None:
    page = Path(result["path"]).with_suffix(".html")
    assert stat.filemode(page.stat().st_mode) == "-rw-------"
    assert stat.S_IMODE(Path(result["path"]).stat().st_mode) & 0o027 == 0
    text = page.read_text(encoding="utf-8")
    heads = re.findall(r'<th scope="row"[^>]*class="name">([^<]*)<small>(.*?)</small>', text)
    assert {name for name, _ in heads} == {*NAMES, DIRECTORY}
    called = {line["host"] for line in result["lines"] if line["event"].startswith("request.")}
    assert len(called) == len(NAMES) + 2  # the one that moved twice, and the directory
    assert called <= {re.sub(r"<.*?>", "", small) for _, small in heads}


def test_there_are_sentences_about_gain_and_price(result: dict[str, Any]) -> None:
    assert result["conclusions"][0].startswith("Answered, all hosts but moves: ")
    assert result["conclusions"][-2].startswith("Move: moves went from port ")
    assert result["conclusions"][-1].startswith("Cost: ")


# -- however it ends -----------------------------------------------------------------------------


def _ports_of(fleet: Fleet) -> list[int]:
    return [port for ports in fleet.ports for port in ports.values()]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _group_is_gone(group: int, within: float = 30.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A demo that sends traffic, in a process group of its own."""
    log = tmp_path / "events.jsonl"
    process = subprocess.Popen(
        [*_DEMO, "--log", str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    end = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < end:
        time.sleep(0.05)
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever the test left, the fleet included
    process.communicate()


def test_ctrl_c_ends_it_cleanly_with_the_fleet(running: subprocess.Popen[bytes]) -> None:
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of the group
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err == b"sleepwalker: interrupted\n"
    assert _group_is_gone(running.pid)


def test_the_fleet_does_not_outlive_a_demo_that_is_killed(running: subprocess.Popen[bytes]) -> None:
    running.kill()
    running.wait(60)
    assert _group_is_gone(running.pid)


def test_commands_to_copy_are_as_this_one_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `make demo`, `sleepwalker` alone is found nowhere."""
    script = tmp_path / "bin of mine" / "sleepwalker"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "argv", ["bin of mine/sleepwalker", "demo"])
    assert end.again(7, quick=False)[1] == "  'bin of mine/sleepwalker' demo --seed 7"
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    assert end.command() == f"'{script}'"
    monkeypatch.setenv("PATH", f"/usr/bin:{script.parent}")
    assert end.command() == "sleepwalker"


def test_the_text_fits_its_width_and_commands_to_copy_are_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a wider terminal it has 80 columns: test_help_examples.py."""
    for name, value in (("COLUMNS", "60"), ("NO_PROXY", ""), ("no_proxy", "")):  # the demo sets the latter ones
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [str(Path(demo.__file__).parents[2] / "__main__.py")])
    assert main(["demo", "--quick"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    again, written, command = lines[-4], lines[-3], lines[-1]
    assert max(map(len, lines[:-4])) <= 60
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[next(n for n, line in enumerate(lines) if line.startswith("host    through")) - 1] == ""
    assert "\x1b" not in out
    assert "Cost: " in out
    started = f"  {shlex.quote(sys.executable)} -m sleepwalker"
    assert re.fullmatch(re.escape(started) + r" demo --quick --seed \d{1,4}", again)
    log = Path(written.rpartition(": ")[2])
    assert command == f"{started} inspect {log}"
    assert log.parent == Path(tempfile.gettempdir())
    progress = [line for line in lines if " s  sleepwalker " in line]
    assert progress
    # Once both are done the table follows at once.
    assert [line for line in progress if line.endswith("sleepwalker is done | requests is done")] == []
    log.unlink()


def test_all_of_the_log_is_about_hosts_by_their_names(result: dict[str, Any]) -> None:
    names = {*NAMES, DIRECTORY}
    origins: dict[str, str] = {}
    for line in result["lines"]:
        if line["event"] == "connection.hooked":
            origins[line["target"]] = line["host"]
    of_calls = [line for line in result["lines"] if "call" in line and "path" in line]
    assert {line["name"] for line in of_calls} == names
    # What a host's own state did is told by its origin; its calls say which name that has.
    origins |= {line["host"]: line["name"] for line in of_calls}
    assert {origins.get(line["host"], line["host"]) for line in result["lines"]} == names
    assert {line["host"]: line["name"] for line in of_calls if line["name"] == DIRECTORY}.keys() & origins.keys()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    target = tmp_path / "report.html"
    *_, last = end.closing_lines(tmp_path / "events.jsonl", target)
    assert last == "inspect needs the package duckdb: pip install 'sleepwalker[cli,inspect]'"
    assert not target.exists()


# -- the fleet by itself -------------------------------------------------------------------------


def test_sets_of_the_fleet_behave_alike_and_differ_by_seed() -> None:
    def statuses(port: int) -> list[int]:
        with requests.Session() as session:
            return [session.get(f"http://127.0.0.1:{port}/").status_code for _ in range(40)]

    with Fleet(sets=2, seed=1, down_at=99, down_for=1, move_at=99, drip=1) as fleet:
        one, other = (statuses(ports["flaky"]) for ports in fleet.ports)
    with Fleet(sets=1, seed=2, down_at=99, down_for=1, move_at=99, drip=1) as fleet:
        different = statuses(fleet.ports[0]["flaky"])
    assert one == other != different
    assert set(one) == {200, 503}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_ten_bodies_in_a_row_one_drips_whatever_the_luck(seed: int) -> None:
    with (
        Fleet(sets=1, seed=seed, down_at=99, down_for=1, move_at=99, drip=0.25) as fleet,
        requests.Session() as session,
    ):
        url = f"http://127.0.0.1:{fleet.ports[0]['drips']}/"
        dripped = [session.get(url).content == b"." for _ in range(30)]
    assert [dripped[begin : begin + 10].count(True) for begin in (0, 10, 20)] == [1, 1, 1]


def test_a_server_that_dies_cuts_its_connections_refuses_new_ones_and_comes_back_on_its_port() -> None:
    # Down for long enough to be seen, also where this process stands still for a second.
    with Fleet(sets=1, seed=1, down_at=0.3, down_for=3, move_at=99, drip=1) as fleet, requests.Session() as session:
        port = fleet.ports[0]["dies"]
        url = f"http://127.0.0.1:{port}/"
        assert session.get(url).status_code == 200
        fleet.go()
        begin = time.monotonic()
        while _listens(port) and time.monotonic() < begin + 30:
            time.sleep(0.02)
        with pytest.raises(requests.ConnectionError):
            session.get(url)
        assert _listens(fleet.ports[0]["healthy"])
        while not _listens(port) and time.monotonic() < begin + 30:
            time.sleep(0.02)
        assert session.get(url).status_code == 200


def test_a_server_that_moves_refuses_at_its_old_port_and_the_directory_tells_the_new_one() -> None:
    with Fleet(sets=1, seed=1, down_at=99, down_for=1, move_at=0.2, drip=1) as fleet:
        old, directory = fleet.ports[0]["moves"], fleet.ports[0][DIRECTORY]

        def addresses() -> dict[str, str]:
            told: dict[str, str] = requests.get(f"http://127.0.0.1:{directory}/", timeout=30).json()
            return told

        assert addresses() == {name: f"http://127.0.0.1:{fleet.ports[0][name]}" for name in NAMES}
        fleet.go()
        begin = time.monotonic()
        while _listens(old) and time.monotonic() < begin + 30:
            time.sleep(0.02)
        assert not _listens(old)
        while (new := addresses()["moves"]).endswith(f":{old}") and time.monotonic() < begin + 30:
            time.sleep(0.02)
        assert requests.get(new, timeout=30).status_code == 200


def test_a_closed_fleet_is_gone() -> None:
    with Fleet(sets=2, seed=1, down_at=99, down_for=1, move_at=99, drip=1) as fleet:
        assert all(map(_listens, _ports_of(fleet)))
    assert not any(map(_listens, _ports_of(fleet)))
