"""Policies below clients that are not ours: what `sleepwalker.adapters` makes of their requests, responses and errors.

Each rule is tried with both libraries, httpx2 and httpx, blocking and awaited; that of requests has a file of its own.
"""

from __future__ import annotations

import asyncio
import copy
import gzip
import importlib
import json
import pickle
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import sleepwalker
from sleepwalker import (
    CircuitOpenError,
    ConnectionManager,
    HostIsolatedError,
    Policy,
    PolicyError,
    exceptions,
    status,
)
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.drivers.threads.clock import Wake
from sleepwalker.events import Event
from sleepwalker.hosts import HostTable
from sleepwalker.prometheus import Collector
from tests.unit.status_driver import ask

URL = "https://api.example.com/v1/items?token=canary-query"
HOST = "https://api.example.com"


class Clock:
    """Time that passes where someone waits; the first of all chances comes true, so that no retry waits by itself."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return SYSTEM_CLOCK.wall()

    def random(self) -> float:
        return 0.0

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        self.now += seconds
        return False


class Way:
    """One of the libraries, blocking or awaited."""

    def __init__(self, name: str, awaited: bool) -> None:
        self.name, self.awaited = name, awaited
        self.lib: Any = importlib.import_module(name)
        self.adapters: Any = importlib.import_module(f"sleepwalker.adapters.{name}")
        self.clock = Clock()
        self.events: list[Event] = []

    def transport(self, answer: Callable[[Any], Any], policy: Any = None, **options: Any) -> Any:
        """A transport of ours above one that answers by `answer`."""
        kind = self.adapters.AsyncTransport if self.awaited else self.adapters.Transport
        options = {"clock": self.clock, "observer": self.events.append} | options
        return kind(policy, transport=self.lib.MockTransport(answer), **options)

    def send(self, transport: Any, method: str = "GET", url: str = URL, **options: Any) -> Any:
        """The response to one request of a client with that transport."""
        if not self.awaited:
            with self.lib.Client(transport=transport) as client:
                return client.request(method, url, **options)

        async def send() -> Any:
            async with self.lib.AsyncClient(transport=transport) as client:
                return await client.request(method, url, **options)

        return asyncio.run(send())

    def body(self, *pieces: bytes, error: Exception | None = None) -> Any:
        """A response's body, which tells how far it was read."""
        kind = type("Body", (Source, self.lib.SyncByteStream, self.lib.AsyncByteStream), {})
        return kind(*pieces, error=error)

    def lines(self, *pieces: bytes) -> Any:
        """A body that is made while it is read."""

        async def awaited() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        return awaited() if self.awaited else iter(pieces)


@pytest.fixture(params=["httpx2", "httpx", "httpx2 awaited", "httpx awaited"])
def way(request: pytest.FixtureRequest) -> Way:
    name, _, awaited = request.param.partition(" ")
    return Way(name, awaited == "awaited")


class Script:
    """Answers by a list, and keeps what was asked."""

    def __init__(self, way: Way, *answers: Any) -> None:
        self.way, self.answers = way, list(answers)
        self.requests: list[Any] = []

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, str):
            raise getattr(self.way.lib, answer)(f"of {self.way.name}, for {request.url}")
        return self.way.lib.Response(answer, json={"n": len(self.requests)}) if isinstance(answer, int) else answer


@pytest.mark.parametrize("first", [503, 429, "ReadError", "RemoteProtocolError", "ReadTimeout", "ConnectError"])
def test_what_the_policy_retries_is_sent_again(way: Way, first: Any) -> None:
    script = Script(way, first)
    response = way.send(way.transport(script))
    assert response.status_code == 200
    assert response.json() == {"n": 2}
    attempts = response.extensions["attempts"]
    assert [attempt.status for attempt in attempts] == [first if isinstance(first, int) else None, 200]
    assert [str(request.url) for request in script.requests] == [URL, URL]


@pytest.mark.parametrize("code", [404, 401, 500, 503, 418])
def test_a_response_of_any_status_is_the_callers(way: Way, code: int) -> None:
    response = way.send(way.transport(Script(way, *[code] * 5)))
    assert response.status_code == code
    assert len(response.extensions["attempts"]) == (3 if code == 503 else 1)


