"""What set-up installs is what pyproject.toml asks for, and comes from nowhere in particular."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.declared import EXTRAS as EXTRAS_OF_THE_FLOORS

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: `all` names the others.
EXTRAS = {name: lines for name, lines in PYPROJECT["project"]["optional-dependencies"].items() if name != "all"}
DECLARED = [*PYPROJECT["project"]["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
#: What users install: of these the lowest release is promised.
PROMISED = [
    *PYPROJECT["project"]["dependencies"],
    *(line for extra, lines in EXTRAS.items() for line in lines if extra != "dev"),
]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")


def pins(name: str) -> dict[str, set[str]]:
    """What a lock names: each package, and its releases, which may differ by Python."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines():
        if pin := _PIN.match(line):
            found.setdefault(canonicalize_name(pin[1]), set()).add(pin[2])
    return found


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("build.txt", PYPROJECT["build-system"]["requires"]),
        ("docs.txt", PYPROJECT["dependency-groups"]["docs"]),
        ("lock.txt", DECLARED),
        ("oldest.txt", DECLARED),
    ],
)
def test_a_lock_names_what_is_declared(name: str, declared: list[str]) -> None:
    locked = pins(name)
    astray = [
        line
        for line in declared
        if not (found := locked.get(canonicalize_name(Requirement(line).name)))
        or not all(Requirement(line).specifier.contains(version, prereleases=True) for version in found)
    ]
    assert astray == [], f"requirements/{name} is not in step with pyproject.toml: run make lock"


def test_the_extra_all_is_all_that_users_install() -> None:
    [line] = PYPROJECT["project"]["optional-dependencies"]["all"]
    assert Requirement(line).name == PYPROJECT["project"]["name"]
    assert Requirement(line).extras == {*EXTRAS} - {"dev"} == {*EXTRAS_OF_THE_FLOORS}


@pytest.mark.parametrize("line", PROMISED)
def test_the_oldest_releases_are_those_that_are_declared(line: str) -> None:
    """Each promise needs a lowest release, or nothing would try what it promises."""
    requirement = Requirement(line)
    floor = next(Version(one.version) for one in requirement.specifier if one.operator == ">=")
    found = {Version(version) for version in pins("oldest.txt")[canonicalize_name(requirement.name)]}
    assert found == {floor}, "requirements/oldest.txt is not in step with pyproject.toml: run make lock"


@pytest.mark.parametrize("name", ["build.txt", "docs.txt", "lock.txt", "oldest.txt", "uv.txt"])
def test_a_lock_has_a_hash_for_every_release_and_names_no_place(name: str) -> None:
    """So pip can check every file, and takes it from the registry that the machine is configured for."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", text.partition("\n")[2].strip())
    assert len(blocks) >= sum(map(len, pins(name).values())) > 0
    for block in blocks:
        head, *hashes = block.splitlines()
        assert _PIN.match(head), head
        assert hashes, head
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", one) for one in hashes), head
