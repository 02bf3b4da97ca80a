"""Writes what assistants read: `llms.txt`, `llms-full.txt`, and beside each page its Markdown.

`docs/llms.md` is the source of llms.txt; the list of all pages, with a sentence on each, is that of docs/README.md.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path


def write(extra: Path, pages: Path, order: Sequence[str]) -> None:
    """Write all of it into `extra`, from the pages as they were laid out; `order` is that of llms-full.txt."""
    for path in pages.rglob("*.md"):
        target = extra / path.relative_to(pages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    listed = (pages / "pages.md").read_text(encoding="utf-8").partition("\n## The pages\n")[2]
    short = (pages / "llms.md").read_text(encoding="utf-8")
    short = re.sub(r"^# .*", "# sleepwalker", short, count=1)
    listed = re.sub(r"^### ", "## ", listed, flags=re.MULTILINE)
    whole = "- [All pages in one file](llms-full.txt)"
    (extra / "llms.txt").write_text(f"{short.rstrip()}\n\n{listed.strip()}\n{whole}\n", encoding="utf-8")
    full = [f"<!-- {place} -->\n\n{(pages / place).read_text(encoding='utf-8').strip()}\n" for place in order]
    (extra / "llms-full.txt").write_text("\n\n".join(full), encoding="utf-8")