@pytest.mark.parametrize(
    ("raised", "ours", "theirs"),
    [
        ("ReadError", "ReadError", "ReadError"),
        ("RemoteProtocolError", "ReadError", "RemoteProtocolError"),
        ("WriteError", "ReadError", "WriteError"),
        ("CloseError", "ReadError", "CloseError"),
        ("NetworkError", "ReadError", "NetworkError"),
        ("ReadTimeout", "ReadTimeout", "ReadTimeout"),
        ("WriteTimeout", "ReadTimeout", "WriteTimeout"),
        ("TimeoutException", "ReadTimeout", "TimeoutException"),
        ("ConnectTimeout", "ConnectTimeout", "ConnectTimeout"),
        ("ConnectError", "ConnectError", "ConnectError"),
        ("PoolTimeout", "DeadlineExceeded", "PoolTimeout"),
        ("ProxyError", "ProxyError", "ProxyError"),
    ],
)
def test_an_error_is_the_librarys_and_ours(way: Way, raised: str, ours: str, theirs: str) -> None:
    """So an SDK that catches its library's goes on doing so, and an application can catch ours."""
    with pytest.raises(getattr(way.lib, theirs)) as caught:
        way.send(way.transport(Script(way, *[raised] * 5)))
    error = caught.value
    assert isinstance(error, getattr(sleepwalker, ours))
    assert type(error).__name__ == ours
    assert len(error.attempts) == 3
    assert error.request.url == URL
    assert error.__cause__ is None
    assert "canary" not in str(error)
    assert error.__notes__ == ["GET https://api.example.com/v1/items: after 3 attempts"]


@pytest.mark.parametrize("raised", ["LocalProtocolError", "UnsupportedProtocol", "DecodingError", "TooManyRedirects"])
def test_an_error_that_is_not_about_the_exchange_stays_as_it_is(way: Way, raised: str) -> None:
    transport = way.transport(script := Script(way, raised))
    with pytest.raises(getattr(way.lib, raised)) as caught:
        way.send(transport)
    assert type(caught.value) is getattr(way.lib, raised)
    assert len(script.requests) == 1
    assert transport.hosts.health(HOST).failures == 0


def test_every_transport_error_of_the_libraries_is_looked_at() -> None:
    """A guard: one that a release adds must be put into the lists above."""
    for name in ("httpx2", "httpx"):
        lib = importlib.import_module(name)
        found = {
            cls.__name__ for cls in vars(lib).values() if isinstance(cls, type) and issubclass(cls, lib.RequestError)
        }
        not_raised = {"RequestError", "TransportError", "ProtocolError", "SSEError"}  # the last one by clients alone
        mark = test_an_error_is_the_librarys_and_ours.pytestmark[0]  # type: ignore[attr-defined]
        assert found - not_raised == {row[0] for row in mark.args[1]} | {
            "LocalProtocolError",
            "UnsupportedProtocol",
            "DecodingError",
            "TooManyRedirects",
        }


@pytest.mark.parametrize(
    ("first", "headers", "idempotent", "sends"),
    [
        ("ReadError", {}, None, 1),
        (503, {}, None, 1),
        ("ConnectError", {}, None, 2),  # provably never sent
        ("PoolTimeout", {}, None, 2),
        ("ReadError", {"Idempotency-Key": "7"}, None, 2),
        ("ReadError", {}, True, 2),
        ("ReadError", {}, lambda request: request.url.path.endswith("/items"), 2),
        ("ReadError", {}, lambda request: False, 1),
        ("ReadError", {"Idempotency-Key": "7"}, lambda request: None, 2),
    ],
)
def test_a_post_is_sent_again_only_where_it_may_be(
    way: Way, first: Any, headers: dict[str, str], idempotent: Any, sends: int
) -> None:
    script = Script(way, first)
    transport = way.transport(script, idempotent=idempotent)
    if sends == 1 and isinstance(first, str):
        with pytest.raises(getattr(way.lib, first)):
            way.send(transport, "POST", json={"a": 1}, headers=headers)
    else:
        way.send(transport, "POST", json={"a": 1}, headers=headers)
    assert len(script.requests) == sends


