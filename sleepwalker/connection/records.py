"""The host records behind connections and managers, for those who count: metrics read them, and nobody else need."""

from __future__ import annotations

from typing import Any

from sleepwalker.connection.connection import Connection
from sleepwalker.connection.manager import ConnectionManager
from sleepwalker.engine.host import Host

__all__ = ["check_source", "records_of"]


def check_source(source: Any) -> Connection | ConnectionManager:
    """What has host records; TypeError for anything else."""
    if not isinstance(source, Connection | ConnectionManager):
        raise TypeError(f"source must be a Connection or a ConnectionManager, not {type(source).__name__}")
    return source


def records_of(source: Connection | ConnectionManager) -> list[tuple[Host, int]]:
    """Each host's record, and how many connections to it are held; then those of its scopes, which have none of theirs.

    Of a scope its own.
    """
    if isinstance(source, Connection):
        host = source._record
        return [(host, host.connections or (0 if source.closed else 1)), *((part, 0) for part in host.parts())]
    with source._lock:
        return [(host, host.held) for host in source._registry.records_locked()]
