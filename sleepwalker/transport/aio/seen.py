"""What can be observed of aiohttp's sockets from outside."""

from __future__ import annotations

import select
import weakref
from collections.abc import Callable
from typing import Any

from aiohttp.connector import Connection


def weak(transport: Any) -> Callable[[], Any]:
    """A reference to a transport. aiohttp drops a transport when it closes it."""
    try:
        return weakref.ref(transport)
    except TypeError:  # of another kind of loop
        return lambda: None


def is_off(protocol: Any) -> bool:
    """Whether aiohttp has noticed a problem, such as an unexpected response."""
    return bool(protocol.should_close)


def has_unread(conn: Connection) -> bool:
    """Whether an idle socket has its end, or unexpected bytes, pending that the loop has not read yet."""
    sock = None if conn.transport is None else conn.transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
