"""What can be seen of aiohttp's sockets from outside."""

from __future__ import annotations

import select
import weakref
from collections.abc import Callable
from typing import Any

from aiohttp.connector import Connection


def weak(transport: Any) -> Callable[[], Any]:
    """A reference to a transport, which an aiohttp that closes it forgets."""
    try:
        return weakref.ref(transport)
    except TypeError:  # of another kind of loop
        return lambda: None


def is_off(protocol: Any) -> bool:
    """Whether aiohttp has taken note of something wrong, such as a response out of turn."""
    return bool(protocol.should_close)


def has_unread(conn: Connection) -> bool:
    """Whether the end, or bytes out of turn, wait in an idle socket, which the loop has not come to yet."""
    sock = None if conn.transport is None else conn.transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
