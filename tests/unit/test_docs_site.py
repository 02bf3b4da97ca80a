"""The site of the documentation: how its pages are laid out, checked, versioned, and made from the code."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from scripts import npm
from scripts.docs_site import api, check, llms, mermaid, versions
from scripts.docs_site import stage as staging
from scripts.docs_site.__main__ import edit_link

#: Pages.
pytestmark = pytest.mark.once


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> staging.Stage:
    """Of a small repository."""
    root = tmp_path / "repository"
    for name in ("README.md", "docs/README.md", "docs/how-to/log.md", "docs/operations/README.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    for name in ("docs/pictures/page.png", "docs/pictures/page-dark.png", "tests/test_a.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n")
    monkeypatch.setattr(staging, "ROOT", root)
    return staging.Stage(tmp_path / "pages", tmp_path / "extra")


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("[a](../README.md)", "[a](../pages.md)"),
        ("[a](../../README.md#install)", "[a](../index.md#install)"),
        ("[a](../operations/README.md)", "[a](../operations/index.md)"),
        ("[over two\nlines](log.md#here)", "[over two\nlines](log.md#here)"),
        ("[a](#here) [b](https://example.com/README.md)", "[a](#here) [b](https://example.com/README.md)"),
        ("![a](../pictures/page.png)", "![a](../pictures/page.png)"),
        ("[a](../../tests/test_a.py)", "[a](../files/tests/test_a.py.md)"),
        ('<a href="../README.md#all">a</a>', '<a href="../pages.html#all">a</a>'),
        ("`[a](nothing.md)`", "`[a](nothing.md)`"),
        ("```text\n[a](nothing.md)\n```\n[b](../README.md)", "```text\n[a](nothing.md)\n```\n[b](../pages.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(stage: staging.Stage, text: str, becomes: str) -> None:
    assert stage.rewritten(text, "docs/how-to/log.md", "how-to/log.md") == becomes


def test_a_picture_in_two_colours_follows_the_theme_that_the_reader_chose(stage: staging.Stage) -> None:
    """In the repository the system's preference decides: that is what `<picture>` knows."""
    text = """<picture>
      <source media="(prefers-color-scheme: dark)" srcset="../pictures/page-dark.png">
      <img src="../pictures/page.png" alt="a page,
      in two lines">
    </picture>"""
    assert stage.rewritten(text, "docs/how-to/log.md", "how-to/log.md").splitlines() == [
        '<img class="only-light" src="../pictures/page.png" alt="a page,',
        '      in two lines">',
        '<img class="only-dark" src="../pictures/page-dark.png" alt="a page,',
        '      in two lines">',
    ]


def test_what_a_page_links_to_is_taken_along(stage: staging.Stage) -> None:
    page = staging.ROOT / "docs/how-to/log.md"
    page.write_text("# Log\n\n[a](../../tests/test_a.py) ![b](../pictures/page.png)\n")
    stage.add("docs/how-to/log.md")
    stage.lay_out()
    found = {path.relative_to(stage.folder).as_posix() for path in stage.folder.rglob("*") if path.is_file()}
    assert found == {"how-to/log.md", "files/tests/test_a.py.md", "files/tests/test_a.py", "pictures/page.png"}
    assert (stage.extra / "pictures/page.png").is_file()  # HTML within a page shows it from here
    assert stage.sources == {"how-to/log": "docs/how-to/log.md"}


@pytest.mark.parametrize("text", ["[a](nothing.md)", "[a](../how-to)", '<img src="nothing.png">'])
def test_a_link_that_leads_nowhere_is_an_error(stage: staging.Stage, text: str) -> None:
    with pytest.raises(staging.SiteError, match=r"docs/how-to/log\.md links to"):
        stage.rewritten(text, "docs/how-to/log.md", "how-to/log.md")


def test_marks_of_a_merge_are_an_error(stage: staging.Stage) -> None:
    """They were in a page for a day, and nothing said so."""
    (staging.ROOT / "README.md").write_text("# A\n\n<<<<<<< HEAD\nx\n=======\ny\n>>>>>>> main\n")
    stage.add("README.md")
    with pytest.raises(staging.SiteError, match=r"README\.md has the marks of a merge"):
        stage.lay_out()


