"""The status page in a real browser: what a person sees, live, on a phone, in the dark, without scripts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import shift_path_info

import pytest
from axe import violations
from browser import Browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from servers import FaultServer, refused_port, reply, stall
from status_site import HEADLINE, STEADY, TAB, TIMES, Site, called, go, page

from sleepwalker import ConnectionManager
from tests.ranges import whole

#: Hosts recover while one looks.
QUICK = STEADY.replace(breaker={"open_for": 2, "open_max": 2}, health={"window": 1})
HIDE = (
    "Object.defineProperty(document, 'hidden', {value: %s, configurable: true}),"
    " document.dispatchEvent(new Event('visibilitychange'))"
)


@pytest.fixture
def browser(browser: Browser) -> Browser:
    browser.resize(1280)
    browser.hurry(TIMES)
    return browser


@pytest.fixture
def manager() -> Iterator[ConnectionManager]:
    with ConnectionManager(policy=STEADY) as running:
        yield running


@pytest.fixture
def fleet(manager: ConnectionManager, server: FaultServer) -> Iterator[ConnectionManager]:
    """Hosts in every state, some with names and errors that would be markup."""
    with contextlib.ExitStack() as stack:
        healthy = [stack.enter_context(FaultServer()) for _ in range(3)]
        for running in healthy:
            go(manager, running.url, 3)
        go(manager, f"http://127.0.0.1:{stack.enter_context(refused_port())}", 4)
        server.script(*[reply(200)] * 4, reply(500))
        go(manager, server.url, 5)
        manager.isolate(healthy[0].url)
        for name in (
            "<script>document.title='fell for it'</script>",
            '"><img src=x onerror="document.title=\'fell for it\'">',
            "a-rather-long-name.of-some-service.in-a-cluster.eu-west-1.compute.internal.example.net:18443",
        ):
            manager.isolate(name)
        yield manager


def test_the_page_shows_all_hosts_and_leaves_the_browser_nothing_to_complain_of(
    browser: Browser, fleet: ConnectionManager, server: FaultServer, site: Callable[[Any], Site]
) -> None:
    browser.open(site(page(fleet, title="checkout")).url)
    assert browser.run("document.title").startswith("1 of 8 hosts is broken: 127.0.0.1:")
    assert browser.run("document.title").endswith(" · checkout")
    shown = browser.run("[...document.querySelectorAll('tbody th')].map(cell => cell.innerText.trim())")
    assert sorted(shown) == sorted(fleet.health())
    assert browser.run("[...document.querySelectorAll('td.state .pill')].map(cell => cell.innerText.trim())") == [
        "broken",
        "degraded",
        *["isolated"] * 4,
        *["healthy"] * 2,
    ]
    assert "Connection refused" in browser.text("tr.broken")
    assert browser.run("document.images.length") == 0
    assert browser.complaints() == []


def test_the_policy_for_content_is_in_force(browser: Browser, site: Callable[[Any], Site]) -> None:
    """Were the header lost, or the console not read, the other tests would see no complaint either."""
    browser.open(site(page(ConnectionManager())).url)
    browser.run(
        "(() => { const script = document.createElement('script'); script.append('document.title = 1');"
        " document.body.append(script); const mark = document.createElement('p'); mark.setAttribute('style', 'top:0');"
        " document.body.append(mark); try { mark.innerHTML = '<b>'; } catch { return 'refused'; } })()"
    )
    complaints = "\n".join(browser.complaints())
    for part in ("script", "inline style", "TrustedHTML"):
        assert part in complaints
    assert browser.run("document.title") == "No hosts yet · Hosts"


def test_it_follows_a_host_that_breaks_and_recovers_and_keeps_what_the_reader_is_at(
    browser: Browser, server: FaultServer, site: Callable[[Any], Site]
) -> None:
    manager = ConnectionManager(policy=QUICK)
    go(manager, server.url, policy=QUICK)
    browser.open(site(page(manager)).url)

    def well() -> bool:
        go(manager, server.url)
        return bool(browser.run(f"{HEADLINE} === '{called(server)} is healthy'"))

    browser.until(well, "the host is healthy")
    browser.run("(window.same = document.querySelector('tbody tr'), document.querySelector('#q').focus())")
    server.default = lambda exchange: reply(503)

    def broken() -> list[str] | None:
        """Title, circuit and icon of one view in which it is broken."""
        go(manager, server.url, 3)
        circuit, icon = (f"document.querySelector('{part}')" for part in ("td.circuit", "link[rel=icon]"))
        view = f"[document.title, {circuit}.innerText, {icon}.href]"
        found: list[str] | None = browser.run(f"{HEADLINE} === '{called(server)} is broken' ? {view} : null")
        return found

    title, circuit, icon = browser.until(broken, "the host is broken")
    assert title.startswith(f"{called(server)} is broken")
    assert "open" in circuit
    assert "data:image/svg" in icon
    server.default = None
    browser.until(well, "the host is healthy again")
    assert browser.run("window.same === document.querySelector('tbody tr')"), "never loaded anew"
    assert browser.run("document.activeElement.id") == "q"
    assert browser.complaints() == []


def test_an_opened_error_stays_open_and_keeps_the_focus_while_its_row_moves_up(
    browser: Browser, manager: ConnectionManager, server: FaultServer, site: Callable[[Any], Site]
) -> None:
    server.default = stall()  # a long error
    go(manager, server.url, policy=STEADY.replace(timeout={"connect": 1, "read": 1, "attempt": 1}))
    with refused_port() as port:
        go(manager, f"http://127.0.0.1:{port}", 3)
    browser.open(site(page(manager)).url)
    browser.driver.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    opened = "document.querySelector('tbody tr:%s-child details[open] summary')"
    assert browser.run(f"{opened % 'last'} === document.activeElement")
    go(manager, server.url, 2)  # breaks later than the other, and so goes on top
    browser.wait(opened % "first")
    assert browser.run(f"{opened % 'first'} === document.activeElement")


def test_a_service_that_is_gone_is_said_and_so_is_its_return(
    browser: Browser, manager: ConnectionManager, server: FaultServer, site: Callable[[Any], Site]
) -> None:
    go(manager, server.url)
    running = site(page(manager))
    browser.open(running.url)
    assert not browser.run("document.querySelector('#lost').checkVisibility()")
    title, icon = browser.run(TAB)
    assert title == f"{called(server)} is healthy · Hosts"
    running.stop()
    browser.wait("document.querySelector('#lost').checkVisibility()")
    last = browser.text("main time")
    assert browser.text("#lost").startswith(f"No answer from this service since {last}. Below is what was known then")
    assert browser.run("document.querySelector('#lost').getAttribute('role')") == "alert"
    lost_title, lost_icon = browser.run(TAB)
    assert lost_title == f"No answer since {last} · Hosts"
    assert lost_icon not in (icon, "", None)
    browser.screenshot("status-lost")
    assert violations(browser) == []
    running.start()
    browser.wait("!document.querySelector('#lost').checkVisibility()")
    assert browser.run(TAB) == [title, icon]


def test_a_tab_that_is_not_in_sight_says_when_the_service_is_gone(
    browser: Browser, manager: ConnectionManager, server: FaultServer, site: Callable[[Any], Site]
) -> None:
    """That is what an on-call engineer has it open for: its title and icon stayed as they were."""
    go(manager, server.url)
    running = site(page(manager))
    browser.open(running.url)
    browser.run(f"({HIDE % 'true'})")
    running.stop()
    browser.wait("document.title.startsWith('No answer since ')")
    running.start()
    browser.wait(f"document.title === '{called(server)} is healthy · Hosts'")


def show_then_answer(
    browser: Browser, manager: ConnectionManager, site: Callable[[Any], Site], status: str, body: bytes
) -> None:
    """Show the page, and answer like this to all that it asks later, until it says that it is lost."""
    hosts = page(manager)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if len(running.asked) == 1:
            return hosts(environ, start_response)
        start_response(status, [("Content-Type", "text/html")])
        return [body]

    running = site(app)
    browser.open(running.url)
    browser.wait("document.querySelector('#lost').checkVisibility()")


def test_an_answer_that_is_another_page_counts_as_gone(
    browser: Browser, manager: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    """A login page that a proxy shows once the session is over is no news of any host."""
    show_then_answer(browser, manager, site, "200 OK", b"<main>Please log in</main>")
    assert browser.run(HEADLINE) == "No hosts yet"


def test_a_status_that_is_no_page_is_told(
    browser: Browser, manager: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    show_then_answer(browser, manager, site, "502 Bad Gateway", b"<main>Bad gateway</main>")
    assert browser.text("#lost").startswith("Answers with 502 since ")


def test_it_can_be_paused_and_then_its_tab_says_so(
    browser: Browser, manager: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    running = site(page(manager))
    browser.open(running.url)
    browser.until(lambda: len(running.asked) >= 2, "it asks again")
    live = browser.driver.find_element(By.ID, "live")
    live.click()
    assert live.text == "Resume"
    assert browser.run("document.title") == f"Paused at {browser.text('main time')} · Hosts"
    browser.run("new Promise(done => setTimeout(done, 3000))")  # what was under way has come
    asked = len(running.asked)
    browser.run("new Promise(done => setTimeout(done, 4000))")
    assert len(running.asked) == asked
    browser.driver.find_element(By.ID, "q").send_keys("a")
    browser.until(lambda: len(running.asked) > asked, "the filter asks all the same")
    browser.wait("document.title.startsWith('Paused at ')")
    live.click()
    browser.wait("document.title === 'No hosts yet · Hosts'")


def test_it_asks_less_often_while_it_is_not_in_sight(
    browser: Browser, manager: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    """In sight it asks every 2 s, else every 15 s. The browser of the tests is in a hurry."""
    running = site(page(manager))
    browser.open(running.url)
    browser.run(f"({HIDE % 'true'})")
    browser.run("new Promise(done => setTimeout(done, 5000))")  # what was under way has come
    asked = len(running.asked)
    browser.until(lambda: len(running.asked) > asked, "it asks again")
    asked = len(running.asked)
    browser.run("new Promise(done => setTimeout(done, 7000))")
    assert len(running.asked) == asked
    browser.run(f"({HIDE % 'false'})")
    browser.until(lambda: len(running.asked) >= asked + 3, "it asks often again")


#: The least contrast of any text with what is behind it, as WCAG 2 counts it.
CONTRAST = """(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => numbers(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) === 1) return colour;
    }
  };
  const texts = [...document.querySelectorAll('main *')].filter(element => element.checkVisibility()
    && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  return Math.min(...texts.map(element => {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  }));
})()"""


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        *[(390, "dark"), whole(390, "light")],
        *[whole(820, "light"), whole(1280, "dark"), whole(1600, "light")],
    ],
)
def test_it_fits_every_width_and_can_be_read_in_every_light(
    browser: Browser, fleet: ConnectionManager, site: Callable[[Any], Site], width: int, scheme: str
) -> None:
    browser.resize(width, 844 if width < 600 else 900)
    browser.prefer(scheme)
    browser.open(site(page(fleet, title="checkout: calls to others")).url)
    browser.screenshot(f"status-{width}-{scheme}")
    assert browser.overflow() <= 0
    assert browser.complaints() == []
    assert violations(browser) == []
    browser.complaints()  # of axe-core's, which adds a style
    assert browser.run(CONTRAST) >= 4.5
    dark = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 128")
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_a_table_with_headings_for_who_does_not_see_it(
    browser: Browser, fleet: ConnectionManager, site: Callable[[Any], Site], width: int
) -> None:
    """Also where each row is drawn as a card, for which browsers forget what a table is."""
    browser.resize(width)
    browser.open(site(page(fleet)).url)

    def spoken() -> list[tuple[str, str]]:
        """Each thing that a screen reader finds: its role and its name."""
        nodes = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        shown = [node for node in nodes if not node.get("ignored")]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown]

    def rows(said: list[tuple[str, str]]) -> int:
        return [role for role, _ in said].count("rowheader")

    # Browsers build this tree some time after the page, row by row.
    found = browser.until(lambda: said if rows(said := spoken()) >= 8 else None, "all rows are spoken")
    roles = [role for role, _ in found]
    assert roles.count("table") == 1
    assert (roles.count("rowheader"), roles.count("columnheader")) == (8, 11)
    assert {"Hosts, worst first", "Hosts by state", "Host"} <= {name for _, name in found}


def test_it_is_whole_without_javascript(
    browser: Browser, fleet: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    browser.without_javascript()
    browser.open(site(page(fleet)).url)
    assert browser.run(HEADLINE).startswith("1 of 8 hosts is broken: 127.0.0.1:")
    assert not browser.run("document.querySelector('#live').checkVisibility()")
    assert browser.run("document.querySelector('meta[http-equiv=refresh]').content") == "10"
    browser.driver.find_element(By.ID, "q").send_keys("cluster")
    browser.driver.find_element(By.CSS_SELECTOR, "form button").click()
    browser.wait("document.querySelectorAll('tbody tr').length === 1")
    assert browser.run("location.search") == "?q=cluster"
    browser.driver.find_element(By.CSS_SELECTOR, "nav a.broken").click()
    browser.wait("location.search === '?q=cluster&state=broken'")
    assert "No host matches." in browser.text()
    assert browser.complaints() == []


def test_the_filter_acts_while_one_types_and_its_address_can_be_passed_on(
    browser: Browser, fleet: ConnectionManager, site: Callable[[Any], Site]
) -> None:
    browser.open(site(page(fleet)).url + "/?state=isolated")
    field = browser.driver.find_element(By.ID, "q")
    field.send_keys("Cluster")
    browser.wait("document.querySelectorAll('tbody tr').length === 1")
    assert browser.run("location.search") == "?state=isolated&q=Cluster"
    assert "1 of 8 match." in browser.text(".note")
    field.clear()
    field.send_keys(Keys.ENTER)
    browser.wait("document.querySelectorAll('tbody tr').length === 4")
    assert browser.run("location.search") == "?state=isolated"
    assert browser.run("window.performance.getEntriesByType('navigation').length") == 1
    assert browser.complaints() == []


@pytest.mark.parametrize("path", ["/ops/status", "/ops/status/"])
def test_below_a_prefix_it_refreshes_and_its_links_lead_where_they_should(
    browser: Browser, manager: ConnectionManager, site: Callable[[Any], Site], path: str
) -> None:
    mounted = page(manager)

    def service(environ: dict[str, Any], start_response: Any) -> Any:
        assert (shift_path_info(environ), shift_path_info(environ)) == ("ops", "status")
        return mounted(environ, start_response)

    running = site(service)
    browser.open(running.url + path)
    browser.until(lambda: len(running.asked) >= 2, "it asks again")
    assert set(running.asked) == {path}
    browser.driver.find_element(By.LINK_TEXT, "hosts.json").click()
    browser.wait("location.pathname === '/ops/status/hosts.json'")
    assert json.loads(browser.text())["total"] == 0
