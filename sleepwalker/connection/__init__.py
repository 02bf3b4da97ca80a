"""Connections to remote machines, and the manager that finds, creates and replaces them."""

from __future__ import annotations

from sleepwalker.connection.connection import Connection
from sleepwalker.connection.hook import ConnectionHook
from sleepwalker.connection.in_force import defaults
from sleepwalker.connection.manager import ConnectionManager
from sleepwalker.exceptions import ConnectionError, HTTPError, URLError

__all__ = ["Connection", "ConnectionError", "ConnectionHook", "ConnectionManager", "HTTPError", "URLError", "defaults"]
