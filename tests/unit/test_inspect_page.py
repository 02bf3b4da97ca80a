"""The page of `--html`: all of it is in it, and nothing in it is anything but text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from scripts.npm import integrity
from sleepwalker.inspect import Filter, Report, charts, page
from sleepwalker.inspect.model import Span
from sleepwalker.inspect.spans import CIRCUIT, HOST
from sleepwalker.inspect.trouble import Episode, Finding, Kind
from tests.unit.inspect_logs import NOON, answered, failed, line, report_on, write

#: With the oldest releases tests/wire/test_inspect.py writes a page, too.
pytestmark = pytest.mark.once

EVIL = "https://<script>alert(1)</script>&\"'"
EVIL_PATH = "/<img src=x onerror=alert(1)>"
FOLDER = Path(page.__code__.co_filename).parent


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of each script, of the title and of everything else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._inside != "style":
            self.words += data


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report with markup in every text that a log can bring."""
    lines = [
        answered(0, EVIL, path=EVIL_PATH, duration=3.0),
        failed(1, EVIL, error="<b>Error</b>", detail="</script><script>alert(2)</script>", path=EVIL_PATH),
        line(1, "attempt.failed", EVIL, attempt=1, error="<b>Error</b>", detail="</title><i>", duration=1.0),
        line(2, "host.broken", EVIL, reason="connect", failures=3, cause="<u>"),
        line(2, "breaker.opened", EVIL, rule="consecutive", open_for=5.0),
        line(3, "retry.abandoned", EVIL, attempt=1, reason="<s>"),
        "<h1>no json</h1>",
        answered(60, "https://fine"),
    ]
    return report_on(write(tmp_path_factory.mktemp("page") / "<a>.jsonl", lines))


@pytest.fixture(scope="module")
def parsed(report: Report) -> Parsed:
    return Parsed(page(report))


def test_what_a_log_says_is_text_and_makes_no_element(parsed: Parsed) -> None:
    allowed = {
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p", "section", "span", "dl",
        "dt", "dd", "ol", "ul", "li", "b", "i", "a", "wbr", "small", "div", "button", "figure", "figcaption",
        "h3", "noscript",
        "table", "caption", "thead", "tbody", "tr", "th", "td", "code", "details", "summary", "script",
    }  # fmt: skip
    assert {tag for tag, _ in parsed.elements} <= allowed
    assert [tag for tag, _ in parsed.elements].count("h1") == 1
    assert not {name for _, attrs in parsed.elements for name in attrs if name.startswith("on")}
    for text in (EVIL, EVIL_PATH, "<b>Error</b>", "<u>", "<s>", "<h1>no json</h1>", "<a>.jsonl"):
        assert text in parsed.words


def test_only_its_own_scripts_may_run_and_nothing_may_be_fetched(parsed: Parsed) -> None:
    [policy] = [
        attrs["content"] for tag, attrs in parsed.elements if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    run = [text for attrs, text in parsed.scripts if attrs.get("type") != "application/json"]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run]
    assert rules["script-src"].split() == hashes
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    for tag, attrs in parsed.elements:
        assert not {"src", "srcset", "action", "data"} & set(attrs), tag
        assert (attrs.get("href") or "#").startswith("#"), "a place in the page"


def test_the_charts_have_what_the_report_has(parsed: Parsed, report: Report) -> None:
    [data] = [json.loads(text) for attrs, text in parsed.scripts if attrs.get("type") == "application/json"]
    assert [one["host"] for one in data["series"]] == [None, EVIL, "https://fine"]
    for chart, series in zip(data["series"], report.series, strict=True):
        assert chart["answered"] == series.answered
        assert chart["p95"] == series.p95
    assert [one["host"] for one in data["states"]] == [EVIL, "https://fine"]
    assert [state for state, *_ in data["states"][0]["spans"]] == ["fine", "broken"]


