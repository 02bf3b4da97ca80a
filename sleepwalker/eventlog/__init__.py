"""Reads event logs: the files that are meant, their lines, and the columns that the events have in SQL."""

from __future__ import annotations

from sleepwalker.eventlog.errors import EventLogError
from sleepwalker.eventlog.sources import Source

__all__ = ["EventLogError", "Source"]
