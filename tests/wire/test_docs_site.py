"""The site of the documentation in a real browser: light, dark, on a phone, searched, drawn, on its own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from axe import violations
from browser import Browser

from scripts.docs_site import versions
from scripts.docs_site.__main__ import KEPT, MADE_FROM, ROOT, SITE, digest

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
#: CI builds the site beside the tests; so many seconds later it is a fault that it is not there.
PATIENCE = 300


def _is_up_to_date(wanted: str) -> bool:
    note = SITE / versions.CURRENT / MADE_FROM
    return note.is_file() and note.read_text(encoding="utf-8").strip() == wanted


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the checkout's version: as `make docs` made it, or made here of what has changed since."""
    wanted = digest()
    end = time.monotonic() + (PATIENCE if IN_CI else 0)
    while not _is_up_to_date(wanted):
        if time.monotonic() < end:
            time.sleep(1)
            continue
        if IN_CI:
            pytest.fail(f"no site of these sources in {SITE} after {PATIENCE} s: CI runs `make docs`", pytrace=False)
        if not (KEPT / ".made-from").is_file():
            pytest.skip("the site is built in an environment of its own: `make docs` makes it")
        folder = tmp_path_factory.mktemp("site")
        command = [sys.executable, "-m", "scripts.docs_site", "--site", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=240)
        return folder / versions.CURRENT
    return SITE / versions.CURRENT


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Nothing: what the browser asks for is looked at there."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # a page asks for a dozen files at a time


@pytest.fixture(scope="session")
def url(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The site with a second version, on loopback."""
    root = tmp_path_factory.mktemp("served")
    (root / versions.CURRENT).symlink_to(built)
    (root / "3.0").mkdir()
    (root / "3.0" / "index.html").write_text("<title>3.0</title>", encoding="utf-8")
    versions.publish(root)
    with _Server(("127.0.0.1", 0), functools.partial(_Quiet, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def elsewhere(browser: Browser, url: str) -> list[str]:
    """What the page asked another server for."""
    asked = browser.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked, "the page loads nothing at all, not even its styles"
    return [name for name in asked if not name.startswith((url, "data:", "blob:"))]


@pytest.mark.parametrize(
    ("page", "width", "scheme"),
    [
        ("index.html", 1280, "light"),
        ("index.html", 1280, "dark"),
        ("index.html", 390, "light"),
        ("reference/api/connection.html", 390, "dark"),
        ("reference/policies.html", 390, "light"),
    ],
)
def test_a_page_is_readable_and_the_browser_finds_no_fault(
    browser: Browser, url: str, page: str, width: int, scheme: str
) -> None:
    browser.resize(width)
    browser.prefer(scheme)
    browser.open(f"{url}/dev/{page}")
    browser.screenshot(f"docs-{Path(page).stem}-{scheme}-{width}")
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light"), ground
    assert browser.overflow() == 0
    assert browser.complaints() == []
    assert elsewhere(browser, url) == []


@pytest.mark.parametrize(("page", "scheme"), [("index.html", "light"), ("explanation/how-a-call-travels.html", "dark")])
def test_axe_finds_nothing_that_keeps_people_from_reading(browser: Browser, url: str, page: str, scheme: str) -> None:
    browser.prefer(scheme)
    browser.open(f"{url}/dev/{page}")
    browser.wait("[...document.querySelectorAll('pre.mermaid')].every((node) => node.querySelector('svg'))")
    # A table of Markdown has a head, also where a corner of it has no name.
    assert [text for text in violations(browser) if not text.startswith("empty-table-header")] == []


def test_drawings_are_drawn_and_drawn_anew_in_the_theme_that_the_reader_chooses(browser: Browser, url: str) -> None:
    browser.resize(1280)
    browser.prefer("light")
    browser.open(f"{url}/dev/explanation/when-a-circuit-opens.html")
    browser.wait("document.querySelector('pre.mermaid svg')")
    assert "half-open" in browser.run("document.querySelector('pre.mermaid svg').textContent")
    label = browser.run("document.querySelector('pre.mermaid').getAttribute('aria-label')")
    assert label == "The states of a circuit, and what changes them"
    node = "getComputedStyle(document.querySelector('pre.mermaid svg .node rect')).fill"
    light = browser.run(node)
    browser.run("document.body.dataset.theme = 'dark'")
    browser.wait(f"document.querySelector('pre.mermaid svg .node rect') && {node} !== '{light}'")
    assert browser.complaints() == []
    assert elsewhere(browser, url) == []


def test_a_page_is_found_by_its_heading_as_one_types(browser: Browser, url: str) -> None:
    browser.resize(1280)
    browser.open(f"{url}/dev/index.html")
    browser.run(
        """(() => {
            const field = document.querySelector('.sidebar-search');
            field.focus();
            field.value = 'usual mistakes';
            field.dispatchEvent(new Event('input'));
        })()"""
    )
    browser.wait("document.querySelector('#found a')")
    assert browser.text("#found a").startswith("The usual mistakes")
    browser.run("document.querySelector('#found a').click()")
    browser.wait("location.pathname.endsWith('/llms.html') && location.hash === '#the-usual-mistakes'")
    assert browser.complaints() == []


def test_a_page_is_found_by_a_word_of_its_text(browser: Browser, url: str) -> None:
    browser.open(f"{url}/dev/search.html?q=replayable")
    browser.wait("document.querySelector('#search-results li a')")
    found = browser.run("[...document.querySelectorAll('#search-results li a')].map((link) => link.innerText)")
    assert "Send bodies" in found
    assert browser.complaints() == []
    assert elsewhere(browser, url) == []


def test_the_selector_has_all_versions_and_leads_to_the_one_that_is_chosen(browser: Browser, url: str) -> None:
    browser.resize(1280)
    browser.open(f"{url}/dev/how-to/logging.html")
    browser.wait("document.querySelector('#version').options.length === 2")
    assert browser.run("[...document.querySelector('#version').options].map((one) => one.value)") == ["dev", "3.0"]
    assert browser.run("document.querySelector('#version').value") == "dev"
    browser.run(
        """(() => {
            const select = document.querySelector('#version');
            select.value = '3.0';
            select.dispatchEvent(new Event('change'));
        })()"""
    )
    browser.wait("location.pathname.endsWith('/3.0/index.html')")  # 3.0 has no such page


def test_a_page_of_another_version_than_the_newest_says_so(browser: Browser, url: str) -> None:
    browser.open(f"{url}/dev/how-to/logging.html")
    browser.wait("document.querySelector('.not-newest')")
    assert browser.text(".not-newest") == "This is about the version in development. Go to 3.0"
    browser.run("document.querySelector('.not-newest button').click()")
    browser.wait("location.pathname.endsWith('/3.0/index.html')")


def test_the_root_leads_to_the_newest_release(browser: Browser, url: str) -> None:
    browser.open(f"{url}/")
    browser.wait("location.pathname.endsWith('/3.0/index.html')")


def test_a_page_that_is_opened_as_a_file_works(browser: Browser, built: Path) -> None:
    browser.resize(1280)
    browser.open((built / "explanation/when-a-circuit-opens.html").as_uri())
    browser.wait("document.querySelector('pre.mermaid svg')")
    assert browser.run("document.querySelector('#version').value") == versions.CURRENT
    assert browser.complaints() == []
