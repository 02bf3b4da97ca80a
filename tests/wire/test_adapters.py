"""The adapters on real sockets: deadlines, retries, streams, cancellation, and what is left open after them."""

from __future__ import annotations

import asyncio
import gc
import importlib
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from requests.auth import HTTPDigestAuth
from servers import (
    Exchange,
    FaultServer,
    Step,
    TlsMaterial,
    drip_body,
    drip_head,
    elapsed,
    hang_up,
    json_reply,
    refused_port,
    reply,
    reset,
    slow_dns,
    stall,
    timing_test,
    truncated,
)

import sleepwalker.otel
from sleepwalker import ConnectError, ConnectTimeout, DeadlineExceeded, Policy, ReadError, ReadTimeout, TLSError
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.adapters import RequestsAdapter
from sleepwalker.hosts import HostTable
from tests.forks import fork, wait

QUICK = Policy(
    timeout={"connect": 1, "read": 1, "attempt": 2, "total": 5},
    retry={"attempts": 3, "wait_initial": 0.001, "wait_max": 0.002},
)


class Way:
    """One way to send: a session of requests, or a client of httpx2 or httpx, with our adapter in it."""

    def __init__(self, name: str) -> None:
        self.name, _, awaited = name.partition(" ")
        self.awaited = awaited == "awaited"
        self.lib: Any = importlib.import_module(self.name)
        self.hosts = HostTable()

    def adapter(self, policy: Policy | str = QUICK, **options: Any) -> Any:
        options = {"hosts": self.hosts} | options
        if self.name == "requests":
            return RequestsAdapter(policy, **options)
        adapters = importlib.import_module(f"sleepwalker.adapters.{self.name}")
        return (adapters.AsyncTransport if self.awaited else adapters.Transport)(policy, **options)

    def run(self, act: Callable[[Callable[..., Any]], Any], adapter: Any = None, **client: Any) -> Any:
        """`act(get)`, where `get(url, method="GET", **options)` is a response whose body was read."""
        adapter = self.adapter() if adapter is None else adapter
        if self.name == "requests":
            with requests.Session() as session:
                session.mount("http://", adapter)
                session.mount("https://", adapter)
                return act(lambda url, method="GET", **options: session.request(method, url, **options))
        if not self.awaited:
            with self.lib.Client(transport=adapter, **client) as made:
                return act(lambda url, method="GET", **options: made.request(method, url, **options))
        with asyncio.Runner() as runner:
            made = self.lib.AsyncClient(transport=adapter, **client)
            try:
                return act(lambda url, method="GET", **options: runner.run(made.request(method, url, **options)))
            finally:
                runner.run(made.aclose())

    def below(self, **options: Any) -> Any:
        """What a transport of ours sends by."""
        return (self.lib.AsyncHTTPTransport if self.awaited else self.lib.HTTPTransport)(**options)

    def attempts(self, response: Any) -> Any:
        return response.attempts if self.name == "requests" else response.extensions["attempts"]


