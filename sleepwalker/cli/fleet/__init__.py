"""`sleepwalker fleet`: what the workers of a service found out, and an operator's orders to all of them."""

from __future__ import annotations

from sleepwalker.cli.fleet.command import add

__all__ = ["add"]
