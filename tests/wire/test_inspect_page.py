"""The page of `sleepwalker inspect --html` in a real browser: on phones, in the dark, on paper, by keys and fingers."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe import violations
from browser import Browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from sleepwalker.inspect import page
from tests.ranges import some, whole
from tests.unit.inspect_logs import answered, failed, line, rejected, report_on, write

EVIL = "https://<script>alert(1)</script><b>evil</b>"
HOSTS = [
    EVIL,
    *(f"https://{name}.shop.example.net" for name in "abcdefghijk"),
    "http://10.20.0.17:9200",
    "https://quiet",
]
HOURS = 6
PLOTS = ("states", "calls", "share", "latency", "retries")

#: How many bars and points are drawn.
DRAWN = "document.querySelectorAll('.plot .point path, .plot path.js-line').length"
RANGES = (
    "[...document.querySelectorAll('.plot')].filter(e => e.layout).map(e => e.layout.xaxis.range.map(String).join())"
)
#: That the page scrolls no more, as it does for a while after a finger has left it.
STILL = "new Promise(done => { const before = scrollY; setTimeout(() => done(scrollY === before), 150); })"
PRESSED = "document.querySelector('#key [aria-pressed=true]').innerText"


def traffic() -> Iterator[tuple[float, str]]:
    """Six hours of fourteen hosts; each but the last breaks once, for a while of its own."""
    dice = random.Random(5)
    for number, host in enumerate(HOSTS):
        begin = 1200.0 * number + 600
        end = begin + 900 if host != HOSTS[-1] else begin
        for _ in range(250):
            at = dice.uniform(0, HOURS * 3600)
            if not begin <= at < end:
                attempts = 2 if dice.random() < 0.1 else 1
                yield (
                    at,
                    answered(at, host, duration=dice.lognormvariate(-4, 0.6), attempts=attempts, pid=dice.randrange(4)),
                )
        for at in range(int(begin), int(end), 60):
            yield at, failed(at, host) if at < begin + 300 else rejected(at, host)
        if end > begin:
            yield begin, line(begin, "breaker.opened", host, rule="consecutive", open_for=5.0, cause="ConnectError")
            yield begin, line(begin, "host.broken", host, reason="breaker", failures=5, cause="ConnectError")
            yield end - 60, line(end - 60, "breaker.half_opened", host)
            yield end, line(end, "breaker.closed", host, ramp=5.0)
            yield end, line(end, "host.recovered", host, broken_for=end - begin)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about fourteen hosts, one of which has a name that is markup."""
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    lines = [text for _, text in sorted(traffic())]
    path.write_text(page(report_on(write(folder / "events.jsonl", lines))), encoding="utf-8")
    return path


def show(browser: Browser, report: Path, width: int = 1280, scheme: str = "light") -> None:
    """The page with its charts drawn."""
    browser.resize(width)
    browser.prefer(scheme)
    browser.open(report.as_uri())
    browser.wait(f"{DRAWN} > 100")


# -- seen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "light"),
        whole(1280, "dark"),
        whole(390, "dark"),
        whole(1920, "light"),
    ],
)
def test_the_page_draws_its_charts_and_neither_the_browser_nor_axe_finds_fault(
    browser: Browser, report: Path, scheme: str, width: int
) -> None:
    show(browser, report, width, scheme)
    browser.screenshot(f"inspect-{scheme}-{width}")
    assert [name for name in PLOTS if not browser.run(f"document.querySelector('.plot.{name} svg')")] == []
    assert browser.complaints() == []
    # A chart is a picture, its 700 lines are no text: once is enough for them.
    assert violations(browser, without=() if width == 1280 else (".plot > *",)) == []
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(244, 245, 247)") == (scheme == "light")


@pytest.mark.left_to_ci
def test_nothing_is_hidden_to_the_right_at_any_width(browser: Browser, report: Path) -> None:
    """Tables were wider than their frames, on a laptop too, and nothing said that there was more."""
    show(browser, report)
    browser.run("document.querySelector('#numbers').open = true")
    browser.wait("document.querySelectorAll('#numbers tbody tr').length > 10")
    hidden = """(edge => [...document.querySelectorAll('main *')].filter(e => !e.closest('.cards thead, .plot') &&
        (e.getBoundingClientRect().right > edge + 0.5 || (e.scrollWidth > e.clientWidth + 1 &&
        getComputedStyle(e).overflowX !== 'visible'))).map(e => e.outerHTML.slice(0, 90)))(
        document.querySelector('header').getBoundingClientRect().right)"""
    for width in some((320, 768, 1179, 1180), (320, 390, 640, 768, 1179, 1180, 1440, 1920)):
        browser.resize(width)
        browser.until(
            lambda: browser.overflow() == 0, f"all of it fits into {width} px"
        )  # Plotly draws anew a bit later
        assert (width, browser.run(hidden)) == (width, [])