def test_a_get_that_is_said_not_to_be_idempotent_is_sent_once(way: Way) -> None:
    script = Script(way, 503)
    assert way.send(way.transport(script, idempotent=False)).status_code == 503
    assert len(script.requests) == 1


def test_retry_if_adds_to_what_is_retried(way: Way) -> None:
    script = Script(way, 404, "ReadError", 404, 200)
    transport = way.transport(
        script,
        Policy(retry={"attempts": 5}),
        retry_if=lambda came: getattr(came, "status_code", None) == 404,
    )
    assert way.send(transport).status_code == 200
    assert len(script.requests) == 4


def test_retry_if_gets_a_response_as_a_client_has_it(way: Way) -> None:
    """And the client's own is not read by that: its caller may stream it."""
    asked: list[Any] = []

    def pending(came: Any) -> bool:
        asked.append((came.json(), came.request.url, len(came.extensions["attempts"])))
        return bool(came.json()["n"] < 2)

    response, pieces = _streamed(way, way.transport(Script(way), retry_if=pending))
    assert json.loads(b"".join(pieces)) == {"n": 2}
    assert asked == [({"n": 1}, URL, 1), ({"n": 2}, URL, 2)]
    assert len(response.extensions["attempts"]) == 2


def test_a_retry_after_is_waited_for() -> None:
    way = Way("httpx2", awaited=False)
    busy = way.lib.Response(429, headers={"Retry-After": "7"})
    before = way.clock.now
    assert way.send(way.transport(Script(way, busy))).status_code == 200
    assert way.clock.now - before == pytest.approx(7)


def test_a_retry_after_that_does_not_fit_is_not_waited_for(way: Way) -> None:
    busy = way.lib.Response(503, headers={"Retry-After": "50"}, json={"why": "down"})
    response = way.send(way.transport(script := Script(way, busy)))
    assert (response.status_code, response.json(), len(script.requests)) == (503, {"why": "down"}, 1)


def test_an_open_circuit_refuses_with_an_error_of_both(way: Way) -> None:
    policy = Policy(retry=None, breaker={"consecutive": 3, "consecutive_for": 0, "open_for": 60, "open_max": 60})
    transport = way.transport(script := Script(way, *[503] * 9), policy)
    for _ in range(3):
        assert way.send(transport).status_code == 503
    with pytest.raises(way.lib.ConnectError) as caught:
        way.send(transport)
    error: Any = caught.value
    assert isinstance(error, CircuitOpenError)
    assert (error.host, error.cause, error.attempts, error.never_sent) == (HOST, "503", (), True)
    assert error.retry_after == pytest.approx(60, rel=0.2)
    assert len(script.requests) == 3


def test_its_hosts_are_in_a_managers_health_page_and_metrics(way: Way) -> None:
    manager = ConnectionManager(policy="standard", clock=way.clock)
    transport = way.transport(Script(way, 503), hosts=manager.hosts)
    way.send(transport)
    health = manager.health(HOST)
    assert (health.calls, health.attempts, health.failures, health.in_flight) == (1, 2, 1, 0)
    shown = ask(status.app(manager), "/hosts.json").json["hosts"]
    assert [(host["host"], host["calls"], host["used"]) for host in shown] == [(HOST, 1, True)]
    registry = CollectorRegistry()
    registry.register(Collector(manager))
    labels = {"host": HOST, "name": HOST}
    assert registry.get_sample_value("sleepwalker_attempts_total", labels) == 2


def test_what_a_manager_isolates_is_isolated_here(way: Way) -> None:
    manager = ConnectionManager(clock=way.clock)
    transport = way.transport(script := Script(way), hosts=manager.hosts)
    manager.isolate(HOST, reason="moving")
    with pytest.raises(way.lib.ConnectError, match="moving") as caught:
        way.send(transport)
    assert isinstance(caught.value, HostIsolatedError)
    manager.restore(HOST)
    assert way.send(transport).status_code == 200
    assert len(script.requests) == 1


