"""Writes llms.txt."""

from pathlib import Path


def write(extra: Path, pages: Path) -> None: ...
