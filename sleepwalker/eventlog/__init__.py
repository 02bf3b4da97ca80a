"""Reads event logs: finds and unpacks their files, and defines the SQL columns of their events."""

from __future__ import annotations

from sleepwalker.eventlog.errors import EventLogError
from sleepwalker.eventlog.sources import Source

__all__ = ["EventLogError", "Source"]
