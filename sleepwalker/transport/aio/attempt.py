"""One attempt on the wire: send through the session, follow redirects, read the body, all within its deadline."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from typing import Any, Protocol

import aiohttp
import requests
from requests.hooks import dispatch_hook
from yarl import URL

from sleepwalker.clock import Clock
from sleepwalker.engine import Head, Outcome, Send, Verdict, answered, asked_wait, failed
from sleepwalker.exceptions import (
    ConnectionError,
    DeadlineExceeded,
    DecodeError,
    ReadError,
    ReadTimeout,
    RedirectError,
)
from sleepwalker.transport.aio.deadline import AttemptDeadline, current
from sleepwalker.transport.aio.errors import ErrorContext, translate
from sleepwalker.transport.aio.fast_path import FastPath
from sleepwalker.transport.aio.response import Got, made_response, read_body, read_error
from sleepwalker.transport.aio.sockets import Connector
from sleepwalker.transport.aio.stream import AsyncResponse, begin_stream, keep_alive_of
from sleepwalker.transport.aio.uploading import is_long, pieces_of
from sleepwalker.transport.framing import MalformedResponse
from sleepwalker.transport.headers import Checked, store_of
from sleepwalker.transport.loaded import SHORT, loaded_body, set_body
from sleepwalker.transport.outgoing import OutgoingRequest, first_hop
from sleepwalker.transport.prepare import mend
from sleepwalker.transport.redirects import MAX_REDIRECTS, Hop, is_redirect, next_hop
from sleepwalker.transport.url import Origin, safe_path

#: Bytes kept of an error's body: more than a useful one has, and quick to parse as JSON.
_OF_AN_ERROR = 1 << 20
#: No timeout of aiohttp's: the attempt's deadline cuts.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
#: How often a hook of an auth object may send again within one attempt. Digest needs one.
_MOST_AGAIN = 2


@dataclass(slots=True)
class Client:
    """Where a request goes through."""

    session: aiohttp.ClientSession
    settings: dict[str, Any]
    """Further arguments of `ClientSession.request`: ssl, proxy."""
    ours: Connector | None
    """The session's connector, if that is ours."""
    proxy: str | None
    """Host and port of its proxy."""
    fast: FastPath | None = None
    """For requests that need nothing of the session."""


class Clients(Protocol):
    """The clients of one connection."""

    def at_hand(self, loop: asyncio.AbstractEventLoop) -> Client | None:
        """The one of its own origin, if it is there already."""
        ...

    async def here(self) -> Client:
        """The one of its own origin."""
        ...

    async def elsewhere(self, url: str) -> Client:
        """One for the URL of a redirect to another origin, without cookies and credentials."""
        ...


@dataclass(slots=True)
class Sender:
    """What the attempts of one connection are sent with."""

    origin: Origin
    clients: Clients
    cookies: Any
    """The jar of the connection's cookies."""
    clock: Clock
    check_headers: Checked
    """Refuses headers that cannot be sent."""


async def attempt(sender: Sender, outgoing: OutgoingRequest, connect: float, read: float, step: Send) -> Outcome:
    """Send once and wait for the whole response (for its head, where it is streamed). Errors are in the outcome.

    `connect` and `read` are in seconds. A cancelled task closes its socket, and CancelledError is raised.
    """
    clock, handled = sender.clock, sys.exception()
    if outgoing.deadline_header is not None:
        outgoing.prepared.headers[outgoing.deadline_header] = f"{max(0.0, step.deadline - clock.monotonic()):.3f}"
    try:
        hop = first_hop(outgoing, sender.origin)
    except Exception as error:  # noqa: BLE001 - of the caller's auth object or body; raised when the call ends
        return Outcome(Verdict.NEUTRAL, error=error, never_sent=True)
    deadline = AttemptDeadline(
        clock,
        asyncio.get_running_loop(),
        connect=connect,
        read=read,
        ends_at=step.deadline,
        proven_since=step.proven_since,
        failures=outgoing.failures,
    )
    if outgoing.deadlines:
        deadline.avoid = tuple(earlier.peer for earlier in outgoing.deadlines if earlier.peer is not None)
    outgoing.deadlines += (deadline,)
    deadline.begin()
    token = current.set(deadline)
    timed_out = False
    try:
        try:
            response = await _exchanged(sender, outgoing, hop, deadline)
        except BaseException as error:
            timed_out = deadline.end(error)
            deadline.release()
            raise
        finally:
            current.reset(token)
        deadline.end(None)
        outcome = _outcome_of(response, outgoing, clock)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError):
            if not timed_out:
                raise
            error = TimeoutError("timed out")
        outcome = _failure(error, outgoing, hop, deadline, step, handled)
    try:
        return _redirected(outcome, hop) if hop.moved else outcome
    finally:
        del outcome  # an error of ours has this frame in its traceback, and would be a cycle


