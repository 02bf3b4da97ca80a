"""The status page: how all hosts do, as a WSGI application to mount in a service; for people and for programs."""

from __future__ import annotations

from sleepwalker.status.wsgi import app

__all__ = ["app"]
