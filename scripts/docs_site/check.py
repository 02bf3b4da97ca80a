"""Looks through the built site: each link and anchor leads somewhere, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: What a browser loads by itself, by tag and attribute. `<a href>` is followed by people alone.
_LOADED = {
    ("audio", "src"),
    ("embed", "src"),
    ("iframe", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("link", "href"),
    ("object", "data"),
    ("script", "src"),
    ("source", "src"),
    ("source", "srcset"),
    ("video", "src"),
}
_CSS_URL = re.compile(r"""(?:@import\s+|url\(\s*)["']?((?:https?:)?//[^"')\s]+)""")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if not value:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            if (tag, name) in _LOADED:
                self.loads.append(value)
            elif tag == "a" and name == "href":
                self.links.append(value)


def faults(site: Path) -> list[str]:
    """What is wrong with the site, a sentence each; none if all is well."""
    pages: dict[Path, _Page] = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = _Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for target in page.loads:
            if _is_elsewhere(target):
                found.append(f"{name} loads {target}: the site has to carry it.")
            elif urlsplit(target).path and not target.startswith("data:") and not _file(path, target).is_file():
                found.append(f"{name} loads {target}, which is not there.")
        for target in page.links:
            found += _link_faults(site, path, target, pages)
    for path in sorted(site.rglob("*.css")):
        for target in _CSS_URL.findall(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(site)} loads {target}: the site has to carry it.")
    return found


def _link_faults(site: Path, path: Path, target: str, pages: dict[Path, _Page]) -> list[str]:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return []
    name = path.relative_to(site)
    other = _file(path, target) if parts.path else path
    if not other.is_file():
        return [f"{name} links to {target}, which is not there."]
    fragment = unquote(parts.fragment)
    if fragment and other in pages and fragment not in pages[other].anchors:
        return [f"{name} links to {target}, and that page has no such place."]
    return []


def _is_elsewhere(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


def _file(page: Path, target: str) -> Path:
    return (page.parent / unquote(urlsplit(target).path)).resolve()