def test_nothing_that_the_scripts_look_for_is_missing_from_the_page(parsed: Parsed) -> None:
    scripts = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("traces.js", "page.js"))
    wanted = set(re.findall(r'getElementById\("(\w+)"\)', scripts))
    assert wanted == {"data", "charts", "chosen", "key", "median", "numbers"}
    assert wanted <= {attrs.get("id") for _, attrs in parsed.elements}
    plots = {(attrs["class"] or "").removeprefix("plot ") for _, attrs in parsed.elements if attrs.get("role") == "img"}
    assert plots == {"states", "calls", "share", "latency", "retries"}


# -- what is said first ----------------------------------------------------------------------------


def told(report: Report, *findings: Finding, **changes: Any) -> str:
    """The text of the page with these findings."""
    return Parsed(page(replace(report, findings=list(findings), **changes))).words


def test_the_heading_counts_what_goes_on_and_what_is_over(report: Report) -> None:
    bad, over, good, note = (Finding(tone, tone) for tone in ("bad", "over", "good", "note"))
    for findings, says in (
        ((bad, over, over), "1 trouble goes on, 2 are over"),
        ((bad, bad), "2 troubles go on"),
        ((over, note), "1 trouble, and it is over"),
        ((over, over), "2 troubles, all of them over"),
        ((good,), "No trouble"),
        ((note,), "No trouble"),
    ):
        assert _title(page(replace(report, findings=list(findings)))).startswith(
            f"{says} · 2025-11-22 14:00:00.0 to 14:01:00.0 UTC, 1 min"
        )


def _title(text: str) -> str:
    found = re.search("<title>(.*?)</title>", text)
    assert found
    return found[1]


def test_year_and_zone_and_what_was_left_out_are_said_in_the_head(report: Report) -> None:
    words = told(report, chosen=Filter(since=NOON, until=NOON + 90, hosts=("pay<b>", "x*")))
    assert "2025-11-22 14:00:00.0 to 14:01:00.0 UTC, 1 min" in words
    assert "only hosts that fit pay<b> or x*, since 2025-11-22 14:00:00 UTC, until 2025-11-22 14:01:30 UTC" in words
    assert "only hosts" not in told(report)


def test_a_period_over_midnight_has_both_dates(report: Report) -> None:
    assert "2025-11-22 14:00:00 to 2025-11-23 14:00:00 UTC" in told(report, end=NOON + 86_400)


def test_a_finding_says_all_it_knows_and_links_its_runbook(report: Report) -> None:
    link = "https://runbooks.example.net/<x>"
    finding = Finding("bad", EVIL, ("first", "second"), "done it", "no: open", "look <there>", link, (EVIL,), ())
    text = page(replace(report, findings=[finding]))
    parsed = Parsed(text)
    for said in (EVIL, "first", "second", "done it", "no: open", "look <there>"):
        assert said in parsed.words
    assert link in [attrs.get("href") for tag, attrs in parsed.elements if tag == "a"]
    script = Parsed(page(replace(report, findings=[replace(finding, runbook="javascript:alert(1)")])))
    assert [attrs for tag, attrs in script.elements if tag == "a"] == []


def test_a_host_with_a_hundred_episodes_shows_the_latest_and_opens_the_rest(report: Report) -> None:
    finding = Finding("over", EVIL, tuple(f"episode {number}" for number in range(100)))
    text = page(replace(report, findings=[finding]))
    before, after = text.split("<summary>97 earlier</summary>")
    assert "episode 99<" in before
    assert "episode 0<" in after
    assert "episode 97<" in before


def test_what_goes_on_is_shown_first_of_all_whenever_it_began(report: Report) -> None:
    """It had begun before four short episodes, and had to be opened to be seen."""
    episodes = [
        Episode(EVIL, "partial", NOON, None),
        *(Episode(EVIL, "total", NOON + at, NOON + at) for at in range(1, 5)),
    ]
    since = ("it goes on", "one", "two", "three", "four")
    finding = Finding("bad", EVIL, since, hosts=(EVIL,), episodes=(0, 1, 2, 3, 4))
    text = page(replace(report, episodes=episodes, findings=[finding]))
    assert "<div>three</div><div>four</div><div>it goes on</div><details><summary>2 earlier</summary>" in text
    assert f'data-from="{NOON:.3f}"' in text