@pytest.fixture(params=["requests", "httpx2", "httpx2 awaited", "httpx", "httpx awaited"])
def way(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


@pytest.mark.parametrize(
    "fault",
    [
        reply(503),
        reset(),
        hang_up(),
        truncated(b"x" * 1000, 500),
        truncated(b"x" * 1000, 500, chunked=True),
        truncated(b"x" * 1000, 500, then="reset"),
        stall(),
        truncated(b"x" * 1000, 500, then="stall"),
    ],
    ids=[
        "503",
        "reset",
        "closed",
        "cut off",
        "cut off in a chunk",
        "reset in the body",
        "silent",
        "silent in the body",
    ],
)
def test_a_fault_is_retried_and_leaves_no_socket_behind(way: Way, server: FaultServer, fault: Step) -> None:
    server.script(fault)
    policy = QUICK.replace(timeout={"connect": 1, "read": 0.8, "attempt": 2, "total": 10})
    response = way.run(lambda get: get(server.url), way.adapter(policy))
    assert (response.status_code, response.content, len(way.attempts(response))) == (200, b"ok", 2)
    health = way.hosts.health(server.url)
    assert (health.calls, health.attempts, health.failures, health.in_flight) == (1, 2, 1, 0)
    server.wait_for_open(0)


@timing_test
@pytest.mark.parametrize("phase", ["head", "body"])
def test_a_server_that_drips_is_cut_off_at_the_deadline(way: Way, server: FaultServer, phase: str) -> None:
    """Each byte comes within any read timeout: only what is left of the attempt ends it."""
    server.default = drip_head(b"x", interval=0.1) if phase == "head" else drip_body(b"x" * 100, interval=0.1)
    policy = Policy(timeout={"connect": 0.8, "read": 0.8, "attempt": 1, "total": 1}, retry=None)
    adapter = way.adapter(policy)
    with elapsed() as took, pytest.raises(DeadlineExceeded) as caught:
        way.run(lambda get: get(server.url), adapter)
    took.assert_within(1, 0.15)
    assert caught.value.phase == phase
    if way.name != "requests":
        assert isinstance(caught.value, way.lib.TimeoutException)
    server.wait_for_open(0)


@timing_test
def test_a_name_that_does_not_resolve_in_time_is_cut_off(way: Way) -> None:
    policy = Policy(timeout={"connect": 0.3, "read": 1, "attempt": 1, "total": 1}, retry=None)

    def act(get: Callable[..., Any]) -> None:
        with elapsed() as took, pytest.raises(ConnectTimeout) as caught:
            get("http://slow.test:1/")
        took.assert_within(0.3, 0.15)
        assert caught.value.never_sent

    with slow_dns("slow.test", 1.5):
        way.run(act, way.adapter(policy))


@timing_test
def test_a_shorter_timeout_of_the_callers_holds(way: Way, server: FaultServer) -> None:
    server.default = stall()
    with elapsed() as took, pytest.raises(ReadTimeout):
        way.run(lambda get: get(server.url, timeout=0.3), way.adapter(QUICK.replace(retry=None)))
    took.assert_within(0.3, 0.15)


def test_a_refused_connection_was_never_sent(way: Way) -> None:
    with refused_port() as port, pytest.raises(ConnectError) as caught:
        way.run(lambda get: get(f"http://127.0.0.1:{port}", method="POST"))
    assert caught.value.never_sent
    assert len(caught.value.attempts) == 3


def test_a_certificate_that_is_not_trusted_is_told_once(way: Way, tls_server: FaultServer) -> None:
    with pytest.raises(TLSError) as caught:
        way.run(lambda get: get(tls_server.url))
    assert len(caught.value.attempts) == 1
    assert "certificate was not accepted" in str(caught.value)


def test_over_tls(way: Way, tls_server: FaultServer, tls: TlsMaterial) -> None:
    if way.name == "requests":
        response = way.run(lambda get: get(tls_server.url, verify=str(tls.ca)))
    else:
        context = ssl.create_default_context(cafile=str(tls.ca))
        response = way.run(lambda get: get(tls_server.url), way.adapter(transport=way.below(verify=context)))
    assert response.content == b"ok"


def test_redirects_and_cookies_are_the_clients(way: Way, server: FaultServer) -> None:
    """Each hop is a call of its own, and is retried by itself."""
    server.script(reply(302, headers=[("Location", "/next"), ("Set-Cookie", "a=b")]), reply(503), reply(200, b"there"))
    client = {} if way.name == "requests" else {"follow_redirects": True}
    response = way.run(lambda get: get(server.url), **client)
    assert response.content == b"there"
    assert [hop.status_code for hop in response.history] == [302]
    assert [request.header("Cookie") for request in server.requests] == [None, "a=b", "a=b"]
    assert way.hosts.health(server.url).calls == 2


def test_a_body_of_the_callers_is_sent_again_whole(way: Way, server: FaultServer) -> None:
    server.script(reply(503), reset())
    response = way.run(lambda get: get(server.url, method="PUT", data={"a": "b" * 100_000}))
    assert response.status_code == 200
    bodies = [request.body for request in server.requests if request.complete]
    assert len(bodies) == 3
    assert set(bodies) == {b"a=" + b"b" * 100_000}


def test_many_threads_share_one_adapter(server: FaultServer) -> None:
    """No response is another caller's, whatever fails between."""
    count = iter(range(10**6))

    def answer(exchange: Exchange) -> Step:
        assert exchange.request is not None
        return reply(503) if next(count) % 4 == 3 else json_reply({"path": exchange.request.path})

    server.default = answer
    for name in ("requests", "httpx2"):
        way = Way(name)

        def act(get: Callable[..., Any]) -> list[bool]:
            def one(number: int) -> bool:
                return bool(get(f"{server.url}/{number}").json() == {"path": f"/{number}"})

            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(one, range(200)))

        attempts = QUICK.replace(retry={"attempts": 10, "wait_initial": 0.001, "wait_max": 0.002})
        assert all(way.run(act, way.adapter(attempts)))
        health = way.hosts.health(server.url)
        assert (health.calls, health.in_flight) == (200, 0)
    server.wait_for_open(0)


