"""What is refused as a release, and what is looked for in its archives."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts import release

pytestmark = [pytest.mark.once, pytest.mark.left_to_ci]

TRACKED = ["sleepwalker/__init__.py", "sleepwalker/py.typed", "policies/standard.toml", "README.md"]
WHEEL = [
    "sleepwalker/__init__.py",
    "sleepwalker/py.typed",
    "sleepwalker/policies/standard.toml",
    "sleepwalker-3.0.0.dist-info/licenses/LICENSE",
]
SOURCE = ["pyproject.toml", "README.md", "LICENSE", *TRACKED[:3]]


def checkout(folder: Path, version: str, entry: str, more: str = "") -> Path:
    (folder / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n{more}')
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {entry}\n\n- A line.\n")
    return folder


def test_a_version_with_its_dated_entry_may_be_released(tmp_path: Path) -> None:
    assert release.version(checkout(tmp_path, "3.0.0rc1", "[3.0.0rc1] - 2026-12-01")) == "3.0.0rc1"


@pytest.mark.parametrize(
    ("version", "entry", "says"),
    [
        ("3.x", "[3.x] - 2026-12-01", "'3.x' is no version"),
        ("3.0.0-rc1", "[3.0.0-rc1] - 2026-12-01", "'3.0.0-rc1' is written '3.0.0rc1'"),
        ("3.0.0.dev0", "[3.0.0.dev0] - 2026-12-01", "'3.0.0.dev0' is of a checkout"),
        ("3.0.0", "[Unreleased]", "it is 'Unreleased'"),
        ("3.0.0", "No entry", "it is no entry"),
        ("3.0.0", "[3.0.0]", "not None"),
        ("3.0.0", "[3.0.0] - soon", "not soon"),
    ],
)
def test_what_cannot_be_released_is_named(tmp_path: Path, version: str, entry: str, says: str) -> None:
    with pytest.raises(release.ReleaseError, match=re.escape(says)):
        release.version(checkout(tmp_path, version, entry))


def test_this_checkout_may_be_released() -> None:
    assert release.version()


def packed(folder: Path, wheel: Sequence[str], source: Sequence[str]) -> Path:
    with zipfile.ZipFile(folder / "sleepwalker-3.0.0-py3-none-any.whl", "w") as archive:
        for name in wheel:
            archive.writestr(name, "")
    with tarfile.open(folder / "sleepwalker-3.0.0.tar.gz", "w:gz") as archive:
        for name in source:
            archive.addfile(tarfile.TarInfo(f"sleepwalker-3.0.0/{name}"))
    return folder


def test_archives_with_all_that_a_checkout_has_are_fine(tmp_path: Path) -> None:
    assert release.archives(packed(tmp_path, WHEEL, SOURCE), TRACKED) == []


@pytest.mark.parametrize("left_out", [0, 1, 2, 3])
def test_what_a_wheel_lacks_is_named(tmp_path: Path, left_out: int) -> None:
    [fault, *_] = release.archives(packed(tmp_path, [*WHEEL[:left_out], *WHEEL[left_out + 1 :]], SOURCE), TRACKED)
    assert WHEEL[left_out].rpartition("/")[2].lower() in fault.lower()


@pytest.mark.parametrize("left_out", range(len(SOURCE)))
def test_what_a_source_archive_lacks_is_named(tmp_path: Path, left_out: int) -> None:
    [fault] = release.archives(packed(tmp_path, WHEEL, [*SOURCE[:left_out], *SOURCE[left_out + 1 :]]), TRACKED)
    assert SOURCE[left_out] in fault


def test_a_wheel_puts_no_other_name_beside_the_package(tmp_path: Path) -> None:
    [fault] = release.archives(packed(tmp_path, [*WHEEL, "policies/standard.toml"], SOURCE), TRACKED)
    assert "['policies']" in fault


def test_what_is_left_to_do_by_hand_includes_the_missing_place_of_the_repository(tmp_path: Path) -> None:
    entry = "[3.0.0] - 2026-12-01"
    assert any("Source" in line for line in release.by_hand(checkout(tmp_path, "3.0.0", entry)))
    there = checkout(tmp_path, "3.0.0", entry, '[project.urls]\nSource = "https://git.example.com/sleepwalker"\n')
    assert not any("Source" in line for line in release.by_hand(there))
