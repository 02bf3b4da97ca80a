"""One attempt on the wire: send through the session, follow redirects, read the body, all within its limits."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError as UndecodableError

from sleepwalker.clock import Clock
from sleepwalker.engine.call import Send
from sleepwalker.engine.not_now import asked_wait
from sleepwalker.engine.outcome import Outcome, Verdict, answered, failed
from sleepwalker.exceptions import (
    ConnectionError,
    DeadlineExceeded,
    DecodeError,
    ReadError,
    ReadTimeout,
    RedirectError,
)
from sleepwalker.frozen import frozen, slotted
from sleepwalker.transport.answer import SHORT, keep_body, read_chunks
from sleepwalker.transport.body import Body
from sleepwalker.transport.codings import Unfinished
from sleepwalker.transport.credentials import Auth
from sleepwalker.transport.deadline import Limits, under
from sleepwalker.transport.errors import Scene, translate
from sleepwalker.transport.headers import Checked
from sleepwalker.transport.plain_answer import read_all
from sleepwalker.transport.redirects import MAX_REDIRECTS, Hop, hold_redirect, is_redirect, next_hop
from sleepwalker.transport.url import Origin, safe_path

#: Where it is given, the length is not (RFC 9112, section 6.3), whatever the server says of it.
_CODING = "Transfer-Encoding"
#: Of a longer body so much at a time: room for all of it would be taken at once, on nothing but the server's word.
_AT_ONCE = 1 << 20
#: Bytes of an error's body that are kept: more than any that is meant to be read, and read in no time as JSON.
_OF_AN_ERROR = 1 << 20


@frozen
class Wire:
    """Where the attempts of one connection go, and how."""

    origin: Origin
    session: requests.Session
    settings: dict[str, Any]
    """What `Session.send` is given besides: verify, cert, proxies."""
    elsewhere: Callable[[str], tuple[requests.Session, dict[str, Any]]]
    """A session without cookies and credentials for a redirect to the URL given, and its settings."""
    clock: Clock
    check_headers: Checked
    """Refuses those that cannot be sent."""


@slotted
class Exchange:
    """A request made ready, and how its answer is to be read."""

    prepared: requests.PreparedRequest
    """Without its body, which each attempt adds."""
    body: Body
    auth: Auth | None
    """Applied to each attempt, for those that sign the time or the body."""
    stream: bool
    max_body: int | None
    """Bytes of body, decoded, above which an answer is refused; None for no limit."""
    raise_for_status: bool
    failures: frozenset[int]
    """The statuses that are failures of the host."""
    deadline_header: str | None = None
    """Tells the server with each attempt how many seconds are left for its answer."""
    limits: tuple[Limits, ...] = ()
    """Those of the attempts made for it, which know what sockets they took."""

    def copy(self) -> Exchange:
        """The same for an attempt beside this one's: attempts write on their request."""
        prepared = self.prepared.copy()
        prepared.hooks = {event: list(hooks) for event, hooks in prepared.hooks.items()}
        return replace(self, prepared=prepared)