def test_hosts_that_fell_together_are_told_in_one_line_and_opened_host_by_host(report: Report) -> None:
    hosts = ("https://a", "https://b")
    episodes = [Episode(hosts[0], "total", NOON, NOON + 20), Episode(hosts[1], "total", NOON + 5, NOON + 30)]
    since = ("the first", "the other", "the third", "the fourth")
    finding = Finding("over", "4 of 4 hosts fell", since, hosts=hosts, episodes=(0, 1))
    text = page(replace(report, episodes=episodes, findings=[finding]))
    assert "14:00:00.0 to 14:00:30.0, 30 s</div><details><summary>4 lines, host by host</summary>" in text
    episodes[0].end = None
    text = page(replace(report, episodes=episodes, findings=[finding]))
    assert "14:00:00.0 to the end of the log, 1 min</div><details>" in text


def test_a_finding_leads_to_its_time_and_host_in_the_charts(report: Report) -> None:
    episodes = [Episode(EVIL, "total", NOON, NOON + 5), Episode(EVIL, "slow", NOON + 10, None)]
    finding = Finding("bad", EVIL, hosts=(EVIL,), episodes=(0, 1))
    parsed = Parsed(page(replace(report, episodes=episodes, findings=[finding])))
    [link] = [attrs for tag, attrs in parsed.elements if tag == "a"]
    assert link["href"] == "#charts"
    assert (link["data-host"], link["data-from"], link["data-until"]) == (EVIL, f"{NOON + 10:.3f}", f"{NOON + 60:.3f}")
    [data] = [json.loads(text) for attrs, text in parsed.scripts if attrs.get("type") == "application/json"]
    assert data["states"][0]["troubles"] == [["total", "broken", 0, 5], ["slow", "slow", 10, 60]]
    assert "goes on" in parsed.words


def test_a_host_is_called_by_its_name_with_the_address_beside_it(tmp_path: Path) -> None:
    report = report_on(write(tmp_path / "log", [answered(0, "https://10.0.0.1"), failed(1, "https://10.0.0.1")]))
    report.hosts[0].names = ["payments"]
    text = page(report)
    assert "payments<small>https://10.0.0.1</small>" in text.replace("<wbr>", "")
    assert '"label":"payments (10.0.0.1)"' in text


# -- its size --------------------------------------------------------------------------------------


def test_failed_sends_and_slow_calls_have_names_and_retries_not_made_have_words(tmp_path: Path) -> None:
    lines = [answered(0, "https://10.0.0.1", name="payments"), failed(1, "https://10.0.0.1", name="payments")]
    lines += [line(2, "retry.abandoned", "https://10.0.0.1", attempt=1, reason="breaker")]
    shown = page(report_on(write(tmp_path / "a.jsonl", lines))).replace("<wbr>", "")
    for title in ("Failed sends", "Slowest calls"):
        table = shown.partition(title)[2].partition("</table>")[0]
        assert "payments" in table
        assert "10.0.0.1" in table
    assert "not retried: the circuit had opened" in shown


def test_a_log_that_is_cut_is_said_before_anything_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(answered(1).encode() + b"\n") + b"no gzip")
    head = page(report_on(path)).partition("</header>")[0]
    assert f"{path} is cut off or damaged: this report covers only the readable part" in head


@pytest.mark.left_to_ci
def test_a_page_about_ten_thousand_hosts_is_small_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    lines = [failed(at / 100, f"https://host-{at}.example.net") for at in range(10_000)]
    report = report_on(write(tmp_path / "log.jsonl", lines))
    report.findings = [
        Finding("bad", facts.host, ("since",), "done", "no", hosts=(facts.host,)) for facts in report.hosts
    ]
    text = page(report)
    assert len(text.encode()) < 1_500_000
    words = Parsed(text).words
    assert "and 9,900 findings more, which --json has" in words
    assert "and 9,900 hosts more, which --json has" in words
    assert "The 12 worst of 10,000 hosts have lines of their own" in words


def test_a_circuit_that_flaps_ten_thousand_times_makes_no_long_page(report: Report) -> None:
    host = replace(report.hosts[0])
    host.circuit_spans = [
        Span(("open", "closed")[at % 2], NOON + at * 0.006, NOON + at * 0.006 + 0.006) for at in range(10_000)
    ]
    assert len(page(replace(report, hosts=[host, *report.hosts[1:]]))) - len(page(report)) < 100_000


