"""The service of docs/how-to/share-verdicts-in-a-fleet.md as the page shows it, under gunicorn, and its operator."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import refused_port
from servers.nginx_server import _free_ports

from sleepwalker.cli import main
from tests.docs_page import blocks
from tests.ranges import whole

pytestmark = [pytest.mark.once, pytest.mark.long, pytest.mark.left_to_ci]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "share-verdicts-in-a-fleet.md"
[SERVICE] = [block.text for block in blocks(PAGE) if block.directives.get("file") == "billing.py"]
WORKERS = 3


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def _status(store: str) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        main(["fleet", "status", "--json", "--store", store])
    return json.loads(out.getvalue()) if out.getvalue() else {"workers": [], "hosts": [], "isolated": []}


@pytest.mark.parametrize("more", [whole([]), ["--preload"]], ids=["made in each worker", "made before the fork"])
def test_the_workers_of_gunicorn_are_a_fleet_by_one_argument(more: list[str], tmp_path: Path) -> None:
    store = f"file://{tmp_path}/billing.fleet"
    [port] = _free_ports(1)
    url = f"http://127.0.0.1:{port}/"
    with refused_port() as dead, (tmp_path / "log").open("wb") as log:
        host = f"http://127.0.0.1:{dead}"
        (tmp_path / "billing.py").write_text(
            SERVICE.replace("https://orders.example.com", host).replace("file:///run/", f"file://{tmp_path}/")
        )
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-w",
            str(WORKERS),
            "--threads",
            "4",
            "-b",
            f"127.0.0.1:{port}",
            *more,
        ]
        process = subprocess.Popen(
            [*command, "billing:application"], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip

        def until(fact: Callable[[], object], within: float = 60.0) -> None:
            end = time.monotonic() + within
            while not fact():
                assert time.monotonic() < end, (_status(store), (tmp_path / "log").read_text()[-4000:])
                time.sleep(0.4)  # a look at the store takes as much CPU as a call

        def pids() -> set[int]:
            """Of the workers; a parent that has made the manager is one more, which asks nobody."""
            there = {int(worker["label"].rpartition(" ")[2]) for worker in _status(store)["workers"]}
            assert process.pid not in there or more
            return there - {process.pid}

        def is_broken_for_all() -> bool:
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                assert {status for status, _ in pool.map(_get, [url] * 12)} == {503}
            return any(one["broken_for_all"] for one in _status(store)["hosts"])

        try:
            until(lambda: len(pids()) == WORKERS)
            until(is_broken_for_all)
            [trouble] = _status(store)["hosts"]
            assert (trouble["host"], trouble["cause"]) == (host, "ConnectError")
            until(lambda: all("CircuitOpenError" in _get(url)[1] for _ in range(4 * WORKERS)))

            assert main(["fleet", "isolate", host, "--reason", "new disks", "--store", store]) == 0
            until(lambda: all("HostIsolatedError" in _get(url)[1] for _ in range(4 * WORKERS)), within=20)

            before = pids()
            os.kill(killed := min(before), signal.SIGKILL)
            until(lambda: killed not in pids() and len(pids()) == WORKERS)
            until(lambda: all("HostIsolatedError" in _get(url)[1] for _ in range(4 * WORKERS)), within=20)

            process.terminate()
            assert process.wait(60) == 0, (tmp_path / "log").read_text()
            until(lambda: pids() == set(), within=15)
            assert "Traceback" not in (tmp_path / "log").read_text()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
