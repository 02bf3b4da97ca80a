"""`RequestsAdapter`: policies below a `requests.Session` that is not ours. No socket is opened: `responses` answers."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import requests
import responses
from prometheus_client import CollectorRegistry
from urllib3 import Timeout

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    ConnectionManager,
    HostIsolatedError,
    Policy,
    PolicyError,
    ReadTimeout,
    adapters,
    status,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.adapters import RequestsAdapter
from sleepwalker.events import Event
from sleepwalker.hosts import HostTable
from sleepwalker.prometheus import Collector
from tests.unit.status_driver import ask
from tests.unit.test_adapters import Clock

URL = "https://api.example.com/v1/items?token=canary-query"
HOST = "https://api.example.com"


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def session(policy: Any = None, **options: Any) -> requests.Session:
    """A session that is not ours, with our adapter."""
    made = requests.Session()
    made.mount("https://", RequestsAdapter(policy, **{"clock": Clock()} | options))
    return made


def adapter_of(given: requests.Session) -> RequestsAdapter:
    adapter = given.get_adapter(URL)
    assert isinstance(adapter, RequestsAdapter)
    return adapter


def answers(server: responses.RequestsMock, *given: int | Exception, method: str = "GET") -> None:
    for answer in given:
        if isinstance(answer, int):
            server.add(method, URL, status=answer, json={"status": answer})
        else:
            server.add(method, URL, body=answer)


@pytest.mark.parametrize(
    "first", [503, 429, requests.ConnectionError(), requests.ReadTimeout(), requests.exceptions.ChunkedEncodingError()]
)
def test_what_the_policy_retries_is_sent_again(server: responses.RequestsMock, first: Any) -> None:
    answers(server, first, 200)
    response: Any = session().get(URL)
    assert response.json() == {"status": 200}
    assert [attempt.status for attempt in response.attempts] == [first if isinstance(first, int) else None, 200]


@pytest.mark.parametrize("code", [404, 401, 500, 503])
def test_a_response_of_any_status_is_the_callers(server: responses.RequestsMock, code: int) -> None:
    answers(server, *[code] * 3)
    mine = session()
    response: Any = mine.get(URL)
    assert (response.status_code, len(response.attempts)) == (code, 3 if code == 503 else 1)
    assert response.request.url == URL
    assert response.connection is adapter_of(mine)


def test_an_error_is_requests_and_ours(server: responses.RequestsMock) -> None:
    answers(server, *[requests.ReadTimeout(URL)] * 3)
    with pytest.raises(requests.ReadTimeout) as caught:
        session().get(URL)
    error: Any = caught.value
    assert isinstance(error, ReadTimeout)
    assert len(error.attempts) == 3
    assert error.request.url == URL
    assert "canary" not in str(error)
    assert error.__notes__ == ["GET https://api.example.com/v1/items: after 3 attempts"]


@pytest.mark.parametrize(
    ("headers", "idempotent", "sends"),
    [
        ({}, None, 1),
        ({"idempotency-key": "7"}, None, 2),
        ({}, True, 2),
        ({}, lambda request: request.path_url.startswith("/v1/items"), 2),
        ({}, lambda request: False, 1),
    ],
)
def test_a_post_is_sent_again_only_where_it_may_be(
    server: responses.RequestsMock, headers: dict[str, str], idempotent: Any, sends: int
) -> None:
    answers(server, 503, 200, method="POST")
    response = session(idempotent=idempotent).post(URL, json={"a": 1}, headers=headers)
    assert (response.status_code, len(server.calls)) == (200 if sends == 2 else 503, sends)


def test_retry_if_adds_to_what_is_retried(server: responses.RequestsMock) -> None:
    answers(server, 404, 200)
    assert session(retry_if=lambda came: getattr(came, "status_code", 0) == 404).get(URL).status_code == 200


class Twice:
    """An iterable that begins anew each time."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)