@pytest.mark.left_to_ci
def test_where_there_is_room_no_host_and_no_error_of_a_failed_send_is_broken(browser: Browser, report: Path) -> None:
    show(browser, report, 1180)
    browser.run(
        "document.querySelectorAll('td.error.whole').forEach(cell => cell.textContent = 'DeadlineExceeded'),"
        " document.querySelectorAll('tbody th.whole').forEach(cell => cell.textContent = 'http://127.0.0.1:42365')"
    )
    lines = """[...document.querySelectorAll('tbody .whole')].map(cell => {
        const range = document.createRange(); range.selectNodeContents(cell);
        return range.getClientRects().length; })"""
    for width in (1180, 1280):
        browser.resize(width)
        browser.until(lambda: browser.overflow() == 0, f"all of it fits into {width} px")
        assert set(browser.run(lines)) == {1}


def test_a_name_that_is_markup_is_text_in_charts_too_and_each_chart_is_a_picture_with_its_content_in_words(
    browser: Browser, report: Path
) -> None:
    show(browser, report)
    assert (
        browser.run("document.querySelectorAll('.plot b, .plot script, #key b, #key script, main script').length") == 0
    )
    assert EVIL.removeprefix("https://") in browser.text("#key")
    assert EVIL.removeprefix("https://") in browser.text(".plot.states")
    for name, says in (
        ("states", "States of 12 hosts"),
        ("calls", "failed, "),
        ("share", "Lowest: 0 % of "),
        ("latency", "Highest: "),
        ("retries", "Retries of all hosts from 2025-11-22 14:"),
    ):
        plot = browser.driver.find_element(By.CSS_SELECTOR, f".plot.{name}")
        assert plot.get_attribute("role") == "img"
        assert says in (plot.get_attribute("aria-label") or "")


@pytest.mark.left_to_ci
def test_twelve_hosts_have_twelve_colours_and_twelve_pairs_of_marker_and_dash(browser: Browser, report: Path) -> None:
    show(browser, report)
    swatches = browser.run("""[...document.querySelectorAll('#key svg')].slice(1).map(svg => [...svg.children].map(
        path => ['stroke', 'stroke-dasharray', 'd'].map(name => path.getAttribute(name))))""")
    assert len(swatches) == 12
    assert len({line[0] for line, _ in swatches}) == 12
    assert len({(line[1], marker[2]) for line, marker in swatches}) == 12
    drawn = browser.run("document.querySelector('.plot.share').data.map(trace => trace.line.color)")
    assert drawn[1:] == [line[0] for line, _ in swatches], "the legend shows what is drawn"


def _each_host_is_a_card_with_a_label_for_each_number(browser: Browser) -> None:
    row = "document.querySelector('.cards tbody tr')"
    assert browser.run(f"getComputedStyle({row}).display") == "grid"
    labels = browser.run(f"[...{row}.cells].slice(1).map(cell => getComputedStyle(cell, '::before').content)")
    heads = browser.run(
        "[...document.querySelector('.cards').tHead.rows[0].cells].slice(1).map(head => head.textContent)"
    )
    assert labels == [json.dumps(head) for head in heads]
    assert browser.run(f"{row}.getBoundingClientRect().width") <= 390


@pytest.mark.left_to_ci
@pytest.mark.parametrize("width", [390, 1280])
def test_no_label_in_a_chart_lies_on_another_and_on_a_phone_each_host_is_a_card(
    browser: Browser, report: Path, width: int
) -> None:
    show(browser, report, width)
    if width == 390:
        _each_host_is_a_card_with_a_label_for_each_number(browser)
    boxes = """[...document.querySelectorAll('.plot')].map(plot => ['.annotation', '.xtick', '.ytick'].flatMap(kind =>
        [...plot.querySelectorAll(kind)].map(e => [e.textContent, e.getBoundingClientRect()])
        .map(([name, {left, right, top, bottom}]) => ({name, left, right, top, bottom}))))"""
    named = 0
    for labels in browser.run(boxes):
        named += sum(".example.net" in label["name"] for label in labels)
        for one, other in itertools.combinations(labels, 2):
            apart = one["right"] <= other["left"] + 1 or other["right"] <= one["left"] + 1
            apart = apart or one["bottom"] <= other["top"] + 1 or other["bottom"] <= one["top"] + 1
            assert apart, (one["name"], other["name"])
    assert named > 11, "the lanes have names, and so have some lines"