def test_a_stream_of_requests_that_breaks_counts_as_a_failure(server: FaultServer) -> None:
    server.script(reply(503), truncated(b"x" * 100_000, 50_000))
    way = Way("requests")
    with requests.Session() as session:
        session.mount("http://", way.adapter())
        response = session.get(server.url, stream=True)
        assert way.hosts.health(server.url).failures == 1
        with pytest.raises(ReadError):
            response.content  # noqa: B018
    health = way.hosts.health(server.url)
    assert (health.calls, health.attempts, health.failures) == (1, 2, 2)
    server.wait_for_open(0)


@pytest.mark.parametrize("name", ["httpx2", "httpx"])
def test_a_long_body_that_breaks_counts_as_a_failure(server: FaultServer, name: str) -> None:
    server.script(reply(503), truncated(b"x" * 100_000, 50_000))
    way = Way(name)
    with pytest.raises(way.lib.RemoteProtocolError) as caught:
        way.run(lambda get: get(server.url), way.adapter(buffer=1000))
    assert isinstance(caught.value, ReadError)
    health = way.hosts.health(server.url)
    assert (health.calls, health.attempts, health.failures) == (1, 2, 2)


def test_a_session_that_is_closed_ends_waits(server: FaultServer) -> None:
    """The call that waits for a retry gets the outcome in hand."""
    server.default = reply(503, headers=[("Retry-After", "20")])
    way = Way("requests")
    session = requests.Session()
    session.mount("http://", way.adapter(Policy()))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(session.get, server.url)
        server.wait_for_requests(1)
        time.sleep(0.1)
        with elapsed() as took:
            session.close()
            assert call.result(10).status_code == 503
    took.assert_at_most(5)


@pytest.mark.parametrize("name", ["requests", "httpx2", "httpx"])
def test_a_forked_child_uses_sockets_of_its_own(server: FaultServer, name: str) -> None:
    def echo(exchange: Exchange) -> Step:
        assert exchange.request is not None
        return reply(200, exchange.request.path)

    server.default = echo

    def act(get: Callable[..., Any]) -> None:
        def ask(who: str) -> bool:
            return all(get(f"{server.url}/{who}{n}").text == f"/{who}{n}" for n in range(50))

        assert ask("before")
        child = fork(lambda: ask("child"))
        assert ask("parent")
        assert wait(child) == 0

    Way(name).run(act)


@pytest.mark.parametrize("name", ["httpx2", "httpx2 awaited", "httpx", "httpx awaited"])
def test_a_trace_extension_of_the_callers_goes_on(server: FaultServer, name: str) -> None:
    way = Way(name)
    seen: list[str] = []

    def trace(name: str, info: Any) -> None:
        seen.append(name)

    async def trace_awaited(name: str, info: Any) -> None:
        seen.append(name)

    extensions = {"trace": trace_awaited if way.awaited else trace}
    way.run(lambda get: get(server.url, extensions=extensions))
    assert "http11.receive_response_headers.complete" in seen


@timing_test
@pytest.mark.parametrize("name", ["httpx2", "httpx"])
def test_another_transport_is_asked_to_be_done_in_time(server: FaultServer, name: str) -> None:
    """Its own timeouts are cut to what is left: here the policy's read timeout is longer than the attempt may be."""
    way = Way(name)
    below = way.below()
    other = type(
        "Other", (way.lib.BaseTransport,), {"handle_request": lambda self, request: below.handle_request(request)}
    )
    server.default = stall()
    policy = Policy(timeout={"connect": 0.5, "read": 10, "attempt": 0.5, "total": 0.5}, retry=None)
    with elapsed() as took, pytest.raises(DeadlineExceeded) as caught:
        way.run(lambda get: get(server.url), way.adapter(policy, transport=other()))
    took.assert_within(0.5, 0.15)
    assert isinstance(caught.value, way.lib.ReadTimeout)
    below.close()


def test_through_a_proxy(way: Way, server: FaultServer, proxy: FaultServer) -> None:
    server.script(reply(503))
    if way.name == "requests":
        response = way.run(lambda get: get(server.url, proxies={"http": proxy.url}))
    else:
        response = way.run(lambda get: get(server.url), way.adapter(transport=way.below(proxy=proxy.url)))
    assert (response.content, len(way.attempts(response)), len(proxy.requests)) == (b"ok", 2, 2)


def test_a_proxy_that_is_down_was_never_sent_the_request(way: Way, server: FaultServer) -> None:
    with refused_port() as port:
        down = f"http://127.0.0.1:{port}"
        options: dict[str, Any] = {"proxies": {"http": down}} if way.name == "requests" else {}
        adapter = way.adapter() if way.name == "requests" else way.adapter(transport=way.below(proxy=down))
        with pytest.raises(OurConnectionError) as caught:
            way.run(lambda get: get(server.url, method="POST", **options), adapter)
    assert caught.value.never_sent
    assert len(caught.value.attempts) == 3
    assert server.requests == []


