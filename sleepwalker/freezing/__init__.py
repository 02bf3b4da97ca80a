"""What PyInstaller has to know of this package: it asks here, by the entry point `pyinstaller40`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The folders that hold hooks for PyInstaller."""
    return [str(Path(__file__).parent)]
