"""Builds the site of the documentation: `make docs`, or `make docs VERSION=3.0`, into `site/`.

`stage.py` lays out the pages, `api.py` makes those of the API from the code, Sphinx builds, and `check.py` checks the
result. This runs in the environment of the tests, where the code can be imported with all its extras. Sphinx has an
environment of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from scripts.docs_site import api, check, llms, mermaid, versions
from scripts.docs_site.stage import ROOT, SiteError, Stage, sections

HERE = Path(__file__).parent
SITE = ROOT / "site"
KEPT = ROOT / ".venv-docs"


def _source() -> str | None:
    """Where the repository can be seen, as `[project.urls]` says it; None while it has no public place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = project.get("urls", {}).get("Source")
    return str(found).rstrip("/") if found else None


def lay_out(folder: Path, extra: Path) -> dict[str, str]:
    """Write all pages into the folder; of each page of the site, the file of the repository that it is made from."""
    stage = Stage(folder, extra)
    for source in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        stage.add(source)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        stage.add(path.relative_to(ROOT).as_posix())
    stage.lay_out()
    known = api.names()
    for name, page in api.pages().items():
        stage.write(f"reference/api/{name}.md", api.text(page, known))
    _append(stage, "benchmarks/index.md", _tree("Results", ["results/*"], ":glob:"))
    _write_home(stage)
    return stage.sources


def _write_home(stage: Stage) -> None:
    """The README, below the site's own head, with the order of all pages."""
    head = (HERE / "home.md").read_text(encoding="utf-8")
    index = stage.folder / "index.md"
    title, _, rest = index.read_text(encoding="utf-8").partition("\n")
    if not title.startswith("# "):
        raise SiteError("README.md does not begin with its title.")
    tagline, _, rest = rest.strip().partition("\n\n")
    text = head.replace("{title}", title).replace("{tagline}", tagline)
    index.write_text(f"{text}\n{rest}\n\n{_order(stage)}", encoding="utf-8")


def _order(stage: Stage) -> str:
    groups = [(section.title, [stage.add(page) for page in section.pages]) for section in sections()]
    groups.append(("API, from the code", [f"reference/api/{name}.md" for name in api.pages()]))
    groups.append(("Project", ["pages.md", "changelog.md", "contributing.md", "benchmarks/index.md"]))
    return "\n".join(_tree(title, pages) for title, pages in groups)


def _tree(title: str, pages: list[str], *options: str) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", *options, "", *pages, "```", ""])


def _append(stage: Stage, place: str, text: str) -> None:
    page = stage.folder / place
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")


def build(version: str, site: Path) -> int:
    """0: built. Raises SiteError where it cannot be, and prints what is wrong."""
    source = _source()
    mermaid.fetch(KEPT / "static")
    with tempfile.TemporaryDirectory() as scratch:
        pages, extra, built = (Path(scratch) / name for name in ("pages", "extra", "built"))
        for folder in (pages, extra):
            folder.mkdir()
        sources = lay_out(pages, extra)
        llms.write(extra, pages)
        told = {
            "version": version,
            "edit": f"{source}/edit/main/{{path}}" if source else None,
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
        site.mkdir(exist_ok=True)
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
        print(f"http://127.0.0.1:{server.server_address[1]}/ (Ctrl+C ends it)")
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
