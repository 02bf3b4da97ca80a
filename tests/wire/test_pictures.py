"""The pictures of the README and the docs still show what the pages and commands show.

The same code takes them: here into `artifacts/pictures`, with less traffic, and for `make pictures` into
`docs/pictures`. What can be read in each is written down beside them, in `pictures.json`; where that differs from what
is taken now, the pictures are old.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import requests
from browser import ARTIFACTS, Browser
from pictures.drawing import moving, still
from pictures.shop import on_a_machine_called, running_shop
from pictures.terminal import Frame, Line, Look, Run, record, text_of
from status_site import Site

from sleepwalker import status
from sleepwalker.cli.demo.serve import serving

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "pictures"
MANIFEST = COMMITTED / "pictures.json"
#: Set by `make pictures`.
ANEW = os.environ.get("PICTURES") == "anew"
#: With fewer rounds of calls and fewer pixels for one of CSS, pictures are coarser, and show the same.
ROUNDS, SCALE = (184, 1.5) if ANEW else (46, 1.0)
DEMO = "sleepwalker demo" if ANEW else "sleepwalker demo --quick"
TAKEN = COMMITTED if ANEW else ARTIFACTS / "pictures"
SCHEMES = ("light", "dark")
PAGES = ("status-page", "inspect-page")
TERMINALS = ("demo.svg", "download.svg", "get.svg", "inspect.svg")
#: CSS pixels of pages, at which the table of hosts has its columns, and below the last thing that is in the picture.
WIDTH, MARGIN = 1360, 16
#: Characters of terminals, and lines of one that moves.
COLUMNS, ROWS = 104, 40
#: How many bars and points of charts are drawn.
DRAWN = "document.querySelectorAll('.plot .point path, .plot path.js-line').length"

#: `take(name, url, drawn, last)` pictures a page in light and dark, once the JavaScript `drawn` is true, from its top
#: to the bottom of the element `last`.
Take = Callable[[str, str, str, str], None]

pytestmark = [pytest.mark.once, pytest.mark.long, pytest.mark.left_to_ci]


def keep(name: str, shows: Iterable[str]) -> None:
    """Compare what the picture shows with what the committed one does; for `make pictures`, write it down."""
    wanted = json.loads(MANIFEST.read_text(encoding="utf-8")) if MANIFEST.exists() else {}
    found = list(shows)
    if ANEW:
        text = json.dumps(dict(sorted({**wanted, name: found}.items())), indent=1, ensure_ascii=False)
        MANIFEST.write_text(text + "\n", encoding="utf-8")
    assert found == json.loads(MANIFEST.read_text(encoding="utf-8")).get(name), (
        f"docs/pictures/{name} shows something else than what is there now: `make pictures` takes the pictures anew"
    )


def plain(text: str) -> str:
    """A text without what is of one run: its numbers, and the rules and blanks that make room for them."""
    return " ".join(re.sub(r"─+", "─", re.sub(r"\d[\d.,:]*(?: m?s\b)?", "0", text)).split())


@pytest.fixture
def take(browser: Browser, program: Callable[[str], Path]) -> Take:
    pngquant = program("pngquant")

    def take(name: str, url: str, drawn: str, last: str) -> None:
        TAKEN.mkdir(parents=True, exist_ok=True)
        for scheme in SCHEMES:
            browser.resize(WIDTH)
            browser.prefer(scheme)
            browser.open(url)
            browser.wait(drawn)
            bottom = browser.run("document.querySelector(arguments[0]).getBoundingClientRect().bottom", last)
            browser.resize(WIDTH, math.ceil(bottom) + MARGIN, SCALE)
            picture = browser.screenshot(f"{name}-{scheme}")
            small = TAKEN / f"{name}-{scheme}.png"
            options = ["--nofs", "--speed", "1" if ANEW else "11", "--strip", "--force", "--output", small]
            subprocess.run([pngquant, *options, picture], check=True, timeout=60)

    return take


def typed(command: str) -> Line:
    """The line with which somebody starts a command."""
    return (Run(0, "$", Look(dim=True)), Run(2, command, Look(bold=True)))


def shown(command: str, folder: Path) -> list[Frame]:
    """What `sleepwalker …` shows from the prompt on; it must end well."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
    }
    frames, code = record(command.split(), columns=COLUMNS, environment=environment, folder=str(folder))
    assert code == 0, [text_of(line) for line in frames[-1].lines]
    return [Frame(frame.at, (typed(command), *frame.lines)) for frame in frames]


