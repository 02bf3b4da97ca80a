"""`sleepwalker demo`: the same traffic to a flaky fleet, through sleepwalker and through plain requests."""

from __future__ import annotations

from sleepwalker.cli.demo.command import add

__all__ = ["add"]
