"""The version of this package, looked up when it is asked for: that takes milliseconds, and most programs never ask."""

from __future__ import annotations

from functools import cache

__all__ = ["NOT_INSTALLED", "installed_version"]

NOT_INSTALLED = "0+unknown"
"""What the version is where the package is not installed, such as in a folder that was copied: sorts before all others
(PEP 440)."""


@cache
def installed_version() -> str:
    """The version that was installed, as in `3.0.0`; `NOT_INSTALLED` without the metadata that an installer leaves."""
    from importlib import metadata  # noqa: PLC0415 - `import sleepwalker` needs none of it

    try:
        return metadata.version("sleepwalker")
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
