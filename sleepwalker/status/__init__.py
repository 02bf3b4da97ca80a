"""The status page: how all hosts do, as a WSGI or ASGI application to mount in a service; for people and programs."""

from __future__ import annotations

from sleepwalker.status.asgi import asgi
from sleepwalker.status.wsgi import app

__all__ = ["app", "asgi"]