def attempt(
    wire: Wire, exchange: Exchange, step: Send, connect: float, read: float, limits: Limits | None = None
) -> Outcome:
    """Send once and wait for the whole answer (its head, where it is streamed). What goes wrong is in the outcome.

    `connect` and `read` are in seconds. `limits` are made of them and of the step, unless they are given, with a grip.
    KeyboardInterrupt and its like pass.
    """
    clock, handled = wire.clock, sys.exception()
    if exchange.deadline_header is not None:
        exchange.prepared.headers[exchange.deadline_header] = f"{max(0.0, step.deadline - clock.monotonic()):.3f}"
    try:
        hop = _first_hop(exchange, wire.origin)
    except Exception as error:  # noqa: BLE001 - from the caller's own auth object or body; raised when the call ends
        return Outcome(Verdict.NEUTRAL, error=error, never_sent=True)
    if limits is None:
        limits = Limits(clock, connect=connect, read=read, deadline=step.deadline, proven_since=step.proven_since)
    if exchange.limits:
        limits.avoid = tuple(earlier.route for earlier in exchange.limits if earlier.route is not None)
    exchange.limits += (limits,)
    limits.failures = exchange.failures
    try:
        response = under(limits, _exchanged, wire, exchange, hop, limits, (connect, read))
        status, header, wait = response.status_code, response.headers.get, None
        if status == 429 or header("Retry-After") is not None:
            wait = asked_wait(status, header, clock.wall)
        outcome = answered(status, response, wait, exchange.failures)
    except Exception as error:  # noqa: BLE001 - raised, translated, when the call ends
        if exchange.body.error is not None:
            return Outcome(Verdict.NEUTRAL, error=exchange.body.error)
        if limits.in_a_hook:
            return Outcome(Verdict.NEUTRAL, error=error)
        scene = Scene(hop.target, limits.phase, limits.cut, step.limit, step.seconds, connect, read, handled)
        outcome = failed(translate(error, scene))
        # A socket that brought a head and then too little was not dead when it was taken: its server is slow.
        slow = isinstance(outcome.error, ReadTimeout | DeadlineExceeded)
        if isinstance(outcome.error, ReadError) or (slow and limits.phase != "body"):
            limits.doubt_others()
    return _redirected(outcome, hop) if hop.moved else outcome


def discard(response: Any) -> None:
    """Let go of a failed attempt's answer before a wait, so that it holds no socket meanwhile."""
    with contextlib.suppress(Exception):
        response.close()


