"""Prints what pyproject.toml asks for: `floors`, its lowest releases as pip's constraints, or `build`, what builds it.

It runs before there is an environment: the standard library is all that it needs.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))

#: The extras that users install; `dev` names tools, whose lowest releases are not promised.
EXTRAS = ("aio", "cli", "fleet", "httpx2", "inspect", "otel", "prometheus", "services")


def build() -> list[str]:
    """What a build of the package needs, as pyproject.toml says it."""
    return list(PYPROJECT["build-system"]["requires"])


def floors() -> list[str]:
    """`name==version` for each requirement of the package and of `EXTRAS`."""
    project = PYPROJECT["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in EXTRAS for line in project["optional-dependencies"][extra]),
    ]
    return [re.sub(r"^([\w.-]+)>=([\w.]+).*", r"\1==\2", line) for line in declared]


if __name__ == "__main__":
    print("\n".join({"build": build, "floors": floors}[sys.argv[1]]()))
