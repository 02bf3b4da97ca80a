"""The status page as an on-call engineer uses it: dry runs, names, order, the last minutes, and several workers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe import violations
from browser import Browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from servers import FaultServer, refused_port, reply
from status_site import HEADLINE, STEADY, TAB, TIMES, Site, called, go, page

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, SleepwalkerException
from sleepwalker.process import THIS_PROCESS

NAMES = "[...document.querySelectorAll('tbody th .name')].map(name => name.innerText.trim())"
CELL = "document.querySelector('tbody td.%s').innerText"


@pytest.fixture
def browser(browser: Browser) -> Browser:
    browser.resize(1280)
    browser.hurry(TIMES)
    return browser


class Directory(ConnectionHook):
    """Knows services by their names."""

    def __init__(self, **places: str) -> None:
        self.places = places

    def connect(self, host: Any, auth: Any) -> Any:
        place = self.places.get(host)
        return None if place is None else Connection(place, ANONYMOUS, policy=STEADY)


@pytest.fixture
def named(server: FaultServer) -> Iterator[ConnectionManager]:
    """`anvils` answers, `bolts` failed a while ago, and `crates` is down."""
    with contextlib.ExitStack() as stack:
        bolts = stack.enter_context(FaultServer())
        bolts.script(reply(500))
        down = f"http://127.0.0.1:{stack.enter_context(refused_port())}"
        manager = stack.enter_context(ConnectionManager(policy=STEADY))
        manager.add_conn_hook(Directory(anvils=server.url, bolts=bolts.url, crates=down))
        for name, calls in (("anvils", 3), ("bolts", 40), ("crates", 2)):
            for _ in range(calls):
                with contextlib.suppress(SleepwalkerException):
                    manager.find(name).get("/")
        yield manager


def test_a_dry_run_never_reads_like_a_circuit_that_refuses_calls(
    browser: Browser, server: FaultServer, site: Callable[[Any], Site]
) -> None:
    server.default = lambda exchange: reply(500)
    policy = STEADY.replace(breaker={"mode": "observe"})
    with ConnectionManager(policy=policy) as manager:
        go(manager, server.url, 4, policy)
        browser.open(site(page(manager)).url)
        circuit = browser.run(CELL % "circuit")
    assert circuit.startswith("would be open\ndry run: refuses nothing\nsince ")
    assert "next try" not in browser.text()
    assert "Dry run: 1 circuit would be open: 127.0.0.1" in browser.text(".notes")
    assert "dry run 2" in browser.text("tbody")


def test_an_error_of_a_while_ago_says_when_it_was(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    browser.open(site(page(named)).url + "/?q=bolts")
    browser.wait(rf"/^500\n\d+ s ago, \d\d:\d\d:\d\d\nlast success /.test({CELL % 'error'})")


def test_hosts_are_shown_by_the_names_that_people_use_and_found_by_them(
    browser: Browser, named: ConnectionManager, server: FaultServer, site: Callable[[Any], Site]
) -> None:
    browser.open(site(page(named)).url)
    assert browser.run("document.title") == "1 of 3 hosts is broken: crates · Hosts"
    assert browser.run(NAMES) == ["crates", "bolts", "anvils"] or browser.run(NAMES) == ["crates", "anvils", "bolts"]
    assert server.url in browser.text("tbody")
    browser.driver.find_element(By.ID, "q").send_keys("ANV")
    browser.wait(f"{NAMES}.join() === 'anvils'")


@pytest.mark.left_to_ci
@pytest.mark.parametrize("secure", [True, False], ids=["over TLS or from this machine", "over plain HTTP"])
def test_a_name_is_copied_by_its_button(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site], secure: bool
) -> None:
    """Where the page came over plain HTTP, browsers have no `navigator.clipboard`."""
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    running = site(page(named))
    browser.open(running.url + "/?q=anvils")
    browser.run("void (window.board = navigator.clipboard)")
    if not secure:
        browser.run("void Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    button = browser.driver.find_element(By.CSS_SELECTOR, "button.copy")
    assert button.get_attribute("aria-label") == "Copy anvils"
    button.send_keys(Keys.ENTER)
    browser.wait("document.querySelector('#said').textContent === 'Copied anvils'")
    assert browser.run("document.activeElement.dataset.copy") == "anvils", "the focus stays"
    assert browser.run("window.board.readText()") == "anvils"
    browser.wait("document.querySelector('#said').textContent === ''")
    assert browser.complaints() == []


@pytest.mark.left_to_ci
def test_hosts_are_sorted_by_a_heading_with_the_keyboard_and_stay_so_over_refreshes(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    running = site(page(named))
    browser.open(running.url)
    browser.driver.find_element(By.CSS_SELECTOR, "thead .calls a").send_keys(Keys.ENTER)
    browser.wait(f"{NAMES}.join() === 'bolts,anvils,crates'")
    assert browser.run("document.activeElement.innerText.trim()") == "Calls"
    assert browser.run("document.querySelector('thead .calls').getAttribute('aria-sort')") == "descending"
    asked = len(running.asked)
    browser.until(lambda: len(running.asked) >= asked + 3, "it refreshes")
    assert browser.run(f"{NAMES}.join()") == "bolts,anvils,crates"
    browser.driver.find_element(By.CSS_SELECTOR, "thead .calls a").click()
    browser.wait(f"{NAMES}.join() === 'crates,anvils,bolts'")
    assert browser.run("location.search") == "?sort=calls"
    assert browser.run("window.performance.getEntriesByType('navigation').length") == 1
    browser.driver.refresh()
    assert browser.run(f"{NAMES}.join()") == "crates,anvils,bolts"
    browser.driver.find_element(By.CSS_SELECTOR, "nav a.healthy").click()
    browser.wait("location.search === '?state=healthy&sort=calls'")
    browser.driver.find_element(By.ID, "q").send_keys("s")
    browser.wait("location.search === '?state=healthy&sort=calls&q=s'")


@pytest.mark.left_to_ci
def test_on_a_phone_the_headings_are_links_that_sort_and_nothing_is_wider_than_the_screen(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    browser.resize(390, 844)
    browser.open(site(page(named)).url)
    heading = browser.driver.find_element(By.CSS_SELECTOR, "thead .host a")
    assert heading.is_displayed()
    heading.click()
    browser.wait(f"{NAMES}.join() === 'anvils,bolts,crates'")
    assert browser.overflow() <= 0


def test_without_javascript_headings_sort_and_no_button_is_there_that_does_nothing(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    browser.without_javascript()
    browser.open(site(page(named)).url)
    browser.driver.find_element(By.CSS_SELECTOR, "thead .host a").click()
    browser.wait(f"{NAMES}.join() === 'anvils,bolts,crates'")
    assert not browser.driver.find_element(By.CSS_SELECTOR, "button.copy").is_displayed()
    browser.driver.find_element(By.ID, "q").send_keys("s")
    browser.driver.find_element(By.CSS_SELECTOR, "form button").click()
    browser.wait("location.search === '?q=s&sort=host'")


@pytest.mark.left_to_ci
def test_the_calls_of_the_last_minutes_are_a_line_with_its_errors_and_a_text(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    browser.open(site(page(named)).url + "/?q=crates")
    line = browser.driver.find_element(By.CSS_SELECTOR, "svg.line")
    assert line.is_displayed()
    label = line.get_attribute("aria-label")
    assert label is not None
    assert label.endswith("2 errors, the latest just now")
    drawn = "document.querySelector('svg.line .%s').getBBox().height"
    assert browser.run(drawn % "calls") > 10
    assert browser.run(drawn % "errors") > 10


def test_hosts_in_trouble_lead_to_the_runbook(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    browser.open(site(page(named, runbook="https://wiki.test/hosts#{kind}")).url)
    links = "[...document.querySelectorAll('a.runbook')].map(link => [link.href, link.rel])"
    assert browser.run(f"{links}[0]") == ["https://wiki.test/hosts#broken", "noopener noreferrer"]


def test_the_page_comes_compressed(browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]) -> None:
    browser.open(site(page(named)).url)
    sizes = "(({encodedBodySize, decodedBodySize}) => [encodedBodySize, decodedBodySize])"
    small, large = browser.run(f"{sizes}(performance.getEntriesByType('navigation')[0])")
    assert 0 < small < large / 2


@pytest.mark.left_to_ci
def test_what_has_not_changed_is_not_sent_again(
    browser: Browser, named: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    """Ten thousand hosts are looked at every ten seconds, and the page asks every two."""
    from sleepwalker import status

    statuses: list[str] = []
    app = status.app(named)  # its views are a second old, which the hurried browser asks for several times

    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: Any, *rest: Any) -> Any:
            statuses.append(status[:3])
            return start_response(status, headers, *rest)

        return app(environ, start)

    browser.open(site(watched).url)
    browser.until(lambda: "304" in statuses and "200" in statuses[statuses.index("304") :], "both come")
    assert not browser.run("document.querySelector('#lost').checkVisibility()")
    assert browser.complaints() == []


class Workers:
    """Several processes behind one address: each request goes to the next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **apps: Any) -> None:
        self.apps = list(apps.items())
        self.requests = 0
        self._monkeypatch = monkeypatch

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        process, app = self.apps[self.requests % len(self.apps)]
        self.requests += 1
        self._monkeypatch.setattr(THIS_PROCESS, "pid", int(process[1:]))
        return app(environ, start_response)


