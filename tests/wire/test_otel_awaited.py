"""Spans of calls that are awaited: tasks have contexts of their own, and aiohttp an instrumentation of its own.

What a span says, the metric and the context on the wire are in test_otel.py, for both drivers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import requests
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor, create_trace_config
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from servers import Exchange, FaultServer, Step, redirect, reply, stall

import sleepwalker.otel
from sleepwalker import ANONYMOUS, Policy
from sleepwalker.aio import AsyncConnection
from tests.wire.test_otel import traceparent_of

FAST = Policy(retry={"attempts": 3, "wait_initial": 0.001, "wait_max": 0.001})


class Bed:
    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self, scope: str | None = None) -> list[ReadableSpan]:
        """All that ended, or those that the instrumentation `scope` made."""
        spans = self.exporter.get_finished_spans()
        return [
            one
            for one in spans
            if scope is None or (one.instrumentation_scope is not None and one.instrumentation_scope.name == scope)
        ]

    def sent(self) -> list[str | None]:
        return [request.header("traceparent") for request in self.server.requests]

    @contextlib.asynccontextmanager
    async def conn(self, **more: Any) -> AsyncIterator[AsyncConnection]:
        async with AsyncConnection(self.server.url, ANONYMOUS, **{"policy": FAST, **more}) as conn:
            yield conn


@pytest.fixture
def plain(server: FaultServer) -> Iterator[Bed]:
    """Without our instrumentation."""
    bed = Bed(server)
    yield bed
    bed.provider.shutdown()


@pytest.fixture
def bed(plain: Bed) -> Iterator[Bed]:
    sleepwalker.otel.instrument(plain.provider, MeterProvider())
    try:
        yield plain
    finally:
        sleepwalker.otel.uninstrument()


@pytest.fixture(params=["stock first", "ours first"])
def beside(request: pytest.FixtureRequest, plain: Bed) -> Iterator[Bed]:
    """The stock instrumentation of aiohttp as well, in either order."""
    stock = AioHttpClientInstrumentor()

    def ours() -> None:
        sleepwalker.otel.instrument(plain.provider, MeterProvider())

    def theirs() -> None:
        stock.instrument(tracer_provider=plain.provider, meter_provider=MeterProvider())

    for step in (theirs, ours) if request.param == "stock first" else (ours, theirs):
        step()
    try:
        yield plain
    finally:
        stock.uninstrument()
        sleepwalker.otel.uninstrument()


def test_tasks_of_one_loop_have_a_span_each_under_what_each_of_them_was_doing(bed: Bed) -> None:
    """They take turns, so one that left its context in the loop's would be the parent of others."""
    asked: set[str] = set()

    def answer(exchange: Exchange) -> Step:
        """Every other path is answered by its second request."""
        assert exchange.request is not None
        path = exchange.request.path
        first = path not in asked
        asked.add(path)
        return reply(503) if first and int(path.strip("/")) % 2 else reply(200, delay=0.02)

    bed.server.default = answer
    tracer = bed.provider.get_tracer("test")

    async def work(conn: AsyncConnection, number: int) -> None:
        with tracer.start_as_current_span(f"outer {number}") as outer:
            await conn.get(f"/{number}")
            assert trace.get_current_span() is outer

    async def main() -> None:
        async with bed.conn() as conn:
            await asyncio.gather(*(work(conn, number) for number in range(20)))
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())
    outer = {span.context.span_id: span.name for span in bed.spans("test")}
    inner = bed.spans("sleepwalker")
    assert len(inner) == 20
    for span in inner:
        assert span.parent is not None
        number = str((span.attributes or {})["url.full"]).rpartition("/")[2]
        assert outer[span.parent.span_id] == f"outer {number}"
    by_path = {request.path.strip("/"): request.header("traceparent") for request in bed.server.requests}
    for span in inner:
        assert by_path[str((span.attributes or {})["url.full"]).rpartition("/")[2]] == traceparent_of(span)