def test_the_sections_of_the_site_are_the_headings_of_the_list_of_all_pages(stage: staging.Stage) -> None:
    (staging.ROOT / "docs/README.md").write_text(
        "# Docs\n\n[a](how-to/log.md)\n\n## The pages\n\n### How to\n\n"
        "- [Log](how-to/log.md) and [parts](how-to/log.md#a)\n\n### Operations\n\n[All](operations/README.md)\n"
    )
    assert staging.sections() == [
        staging.Section("How to", ("docs/how-to/log.md",)),
        staging.Section("Operations", ("docs/operations/README.md",)),
    ]


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="other.html">', "page.html links to other.html, which is not there."),
        ('<a href="page.html#no">', "page.html links to page.html#no, and that page has no such place."),
        ('<a href="#no">', "page.html links to #no, and that page has no such place."),
        (
            '<script src="https://cdn.example/x.js">',
            "page.html loads https://cdn.example/x.js: the site has to carry it.",
        ),
        ('<img srcset="//cdn.example/x.png">', "page.html loads //cdn.example/x.png: the site has to carry it."),
        ('<img src="no.png">', "page.html loads no.png, which is not there."),
    ],
)
def test_a_fault_of_the_built_site_is_found(tmp_path: Path, html: str, fault: str) -> None:
    (tmp_path / "page.html").write_text(html)
    assert check.faults(tmp_path) == [fault]


@pytest.mark.parametrize("css", ["@import 'https://cdn.example/x.css';", "a { background: url(//cdn.example/x.png) }"])
def test_a_style_that_loads_from_elsewhere_is_found(tmp_path: Path, css: str) -> None:
    (tmp_path / "x.css").write_text(css)
    [fault] = check.faults(tmp_path)
    assert fault.startswith("x.css loads ")


def test_a_site_without_faults_has_none(tmp_path: Path) -> None:
    (tmp_path / "x.css").write_text("a { background: url(icon.svg) }")
    (tmp_path / "other.html").write_text('<h1 id="a b">')
    (tmp_path / "page.html").write_text(
        '<link href="x.css"><a href="other.html#a%20b"><a href="https://example.com/"><a name="here"><a href="#here">'
    )
    assert check.faults(tmp_path) == []


def test_versions_are_listed_with_the_newest_first_and_the_root_leads_to_the_newest_release(tmp_path: Path) -> None:
    for name in ("3.0", "3.10", "3.9", "4.0rc1", "4.0a2", "dev", "_static"):
        (tmp_path / name).mkdir()
        if name != "_static":
            (tmp_path / name / "index.html").touch()
    (tmp_path / "3.10" / "llms.txt").write_text("# x\n\n[a](how-to/log.md) [b](https://example.com) [c](#c)\n")
    versions.publish(tmp_path)
    listed = json.loads((tmp_path / "versions.json").read_text())
    assert listed == {"newest": "3.10", "versions": ["dev", "4.0rc1", "4.0a2", "3.10", "3.9", "3.0"]}
    assert 'url=3.10/index.html"' in (tmp_path / "index.html").read_text()
    assert (tmp_path / "llms.txt").read_text() == "# x\n\n[a](3.10/how-to/log.md) [b](https://example.com) [c](#c)\n"


@pytest.mark.parametrize(
    ("found", "newest"), [(["dev"], "dev"), (["dev", "3.0rc1"], "3.0rc1"), (["3.0rc2", "dev", "3.0rc10"], "3.0rc10")]
)
def test_without_a_release_the_root_leads_to_the_newest_candidate_or_the_checkout(
    found: list[str], newest: str
) -> None:
    assert versions.newest(found) == newest


@pytest.mark.parametrize("version", ["3", "3.0", "3.0.1", "3.0rc1", "dev"])
def test_a_version_names_a_folder(version: str) -> None:
    assert versions.check(version) == version


