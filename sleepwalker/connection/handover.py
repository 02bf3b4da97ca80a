"""Hands the outcome of a call to the caller: returns its response, or raises its error."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import requests

from sleepwalker.clock import Clock
from sleepwalker.connection.came_from import note_came_from
from sleepwalker.connection.outgoing import PreparedCall
from sleepwalker.connection.response import Response
from sleepwalker.connection.usage import Usage
from sleepwalker.engine import CompiledPolicy, Final, Host, Request, Verdict, failed
from sleepwalker.events import Observer
from sleepwalker.exceptions import ConnectionError, DeadlineExceeded, HTTPError, SleepwalkerException
from sleepwalker.transport.error_context import ErrorContext, OnBreak

#: The fields that a copy or a pickle of a response has; requests reads them from the response itself.
KEPT = [*requests.Response.__attrs__, "attempts", "undecoded", "__attrs__"]


class Latest(Protocol):
    """The last response per thread or task: each sees its own value of the attribute."""

    response: Response | weakref.ref[Response]


class Streams(NamedTuple):
    """How streamed bodies are watched, for one HTTP library."""

    watch: Callable[[Any, OnBreak], None]
    """Makes reads of a broken body raise what the second argument returns."""
    translate: Callable[[Exception, ErrorContext], Exception]
    """Returns our error for one that broke a body."""
    by_reader: tuple[type[Exception], ...] = ()
    """Errors that the reader of a body causes."""


class Handover:
    """Hands over the outcomes of the calls of one connection and its scopes."""

    __slots__ = ("_clock", "_latest", "_observe", "_origin", "_streams", "_usage")

    def __init__(
        self, origin: str, clock: Clock, observe: Observer, usage: Usage, latest: Any, streams: Streams
    ) -> None:
        """`latest` is a `Latest`, without a value at first."""
        self._origin = origin
        self._clock = clock
        self._observe = observe
        self._usage = usage
        self._latest: Latest = latest
        self._streams = streams

    @property
    def latest(self) -> Response | None:
        """The last response handed over in this thread. A streamed one is kept only while its reader holds it.

        A reference from here would keep the socket and the pool place of a stream that its reader dropped.
        """
        held: Response | weakref.ref[Response] | None = getattr(self._latest, "response", None)
        return held() if isinstance(held, weakref.ref) else held

    def hand_over(self, final: Final, call: PreparedCall) -> Response:
        """The response to return, or the error to raise; either one has the attempts."""
        usage, outgoing = self._usage, call.outgoing
        usage.last_used = self._clock.monotonic()
        error = final.outcome.error
        if error is not None:
            # An error with attempts belongs to another call, made by an auth object or a body of the caller.
            if isinstance(error, SleepwalkerException) and error is not outgoing.body.error and not error.attempts:
                error.attempts = final.attempts
                error.__cause__ = error.__context__ = None  # requests' own errors quote the URL
                error.add_note(described(self._origin, call.request, final))
                if isinstance(error, ConnectionError):
                    error.request = outgoing.prepared  # like requests' own errors
            try:
                raise error
            finally:
                del error, final  # or this frame and the error would keep each other alive
        response: Response = final.outcome.response
        status = response.status_code
        response.attempts = final.attempts
        response.__attrs__ = KEPT
        note_came_from(response, call.came_from)
        self._latest.response = weakref.ref(response) if final.outcome.head is not None else response
        if status == 401:
            usage.unauthorized = True
        else:
            usage.accepted = True
        if status >= 400 and outgoing.raise_for_status:
            failure = HTTPError.of(response)
            failure.attempts = final.attempts
            failure.retry_after = final.outcome.retry_after
            failure.add_note(described(self._origin, call.request, final, status))
            try:
                raise failure
            finally:
                del failure, final, response
        if outgoing.stream:
            broken = on_break(self._origin, final, call.host, call.compiled, self._streams, self._clock, self._observe)
            self._streams.watch(response, broken)
        return response


def described(origin: str, request: Request, final: Final, status: int | None = None) -> str:
    """The line that a traceback adds below an error: an HTTPError's own text comes from the server."""
    count = len(final.attempts)
    if count == 0:
        attempts = "not sent"
    else:
        attempts = "after 1 attempt" if count == 1 else f"after {count} attempts"
    shown = f"{status} " if status is not None else ""
    return f"{request.method} {origin}{request.path}: {shown}{attempts}"


def on_break(
    origin: str, final: Final, host: Host, compiled: CompiledPolicy, streams: Streams, clock: Clock, observe: Observer
) -> OnBreak:
    """A function that turns the error of a broken streamed body into ours, and counts it against the host once."""
    permit, head = final.permit, final.outcome.head
    # The attempt of a failed head has been counted already.
    counts = final.outcome.verdict is not Verdict.FAILURE

    def broken(error: Exception, handled: BaseException | None, deadline_hit: bool) -> BaseException:
        nonlocal counts
        times = (compiled.total, compiled.connect, compiled.read)
        raised = streams.translate(error, ErrorContext(origin, "body", deadline_hit, "total", *times, handled))
        # If the whole body took too long, the reader may be the cause: only silence counts against the host.
        late = isinstance(raised, DeadlineExceeded)
        own = late or isinstance(error, streams.by_reader)
        counted, counts = counts, counts and not late  # later reads of a body that was late fail because of that
        if counted and isinstance(raised, SleepwalkerException) and not own:
            counts = False
            outcome = failed(raised)
            outcome.head = head
            for event in host.outcomes.settle_body(permit, outcome, clock.monotonic()):
                observe(event)
        return raised

    return broken