def _outcome_of(response: requests.Response, outgoing: OutgoingRequest, clock: Clock) -> Outcome:
    status, headers, wait = response.status_code, response.headers, None
    fields = store_of(headers)
    if status == 429 or "retry-after" in (headers if fields is None else fields):
        wait = asked_wait(status, headers.get, clock.wall)
    outcome = answered(status, response, wait, outgoing.failures)
    if outgoing.stream and (status < 400 or not outgoing.raise_for_status):
        outcome.head = Head()
    return outcome


def _failure(
    error: Exception,
    outgoing: OutgoingRequest,
    hop: Hop,
    deadline: AttemptDeadline,
    step: Send,
    handled: BaseException | None,
) -> Outcome:
    """The outcome of an attempt that ended with an error."""
    if outgoing.body.error is not None:
        return Outcome(Verdict.NEUTRAL, error=outgoing.body.error)
    if deadline.in_hook:
        return Outcome(Verdict.NEUTRAL, error=error)
    if deadline.phase in ("connect", "tls") and deadline.proxy is not None and _is_of_proxy(error, deadline.proxy):
        deadline.at_proxy = True
    if deadline.phase == "connect" and (deadline.in_tls or _broke_a_handshake(error, hop)):
        deadline.phase = "tls"
    context = ErrorContext(
        hop.target, deadline.phase, deadline.hit, step.limit, step.seconds, deadline.connect, deadline.read, handled,
        proxy=deadline.proxy, at_proxy=deadline.at_proxy, first=not deadline.reused,
    )  # fmt: skip
    outcome = failed(translate(error, context))
    # A timeout in the body means a slow server: the socket was not dead when it was taken, as its head arrived.
    slow = isinstance(outcome.error, ReadTimeout | DeadlineExceeded)
    if deadline.reused and (isinstance(outcome.error, ReadError) or (slow and deadline.phase != "body")):
        deadline.doubt()
    return outcome


