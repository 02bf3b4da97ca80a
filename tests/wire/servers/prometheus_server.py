"""A real Prometheus on loopback that scrapes one target several times a second."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .nginx_server import _free_ports

_CONFIG = """\
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 250ms}}
rule_files: [{rules}]
scrape_configs: [{{job_name: shop, static_configs: [{{targets: ["{target}"]}}]}}]
"""


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str, at: float | None = None) -> dict[tuple[str, ...], float]:
        """What an instant query gives: values by the values of the labels, these in the order of their names.

        `at` is its moment, in seconds since 1970; by default now, when a scrape may just have been missed.
        """
        result = self.ask("query", query=expression, time=str(time.time() if at is None else at))["result"]
        return {
            tuple(value for name, value in sorted(series["metric"].items()) if name != "__name__"): float(
                series["value"][1]
            )
            for series in result
        }

    def ask(self, what: str, **parameters: str) -> Any:
        """The data of an API answer; RuntimeError with what it says is wrong."""
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
        if answer["status"] != "success":
            raise RuntimeError(f"{parameters}: {answer['error']}")
        return answer["data"]

    def wait_for(self, fact: Callable[[], bool], say: str, within: float = 60.0) -> None:
        """Ask again and again until it is so; AssertionError if it does not come."""
        deadline = time.monotonic() + within
        while not fact():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within} s: {say}")
            time.sleep(0.05)


@contextlib.contextmanager
def run_prometheus(
    folder: Path,
    target: str,
    rules: Path,
    program: str | Path = "prometheus",
    tries: int = 3,
    config: str | None = None,
) -> Iterator[Prometheus]:
    """Run it in a folder, scraping `target` (`127.0.0.1:9000`), or with a configuration of one's own.

    RuntimeError with its log if it does not come up.
    """
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(_CONFIG.format(rules=rules, target=target) if config is None else config)
    [port] = _free_ports(1)
    command = [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        running = Prometheus(f"http://127.0.0.1:{port}")
        if _comes_up(process, running):
            yield running
            return
    finally:
        process.kill()  # its data is the test's, and is not read again
        process.wait()
    said = log.read_text()
    if "address already in use" in said and tries > 1:
        with run_prometheus(folder, target, rules, program, tries - 1, config) as running:
            yield running
        return
    raise RuntimeError(f"prometheus did not start:\n{said}")


def _comes_up(process: subprocess.Popen[bytes], running: Prometheus) -> bool:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{running.url}/-/ready", timeout=1).close()
            return True
        time.sleep(0.02)
    return False
