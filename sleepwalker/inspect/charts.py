"""The charting library's own JavaScript, to be put into a page; the only file that knows which library that is."""

from __future__ import annotations

from functools import cache
from importlib import resources

__all__ = ["library"]


@cache
def library() -> str:
    """Plotly's basic bundle as one script. `vendor/pin.toml` says why this one, and which version."""
    return resources.files("sleepwalker.inspect").joinpath("vendor", "plotly-basic.min.js").read_text(encoding="utf-8")
