"""What the requests of one connection have in common, whichever way they are sent."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Protocol

import requests

from sleepwalker.transport.cookies import BoundedCookieJar


class Route(Protocol):
    """How requests are sent to one origin."""

    session: requests.Session
    """Common headers, parameters, cookies and hooks."""
    awaits: bool
    """Whether it sends with asyncio."""
    proxied: bool
    """Whether requests go through a proxy."""

    def make_ready(self, prepared: requests.PreparedRequest) -> None:
        """Add what a request needs to be sent by this route."""
        ...

    def close(self) -> None:
        """Close idle sockets; those in use are closed when they come back."""
        ...

    def renew(self) -> None:
        """In a forked child: start with no sockets and fresh locks, and leave the parent's sockets alone."""
        ...


def dress(session: requests.Session) -> None:
    """Give a connection's own session a bounded jar of cookies, and a name that a server's operator can look up."""
    session.cookies = BoundedCookieJar()
    session.headers["User-Agent"] = _user_agent(str(session.headers.get("User-Agent", "")))


@functools.cache
def _user_agent(of_requests: str) -> str:
    """Names sleepwalker, so that a server's operator sees what retries."""
    try:
        version = f"/{importlib.metadata.version('sleepwalker')}"
    except importlib.metadata.PackageNotFoundError:  # run from a folder, not installed
        version = ""
    return f"sleepwalker{version} {of_requests}".rstrip()
