"""Figures in words."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Two or three digits, in milliseconds where that is shorter."""
    if seconds is None:
        return "none"
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def seconds(figure: float | None, never: str = "not in time") -> str:
    return never if figure is None else f"{figure:.1f} s"


def share(figure: float) -> str:
    """In percent; close to all of it, what is missing shows."""
    if figure in (0, 1):
        return f"{100 * figure:.0f} %"
    return f"{100 * figure:.2f} %" if figure > 0.99 else f"{100 * figure:.1f} %"
