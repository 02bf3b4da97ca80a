"""`sleepwalker inspect`: what happened, read from event logs."""

from __future__ import annotations

from sleepwalker.cli.inspect.command import add

__all__ = ["add"]
