"""The table of hosts, which belongs to one manager or is shared by several."""

from __future__ import annotations

from sleepwalker.hosts.table import HostTable

__all__ = ["HostTable"]
