"""Each page of docs/ can be reached and left, and each picture is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.docs_site.stage import pieces, sections

#: Pages.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
#: The list of all pages is not one of them.
LIST = DOCS / "README.md"


def _targets(page: Path) -> set[Path]:
    """The files that the page links to or shows, itself left out."""
    text = "".join(piece for is_code, piece in pieces(page.read_text(encoding="utf-8")) if not is_code)
    named = re.findall(r"\]\(<?([^)#<>\s]+)", text) + re.findall(r'\b(?:href|src|srcset)="([^"#]+)', text)
    return {(page.parent / target).resolve() for target in named if not re.match(r"[a-z]+:", target)} - {page}


TARGETS = {page: _targets(page) for page in [*PAGES, ROOT / "README.md"]}


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_link_leads_to_each_page_from_a_page_that_is_no_list(page: Path) -> None:
    assert [other for other, targets in TARGETS.items() if other not in (LIST, page) and page in targets]


@pytest.mark.parametrize("page", [page for page in PAGES if page != LIST], ids=_name)
def test_each_page_leads_on_to_another(page: Path) -> None:
    assert TARGETS[page] & set(TARGETS)


def test_each_page_has_its_place_in_the_list_of_all_pages() -> None:
    listed = [ROOT / page for section in sections() for page in section.pages]
    assert sorted(listed) == sorted(set(listed)), "a page has two places"
    assert set(listed) == set(PAGES) - {LIST}


def test_each_picture_is_shown_and_each_that_is_shown_is_there() -> None:
    shown = {target for targets in TARGETS.values() for target in targets if target.suffix in (".png", ".svg", ".gif")}
    pictures = {path for path in (DOCS / "pictures").iterdir() if path.suffix in (".png", ".svg", ".gif")}
    assert pictures - shown == set()
    assert [path for path in shown if not path.is_file()] == []
