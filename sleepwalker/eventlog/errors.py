"""Errors of reading and inspecting event logs."""

from __future__ import annotations

__all__ = ["EventLogError", "InspectError"]


class InspectError(Exception):
    """Event logs cannot be inspected: the text says what is wrong, and what to do.

    A package is missing, a query is refused, there is no space for temporary files, or it is an `EventLogError`.
    """


class EventLogError(InspectError):
    """An event log cannot be read: the text says which one and why."""
