"""The benchmark of asyncio measures what it says, its page follows from that, and its storm finds faults."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.aio import chaos, command, contenders, crowd, gaps, report
from benchmarks.children import started
from benchmarks.machine import RESULTS, ROOT

pytestmark = [pytest.mark.left_to_ci, pytest.mark.long]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, program: Any) -> Path:
    """Where a short run wrote its files."""
    program("nginx")
    program("openssl")
    output = tmp_path_factory.mktemp("aio")
    line = [sys.executable, "tests/wire/forking.py", "benchmarks.aio", "--quick", "--output", str(output)]
    run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout == (output / "aio.md").read_text() + "\n"
    return output


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """What the short run wrote for programs."""
    return command.read(folder)


def test_every_contender_is_measured_in_every_round_alone_and_with_many_at_once(result: dict[str, Any]) -> None:
    found = result["sections"]["cost"]["found"]
    assert {(its["row"], its["at_once"]) for its in found["samples"]} == {
        (row, at_once) for row in contenders.WORDS for at_once in (1, 64)
    }
    for its in found["samples"]:
        assert len(its["cpu"]) == len(its["wall"]) == len(its["p99"]) == found["rounds"] == 2
        assert min(its["cpu"]) > 0
    assert set(found["function_calls"]) == set(contenders.WORDS)
    assert min(found["function_calls"].values()) > 100


def test_a_ratio_is_the_median_of_the_quotients_within_the_rounds(result: dict[str, Any]) -> None:
    mine, its = (report.samples(result, row, 64)["cpu"] for row in (contenders.OURS, contenders.AIOHTTP))
    expected = statistics.median(a / b for a, b in zip(mine, its, strict=True))
    assert report.of(result, contenders.OURS, contenders.AIOHTTP, 64).median == expected
    assert f"| {expected:.3g} |" in report.aims(report.TARGETS, result)


def test_a_crowd_is_measured_beside_bare_aiohttp(result: dict[str, Any]) -> None:
    found = result["sections"]["crowd"]["found"]
    assert set(found["rows"]) == set(crowd.WORDS)
    for its in found["rows"].values():
        assert len(its["memory"]) == len(its["paced"]) == len(its["full"]) == 1
        assert its["full"][0]["p99"] >= its["full"][0]["p50"] > 0


def test_the_loop_is_watched_in_every_situation_with_each_client(result: dict[str, Any]) -> None:
    found = result["sections"]["gaps"]["found"]
    assert set(found["situations"]) == set(gaps.WORDS)
    for situation, clients in found["situations"].items():
        assert set(clients) == {gaps.AIOHTTP, gaps.OURS}
        for client, (run,) in clients.items():
            assert run["ticks"] > 0
            assert bool(run["answered"]) == ((situation, client) != (gaps.REFUSED, gaps.OURS)), (situation, client)
    for client in (gaps.AIOHTTP, gaps.OURS):
        (run,) = found["situations"][gaps.LOOKUP][client]
        assert gaps.WAITS * 0.99 <= run["waited"] < gaps.HANGS


def test_the_page_can_be_drawn_again_from_the_result(folder: Path, result: dict[str, Any]) -> None:
    before = (folder / "aio.md").read_text()
    (folder / "aio.md").write_text("old")
    assert command.main(["--redraw", "--output", str(folder)]) == 0
    assert (folder / "aio.md").read_text() == before
    for section in result["sections"].values():
        assert section["command"] in before
        assert section["versions"]["aiohttp"] in before


def test_where_nothing_was_measured_there_is_nothing_to_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--redraw", "--output", str(tmp_path)]) == 1
    assert f"there is no {tmp_path / 'aio.json'}" in capsys.readouterr().err


def test_the_page_is_that_of_the_committed_result() -> None:
    for name, text in command.drawn(command.read(RESULTS)).items():
        assert (RESULTS / name).read_text(encoding="utf-8") == text, f"{command.COMMAND} --redraw"


def test_an_aim_is_met_up_to_its_limit() -> None:
    target = report.Target("CPU", 1.6, lambda _: 0.0)
    assert [target.met(figure) for figure in (1.6, 1.61)] == [True, False]


def test_the_watch_sees_what_blocks_the_loop_and_tells_waiting_from_work() -> None:
    watch = gaps.Watch()
    before = asyncio.Handle._run

    def work() -> None:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    async def blocked() -> None:
        watch.start()
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_soon(time.sleep, 0.05)
        asyncio.get_running_loop().call_soon(work)
        await asyncio.sleep(0.01)
        await watch.stop()

    asyncio.run(blocked())
    seen = watch.to_dict()
    assert seen["gap"] >= 65
    assert seen["slowest"] >= 50
    assert 20 <= seen["busiest"] < 50
    assert seen["name"].endswith("work")
    assert asyncio.Handle._run is before


def test_the_host_of_the_storm_counts_what_is_done_twice_and_bodies_that_were_mixed() -> None:
    with started("benchmarks.aio.flaky") as host:
        port = host.ask(1)
        for nonce, body in (("n1", b"n1n1n"), ("n2", b"n2n2"), ("n1", b"n1n1"), ("n3", b"n1n1")):
            _post(port, nonce, body)
        seen = host.ask("look")
    assert (seen["requests"], seen["posted"], seen["twice"], seen["mixed"]) == (4, 4, ["n1"], ["n3"])


def _post(port: int, nonce: str, body: bytes) -> None:
    """Send it until it was answered over a connection that was not reset at once."""
    head = f"POST /plain/{nonce} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    while True:
        with socket.create_connection(("127.0.0.1", port), 10) as link:
            try:
                link.sendall(head + body)
                if link.recv(1 << 16):
                    return
            except ConnectionError:
                continue


def test_the_storm_finds_an_answer_that_is_anothers_or_half_a_one() -> None:
    storm = chaos.Storm({}, 1, random.Random(1))
    for content in (b'{"nonce": "n1", "pad": ""}', b'{"nonce": "n2"}', b'{"nonce": "n'):
        storm.look("n1", content)
    assert dict(storm.faults) == {"a wrong answer": 1, "half an answer": 1}


def test_a_call_is_late_only_by_what_its_process_did_not_wait_for_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    storm = chaos.Storm({}, 1, random.Random(1))
    now = time.monotonic()
    storm.ended("late", now + 1, storm.lateness, "n1")
    storm.ended("late", now - 0.05, storm.lateness, "n2")
    assert (len(storm.lateness), storm.faults.total()) == (1, 0)
    storm.ended("late", now - 0.2, storm.lateness, "n3")
    assert dict(storm.faults) == {"late": 1}
    storm.lag.moments[:], storm.lag.waited[:] = [now - 10, now - 1, now], [1.0, 2.0, 2.01]
    monkeypatch.setattr(chaos, "_waited_for_a_core", lambda: 2.15)
    storm.ended("late", now - 0.2, storm.lateness, "n4")
    assert (storm.faults.total(), storm.excused) == (1, 1)


def test_what_is_committed_by_the_storm_is_told_by_kind(result: dict[str, Any]) -> None:
    found = result["sections"]["chaos"]["found"]
    assert found["faults"] == []
    assert found["seen"]["calls"] == sum(found["seen"]["outcomes"].values()) > 50
    assert json.dumps(found["reached"]["happened"])
