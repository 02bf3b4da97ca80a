"""Builds the site of the documentation: `make docs`, or `make docs VERSION=3.0`, into `site/`.

`stage.py` lays out the pages, `api.py` makes those of the API from the code, Sphinx builds, and `check.py` checks the
result. This runs in the environment of the tests, where the code can be imported with all its extras. Sphinx has an
environment of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.docs_site import api, check, llms, mermaid, versions
from scripts.docs_site.stage import ROOT, Section, SiteError, Stage, sections

HERE = Path(__file__).parent
SITE = ROOT / "site"
#: In the folder of a version: the digest of what it was made from.
MADE_FROM = ".made-from"
#: The generator's environment, which also keeps the script that draws.
KEPT = ROOT / ".venv-docs"


def edit_link(project: Mapping[str, Any]) -> str | None:
    """Where a page can be edited, with `{path}` for its file: below the `Source` of `[project.urls]`.

    None where that is not set: the repository has no public place then, and the pages have no edit links.
    """
    source = project.get("urls", {}).get("Source")
    return f"{str(source).rstrip('/')}/edit/main/{{path}}" if source else None


def lay_out(folder: Path, extra: Path) -> dict[str, str]:
    """Write all pages into `folder`, and into `extra` what the site carries beside them.

    Returns the file of the repository that each page is made from, for edit links.
    """
    stage = Stage(folder, extra)
    for source in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md"):
        stage.add(source)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        stage.add(path.relative_to(ROOT).as_posix())
    stage.lay_out()
    known = api.names()
    for name, page in api.pages().items():
        stage.write(f"reference/api/{name}.md", api.text(page, known))
    groups = [Section(section.title, tuple(map(stage.add, section.pages))) for section in sections()]
    groups.append(Section("API, from the code", tuple(f"reference/api/{name}.md" for name in api.pages())))
    groups.append(Section("Project", ("pages.md", "changelog.md", "contributing.md", "benchmarks/index.md")))
    llms.write(extra, folder, ["index.md", *(page for group in groups for page in group.pages)])
    _write_home(folder / "index.md", groups)
    _append(folder / "benchmarks" / "index.md", _tree("Results", ["results/*"], ":glob:"))
    return stage.sources


def _write_home(index: Path, groups: list[Section]) -> None:
    """The README, below the site's own head, with the order of all pages."""
    title, _, rest = index.read_text(encoding="utf-8").partition("\n")
    if not title.startswith("# "):
        raise SiteError("README.md does not begin with its title.")
    tagline, _, rest = rest.strip().partition("\n\n")
    head = (HERE / "home.md").read_text(encoding="utf-8").replace("{title}", title).replace("{tagline}", tagline)
    index.write_text(f"{head}\n{rest}\n", encoding="utf-8")
    titles = {f"reference/api/{name}.md": page.title for name, page in api.pages().items()} | {"pages.md": "All pages"}
    for group in groups:
        named = [f"{titles[page]} <{page}>" if page in titles else page for page in group.pages]
        _append(index, _tree(group.title, named))


def _tree(title: str, pages: Sequence[str], *options: str) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", *options, "", *pages, "```", ""])


def _append(page: Path, text: str) -> None:
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")


def digest() -> str:
    """Of all files that the site is made from: a test asks whether the one that is there is up to date."""
    found = hashlib.sha256()
    files = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "pyproject.toml")]
    for folder in ("benchmarks", "docs", "policies", "requirements", "scripts/docs_site", "sleepwalker"):
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in sorted(files):
        found.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def build(version: str, site: Path) -> int:
    """0: built. Raises SiteError where it cannot be, and prints what is wrong."""
    made_from = digest()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    mermaid.fetch(KEPT / "static")
    with tempfile.TemporaryDirectory() as scratch:
        pages, extra, built = (Path(scratch) / name for name in ("pages", "extra", "built"))
        for folder in (pages, extra):
            folder.mkdir()
        sources = lay_out(pages, extra)
        told = {
            "version": version,
            "edit": edit_link(project),
            "sources": sources,
            "mermaid": str(KEPT / "static"),
            "extra": str(extra),
        }
        command = [KEPT / "bin" / "sphinx-build", "-q", "-W", "--keep-going", "-j", "2", "-b", "html"]
        command += ["-c", HERE, pages, built]
        environment = {**os.environ, "SLEEPWALKER_SITE": json.dumps(told)}
        run = subprocess.run(command, env=environment, check=False, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            raise SiteError(run.stderr.replace(f"{pages}/", "") + "Names of pages are those of the site.")
        for needless in (".doctrees", ".buildinfo"):
            path = built / needless
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        found = check.faults(built)
        if found:
            raise SiteError("\n".join(found))
        (built / MADE_FROM).write_text(f"{made_from}\n", encoding="utf-8")
        site.mkdir(parents=True, exist_ok=True)
        target = site / version
        if target.exists():
            shutil.rmtree(target)
        shutil.move(built, target)
    versions.publish(site)
    count = sum(1 for _ in target.rglob("*.html"))
    print(f"{target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target}: {count} pages")
    return 0


def serve(site: Path) -> None:
    """Serve the site on loopback until interrupted."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/ (Ctrl+C ends it)", flush=True)
        server.serve_forever()


def main() -> int:
    """0: built; 1: faults, which are printed; 2: used wrongly."""
    parser = argparse.ArgumentParser(prog="make docs", description=__doc__)
    parser.add_argument("--version", default=versions.CURRENT, help="the folder of site/ that it is built into")
    parser.add_argument("--site", type=Path, default=SITE, help="the folder that has all versions")
    parser.add_argument("--serve", action="store_true", help="serve it afterwards, on this machine alone")
    arguments = parser.parse_args()
    try:
        version = versions.check(arguments.version)
    except ValueError as error:
        parser.error(str(error))
    try:
        build(version, arguments.site.resolve())
    except SiteError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    if arguments.serve:
        with contextlib.suppress(KeyboardInterrupt):
            serve(arguments.site)
    return 0


if __name__ == "__main__":
    sys.exit(main())
