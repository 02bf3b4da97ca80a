"""The specimen of what exports metrics and traces, as users write it; mypy reads it, and it is never run."""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

import sleepwalker.otel
from sleepwalker import Connection, ConnectionManager
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager
from sleepwalker.events import BreakerOpened, Event, Level
from sleepwalker.prometheus import Collector


def prometheus(manager: ConnectionManager, conn: Connection, registry: CollectorRegistry) -> None:
    collector = Collector(manager, conn, max_hosts=20, label=lambda origin: origin.upper())
    registry.register(collector)
    collector.add(manager)
    collector.add(conn)
    Collector(AsyncConnectionManager(), AsyncConnection("https://h")).add(AsyncConnectionManager())
    Collector("https://h")  # type: ignore[arg-type]


def otel(tracers: TracerProvider, meters: MeterProvider) -> None:
    sleepwalker.otel.instrument()
    sleepwalker.otel.instrument(tracers, meters, max_hosts=20)
    sleepwalker.otel.instrument(tracer_provider=tracers, meter_provider=meters)
    sleepwalker.otel.uninstrument()


def observe(event: Event, level: Level | None = None) -> None:
    if isinstance(event, BreakerOpened):
        print(event.host, event.open_for + 1, event.cause or "", level or event.level)
        event.open_for = 5.0  # type: ignore[misc]
    event.host = "https://h"  # type: ignore[misc]
    BreakerOpened("https://h", "mood", 5.0, None)  # type: ignore[arg-type]
