"""One attempt on the wire: send through the session, follow redirects, read the body, all within its deadline."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import requests
from urllib3 import HTTPResponse

from sleepwalker.clock import Clock
from sleepwalker.engine import Head, Outcome, Send, Verdict, answered, asked_wait, failed
from sleepwalker.exceptions import (
    DecodeError,
    RedirectError,
)
from sleepwalker.transport.blocking import fast_path
from sleepwalker.transport.blocking.deadline import AttemptDeadline, run_with_deadline
from sleepwalker.transport.blocking.redirects import guard_redirects, hold_redirect
from sleepwalker.transport.blocking.rehearsal import rehearse
from sleepwalker.transport.blocking.response import (
    decoded_body,
    read_all,
    read_chunks,
    read_raw,
)
from sleepwalker.transport.blocking.stream import begin_stream
from sleepwalker.transport.codings import EncodedResponse
from sleepwalker.transport.error_context import ErrorContext
from sleepwalker.transport.errors import casts_doubt, translate
from sleepwalker.transport.headers import Checked, store_of
from sleepwalker.transport.loaded import SHORT, loaded_body, set_body
from sleepwalker.transport.outgoing import OutgoingRequest, first_hop
from sleepwalker.transport.redirects import MAX_REDIRECTS, Hop, after_redirect, is_redirect, next_hop
from sleepwalker.transport.url import Origin, safe_path

#: Bytes read at a time from a longer body. One read would allocate as much memory as the server announces.
_AT_ONCE = 1 << 20
#: Bytes kept of an error's body: more than a useful one has, and quick to parse as JSON.
_OF_AN_ERROR = 1 << 20


class Session(Protocol):
    """What sends: a `requests.Session`, or an adapter without one."""

    @property
    def cookies(self) -> Any:
        """The cookies that redirects are sent with."""

    @property
    def send(self) -> Callable[..., requests.Response]:
        """As `requests.Session.send`."""


@dataclass(slots=True)
class Sender:
    """What the attempts of one connection are sent with."""

    origin: Origin
    session: Session
    settings: dict[str, Any]
    """Further arguments of `Session.send`: verify, cert, proxies."""
    elsewhere: Callable[[str], tuple[Session, dict[str, Any]]] | None
    """Returns, for the URL of a redirect to another origin, a session without cookies and credentials, and its
    settings. None if redirects are followed by a session above, not here."""
    clock: Clock
    check_headers: Checked
    """Refuses headers that cannot be sent."""


def attempt(
    sender: Sender,
    outgoing: OutgoingRequest,
    step: Send,
    connect: float,
    read: float,
    deadline: AttemptDeadline | None = None,
) -> Outcome:
    """Send once and wait for the whole response (for its head, if it is streamed). Errors are in the outcome.

    `connect` and `read` are in seconds. `deadline` is given if the attempt can be cancelled; else it is made here.
    KeyboardInterrupt and SystemExit are raised.
    """
    clock, handled = sender.clock, sys.exception()
    if outgoing.deadline_header is not None:
        outgoing.prepared.headers[outgoing.deadline_header] = f"{max(0.0, step.deadline - clock.monotonic()):.3f}"
    try:
        hop = first_hop(outgoing, sender.origin)
    except Exception as error:  # noqa: BLE001 - of the caller's auth object or body; raised when the call ends
        return Outcome(Verdict.NEUTRAL, error=error, never_sent=True)
    if deadline is None:
        deadline = AttemptDeadline(
            clock, connect=connect, read=read, ends_at=step.deadline, proven_since=step.proven_since
        )
    if outgoing.deadlines:
        deadline.avoid = tuple(earlier.peer for earlier in outgoing.deadlines if earlier.peer is not None)
    outgoing.deadlines += (deadline,)
    deadline.failures = outgoing.failures
    try:
        response = run_with_deadline(deadline, _exchanged, sender, outgoing, hop, deadline, (connect, read))
        status, headers, wait = response.status_code, response.headers, None
        fields = store_of(headers)
        if status == 429 or "retry-after" in (headers if fields is None else fields):
            wait = asked_wait(status, headers.get, clock.wall)
        outcome = answered(status, response, wait, outgoing.failures)
        if outgoing.stream and (status < 400 or not outgoing.raise_for_status):
            outcome.head = Head()
    except Exception as error:  # noqa: BLE001 - raised, translated, when the call ends
        if outgoing.body.error is not None:
            return Outcome(Verdict.NEUTRAL, error=outgoing.body.error)
        if deadline.in_hook:
            return Outcome(Verdict.NEUTRAL, error=error)
        context = ErrorContext(
            hop.target, deadline.phase, deadline.deadline_hit, step.limit, step.seconds, connect, read, handled,
            proxy=deadline.proxy, at_proxy=deadline.at_proxy, first=deadline.reused is None,
        )  # fmt: skip
        outcome = failed(translate(error, context))
        if casts_doubt(outcome.error, deadline.phase):
            deadline.close_older_idle()
    try:
        return after_redirect(outcome, hop) if hop.moved else outcome
    finally:
        del outcome  # its error's traceback refers to this frame: a cycle


def discard(response: Any) -> None:
    """Close a failed attempt's response before a wait, so that it holds no socket meanwhile."""
    with contextlib.suppress(Exception):
        response.close()


