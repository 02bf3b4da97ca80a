"""One attempt on the wire: send through the session, follow redirects, read the body, all within its deadline."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import requests

from sleepwalker.clock import Clock
from sleepwalker.engine import Head, Outcome, Send, Verdict, answered, asked_wait, failed
from sleepwalker.exceptions import (
    RedirectError,
)
from sleepwalker.transport.aio import resending
from sleepwalker.transport.aio.deadline import AttemptDeadline, current
from sleepwalker.transport.aio.errors import ErrorContext, translate
from sleepwalker.transport.aio.receiving import is_received, read_short, read_whole_error, receive
from sleepwalker.transport.aio.resending import asked_again
from sleepwalker.transport.aio.response import Got, made_response
from sleepwalker.transport.aio.session import Client, through_session
from sleepwalker.transport.aio.stream import AsyncResponse
from sleepwalker.transport.aio.uploading import is_long
from sleepwalker.transport.errors import casts_doubt
from sleepwalker.transport.headers import Checked, store_of
from sleepwalker.transport.loaded import loaded_body
from sleepwalker.transport.outgoing import OutgoingRequest, first_hop
from sleepwalker.transport.prepare import mend
from sleepwalker.transport.redirects import MAX_REDIRECTS, Hop, after_redirect, is_redirect, next_hop
from sleepwalker.transport.url import Origin


class Clients(Protocol):
    """The clients of one connection."""

    def at_hand(self, loop: asyncio.AbstractEventLoop) -> Client | None:
        """The client of its own origin, if it exists already."""
        ...

    async def here(self) -> Client:
        """The client of its own origin."""
        ...

    async def elsewhere(self, url: str) -> Client:
        """A client for the URL of a redirect to another origin, without cookies and credentials."""
        ...


@dataclass(slots=True)
class Sender:
    """What the attempts of one connection need to send."""

    origin: Origin
    clients: Clients
    cookies: Any
    """The jar of the connection's cookies."""
    clock: Clock
    check_headers: Checked
    """Refuses headers that cannot be sent."""


async def attempt(sender: Sender, outgoing: OutgoingRequest, connect: float, read: float, step: Send) -> Outcome:
    """Send once and wait for the whole response (for a stream: its head). Errors are in the outcome.

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
        return after_redirect(outcome, hop) if hop.moved else outcome
    finally:
        del outcome  # its error's traceback refers to this frame: a cycle


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
    if deadline.reused and casts_doubt(outcome.error, deadline.phase):
        deadline.doubt()
    return outcome


def _is_of_proxy(error: Exception, proxy: str) -> bool:
    """Whether the socket to the proxy was not opened, or broke while the proxy was asked for a tunnel."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}" == proxy
    return isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientResponseError | aiohttp.ClientOSError)


def _broke_a_handshake(error: Exception, hop: Hop) -> bool:
    """Whether a connected socket was reset, so during the TLS handshake: a connect that fails is refused instead."""
    broke = isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionResetError)
    return broke and hop.target.startswith("https:")


def discard(response: Any) -> None:
    """Close the response of a failed attempt before a wait, so that it holds no socket meanwhile."""
    if isinstance(response, AsyncResponse):
        response.close()


async def _exchanged(
    sender: Sender, outgoing: OutgoingRequest, hop: Hop, deadline: AttemptDeadline
) -> requests.Response:
    """Send, follow redirects, and read the body unless it is streamed: all of it is one attempt."""
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
                if not is_received(response, got, outgoing, deadline, sender.clock):
                    await receive(response, got, outgoing, deadline, sender.clock, hop.target)
                return response
            await read_short(response, got, deadline, sender.clock)
            if len(history) >= MAX_REDIRECTS:
                error = RedirectError(
                    f"{sender.origin}: more than {MAX_REDIRECTS} redirects; the last one was not followed"
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
        got: Got = received or await through_session(prepared, client, deadline)
        deadline.on_release = got.close
        deadline.phase = "body"
        kind = AsyncResponse if outgoing.stream else requests.Response
        response = made_response(kind, got, prepared, cookies, sender.clock.monotonic() - began)
        if earlier and not is_redirect(response):
            response.history = earlier
        if not prepared.hooks.get("response"):
            return got, response
        if response.status_code >= 400:  # a hook may read the error's body
            await read_whole_error(response, got, outgoing, deadline, sender.clock)
        elif not (outgoing.stream or is_redirect(response)):
            await receive(response, got, outgoing, deadline, sender.clock, origin)
        following = asked_again(response, prepared, deadline) if again < resending.MOST else None
        if following is None:
            return got, response
        if loaded_body(response) is None:
            await read_short(response, got, deadline, sender.clock)
        earlier = [*earlier, response]
        prepared, again = following, again + 1
