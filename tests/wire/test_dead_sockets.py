"""After a failover the sockets that lie idle are dead, and nothing says so. New ones are well, and so is the host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, TlsMaterial, reply, reset, stall, truncated

from sleepwalker import (
    ANONYMOUS,
    Connection,
    HTTPServiceUnavailable,
    Policy,
    ReadError,
    ReadTimeout,
    SleepwalkerException,
)

pytestmark = pytest.mark.both_drivers

IDLE = 6
POLICY = Policy(
    timeout={"connect": 5, "read": 0.3, "attempt": 5, "total": 20},
    retry={"wait_initial": 0, "wait_max": 0, "budget": False},
    breaker=False,
)
ONCE = POLICY.replace(retry=False)


class Moved:
    """Answers on the sockets that are opened after `move`; on the older ones, what `dead` does."""

    def __init__(self, dead: Step) -> None:
        self.dead = dead
        self.last = 0
        self._all_there = threading.Barrier(IDLE)

    def __call__(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.connection <= self.last:
            return self.dead
        if exchange.request.path == "/warm":
            self._all_there.wait(30)
        return reply(200, b"ok")

    def fill(self, conn: Connection) -> None:
        """Have so many sockets lie idle in the connection's pool."""
        patient = ONCE.replace(timeout={"connect": 30, "read": 30, "attempt": 30, "total": 60})
        threads = [threading.Thread(target=conn.get, args=("/warm",), kwargs={"policy": patient}) for _ in range(IDLE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def move(self, server: FaultServer) -> None:
        assert server.open == IDLE
        self.last = server.accepted


def outcome(call: Callable[[], Any]) -> str:
    try:
        return str(call().status_code)
    except SleepwalkerException as error:
        return type(error).__name__


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("dead", [stall(), reset()], ids=["silent", "reset"])
def test_a_call_that_may_be_repeated_needs_two_attempts_whatever_lies_idle(
    tls: TlsMaterial, dead: Step, secure: bool
) -> None:
    moved = Moved(dead)
    with (
        FaultServer(default=moved, tls=tls.server_context() if secure else None) as server,
        Connection(server.url, ANONYMOUS, policy=POLICY, verify=tls.client_context()) as conn,
    ):
        moved.fill(conn)
        moved.move(server)
        attempts = [len(conn.get("/").attempts) for _ in range(4)]  # type: ignore[attr-defined]
        assert attempts == [2, 1, 1, 1]
        assert server.accepted == IDLE + 1
        server.wait_for_open(1)  # the dead ones are not kept


@pytest.mark.parametrize("block", [False, True], ids=["free", "blocking"])
@pytest.mark.parametrize(("dead", "error"), [(stall(), "ReadTimeout"), (reset(), "ReadError")])
def test_a_call_that_may_not_be_repeated_warns_those_that_come_after_it(dead: Step, error: str, block: bool) -> None:
    moved = Moved(dead)
    policy = POLICY.replace(pool={"size": IDLE, "block": block})
    with FaultServer(default=moved) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        moved.fill(conn)
        moved.move(server)
        assert [outcome(lambda: conn.post("/")) for _ in range(4)] == [error, "200", "200", "200"]


def test_sockets_that_answered_since_the_broken_one_was_taken_are_kept(server: FaultServer) -> None:
    """One slow route says nothing against them."""
    server.routes = {"/silent": stall()}
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        conn.get("/")
        slow = threading.Thread(target=outcome, args=(lambda: conn.get("/silent"),))
        slow.start()
        server.wait_for_requests(2)
        conn.get("/")
        slow.join()
        conn.get("/")
        assert [request.connection for request in server.requests] == [1, 1, 2, 2]


def test_a_new_socket_that_breaks_says_nothing_against_those_that_lie_idle(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn, conn.get("/", stream=True) as held:
        server.script(reset())
        with pytest.raises(ReadError):
            conn.get("/")
        assert held.content == b"ok"
        conn.get("/")
        assert [request.connection for request in server.requests] == [1, 2, 1]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_socket_that_brought_a_server_error_is_not_used_again(server: FaultServer, status: int) -> None:
    """A machine that fails at once has its socket back first, and would attract everybody."""
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        conn.get("/")
        server.script(reply(status, b"no"))
        assert conn.get("/", raise_for_status=False).content == b"no"
        conn.get("/")
        assert [request.connection for request in server.requests] == [1, 1, 2]
        server.wait_for_open(1)


@pytest.mark.parametrize("status", [401, 404, 408, 429, 501])
def test_a_socket_that_brought_an_error_of_the_clients_stays(server: FaultServer, status: int) -> None:
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        server.script(reply(status, b"no"))
        conn.get("/", raise_for_status=False)
        conn.get("/")
        assert server.accepted == 1


def test_a_retry_goes_out_on_another_socket() -> None:
    """The machine behind the first one fails for as long as it is asked."""

    def bound(exchange: Exchange) -> Step:
        assert exchange.request is not None
        return reply(503, b"no") if exchange.request.connection == 1 else reply(200, b"ok")

    with FaultServer(default=bound) as server, Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        assert len(conn.get("/").attempts) == 2  # type: ignore[attr-defined]
        assert [request.connection for request in server.requests] == [1, 2]


def test_a_body_that_breaks_off_warns_the_others_as_well(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        with conn.get("/", stream=True) as held:
            conn.get("/")  # on another socket, which is older from now on
            assert held.content == b"ok"
        assert server.open == 2
        server.script(truncated(b"x" * 100, 10))
        with pytest.raises(ReadError):
            conn.get("/")
        before = server.accepted
        conn.get("/")
        assert server.accepted == before + 1


def test_a_body_that_is_slow_says_nothing_against_the_others(server: FaultServer) -> None:
    """Its head came over the socket that had lain idle, which therefore was not dead."""
    with Connection(server.url, ANONYMOUS, policy=ONCE) as conn:
        with conn.get("/", stream=True) as held:
            conn.get("/")  # on another socket, which is older from now on
            assert held.content == b"ok"
        assert server.open == 2
        server.script(truncated(b"x" * 100, 10, then="stall"))
        with pytest.raises(ReadTimeout):
            conn.get("/")
        before = server.accepted
        conn.get("/")
        assert server.accepted == before


def test_a_copy_goes_out_on_a_socket_that_is_new_or_has_answered_since(server: FaultServer) -> None:
    """The first attempt may be slow because all that lies idle is dead."""
    moved = Moved(stall())
    server.default = Step(moved)
    policy = ONCE.replace(timeout={"read": 5}, hedge={"delay": 0.1})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        moved.fill(conn)
        moved.move(server)
        for _ in range(6):
            assert conn.get("/").content == b"ok"
        assert server.accepted == IDLE + 2, "one that loses to its copy may be chance; the second one is none"


def test_a_probe_of_a_half_open_circuit_goes_out_on_a_new_socket(server: FaultServer) -> None:
    """The host was away, and its sockets with it; the circuit was opened by answers, which left idle ones alone."""
    moved = Moved(reset())
    server.default = Step(moved)
    policy = ONCE.replace(
        breaker={"consecutive": 2, "consecutive_for": 0, "open_for": 0.2, "open_max": 0.2, "ramp": 0, "close_after": 1}
    )
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        moved.fill(conn)
        server.script(reply(503), reply(503))
        for _ in range(2):
            with pytest.raises(HTTPServiceUnavailable):
                conn.get("/")
        assert conn.health.breaker == "open"
        moved.last = server.accepted
        while conn.health.breaker != "half-open":
            time.sleep(0.01)
        assert [outcome(lambda: conn.post("/")) for _ in range(3)] == ["200"] * 3
        assert conn.health.breaker == "closed"
        server.wait_for_open(1)


def test_the_probe_of_a_manager_goes_out_on_a_new_socket(server: FaultServer) -> None:
    moved = Moved(reset())
    server.default = Step(moved)
    policy = ONCE.replace(health={"probe": "/health"})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        moved.fill(conn)
        moved.move(server)
        answer = conn.probe("/health", 5.0).response
        assert answer.status_code == 200
        assert server.requests[-1].connection == IDLE + 1