def guard_stream(
    response: requests.Response, on_break: Callable[[Exception, BaseException | None], BaseException]
) -> None:
    """Make reading a streamed body raise what `on_break` makes of whatever breaks it.

    It gets what was raised, and what the reader was handling meanwhile.
    """
    # Not `response.iter_content` itself: a response that holds itself is freed, with its socket, only when the
    # garbage collector comes by. An iterator that is being read does hold it.
    weak, iterate = weakref.ref(response), type(response).iter_content

    def iter_content(chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        if (alive := weak()) is None:
            raise ReferenceError("the response is gone")
        return pieces(alive, chunk_size, decode_unicode)

    def pieces(alive: requests.Response, chunk_size: int | None, decode_unicode: bool) -> Iterator[Any]:
        chunks: Iterator[Any] = iter(iterate(alive, chunk_size, decode_unicode))  # type: ignore[call-overload]
        while True:
            broken: BaseException | None = None
            handled = sys.exception()
            try:
                yield next(chunks)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - raised below, translated
                broken = on_break(error, handled)
            if broken is not None:
                raise broken

    response.iter_content = iter_content  # type: ignore[method-assign]


def _first_hop(exchange: Exchange, origin: Origin) -> Hop:
    prepared = exchange.prepared
    if exchange.auth is None:
        prepared.body = exchange.body.payload()
    else:
        prepared = prepared.copy()  # it may put anything on it, hooks included, and does so for each attempt
        prepared.hooks = {event: list(hooks) for event, hooks in prepared.hooks.items()}
        prepared.body = exchange.body.payload()
        length = prepared.headers.get("Content-Length")
        prepared = exchange.auth(prepared)
        if not isinstance(prepared, requests.PreparedRequest):
            kind = type(prepared).__name__
            raise TypeError(f"auth: a {type(exchange.auth).__name__} must return the request it was given, not {kind}")
        # requests' rule for auth objects that change the body; ours is already measured otherwise.
        if length is not None and isinstance(prepared.body, bytes | str):
            prepared.prepare_content_length(prepared.body)
    return Hop(prepared, origin.text)


def _exchanged(
    wire: Wire, exchange: Exchange, hop: Hop, limits: Limits, timeout: tuple[float, float]
) -> requests.Response:
    """The response, with its body read where it is not streamed."""
    response = _follow(wire, exchange, hop, limits, timeout)
    _receive(response, exchange, limits, hop.target)
    return response


def _follow(
    wire: Wire, exchange: Exchange, hop: Hop, limits: Limits, timeout: tuple[float, float]
) -> requests.Response:
    """Send, and go where redirects lead: all of it is one attempt."""
    history: list[requests.Response] = []
    while True:
        session, settings = wire.elsewhere(hop.url) if hop.foreign else (wire.session, wire.settings)
        began, limits.phase = limits.phase, "queue"  # where no time is left, nothing was sent
        left = limits.left()
        limits.phase = began
        wire.check_headers(hop.prepared.headers)
        response = session.send(
            hop.prepared,
            stream=True,
            allow_redirects=False,
            timeout=(min(timeout[0], left), min(timeout[1], left)),
            **settings,
        )
        limits.since_answer = "over"
        limits.phase = "body"
        if not is_redirect(response):
            response.history = history
            return response
        if len(history) >= MAX_REDIRECTS:
            response.close()
            raise RedirectError(f"{wire.origin}: more than {MAX_REDIRECTS} redirects, the last of them not followed")
        try:
            hold_redirect(wire.origin, response)  # for a session that runs no hooks
            limits.phase = None
            next_hop(hop, response, wire.origin, exchange.body, wire.session.cookies)
        except BaseException:
            response.close()
            raise
        history.append(response)


def _receive(response: requests.Response, exchange: Exchange, limits: Limits, origin: str) -> None:
    """The body, or for a stream the end of the deadline."""
    try:
        if response.status_code >= 400 and exchange.raise_for_status:
            # Its status matters more than its body, which may be cut short, or be no gzip although it says so. An
            # exception is made of it, so nobody will read it as a stream.
            limit = SHORT if exchange.stream else _OF_AN_ERROR
            _read_error(response, origin, limit=limit if exchange.max_body is None else min(limit, exchange.max_body))
        elif response.status_code >= 400 and not exchange.stream:
            _read_error(response, origin, limit=exchange.max_body)
        elif exchange.stream:
            limits.end_with_head()
        else:
            _read(response, origin, limit=exchange.max_body, truncate=False)
    except BaseException:
        discard(response)
        raise


def _read_error(response: requests.Response, origin: str, *, limit: int | None) -> None:
    """What can be read of an error's body; none of it where it is not what its Content-Encoding says."""
    try:
        _read(response, origin, limit=limit, truncate=True)
    except (ContentDecodingError, UndecodableError, ChunkedEncodingError) as error:
        if isinstance(error, ChunkedEncodingError) and not isinstance(error.args[0], Unfinished):
            raise
        response.close()
        keep_body(response, b"")


def _read(response: requests.Response, origin: str, *, limit: int | None, truncate: bool) -> None:
    """Read the body into the response; of one above `limit` only that much, or a DecodeError."""
    raw, headers = response.raw, response.headers
    length = headers.get("Content-Length", "")
    # Whoever was before us, a hook or a caching session, may have read it: then the socket has nothing more.
    content = response._content
    if isinstance(content, bytes) and (limit is None or len(content) <= limit):
        return
    plain = isinstance(raw, HTTPResponse) and not ("Content-Encoding" in headers or _CODING in headers)
    if plain and content is False and length.isdecimal() and (limit is None or int(length) <= limit):
        # What iter_content gives, without its detours.
        short = int(length) <= _AT_ONCE
        keep_body(response, read_all(raw) if short else b"".join(iter(partial(raw.read, _AT_ONCE), b"")))
        return
    chunks, whole = read_chunks(response, limit)
    if not whole and not truncate:
        where = f"{origin}{safe_path(response.url or '')}"
        text = f"{where}: {response.status_code} with a body of more than {limit} bytes (max_body)"
        raise DecodeError(text, response=response)
    keep_body(response, b"".join(chunks)[:limit] if truncate else b"".join(chunks))


def _redirected(outcome: Outcome, hop: Hop) -> Outcome:
    """Our host got the request and answered, with a redirect; what became of it elsewhere says nothing about ours."""
    verdict = Verdict.NEUTRAL if hop.foreign and outcome.verdict is Verdict.FAILURE else outcome.verdict
    if isinstance(outcome.error, ConnectionError):
        outcome.error.never_sent = False
    return replace(outcome, verdict=verdict, never_sent=False, elsewhere=hop.foreign)