def _is_of_proxy(error: Exception, proxy: str) -> bool:
    """Whether it is the socket to the proxy that was not opened, or that broke as it was asked for a tunnel."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}" == proxy
    return isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientResponseError | aiohttp.ClientOSError)


def _broke_a_handshake(error: Exception, hop: Hop) -> bool:
    """Whether it is a socket that broke once it was connected: one that is not accepted is refused."""
    broke = isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionResetError)
    return broke and hop.target.startswith("https:")


def discard(response: Any) -> None:
    """Close the response of a failed attempt before a wait, so that it holds no socket meanwhile."""
    if isinstance(response, AsyncResponse):
        response.close()


async def _exchanged(
    sender: Sender, outgoing: OutgoingRequest, hop: Hop, deadline: AttemptDeadline
) -> requests.Response:
    """Send, follow redirects, and read the body where it is not streamed: all of it is one attempt."""
    history: list[requests.Response] = []
    try:
        while True:
            if hop.foreign:
                client = await _elsewhere(sender.clients, hop, history)
            else:
                client = sender.clients.at_hand(deadline.loop) or await sender.clients.here()
            cookies = None if hop.foreign else sender.cookies
            got, response = await _answered(sender, outgoing, hop.prepared, client, deadline, cookies, hop.target)
            if not is_redirect(response):
                if history:
                    response.history = history
                if not _is_received(response, got, outgoing, deadline, sender.clock):
                    await _receive(response, got, outgoing, deadline, sender.clock, hop.target)
                return response
            await _read_short(response, got, deadline, sender.clock)
            if len(history) >= MAX_REDIRECTS:
                error = RedirectError(
                    f"{sender.origin}: more than {MAX_REDIRECTS} redirects, the last of them not followed"
                )
                error.response = response
                raise error
            deadline.phase = "queue"
            try:
                next_hop(hop, response, sender.origin, outgoing.body, sender.cookies)
            except RedirectError as error:
                error.response = response
                raise
            history.append(response)
    except RedirectError as error:
        if not error.attempts and error.response is not None:
            error.response.history = history
        raise


async def _elsewhere(clients: Clients, hop: Hop, history: list[requests.Response]) -> Client:
    try:
        return await clients.elsewhere(hop.url)
    except RedirectError as error:
        error.response = history.pop()
        raise


async def _answered(
    sender: Sender,
    outgoing: OutgoingRequest,
    prepared: requests.PreparedRequest,
    client: Client,
    deadline: AttemptDeadline,
    cookies: Any,
    origin: str,
) -> tuple[Got, requests.Response]:
    """The response, once the hooks of an auth object have nothing more to send: its head, or all of it."""
    again, earlier = 0, list[requests.Response]()
    while True:
        if outgoing.auth is not None:
            mend(prepared)
        sender.check_headers(prepared.headers)
        began = sender.clock.monotonic()
        deadline.connects, deadline.proxy, deadline.at_proxy = 0, client.proxy, False
        deadline.uploads = is_long(prepared.body, prepared.headers)
        deadline.remaining()
        received = None if client.fast is None else await client.fast.send(prepared, deadline)
        got: Got = received or await _through_session(prepared, client, deadline)
        deadline.on_release = got.close
        deadline.phase = "body"
        kind = AsyncResponse if outgoing.stream else requests.Response
        response = made_response(kind, got, prepared, cookies, sender.clock.monotonic() - began)
        if earlier and not is_redirect(response):
            response.history = earlier
        if not prepared.hooks.get("response"):
            return got, response
        if response.status_code >= 400:  # a hook may look at what the server says
            await _read_error(response, got, outgoing, deadline, sender.clock)
        elif not (outgoing.stream or is_redirect(response)):
            await _receive(response, got, outgoing, deadline, sender.clock, origin)
        following = _asked_again(response, prepared, deadline) if again < _MOST_AGAIN else None
        if following is None:
            return got, response
        if loaded_body(response) is None:
            await _read_short(response, got, deadline, sender.clock)
        earlier = [*earlier, response]
        prepared, again = following, again + 1


async def _through_session(prepared: requests.PreparedRequest, client: Client, deadline: AttemptDeadline) -> Got:
    headers = {name: _text(value) for name, value in prepared.headers.items()}
    if "Expect" in prepared.headers:
        # aiohttp would wait for a 100 for ever. A proxy of HTTP/1.0 never sends one (RFC 9110, section 10.1.1).
        headers = {name: value for name, value in headers.items() if name.lower() != "expect"}
    data: Any = prepared.body
    chunked = None
    if isinstance(data, str):
        data = data.encode("utf-8")
    if deadline.uploads:
        data = pieces_of(data, deadline)
        if "content-length" not in prepared.headers:
            headers.pop("Transfer-Encoding", None)
            chunked = True
    if client.ours is None:
        deadline.connected()  # through a mock, or a connector that does not say when it is
    try:
        got = await client.session.request(
            prepared.method or "GET",
            URL(prepared.url or "", encoded=True),
            headers=headers,
            data=data,
            chunked=chunked,
            allow_redirects=False,
            raise_for_status=False,
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
            **client.settings,
        )
    except (aiohttp.ClientError, OSError, asyncio.CancelledError) as error:
        if client.ours is not None and not deadline.connects and not isinstance(error, aiohttp.InvalidURL):
            deadline.connected()  # a mock stands in for the session: no socket was asked for
        raise
    deadline.on_release = got.close
    if got.status == 101:  # nobody asked for another protocol
        got.close()
    if client.ours is not None and deadline.phase == "send" and got.status < 300:
        # aiohttp sends no more of a body once a response is there.
        raise MalformedResponse("success was reported before the whole body was sent, which ended that")
    return got


def _text(value: Any) -> str:
    """A header's value for aiohttp, which encodes it as UTF-8: bytes of UTF-8 so leave as they came."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


class _Again(Exception):
    """A hook sends another request; nothing of the hook's runs after it."""

    def __init__(self, prepared: requests.PreparedRequest) -> None:
        super().__init__()
        self.prepared = prepared


class _Resend:
    """Stands for the adapter that a hook sends through."""

    def send(self, prepared: requests.PreparedRequest, **_: Any) -> requests.Response:
        """Take note of the request, which is sent once the hook has ended."""
        raise _Again(prepared)


def _asked_again(
    response: requests.Response, prepared: requests.PreparedRequest, deadline: AttemptDeadline
) -> requests.PreparedRequest | None:
    """What the hooks of an auth object send in answer to a response, if anything: as Digest does to a challenge."""
    asked: Any = response
    asked.connection = _Resend()
    deadline.in_hook = True
    try:
        dispatch_hook("response", prepared.hooks, response)
    except _Again as again:
        deadline.in_hook = False
        return again.prepared
    finally:
        del asked.connection
    deadline.in_hook = False
    return None


