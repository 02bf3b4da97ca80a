"""OpenTelemetry: a span and a duration for every call, and trace context in the request headers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Iterator, Mapping, MutableMapping
from importlib import metadata
from types import TracebackType
from typing import Any

from sleepwalker.engine import Final
from sleepwalker.events import CallEvent, Event, Level, Observer, RequestFailed, RequestFinished, RequestRejected
from sleepwalker.exceptions import SleepwalkerException
from sleepwalker.telemetry.log import report
from sleepwalker.telemetry.tracing import TracedCall, put

try:
    from opentelemetry import context, metrics, propagate, trace
    from opentelemetry.propagators.textmap import Setter
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "sleepwalker.otel needs the package opentelemetry-api: pip install 'sleepwalker[otel]'", name=_error.name
    ) from None

__all__ = ["instrument", "uninstrument"]

#: The semantic conventions that names and values follow. HTTP's are stable since 1.23.
_SCHEMA = "https://opentelemetry.io/schemas/1.23.0"
_DURATION = "http.client.request.duration"
#: Upper bounds in seconds, as those conventions recommend them.
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
#: The methods that the conventions know; any other is `_OTHER`, so that labels stay few.
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_OTHER = "other"

#: Where instrumentations look whether they are wanted. The API package has these keys, but no public names for them.
_SUPPRESS_ALL: str = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
_SUPPRESS_HTTP: str = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation")


#: Fields of events that the span itself says.
_ON_THE_SPAN = ("call", "host", "method", "name", "path", "pid")


class _Ours:
    """What we put under `_SUPPRESS_HTTP`: an auth object that calls through another connection has spans of its own."""

    def __repr__(self) -> str:
        return "suppressed by sleepwalker"


_OURS = _Ours()


def instrument(
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    *,
    max_hosts: int = 100,
) -> None:
    """Trace every call of every `Connection` and `AsyncConnection` with a span, and measure its duration.

    `tracer_provider` and `meter_provider` replace the global ones. `max_hosts` is how many servers the metric
    distinguishes; later ones count as `other`. Calling it again replaces the settings. Raises ValueError for an invalid
    `max_hosts`.

    The instrumentations of requests, urllib3 and aiohttp add no second span within a call.
    """
    _check_max_hosts(max_hosts)
    try:
        version = metadata.version("sleepwalker")
    except metadata.PackageNotFoundError:  # run from a checkout
        version = ""
    tracer = trace.get_tracer("sleepwalker", version, tracer_provider, _SCHEMA)
    meter = metrics.get_meter("sleepwalker", version, meter_provider, _SCHEMA)
    duration = meter.create_histogram(
        _DURATION,
        unit="s",
        description="Duration of calls that sent at least one request, with all their attempts and waits.",
        explicit_bucket_boundaries_advisory=_BOUNDS,
    )
    put(_Calls(tracer, duration, max_hosts))


def uninstrument() -> None:
    """Undo `instrument`. Calls in flight are traced to their end."""
    put(None)


class _Calls:
    """Makes calls, each within a span of its own."""

    def __init__(self, tracer: trace.Tracer, duration: metrics.Histogram, max_hosts: int) -> None:
        self._tracer = tracer
        self._duration = duration
        self._max_hosts = max_hosts
        self._servers: dict[tuple[str, int], dict[str, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, call: TracedCall[Final], /) -> Final:
        before = context.get_current()
        if _unwanted(before):
            return call.work(call.observe)
        around = _Around(self, call, before)
        try:
            with around as observe:
                return around.ended(call.work(observe))
        except BaseException:  # a Ctrl-C may have come before the one or the other
            around.leave()
            around.end()
            raise

    async def awaited(self, call: TracedCall[Awaitable[Final]], /) -> Final:
        before = context.get_current()
        if _unwanted(before):
            return await call.work(call.observe)
        around = _Around(self, call, before)
        try:
            with around as observe:
                return around.ended(await call.work(observe))
        except BaseException:  # as above, but the context is the task's own, and ends with it
            around.end()
            raise

    def begun(self, call: TracedCall[Any], method: Mapping[str, str]) -> trace.Span:
        """A span for the call, which is not the current one yet."""
        with _surviving():
            return self._tracer.start_span(
                call.method if call.method in _METHODS else "HTTP",
                kind=trace.SpanKind.CLIENT,
                attributes=_described(call, method),
            )
        return trace.INVALID_SPAN

    def record(self, call: TracedCall[Any], took: float, told: Mapping[str, Any], within: context.Context) -> None:
        """Count a duration in seconds, with what tells calls apart besides their server."""
        with _surviving():
            self._duration.record(took, {**told, **self._server(call)}, within)

    def _server(self, call: TracedCall[Any]) -> Mapping[str, Any]:
        """The attributes that tell servers apart; those past the cap have the same ones."""
        key = (call.server, call.port)
        known = self._servers.get(key)
        if known is None:
            with self._lock:
                if len(self._servers) >= self._max_hosts:
                    return {"server.address": _OTHER}
                known = self._servers[key] = {
                    "server.address": call.server,
                    "server.port": call.port,
                    "url.scheme": call.scheme,
                }
        return known


class _Around:
    """The span around one call: current during the call, and ended with the call's outcome."""

    __slots__ = ("_before", "_began", "_call", "_calls", "_came", "_method", "_sent", "_span", "_token", "_within")

    def __init__(self, calls: _Calls, call: TracedCall[Any], before: context.Context) -> None:
        self._calls, self._call, self._before = calls, call, before
        self._method = {"http.request.method": call.method if call.method in _METHODS else "_OTHER"}
        self._span: trace.Span = trace.INVALID_SPAN
        self._came: dict[str, Any] = {}
        self._sent = True

    def __enter__(self) -> Observer:
        """Begin it; returns who is to be told of the call's events."""
        call = self._call
        self._span = span = self._calls.begun(call, self._method)
        self._within = within = trace.set_span_in_context(span, self._before)
        with _surviving():
            _inject(call.headers, within)
        self._token = context.attach(context.set_value(_SUPPRESS_HTTP, _OURS, within))
        self._began = call.clock.monotonic()
        return _recording(span, call.observe)

    def ended(self, final: Final) -> Final:
        """Record the outcome of the call."""
        self._sent = bool(final.attempts)
        self._came = _finish(self._span, final)
        return final

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._came = {"error.type": type(error).__qualname__}
                self._span.set_attributes(self._came)
                self._span.set_status(trace.Status(trace.StatusCode.ERROR))
        finally:
            if self._sent:  # what a policy of ours rejected was no request, and would make the server look fast
                took = self._call.clock.monotonic() - self._began
                self._calls.record(self._call, took, {**self._method, **self._came}, self._within)
            context.detach(self._token)
            with _surviving():
                self._span.end()

    def leave(self) -> None:
        """Leave the context, if that was not done: a thread that stayed in it would have no more spans."""
        if context.get_current() is not self._before:
            context.attach(self._before)

    def end(self) -> None:
        """End the span, if that was not done."""
        if self._span.is_recording():
            self._span.end()


