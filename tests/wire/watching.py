"""All that OpenTelemetry and Prometheus get to see while something runs, as text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import prometheus_client
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import sleepwalker.otel
from sleepwalker.prometheus import Collector


class Running(SpanProcessor):
    """Sees spans as they begin and as they end, as samplers and live views do."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.texts.append(f"{span.name} {dict(span.attributes or {})} {span.to_json()}")

    def on_end(self, span: ReadableSpan) -> None:
        self.texts.append(f"{span.name} {dict(span.attributes or {})} {[vars(event) for event in span.events]}")


class Watch:
    """Spans, metrics, and a collector to which connections and managers can be added."""

    def __init__(self) -> None:
        self.collector = Collector()
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.running = Running()
        self.tracers.add_span_processor(self.running)
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.registry = prometheus_client.CollectorRegistry()
        self.registry.register(self.collector)

    def texts(self) -> Iterator[tuple[str, str]]:
        """(what it is, its text) of everything there is so far."""
        for span in self.exporter.get_finished_spans():
            yield "span", span.to_json()
        for text in self.running.texts:
            yield "running span", text
        data = self.reader.get_metrics_data()
        if data is not None:
            yield "otel metric", data.to_json()
        yield "prometheus", prometheus_client.generate_latest(self.registry).decode()


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """Instrumented for as long as it lasts."""
    watch = Watch()
    sleepwalker.otel.instrument(watch.tracers, watch.meters)
    try:
        yield watch
    finally:
        sleepwalker.otel.uninstrument()
        watch.tracers.shutdown()
        watch.meters.shutdown()
