"""`RequestsAdapter`: the policies of a `Connection` for a `requests.Session` that other code owns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Self

import requests
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from sleepwalker.adapters.places import Idempotent, Place, Places, renewed
from sleepwalker.connection.handover import KEPT, Streams, described, on_break
from sleepwalker.connection.outgoing import SendableCall
from sleepwalker.connection.retry_if import RetryIf, asking
from sleepwalker.connection.sending import perform
from sleepwalker.connection.settings import pool_for
from sleepwalker.connection.traced import traced
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, BlockingClock
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import CompiledPolicy, Final, Request
from sleepwalker.events import AnyObserver, Observer
from sleepwalker.exceptions import ConnectionError, SleepwalkerException, URLError
from sleepwalker.hosts import HostTable
from sleepwalker.lookup.keys import sent_mark
from sleepwalker.policy import Policy
from sleepwalker.telemetry import tracing
from sleepwalker.transport.blocking.adapter import Adapter, limits_of
from sleepwalker.transport.blocking.attempt import Sender
from sleepwalker.transport.blocking.deadline import current_deadline
from sleepwalker.transport.blocking.stream import ClosedByReader, watch_stream
from sleepwalker.transport.body import NO_BODY, Body, File, Fixed, Stream
from sleepwalker.transport.errors import translate
from sleepwalker.transport.headers import Checked
from sleepwalker.transport.outgoing import OutgoingRequest
from sleepwalker.transport.url import origin_of, safe_path

_STREAMS = Streams(watch_stream, translate, (ClosedByReader,))
#: The most hosts to which sockets are kept at once.
_POOLS = 64
#: Stands for the `verify` that a context was made from: each request has its own.
_UNKNOWN = object()


class RequestsAdapter(Adapter):
    """An adapter for `requests.Session.mount` that applies a policy.

    Requests of the session get the deadlines, retries, circuit, limits, health and events of a `Connection`. The
    session keeps its headers, credentials, cookies, redirects and hooks, and gets responses of any status. Each
    redirect that it follows is a separate call to the redirect's host. `timeout=` of a request applies if it is shorter
    than the policy's. Bodies are read within the attempt; with `stream=True` the attempt ends with the head.

    Args:
        policy: A `Policy`, the name of a shipped one, or the path of a TOML file. If it has tables for single hosts,
            the table for the host applies. None: each call follows the policy of its host in `hosts`.
        hosts: Host records to share, such as a manager's (`hosts=manager.hosts`). The manager's `health`, status page
            and metrics then show these hosts, and its isolations apply here. None: a separate table, available as
            `adapter.hosts`.
        retry_if: A function that gets the response (of any status) or the error of an attempt which the policy would
            not retry. True retries, within the policy's limits.
        idempotent: Whether a request may be sent twice although the server may have processed it: True, False, or a
            function of the `requests.PreparedRequest` that returns True, False or None. With None the method decides,
            and an `Idempotency-Key` header counts as True.
        observer: A function called with each event and its level, or with the event alone, in addition to the log.
        clock: The source of time and randomness; for tests.

    Raises PolicyError, TypeError or ValueError for invalid arguments.

    `send` raises sleepwalker's exceptions, which are requests' exceptions too. Errors and responses have `attempts`.
    One adapter may be mounted for several prefixes, on several sessions, and used by many threads.

    Example:
        ```python
        session = requests.Session()  # or an SDK's
        session.mount("https://", RequestsAdapter("standard"))
        ```
    """

    def __init__(
        self,
        policy: Policy | str | os.PathLike[str] | None = None,
        *,
        hosts: HostTable | None = None,
        retry_if: RetryIf | None = None,
        idempotent: Idempotent[requests.PreparedRequest] | None = None,
        observer: AnyObserver | None = None,
        clock: BlockingClock = BLOCKING_CLOCK,
    ) -> None:
        self._places = Places(policy, hosts, retry_if, idempotent, observer, clock)
        self._clock = self._places.clock
        self._waits = Waits(self._clock)
        self._check_headers = Checked()
        super().__init__(pool_for(self._places.own or self._places.hosts.policy), None, _UNKNOWN, pools=_POOLS)
        renewed.add(self)

    @property
    def hosts(self) -> HostTable:
        """The records of its hosts, for `health()` and to share with managers: `ConnectionManager(hosts=…)`."""
        return self._places.hosts

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """The response to a request, of any status. Raises the error that explains why there is none."""
        direct = partial(super().send, request, stream, timeout, verify, cert, proxies)
        if current_deadline() is not None:  # within an attempt of ours, which has its policies already
            return direct()
        try:
            place = self._places.at(origin_of(request.url or ""))
        except URLError:
            return direct()  # requests says what is wrong with it
        compiled = place.compiled.hurried(*limits_of(timeout))
        call = self._call(place, compiled, request, stream)
        settings = {"verify": verify, "cert": cert, "proxies": proxies}
        sender = Sender(place.origin, _Direct(super().send), settings, None, self._clock, self._check_headers)
        tracer, observe, clock, waits = tracing.tracer, self._places.observe, self._clock, self._waits

        def run(observe: Observer) -> Final:
            return perform(sender, call, waits, clock, observe)

        headers = call.outgoing.prepared.headers
        try:
            return self._hand_over(
                run(observe)
                if tracer is None
                else tracer(traced(place.origin, call.request, headers, clock, observe, run)),
                place.origin.text,
                call,
                request,
            )
        except BaseException:
            # A Ctrl-C may have come after an attempt ended: its response, which may hold a socket, is not used.
            for deadline in call.outgoing.deadlines:
                deadline.release()
            raise

    def close(self) -> None:
        """Close idle sockets and end waiting calls (queued or before a retry).

        Requests in flight finish. Later ones still work.
        """
        waits, self._waits = self._waits, Waits(self._clock)
        waits.end()
        super().close()

    def renew_after_fork(self) -> None:
        """In a forked child: start with new sockets and waits, separate from the parent's."""
        self._waits = Waits(self._clock)
        self.renew()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __copy__(self) -> Self:
        """For a copy of its session: with sockets of its own, and the same records of hosts."""
        places = self._places
        return type(self)(
            places.own,
            hosts=places.hosts,
            retry_if=places.retry_if,
            idempotent=places.idempotent,
            observer=places.observer,
            clock=self._clock,
        )

    def __reduce__(self) -> Any:
        """For a pickle of its session: what it makes has records of its own."""
        places = self._places
        return _made, (type(self), places.own, places.retry_if, places.idempotent, places.observer)

    def _call(
        self, place: Place, compiled: CompiledPolicy, given: requests.PreparedRequest, stream: bool
    ) -> SendableCall:
        """The call for the engine and the transport. The given request is not changed."""
        host, places = place.host, self._places
        prepared, body = given.copy(), _body_of(given)
        headers: CaseInsensitiveDict[Any] = prepared.headers
        method = given.method or ""
        idempotent = places.is_idempotent(given, method, headers, compiled)
        outgoing = OutgoingRequest(prepared, body, None, stream, None, False, host.failures)
        if compiled.propagate is not None and compiled.propagate not in headers:
            outgoing.deadline_header = compiled.propagate
        request = Request(method, safe_path(given.url or ""), idempotent, body.replayable, body.concurrent)
        request.credentials = partial(sent_mark, None, headers)
        if places.retry_if is not None:
            request.retry_if = asking(places.retry_if)
        return SendableCall(request, outgoing, compiled, host)

    def _hand_over(
        self, final: Final, origin: str, call: SendableCall, given: requests.PreparedRequest
    ) -> requests.Response:
        """The response to return, or the error to raise; either has its attempts."""
        error = final.outcome.error
        if error is not None:
            if isinstance(error, SleepwalkerException) and error is not call.outgoing.body.error and not error.attempts:
                error.attempts = final.attempts
                error.__cause__ = error.__context__ = None  # requests' own errors quote the URL
                error.add_note(described(origin, call.request, final))
                if isinstance(error, ConnectionError):
                    error.request = given
            try:
                raise error
            finally:
                del error, final  # or this frame and the error would keep each other alive
        response: requests.Response = final.outcome.response
        response.request, response.connection = given, self
        response.attempts = final.attempts  # type: ignore[attr-defined]
        response.__attrs__ = KEPT
        if call.outgoing.stream:
            host, compiled, observe = call.host, call.compiled, self._places.observe
            watch_stream(response, on_break(origin, final, host, compiled, _STREAMS, self._clock, observe))
        return response


