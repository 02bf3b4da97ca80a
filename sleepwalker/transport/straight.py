"""The short way for a plain request on a socket that is open already: sent in one piece, and answered without a detour.

urllib3 and http.client take a request apart and put it together in a hundred steps, most of which find that there is
nothing to do. Where all of them would find that, this sends the same bytes and gives the same answer. Everything else
goes the long way: the first request on a socket, a proxy, a body that is no bytes, a header that needs care, a step
that somebody replaced in order to look at what goes through it. Tests compare the two ways byte by byte.

A connection that was taken out of its pool is `exchange`'s until there is an answer, and then the answer's, which gives
it back when its body is over or when it is closed. What an exception from a signal handler tears away is given back
when the attempt ends.
"""

from __future__ import annotations

import errno
import http.client
import logging
import operator
import re
import ssl
import sys
import types
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import InvalidHeader, ProtocolError, ReadTimeoutError
from urllib3.util.request import SKIP_HEADER

from sleepwalker.transport.deadline import Limits
from sleepwalker.transport.head import Response
from sleepwalker.transport.plain_answer import answer, raw_answer

#: What tools replace to see, record or invent what goes through it.
_STEPS = (
    "HTTPAdapter.send",
    "HTTPAdapter.build_response",
    "HTTPAdapter.add_headers",
    "HTTPConnectionPool.urlopen",
    "HTTPConnectionPool._make_request",
    "HTTPConnectionPool._get_conn",
    "HTTPConnection.request",
    "HTTPConnection.getresponse",
    "http.client.HTTPConnection.putrequest",
    "http.client.HTTPConnection.putheader",
    "http.client.HTTPConnection.endheaders",
    "http.client.HTTPConnection.getresponse",
    "http.client.HTTPResponse.read",
)
_HERE = types.SimpleNamespace(
    HTTPAdapter=HTTPAdapter, HTTPConnectionPool=HTTPConnectionPool, HTTPConnection=HTTPConnection, http=http
)
#: All of them in one step, since every call looks.
_steps = operator.attrgetter(*_STEPS)
_STEPS_AS_LOADED = _steps(_HERE)
_log = logging.getLogger("urllib3.connectionpool")

#: What requests, urllib3 and http.client would all leave as it is.
_plain_target = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?").fullmatch
_plain_name = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
#: The names seen so far that are plain, in lower case: a service has a few dozen.
_plain_names: set[str] = set()
_MOST_NAMES = 1000
#: These the long way sends first, and by itself, where they are not given.
_EXPECTED = frozenset({"accept-encoding", "user-agent"})


def untouched() -> bool:
    """Whether every step of the long way is its library's own, and nobody reads what it logs."""
    # By identity: there are wrappers that say they equal what they wrap.
    same = all(map(operator.is_, _steps(_HERE), _STEPS_AS_LOADED))
    return same and _GENUINE and not _log.isEnabledFor(logging.DEBUG)


def _is_genuine(step: Any, module: str) -> bool:
    """Whether `step` is a function made in its library: a tool may have come before us, and put its own there."""
    home = getattr(sys.modules.get(module), "__dict__", None)
    return type(step) is types.FunctionType and step.__globals__ is home


_GENUINE = all(
    _is_genuine(step, operator.attrgetter(name.rpartition(".")[0])(_HERE).__module__)
    for step, name in zip(_STEPS_AS_LOADED, _STEPS, strict=True)
)


def send(
    adapter: HTTPAdapter, pool: Any, request: requests.PreparedRequest, target: str, limits: Limits
) -> requests.Response | None:
    """The answer to a request that is sent the short way; None where it has to go the long one, and nothing happened.

    Raises what requests raises.
    """
    if not untouched():
        return None
    adapter.add_headers(request)
    data = message(request, target, pool.host_field)
    if data is None:
        return None
    try:
        # Whoever logs the answer's URL shows its path only.
        raw = exchange(pool, request.method or "GET", target.partition("?")[0], data, limits)
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(error, request=request) from error
    except ProtocolError as error:
        raise requests.ConnectionError(error, request=request) from error
    except InvalidHeader as error:
        raise requests.exceptions.InvalidHeader(error, request=request) from error
    if raw is None:
        return None
    raw.retries = adapter.max_retries
    return answer(adapter, request, raw)


def message(request: requests.PreparedRequest, target: str, host: str) -> bytes | None:
    """The request as the long way sends it; None where that would do more than join what is given.

    `host` is the value of the header.
    """
    store: dict[str, tuple[str, Any]] = request.headers._store
    names, body = store.keys(), request.body
    if not (names >= _EXPECTED and _plain_target(target) and (names <= _plain_names or _learn(names))):
        return None
    if "transfer-encoding" in names or (
        body is not None and (type(body) is not bytes or "content-length" not in names)
    ):
        return None
    try:
        fields = "".join([name + ": " + value + "\r\n" for name, value in store.values()])
        if fields.count("\r") != len(store) or fields.count("\n") != len(store) or SKIP_HEADER in fields:
            return None
        host_field = "" if "host" in names else f"Host: {host}\r\n"
        head = f"{request.method} {target} HTTP/1.1\r\n{host_field}{fields}\r\n".encode("latin-1")
    except (TypeError, UnicodeEncodeError):  # a value that is bytes, or has other characters
        return None
    return head if not body else head + body


def _learn(names: Any) -> bool:
    """Whether all these names are plain; remembered."""
    try:
        if not all(map(_plain_name, names)):
            return False
    except TypeError:  # one is bytes
        return False
    if len(_plain_names) > _MOST_NAMES:
        _plain_names.clear()
    _plain_names.update(names)
    return True


def exchange(pool: Any, method: str, path: str, data: bytes, limits: Limits) -> HTTPResponse | None:
    """Send `data` on an open socket and read the answer's head; None, and nothing sent, where none is open.

    What goes wrong is what the long way would raise; the socket is closed then, and its place in the pool given back.
    """
    conn = raw = None
    try:
        conn = pool.take_open(limits)
        if conn is None:
            return None
        pool.num_requests += 1
        conn.begin_to_send(limits)
        try:
            conn.send(data)
        except OSError as error:
            # A server may have answered before it hung up, as urllib3 knows.
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE):
                raise
        limits.phase = "head"
        try:
            response = conn.under_way = Response(conn.sock, method=method)
            response.came_straight = True
            response.begin()
        except (ssl.SSLError, OSError) as error:
            if isinstance(error, TimeoutError) or error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                raise ReadTimeoutError(pool, path, "Read timed out.") from error
            raise
        raw = limits.answer = raw_answer(pool, conn, response, method, path)
    except BaseException as error:
        if conn is not None and raw is None:
            pool.drop(conn)
        if isinstance(error, OSError | http.client.HTTPException):
            raise ProtocolError("Connection aborted.", error) from error
        raise
    if response.will_close:
        conn.close()
    return raw
