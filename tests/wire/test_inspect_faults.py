"""Five real faults at known times, seen by eight gunicorn workers: inspect finds each, its times, and nothing else."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sleepwalker.cli import main
from sleepwalker.inspect import Report
from tests.unit.inspect_logs import report_on

#: Half a minute of traffic.
pytestmark = [pytest.mark.long, pytest.mark.once, pytest.mark.left_to_ci]

ROOT = Path(__file__).parents[2]
WORKERS = 8
#: Seconds that a slow response takes, and that a worker's next call to a host may be away.
SLOW, SELDOM = 0.8, 1.0
#: Seconds by which a busy machine may be late.
LATE = 0.5


class Upstream:
    """A host whose faults can be switched while it is called."""

    def __init__(self) -> None:
        self.fault = "none"
        self._dice = random.Random(1)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                upstream._open.add(self.connection)

            def finish(self) -> None:
                upstream._open.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def handle(self) -> None:
                with suppress(OSError):  # it was cut off
                    super().handle()

            def do_GET(self) -> None:
                fault = upstream.fault
                if fault == "cut":
                    self.close_connection = True
                    return
                if fault == "slow":
                    time.sleep(SLOW)
                failing = fault == "total" or (fault == "partial" and upstream.unlucky())
                self.send_response(503 if failing else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def unlucky(self) -> bool:
        with self._lock:
            return self._dice.random() < 0.3

    def die(self) -> None:
        """Nothing listens any more, and every open connection is cut."""
        self._server.shutdown()
        self._server.server_close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def workers(folder: Path) -> Iterator[None]:
    """gunicorn with its workers, all of which have made calls."""
    # What is loaded before the forks, eight workers need not load.
    gunicorn = "import pybreaker, sleepwalker; from gunicorn.app.wsgiapp import run; run()"
    command = [sys.executable, "-c", gunicorn, "tests.wire.calling_workers:application", "--workers", str(WORKERS)]
    command += ["--bind", f"unix:{folder}/gunicorn.sock", "--graceful-timeout", "2", "--log-level", "warning"]
    environment = {**os.environ, "WORKERS_FOLDER": str(folder), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
        try:
            end = time.monotonic() + 60
            while len(_pids(folder)) < WORKERS:
                assert process.poll() is None, "gunicorn has ended"
                assert time.monotonic() < end, "the workers do not start"
                time.sleep(0.1)
            yield
            (folder / "stop").touch()
            time.sleep(SLOW + SELDOM + LATE)
        finally:
            process.terminate()


def _pids(folder: Path) -> set[int]:
    return {json.loads(line)["pid"] for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()}


@dataclass
class Fault:
    """What was done to which host, from when until when, in seconds since 1970."""

    name: str
    kind: str
    begin: float = 0.0
    end: float = 0.0


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, Fault], dict[str, str]]:
    """The logs, the faults by the name of their host, and the addresses."""
    folder = tmp_path_factory.mktemp("workers")
    names = ("stock", "prices", "orders", "payments", "search", "mail")
    upstreams = {name: Upstream() for name in (*names, "payments-2")}
    addresses = {name: one.url for name, one in upstreams.items()}
    faults = {
        "stock": Fault("stock", "slow"),
        "prices": Fault("prices", "partial"),
        "orders": Fault("orders", "total"),
        "payments": Fault("payments", "total"),
        "network": Fault("network", "total"),
    }
    (folder / "directory.json").write_text(json.dumps({name: addresses[name] for name in names}))

    def move() -> None:
        moved = {**{name: addresses[name] for name in names}, "payments": addresses["payments-2"]}
        (folder / "directory.new").write_text(json.dumps(moved))
        (folder / "directory.new").rename(folder / "directory.json")

    def cut(fault: str) -> None:
        for name, one in upstreams.items():
            if name != "payments":
                one.fault = fault

    with ExitStack() as stack:
        stack.enter_context(workers(folder))
        zero = time.monotonic()

        def at(seconds: float) -> float:
            """Wait for that moment of the story; what the clock shows then."""
            time.sleep(max(0.0, zero + seconds - time.monotonic()))
            return time.time()

        faults["stock"].begin = at(4)
        upstreams["stock"].fault = "slow"
        faults["prices"].begin = at(8)
        upstreams["prices"].fault = "partial"
        faults["stock"].end = at(9.5)
        upstreams["stock"].fault = "none"
        faults["orders"].begin = at(11.5)
        upstreams["orders"].fault = "total"
        faults["prices"].end = at(14)
        upstreams["prices"].fault = "none"
        faults["payments"].begin = at(15)
        upstreams["payments"].die()
        faults["orders"].end = at(16.5)
        upstreams["orders"].fault = "none"
        faults["payments"].end = at(18.5)
        move()
        faults["network"].begin = at(22.5)
        cut("cut")
        faults["network"].end = at(25.5)
        cut("none")
        at(30)
    return sorted(folder.glob("*.jsonl")), faults, addresses


@pytest.fixture(scope="module")
def report(story: tuple[list[Path], dict[str, Fault], dict[str, str]]) -> Report:
    return report_on(*story[0])


def _near(found: float | None, truth: float, interval: float) -> bool:
    return found is not None and abs(found - truth) <= interval + LATE


Story = tuple[list[Path], dict[str, Fault], dict[str, str]]


def test_every_fault_is_found_with_its_begin_and_its_end_and_nothing_else(story: Story, report: Report) -> None:
    _, faults, addresses = story
    told = {finding.which: finding for finding in report.findings}
    assert report.interval == 1
    assert len(told) == 5, list(told)
    assert report.processes == WORKERS
    for name in ("stock", "prices", "orders", "payments"):
        truth, finding = faults[name], told[f"{name} ({addresses[name]})"]
        [episode] = [report.episodes[at] for at in finding.episodes]
        assert (episode.kind, finding.tone) == (truth.kind, "over")
        assert _near(episode.begin, truth.begin, report.interval), (name, episode.begin - truth.begin)
        assert _near(episode.end, truth.end, report.interval), (name, (episode.end or 0) - truth.end)
    [moved] = [one for one in report.episodes if one.moved_to]
    assert (moved.host, moved.moved_to) == (addresses["payments"], addresses["payments-2"])
    assert _near(moved.moved_at, faults["payments"].end, report.interval)


def test_the_network_that_fell_is_told_as_one(story: Story, report: Report) -> None:
    _, faults, addresses = story
    [together] = report.together
    assert set(together.hosts) == set(addresses.values()) - {addresses["payments"]}
    assert together.of_hosts in (6, 7), "the address that was left is one of those called at about that time"
    assert _near(together.begin, faults["network"].begin, report.interval)
    assert _near(together.end, faults["network"].end, report.interval)
    [finding] = [one for one in report.findings if set(one.hosts) == set(together.hosts)]
    assert "is it us?" in finding.which
    assert "our own network, DNS, proxy" in finding.next


def test_the_same_comes_from_the_json(story: Story, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    files, _, _ = story
    assert main(["inspect", *map(str, files), "--json", "--check"]) == 3, "trouble, although all of it is over"
    out, err = capsys.readouterr()
    assert err == ""
    said = json.loads(out)

    def times(texts: list[str | None]) -> list[float | None]:
        return [None if text is None else datetime.fromisoformat(text).timestamp() for text in texts]

    assert [finding["which"] for finding in said["findings"]] == [finding.which for finding in report.findings]
    assert [one["kind"] for one in said["episodes"]] == [one.kind for one in report.episodes]
    for name, found in (
        ("from", [one.begin for one in report.episodes]),
        ("until", [one.end for one in report.episodes]),
    ):
        assert times([one[name] for one in said["episodes"]]) == [pytest.approx(at, abs=0.002) for at in found]
    assert len(said["together"]) == 1
