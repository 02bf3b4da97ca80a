"""The versions of the site: a folder each below `site/`, and `versions.json`, which the selector reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

#: What a build without VERSION is called: the checkout as it is.
CURRENT = "dev"
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?")


def check(version: str) -> str:
    """The version, if it is one. Raises ValueError: a folder is named by it."""
    if version != CURRENT and not _VERSION.fullmatch(version):
        raise ValueError(
            f"VERSION={version} is no version: write one as 3.0 or 3.0rc1, or leave it out for {CURRENT!r}."
        )
    return version


def _order(version: str) -> tuple[object, ...]:
    """Sorts versions, the newest last: 3.0a1 before 3.0rc1 before 3.0 before 3.10; the checkout after all."""
    if version == CURRENT:
        return (1,)
    numbers, kind, count = re.fullmatch(r"([0-9.]+)(?:(a|b|rc)([0-9]+))?", version).groups()  # type: ignore[union-attr]
    return (0, [int(one) for one in numbers.split(".")], kind or "z", int(count or 0))


def newest(versions: list[str]) -> str:
    """Where the site's root leads: to the newest release, else the newest candidate, else to the checkout."""
    ordered = sorted(versions, key=_order)
    releases = [one for one in ordered if re.fullmatch(r"[0-9.]+", one)]
    others = [one for one in ordered if one != CURRENT]
    return (releases or others or ordered)[-1]


def publish(site: Path) -> None:
    """Write what lies beside the folders of the versions: `versions.json`, the way to the newest, its llms.txt."""
    found = [path.name for path in site.iterdir() if (path / "index.html").is_file()]
    ordered = sorted(found, key=_order, reverse=True)
    first = newest(found)
    listed = {"newest": first, "versions": ordered}
    (site / "versions.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    (site / "index.html").write_text(
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>sleepwalker</title>\n'
        f'<meta http-equiv="refresh" content="0; url={first}/index.html">\n'
        f'<link rel="canonical" href="{first}/index.html">\n'
        f'<p><a href="{first}/index.html">sleepwalker {first}</a></p>\n',
        encoding="utf-8",
    )
    short = site / first / "llms.txt"
    if short.is_file():  # its links are those of its folder
        text = re.sub(r"\]\((?![a-z]+:|#)", f"]({first}/", short.read_text(encoding="utf-8"))
        (site / "llms.txt").write_text(text, encoding="utf-8")
