"""The store for the workers of one machine: an SQLite file, without a server or an extra package."""

from sleepwalker.fleet.local.store import FileStore

__all__ = ["FileStore"]
