"""The specimen of what exports metrics and traces, as users write it; mypy reads it, nobody runs it."""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

import sleepwalker.otel
from sleepwalker import Connection, ConnectionManager
from sleepwalker.prometheus import Collector


def prometheus(manager: ConnectionManager, conn: Connection, registry: CollectorRegistry) -> None:
    collector = Collector(manager, conn, max_hosts=20, label=lambda origin: origin.upper())
    registry.register(collector)
    collector.add(manager)
    collector.add(conn)
    Collector("https://h")  # type: ignore[arg-type]


def otel(tracers: TracerProvider, meters: MeterProvider) -> None:
    sleepwalker.otel.instrument()
    sleepwalker.otel.instrument(tracers, meters, max_hosts=20)
    sleepwalker.otel.instrument(tracer_provider=tracers, meter_provider=meters)
    sleepwalker.otel.uninstrument()
