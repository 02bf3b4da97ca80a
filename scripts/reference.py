"""Writes the generated pages of docs/reference; with `--check`, says which of them are out of date."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"

#: Each page, and the function that returns its text: in a module beside this script, for only the docs need it.
PAGES = {
    "differences.md": "differences_page:page",
    "events.md": "events_page:page",
    "exceptions.md": "exceptions_page:page",
    "metrics.md": "metrics_page:page",
    "policies.md": "policies_page:page",
}


def _text(source: str) -> str:
    module, _, function = source.partition(":")
    return str(getattr(importlib.import_module(module), function)()).rstrip("\n") + "\n"


def main() -> int:
    """0: written, or up to date. 1: `--check` found pages that differ from what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    stale = 0
    for name, source in PAGES.items():
        page = FOLDER / name
        text = _text(source)
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            print(f"{page.relative_to(ROOT)} is not what {source} makes: `make reference` writes it anew.")
        else:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
