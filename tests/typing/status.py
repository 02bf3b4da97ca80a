"""Read by the type checker, never run: the status page as a service mounts it."""

from __future__ import annotations

from typing import assert_type
from wsgiref.simple_server import make_server
from wsgiref.types import WSGIApplication

from fastapi import FastAPI

from sleepwalker import Connection, ConnectionManager, status
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager


def mounts(manager: ConnectionManager, conn: Connection) -> None:
    assert_type(status.app(manager), WSGIApplication)
    assert_type(status.app(manager, conn, title="checkout"), WSGIApplication)
    make_server("127.0.0.1", 0, status.app(conn, runbook="https://wiki.example/#{kind}"))
    FastAPI().mount("/status", status.asgi(manager, conn, title="checkout"))
    status.asgi(manager, runbook=7)  # type: ignore[arg-type]
    status.app("https://host.example")  # type: ignore[arg-type]


def mounts_of_tasks(manager: AsyncConnectionManager, conn: AsyncConnection, threads: ConnectionManager) -> None:
    assert_type(status.app(manager, threads, conn), WSGIApplication)
    FastAPI().mount("/status", status.asgi(manager, conn, threads, title="checkout"))
