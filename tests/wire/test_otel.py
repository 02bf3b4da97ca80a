"""Spans, metrics and context of calls, seen by the SDK's in-memory exporters; and the stock instrumentation beside."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from servers import FaultServer, hang_up, json_reply, redirect, refused_port, reply, stall

import sleepwalker.otel
from sleepwalker import ANONYMOUS, Connection, ConnectionManager, HTTPError, Policy
from sleepwalker.events import Event, RequestFailed, RequestFinished
from sleepwalker.telemetry import tracing
from sleepwalker.telemetry.log import send_to
from tests.both_drivers import threads_only
from tests.interrupts import strike

pytestmark = pytest.mark.both_drivers

ROOT = Path(__file__).parents[2]
FAST = Policy(
    retry={"attempts": 3, "wait_initial": 0.001, "wait_max": 0.001}, breaker={"consecutive": 3, "consecutive_for": 0}
)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Bed:
    """A server, a connection to it, and what was exported."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.exporter = InMemorySpanExporter()
        self.spans_by = TracerProvider()
        self.spans_by.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.metrics_by = MeterProvider([self.reader])
        self.conn = Connection(server.url, ANONYMOUS, policy=FAST)

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def span(self) -> ReadableSpan:
        """The only one."""
        [span] = self.spans()
        return span

    def points(self) -> list[Any]:
        """The data points of the only metric, or none."""
        data = self.reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        assert {metric.name for metric in found} <= {"http.client.request.duration"}
        assert {metric.unit for metric in found} <= {"s"}
        return [point for metric in found for point in metric.data.data_points]

    def point(self) -> Any:
        [point] = self.points()
        return point


@pytest.fixture
def bed(server: FaultServer) -> Iterator[Bed]:
    made = Bed(server)
    sleepwalker.otel.instrument(made.spans_by, made.metrics_by)
    try:
        yield made
    finally:
        sleepwalker.otel.uninstrument()
        made.spans_by.shutdown()
        made.metrics_by.shutdown()


def traceparent_of(span: ReadableSpan) -> str:
    own = span.context
    return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"


def sent_header(bed: Bed, name: str = "traceparent") -> list[str | None]:
    return [request.header(name) for request in bed.server.requests]


# --- spans


def test_a_span_has_the_id_that_the_events_of_its_call_have_and_the_name_that_find_was_asked_for(bed: Bed) -> None:
    events: list[Event] = []
    with ConnectionManager() as manager:
        manager.add("billing", None, Connection(bed.server.url, ANONYMOUS, policy=FAST, observer=events.append))
        conn = manager.find("billing")
        conn.get("/")
        bed.server.script(reply(503), reply(503), reply(503))
        with pytest.raises(HTTPError):
            conn.scope("eu").get("/")
    calls = [event.call for event in events if isinstance(event, RequestFinished | RequestFailed)]
    spans = [dict(span.attributes or {}) for span in bed.spans()]
    assert [one["sleepwalker.call"] for one in spans] == calls
    assert len(set(calls)) == 2
    assert [one["sleepwalker.name"] for one in spans] == ["billing", "billing"]
    assert not any({"call", "name", "pid"} & set(one.attributes or {}) for span in bed.spans() for one in span.events)


def test_a_call_is_one_client_span_by_the_conventions(bed: Bed) -> None:
    bed.conn.get("/things?token=secret")
    span = bed.span()
    assert (span.name, span.kind, span.status.status_code) == ("GET", SpanKind.CLIENT, StatusCode.UNSET)
    attributes = dict(span.attributes or {})
    assert attributes.pop("sleepwalker.call")
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": bed.server.port,
        "url.full": f"{bed.server.url}/things",
        "url.scheme": "http",
    }
    assert span.events == ()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "sleepwalker"


def test_what_happened_within_a_call_is_on_its_span(bed: Bed) -> None:
    bed.server.script(reply(503), hang_up(), reply(200))
    bed.conn.get("/things")
    span = bed.span()
    assert [event.name for event in span.events] == [
        "attempt.failed",
        "retry.scheduled",
        "attempt.failed",
        "retry.scheduled",
    ]
    first, second = (dict(span.events[number].attributes or {}) for number in (0, 2))
    assert (first["attempt"], first["status"]) == (1, 503)
    assert (second["attempt"], second["error"]) == (2, "ReadError")
    assert not {"host", "path", "method"} & first.keys()
    assert (span.attributes or {})["http.request.resend_count"] == 2
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_status_is_an_error_of_the_span(bed: Bed, status: int) -> None:
    bed.server.script(reply(status))
    with pytest.raises(sleepwalker.HTTPError):
        bed.conn.get("/")
    span = bed.span()
    assert span.status.status_code is StatusCode.ERROR
    assert {"http.response.status_code": status, "error.type": str(status)}.items() <= dict(
        span.attributes or {}
    ).items()
    assert not [event for event in span.events if event.name == "exception"]