def test_without_a_policy_calls_follow_that_of_their_host(way: Way) -> None:
    hosts = HostTable(policy="standard", policies={HOST: Policy(retry={"attempts": 2})}, clock=way.clock)
    transport = way.transport(script := Script(way, *[503] * 9), hosts=hosts)
    way.send(transport)
    assert len(script.requests) == 2
    way.send(transport, url="https://other.example.com/")
    assert len(script.requests) == 5
    ConnectionManager(hosts=hosts).reload(policies={HOST: "off"})
    way.send(transport)
    assert len(script.requests) == 6


def test_a_policy_of_its_own_goes_before_that_of_the_table(way: Way) -> None:
    transport = way.transport(script := Script(way, *[503] * 9), "off", hosts=HostTable(clock=way.clock))
    way.send(transport)
    assert len(script.requests) == 1


def test_a_forgotten_host_is_seen_anew(way: Way) -> None:
    """A call after it counts in the record that the table has then, not in one that nothing shows."""
    manager = ConnectionManager(clock=way.clock)
    transport = way.transport(Script(way), hosts=manager.hosts)
    way.send(transport)
    way.clock.now += 3600  # nothing leads there any more
    manager.forget(HOST)
    assert HOST not in manager.health()
    way.send(transport)
    assert manager.health(HOST).calls == 1


def test_the_shorter_of_both_timeouts_holds(way: Way) -> None:
    script = Script(way)
    transport = way.transport(script, Policy(timeout={"connect": 2, "read": 6}))
    way.send(transport, timeout=way.lib.Timeout(30, read=1))
    given = script.requests[0].extensions["timeout"]
    assert (given["connect"], given["read"], given["write"]) == (2, 1, 30 if way.awaited else 10)
    way.send(transport, timeout=None)
    given = script.requests[1].extensions["timeout"]
    assert (given["connect"], given["read"]) == (2, 6)


def test_the_callers_request_is_left_as_it_is(way: Way) -> None:
    transport = way.transport(script := Script(way), Policy(timeout={"propagate": "X-Deadline"}))
    response = way.send(transport, headers={"X-Mine": "1"}, extensions={"mine": 1})
    assert "X-Deadline" not in response.request.headers
    assert set(response.request.extensions) == {"mine", "timeout"}
    assert float(script.requests[0].headers["X-Deadline"]) > 0
    assert script.requests[0].extensions["mine"] == 1


def test_an_iterator_of_unknown_length_is_sent_once(way: Way) -> None:
    script = Script(way, 503)
    assert way.send(way.transport(script), "PUT", content=way.lines(b"a", b"b")).status_code == 503
    assert len(script.requests) == 1


def test_a_short_iterator_of_known_length_can_be_sent_again(way: Way) -> None:
    script, sent = Script(way, 503), []

    def answer(request: Any) -> Any:
        sent.append(b"".join(request.stream))
        return script(request)

    headers = {"Content-Length": "3"}
    response = way.send(way.transport(answer), "PUT", content=way.lines(b"ab", b"c"), headers=headers)
    assert response.status_code == 200
    assert sent == [b"abc", b"abc"]


def test_a_file_upload_can_be_sent_again(way: Way) -> None:
    script, sent = Script(way, 503), []

    def answer(request: Any) -> Any:
        sent.append(b"".join(request.stream))
        return script(request)

    way.send(way.transport(answer), "PUT", files={"file": ("a.txt", b"content")})
    assert b"content" in sent[0]
    assert sent[0] == sent[1]


def test_what_the_callers_iterator_raises_is_neutral(way: Way) -> None:
    class Mine(OSError):
        pass

    def broken() -> Iterator[bytes]:
        yield b"a"
        raise Mine

    async def broken_awaited() -> AsyncIterator[bytes]:
        yield b"a"
        raise Mine

    async def drain_awaited(request: Any) -> Any:
        async for _ in request.stream:
            pass
        return way.lib.Response(200)

    def drain(request: Any) -> Any:
        return way.lib.Response(200, content=b"".join(request.stream))

    transport = way.transport(drain_awaited if way.awaited else drain)
    with pytest.raises(Mine):
        way.send(transport, "PUT", content=broken_awaited() if way.awaited else broken())
    health = transport.hosts.health(HOST)
    assert (health.attempts, health.failures, health.in_flight) == (1, 0, 0)