@pytest.mark.left_to_ci
def test_the_numbers_of_the_charts_can_be_read_as_a_table(browser: Browser, report: Path) -> None:
    show(browser, report)
    browser.driver.find_element(By.CSS_SELECTOR, "#numbers summary").send_keys(Keys.ENTER)
    browser.wait("document.querySelectorAll('#numbers tbody tr').length > 50")
    cells = "[...document.querySelectorAll('#numbers tbody tr')].map(row => Number(row.cells[{}].textContent))"
    for cell, trace in ((1, 2), (2, 0), (3, 1)):
        drawn = browser.run(f"document.querySelector('.plot.calls').data[{trace}].y")
        assert sum(browser.run(cells.format(cell))) == sum(drawn) > 0
    assert violations(browser, "#numbers") == []


def test_without_scripts_all_but_the_charts_is_there(browser: Browser, report: Path) -> None:
    browser.without_javascript()
    browser.open(report.as_uri())
    text = browser.text()
    assert "The charts need JavaScript" in text
    assert EVIL in text
    assert "Hosts, worst first" in text


# -- zoomed ----------------------------------------------------------------------------------------


def _ranges(browser: Browser) -> list[str]:
    """The times that the charts show, which is one period for all."""
    return sorted(set(browser.run(RANGES)))


def _zoom(browser: Browser, plot: str = "calls") -> str:
    """Drag across the middle of a chart; the period that is shown then."""
    [whole] = _ranges(browser)
    browser.run(f"document.querySelector('.plot.{plot}').scrollIntoView({{block: 'center'}})")
    drag = f"document.querySelector('.plot.{plot} .nsewdrag').getBoundingClientRect()"
    left, top, length, height = browser.run(f"(r => [r.left, r.top, r.width, r.height])({drag})")
    for kind, x in (("mousePressed", 0.3), ("mouseMoved", 0.4), ("mouseMoved", 0.6), ("mouseReleased", 0.6)):
        at = {"type": kind, "x": left + x * length, "y": top + height / 2, "button": "left", "clickCount": 1}
        browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", at)
    [zoomed] = browser.until(lambda: (now := _ranges(browser)) != [whole] and len(now) == 1 and now, "all are zoomed")
    first, begin, end, last = (
        text.replace("T", " ") for text in (whole.split(",")[0], *zoomed.split(","), whole.split(",")[1])
    )
    assert first < begin < end < last
    return str(zoomed)


def _choose(browser: Browser, number: int) -> None:
    browser.run(f"document.querySelectorAll('#key button')[{number}].click()")


@pytest.mark.left_to_ci
@pytest.mark.parametrize("plot", ["states", "share"])
def test_all_charts_zoom_together_and_keep_it_when_a_host_is_chosen(browser: Browser, report: Path, plot: str) -> None:
    """Choosing a host showed the whole time again."""
    show(browser, report)
    [whole] = _ranges(browser)
    zoomed = _zoom(browser, plot)
    _choose(browser, 3)
    assert browser.run(PRESSED) != "all hosts"
    assert _ranges(browser) == [zoomed]
    _choose(browser, 3)
    assert browser.run(PRESSED) == "all hosts"
    assert _ranges(browser) == [zoomed]
    browser.run("document.querySelector('[data-do=all]').click()")
    assert _ranges(browser) == [whole]


@pytest.mark.left_to_ci
def test_what_is_shown_is_said_to_those_who_hear_the_page_and_a_double_click_shows_all_again(
    browser: Browser, report: Path
) -> None:
    show(browser, report)
    [whole] = _ranges(browser)
    before = browser.text("#chosen")
    assert before == "all hosts, 2025-11-22 14:00 to 2025-11-22 19:59 UTC"
    disabled = "[...document.querySelectorAll('[data-do][aria-disabled=true]')].map(button => button.dataset.do)"
    assert browser.run(disabled) == ["earlier", "later", "out", "all"]
    _zoom(browser)
    assert browser.text("#chosen") != before
    assert browser.run(disabled) == []
    assert browser.run("document.getElementById('chosen').getAttribute('role')") == "status"
    x, y = browser.run(
        "(r => [r.left + 50, r.top + 50])(document.querySelector('.plot.calls .nsewdrag').getBoundingClientRect())"
    )

    def shows_all_after_a_double_click() -> bool:
        """On a busy machine two clicks may come too far apart to be one double click."""
        for clicks in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                at = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": clicks}
                browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", at)
        end = time.monotonic() + 2
        while _ranges(browser) != [whole] and time.monotonic() < end:
            time.sleep(0.05)
        return _ranges(browser) == [whole]

    browser.until(shows_all_after_a_double_click, "all is shown")