@pytest.mark.parametrize(
    ("body", "sends"),
    [
        (lambda: io.BytesIO(b"abc"), 2),
        (lambda: Twice(b"a", b"bc"), 2),
        (lambda: iter([b"a", b"bc"]), 1),
        (lambda: b"abc", 2),
        (lambda: {"a": "bc"}, 2),
        (lambda: None, 2),
    ],
)
def test_a_body_is_sent_again_where_it_can_be(server: responses.RequestsMock, body: Any, sends: int) -> None:
    sent = []

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        given: Any = request.body
        if given is not None and not isinstance(given, bytes | str):
            given = given.read() if hasattr(given, "read") else b"".join(given)
        sent.append(given)
        return (503, {}, "")

    server.add_callback("PUT", URL, answer)
    session(Policy(retry={"attempts": 2})).put(URL, data=body())
    assert len(sent) == sends
    assert len(set(sent)) == 1
    assert sent[0] in (b"abc", "a=bc", None)


def test_an_open_circuit_refuses(server: responses.RequestsMock) -> None:
    policy = Policy(retry=None, breaker={"consecutive": 3, "consecutive_for": 0, "open_for": 60, "open_max": 60})
    answers(server, *[503] * 4)
    mine = session(policy)
    for _ in range(3):
        mine.get(URL)
    with pytest.raises(requests.ConnectionError) as caught:
        mine.get(URL)
    error: Any = caught.value
    assert isinstance(error, CircuitOpenError)
    assert (error.host, error.cause, error.attempts) == (HOST, "503", ())
    assert error.retry_after == pytest.approx(60, rel=0.2)
    assert len(server.calls) == 3


def test_its_hosts_are_in_a_managers_health_page_and_metrics(server: responses.RequestsMock) -> None:
    manager = ConnectionManager(policy="standard")
    answers(server, 503, 200)
    mine = session(hosts=manager.hosts)
    mine.get(URL)
    health = manager.health(HOST)
    assert (health.calls, health.attempts, health.failures, health.in_flight) == (1, 2, 1, 0)
    shown = ask(status.app(manager), "/hosts.json").json["hosts"]
    assert [(host["host"], host["calls"], host["used"]) for host in shown] == [(HOST, 1, True)]
    registry = CollectorRegistry()
    registry.register(Collector(manager))
    assert registry.get_sample_value("sleepwalker_attempts_total", {"host": HOST, "name": HOST}) == 2


def test_what_a_manager_isolates_is_isolated_here(server: responses.RequestsMock) -> None:
    manager = ConnectionManager()
    answers(server, 200)
    mine = session(hosts=manager.hosts)
    manager.isolate(HOST, reason="moving")
    with pytest.raises(HostIsolatedError, match="moving"):
        mine.get(URL)
    assert len(server.calls) == 0
    manager.restore(HOST)
    assert mine.get(URL).status_code == 200


def test_one_circuit_for_a_connection_and_an_adapter(server: responses.RequestsMock) -> None:
    """The connection that a manager holds sees what calls through the adapter found, and the other way round."""
    manager = ConnectionManager(policy=Policy(breaker={"consecutive": 2, "consecutive_for": 0}, retry=None))
    conn = Connection(HOST, ANONYMOUS)
    manager.add(HOST, None, conn)
    answers(server, *[503] * 2)
    mine = session(hosts=manager.hosts)
    mine.get(URL)
    mine.get(URL)
    with pytest.raises(CircuitOpenError):
        conn.get("/v1/items")


def test_without_a_policy_calls_follow_that_of_their_host(server: responses.RequestsMock) -> None:
    answers(server, *[503] * 9)
    session(hosts=HostTable(policies={HOST: Policy(retry={"attempts": 2})})).get(URL)
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("given", "connect", "read"),
    [
        (None, 2, 6),
        (1, 1, 1),
        (4, 2, 4),
        ((1, None), 1, 6),
        ((None, 3), 2, 3),
        (Timeout(connect=1, read=3), 1, 3),
        (Timeout(), 2, 6),
        (Timeout(total=1), 1, pytest.approx(1, abs=0.5)),  # less what has passed of it
        (100, 2, 6),
        (Fraction(1, 2), 0.5, 0.5),
        (10**400, 2, 6),
    ],
)
def test_the_shorter_of_both_timeouts_holds(
    server: responses.RequestsMock, given: Any, connect: float, read: float
) -> None:
    seen: dict[str, Any] = {}

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        seen.update(request.req_kwargs)
        return (200, {}, "")

    server.add_callback("GET", URL, answer)
    session(Policy(timeout={"connect": 2, "read": 6})).get(URL, timeout=given)
    assert seen["timeout"] == (connect, read)


