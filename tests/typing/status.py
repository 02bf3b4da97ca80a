"""Read by the type checker, never run: the status page as a service mounts it."""

from __future__ import annotations

from typing import assert_type
from wsgiref.simple_server import make_server
from wsgiref.types import WSGIApplication

from fastapi import FastAPI

from sleepwalker import Connection, ConnectionManager, status


def mounts(manager: ConnectionManager, conn: Connection) -> None:
    assert_type(status.app(manager), WSGIApplication)
    assert_type(status.app(manager, conn, title="checkout"), WSGIApplication)
    make_server("127.0.0.1", 0, status.app(conn, runbook="https://wiki.example/#{kind}"))
    FastAPI().mount("/status", status.asgi(manager, conn, title="checkout"))
    status.asgi(manager, runbook=7)  # type: ignore[arg-type]
    status.app("https://host.example")  # type: ignore[arg-type]
