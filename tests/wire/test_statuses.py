"""Statuses over real sockets: which are sent again, below 400 too, and which count against the host."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
import requests
from servers import FaultServer, json_reply, redirect, reply, stall

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HTTPInternalServerError,
    HTTPNotFound,
    HTTPTooManyRequests,
    Policy,
)
from sleepwalker.events import BreakerOpened, Event, RequestFailed, RetryScheduled
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

AT_ONCE: dict[str, Any] = {"wait_initial": 0, "jitter": "none", "budget": False}
NOT_YET = Policy(retry={**AT_ONCE, "statuses": [202, 404]})
#: Nothing is sent twice, and five failures in a row open the circuit.
ONCE = Policy(retry=False, breaker={"consecutive_for": 0, "open_for": 5})


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


def connect(server: FaultServer, policy: Policy, **options: Any) -> Connection:
    return Connection(server.url, ANONYMOUS, policy=policy, **options)


def statuses(answer: Any) -> list[int | None]:
    return [attempt.status for attempt in answer.attempts]


# What is sent again


def test_an_answer_that_is_not_ready_is_asked_for_again_and_its_socket_is_kept(server: FaultServer) -> None:
    """Its body is read before the wait. Each attempt goes over another socket, and later calls over all of them."""
    server.script(reply(202, b"x" * 10_000), reply(202, b"x" * 10_000), json_reply({"state": "done"}))
    with connect(server, NOT_YET) as conn:
        assert conn.json_request("GET", "/job") == {"state": "done"}
        assert conn.response is not None
        assert statuses(conn.response) == [202, 202, 200]
        assert (conn.health.failures, conn.health.success_ratio, conn.health.retries) == (0, 1.0, 2)
        server.default = reply(200)
        for _ in range(4):
            conn.get("/job")
        assert server.accepted == 3


def test_where_it_is_never_ready_the_last_answer_is_returned(server: FaultServer) -> None:
    server.default = reply(202, b"wait")
    with connect(server, NOT_YET) as conn:
        response = conn.get("/job")
        assert (response.status_code, response.content) == (202, b"wait")
        assert statuses(response) == [202, 202, 202]
        assert conn.health.failures == 0


def test_a_404_of_a_replica_that_lags_is_sent_again_and_raised_in_the_end(server: FaultServer) -> None:
    server.script(reply(404), reply(200, b"there"))
    with connect(server, NOT_YET) as conn:
        assert conn.get("/new").content == b"there"
        server.default = reply(404)
        with pytest.raises(HTTPNotFound) as caught:
            conn.get("/new")
        assert statuses(caught.value) == [404, 404, 404]
        assert (conn.health.failures, conn.health.breaker) == (0, "closed")


def test_the_retry_after_of_a_202_is_waited_for(server: FaultServer) -> None:
    events: list[Event] = []
    server.script(reply(202, headers={"Retry-After": "0.05"}), reply(200))
    with connect(server, NOT_YET, observer=events.append) as conn:
        conn.get("/job")
        [scheduled] = [event for event in events if isinstance(event, RetryScheduled)]
        assert (scheduled.wait, scheduled.server_directed, scheduled.reason) == (0.05, True, "status")
        server.script(reply(202, headers={"Retry-After": "3600"}))
        assert conn.get("/job").status_code == 202


def test_a_stream_that_is_not_ready_leaves_no_socket_behind(server: FaultServer) -> None:
    server.script(reply(202, b"x" * 200_000), reply(202, b"x" * 200_000), reply(200, b"done"))
    with connect(server, NOT_YET) as conn:
        with conn.get("/job", stream=True) as response:
            assert b"".join(response.iter_content(4096)) == b"done"
        server.wait_for_at_most(1)


def test_a_slow_attempt_beside_one_that_is_not_ready_may_still_win(server: FaultServer) -> None:
    server.script(reply(200, b"done", delay=0.3), reply(202))
    with connect(server, NOT_YET.replace(hedge={"delay": 0.05})) as conn:
        assert conn.get("/job").content == b"done"
        assert len(server.requests) == 2


# What counts against the host


def test_an_answer_that_is_no_fault_of_the_host_opens_no_circuit(server: FaultServer) -> None:
    """A SOAP fault is a 500 that says `no such customer`."""
    events: list[Event] = []
    server.default = reply(500, b"no such customer")
    with connect(server, ONCE.replace(breaker={"statuses": [502, 503, 504]}), observer=events.append) as conn:
        for _ in range(10):
            with pytest.raises(HTTPInternalServerError):
                conn.get("/0")
        health = conn.health
        assert (health.breaker, health.failures, health.success_ratio) == ("closed", 0, 1.0)
        assert [event.name for event in events] == ["request.finished"] * 10
        server.default = reply(503)
        for _ in range(5):
            conn.get("/0", raise_for_status=False)
        assert conn.health.breaker == "open"


def test_an_answer_that_is_named_opens_it(server: FaultServer) -> None:
    events: list[Event] = []
    server.default = reply(429)
    with connect(server, ONCE.replace(breaker={"statuses": ["5xx", 429]}), observer=events.append) as conn:
        for _ in range(5):
            with pytest.raises(HTTPTooManyRequests):
                conn.get("/")
        with pytest.raises(CircuitOpenError) as caught:
            conn.get("/")
        assert caught.value.cause == "429"
        assert (conn.health.failures, conn.health.success_ratio, conn.health.last_error) == (5, 0.0, "429")
        assert [event.status for event in events if isinstance(event, RequestFailed)] == [*[429] * 5, None]
        assert [event.cause for event in events if isinstance(event, BreakerOpened)] == ["429"]


def test_with_an_empty_list_only_what_is_no_answer_counts(server: FaultServer) -> None:
    server.default = reply(503)
    with connect(server, ONCE.replace(breaker={"statuses": []})) as conn:
        for _ in range(10):
            conn.get("/", raise_for_status=False)
        assert (conn.health.failures, conn.health.breaker) == (0, "closed")


def test_a_call_cannot_say_what_counts_against_the_host(server: FaultServer) -> None:
    server.default = reply(500)
    with connect(server, ONCE) as conn:
        for _ in range(5):
            conn.get("/", raise_for_status=False, policy=ONCE.replace(breaker={"statuses": []}))
        assert conn.health.breaker == "open"


def test_what_counts_may_change_while_it_runs(server: FaultServer) -> None:
    server.default = reply(500)
    with connect(server, ONCE) as conn:
        conn.policy = ONCE.replace(breaker={"statuses": [503]})
        conn.get("/", raise_for_status=False)
        assert conn.health.failures == 0
        conn.policy = ONCE.replace(breaker=False)
        conn.get("/", raise_for_status=False)
        assert conn.health.failures == 1


def test_what_another_host_answers_after_a_redirect_says_nothing_of_this_one(server: FaultServer) -> None:
    with FaultServer(default=reply(404)) as other, connect(server, ONCE.replace(breaker={"statuses": [404]})) as conn:
        server.default = redirect(other.url)
        for _ in range(5):
            conn.get("/", raise_for_status=False)
        assert (conn.health.failures, conn.health.breaker) == (0, "closed")


def test_the_copy_of_a_slow_call_is_judged_the_same_way(server: FaultServer) -> None:
    server.script(stall(), reply(404))
    with connect(server, ONCE.replace(breaker={"statuses": [404]}, hedge={"delay": 0.05})) as conn:
        assert conn.get("/", raise_for_status=False).status_code == 404
        assert (conn.health.hedges, conn.health.failures) == (1, 1)


class Hook(ConnectionHook):
    def connect(self, host: str, auth: Any) -> Any:
        return Connection(host, ANONYMOUS)


def test_a_probe_that_is_answered_by_a_named_status_does_not_bring_a_host_back(server: FaultServer) -> None:
    """Such as a maintenance page's 404. The policy is the manager's: its hosts' records are."""
    policy = ONCE.replace(
        breaker={"statuses": [404, 503], "consecutive": 1, "consecutive_for": 0, "open_for": 60, "open_max": 60},
        health={"probe": "/up", "probe_interval": 0.05, "rehook_initial": 60},
    )
    server.default = reply(404)
    with ConnectionManager(policy=policy) as manager:
        manager.add_conn_hook(Hook())
        with pytest.raises(HTTPNotFound):
            manager.find(server.url).get("/")
        server.wait_for_requests(4)
        assert manager.health(server.url).state == "broken"
        server.default = reply(500)
        end = time.monotonic() + 10
        while manager.health(server.url).breaker != "closed" and time.monotonic() < end:
            time.sleep(0.01)
        assert manager.health(server.url).breaker == "closed"


class Foreign:
    """A foreign connection, whose responses and exceptions carry a status."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, timeout=10)

    def post(self, path: str) -> requests.Response:
        response = self.session.post(self.url + path, timeout=10)
        response.raise_for_status()
        return response

    def close(self) -> None:
        self.session.close()


class ForeignHook(ConnectionHook):
    def connect(self, host: str, auth: Any) -> Any:
        return Foreign(host)


@threads_only("a blocking client behind a guard")
def test_the_calls_of_a_guarded_object_are_judged_the_same_way(server: FaultServer) -> None:
    server.default = reply(500)
    with ConnectionManager(policy=ONCE.replace(breaker={"statuses": [404]}), guard=True) as manager:
        manager.add_conn_hook(ForeignHook())
        for _ in range(5):
            assert manager.find(server.url).get("/").status_code == 500
            with pytest.raises(requests.HTTPError):
                manager.find(server.url).post("/")
        assert manager.health(server.url).failures == 0
        server.default = reply(404)
        manager.find(server.url).get("/")
        with pytest.raises(requests.HTTPError):
            manager.find(server.url).post("/")
        assert manager.health(server.url).failures == 2
