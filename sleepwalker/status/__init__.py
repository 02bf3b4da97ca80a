"""The status page: the health of all hosts, for people and programs, as a WSGI or ASGI application to mount."""

from __future__ import annotations

from sleepwalker.status.asgi import asgi
from sleepwalker.status.wsgi import app

__all__ = ["app", "asgi"]