def test_a_call_that_got_no_answer_says_which_error_it_was(bed: Bed) -> None:
    with refused_port() as port, pytest.raises(sleepwalker.ConnectError):
        Connection(f"http://127.0.0.1:{port}", ANONYMOUS, policy=FAST).get("/")
    span = bed.span()
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == "ConnectError"
    assert attributes["http.request.resend_count"] == 2
    assert "http.response.status_code" not in attributes
    assert (span.status.description or "").startswith(f"http://127.0.0.1:{port}: ")
    assert [event.name for event in span.events][-2:] == ["breaker.opened", "host.broken"]


def test_a_rejected_call_has_a_span_and_no_duration(bed: Bed) -> None:
    bed.server.default = reply(500)
    for _ in range(3):
        with pytest.raises(sleepwalker.HTTPError):
            bed.conn.get("/")
    before = bed.point().count
    bed.exporter.clear()
    with pytest.raises(sleepwalker.CircuitOpenError):
        bed.conn.get("/")
    span = bed.span()
    assert (span.attributes or {})["error.type"] == "CircuitOpenError"
    assert [event.name for event in span.events] == ["request.rejected"]
    assert bed.point().count == before == 3


def test_each_rejected_call_says_so_on_its_own_span(bed: Bed) -> None:
    """Their events are announced together, and one span of many would be told."""
    bed.server.default = reply(500)
    for _ in range(3):
        with pytest.raises(sleepwalker.HTTPError):
            bed.conn.get("/")
    bed.exporter.clear()
    for _ in range(4):
        with pytest.raises(sleepwalker.CircuitOpenError):
            bed.conn.get("/")
    bed.conn.close()
    spans = bed.exporter.get_finished_spans()
    assert [[event.name for event in span.events] for span in spans] == [["request.rejected"]] * 4
    assert {(span.events[0].attributes or {})["by"] for span in spans} == {"breaker"}


