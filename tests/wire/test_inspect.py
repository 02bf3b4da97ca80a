"""`sleepwalker inspect` on logs of real traffic: counted right, free of secrets, and followed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from servers import FaultServer, drip_body, hang_up, refused_port, reply, reset

import sleepwalker.logging
from sleepwalker import ANONYMOUS, Connection, Policy
from sleepwalker.cli import main
from sleepwalker.inspect import Filter, Report
from tests.ranges import whole
from tests.unit.inspect_logs import answered, failed, line, report_on, write
from tests.wire.test_canary import CANARY, FAULTS, SHAPES, Everything, call, connect, out, watch

__all__ = ["out", "watch"]  # fixtures

FAST = Policy(
    timeout={"connect": 5, "read": 5, "attempt": 5, "total": 20},
    retry={"attempts": 3, "wait_initial": 0.001, "wait_max": 0.002, "budget": False},
    # Longer than the machine stands still: all of the calls that are to be rejected must come within this time.
    breaker={"consecutive": 6, "consecutive_for": 0, "open_for": 1.5, "open_max": 1.5, "close_after": 1, "ramp": 0},
)


def _send(conn: Connection, times: int) -> int:
    """How many of so many calls failed."""
    lost = 0
    for _ in range(times):
        try:
            conn.get("/things")
        except sleepwalker.SleepwalkerException:
            lost += 1
    return lost


def _traffic(server: FaultServer) -> dict[str, Any]:
    """Known traffic through one connection, and what it came to."""
    with Connection(server.url, ANONYMOUS, policy=FAST) as conn:
        assert _send(conn, 20) == 0
        server.script(reply(503), reply(200), hang_up(), reset(), reply(200))  # saved by the 2nd, then by the 3rd
        assert _send(conn, 2) == 0
        server.script(*[reply(503)] * 6)
        began = time.monotonic()
        assert _send(conn, 7) == 7  # two calls of three attempts, which open the circuit, and five rejected
        time.sleep(1.7)
        server.script(drip_body(b"ok", interval=0.01))  # events have milliseconds: the probe is not over within one
        assert _send(conn, 10) == 0
        took = time.monotonic() - began
    counts = {"calls": 39, "answered": 32, "failed": 7, "rejected": 5, "retries": 7, "opened": 1}
    return {"host": server.url, **counts, "took": took}


def _report(log: Path, truth: dict[str, Any]) -> Report:
    """On this traffic alone: refused calls of an earlier test may be told only now, since they are told together."""
    return report_on(log, chosen=Filter(hosts=(truth["host"],)))


def _check(report: Report, truth: dict[str, Any]) -> None:
    [facts] = report.hosts
    took = truth.pop("took")
    assert {name: getattr(facts, name) for name in truth} == truth
    assert report.retries.saved_by == {2: 1, 3: 1}
    assert report.retries.in_vain == 2
    assert {problem.error: problem.attempts for problem in report.problems} == {"503": 7, "ReadError": 2}
    assert [span.state for span in facts.circuit_spans] == ["closed", "open", "half-open", "closed"]
    assert [span.state for span in facts.host_spans] == ["fine", "broken", "fine"]
    [outage] = facts.outages
    assert outage.until is not None
    assert 1.3 <= outage.until - outage.since < took + 0.1
    [finding] = report.findings
    assert finding.done.startswith("circuit opened once; 5 calls refused unsent; ")
    # The probe's own call ends with the recovery, and in our own lines within the same millisecond.
    assert re.match("yes: (9|10) calls answered since ", finding.over)


def test_a_log_of_json_lines_is_counted_right(server: FaultServer, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    sleepwalker.logging.configure(log)
    try:
        truth = _traffic(server)
    finally:
        sleepwalker.logging.reset()
    _check(_report(log, truth), truth)


@pytest.mark.parametrize("stamp", ["iso", None], ids=["ISO 8601", "seconds since 1970"])
def test_a_log_that_structlog_rendered_is_counted_right(server: FaultServer, tmp_path: Path, stamp: str | None) -> None:
    log = tmp_path / "app.log"
    with log.open("w", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt=stamp, utc=True),
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        try:
            structlog.get_logger().info("the application's own line")
            truth = _traffic(server)
        finally:
            structlog.reset_defaults()
    report = _report(log, truth)
    _check(report, truth)
    assert [(file.other, file.malformed) for file in report.files] == [(1, 0)]


# -- secrets ---------------------------------------------------------------------------------------


def test_no_secret_comes_out_of_an_inspection(
    server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: Everything
) -> None:
    """A log holds none, and what is made of a log is only what it holds."""
    log = tmp_path / "events.jsonl"
    sleepwalker.logging.configure(log, level="debug")
    try:
        for name in ("503", "404", "401", "hang-up", "truncated", "redirect-with-secret", "echo", "cookie"):
            server.default = FAULTS[name]
            with connect(out, server.url) as conn:
                call(out, conn)
        with refused_port() as port, connect(out, f"http://127.0.0.1:{port}") as conn:
            call(out, conn)
    finally:
        sleepwalker.logging.reset()
    sent = repr([(request.target, request.headers, request.body) for request in server.requests])
    assert CANARY in sent, "the secrets did go on the wire"
    target = tmp_path / "report.html"
    for arguments in (["--html", str(target)], ["--json"], ["--sql", "FROM events", "--json"], ["--sql", "FROM calls"]):
        assert main(["inspect", str(log), *arguments]) == 0
    texts = {
        "log": log.read_text(),
        "output": "".join(capsys.readouterr()),
        "page": target.read_text(encoding="utf-8"),
    }
    assert {where for where, text in texts.items() for shape in SHAPES if shape in text} == set()
    assert all("/path" in text for text in texts.values()), "each had something to say"


# -- a log that grows ------------------------------------------------------------------------------


class Following:
    """`inspect --follow --json` on a file: a report per line."""

    def __init__(self, log: Path) -> None:
        self.log = log
        command = [sys.executable, "-m", "sleepwalker", "inspect", str(log), "--follow", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.reports: list[dict[str, Any]] = []
        self._came = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            with self._came:
                self.reports.append(json.loads(text))
                self._came.notify_all()

    def wait_for(self, calls: int) -> dict[str, Any]:
        with self._came:
            found = self._came.wait_for(lambda: self._calls() >= calls, 60)
        assert found, f"{self._calls()} calls, not {calls}: {self.process.poll()}"
        return self.reports[-1]

    def _calls(self) -> int:
        return int(self.reports[-1]["summary"]["calls"]) if self.reports else 0

    def append(self, *lines: str, end: str = "\n") -> None:
        with self.log.open("a") as file:
            file.write("\n".join(lines) + end)


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Following]:
    log = write(tmp_path / "events.jsonl", [answered(0)])
    running = Following(log)
    yield running
    running.process.kill()
    running.reader.join()
    with running.process:  # closes its pipes
        pass


def test_a_growing_log_is_followed_across_a_rotation_until_ctrl_c(following: Following) -> None:
    assert following.wait_for(1)["findings"][0]["tone"] == "good"
    following.append(*(failed(at) for at in range(1, 5)), line(5, "host.broken", reason="connect", failures=3))
    following.append(answered(6)[:50], end="")
    report = following.wait_for(5)
    assert report["findings"][0]["tone"] == "bad"
    assert report["malformed"] == [], "an unfinished line waits for its end"
    following.append(answered(6)[50:])
    following.log.rename(following.log.with_suffix(".1"))
    following.append(line(7, "host.recovered", broken_for=2.0), *(answered(at) for at in range(8, 28)), "no json")
    report = following.wait_for(26)
    assert report["summary"]["answered"] == 22
    assert report["findings"][0]["tone"] == "over"
    assert [(bad["line"], bad["excerpt"]) for bad in report["malformed"]] == [(22, "no json")]
    following.process.send_signal(signal.SIGINT)
    assert following.process.wait(60) == 0
    assert following.process.stderr is not None
    assert following.process.stderr.read() == ""


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It takes a second to read."""
    return write(tmp_path_factory.mktemp("long") / "events.jsonl", [answered(0)] * 400_000)


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGINT, 130, "sleepwalker: interrupted\n"), whole(signal.SIGTERM, 143, ""), whole(signal.SIGHUP, 129, "")],
)
def test_nothing_is_left_of_an_inspection_that_was_ended(
    tmp_path: Path, long_log: Path, number: signal.Signals, code: int, says: str
) -> None:
    folder = tmp_path
    command = [sys.executable, "-m", "sleepwalker", "inspect", str(long_log)]
    process = subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not list(folder.rglob("*.duckdb")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == says
    assert list(folder.iterdir()) == []


def test_a_follower_that_was_told_to_hang_up_leaves_nothing_unless_nohup_says_so(tmp_path: Path) -> None:
    log = write(tmp_path / "events.jsonl", [answered(0)])
    folder = tmp_path / "tmp"
    folder.mkdir()
    command = [sys.executable, "-m", "sleepwalker", "inspect", str(log), "--follow", "--json"]
    with subprocess.Popen(
        ["nohup", *command], env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"{")
        process.send_signal(signal.SIGHUP)
        with log.open("a") as file:
            file.write(answered(1) + "\n")
        assert b'"calls": 2' in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert list(folder.iterdir()) == []
