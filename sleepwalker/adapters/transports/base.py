"""What the blocking and asyncio transports for both libraries share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from sleepwalker.adapters.places import Idempotent, Place, Places, renewed
from sleepwalker.adapters.transports.bodies import RequestBody, watch
from sleepwalker.adapters.transports.library import Library
from sleepwalker.connection.handover import Streams, described, on_break
from sleepwalker.connection.retry_if import asking
from sleepwalker.connection.traced import traced
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK, BlockingClock
from sleepwalker.engine import (
    CompiledPolicy,
    Final,
    Head,
    Outcome,
    Request,
    Send,
    Verdict,
    answered,
    asked_wait,
    failed,
)
from sleepwalker.events import AnyObserver, Observer
from sleepwalker.exceptions import ConnectionError, SleepwalkerException, URLError
from sleepwalker.hosts import HostTable
from sleepwalker.lookup.keys import sent_mark
from sleepwalker.policy import Policy
from sleepwalker.telemetry.tracing import TracedCall
from sleepwalker.transport.error_context import ErrorContext, OnBreak, Phase
from sleepwalker.transport.url import origin_of, safe_path

#: Bytes of a body that are read within an attempt, unless a transport is told otherwise.
_BUFFER = 1 << 20

TransportT = TypeVar("TransportT")
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
WorkT = TypeVar("WorkT")


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A call that can be sent."""

    given: Any
    """The library's request."""
    body: RequestBody
    place: Place
    compiled: CompiledPolicy
    request: Request
    """For the engine."""
    headers: Any
    """The headers to send."""
    times: Mapping[str, float | None]
    """The `timeout` extension of its attempts, in seconds."""


