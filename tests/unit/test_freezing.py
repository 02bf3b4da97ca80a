"""A program that PyInstaller froze has all that the package needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from sleepwalker import Policy

ROOT = Path(__file__).parents[2]

_PROGRAM = """
import json, sys

import sleepwalker
from sleepwalker import ConnectionManager, Policy, status

answered = []
app = status.app(ConnectionManager())
page = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda code, headers: answered.append(code))
print(json.dumps({
    "frozen": sys.frozen,
    "version": sleepwalker.__version__,
    "policies": Policy.names(),
    "batch": Policy.load("batch").to_dict(),
    "described": Policy.json_schema()["properties"]["timeout"]["description"],
    "page": [*answered, b"No hosts yet" in b"".join(page)],
    "service": sleepwalker.ServiceManager.__name__,
}))
"""


#: Of what is installed here for development, what PyInstaller would pick up by way of optional imports: minutes of it.
_WITHOUT = (
    "_pytest", "cryptography", "duckdb", "eventlet", "gevent", "hypothesis", "multiprocessing", "mypy", "opentelemetry",
    "pygments", "pytest", "redis", "rich", "setuptools", "sqlite3", "trio", "twisted", "unittest", "zope",
)  # fmt: skip


@pytest.mark.left_to_ci  # takes half a minute
@pytest.mark.long
def test_a_frozen_program_has_the_policies_the_pages_and_the_version(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    installed = tmp_path / "installed"  # as a wheel has it: PyInstaller does not find what is installed to be edited
    shutil.copytree(ROOT / "sleepwalker", installed / "sleepwalker", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "policies", installed / "sleepwalker" / "policies")
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    command += [*(f"--exclude-module={name}" for name in _WITHOUT), str(program)]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, check=True, timeout=500)
    frozen = tmp_path / "dist" / "program" / "program"
    said = json.loads(subprocess.run([frozen], cwd="/", capture_output=True, check=True, timeout=60).stdout)
    assert said == {
        "frozen": True,
        "version": metadata.version("sleepwalker"),
        "policies": [*Policy.names()],
        "batch": Policy.load("batch").to_dict(),
        "described": "How long things may take.",
        "page": ["200 OK", True],
        "service": "ServiceManager",
    }
