"""The table of hosts, which one manager has, or several share."""

from __future__ import annotations

from sleepwalker.hosts.table import HostTable

__all__ = ["HostTable"]
