"""The page of `--html`: all of it is in it, and nothing in it is anything but text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts.vendor import integrity
from sleepwalker.inspect import Report, page
from tests.unit.inspect_logs import answered, failed, line, report_on, write

EVIL = "https://<script>alert(1)</script>&\"'"
EVIL_PATH = "/<img src=x onerror=alert(1)>"


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
        "dt", "dd", "ul", "li", "b", "div", "label", "select", "option", "noscript", "table", "thead", "tbody", "tr",
        "th", "td", "code", "script",
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
        assert not {"src", "href", "srcset", "action", "data"} & set(attrs), tag


def test_the_charts_have_what_the_report_has(parsed: Parsed, report: Report) -> None:
    [data] = [json.loads(text) for attrs, text in parsed.scripts if attrs.get("type") == "application/json"]
    assert [one["host"] for one in data["series"]] == [None, EVIL, "https://fine"]
    for chart, series in zip(data["series"], report.series, strict=True):
        assert chart["answered"] == series.answered
        assert chart["p95"] == series.p95
    assert [one["host"] for one in data["states"]] == [EVIL, "https://fine"]
    assert [state for state, *_ in data["states"][0]["spans"]] == ["fine", "broken"]


def test_nothing_in_the_page_is_missing_from_its_own_script() -> None:
    """The script looks elements up by their id: each must be in the page."""
    folder = Path(page.__code__.co_filename).parent
    script, source = ((folder / name).read_text(encoding="utf-8") for name in ("page.js", "page.py"))
    wanted = set(re.findall(r'getElementById\("(\w+)"\)', script))
    assert wanted == {"data", "charts", "host", "key"}
    assert all(f'id="{name}"' in source for name in wanted)


def test_the_charting_library_is_the_one_that_is_pinned() -> None:
    """Nobody reads a minified script: the hash says that it is npm's, and `make vendor` that npm still has it so."""
    folder = Path(page.__code__.co_filename).parent / "vendor"
    pin = tomllib.loads((folder / "pin.toml").read_text(encoding="utf-8"))
    script = (folder / pin["file"]).read_bytes()
    assert integrity(script) == pin["script"]
    assert f"v{pin['version']}\n".encode() in script[:200]
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == {pin["file"], "pin.toml", "LICENSE"}


def test_no_script_ends_its_own_element() -> None:
    """A page is made by putting scripts between tags: what looks like the tag's end, or a comment, would cut them."""
    folder = Path(page.__code__.co_filename).parent
    for path in folder.rglob("*.js"):
        assert not re.search(r"</script|<!--", path.read_text(encoding="utf-8"), re.IGNORECASE), path.name