@pytest.mark.parametrize("given", [0, -1, (1, 0), (1, 2, 3), "5", True, float("nan"), object()])
def test_a_timeout_that_cannot_be_is_a_value_error(given: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be"):
        session().get(URL, timeout=given)


def test_within_an_attempt_of_a_connection_its_policies_are_in_force(server: responses.RequestsMock) -> None:
    """Else a session with both would retry each retry."""
    answers(server, *[503] * 20)
    mine = session(Policy(retry={"attempts": 4}))
    conn = Connection(HOST, ANONYMOUS, session=mine, policy=Policy(retry={"attempts": 2}), clock=Clock())
    assert conn.get("/v1/items", params={"token": "canary-query"}, raise_for_status=False).status_code == 503
    assert len(server.calls) == 2
    assert adapter_of(mine).hosts.health() == {}


def test_the_callers_request_is_left_as_it_is(server: responses.RequestsMock) -> None:
    answers(server, 200)
    mine = session(Policy(timeout={"propagate": "X-Deadline"}))
    prepared = mine.prepare_request(requests.Request("GET", URL, headers={"X-Mine": "1"}))
    response = mine.send(prepared)
    assert response.request is prepared
    assert "X-Deadline" not in prepared.headers
    assert "X-Deadline" in server.calls[0].request.headers


def test_no_event_and_no_error_shows_a_secret(server: responses.RequestsMock) -> None:
    answers(server, 503, requests.ConnectionError(URL), requests.ConnectTimeout(URL))
    events: list[Event] = []
    headers = {"Authorization": "Bearer canary-bearer", "X-Api-Key": "canary-key", "Cookie": "s=canary-cookie"}
    mine = session(observer=events.append)
    with pytest.raises(OurConnectionError) as caught:
        mine.get(URL, headers=headers)
    error: Any = caught.value
    told = [str(event.fields()) for event in events]
    assert len(told) >= 6
    health = json.dumps(adapter_of(mine).hosts.health(HOST).to_dict())
    assert "canary" not in "\n".join([*told, str(error), repr(error), *error.__notes__, str(error.attempts), health])


def test_a_copy_of_the_session_counts_in_the_same_records(server: responses.RequestsMock) -> None:
    answers(server, 200)
    mine = session()
    twin = copy.deepcopy(mine)
    assert adapter_of(twin) is not adapter_of(mine)
    twin.get(URL)
    assert adapter_of(mine).hosts.health(HOST).calls == 1


def test_a_session_can_be_pickled(server: responses.RequestsMock) -> None:
    answers(server, 503, 200)
    mine = requests.Session()
    mine.mount("https://", RequestsAdapter(Policy(retry={"attempts": 2, "wait_initial": 0.001, "wait_max": 0.001})))
    twin = pickle.loads(pickle.dumps(mine))
    assert twin.get(URL).status_code == 200
    assert adapter_of(twin).hosts is not adapter_of(mine).hosts


def test_a_closed_session_can_be_used_again_as_in_requests(server: responses.RequestsMock) -> None:
    answers(server, 503, 200)
    mine = session()
    mine.close()
    assert mine.get(URL).status_code == 200


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"policy": "no-such"}, PolicyError, "no-such"),
        ({"hosts": "https://x"}, TypeError, r"hosts must be a HostTable, such as the one of a manager"),
        ({"idempotent": "yes"}, TypeError, "idempotent must be True, False, or a function"),
        ({"retry_if": 7}, TypeError, "retry_if must be a function"),
        ({"observer": 7}, TypeError, "observer must be callable"),
    ],
)
def test_arguments_that_cannot_be_are_named(options: dict[str, Any], kind: Any, says: str) -> None:
    with pytest.raises(kind, match=says):
        RequestsAdapter(**options)


def test_the_package_hands_it_on_without_loading_what_it_does_not_need() -> None:
    assert adapters.RequestsAdapter is RequestsAdapter
    code = "import sys, sleepwalker.adapters; print({'httpx', 'httpx2', 'aiohttp'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
