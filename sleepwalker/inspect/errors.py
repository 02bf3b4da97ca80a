"""What stops an inspection."""

from __future__ import annotations

__all__ = ["InspectError"]


class InspectError(Exception):
    """The text says what was given, what is wrong with it and the way out."""