def _streamed(way: Way, transport: Any, **options: Any) -> tuple[Any, list[bytes]]:
    """A response whose body the caller streams, and its pieces."""
    if not way.awaited:
        with way.lib.Client(transport=transport) as client, client.stream("GET", URL, **options) as response:
            return response, list(response.iter_raw())

    async def send() -> tuple[Any, list[bytes]]:
        async with way.lib.AsyncClient(transport=transport) as client, client.stream("GET", URL, **options) as response:
            return response, [piece async for piece in response.aiter_raw()]

    return asyncio.run(send())


class Source:
    """A body that tells how far it was read."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces, self.error, self.read = pieces, error, 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.read += 1
            yield piece
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


@pytest.mark.parametrize(
    ("headers", "buffer", "within"),
    [
        ({}, 100, True),
        ({"Content-Type": "application/json"}, 100, True),
        ({"Content-Length": "6"}, 6, True),
        ({"Content-Length": "6"}, 5, False),
        ({}, 5, False),
        ({}, 0, False),
        ({"Content-Type": "text/event-stream; charset=utf-8"}, 100, False),
        ({"Content-Type": "application/x-ndjson"}, 100, False),
        ({"Content-Type": "text/event-stream", "Content-Length": "6"}, 100, True),
    ],
)
def test_a_body_is_read_within_the_attempt_where_it_can_be(
    way: Way, headers: dict[str, str], buffer: int, within: bool
) -> None:
    """A break within the attempt is retried; one after it is the reader's to see."""
    error = way.lib.RemoteProtocolError("cut off")
    broken = way.lib.Response(200, headers=headers, stream=way.body(b"abc", b"def", error=error))
    whole = 200
    transport = way.transport(Script(way, broken, whole), buffer=buffer)
    if within:
        response, pieces = _streamed(way, transport)
        assert (json.loads(b"".join(pieces)), len(response.extensions["attempts"])) == ({"n": 2}, 2)
    else:
        with pytest.raises(way.lib.RemoteProtocolError) as caught:
            _streamed(way, transport)
        assert isinstance(caught.value, exceptions.ReadError)
        health = transport.hosts.health(HOST)
        assert (health.attempts, health.failures) == (1, 1)


def test_a_stream_is_handed_over_with_its_head(way: Way) -> None:
    source = way.body(b"data: 1\n\n", b"data: 2\n\n")
    streaming = way.lib.Response(200, headers={"Content-Type": "text/event-stream"}, stream=source)
    transport = way.transport(lambda _: streaming)
    if not way.awaited:
        with way.lib.Client(transport=transport) as client, client.stream("GET", URL) as response:
            assert source.read == 0
            assert b"".join(response.iter_bytes()) == b"data: 1\n\ndata: 2\n\n"
        return

    async def send() -> None:
        async with way.lib.AsyncClient(transport=transport) as client, client.stream("GET", URL) as response:
            assert source.read == 0
            assert b"".join([piece async for piece in response.aiter_bytes()]) == b"data: 1\n\ndata: 2\n\n"

    asyncio.run(send())


def test_a_body_longer_than_the_buffer_comes_whole(way: Way) -> None:
    pieces = [bytes([number]) * 10 for number in range(20)]
    response = way.lib.Response(200, stream=way.body(*pieces))
    _, read = _streamed(way, way.transport(lambda _: response, buffer=55))
    assert b"".join(read) == b"".join(pieces)


def test_half_of_an_encoded_body_is_not_taken_for_all_of_it(way: Way) -> None:
    """Where an application dies behind a proxy that compresses, the framing is intact."""
    packed = gzip.compress(b'{"items": [' + b"1, " * 1000 + b"1]}")
    headers = {"Content-Encoding": "gzip"}
    answers = [way.lib.Response(200, headers=headers, stream=way.lib.ByteStream(packed[:-20])), 200]
    transport = way.transport(script := Script(way, *answers))
    assert way.send(transport).json() == {"n": 2}
    assert len(script.requests) == 2


def test_an_encoded_body_is_decoded_by_the_client(way: Way) -> None:
    packed = way.lib.Response(
        200, headers={"Content-Encoding": "gzip"}, stream=way.lib.ByteStream(gzip.compress(b'{"a": 1}'))
    )
    assert way.send(way.transport(Script(way, packed))).json() == {"a": 1}