def test_a_slow_attempt_of_requests_is_hedged(server: FaultServer) -> None:
    server.script(stall(), reply(200, b"second"))
    way = Way("requests")
    response = way.run(lambda get: get(server.url), way.adapter(Policy(hedge={"delay": 0.1})))
    assert (response.content, len(way.attempts(response))) == (b"second", 2)
    server.wait_for_open(0)


def test_digest_authentication_of_requests_goes_through_it(server: FaultServer) -> None:
    """Its hook sends the second request by the response's own adapter."""
    challenge = reply(401, headers=[("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')])
    server.script(challenge, reply(503), reply(200, b"in"))
    way = Way("requests")
    response = way.run(lambda get: get(server.url, auth=HTTPDigestAuth("user", "password")))
    assert response.content == b"in"
    assert way.hosts.health(server.url).calls == 2


def test_a_call_has_one_span_and_its_context_goes_out(way: Way, server: FaultServer) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sleepwalker.otel.instrument(provider, MeterProvider())
    try:
        server.script(reply(503))
        way.run(lambda get: get(f"{server.url}/items?token=canary"))
    finally:
        sleepwalker.otel.uninstrument()
    [span] = exporter.get_finished_spans()
    told = dict(span.attributes or {})
    assert (span.name, told["url.full"]) == ("GET", f"{server.url}/items")
    assert (told["http.response.status_code"], told["http.request.resend_count"]) == (200, 1)
    traces = {request.header("traceparent") for request in server.requests}
    assert len(traces) == 1
    assert span.context is not None
    assert format(span.context.trace_id, "032x") in str(traces)


# -- asyncio


@pytest.mark.parametrize("name", ["httpx2 awaited", "httpx awaited"])
def test_a_cancelled_task_ends_its_attempt_at_once_and_is_neutral(server: FaultServer, name: str) -> None:
    server.default = stall()
    way = Way(name)
    policy = Policy(bulkhead={"max_concurrent": 1})

    async def main() -> None:
        async with way.lib.AsyncClient(transport=way.adapter(policy)) as client:
            for _ in range(3):  # the place in the bulkhead came back, or the second one would be refused
                call = asyncio.ensure_future(client.get(server.url, timeout=30))
                await asyncio.sleep(0.1)
                call.cancel()
                with elapsed() as took, pytest.raises(asyncio.CancelledError):
                    await call
                took.assert_at_most(0.5)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.get(server.url, timeout=30)

    asyncio.run(main())
    health = way.hosts.health(server.url)
    assert (health.attempts, health.failures, health.in_flight) == (4, 0, 0)
    server.wait_for_open(0)


@pytest.mark.parametrize("name", ["httpx2 awaited", "httpx awaited"])
def test_a_slow_attempt_is_hedged(server: FaultServer, name: str) -> None:
    server.script(stall(), reply(200, b"second"))
    way = Way(name)
    policy = Policy(hedge={"delay": 0.1})

    async def main() -> Any:
        async with way.lib.AsyncClient(transport=way.adapter(policy)) as client:
            return await client.get(server.url)

    response = asyncio.run(main())
    assert response.content == b"second"
    assert len(way.attempts(response)) == 2
    assert way.hosts.health(server.url).in_flight == 0
    server.wait_for_open(0)


@pytest.mark.parametrize("name", ["httpx2 awaited", "httpx awaited"])
def test_nothing_is_left_when_the_loop_ends(server: FaultServer, name: str) -> None:
    """No task, no socket, and no warning of what was never awaited or closed."""
    kinds = [reply(200, b"ok"), reply(503), reset(), stall(), truncated(b"x" * 5000, 9)]
    count = iter(range(10**6))
    server.default = lambda exchange: kinds[next(count) % len(kinds)]
    way = Way(name)
    policy = Policy(
        timeout={"connect": 0.8, "read": 0.4, "attempt": 1, "total": 5},
        retry={"attempts": 5, "wait_initial": 0.001, "wait_max": 0.01},
        breaker=None,
    )

    async def main() -> int:
        async with way.lib.AsyncClient(transport=way.adapter(policy, buffer=100)) as client:
            calls = [asyncio.ensure_future(client.get(server.url)) for _ in range(50)]
            await asyncio.sleep(0.3)
            for call in calls[::5]:
                call.cancel()
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1
        wrong = [one for one in ended if isinstance(one, Exception) and not isinstance(one, OurConnectionError)]
        assert wrong == []
        return sum(not isinstance(one, BaseException) for one in ended)

    assert asyncio.run(main()) > 0
    gc.collect()
    assert way.hosts.health(server.url).in_flight == 0
    server.wait_for_open(0)
    assert threading.active_count() < 60