@pytest.mark.parametrize("version", ["", "v3", "../3", "3.0/x", "latest", "3."])
def test_what_is_no_version_is_an_error(version: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        versions.check(version)


def test_pages_have_edit_links_where_the_repository_has_a_place() -> None:
    link = edit_link({"urls": {"Source": "https://example.com/sleepwalker/"}})
    assert link is not None
    assert link.format(path="docs/llms.md") == "https://example.com/sleepwalker/edit/main/docs/llms.md"
    assert edit_link({"urls": {"Documentation": "https://example.com"}}) is None
    assert edit_link({}) is None


@pytest.mark.parametrize(
    "module",
    [
        "sleepwalker",
        "sleepwalker.adapters",
        "sleepwalker.adapters.httpx2",
        "sleepwalker.aio",
        "sleepwalker.datarep",
        "sleepwalker.fleet",
        "sleepwalker.links",
        "sleepwalker.logging",
        "sleepwalker.otel",
        "sleepwalker.prometheus",
        "sleepwalker.service",
        "sleepwalker.status",
    ],
)
def test_every_public_name_is_on_a_page_of_the_api(module: str) -> None:
    shown = api.names()
    modules_and_others = {"exceptions", "logging", "datarep", "mgr", "service", "Response", "ServiceDefManager"}
    assert [name for name in importlib.import_module(module).__all__ if name not in {*shown, *modules_and_others}] == []


class _Specimen:
    """A thing.

    See `Connection.get` and `nothing`.

    Args:
        name: What it is called,
            in a word.
        clock: For tests.

    Raises:
        URLError: for a name
            that cannot be.

    Example:
        ```python
        x = 1
        ```
    """

    def __init__(self, name: str, *, clock: object = object(), count: int = 3) -> None: ...

    @property
    def size(self) -> int:
        """How large."""
        return 1

    async def run(self, *args: str) -> list[str]:
        """Run it."""
        return []

    def _hidden(self) -> None:
        """Not shown."""


def test_a_page_of_the_api_has_the_signature_the_arguments_and_the_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    _Specimen.__module__ = "sleepwalker.specimen"
    lines = list(api._object("Specimen", _Specimen, {"Connection.get": "sleepwalker.Connection.get"}))
    text = "\n".join(lines)
    assert lines[0] == "::::::{py:class} Specimen(name: str, *, clock: object = ..., count: int = 3)"
    assert "See {py:obj}`Connection.get <sleepwalker.Connection.get>` and `nothing`." in lines
    assert ":param name: What it is called, in a word." in lines
    assert ":raises URLError: for a name that cannot be." in lines
    assert "**Example**\n\n```python\nx = 1\n```\n" in text
    assert ":::::{py:property} size\n:type: int\n\nHow large.\n" in text
    assert ":::::{py:method} run(*args: str) -> list[str]\n:async:\n\nRun it.\n" in text
    assert "_hidden" not in text


def test_llms_txt_is_the_one_page_and_the_list_of_all_pages(tmp_path: Path) -> None:
    pages, extra = tmp_path / "pages", tmp_path / "extra"
    pages.mkdir()
    (pages / "llms.md").write_text("# sleepwalker on one page\n\n> A library.\n")
    (pages / "pages.md").write_text(
        "# Documentation\n\n## The pages\n\n### How to\n\n- [Log](log.md): with structlog\n"
    )
    llms.write(extra, pages, ["llms.md"])
    assert (extra / "llms.txt").read_text() == (
        "# sleepwalker\n\n> A library.\n\n## How to\n\n- [Log](log.md): with structlog\n"
        "- [All pages in one file](llms-full.txt)\n"
    )
    assert (extra / "llms-full.txt").read_text() == "<!-- llms.md -->\n\n# sleepwalker on one page\n\n> A library.\n"
    assert (extra / "pages.md").is_file()


def test_the_script_that_draws_is_not_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mermaid.js").write_bytes(b"draw()")
    monkeypatch.setitem(mermaid.PIN, "script", npm.integrity(b"draw()"))
    monkeypatch.setattr(npm, "npm", pytest.fail)
    mermaid.fetch(tmp_path)


def test_a_script_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "npm"
    changed.write_text(
        '#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\necho changed >"$2/mermaid.tgz"\n'
    )
    changed.chmod(0o755)
    monkeypatch.setattr(npm, "npm", lambda: str(changed))
    with pytest.raises(staging.SiteError, match=r"has the hash sha512-.*; mermaid\.toml says"):
        mermaid.fetch(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