def test_no_event_and_no_error_shows_a_secret(way: Way) -> None:
    url = "https://user:canary-pass@api.example.com/v1/items?token=canary-query#canary-fragment"
    headers = {"Authorization": "Bearer canary-bearer", "X-Api-Key": "canary-key", "Cookie": "s=canary-cookie"}
    transport = way.transport(Script(way, 503, "ReadError", "ConnectTimeout"))
    with pytest.raises(way.lib.TransportError) as caught:
        way.send(transport, url=url, headers=headers)
    error: Any = caught.value
    told = [str(event.fields()) for event in way.events]
    assert len(told) >= 6
    assert "canary" not in "\n".join([*told, str(error), repr(error), *error.__notes__, str(error.attempts)])
    assert "canary" not in json.dumps(transport.hosts.health(HOST).to_dict())


def test_errors_can_be_pickled_and_copied(way: Way) -> None:
    with pytest.raises(way.lib.ReadError) as caught:
        way.send(way.transport(Script(way, *["ReadError"] * 5)))
    error: Any = caught.value
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert (str(twin), twin.attempts, twin.never_sent) == (str(error), error.attempts, False)
    assert b"canary" not in pickle.dumps(error)


def test_an_error_that_is_dropped_is_freed_at_once(way: Way, undisturbed: None) -> None:
    """In a circle of itself and a frame it would keep the request, and what that has, until the garbage collector."""
    transport = way.transport(Script(way, *["ReadError"] * 5))
    request = way.lib.Request("GET", URL)

    async def awaited() -> weakref.ref[Exception]:
        try:
            await transport.handle_async_request(request)
        except way.lib.ReadError as error:
            return weakref.ref(error)
        raise AssertionError

    def blocking() -> weakref.ref[Exception]:
        try:
            transport.handle_request(request)
        except way.lib.ReadError as error:
            return weakref.ref(error)
        raise AssertionError

    dropped = asyncio.run(awaited()) if way.awaited else blocking()
    assert dropped() is None


def test_a_url_that_no_policy_is_for_is_the_librarys_to_judge(way: Way) -> None:
    transport = way.transport(Script(way, 204))
    assert way.send(transport, url="mock://anything/").status_code == 204
    assert transport.hosts.health() == {}


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"policy": "no-such"}, PolicyError, "no-such"),
        ({"policy": 7}, TypeError, "policy"),
        ({"hosts": "https://x"}, TypeError, r"hosts must be a HostTable, such as the one of a manager"),
        ({"idempotent": "yes"}, TypeError, "idempotent must be True, False, or a function"),
        ({"retry_if": 7}, TypeError, "retry_if must be a function"),
        ({"buffer": -1}, ValueError, "buffer must be a number of bytes, 0 for none, not -1"),
        ({"buffer": True}, ValueError, "buffer must be a number of bytes"),
        ({"transport": 7}, TypeError, r"transport must be a httpx2?\.(Async)?BaseTransport, or None"),
    ],
)
def test_arguments_that_cannot_be_are_named(way: Way, options: dict[str, Any], kind: Any, says: str) -> None:
    made = way.adapters.AsyncTransport if way.awaited else way.adapters.Transport
    with pytest.raises(kind, match=says):
        made(**options)


@pytest.mark.parametrize("name", ["httpx2", "httpx"])
def test_without_a_loop_of_asyncio_the_error_says_so(name: str) -> None:
    way = Way(name, awaited=True)
    call = way.transport(Script(way)).handle_async_request(way.lib.Request("GET", URL))
    with pytest.raises(
        RuntimeError, match=rf"a running asyncio event loop.*such as trio, use {name}\.AsyncHTTPTransport"
    ):
        call.send(None)


@pytest.mark.parametrize(("name", "extra"), [("httpx2", r"'sleepwalker\[httpx2\]'"), ("httpx", "httpx")])
def test_the_error_without_the_library_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"sleepwalker.adapters.{name}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"sleepwalker.adapters.{name} needs .*: pip install {extra}"):
        importlib.import_module(f"sleepwalker.adapters.{name}")
