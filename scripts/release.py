"""What `scripts/release-check` asks of a release: its version, what is in its archives, and what a person has to do.

`release.py` prints the version, or says what is wrong with it. `release.py FOLDER` looks into the wheel and the source
archive there. `release.py by-hand` lists what no check can do.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
#: What a build from the source archive alone needs.
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "sleepwalker/__init__.py", "policies/standard.toml")
_ENTRY = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\S+))?$", re.MULTILINE)


class ReleaseError(Exception):
    """What keeps this checkout from being released."""


def project(root: Path = ROOT) -> dict[str, Any]:
    """What pyproject.toml says of the package."""
    return dict(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def version(root: Path = ROOT) -> str:
    """The version, if it may be released and is the newest one in CHANGELOG.md."""
    said = str(project(root)["version"])
    try:
        meant = Version(said)
    except InvalidVersion:
        raise ReleaseError(f"pyproject.toml: version = {said!r} is no version (PEP 440), such as 3.0.0rc1") from None
    if str(meant) != said:
        raise ReleaseError(f"pyproject.toml: version = {said!r} is written {str(meant)!r}")
    if meant.is_devrelease or meant.local:
        raise ReleaseError(f"pyproject.toml: version = {said!r} is of a checkout; a release is 3.0.0 or 3.0.0rc1")
    entry = _ENTRY.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    if entry is None or entry["version"] != said:
        found = "no entry" if entry is None else f"{entry['version']!r}"
        raise ReleaseError(f"CHANGELOG.md: its first entry must be `## [{said}] - DATE`; it is {found}")
    try:
        datetime.date.fromisoformat(entry["date"] or "")
    except ValueError:
        found = entry["date"]
        raise ReleaseError(f"CHANGELOG.md: the entry of {said} needs a date such as 2026-12-01, not {found}") from None
    return said


def archives(folder: Path, tracked: list[str]) -> list[str]:
    """What is wrong with the wheel and the source archive in the folder; `tracked` are the files of the repository."""
    faults = []
    [wheel], [source] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    if extra := {name for name in folders if name != "sleepwalker" and not name.endswith(".dist-info")}:
        faults.append(f"{wheel.name} puts other names into site-packages: {sorted(extra)}")
    shipped = [name for name in tracked if name.startswith(("sleepwalker/", "policies/"))]
    wanted = {name if name.startswith("sleepwalker/") else f"sleepwalker/{name}" for name in shipped}
    if missing := wanted - set(names):
        faults.append(f"{wheel.name} lacks what a checkout has: {sorted(missing)}")
    if "sleepwalker/py.typed" not in names:
        faults.append(f"{wheel.name} has no py.typed")
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        faults.append(f"{wheel.name} has no license")
    with tarfile.open(source) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    if missing := {*_SOURCES, *shipped} - inside:
        faults.append(f"{source.name} lacks what a checkout has: {sorted(missing)}")
    return faults


def by_hand(root: Path = ROOT) -> list[str]:
    """What a person has to do before and after the upload."""
    said = version(root)
    todo = []
    if "Source" not in project(root).get("urls", {}):
        todo.append(
            "Say in pyproject.toml where the repository is: [project.urls], Source. The site's edit links follow."
        )
    return [
        *todo,
        "See that .ci/run passes on a clean checkout of this commit.",
        f"Tag it: git tag -a v{said}",
        "Upload what lies in dist/: that, and nothing built anew.",
        f"Publish the site with its version: make docs VERSION={said}",
    ]


def main(arguments: list[str]) -> int:
    """0: nothing is wrong; 1: it says what is."""
    try:
        match arguments:
            case []:
                print(version())
            case ["by-hand"]:
                print("\n".join(f"- {line}" for line in by_hand()))
            case [folder]:
                tracked = subprocess.check_output(["git", "ls-files"], text=True, cwd=ROOT).split()
                if faults := archives(Path(folder), tracked):
                    raise ReleaseError("\n".join(faults))
                print(
                    "\n".join(
                        f"{path.name}: {path.stat().st_size / 1e6:.1f} MB" for path in sorted(Path(folder).iterdir())
                    )
                )
            case _:
                raise ReleaseError("usage: release.py [FOLDER | by-hand]")
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