def write(name: str, svg: str) -> None:
    TAKEN.mkdir(parents=True, exist_ok=True)
    (TAKEN / name).write_text(svg, encoding="utf-8")


def first_words(lines: Sequence[Line]) -> list[str]:
    """What lines begin with, without what is of one run: each once, in order."""
    return list(dict.fromkeys(word for line in lines if (word := text_of(line).partition(" ")[0]).isalpha()))


def test_the_pictures_of_a_shop_are_those_of_the_status_page_and_of_inspect(
    browser: Browser, site: Callable[[object], Site], take: Take, tmp_path: Path
) -> None:
    log = tmp_path / "events.jsonl"
    with on_a_machine_called("web-1"), running_shop(log, ROUNDS) as shop:
        page = site(status.app(shop.manager, title="shop", clock=shop.clock))
        take("status-page", page.url, "document.querySelectorAll('tbody tr').length === 8", "footer")
        hosts = "[...document.querySelectorAll('tbody tr')]"
        shows = [
            browser.text("h1"),
            browser.text("nav"),
            browser.text("thead"),
            *browser.run(f"{hosts}.map(row => row.querySelector('th').innerText.split('\\n')[0])"),
            *browser.run(f"{hosts}.map(row => row.querySelector('td.state').innerText)"),
            browser.text("footer"),
        ]
        keep("status-page", map(plain, shows))
    [*_, report] = shown("sleepwalker inspect events.jsonl --html report.html", tmp_path)
    take("inspect-page", (tmp_path / "report.html").as_uri(), f"{DRAWN} > 100", ".plot.share")
    shows = browser.run("[...document.querySelectorAll('h1, h2, h3')].map(heading => heading.innerText)")
    keep("inspect-page", map(plain, shows))
    [end] = [number for number, line in enumerate(report.lines) if text_of(line).startswith("over time")]
    write("inspect.svg", still("sleepwalker inspect", report.lines[: end - 1], COLUMNS))
    keep("inspect.svg", first_words(report.lines[:end]))


def test_the_picture_of_a_demo_is_of_this_one(tmp_path: Path) -> None:
    frames = shown(DEMO, tmp_path)
    write("demo.svg", moving("sleepwalker demo", frames, COLUMNS, ROWS))
    [*_, last] = frames
    [end] = [
        number for number, line in enumerate(last.lines) if text_of(line).startswith("Answered, all hosts but moves")
    ]
    keep("demo.svg", [plain(text_of(line)) for line in last.lines[1:12]] + first_words(last.lines[12:end]))


def test_the_pictures_of_calls_are_of_this_command(tmp_path: Path) -> None:
    with serving() as [url]:
        requests.post(f"{url}/next", json=[503, "cut"], timeout=10).raise_for_status()
        for name, command in (
            ("get", f"sleepwalker get {url}/ip"),
            ("download", f"sleepwalker get -o file.bin {url}/file"),
        ):
            [*_, last] = shown(command, tmp_path)
            write(f"{name}.svg", still("sleepwalker get", last.lines, COLUMNS))
            keep(f"{name}.svg", [plain(text_of(line)) for line in last.lines])


def test_every_picture_is_there_and_small_and_in_a_page() -> None:
    names = {f"{name}-{scheme}.png" for name in PAGES for scheme in SCHEMES} | set(TERMINALS)
    assert {path.name for path in COMMITTED.iterdir()} == names | {MANIFEST.name}
    assert sorted(json.loads(MANIFEST.read_text(encoding="utf-8"))) == sorted([*PAGES, *TERMINALS])
    sizes = {path.name: path.stat().st_size for path in COMMITTED.iterdir()}
    assert [name for name, size in sizes.items() if size > (300_000 if name in TERMINALS else 200_000)] == []
    assert sum(sizes.values()) < 1_500_000
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    shown = {name for page in pages for name in re.findall(r"pictures/([\w.-]+)", page.read_text(encoding="utf-8"))}
    assert shown == names