def _unwanted(before: context.Context) -> bool:
    """Whether the application suppresses instrumentation there."""
    by = context.get_value(_SUPPRESS_HTTP, before)
    return bool(context.get_value(_SUPPRESS_ALL, before)) or by not in (None, _OURS)


@contextlib.contextmanager
def _surviving() -> Iterator[None]:
    """A call goes on, and keeps its response, where a sampler, processor or propagator of the application's raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - as with a log line that cannot be written
        report(error, "tracing failed")


def _described(call: TracedCall[Any], method: Mapping[str, str]) -> dict[str, Any]:
    """What is known of a call before it begins."""
    described: dict[str, Any] = {
        **method,
        "server.address": call.server,
        "server.port": call.port,
        "url.full": call.url,
        "url.scheme": call.scheme,
    }
    if call.name is not None:
        described["sleepwalker.name"] = call.name
    if call.method not in _METHODS:
        described["http.request.method_original"] = call.method
    return described


def _finish(span: trace.Span, final: Final) -> dict[str, Any]:
    """Put the result of the call on the span; returns the part by which the metric tells calls apart, too."""
    outcome = final.outcome
    came: dict[str, Any] = {}
    if outcome.status is not None:
        came["http.response.status_code"] = outcome.status
    if outcome.error is not None:
        came["error.type"] = type(outcome.error).__qualname__
    elif outcome.status is not None and outcome.status >= 400:
        came["error.type"] = str(outcome.status)
    span.set_attributes(came)
    span.set_attribute("sleepwalker.call", final.call)
    if (rejected := final.rejected) is not None:  # here, for it may be announced later, and for many calls at once
        wait = {} if rejected.retry_after is None else {"retry_after": rejected.retry_after}
        span.add_event(rejected.name, {"by": rejected.by, **wait})
    if len(final.attempts) > 1:
        span.set_attribute("http.request.resend_count", len(final.attempts) - 1)
    if "error.type" in came:
        # The text of an error of ours has no secrets in it. Others are a caller's own, and may say anything.
        text = str(outcome.error) if isinstance(outcome.error, SleepwalkerException) else None
        span.set_status(trace.Status(trace.StatusCode.ERROR, text))
    return came


class _Recording:
    """Observes one call: an event of its span for each of ours that the span itself does not say, and then `behind`."""

    def __init__(self, span: trace.Span, behind: Observer) -> None:
        self._span, self.behind = span, behind

    def __call__(self, event: Event, level: Level | None = None, /) -> None:
        if isinstance(event, CallEvent) and event.call is not None:  # also of a call that an exception ends
            self._span.set_attribute("sleepwalker.call", event.call)
        if not isinstance(event, RequestFinished | RequestFailed | RequestRejected):
            fields = event.fields()
            for name in _ON_THE_SPAN:
                fields.pop(name, None)
            self._span.add_event(event.name, fields)
        self.behind(event, level)


def _recording(span: trace.Span, observe: Observer) -> Observer:
    """`observe`, or where the span is recorded, an observer in front of it that ends with the call."""
    return _Recording(span, observe) if span.is_recording() else observe


class _Absent(Setter[MutableMapping[str, Any]]):
    """Sets headers that the caller did not."""

    def __init__(self, but: frozenset[str]) -> None:
        self._but = but

    def set(self, carrier: MutableMapping[str, Any], key: str, value: str) -> None:
        if key.lower() not in self._but and key not in carrier:
            carrier[key] = value


def _inject(headers: MutableMapping[str, Any], within: context.Context) -> None:
    """Add the trace's context to the headers, by the application's propagator, unless the caller gave one."""
    fields = {name.lower() for name in propagate.get_global_textmap().fields} - {"baggage"}
    given = any(name in headers for name in fields)
    # A `tracestate` of ours beside a caller's `traceparent` would be of another trace.
    propagate.inject(headers, within, _Absent(frozenset(fields if given else ())))


def _check_max_hosts(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"max_hosts must be a positive number, not {value!r:.60}")