class _Direct:
    """Stands for the session of a connection: the adapter sends by itself."""

    def __init__(self, send: Callable[..., requests.Response]) -> None:
        self._send = send
        self.cookies: RequestsCookieJar | None = None
        """None: the session adds them itself."""

    def send(
        self, request: requests.PreparedRequest, *, stream: bool, allow_redirects: bool, timeout: Any, **settings: Any
    ) -> requests.Response:
        return self._send(request, stream, timeout, **settings)


def _body_of(request: requests.PreparedRequest) -> Body:
    """A prepared request's body, and whether it can be sent again. Its headers say how long it is."""
    body: Any = request.body
    if body is None:
        return NO_BODY
    if isinstance(body, bytes | str):
        return Fixed(body)
    if hasattr(body, "read"):
        length = str(request.headers.get("Content-Length", ""))
        return File(body, int(length) if length.isdecimal() else None)
    if isinstance(body, Iterable):
        return Stream(lambda: body, replayable=not isinstance(body, Iterator), awaits=False)
    return Fixed(body)  # requests says what is wrong with it


def _made(
    kind: type[RequestsAdapter],
    policy: Policy | None,
    retry_if: RetryIf | None,
    idempotent: Idempotent[requests.PreparedRequest] | None,
    observer: AnyObserver | None,
) -> RequestsAdapter:
    return kind(policy, retry_if=retry_if, idempotent=idempotent, observer=observer)