@pytest.mark.left_to_ci
def test_the_charts_can_be_moved_with_keys_alone(browser: Browser, report: Path) -> None:
    show(browser, report)
    [whole] = _ranges(browser)
    button = browser.driver.find_element(By.CSS_SELECTOR, "[data-do=in]")
    button.send_keys(Keys.ENTER)
    [nearer] = _ranges(browser)
    assert nearer != whole
    assert browser.run("document.activeElement.dataset.do") == "in", "the focus stays"
    button.send_keys(Keys.ARROW_RIGHT)
    [later] = _ranges(browser)
    assert later > nearer
    button.send_keys("+")
    assert _ranges(browser) != [later]
    button.send_keys("0")
    assert _ranges(browser) == [whole]
    host = browser.driver.find_element(By.CSS_SELECTOR, "#key li:nth-child(3) button")
    host.send_keys(Keys.SPACE)
    assert browser.run("document.activeElement === document.querySelector('#key [aria-pressed=true]')")
    assert browser.run(PRESSED) != "all hosts"


@pytest.mark.left_to_ci
def test_a_chosen_host_has_both_latencies_and_its_own_states(browser: Browser, report: Path) -> None:
    show(browser, report)
    assert browser.run("document.getElementById('median').hidden")
    _choose(browser, 1)
    names = browser.run("document.querySelector('.plot.latency').data.map(trace => trace.name)")
    assert names == ["p95", "p50"]
    assert not browser.run("document.getElementById('median').hidden")
    assert violations(browser, "#charts", without=(".plot > *",)) == []


# -- touched ---------------------------------------------------------------------------------------


def _swipe(browser: Browser) -> float:
    """Move a finger up by 350 px in the middle of the window; how far the page scrolled."""
    before = browser.run("scrollY")

    def touch(kind: str, *points: dict[str, Any]) -> None:
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": 200, "y": 600})
    for step in range(1, 11):
        time.sleep(0.02)  # as a finger does: all at once is no gesture
        touch("touchMove", {"x": 200, "y": 600 - 35 * step})
    touch("touchEnd")
    browser.until(lambda: browser.run("scrollY") - before > 200, "the page scrolls")
    browser.wait(STILL)
    return float(browser.run("scrollY") - before)


@pytest.mark.left_to_ci
def test_a_finger_on_a_chart_scrolls_the_page_and_zooms_nothing(browser: Browser, report: Path) -> None:
    """It drew a frame, and on a phone, where the charts fill the screen, there was no way on."""
    touch = {"enabled": True, "maxTouchPoints": 1}
    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)
    browser.resize(390, 844)
    browser.open(report.as_uri())
    browser.wait(f"{DRAWN} > 100")
    before = _ranges(browser)
    for plot in PLOTS:
        bottom = f"document.querySelector('.plot.{plot}').getBoundingClientRect().bottom"
        browser.run(f"scrollTo(0, {bottom} + scrollY - 640)")
        browser.wait(STILL)
        assert browser.run(f"document.elementFromPoint(200, 600).closest('.plot.{plot}') !== null")
        assert _swipe(browser) > 200
    assert _ranges(browser) == before


# -- printed ---------------------------------------------------------------------------------------


@pytest.mark.left_to_ci
def test_on_paper_it_is_black_on_white_with_whole_charts_nothing_to_press_and_few_sheets(
    browser: Browser, report: Path
) -> None:
    show(browser, report, 1280, "dark")
    ink = "getComputedStyle(document.querySelector('.plot.calls .xtick text')).fill"
    dark = browser.run(ink)
    browser.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.body).color") == "rgb(20, 24, 30)"
    assert browser.run(ink) == "rgb(86, 96, 112)" != dark
    assert browser.run("[...document.querySelectorAll('.plot svg.main-svg')].every(e => e.clientWidth <= 690)")
    assert browser.run(
        "[...document.querySelectorAll('figure')].every(e => getComputedStyle(e).breakInside === 'avoid')"
    )
    shown = "[...document.querySelectorAll('.tools, #numbers, .hint')].filter(e => e.checkVisibility()).length"
    assert browser.run(shown) == 0
    browser.prefer("dark")  # and a screen again
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(ink) == dark
    browser.run("addEventListener('beforeprint', () => { document.body.dataset.printed = 'yes'; })")
    printed = browser.driver.execute_cdp_cmd(
        "Page.printToPDF", {"preferCSSPageSize": True, "transferMode": "ReturnAsStream"}
    )
    assert printed["stream"]
    assert browser.run("document.body.dataset.printed") == "yes", "the page knows that it is printed"
    assert browser.run("document.documentElement.className") == ""
