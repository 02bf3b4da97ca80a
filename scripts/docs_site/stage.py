"""Lays out the pages as the generator wants them: Markdown of the repository in, Markdown of the site out.

Pages are written to be read in the repository as well, so their links lead to files of it: `../../README.md`,
`../../benchmarks/results/outage.md`, a picture, a test. Here each page that the site has is copied, what its links lead
to is taken along, and the links are written anew. Whatever generator reads the result, it needs no knowledge of the
repository.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]

#: Pages whose place on the site is another one than below docs/. README.md is the index of its folder.
PLACES = {
    "README.md": "index.md",
    "docs/README.md": "pages.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
PICTURES = {".gif", ".jpg", ".png", ".svg"}
#: How the text of a linked file is coloured; one with another ending is shown plain.
LANGUAGES = {".json": "json", ".py": "python", ".toml": "toml", ".yml": "yaml"}

#: A block of code, or code within a sentence.
_CODE = re.compile(
    r"^([ \t]*)(`{3,}|~{3,})[^\n]*\n.*?^\1\2`*~*[ \t]*$|(?<!`)(`+)(?!`).+?(?<!`)\3(?!`)", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"(?<=\]\()<?([^)<>\s]+)>?(?=[\s)])")
_ATTRIBUTE = re.compile(r'(?<=\s)(src|href|srcset)="([^"]+)"')


_CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
#: A picture that is there for dark and for light pages.
_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)"\s*/?>'
    r'\s*<img ([^>]*)src="([^"]+)"([^>]*)>\s*</picture>'
)


class SiteError(Exception):
    """What keeps the site from being built; the text names the page and what to do."""


@dataclass
class Stage:
    """The pages laid out so far, in `folder`."""

    folder: Path
    #: What the site carries beside its pages: pictures that HTML within a page shows.
    extra: Path
    #: The file of the repository that a page of the site is made from, for edit links.
    sources: dict[str, str] = field(default_factory=dict)
    _waiting: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def add(self, source: str) -> str:
        """Have the file of the repository on the site, too; its place there."""
        suffix = PurePosixPath(source).suffix
        if suffix == ".md":
            place = PLACES.get(source) or source.removeprefix("docs/").replace("/README.md", "/index.md")
        elif suffix in PICTURES:
            place = f"pictures/{source.removeprefix('docs/').removeprefix('pictures/')}"
        else:
            place = f"files/{source.removeprefix('docs/')}.md"
        if source not in self._seen:
            self._seen.add(source)
            self._waiting.append(source)
        return place

    def lay_out(self) -> None:
        """Write what was added, and what that leads to."""
        while self._waiting:
            source = self._waiting.pop(0)
            place = self.add(source)
            if PurePosixPath(source).suffix in PICTURES:
                for folder in (self.folder, self.extra):
                    shutil.copyfile(ROOT / source, _made(folder / place))
                continue
            text = (ROOT / source).read_text(encoding="utf-8")
            if _CONFLICT.search(text):
                raise SiteError(f"{source} has the marks of a merge that was not finished.")
            if PurePosixPath(source).suffix == ".md":
                self.sources[place.removesuffix(".md")] = source
                self.write(place, self.rewritten(text, source, place))
            else:
                self.write(place, self._shown(source, place))

    def write(self, place: str, text: str) -> None:
        self._path(place).write_text(text, encoding="utf-8")

    def _path(self, place: str) -> Path:
        return _made(self.folder / place)

    def rewritten(self, text: str, source: str, place: str) -> str:
        """The text with links that hold at `place`, of the page that is `source` in the repository."""

        def markdown(match: re.Match[str]) -> str:
            return self._link(match[1], source, place)

        def html(match: re.Match[str]) -> str:
            target = self._link(match[2], source, place)
            return f'{match[1]}="{re.sub(r"[.]md(?=#|$)", ".html", target)}"'

        def prose(part: str) -> str:
            return _PICTURE.sub(_by_theme, _ATTRIBUTE.sub(html, _LINK.sub(markdown, part)))

        return "".join(piece if is_code else prose(piece) for is_code, piece in pieces(text))

    def _link(self, target: str, source: str, place: str) -> str:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or not parts.path:
            return target
        wanted = (ROOT / source).parent / parts.path
        if not wanted.is_file():
            raise SiteError(f"{source} links to {target}, and there is no such file.")
        found = wanted.resolve().relative_to(ROOT).as_posix()
        relative = os.path.relpath(self.add(found), PurePosixPath(place).parent)
        return relative + (f"#{parts.fragment}" if parts.fragment else "")

    def _shown(self, source: str, place: str) -> str:
        """A page that shows a file of another kind, and offers it."""
        path = PurePosixPath(source)
        copy = f"files/{path.name}" if len(path.parts) == 1 else f"files/{source.removeprefix('docs/')}"
        shutil.copyfile(ROOT / source, self._path(copy))
        name = PurePosixPath(copy).name
        language = LANGUAGES.get(path.suffix, "text")
        return (
            f"---\norphan: true\n---\n# {path.name}\n\n"
            f"`{source}` of this version. {{download}}`Download it <{name}>`.\n\n"
            f"```{{literalinclude}} {name}\n:language: {language}\n:linenos:\n```\n"
        )


def _by_theme(match: re.Match[str]) -> str:
    """On the site the reader chooses between dark and light, which is not always what the system prefers."""
    dark, before, light, after = match.groups()
    images = [
        f'<img class="only-{name}" {before}src="{src}"{after}>' for name, src in (("light", light), ("dark", dark))
    ]
    return "\n".join(images)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def pieces(text: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces: whether each is code, and the piece."""
    end = 0
    for match in _CODE.finditer(text):
        yield False, text[end : match.start()]
        yield True, match[0]
        end = match.end()
    yield False, text[end:]


@dataclass(frozen=True)
class Section:
    """A group of pages, as docs/README.md has them: the heading, and the pages that it links to."""

    title: str
    pages: tuple[str, ...]


def sections() -> list[Section]:
    """The order of the pages is that of docs/README.md: its headings of the third level, and the links below them."""
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    found = []
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        body = body.split("\n## ")[0]
        linked = re.findall(r"\]\(([^)#\s]+\.md)\)", body)
        pages = [os.path.normpath(f"docs/{target}") for target in linked]
        found.append(Section(title.strip(), tuple(dict.fromkeys(pages))))
    return found