class PolicyTransport(Generic[TransportT, RequestT, ResponseT]):
    """Wraps another transport and applies a policy."""

    _library: ClassVar[Library]

    def __init__(
        self,
        policy: Policy | str | os.PathLike[str] | None = None,
        *,
        transport: TransportT | None = None,
        hosts: HostTable | None = None,
        retry_if: Callable[[ResponseT | ConnectionError], object] | None = None,
        idempotent: Idempotent[RequestT] | None = None,
        buffer: int = _BUFFER,
        observer: AnyObserver | None = None,
        clock: BlockingClock = BLOCKING_CLOCK,
    ) -> None:
        check_buffer(buffer)
        base, usual = self._kinds()
        if transport is not None and not isinstance(transport, base):
            raise TypeError(
                f"transport must be a {self._library.name}.{base.__name__}, or None for the usual one, "
                f"not {type(transport).__name__}"
            )
        self._given = transport
        self._inner: Any = usual() if transport is None else transport
        self._at_first: Phase = "queue" if isinstance(self._inner, usual) else "head"
        self._buffer = buffer
        self._places = Places(policy, hosts, retry_if, idempotent, observer, clock)
        self._clock = self._places.clock
        self._streams = Streams(watch, self._library.translate)
        self._begin()
        renewed.add(self)

    def renew_after_fork(self) -> None:
        """In a forked child: start with new waits, and with new sockets unless they belong to the caller."""
        if self._given is None:
            _, usual = self._kinds()
            self._inner = usual()
        self._begin()

    def _begin(self) -> None:
        """Prepare what blocking or asyncio calls need."""
        raise NotImplementedError

    @property
    def hosts(self) -> HostTable:
        """The records of its hosts, for `health()` and to share with managers: `ConnectionManager(hosts=…)`."""
        return self._places.hosts

    @classmethod
    def _kinds(cls) -> tuple[type[Any], type[Any]]:
        """The base class of transports that may be wrapped, and the class of the usual one."""
        raise NotImplementedError

    def _place(self, request: Any) -> Place | None:
        """The host of a request; None for an invalid URL, whose error is left to the library."""
        try:
            return self._places.at(origin_of(f"{request.url.scheme}://{request.url.netloc.decode()}/"))
        except URLError:
            return None

    def _call(self, given: Any, body: RequestBody, place: Place) -> Call:
        """The call of a request, ready for the engine."""
        times = {name: value for name, value in given.extensions.get("timeout", {}).items() if value is not None}
        compiled = place.compiled.hurried(times.get("connect", float("inf")), times.get("read", float("inf")))
        places, headers, method = self._places, given.headers, given.method
        idempotent = places.is_idempotent(given, method, headers, compiled)
        request = Request(method, safe_path(str(given.url)), idempotent, body.replayable, body.replayable)
        request.credentials = partial(sent_mark, None, headers)
        if places.retry_if is not None:
            request.retry_if = partial(self._wants_another, asking(places.retry_if), given)
        times |= {"connect": compiled.connect, "read": compiled.read}
        return Call(given, body, place, compiled, request, headers.copy(), times)

    def _wants_another(self, ask: Callable[[Outcome], bool], given: Any, outcome: Outcome) -> bool:
        """The answer of the caller's `retry_if`. It gets a response like the client's: with its request, and read.

        This is not the object that the client gets, because the client may read the body in another way.
        """
        response = outcome.response
        if response is not None:
            read = self._rebuilt(response, response.stream)
            read.request, read.extensions = given, {**response.extensions, "attempts": response.attempts}
            if isinstance(response.stream, self._library.module.ByteStream):
                read.read()
            outcome = replace(outcome, response=read)
        return ask(outcome)

    def _traced(self, call: Call, work: Callable[[Observer], WorkT]) -> TracedCall[WorkT]:
        """The call as a tracer gets it; `work` makes it."""
        return traced(call.place.origin, call.request, call.headers, self._clock, self._places.observe, work)

    def _request(self, call: Call, step: Send, *, cut: bool) -> Any:
        """A new request for one attempt. `cut`: nothing but the request's own timeouts can end it."""
        given, left = call.given, max(0.001, step.deadline - self._clock.monotonic())
        times = dict(call.times)
        for name in ("connect", "read", "write", "pool") if cut else ("pool",):
            times[name] = min(left, times.get(name) or left)
        request = self._library.module.Request(
            given.method,
            given.url,
            headers=call.headers,
            stream=call.body.stream,
            extensions={**given.extensions, "timeout": times},
        )
        if (header := call.compiled.propagate) is not None and header not in call.headers:
            request.headers[header] = f"{left:.3f}"
        return request

    def _answered(self, call: Call, response: Any, *, whole: bool) -> Outcome:
        """The outcome of a response, whose body was read unless it is not `whole`."""
        status, headers = response.status_code, response.headers
        wait = None
        if status == 429 or "retry-after" in headers:
            wait = asked_wait(status, headers.get, self._clock.wall)
        outcome = answered(status, response, wait, call.place.host.failures)
        if not whole:
            outcome.head = Head()
        return outcome

    def _failed(
        self,
        call: Call,
        step: Send,
        error: Exception,
        handled: BaseException | None,
        phase: Phase | None,
        *,
        at_proxy: bool,
        deadline_hit: bool,
    ) -> Outcome:
        """The outcome of an attempt that ended in an exception, while `handled` was being handled."""
        if call.body.error is not None:
            return Outcome(Verdict.NEUTRAL, error=call.body.error)
        compiled = call.compiled
        context = ErrorContext(
            call.place.origin.text, phase, deadline_hit, step.limit, step.seconds, compiled.connect, compiled.read,
            handled, at_proxy=at_proxy,
        )  # fmt: skip
        return failed(self._library.translate(error, context))

    def _hand_over(self, final: Final, call: Call) -> Any:
        """The response to return, or the error to raise; either has its attempts."""
        error = final.outcome.error
        if error is None:
            response = final.outcome.response
            response.extensions["attempts"] = final.attempts
            if final.outcome.head is not None:
                self._streams.watch(response, self._on_break(call, final))
            return response
        if isinstance(error, SleepwalkerException) and error is not call.body.error and not error.attempts:
            error = self._library.both(error)
            error.attempts = final.attempts  # type: ignore[attr-defined]
            error.__cause__ = error.__context__ = None
            error.add_note(described(call.place.origin.text, call.request, final))
            error.request = call.given  # type: ignore[attr-defined]
        try:
            raise error
        finally:
            del error, final  # or the error would refer to itself through this frame, until the garbage collector runs

    def _rebuilt(self, response: Any, stream: Any) -> Any:
        """The response with another body."""
        return self._library.module.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    def _on_break(self, call: Call, final: Final) -> OnBreak:
        """A function that turns an error in the rest of a body into one of both libraries, and counts it once."""
        places, origin = self._places, call.place.origin.text
        return on_break(origin, final, call.place.host, call.compiled, self._streams, self._clock, places.observe)


def check_buffer(buffer: object) -> None:
    """ValueError for anything but a number of bytes."""
    if not isinstance(buffer, int) or isinstance(buffer, bool) or buffer < 0:
        raise ValueError(f"buffer must be a number of bytes, 0 for none, not {buffer!r:.80}")