async def _read_short(response: requests.Response, got: Got, deadline: AttemptDeadline, clock: Clock) -> None:
    """Read the body of a response that is not the last one, if it is short: then its socket can be used again."""
    try:
        body, _ = await read_error(got, _codings(response), SHORT, deadline)
    except (aiohttp.ClientError, OSError):  # the body is not needed
        body = b""
        got.close()
    set_body(response, body)
    _give_back(response, deadline, clock)


def _is_received(
    response: requests.Response, got: Got, outgoing: OutgoingRequest, deadline: AttemptDeadline, clock: Clock
) -> bool:
    """Take a body that came with its head, as most do; whether it is one, and needs nothing more."""
    if outgoing.stream or outgoing.max_body is not None or response.status_code >= 400 or not got.content.is_eof():
        return False
    if _codings(response) or loaded_body(response) is not None:
        return False
    body = got.content.read_nowait(-1)
    if deadline.socket is not None:
        deadline.socket.check_end(response)
    set_body(response, body)
    _give_back(response, deadline, clock)
    return True


async def _receive(
    response: requests.Response,
    got: Got,
    outgoing: OutgoingRequest,
    deadline: AttemptDeadline,
    clock: Clock,
    origin: str,
) -> None:
    """Read the body; for a stream, leave it to its reader."""
    if response.status_code >= 400 and (outgoing.raise_for_status or not outgoing.stream):
        if loaded_body(response) is None:
            await _read_error(response, got, outgoing, deadline, clock)
        return
    if loaded_body(response) is not None:
        return  # for a hook
    if isinstance(response, AsyncResponse):
        used, deadline.socket, deadline.on_release = deadline.socket, None, None
        begin_stream(response, got, clock, read=deadline.read, body_ends_at=outgoing.body_ends_at, used=used)
        return
    codings, limit = _codings(response), outgoing.max_body
    announced = limit is not None and not codings and response.request.method != "HEAD"
    length = got.content_length if announced else None
    # A response to HEAD, or a 304, announces what it does not bring.
    refused = length is not None and limit is not None and length > limit and not got.content.is_eof()
    body, whole = (b"", False) if refused else await read_body(got, codings, limit, deadline)
    if not whole:
        where = f"{origin}{safe_path(response.url or '')}"
        size = f"{length} bytes, more than {limit}" if refused else f"more than {limit} bytes"
        raise DecodeError(f"{where}: {response.status_code} with a body of {size} (max_body)", response=response)
    if deadline.socket is not None:
        deadline.socket.check_end(response)
    set_body(response, body)
    _give_back(response, deadline, clock)


async def _read_error(
    response: requests.Response,
    got: Got,
    outgoing: OutgoingRequest,
    deadline: AttemptDeadline,
    clock: Clock,
) -> None:
    """Read an error's body; as it came, and marked, where it is not what its Content-Encoding says."""
    limit = outgoing.max_body
    if outgoing.raise_for_status:
        most = SHORT if outgoing.stream else _OF_AN_ERROR
        limit = most if limit is None else min(limit, most)
    body, fine = await read_error(got, _codings(response), limit, deadline)
    if not fine:
        response.undecoded = True  # type: ignore[attr-defined]
    set_body(response, body)
    _give_back(response, deadline, clock)


def _codings(response: requests.Response) -> str:
    fields = store_of(response.headers)
    if fields is None:
        return response.headers.get("Content-Encoding", "")
    found = fields.get("content-encoding")
    return "" if found is None else str(found[1])


def _give_back(response: requests.Response, deadline: AttemptDeadline, clock: Clock) -> None:
    """The socket brought a response: it may be used again, unless that says that the machine behind it fails."""
    used, deadline.socket, deadline.on_release = deadline.socket, None, None
    if used is None:
        return
    if response.status_code in deadline.failures:
        used.close()
    else:
        used.done(clock.monotonic(), keep_alive_of(response))


def _redirected(outcome: Outcome, hop: Hop) -> Outcome:
    """Our host responded, with a redirect: a failure of another host after it is not counted against ours."""
    verdict = Verdict.NEUTRAL if hop.foreign and outcome.verdict is Verdict.FAILURE else outcome.verdict
    if isinstance(outcome.error, ConnectionError):
        outcome.error.never_sent = False
    return replace(outcome, verdict=verdict, never_sent=False, elsewhere=hop.foreign)
