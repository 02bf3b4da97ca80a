"""Tests once per process, before the fast path is used, that it gives the same as the ordinary path.

A release of requests or urllib3 may add or rename parts of a response. So the same requests take both paths over a fake
socket, and the bytes sent and the responses are compared. If anything differs or raises, the process uses the ordinary
path for good: it is slower, and depends less on the internals of those libraries. No socket is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.events import FastPathOff
from sleepwalker.policy import PoolPolicy
from sleepwalker.telemetry.log import emit
from sleepwalker.transport.blocking import fast_path
from sleepwalker.transport.blocking.adapter import Adapter
from sleepwalker.transport.blocking.deadline import AttemptDeadline, run_with_deadline
from sleepwalker.transport.blocking.pool import Pool
from sleepwalker.transport.blocking.redirects import OwnSession
from sleepwalker.transport.blocking.response import read_all
from sleepwalker.transport.blocking.sockets import BoundedConnection

_URL = "http://rehearsal.invalid/path?name=value"
_BODY = b'{"a": 1}'
_HEADERS = {"User-Agent": "u", "Accept-Encoding": "gzip", "Content-Length": str(len(_BODY)), "X-Header": "value"}
_FIRST = (
    b'HTTP/1.1 200 OK\r\nServer: s\r\nContent-Type: application/json; charset=latin-1\r\nETag: "1"\r\n'
    b"Content-Length: 5\r\n\r\nhello"
)
_SECOND = (
    b"HTTP/1.1 302 Found\r\nServer: s\r\nLocation: /elsewhere\r\nKeep-Alive: timeout=60\r\nContent-Length: 0\r\n\r\n"
)
_THIRD = (
    b"HTTP/1.1 404 Not Found\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n"
)
#: The options that requests passes to `urlopen`. Any other needs the ordinary path.
_OPTIONS: Mapping[str, Any] = {
    "redirect": False,
    "assert_same_host": False,
    "preload_content": False,
    "decode_content": False,
    "retries": None,
    "timeout": None,
    "chunked": False,
}
_PLAIN = (type(None), bool, int, float, str, bytes)
#: The thread that pops the item runs the test; the others do not wait.
_todo = [True]


def rehearse(origin: str) -> None:
    """Switch the fast path on for this process, or off for good with an event, which names `origin`.

    Does nothing while a tool has patched a step of the ordinary path, or http.client prints what it sends: the test's
    requests would be seen.
    """
    if not fast_path.is_unpatched() or BoundedConnection.debuglevel:
        return
    try:
        _todo.pop()
    except IndexError:
        return  # another thread does it
    try:
        reason = _difference()
    except Exception as error:  # noqa: BLE001 - a release may differ in any way
        reason = type(error).__name__
    except BaseException:
        _todo.append(True)
        raise
    fast_path.proven = reason is None
    if reason is not None:
        emit(FastPathOff(origin, reason))


def _difference() -> str | None:
    """The first difference between the two paths; None if there is none."""
    adapter, session = Adapter(PoolPolicy(), None), OwnSession()
    adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool}
    session.trust_env = False  # or the redirect would have it read the user's netrc file
    session.mount("http://", adapter)
    deadline = AttemptDeadline(SYSTEM_CLOCK, connect=60, read=60, ends_at=SYSTEM_CLOCK.monotonic() + 60)
    try:
        return run_with_deadline(deadline, _compared, session, deadline)
    finally:
        session.close()


def _compared(session: OwnSession, deadline: AttemptDeadline) -> str | None:
    request = requests.PreparedRequest()
    request.prepare(method="POST", url=_URL, headers=_HEADERS, data=_BODY)
    for _Socket.response in (_FIRST, _SECOND, _THIRD):
        deadline.fast = False
        ordinary = _exchange(session, request)
        if _Pool.asked != _OPTIONS:
            return "the options"
        deadline.fast = True
        fast = _exchange(session, request)  # on the socket that the ordinary path opened
        if not fast.pop("fast") or ordinary.pop("fast"):
            return "the path"
        for name in {**ordinary, **fast}:
            if name not in fast or name not in ordinary or fast[name] != ordinary[name]:
                return name
    return None


def _exchange(session: OwnSession, request: requests.PreparedRequest) -> dict[str, object]:
    """All that can be seen of a request, of its response, and of the cookies kept."""
    session.cookies.clear()
    settings: dict[str, Any] = {"verify": True, "cert": None, "proxies": {}}
    response = session.send(request, stream=True, allow_redirects=False, timeout=(60, 60), **settings)
    raw, original = response.raw, _Connection.latest
    shown: dict[str, object] = {"fast": original.by_fast_path, "sent": _Socket.sent}
    shown |= {"type": type(raw), "body": read_all(raw), "cookies": sorted(session.cookies.items())}
    shown |= {f"Response.{name}": _shown(value) for name, value in vars(response).items()}
    return shown | {f"HTTPResponse.{name}": _shown(value) for name, value in vars(raw).items()}


def _shown(value: object) -> object:
    """What is compared of a value: a plain one itself, the items of a container, else the type."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return [(_shown(name), _shown(item)) for name, item in value.items()]
    return [_shown(item) for item in value] if isinstance(value, list | tuple) else type(value)


class _Socket:
    """Responds to each request from memory."""

    response = b""
    sent = b""
    """The latest request."""

    def __init__(self) -> None:
        self._unread = b""

    def send(self, data: Any) -> int:
        _Socket.sent = self.sent + bytes(data) if self._unread else bytes(data)
        self._unread = self.response
        return len(data)

    def recv(self, size: int) -> bytes:
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def recv_into(self, buffer: Any) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def settimeout(self, seconds: float | None) -> None:
        """Nothing to do."""

    def shutdown(self, how: int) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class _Connection(BoundedConnection):
    is_connected = True
    latest: Any = None
    """The latest response, as http.client has it."""

    def response_class(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        response = _Connection.latest = super().response_class(*args, **options)
        return response

    def connect(self) -> None:
        self.sock = _Socket()
        self.opened_at = SYSTEM_CLOCK.monotonic()


class _Pool(Pool):
    ConnectionCls = _Connection
    asked: Mapping[str, Any] = {}
    """The options of the latest `urlopen`."""

    def urlopen(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> Any:  # type: ignore[override]
        _Pool.asked = {**options, "retries": None, "timeout": None}
        return super().urlopen(method, url, body, headers, **options)