def test_the_span_is_the_current_one_inside_a_call_also_where_a_hedge_is_sent(bed: Bed) -> None:
    seen: list[Any] = []

    def auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        seen.append(trace.get_current_span().get_span_context().span_id)
        return prepared

    class Watched(aiohttp.TraceConfig):
        pass

    watch = Watched()

    async def started(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)

    watch.on_request_start.append(started)
    bed.server.script(stall(), reply(200))

    async def main() -> None:
        async with aiohttp.ClientSession(trace_configs=[watch]) as session:
            policy = FAST.replace(hedge={"delay": 0.3})
            async with AsyncConnection(bed.server.url, auth, policy=policy, session=session) as conn:
                await conn.get("/")

    asyncio.run(main())
    [span] = bed.spans()
    assert set(seen) == {span.context.span_id}
    assert len(seen) >= 3, "the auth object, the attempt and its copy"
    assert [event.name for event in span.events] == ["hedge.sent", "hedge.finished"]
    assert bed.sent() == [traceparent_of(span)] * 2


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_call_whose_task_is_cancelled_ends_its_span_and_leaves_nothing_in_the_context(bed: Bed, how: str) -> None:
    bed.server.default = stall()

    async def main() -> None:
        async with bed.conn() as conn:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await conn.get("/")
            assert trace.get_current_span() is trace.INVALID_SPAN
            if how == "cancel":
                task = asyncio.create_task(conn.get("/"))
                await asyncio.sleep(0.2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
    spans = bed.spans()
    assert len(spans) == (2 if how == "cancel" else 1)
    assert {(span.attributes or {})["error.type"] for span in spans} == {"CancelledError"}
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}


def test_a_stream_is_one_span_that_ends_with_its_head(bed: Bed) -> None:
    bed.server.script(reply(503), reply(200, body=b"x" * 1000))

    async def main() -> None:
        async with bed.conn() as conn, conn.stream("GET", "/") as response:
            assert [span.name for span in bed.spans()] == ["GET"]
            assert b"".join([part async for part in response.aiter_bytes()]) == b"x" * 1000
            assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())
    [span] = bed.spans()
    assert (span.attributes or {})["http.request.resend_count"] == 1


# --- beside aiohttp's own


def test_the_stock_instrumentation_makes_no_second_span(beside: Bed) -> None:
    beside.server.script(reply(503), redirect("/there"), stall(), reply(200))

    async def main() -> None:
        async with beside.conn(policy=FAST.replace(hedge={"delay": 0.3})) as conn:
            await conn.get("/")

    asyncio.run(main())
    [span] = beside.spans()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "sleepwalker"
    assert beside.sent() == [traceparent_of(span)] * 4


def test_a_callers_instrumented_session_makes_no_second_span_either(bed: Bed) -> None:
    async def main() -> None:
        config = create_trace_config(tracer_provider=bed.provider, meter_provider=MeterProvider())
        async with aiohttp.ClientSession(trace_configs=[config]) as session, bed.conn(session=session) as conn:
            await conn.get("/")
            async with session.get(bed.server.url) as response:
                await response.read()

    asyncio.run(main())
    names = [span.instrumentation_scope.name for span in bed.spans() if span.instrumentation_scope]
    assert names == ["sleepwalker", "opentelemetry.instrumentation.aiohttp_client"]


@pytest.mark.parametrize("by", ["instrumentor", "session"])
def test_without_ours_the_stock_instrumentation_sees_each_attempt(plain: Bed, by: str) -> None:
    plain.server.script(reply(503), reply(200))
    stock = AioHttpClientInstrumentor()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            session = None
            if by == "session":
                config = create_trace_config(tracer_provider=plain.provider, meter_provider=MeterProvider())
                session = await stack.enter_async_context(aiohttp.ClientSession(trace_configs=[config]))
            conn = await stack.enter_async_context(plain.conn(session=session))
            assert (await conn.get("/")).status_code == 200

    if by == "instrumentor":
        stock.instrument(tracer_provider=plain.provider, meter_provider=MeterProvider())
    try:
        asyncio.run(main())
    finally:
        if by == "instrumentor":
            stock.uninstrument()
    spans = plain.spans("opentelemetry.instrumentation.aiohttp_client")
    assert len(spans) == len(plain.spans()) == 2
    assert plain.sent() == [traceparent_of(span) for span in spans]


def test_who_suppresses_instrumentation_gets_none(beside: Bed) -> None:
    async def main() -> None:
        async with beside.conn() as conn:
            with suppress_http_instrumentation():
                await conn.get("/")

    asyncio.run(main())
    assert (beside.spans(), beside.sent()) == ([], [None])


def test_other_requests_of_the_application_keep_their_stock_spans_meanwhile(beside: Bed) -> None:
    """What is suppressed is suppressed in the call's own context, not in the loop."""

    def answer(exchange: Exchange) -> Step:
        exchange.pause(0.1)
        return reply(200)

    beside.server.default = answer

    async def main() -> None:
        async with aiohttp.ClientSession() as session, beside.conn() as conn:

            async def theirs() -> None:
                async with session.get(beside.server.url) as response:
                    await response.read()

            await asyncio.gather(conn.get("/"), theirs(), conn.get("/"), theirs())

    asyncio.run(main())
    assert len(beside.spans("sleepwalker")) == 2
    assert len(beside.spans("opentelemetry.instrumentation.aiohttp_client")) == 2
