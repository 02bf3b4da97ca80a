"""`Connection`: authentication and communication with one remote machine, under a policy."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, Unpack

import requests

from sleepwalker.connection.arguments import Body, Certificate, Credentials, Files, HeaderValues, Params, Path, Verify
from sleepwalker.connection.base import ConnectionBase, connections
from sleepwalker.connection.calls import Calls
from sleepwalker.connection.downloading import DownloadCall, DownloadOptions
from sleepwalker.connection.handover import Streams
from sleepwalker.connection.json import HEADERS, MAX_BODY, decoded, json_options
from sleepwalker.connection.options import CallOptions, RequestOptions, checked_options
from sleepwalker.connection.response import Response
from sleepwalker.connection.retry_if import RetryIf
from sleepwalker.connection.settings import Timeout, check_max_body, check_session, pool_for
from sleepwalker.connection.verbs import Verbs
from sleepwalker.downloads import Download, OnProgress
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, BlockingClock
from sleepwalker.engine import Outcome
from sleepwalker.events import AnyObserver
from sleepwalker.frames import without_locals
from sleepwalker.policy import Policy
from sleepwalker.transport.blocking.route import Route
from sleepwalker.transport.blocking.stream import ClosedByReader, watch_stream
from sleepwalker.transport.errors import translate


class Connection(Verbs, ConnectionBase):
    """Authentication and communication with one remote machine.

    Args:
        hostname: The host with its protocol: `https://host.com`. A base path may follow.
        auth: `(user, password)` for HTTP Basic, any requests auth object or callable, or `ANONYMOUS` for no
            credentials. None: the first request looks the host up in the user's netrc file.
        port: Appended to a hostname without a port.
        verify: Certificate validation: True, False, the path of a CA bundle, or an `ssl.SSLContext`.
        timeout: Seconds to connect and to wait for each next byte, or a pair `(connect, read)`. Replaces the policy's
            values. The policy's deadlines are lengthened where they are too short for it.
        policy: A `Policy`, the name of a shipped one, or the path of a TOML file. If it has tables for single hosts,
            the table for this host applies. None: the policy chosen with `defaults`, or else `standard`.
        cert: The path of a client certificate with its key, or a pair of paths (certificate, key).
        proxies: Proxy URLs by scheme. They override those of the environment.
        headers: Sent with every request.
        session: A `requests.Session` to send through, such as a caching one. `close` leaves it open.
        max_body: The largest decoded body, in bytes, that `json_request` accepts.
        retry_if: A function that gets the response (of any status) or the error of an attempt which the policy would
            not retry. True retries, within all other limits of the policy. Applies to `json_request` too.
        observer: A function called with each event and its level, or with the event alone, in addition to the log.
        clock: The source of time and randomness; for tests.

    Raises:
        URLError: for an invalid hostname or port. Its subclass `InsecureAuthError`: for credentials that would be sent
            unencrypted.
        ValueError, TypeError: for other invalid arguments; `PolicyError` is a ValueError.

    Threads may share a connection, and both sides of a fork may use it.

    Example:
        ```python
        with Connection("https://api.example.com", ("user", "password"), policy="interactive") as conn:
            item = conn.json_request("GET", "/items/7")
            response = conn.get("/items", params={"limit": 10}, timeout=5)
            print(response.status_code, len(response.attempts))
        ```
    """

    __slots__ = ()

    @without_locals
    def __init__(
        self,
        hostname: str,
        auth: Credentials | None = None,
        port: int | str | None = None,
        verify: Verify = True,
        timeout: Timeout | None = None,
        *,
        policy: Policy | Path | None = None,
        cert: Certificate | None = None,
        proxies: Mapping[str, str] | None = None,
        headers: HeaderValues | None = None,
        session: requests.Session | None = None,
        max_body: int = MAX_BODY,
        retry_if: RetryIf | None = None,
        observer: AnyObserver | None = None,
        clock: BlockingClock = BLOCKING_CLOCK,
    ) -> None:
        origin, followed = self._read(hostname, port, timeout, policy, clock)
        self._json_options = CallOptions(headers=HEADERS, max_body=check_max_body(max_body))
        session, pool = check_session(session), pool_for(followed)
        route = Route(origin, session, pool, clock, verify=verify, cert=cert, proxies=proxies)
        observe = self._set_up(route, followed, auth, headers, retry_if, observer, clock, threading.local(), _STREAMS)
        self._calls: Calls = Calls(origin, route, self._maker, self._handover, self.usage, clock, observe)
        route.mount()  # last, because nothing may fail after it: the session may be the caller's
        connections.add(self)

    @without_locals
    def json_request(
        self,
        method: str,
        uri: str,
        body: object = None,
        params: Params | None = None,
        extra_headers: HeaderValues | None = None,
    ) -> Any:
        """Send `body` as JSON. Returns the decoded JSON of the response, or None for 204 or an empty body.

        `max_body` limits the response. `json_request` does not call `request`: a subclass that overrides one must
        override both.

        Raises what `request` raises. DecodeError, with the response, if the body is not JSON or is larger than
        `max_body`. TypeError or ValueError if JSON cannot represent `body`.
        """
        options = self._json_options
        if body is not None or params is not None or extra_headers:
            options = json_options(options, self._encoder, body, params, extra_headers)
        return decoded(self._calls.call(self._part, method, uri, options), self._origin)

    @without_locals
    def request(
        self,
        method: str,
        uri: str,
        *,
        params: Params | None = None,
        data: Body | None = None,
        json: object = None,
        files: Files | None = None,
        headers: HeaderValues | None = None,
        timeout: Timeout | None = None,
        stream: bool = False,
        policy: Policy | Path | None = None,
        total: float | None = None,
        total_covers_body: bool = False,
        retry_if: RetryIf | None = None,
        idempotent: bool | None = None,
        raise_for_status: bool = True,
    ) -> Response:
        """Send a request under the policy. Returns the response; its `attempts` list what was tried.

        `data` may be a callable that returns a new body for each attempt. An iterator can be sent only once, so such a
        call is never retried.

        `policy` replaces the timeouts, retries and log settings for this call. It may switch the breaker, the bulkhead
        or the budget off for this call.

        `total` limits the whole call, in seconds. It takes precedence over `policy` and `timeout`: longer timeouts are
        shortened to fit. A longer `total` does not lengthen the other timeouts.

        `retry_if` gets the response (of any status) or the error of an attempt which neither the policy nor the
        connection's own `retry_if` would retry. If it returns True, the request is sent again, within the policy's
        other limits: a POST only if it is idempotent. An exception from it ends the call.

        `idempotent` says whether the request may be sent twice although the server may have processed it. By default
        the method decides, and an `Idempotency-Key` header counts as True.

        With `stream`, the attempt ends with the head of the response, and `retry_if` gets only the head. `timeout.read`
        limits each read of the body. With `total_covers_body`, the call's total limits the whole body as well; a longer
        body raises DeadlineExceeded.

        Raises the HTTPError of a status of 400 or more, unless `raise_for_status` is False. Raises the ConnectionError
        of the last attempt if there was no response. Raises URLError, before anything is sent, for a request that must
        not be sent.
        """
        given: RequestOptions = {
            "params": params,
            "data": data,
            "json": json,
            "files": files,
            "headers": headers,
            "timeout": timeout,
            "stream": stream,
            "policy": policy,
            "total": total,
            "total_covers_body": total_covers_body,
            "retry_if": retry_if,
            "idempotent": idempotent,
            "raise_for_status": raise_for_status,
        }
        return self._calls.call(self._part, method, uri, checked_options(given, self._encoder))

    @without_locals
    def download(
        self,
        uri: str,
        path: Path,
        *,
        progress: OnProgress | None = None,
        checksum: str | None = None,
        **options: Unpack[DownloadOptions],
    ) -> Download:
        """Send a GET and write the body to a file, under the policy. If the body breaks off, ask for the rest.

        The body is written to `NAME.part` beside `path`, which is renamed when the file is complete. Later attempts,
        calls and processes go on with that part, if the server supports ranges and sends a strong `ETag` or
        `Last-Modified`. If the file has changed, the download begins anew. `timeout.attempt` bounds the time to each
        head, `timeout.read` each silence in a body, and `timeout.total` the time without progress. `retry.attempts`
        counts attempts in a row without progress, which is 64 KiB. The size is not bounded.

        Args:
            uri: As for `request`.
            path: Where to write the file. An existing one is replaced when the new one is complete.
            progress: Called with the bytes received and the size, None if unknown; at most ten times a second, and at
                the end. An exception in it ends the call.
            checksum: The checksum of the file, such as `sha256:9f86d0...`.
            options: `params`, `headers`, `timeout` and `policy`, as for `request`; and `total`, the seconds for the
                whole download.

        Raises what `request` raises; ReadError or ReadTimeout after attempts in a row without progress; ChecksumError,
        after which the next call begins anew; DownloadError for a response that is not a file; OSError for a `path`
        that cannot be written, and BlockingIOError while another download to it is running. The part is kept, except
        after a ChecksumError.

        Example:
            ```python
            done = conn.download("/releases/app.tar.gz", "app.tar.gz", progress=lambda done, total: print(done, total))
            print(done.size, "bytes in", len(done.attempts), "attempts")
            ```
        """
        asked = DownloadCall(path, progress, checksum, self._encoder, **options)
        return self._calls.download(self._part, uri, asked, _STREAMS)

    @property
    def conn(self) -> requests.Session:
        """The underlying session."""
        return self._route.session

    def probe(self, path: str, seconds: float) -> Outcome:
        """Request `path` once, within `seconds`, without policies or counters. Works on a closed connection too."""
        return self._calls.probe(self._part, path, seconds)

    def close(self) -> None:
        """Close idle sockets and end waiting calls (queued or before a retry). Later requests raise.

        Requests in flight finish. This closes the connection's scopes too. On a scope, `close` does nothing, because
        others use the same connection.
        """
        if self._whole is not None:
            return
        self._calls.close()
        self._part.host.tell_refused()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._whole is None:  # checked here, because a subclass may log out when it closes
            self.close()


#: A body that its reader closed or interrupted does not count against the host.
_STREAMS = Streams(watch_stream, translate, (ClosedByReader,))
