"""`sleepwalker get`: one or many real calls under a policy."""

from __future__ import annotations

from sleepwalker.cli.get.command import add

__all__ = ["add"]