def test_a_call_that_is_stopped_from_outside_ends_its_span(bed: Bed) -> None:
    def interrupt(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        raise KeyboardInterrupt

    conn = Connection(bed.server.url, interrupt)
    with pytest.raises(KeyboardInterrupt):
        conn.get("/")
    span = bed.span()
    assert (span.attributes or {})["error.type"] == "KeyboardInterrupt"
    assert span.status.status_code is StatusCode.ERROR
    assert bed.point().attributes["error.type"] == "KeyboardInterrupt"
    assert trace.get_current_span() is trace.INVALID_SPAN, "nothing is left in the context"


def test_a_method_that_the_conventions_do_not_know_makes_no_label(bed: Bed) -> None:
    bed.conn.request("PURGE", "/")
    span = bed.span()
    assert span.name == "HTTP"
    attributes = dict(span.attributes or {})
    assert (attributes["http.request.method"], attributes["http.request.method_original"]) == ("_OTHER", "PURGE")
    assert bed.point().attributes["http.request.method"] == "_OTHER"


def test_a_span_is_the_child_of_what_the_caller_was_doing(bed: Bed) -> None:
    with bed.spans_by.get_tracer("test").start_as_current_span("outer") as outer:
        bed.conn.get("/")
        assert trace.get_current_span() is outer
    inner, _ = bed.spans()
    assert inner.parent is not None
    assert inner.parent.span_id == outer.get_span_context().span_id


@threads_only("an auth object that blocks")
def test_an_auth_object_that_calls_has_a_span_within(bed: Bed) -> None:
    login = Connection(bed.server.url, ANONYMOUS)

    def auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        prepared.headers["X-Token"] = login.get("/login").text
        return prepared

    Connection(bed.server.url, auth).get("/things")
    inner, outer = bed.spans()
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id


def test_a_sampled_out_call_is_made_all_the_same(server: FaultServer) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    seen = []
    sleepwalker.otel.instrument(TracerProvider(sampler=ALWAYS_OFF), MeterProvider())
    try:
        server.script(reply(503))
        conn = Connection(server.url, ANONYMOUS, policy=FAST, observer=lambda event, level=None: seen.append(event))
        conn.get("/")
    finally:
        sleepwalker.otel.uninstrument()
    assert isinstance(seen[-1], RequestFinished)
    flags = [int(str(request.header("traceparent"))[-2:], 16) for request in server.requests]
    assert [flag & 1 for flag in flags] == [0, 0], "sent on, and not sampled"


# --- metrics


def test_durations_are_counted_in_the_recommended_buckets_with_few_attributes(bed: Bed) -> None:
    bed.server.script(reply(200), reply(404))
    bed.conn.get("/a?b=c")
    bed.conn.get("/d", raise_for_status=False)
    good, bad = sorted(bed.points(), key=lambda point: point.attributes["http.response.status_code"])
    assert dict(good.attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": bed.server.port,
        "url.scheme": "http",
    }
    assert bad.attributes["error.type"] == "404"
    assert good.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert (good.count, 0 < good.sum < 1) == (1, True)


def test_a_call_is_measured_whole_however_often_it_was_sent(bed: Bed) -> None:
    bed.server.script(reply(503), stall(), reply(200))
    Connection(bed.server.url, ANONYMOUS, policy=FAST, timeout=1.5).get("/")  # long, for the other two attempts
    assert bed.point().count == 1
    assert bed.point().sum >= 1.5


def test_servers_past_the_cap_share_one_label(bed: Bed) -> None:
    sleepwalker.otel.instrument(bed.spans_by, bed.metrics_by, max_hosts=1)
    with FaultServer() as second, FaultServer() as third:
        for server in (bed.server, second, third, bed.server):
            Connection(server.url, ANONYMOUS).get("/")
    counts = {(p.attributes["server.address"], p.attributes.get("server.port")): p.count for p in bed.points()}
    assert counts == {("127.0.0.1", bed.server.port): 2, ("other", None): 2}
    assert {(span.attributes or {})["server.port"] for span in bed.spans()} >= {second.port, third.port}


# --- context


def test_every_attempt_carries_the_context_of_the_calls_span(bed: Bed) -> None:
    bed.server.script(reply(503))
    bed.conn.get("/")
    assert sent_header(bed) == [traceparent_of(bed.span())] * 2


@pytest.mark.parametrize("where", ["call", "connection"])
def test_a_callers_traceparent_passes_through(bed: Bed, where: str) -> None:
    given = {"TraceParent": TRACEPARENT, "baggage": "mine=1"}
    conn = Connection(bed.server.url, ANONYMOUS, headers=given if where == "connection" else None)
    with bed.spans_by.get_tracer("test").start_as_current_span("outer"):
        token = context.attach(baggage.set_baggage("ours", "2"))
        try:
            conn.get("/", headers=given if where == "call" else None)
        finally:
            context.detach(token)
    assert sent_header(bed) == [TRACEPARENT]
    assert sent_header(bed, "tracestate") == [None]
    assert sent_header(bed, "baggage") == ["mine=1"]


def test_the_applications_own_propagator_is_used(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    class Letter:
        fields = frozenset({"x-letter"})

        def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
            setter.set(carrier, "x-letter", "hello")

    monkeypatch.setattr(propagate, "get_global_textmap", Letter)
    monkeypatch.setattr(propagate, "inject", lambda carrier, within, setter: Letter().inject(carrier, within, setter))
    bed.conn.get("/")
    bed.conn.get("/", headers={"X-Letter": "mine"})
    assert sent_header(bed, "X-Letter") == ["hello", "mine"]
    assert sent_header(bed) == [None, None]


def test_the_context_goes_to_no_other_origin(bed: Bed) -> None:
    with FaultServer() as elsewhere:
        bed.server.script(redirect(f"{elsewhere.url}/there"))
        bed.conn.get("/")
        assert [request.header("traceparent") for request in elsewhere.requests] == [None]
    bed.span()


# --- beside others


@pytest.fixture(params=["stock first", "ours first"])
def beside(request: pytest.FixtureRequest, server: FaultServer) -> Iterator[Bed]:
    """The stock requests instrumentation as well, in either order."""
    bed = Bed(server)
    stock = RequestsInstrumentor()

    def ours() -> None:
        sleepwalker.otel.instrument(bed.spans_by, bed.metrics_by)

    def theirs() -> None:
        stock.instrument(tracer_provider=bed.spans_by, meter_provider=MeterProvider())

    for step in (theirs, ours) if request.param == "stock first" else (ours, theirs):
        step()
    try:
        yield bed
    finally:
        stock.uninstrument()
        sleepwalker.otel.uninstrument()


def test_the_stock_instrumentation_makes_no_second_span(beside: Bed) -> None:
    beside.server.script(reply(503), redirect("/there"), reply(200))
    beside.conn.get("/")
    span = beside.span()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "sleepwalker"
    assert len(set(sent_header(beside))) == 1
    assert len(sent_header(beside)) == 3


def test_a_hedged_call_is_one_span_too_and_its_copies_carry_its_context(beside: Bed) -> None:
    """Copies are sent by threads of their own, which know nothing of their caller's context by themselves."""
    beside.server.script(stall(), reply(200))
    # Long, for on a machine that stood still the copy might otherwise be there first, and be the one that stalls.
    with Connection(beside.server.url, ANONYMOUS, policy=FAST.replace(hedge={"delay": 1.5})) as conn:
        conn.get("/")
    span = beside.span()
    assert [event.name for event in span.events] == ["hedge.sent", "hedge.finished"]
    assert dict(span.events[1].attributes or {}) == {"attempt": 2, "won": True}
    assert (span.attributes or {})["http.request.resend_count"] == 1
    assert sent_header(beside) == [traceparent_of(span)] * 2


def test_other_requests_keep_their_stock_spans(beside: Bed) -> None:
    beside.conn.get("/")
    requests.get(beside.server.url)
    names = [span.instrumentation_scope.name for span in beside.spans() if span.instrumentation_scope]
    assert names == ["sleepwalker", "opentelemetry.instrumentation.requests"]


@pytest.mark.parametrize("suppressed", [suppress_http_instrumentation, suppress_instrumentation])
def test_who_suppresses_instrumentation_gets_none(bed: Bed, suppressed: Any) -> None:
    """An exporter that sends its spans through us would otherwise make spans of that for ever."""
    with suppressed():
        bed.conn.get("/")
    assert (bed.spans(), bed.points(), sent_header(bed)) == ([], [], [None])


def test_uninstrumented_nothing_is_made_any_more(bed: Bed) -> None:
    bed.conn.get("/")
    sleepwalker.otel.uninstrument()
    bed.conn.get("/")
    sleepwalker.otel.uninstrument()
    assert len(bed.spans()) == 1
    assert bed.point().count == 1
    assert sent_header(bed)[1] is None


def test_instrumenting_again_replaces_what_was_there(bed: Bed) -> None:
    sleepwalker.otel.instrument(bed.spans_by, bed.metrics_by)
    bed.conn.get("/")
    bed.span()
    assert bed.point().count == 1


class _Broken(SpanProcessor, TraceContextTextMapPropagator):
    """An application's own code, which fails where it is asked for something."""

    def __init__(self, where: str) -> None:
        self.where = where

    def _do(self, where: str) -> None:
        if where == self.where:
            raise RuntimeError("secret")

    def on_start(self, *_: Any, **__: Any) -> None:
        self._do("start")

    def on_end(self, *_: Any) -> None:
        self._do("end")

    def inject(self, *_: Any, **__: Any) -> None:
        self._do("inject")


@pytest.mark.parametrize("where", ["start", "end", "inject"])
def test_what_fails_in_an_applications_tracing_costs_no_call(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """An answer that has come must not be lost because of what was to be told of it."""
    broken = _Broken(where)
    provider = TracerProvider()
    provider.add_span_processor(broken)
    monkeypatch.setattr(propagate, "get_global_textmap", lambda: broken)
    monkeypatch.setattr(propagate, "inject", broken.inject)
    server.script(reply(200), reply(200))
    send_to(None)  # what was said before is forgotten
    before = context.get_current()
    sleepwalker.otel.instrument(provider)
    try:
        with Connection(server.url, ANONYMOUS, policy=FAST) as conn:
            assert [conn.get("/").status_code for _ in range(2)] == [200, 200]
    finally:
        sleepwalker.otel.uninstrument()
        provider.shutdown()
    assert context.get_current() == before
    [said] = [record.getMessage() for record in caplog.records if record.name == "sleepwalker.telemetry"]
    assert "tracing failed: RuntimeError at" in said
    assert "secret" not in said


def test_json_requests_and_streams_are_calls_as_well(bed: Bed) -> None:
    bed.server.script(json_reply({"a": 1}), reply(200, body=b"x" * 10))
    assert bed.conn.json_request("POST", "/", {"b": 2}) == {"a": 1}
    assert bed.conn.get("/", stream=True).content == b"x" * 10
    assert [span.name for span in bed.spans()] == ["POST", "GET"]


@pytest.mark.parametrize("value", [0, True, "many"])
def test_a_cap_that_cannot_be_is_named(value: Any) -> None:
    before = tracing.tracer
    with pytest.raises(ValueError, match=re.escape(f"max_hosts must be a positive number, not {value!r}")):
        sleepwalker.otel.instrument(max_hosts=value)
    assert tracing.tracer is before


@threads_only("a program of its own")
def test_without_the_library_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import sleepwalker.otel"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: sleepwalker.otel needs the package opentelemetry-api: pip install 'sleepwalker[otel]'"
    )


@threads_only("signal handlers strike a thread")
def test_a_call_that_a_signal_handler_strikes_ends_its_span_and_leaves_its_context(bed: Bed) -> None:
    """Once, a thread that was struck at the wrong moment had no spans any more."""
    before, at = context.get_current(), 0
    with bed.conn:  # what was raised last is kept, and its frames keep the connection
        while True:
            where = strike(lambda: bed.conn.get("/"), files=("sleepwalker/otel.py",), at=at)
            assert context.get_current() is before, where
            ended = len(bed.spans())
            bed.conn.get("/")
            assert len(bed.spans()) == ended + 1, where
            if where is None:
                break
            at += 1
    assert at > 20