def _exchanged(
    sender: Sender, outgoing: OutgoingRequest, hop: Hop, deadline: AttemptDeadline, timeout: tuple[float, float]
) -> requests.Response:
    """The response, with its body read unless it is streamed."""
    response = _follow(sender, outgoing, hop, deadline, timeout)
    _receive(response, outgoing, deadline, hop.target)
    return response


def _follow(
    sender: Sender, outgoing: OutgoingRequest, hop: Hop, deadline: AttemptDeadline, timeout: tuple[float, float]
) -> requests.Response:
    """Send, and follow redirects: all of it is one attempt."""
    history: list[requests.Response] = []
    elsewhere = sender.elsewhere
    if fast_path.proven is None:
        rehearse(sender.origin.text)
    try:
        while True:
            session, settings = sender.session, sender.settings
            if hop.foreign and elsewhere is not None:
                session, settings = elsewhere(hop.url)
            began, deadline.phase = deadline.phase, "queue"  # if no time is left, the error says that nothing was sent
            left = deadline.remaining()
            deadline.phase = began
            sender.check_headers(hop.prepared.headers)
            deadline.fast = fast_path.is_open()
            response = session.send(
                hop.prepared,
                stream=True,
                allow_redirects=False,
                timeout=(min(timeout[0], left), min(timeout[1], left)),
                **settings,
            )
            deadline.hook_phase = "over"
            deadline.phase = "body"
            if elsewhere is None or not is_redirect(response):
                if history:  # else its auth object may have set one
                    response.history = history
                return response
            _turn(sender, outgoing, hop, deadline, response, len(history))
            history.append(response)
    except RedirectError as error:
        if not error.attempts:  # else it is the error of another call, which the auth object made
            if error.response is None and history:
                error.response = history.pop()
            if error.response is not None:
                error.response.history = history
        raise


def _turn(
    sender: Sender,
    outgoing: OutgoingRequest,
    hop: Hop,
    deadline: AttemptDeadline,
    response: requests.Response,
    followed: int,
) -> None:
    """Point `hop` to where this redirect leads."""
    try:
        if followed >= MAX_REDIRECTS:
            raise RedirectError(f"{sender.origin}: more than {MAX_REDIRECTS} redirects; the last one was not followed")
        hold_redirect(sender.origin, response)  # again, for a session that runs no hooks
        deadline.phase = None
        next_hop(hop, response, sender.origin, outgoing.body, sender.session.cookies)
        if hop.foreign:  # the request is a new one
            guard_redirects(hop.prepared, sender.origin)
    except BaseException as error:
        if isinstance(error, RedirectError):
            error.response = response
        response.close()
        raise


def _receive(response: requests.Response, outgoing: OutgoingRequest, deadline: AttemptDeadline, origin: str) -> None:
    """Read the body; for a stream, end the deadline instead."""
    try:
        if response.status_code >= 400 and outgoing.raise_for_status:
            # The status matters more than the body, which may be truncated or badly encoded. It is raised as an
            # exception, so the body is not streamed.
            limit = SHORT if outgoing.stream else _OF_AN_ERROR
            _read_error(response, origin, limit=limit if outgoing.max_body is None else min(limit, outgoing.max_body))
        elif response.status_code >= 400 and not outgoing.stream:
            _read_error(response, origin, limit=outgoing.max_body)
        elif outgoing.stream:
            deadline.end_with_head(outgoing.body_ends_at)
            begin_stream(response, deadline)
        else:
            _read(response, origin, limit=outgoing.max_body, truncate=False)
    except BaseException:
        discard(response)
        raise


def _read_error(response: requests.Response, origin: str, *, limit: int | None) -> None:
    """Read an error's body. If it cannot be decoded, keep it as it came, and set `undecoded`."""
    raw = response.raw
    if type(raw) is not EncodedResponse or loaded_body(response) is not None:
        _read(response, origin, limit=limit, truncate=True)
        return
    encoded, whole = read_raw(response, limit)
    content = decoded_body(raw, encoded, limit, whole=whole)
    if content is None:
        response.undecoded = True  # type: ignore[attr-defined]
    set_body(response, encoded if content is None else content)


def _read(response: requests.Response, origin: str, *, limit: int | None, truncate: bool) -> None:
    """Read the body into the response. One above `limit` is truncated, or raises DecodeError."""
    # A hook or a caching session may have read it already.
    content = loaded_body(response)
    if content is not None and (limit is None or len(content) <= limit):
        return
    raw, headers = response.raw, store_of(response.headers) or {}
    if raw is None:  # a hook or an adapter made it up; as in requests, it has no content
        return
    plain = isinstance(raw, HTTPResponse) and not ("content-encoding" in headers or "transfer-encoding" in headers)
    length = raw.length_remaining if plain and content is None else None
    if length is not None and (limit is None or length <= limit):
        # The same as iter_content, in fewer steps.
        short = length <= _AT_ONCE
        set_body(response, read_all(raw) if short else b"".join(iter(partial(raw.read, _AT_ONCE), b"")))
        return
    refused = length is not None and not truncate  # by its announced length, before it is read
    chunks, whole = ([], False) if refused else read_chunks(response, limit)
    if not whole and not truncate:
        where = f"{origin}{safe_path(response.url or '')}"
        size = f"{length} bytes, more than {limit}" if refused else f"more than {limit} bytes"
        raise DecodeError(f"{where}: {response.status_code} with a body of {size} (max_body)", response=response)
    set_body(response, b"".join(chunks)[:limit] if truncate else b"".join(chunks))
