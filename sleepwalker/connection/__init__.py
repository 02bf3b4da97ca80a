"""Connections to remote machines, and what makes them for a manager."""

from __future__ import annotations

from sleepwalker.connection.connection import Connection
from sleepwalker.connection.hook import ConnectionHook

__all__ = ["Connection", "ConnectionHook"]