@pytest.mark.left_to_ci
def test_of_several_workers_the_one_in_trouble_is_shown_and_each_is_named(
    browser: Browser,
    server: FaultServer,
    site: Callable[[Any], Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each worker knows its own calls only: the page was red and green in turns, as if the host changed its mind."""
    with ConnectionManager(policy=STEADY) as well, ConnectionManager(policy=STEADY) as ill, refused_port() as port:
        go(well, server.url, 3)
        go(ill, f"http://127.0.0.1:{port}", 3)
        workers = Workers(monkeypatch, p41=page(well), p42=page(ill), p43=page(well))
        browser.open(site(workers).url)
        assert browser.run(HEADLINE) == f"{called(server)} is healthy"
        assert browser.text(".process").startswith("process 41 on ")
        browser.wait(f"{HEADLINE} === '127.0.0.1:{port} is broken'")
        title, icon = browser.run(TAB)
        seen = workers.requests
        tabs = set()

        def after_eight_more() -> bool:
            tabs.add(tuple(browser.run(TAB)))
            return workers.requests >= seen + 8

        browser.until(after_eight_more, "eight more requests")
        assert tabs == {(title, icon)}, "it does not change its mind"
        assert browser.text(".process").startswith("process 42 on ")
        assert browser.text("#processes").startswith(
            "3 processes answer here, each with calls of its own. The worst is shown:"
        )
        assert browser.complaints() == []
        assert violations(browser) == []
        browser.complaints()  # of axe-core's, which adds a style
        choices = browser.driver.find_elements(By.CSS_SELECTOR, "#processes button")
        assert [re.sub(r"^\S+ |, \d+ s ago", "", choice.text) for choice in choices] == [
            f"41: {called(server)} is healthy",
            f"42: 127.0.0.1:{port} is broken",
            f"43: {called(server)} is healthy",
        ]
        choices[0].click()
        browser.wait(f"{HEADLINE} === '{called(server)} is healthy'")
        seen = workers.requests
        browser.until(lambda: workers.requests >= seen + 4, "four more requests")
        assert browser.text(".process").startswith("process 41 on ")
        assert browser.text("#processes").startswith("3 processes answer here, each with calls of its own. You chose")
        choices[0].click()
        browser.wait(f"{HEADLINE} === '127.0.0.1:{port} is broken'")
        assert browser.complaints() == []