# -- how hosts are told apart ----------------------------------------------------------------------

_CSS = (FOLDER / "page.css").read_text(encoding="utf-8")
_LIGHT, _DARK = _CSS.split("@media screen and (prefers-color-scheme: dark)")

#: How people without red or green cones see linear RGB (Machado and others, 2009).
_EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red cones": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "no green cones": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _linear(colour: str) -> list[float]:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _perceived(linear: Sequence[float]) -> list[float]:
    """In OKLab, in which equal distances look equal."""
    mixed = ((0.4122, 0.5363, 0.0514), (0.2119, 0.6807, 0.1074), (0.0883, 0.2817, 0.6300))
    cones = [max(0.0, _dot(row, linear)) ** (1 / 3) for row in mixed]
    axes = ((0.2105, 0.7936, -0.0041), (1.9780, -2.4286, 0.4506), (0.0259, 0.7828, -0.8087))
    return [_dot(row, cones) for row in axes]


@pytest.mark.parametrize("scheme", [_LIGHT, _DARK], ids=["light", "dark"])
@pytest.mark.parametrize("eyes", _EYES)
def test_no_two_of_twelve_hosts_have_colours_that_look_alike(scheme: str, eyes: str) -> None:
    """A just noticeable difference is about 0.02. Markers and dashes tell the rest."""
    colours = re.findall(r"--host-\d+: (#\w{6})", scheme)
    assert len(colours) == 12
    seen = [_perceived([_dot(row, _linear(colour)) for row in _EYES[eyes]]) for colour in colours]
    assert min(math.dist(one, other) for one, other in itertools.combinations(seen, 2)) > 0.07


@pytest.mark.parametrize("scheme", [_LIGHT, _DARK], ids=["light", "dark"])
def test_what_is_drawn_stands_out_from_its_ground(scheme: str) -> None:
    """WCAG 1.4.11 asks for a contrast of 3 of what has to be seen. What is quiet, fine and closed, need not be."""

    def light(name: str) -> float:
        found = re.search(rf"--{name}: (#\w+)", scheme)
        assert found, name
        return _dot((0.2126, 0.7152, 0.0722), _linear(found[1])) + 0.05

    ground = light("card")
    drawn = [*(f"host-{at}" for at in range(12)), "answered", "failed", "refused", "retried", "broken", "open", "slow"]
    for name in [*drawn, "half-open", "would-be-open", "isolated"]:
        assert max(light(name), ground) / min(light(name), ground) >= 2.99, name


def test_every_state_has_a_colour_and_stands_in_the_legend() -> None:
    states = {*HOST, *CIRCUIT, *get_args(Kind)} - {"retried"}  # which is no trouble
    hues = {charts.hue(state) for state in states}
    assert {f"--{name}" for name in hues} <= set(re.findall(r"--[\w-]+(?=:)", _LIGHT)) & set(
        re.findall(r"--[\w-]+(?=:)", _DARK)
    )
    same = {"closed": "fine", "open": "broken"}
    assert {same.get(name, name) for name in hues} == {name for _, name, _ in charts.LEGENDS["states"]}


def test_the_charting_library_is_the_one_that_is_pinned() -> None:
    """Nobody reads a minified script: the hash says that it is npm's, and `make vendor` that npm still has it so."""
    folder = FOLDER / "vendor"
    pin = tomllib.loads((folder / "pin.toml").read_text(encoding="utf-8"))
    script = (folder / pin["file"]).read_bytes()
    assert integrity(script) == pin["script"]
    assert f"v{pin['version']}\n".encode() in script[:200]
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == {pin["file"], "pin.toml", "LICENSE"}


def test_no_script_ends_its_own_element() -> None:
    """A page is made by putting scripts between tags: what looks like the tag's end, or a comment, would cut them."""
    for path in FOLDER.rglob("*.js"):
        assert not re.search(r"</script|<!--", path.read_text(encoding="utf-8"), re.IGNORECASE), path.name
