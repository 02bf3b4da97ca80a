"""The status pages of real workers of a fleet: the same headline from each, in a browser, too."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe import violations
from browser import Browser
from servers import refused_port
from status_site import STEADY, TIMES, Hasty, Site, go, page

from sleepwalker import ConnectionManager, status
from tests.ranges import whole


@pytest.fixture
def dead() -> Iterator[str]:
    with refused_port() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def workers(tmp_path: Path, dead: str) -> Iterator[list[ConnectionManager]]:
    """Four workers. Two of them found out that a host is down; one has a record of it, and one has none."""
    with contextlib.ExitStack() as stack:
        fleet = f"file://{tmp_path}/billing.fleet"
        found = [stack.enter_context(ConnectionManager(policy=STEADY, fleet=fleet)) for _ in range(4)]
        _wait_until(lambda: all(_workers_of(worker) == 4 for worker in found))
        for worker in found[:2]:
            go(worker, dead, 4)
        go(found[2], dead, 0)
        _wait_until(lambda: all(_is_told(worker, dead) for worker in found))
        yield found


def _wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def _workers_of(worker: ConnectionManager) -> int:
    assert worker.fleet is not None
    return worker.fleet.workers


def _is_told(worker: ConnectionManager, host: str) -> bool:
    assert worker.fleet is not None
    return host in worker.fleet.hosts and worker.fleet.hosts[host].verdict


def _read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


def test_each_worker_has_the_same_headline_also_one_that_never_asked_the_host(
    workers: list[ConnectionManager], dead: str, site: Callable[[Any], Site]
) -> None:
    heads = []
    for worker in workers:
        at = site(status.app(worker)).url
        heads.append(_read(at).partition("<title>")[2].partition("</title>")[0])
        [fleet] = json.loads(_read(f"{at}/hosts.json"))["fleets"]
        assert (fleet["joined"], fleet["workers"]) == (True, 4)
        assert fleet["hosts"][dead]["verdict"] is True
    assert heads == [f"{dead} is broken for all 4 workers · Hosts"] * 4
    assert workers[3].health() == {}
    assert re.search(
        r"<p>Since \d\d:\d\d:\d\d UTC, for .*?</p><p>The last failure was ConnectError\.</p>",
        _read(site(status.app(workers[3])).url),
    ), "also from one that never asked the host"


def test_a_worker_whose_store_goes_away_says_that_it_is_alone(
    workers: list[ConnectionManager], tmp_path: Path, site: Callable[[Any], Site]
) -> None:
    (tmp_path / "billing.fleet").write_bytes(b"no database " * 1000)
    for path in (tmp_path / "billing.fleet-wal", tmp_path / "billing.fleet-shm"):
        path.unlink(missing_ok=True)
    _wait_until(lambda: workers[3].fleet is not None and not workers[3].fleet.joined)
    text = _read(site(status.app(workers[3], clock=Hasty())).url)
    assert "<b>This worker is alone</b>" in text
    assert "<title>No hosts yet · Hosts</title>" in text


@pytest.mark.parametrize(("width", "dark"), [whole(1280, False), (390, True), whole(390, False)])
def test_the_section_is_seen_and_neither_the_browser_nor_axe_finds_fault(
    width: int, dark: bool, workers: list[ConnectionManager], browser: Browser, site: Callable[[Any], Site]
) -> None:
    browser.resize(width)
    browser.hurry(TIMES)
    if dark:
        browser.prefer("dark")
    browser.open(site(page(workers[3], title="billing", runbook="https://wiki.test/#{kind}")).url)
    shown = browser.run("document.querySelector('.fleet').innerText")
    assert "4 workers of service default share their findings." in shown
    assert "broken for all: 2 of 4 workers find it broken" in shown
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth") is True
    assert violations(browser) == []
    assert browser.complaints() == []
