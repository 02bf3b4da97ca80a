"""The version that a program can ask for."""

from __future__ import annotations

from importlib import metadata

import pytest

import sleepwalker
from sleepwalker.version import NOT_INSTALLED, installed_version


def test_the_package_says_its_version_when_it_is_asked() -> None:
    assert sleepwalker.__version__ == metadata.version("sleepwalker")
    assert "__version__" not in vars(sleepwalker)  # it costs nothing unless it is read


def test_a_copy_that_was_never_installed_has_a_version_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    installed_version.cache_clear()
    monkeypatch.setattr(metadata, "version", unknown)
    try:
        assert sleepwalker.__version__ == NOT_INSTALLED == "0+unknown"
    finally:
        installed_version.cache_clear()
