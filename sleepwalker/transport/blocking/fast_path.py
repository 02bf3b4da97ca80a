"""The fast path: a plain request on an open socket is sent with one call, and its head is read with one.

urllib3 and http.client build a request in a hundred steps, and for most requests most steps do nothing. Such a request
is sent from here, with the same bytes, and its response becomes the same `HTTPResponse`. Everything else takes the
ordinary path, the libraries' own code: the first request on a socket, a proxy, a body that is not bytes, an unusual
header, a step that a tool has patched. Tests compare the two paths byte by byte; each process does so, too, before it
uses the fast path (`rehearsal`).

A connection taken from its pool belongs to `send` until there is a response. Then it belongs to the response, which
gives it back at the end of its body or when it is closed. If a signal handler raises in between, the connection is
given back when the attempt ends.
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
import urllib3.connection
import urllib3.connectionpool
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse, Retry
from urllib3.exceptions import ProtocolError, ReadTimeoutError
from urllib3.util.request import SKIP_HEADER

from sleepwalker.transport.blocking.deadline import AttemptDeadline
from sleepwalker.transport.blocking.head import BoundedResponse
from sleepwalker.transport.blocking.response_headers import LazyHeaders
from sleepwalker.transport.headers import store_of
from sleepwalker.transport.plain_headers import PlainHeaders

#: Where the steps of the ordinary path are found.
OWNERS = types.SimpleNamespace(
    Session=requests.Session,
    HTTPAdapter=HTTPAdapter,
    HTTPConnectionPool=urllib3.connectionpool.HTTPConnectionPool,
    HTTPConnection=urllib3.connection.HTTPConnection,
    http=http,
)
#: The steps that tools patch to see, record or fake requests. A step that a release no longer has is skipped.
STEPS = (
    "Session.send",
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
_log = logging.getLogger("urllib3.connectionpool")

#: Targets and names that requests, urllib3 and http.client send unchanged.
_plain_target = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?").fullmatch
_plain_name = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
#: Plain names seen so far, in lower case. A service uses a few dozen.
_plain_names: set[str] = set()
_MOST_NAMES = 1000
#: The ordinary path adds these by itself, before all others, where they are missing.
_EXPECTED = frozenset({"accept-encoding", "user-agent"})


def _step(name: str) -> Any:
    try:
        return operator.attrgetter(name)(OWNERS)
    except AttributeError:
        return None


def _is_genuine(name: str) -> bool:
    """Whether a step is its library's own function: a tool may have patched it before we were imported."""
    step, owner = _step(name), _step(name.rpartition(".")[0])
    home = getattr(sys.modules.get(owner.__module__), "__dict__", None)
    return type(step) is types.FunctionType and step.__globals__ is home


#: Whether it gives the same as the ordinary path; None until `rehearsal` has tried.
proven: bool | None = None

_KNOWN = [name for name in STEPS if _step(name) is not None]
_GENUINE = all(map(_is_genuine, _KNOWN))
#: Gets all steps at once, since every call compares them.
_steps = operator.attrgetter(*_KNOWN)
_STEPS_AS_LOADED = _steps(OWNERS)


def is_open() -> bool:
    """Whether requests may take the fast path now."""
    return proven is True and is_unpatched()


def is_unpatched() -> bool:
    """Whether every step of the ordinary path is its library's own, and urllib3's debug log is off."""
    # By identity: some wrappers claim to equal what they wrap.
    same = all(map(operator.is_, _steps(OWNERS), _STEPS_AS_LOADED))
    return same and _GENUINE and not _log.isEnabledFor(logging.DEBUG)


def send(
    pool: Any, method: str, url: str, body: Any, headers: Any, retries: Any, deadline: AttemptDeadline
) -> HTTPResponse | None:
    """Send the request and return its response; None, with nothing sent, if it needs the ordinary path.

    Raises what urllib3 raises.
    """
    if type(retries) is not Retry or retries.total or retries.status_forcelist or retries.read is not False:
        return None  # the adapter's owner has urllib3 retry by itself, or set how
    data = request_bytes(method, url, headers, body, pool.host_field)
    if data is None:
        return None
    # Only the path, since tools log the URL of a response.
    return send_and_read_head(pool, method, url.partition("?")[0], data, retries, deadline)


def request_bytes(method: str, target: str, headers: Any, body: Any, host: str) -> bytes | None:
    """The request as the ordinary path sends it; None if that path would do more than join the parts.

    `host` is the value of the Host header.
    """
    store = store_of(headers)
    if store is None:
        return None
    names = store.keys()
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
        head = f"{method} {target} HTTP/1.1\r\n{host_field}{fields}\r\n".encode("latin-1")
    except (TypeError, UnicodeEncodeError):  # a value that is bytes, or is not Latin-1
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


def send_and_read_head(
    pool: Any, method: str, path: str, data: bytes, retries: Any, deadline: AttemptDeadline
) -> HTTPResponse | None:
    """Send `data` on an open socket and read the response's head; None, with nothing sent, if none is open.

    Raises what the ordinary path raises. The socket is closed then, and its place in the pool given back.
    """
    conn = raw = None
    try:
        conn = pool.take_open(deadline)
        if conn is None:
            return None
        pool.num_requests += 1
        conn.begin_to_send(deadline)
        try:
            conn.send(data)
        except OSError as error:
            # The server may have responded before it closed the connection; urllib3 reads that, too.
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE):
                raise
        deadline.phase = "head"
        try:
            response = conn.response_class(conn.sock, method=method)
            response.by_fast_path = True
            response.begin()
        except (ssl.SSLError, OSError) as error:
            if isinstance(error, TimeoutError) or error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                raise ReadTimeoutError(pool, path, "Read timed out.") from error
            raise
        raw = deadline.response = _response(pool, conn, response, method, path, retries)
    except BaseException as error:
        if conn is not None and raw is None:
            pool.drop(conn)
        if isinstance(error, OSError | http.client.HTTPException):
            raise ProtocolError("Connection aborted.", error) from error
        raise
    if response.will_close:
        conn.close()
    return raw


def _response(pool: Any, conn: Any, response: BoundedResponse, method: str, path: str, retries: Any) -> HTTPResponse:
    """The response as urllib3 makes it: its body is unread, and `conn` goes back to `pool` after it."""
    head = response.headers
    store = head.store if head.__class__ is PlainHeaders else None
    raw = HTTPResponse(
        body=response,
        headers=HTTPHeaderDict(head.items()) if store is None else LazyHeaders(store),
        status=response.status,
        version=response.version,
        version_string=getattr(conn, "_http_vsn_str", "HTTP/?"),
        reason=response.reason,
        preload_content=False,
        decode_content=False,
        original_response=response,
        pool=pool,
        connection=conn,
        retries=retries,
        request_method=method,
        request_url=path,
        sock_shutdown=getattr(conn.sock, "shutdown", None),
    )
    if response.in_chunks:
        raw.chunked = False  # `response` has taken the frames away
    return raw
