"""The store for the workers of one machine: a file, kept by SQLite, without a server and without an extra."""

from sleepwalker.fleet.local.store import FileStore

__all__ = ["FileStore"]
